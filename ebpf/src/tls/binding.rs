//! Which socket a TLS object works on.
//!
//! `SSL_set_fd` says so, before the first byte. Where it was not seen (the object is older than the probes, or has a BIO
//! of its own) the first socket call that the thread makes *inside* an OpenSSL call says so; that is also a second
//! opinion on the first. The thread's last descriptor never counts: `SSL_read` often answers without any socket call.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::helpers::generated::bpf_get_attach_cookie;
use aya_ebpf::programs::ProbeContext;
use kongtap_common::record::{DIRECTION_EGRESS, DIRECTION_INGRESS};
use kongtap_common::{counter, tls};

use crate::calls::is_callers_own;
use crate::conn::{self, ConnRef, Moved};
use crate::kernel::{self, SockHead, tcp_state};
use crate::log::debug;
use crate::maps::{BINDINGS, TLS_CALLS_OPEN};
use crate::regs::Syscall;
use crate::targets::{self, Thread};
use crate::{files, ledger};

/// A TLS object: its address in a process.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SslKey {
    tgid: u32,
    pad: u32,
    ssl: u64,
}

impl SslKey {
    /// The object at `ssl` in the thread's process.
    #[inline(always)]
    pub fn new(thread: Thread, ssl: u64) -> Self {
        Self {
            tgid: thread.tgid(),
            pad: 0,
            ssl,
        }
    }
}

/// One direction of a TLS object: a socket, and the connection that it was then.
#[repr(C)]
#[derive(Clone, Copy)]
struct End {
    sk: u64,
    generation_ns: u64,
}

impl End {
    const NONE: Self = Self {
        sk: 0,
        generation_ns: 0,
    };

    #[inline(always)]
    fn of(conn: &ConnRef) -> Self {
        Self {
            sk: conn.sk,
            generation_ns: conn.id.generation_ns,
        }
    }

    /// The connection, unless it is over.
    #[inline(always)]
    fn conn(self) -> Option<ConnRef> {
        let conn = conn::known(self.sk)?;
        (conn.id.generation_ns == self.generation_ns).then_some(conn)
    }
}

/// What a TLS object reads from and writes to; nearly always the same.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Binding {
    ingress: End,
    egress: End,
}

impl Binding {
    const NONE: Self = Self {
        ingress: End::NONE,
        egress: End::NONE,
    };

    #[inline(always)]
    fn end(&self, direction: u8) -> End {
        if direction == DIRECTION_EGRESS {
            self.egress
        } else {
            self.ingress
        }
    }
}

/// The connection that the TLS object `key` uses in `direction`.
#[inline(always)]
pub fn conn_of(key: SslKey, direction: u8) -> Option<ConnRef> {
    binding(key)?.end(direction).conn()
}

#[inline(always)]
fn binding(key: SslKey) -> Option<Binding> {
    // SAFETY: an entry that is replaced meanwhile gives a connection whose generation does not fit.
    unsafe { BINDINGS.get(&key) }.copied()
}

#[inline(always)]
fn bind(key: SslKey, binding: Binding) {
    if BINDINGS.insert(&key, &binding, 0).is_err() {
        ledger::add::<{ counter::MAP_UPDATE_FAILURES }>(1);
    }
}

/// `SSL_set_fd(ssl, fd)` and its siblings.
#[inline(always)]
pub fn set_fd(ctx: &ProbeContext) {
    let Some(thread) = targets::current() else {
        return;
    };
    let (Some(ssl), Some(fd)) = (ctx.arg::<u64>(0), ctx.arg::<i32>(1)) else {
        return;
    };
    let Some(conn) = carrier(thread, fd) else {
        return;
    };
    debug!(ctx, "TLS object {:x} is on fd {}", ssl, fd);
    let key = SslKey::new(thread, ssl);
    let end = End::of(&conn);
    let old = binding(key).unwrap_or(Binding::NONE);
    // SAFETY: a helper that reads the context.
    let binding = match unsafe { bpf_get_attach_cookie(ctx.as_ptr()) } {
        tls::SET_READ => Binding { ingress: end, ..old },
        tls::SET_WRITE => Binding { egress: end, ..old },
        _ => Binding {
            ingress: end,
            egress: end,
        },
    };
    bind(key, binding);
}

