//! The instructions that the compiler has no expression for on this target: atomic arithmetic, and values that the
//! optimiser may not reason about.

use core::arch::asm;

/// `value`, of which the compiler knows nothing, so that a bounds test which the verifier needs stays in the code. The
/// assignment in the text is needed: an empty block carries a line entry that belongs to no instruction, and the kernel
/// refuses the program's line information.
#[inline(always)]
pub fn opaque(value: u64) -> u64 {
    let mut out = value;
    // SAFETY: assigns a register to itself.
    unsafe { asm!("{0} = {0}", inout(reg) out, options(nomem, nostack, preserves_flags)) };
    out
}

/// Adds `amount` to `*target`.
///
/// # Safety
/// `target` is a valid, aligned map value.
#[inline(always)]
pub unsafe fn add(target: *mut u64, amount: u64) {
    // SAFETY: the caller's promise.
    unsafe { asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) target, in(reg) amount, options(nostack)) };
}

/// Adds `amount` to `*target` and answers what was there.
///
/// # Safety
/// `target` is a valid, aligned map value.
#[inline(always)]
pub unsafe fn fetch_add(target: *mut u64, amount: u64) -> u64 {
    let mut out = amount;
    // SAFETY: the caller's promise.
    unsafe {
        asm!("{1} = atomic_fetch_add((u64 *)({0} + 0), {1})", in(reg) target, inout(reg) out, options(nostack));
    }
    out
}

/// Sets `bits` in `*target` and answers what was there.
///
/// # Safety
/// `target` is a valid, aligned map value.
#[inline(always)]
pub unsafe fn fetch_or(target: *mut u64, bits: u64) -> u64 {
    let mut out = bits;
    // SAFETY: the caller's promise.
    unsafe {
        asm!("{1} = atomic_fetch_or((u64 *)({0} + 0), {1})", in(reg) target, inout(reg) out, options(nostack));
    }
    out
}

/// Leaves of `*target` what is in `bits`.
///
/// # Safety
/// `target` is a valid, aligned map value.
#[inline(always)]
pub unsafe fn and(target: *mut u64, bits: u64) {
    // SAFETY: the caller's promise.
    unsafe { asm!("lock *(u64 *)({0} + 0) &= {1}", in(reg) target, in(reg) bits, options(nostack)) };
}
