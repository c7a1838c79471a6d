//! The `syscalls` source: tracepoints at the end of the system calls themselves, for kernels without those of [`crate::sock`].
//!
//! In: `sys_exit_X` of each call that moves bytes on sockets, or `sys_exit` of every call there is. Out: [`calls::returned`].
//! Every process of the host comes through here, so the first question is whose call it is.

use aya_ebpf::EbpfContext;

use crate::calls;
use crate::regs;
use crate::targets;

/// Offset of the result in the record of every `sys_exit_X` tracepoint (its `format` file).
const RESULT_OFFSET: usize = 16;

/// The result in a `sys_exit_X` tracepoint's context.
#[inline(always)]
pub fn result(ctx: &impl EbpfContext) -> i64 {
    // SAFETY: the verifier lets a program read the tracepoint's record, and refuses the program if it were shorter.
    unsafe { ctx.as_ptr().byte_add(RESULT_OFFSET).cast::<i64>().read() }
}

/// A system call returned `ret`.
#[inline(always)]
pub fn call_ended<C: EbpfContext, const DIRECTION: u8>(ctx: &C, ret: impl FnOnce() -> i64) {
    let Some(thread) = targets::current() else {
        return;
    };
    let ret = ret();
    if ret >= 0 {
        calls::returned::<C, DIRECTION>(ctx, thread, regs::syscall(), ret as u64);
    }
}