/// The connection on `fd`, marked as one that carries TLS. Its plaintext begins here, so it is never late.
#[inline(always)]
fn carrier(thread: Thread, fd: i32) -> Option<ConnRef> {
    let sk = files::sock_of(fd)?;
    let head = kernel::sock_head(sk)?;
    if !conn::is_tcp(sk, &head) {
        return None;
    }
    match conn::find(sk, &head) {
        Some(conn) if conn.is_tls() => Some(conn),
        plain => restart(plain, sk, &head, thread, fd, conn::TLS),
    }
}

/// `SSL_free(ssl)`.
#[inline(always)]
pub fn freed(ctx: &ProbeContext) {
    let Some(thread) = targets::current() else {
        return;
    };
    if let Some(ssl) = ctx.arg::<u64>(0) {
        // A failure means that the object was never bound.
        let _ = BINDINGS.remove(SslKey::new(thread, ssl));
    }
}

/// A socket call ended on `sk`, `known` as it may be. If the thread is inside an OpenSSL call, the two belong together;
/// answers the connection as it stands afterwards.
#[inline(always)]
pub fn nested(
    thread: Thread,
    sk: u64,
    head: &SockHead,
    known: Option<ConnRef>,
    call: Syscall,
    direction: u8,
    moved: Moved,
) -> Option<ConnRef> {
    // SAFETY: only the thread itself writes its entry.
    let Some(outer) = (unsafe { TLS_CALLS_OPEN.get(thread.pid_tgid) }) else {
        return known;
    };
    let key = SslKey::new(thread, outer.ssl);
    let mut old = binding(key).unwrap_or(Binding::NONE);
    if let Some(bound) = old.end(direction).conn() {
        if bound.sk != sk && is_left(bound.sk) && is_callers_own(sk, head, call) {
            // The object is used again, and no call that was seen has said so (`SSL_clear`, `SSL_set_bio`).
            old = Binding::NONE;
        } else {
            if bound.sk != sk && is_callers_own(sk, head, call) {
                ledger::add::<{ counter::TLS_BINDING_DISAGREEMENTS }>(1);
            }
            return known;
        }
    }
    if !is_callers_own(sk, head, call) {
        return known;
    }
    let conn = match known {
        Some(conn) if conn.is_tls() => conn,
        Some(plain) => restart(Some(plain), sk, head, thread, call.fd, conn::TLS | conn::LATE)?,
        None => restart(
            None,
            sk,
            head,
            thread,
            call.fd,
            conn::TLS | conn::lateness(sk, moved.ingress, moved.egress),
        )?,
    };
    let end = End::of(&conn);
    let other = |direction: u8| {
        if old.end(direction).conn().is_some() {
            old.end(direction)
        } else {
            end
        }
    };
    let binding = if direction == DIRECTION_EGRESS {
        Binding {
            ingress: other(DIRECTION_INGRESS),
            egress: end,
        }
    } else {
        Binding {
            ingress: end,
            egress: other(DIRECTION_EGRESS),
        }
    };
    bind(key, binding);
    Some(conn)
}

/// Whether the process has said on `sk` that it is done. The kernel may keep such a socket for long after its descriptor was
/// closed, until the other end has read everything.
#[inline(always)]
fn is_left(sk: u64) -> bool {
    kernel::sock_head(sk).is_none_or(|head| tcp_state::LEFT.contains(&head.state))
}

/// Starts a connection on `sk` as one that carries TLS. If it was taken for a plain one, that one ends: its stream was
/// ciphertext.
#[inline(always)]
fn restart(
    plain: Option<ConnRef>,
    sk: u64,
    head: &SockHead,
    thread: Thread,
    fd: i32,
    flags: u64,
) -> Option<ConnRef> {
    if let Some(plain) = plain {
        // SAFETY: a helper without arguments.
        conn::close(&plain, unsafe { bpf_ktime_get_ns() });
    }
    conn::start(sk, head, thread.tgid(), fd, flags)
}
