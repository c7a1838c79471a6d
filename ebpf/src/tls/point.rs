//! Registers at a probe that sits in the middle of a function. All that depends on the processor is here.

use aya_ebpf::programs::ProbeContext;

/// The register for results, as an `int`.
#[inline(always)]
pub fn result(ctx: &ProbeContext) -> i32 {
    arch::result(ctx)
}

/// The stack pointer.
#[inline(always)]
pub fn stack_pointer(ctx: &ProbeContext) -> u64 {
    arch::stack_pointer(ctx)
}

#[cfg(bpf_target_arch = "x86_64")]
mod arch {
    use aya_ebpf::programs::ProbeContext;

    #[inline(always)]
    pub fn result(ctx: &ProbeContext) -> i32 {
        // SAFETY: the kernel gives every uprobe the registers of its thread.
        unsafe { (*ctx.regs).rax as i32 }
    }

    #[inline(always)]
    pub fn stack_pointer(ctx: &ProbeContext) -> u64 {
        // SAFETY: as above.
        unsafe { (*ctx.regs).rsp }
    }
}

#[cfg(bpf_target_arch = "aarch64")]
mod arch {
    use aya_ebpf::bindings::user_pt_regs;
    use aya_ebpf::programs::ProbeContext;

    #[inline(always)]
    pub fn result(ctx: &ProbeContext) -> i32 {
        // SAFETY: the kernel gives every uprobe the registers of its thread.
        unsafe { (*ctx.regs.cast::<user_pt_regs>()).regs[0] as i32 }
    }

    #[inline(always)]
    pub fn stack_pointer(ctx: &ProbeContext) -> u64 {
        // SAFETY: as above.
        unsafe { (*ctx.regs.cast::<user_pt_regs>()).sp }
    }
}
