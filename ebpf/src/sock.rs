//! The `sock` source: tracepoints at the end of every socket call, which name the socket, the bytes that moved and the flags.
//!
//! In: `sock_send_length`, `sock_recv_length` (Linux 6.3 on). Out: [`calls::ended`]. The call's number, descriptor and
//! buffer come from the task's saved registers. They fire once a message, so which message of a `sendmmsg` it was cannot
//! be told.

use aya_ebpf::programs::RawTracePointContext;

use crate::calls::{self, Ended};
use crate::regs::{self, nr};
use crate::targets;

/// A call on a socket returned: `(struct sock *, int ret, int flags)`.
#[inline(always)]
pub fn call_ended(ctx: &RawTracePointContext, direction: u8) {
    let Some(thread) = targets::current() else {
        return;
    };
    let ret: i32 = ctx.arg(1);
    let flags: i32 = ctx.arg(2);
    if ret < 0 || calls::is_no_traffic(direction, flags, ret as u64) {
        return;
    }
    let call = regs::syscall();
    let call = match call.nr {
        // Of a splice only its way into a socket is seen here.
        nr::SPLICE => call.on(call.splice_target()),
        _ => call,
    };
    let ended = Ended {
        thread,
        sk: ctx.arg(0),
        direction,
        call,
        bytes: ret as u64,
        flags,
    };
    calls::ended::<_, false>(ctx, ended);
}
