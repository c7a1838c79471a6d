//! The system call that the current thread is in: its number and arguments, from the registers that it entered with.
//! All that depends on the processor is here.

use aya_ebpf::helpers::{bpf_get_current_task_btf, bpf_task_pt_regs};

/// A system call, by number and its first three arguments.
#[derive(Clone, Copy)]
pub struct Syscall {
    /// Number on this processor; see [`nr`].
    pub nr: u64,
    /// File descriptor, in every call of interest.
    pub fd: i32,
    /// Second argument: buffer, `struct iovec *` or `struct msghdr *`.
    pub arg1: u64,
    /// Third argument: length or count.
    pub arg2: u64,
}

/// The current thread's system call. Meaningful in process context only.
#[inline(always)]
pub fn syscall() -> Syscall {
    // SAFETY: both helpers always answer; the result points to the task's saved registers, which the verifier lets
    // us read as the kernel's `struct pt_regs`.
    let regs = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) };
    let call = arch::read(regs as *const arch::PtRegs);
    match call.nr {
        // `splice(fd_in, off_in, fd_out, …)`: the socket is the third argument.
        nr::SPLICE => Syscall {
            fd: call.arg2 as i32,
            ..call
        },
        _ => call,
    }
}

#[cfg(bpf_target_arch = "x86_64")]
mod arch {
    use super::Syscall;

    pub type PtRegs = aya_ebpf::bindings::pt_regs;

    #[inline(always)]
    pub fn read(regs: *const PtRegs) -> Syscall {
        // SAFETY: see `syscall`. System calls pass arguments in rdi, rsi, rdx; rax holds the result by now.
        unsafe {
            Syscall {
                nr: (*regs).orig_rax,
                fd: (*regs).rdi as i32,
                arg1: (*regs).rsi,
                arg2: (*regs).rdx,
            }
        }
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

    /// `struct pt_regs` of `arch/arm64/include/asm/ptrace.h`, as far as it is read.
    #[repr(C)]
    pub struct PtRegs {
        regs: [u64; 31],
        sp: u64,
        pc: u64,
        pstate: u64,
        orig_x0: u64,
        syscallno: i32,
    }

    #[inline(always)]
    pub fn read(regs: *const PtRegs) -> Syscall {
        // SAFETY: see `syscall`. System calls pass arguments in x0 to x2; x0 may hold the result by now.
        unsafe {
            Syscall {
                nr: (*regs).syscallno as u64,
                fd: (*regs).orig_x0 as i32,
                arg1: (*regs).regs[1],
                arg2: (*regs).regs[2],
            }
        }
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

pub use arch::nr;
