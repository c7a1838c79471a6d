//! Reads of kernel memory, at offsets that user space found in the kernel's BTF.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use kongtap_common::offsets::{ABSENT, KernelOffsets};

/// Replaced at load.
#[unsafe(no_mangle)]
pub static OFFSETS: KernelOffsets = KernelOffsets::ABSENT;

/// The running kernel's offset of a field; a constant to the verifier.
macro_rules! offset {
    ($field:ident) => {
        // SAFETY: a volatile load of an initialised static: the compiler must not take the declared value for the
        // one that the loader puts there.
        unsafe { core::ptr::read_volatile(&raw const $crate::kernel::OFFSETS.$field) }
    };
}
pub(crate) use offset;

/// The `T` at `offset` in the kernel object at `base`.
#[inline(always)]
pub fn read<T>(base: u64, offset: u32) -> Option<T> {
    if offset == ABSENT {
        return None;
    }
    // SAFETY: the helper checks the address and fails on a bad one.
    unsafe { bpf_probe_read_kernel((base + u64::from(offset)) as *const T) }.ok()
}

/// State numbers of TCP sockets (`include/net/tcp_states.h`).
pub mod tcp_state {
    pub const FIN_WAIT1: i32 = 4;
    pub const CLOSE: i32 = 7;
    pub const CLOSE_WAIT: i32 = 8;
    pub const LAST_ACK: i32 = 9;
    pub const CLOSING: i32 = 11;
    /// Those after this end's last byte: both of FIN_WAIT, TIME_WAIT, CLOSE, LAST_ACK and CLOSING.
    pub const LEFT: [u8; 6] = [4, 5, 6, 7, 9, 11];
}

/// The first bytes of `struct sock_common`, whose order the kernel pins for its own lookups.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SockHead {
    /// IPv4 addresses: the other end's, then the gateway's, each in network order.
    pub addrs: u64,
    /// The kernel's hash of the whole 4-tuple, which covers IPv6 addresses too.
    pub hash: u32,
    /// The other end's port in network order, then the gateway's in host order (zero once it was given back).
    pub ports: u32,
    pub family: u16,
    pub state: u8,
    flags: u8,
    bound_dev_if: u32,
}

const _: () = assert!(size_of::<SockHead>() == 24);

/// The head of the socket at `sk`.
#[inline(always)]
pub fn sock_head(sk: u64) -> Option<SockHead> {
    read(sk, 0)
}
