//! The system call that a thread is in, or that one of libc's functions made for it: its number and arguments, from
//! registers. All that depends on the processor is here.

use aya_ebpf::helpers::{bpf_get_current_task_btf, bpf_task_pt_regs};

/// A system call, by number and its first arguments.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Syscall {
    /// Number on this processor; see [`nr`].
    pub nr: u64,
    /// File descriptor, in every call of interest.
    pub fd: i32,
    pad: u32,
    /// Second argument: buffer, `struct iovec *`, `struct msghdr *` or `struct mmsghdr *`.
    pub arg1: u64,
    /// Third argument: length or count.
    pub arg2: u64,
    /// Fourth argument: flags, where a call has them there.
    pub arg3: u64,
    /// Fifth argument.
    pub arg4: u64,
}

impl Syscall {
    /// The same call, taken as one on `fd`.
    #[inline(always)]
    pub fn on(self, fd: i32) -> Self {
        Self { fd, ..self }
    }

    /// Where a `splice(fd_in, off_in, fd_out, …)` puts the bytes.
    #[inline(always)]
    pub fn splice_target(self) -> i32 {
        self.arg2 as i32
    }
}

/// The current thread's system call. Meaningful in process context only, and not in a uprobe.
#[inline(always)]
pub fn syscall() -> Syscall {
    // SAFETY: both helpers always answer; the result points to the task's saved registers, which the verifier lets
    // us read as the kernel's `struct pt_regs`.
    let regs = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) };
    arch::in_kernel(regs as *const arch::PtRegs)
}

pub use arch::{PtRegs, RETURN_POPS, at_function, behind_call, nr, result, stack_pointer};

#[cfg(bpf_target_arch = "x86_64")]
mod arch {
    use super::Syscall;

    pub type PtRegs = aya_ebpf::bindings::pt_regs;

    /// Bytes that a function's return takes off the stack.
    pub const RETURN_POPS: u64 = 8;

    /// The saved registers of a thread in the kernel: arguments in rdi, rsi, rdx, r10, r8; rax holds the result by now.
    #[inline(always)]
    pub fn in_kernel(regs: *const PtRegs) -> Syscall {
        // SAFETY: see `syscall`.
        behind_call(regs, unsafe { (*regs).orig_rax })
    }

    /// Call `nr`, in the registers that it leaves behind when it is over: all but rax, rcx and r11 are as they were.
    #[inline(always)]
    pub fn behind_call(regs: *const PtRegs, nr: u64) -> Syscall {
        // SAFETY: the registers of a probe's context, or see `syscall`.
        unsafe {
            Syscall {
                nr,
                fd: (*regs).rdi as i32,
                pad: 0,
                arg1: (*regs).rsi,
                arg2: (*regs).rdx,
                arg3: (*regs).r10,
                arg4: (*regs).r8,
            }
        }
    }

    /// Call `nr`, by the function whose entry is probed: the fourth argument is in rcx.
    #[inline(always)]
    pub fn at_function(regs: *const PtRegs, nr: u64) -> Syscall {
        // SAFETY: the registers of a probe's context.
        let arg3 = unsafe { (*regs).rcx };
        Syscall {
            arg3,
            ..behind_call(regs, nr)
        }
    }

    /// What a call or a function left as its result.
    #[inline(always)]
    pub fn result(regs: *const PtRegs) -> i64 {
        // SAFETY: the registers of a probe's context.
        unsafe { (*regs).rax as i64 }
    }

    #[inline(always)]
    pub fn stack_pointer(regs: *const PtRegs) -> u64 {
        // SAFETY: the registers of a probe's context.
        unsafe { (*regs).rsp }
    }

    /// Call numbers (`arch/x86/entry/syscalls/syscall_64.tbl`).
    pub mod nr {
        pub const READ: u64 = 0;
        pub const WRITE: u64 = 1;
        pub const READV: u64 = 19;
        pub const WRITEV: u64 = 20;
        pub const SENDFILE: u64 = 40;
        pub const SENDTO: u64 = 44;
        pub const RECVFROM: u64 = 45;
        pub const SENDMSG: u64 = 46;
        pub const RECVMSG: u64 = 47;
        pub const SPLICE: u64 = 275;
        pub const RECVMMSG: u64 = 299;
        pub const SENDMMSG: u64 = 307;
        pub const PREADV2: u64 = 327;
        pub const PWRITEV2: u64 = 328;
    }
}

#[cfg(bpf_target_arch = "aarch64")]
mod arch {
    use super::Syscall;

    /// `struct pt_regs` of `arch/arm64/include/asm/ptrace.h`, as far as it is read. A probe's context has its first half.
    #[repr(C)]
    pub struct PtRegs {
        regs: [u64; 31],
        sp: u64,
        pc: u64,
        pstate: u64,
        orig_x0: u64,
        syscallno: i32,
    }

    /// Bytes that a function's return takes off the stack.
    pub const RETURN_POPS: u64 = 0;

    /// The saved registers of a thread in the kernel: arguments in x0 to x4; x0 may hold the result by now.
    #[inline(always)]
    pub fn in_kernel(regs: *const PtRegs) -> Syscall {
        // SAFETY: see `syscall`.
        let (nr, fd) = unsafe { ((*regs).syscallno as u64, (*regs).orig_x0 as i32) };
        Syscall {
            fd,
            ..at_function(regs, nr)
        }
    }

    /// Call `nr`, by the function whose entry is probed.
    #[inline(always)]
    pub fn at_function(regs: *const PtRegs, nr: u64) -> Syscall {
        // SAFETY: the registers of a probe's context, or see `syscall`.
        unsafe {
            Syscall {
                nr,
                fd: (*regs).regs[0] as i32,
                pad: 0,
                arg1: (*regs).regs[1],
                arg2: (*regs).regs[2],
                arg3: (*regs).regs[3],
                arg4: (*regs).regs[4],
            }
        }
    }

    /// The result takes the descriptor's place, so nothing can be told behind a call: no probe is placed there.
    #[inline(always)]
    pub fn behind_call(regs: *const PtRegs, nr: u64) -> Syscall {
        Syscall {
            fd: -1,
            ..at_function(regs, nr)
        }
    }

    /// What a function left as its result.
    #[inline(always)]
    pub fn result(regs: *const PtRegs) -> i64 {
        // SAFETY: the registers of a probe's context.
        unsafe { (*regs).regs[0] as i64 }
    }

    #[inline(always)]
    pub fn stack_pointer(regs: *const PtRegs) -> u64 {
        // SAFETY: the registers of a probe's context.
        unsafe { (*regs).sp }
    }

    /// Call numbers (`include/uapi/asm-generic/unistd.h`).
    pub mod nr {
        pub const READ: u64 = 63;
        pub const WRITE: u64 = 64;
        pub const READV: u64 = 65;
        pub const WRITEV: u64 = 66;
        pub const SENDFILE: u64 = 71;
        pub const SPLICE: u64 = 76;
        pub const SENDTO: u64 = 206;
        pub const RECVFROM: u64 = 207;
        pub const SENDMSG: u64 = 211;
        pub const RECVMSG: u64 = 212;
        pub const RECVMMSG: u64 = 243;
        pub const SENDMMSG: u64 = 269;
        pub const PREADV2: u64 = 286;
        pub const PWRITEV2: u64 = 287;
    }
}
