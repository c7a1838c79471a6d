//! What becomes of a TCP socket after its calls: closed by the gateway, by the other end, or by the kernel. These events
//! fire in softirqs too, so nothing here asks who the current task is.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use kongtap_common::record::{DIRECTION_EGRESS, DIRECTION_INGRESS};

use crate::conn;
use crate::kernel::tcp_state;
use crate::unseen;

/// `sk` goes over to `new`.
#[inline(always)]
pub fn changed(sk: u64, new: i32) {
    match new {
        tcp_state::FIN_WAIT1 | tcp_state::LAST_ACK => {
            if let Some(conn) = conn::known(sk) {
                // SAFETY: a helper without arguments.
                conn.end(DIRECTION_EGRESS, unsafe { bpf_ktime_get_ns() });
            }
        }
        // Not its end: what was received before a reset can still be read. That comes with `destroyed`.
        tcp_state::CLOSE => {
            if let Some(conn) = conn::known(sk) {
                conn.raise(conn::DEAD);
            }
        }
        _ => {}
    }
}

/// No process holds `sk` any more and its connection is over.
#[inline(always)]
pub fn destroyed(sk: u64) {
    if let Some(conn) = conn::known(sk) {
        // SAFETY: a helper without arguments.
        let at_ns = unsafe { bpf_ktime_get_ns() };
        if conn.flags & conn::ANNOUNCED != 0 {
            for direction in [DIRECTION_INGRESS, DIRECTION_EGRESS] {
                if conn.is_open(direction) {
                    unseen::declare(&conn, direction, 0, at_ns);
                }
            }
        }
        conn::close(&conn, at_ns);
    }
}
