//! Connections: one entry per TCP socket, from its first watched call to its end. It holds the name that records carry
//! and the position in each direction.
//!
//! A socket's memory is reused for other sockets, so an entry is taken for the socket's only when the 4-tuple is still
//! the one that it was made for.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use kongtap_common::budget::CONN_WORDS;
use kongtap_common::counter;
use kongtap_common::record::{
    ClosePayload, ConnId, DIRECTION_EGRESS, DIRECTION_INGRESS, FAMILY_INET, FAMILY_INET6,
};

use crate::asm;
use crate::kernel::{self, SockHead, offset, tcp_state};
use crate::maps::CONNS;
use crate::{emit, ledger, skip, unseen};

const IPPROTO_TCP: u16 = 6;

/// Its OPEN record went out.
pub const ANNOUNCED: u64 = 1 << 0;
/// Its stream is the plaintext of TLS calls; what its socket calls move is ciphertext.
pub const TLS: u64 = 1 << 1;
/// Bytes had moved before it was first seen.
pub const LATE: u64 = 1 << 2;
/// Its ingress END went out.
pub const INGRESS_ENDED: u64 = 1 << 3;
/// Its egress END went out.
pub const EGRESS_ENDED: u64 = 1 << 4;
/// The kernel has closed it (reset, timeout) while the process still holds it. Received bytes may yet be read.
pub const DEAD: u64 = 1 << 5;
/// The gateway is the client of it.
pub const UPSTREAM: u64 = 1 << 6;
/// The gateway is the server of it.
pub const DOWNSTREAM: u64 = 1 << 7;
/// It speaks HTTP/2: a head may come at any time and cannot be read without all the heads before it.
pub const HTTP2: u64 = 1 << 8;

/// A watched connection.
#[repr(C)]
pub struct Conn {
    /// Its name.
    pub id: ConnId,
    addrs: u64,
    hash: u32,
    ports: u32,
    family: u32,
    /// The direction that moved bytes last, plus one; zero before the first.
    turn: u32,
    flags: u64,
    ingress: Track,
    egress: Track,
}

const _: () = assert!(size_of::<Conn>() == 8 * CONN_WORDS);

/// One direction of a connection. Only the position is exact whatever happens; the rest says what is copied, and two threads
/// that use one socket in the same direction at the same moment may copy more or less than they should.
#[repr(C)]
pub struct Track {
    /// Bytes that moved.
    pub pos: u64,
    /// Where the current run began (see [`kongtap_common::budget`]).
    pub run: u64,
    /// The position up to which the current run is copied.
    pub limit: u64,
    /// The position up to which bytes are passed over.
    pub skip_until: u64,
    /// The first byte that was passed over and that no record stands for yet; [`NOWHERE`] if there is none.
    pub skipped_from: u64,
    /// When it was.
    pub skipped_at_ns: u64,
    /// TCP's sequence number after the last call.
    pub seq: u32,
    /// `SEQ_KNOWN`, `HEAD_ENDED`.
    pub marks: u32,
}

impl Track {
    const NEW: Self = Self {
        pos: 0,
        run: 0,
        limit: 0,
        skip_until: 0,
        skipped_from: NOWHERE,
        skipped_at_ns: 0,
        seq: 0,
        marks: 0,
    };
}

/// A position that is none.
pub const NOWHERE: u64 = u64::MAX;
/// In [`Track::marks`]: `seq` was read.
pub const SEQ_KNOWN: u32 = 1;
/// In [`Track::marks`]: the run's head was seen to end, and its limit is near.
pub const HEAD_ENDED: u32 = 2;

/// What one probe run needs of a connection: its name, its flags and where the entry is.
#[derive(Clone, Copy)]
pub struct ConnRef {
    entry: *mut Conn,
    /// Its socket.
    pub sk: u64,
    /// Its name.
    pub id: ConnId,
    /// Its flags when the run began.
    pub flags: u64,
}

/// Bytes that this call moved, so that older ones can be told from them.
#[derive(Clone, Copy)]
pub struct Moved {
    /// Towards the gateway.
    pub ingress: u64,
    /// From the gateway.
    pub egress: u64,
}

impl Moved {
    /// `bytes` in `direction`.
    #[inline(always)]
    pub fn by(direction: u8, bytes: u64) -> Self {
        if direction == DIRECTION_EGRESS {
            Self {
                ingress: 0,
                egress: bytes,
            }
        } else {
            Self {
                ingress: bytes,
                egress: 0,
            }
        }
    }
}

impl Conn {
    #[inline(always)]
    fn is_of(&self, head: &SockHead) -> bool {
        // A dead socket has given back its port, so its tuple has changed; a live one on a dead entry is a
        // descriptor that was connected again.
        head.state == tcp_state::CLOSE as u8
            || (self.flags & DEAD == 0
                && self.addrs == head.addrs
                && self.hash == head.hash
                && self.ports == head.ports)
    }
}

impl ConnRef {
    #[inline(always)]
    fn of(entry: *mut Conn, sk: u64) -> Self {
        // SAFETY: `entry` came from a lookup in this run; the kernel keeps it readable until the run ends.
        let (id, flags) = unsafe { ((*entry).id, (*entry).flags) };
        Self { entry, sk, id, flags }
    }

    /// The state of `direction`.
    #[inline(always)]
    pub fn track(&self, direction: u8) -> *mut Track {
        // SAFETY: as in `of`.
        unsafe {
            if direction == DIRECTION_EGRESS {
                &raw mut (*self.entry).egress
            } else {
                &raw mut (*self.entry).ingress
            }
        }
    }

    /// Advances the position in `direction` by `bytes` and returns where they began.
    #[inline(always)]
    pub fn advance(&self, direction: u8, bytes: u64) -> u64 {
        // SAFETY: as in `of`.
        unsafe { asm::fetch_add(&raw mut (*self.track(direction)).pos, bytes) }
    }

    /// The position in `direction`.
    #[inline(always)]
    pub fn pos(&self, direction: u8) -> u64 {
        // SAFETY: as in `of`.
        unsafe { (&raw const (*self.track(direction)).pos).read_volatile() }
    }

    /// Whose turn it was to move bytes: a direction plus one, or zero.
    #[inline(always)]
    pub fn turn(&self) -> u32 {
        // SAFETY: as in `of`.
        unsafe { (&raw const (*self.entry).turn).read_volatile() }
    }

    /// It is `direction`'s turn now.
    #[inline(always)]
    pub fn set_turn(&self, direction: u8) {
        // SAFETY: as in `of`.
        unsafe { (&raw mut (*self.entry).turn).write_volatile(u32::from(direction) + 1) };
    }

    /// Sets `flag` and says whether it was clear.
    #[inline(always)]
    pub fn raise(&self, flag: u64) -> bool {
        // SAFETY: as in `of`.
        unsafe { asm::fetch_or(&raw mut (*self.entry).flags, flag) & flag == 0 }
    }

    /// Its flags now.
    #[inline(always)]
    pub fn flags_now(&self) -> u64 {
        // SAFETY: as in `of`.
        unsafe { (&raw const (*self.entry).flags).read_volatile() }
    }

    /// Whether its stream is plaintext from TLS calls.
    #[inline(always)]
    pub fn is_tls(&self) -> bool {
        self.flags & TLS != 0
    }

    /// Sends the OPEN record unless it went out before. Without it no other record of the connection may follow.
    #[inline(always)]
    pub fn announce(&self, at_ns: u64) -> bool {
        if self.flags & ANNOUNCED != 0 {
            return true;
        }
        // SAFETY: as in `of`.
        let (addrs, ports, family) =
            unsafe { ((*self.entry).addrs, (*self.entry).ports, (*self.entry).family) };
        let sent = emit::open(self, at_ns, addrs, ports, family as u16);
        if sent {
            self.raise(ANNOUNCED);
        }
        sent
    }

    /// Whether `direction` has not ended.
    #[inline(always)]
    pub fn is_open(&self, direction: u8) -> bool {
        self.flags_now() & ended(direction) == 0
    }

    /// Sends one direction's END record, once.
    #[inline(always)]
    pub fn end(&self, direction: u8, at_ns: u64) {
        let flag = ended(direction);
        if self.raise(flag) && self.announce(at_ns) {
            unseen::declare(self, direction, 0, at_ns);
            skip::settle(self, direction, at_ns);
            emit::end(self.id, direction, self.pos(direction), at_ns);
        }
    }
}

#[inline(always)]
fn ended(direction: u8) -> u64 {
    if direction == DIRECTION_EGRESS {
        EGRESS_ENDED
    } else {
        INGRESS_ENDED
    }
}

/// The entry for `sk`, whatever the socket is now. For events that name the socket itself.
#[inline(always)]
pub fn known(sk: u64) -> Option<ConnRef> {
    CONNS.get_ptr_mut(&sk).map(|entry| ConnRef::of(entry, sk))
}

/// The connection on `sk`, if it was seen before.
#[inline(always)]
pub fn find(sk: u64, head: &SockHead) -> Option<ConnRef> {
    let entry = CONNS.get_ptr_mut(&sk)?;
    // SAFETY: the lookup succeeded in this run.
    if unsafe { (*entry).is_of(head) } {
        return Some(ConnRef::of(entry, sk));
    }
    // SAFETY: a helper without arguments.
    close(&ConnRef::of(entry, sk), unsafe { bpf_ktime_get_ns() });
    None
}

/// Whether a socket is one that can carry HTTP: TCP over IPv4 or IPv6.
#[inline(always)]
pub fn is_tcp(sk: u64, head: &SockHead) -> bool {
    (head.family == FAMILY_INET || head.family == FAMILY_INET6)
        && kernel::read::<u16>(sk, offset!(sock_protocol)) == Some(IPPROTO_TCP)
}

/// Starts a connection on `sk`, which `find` does not know.
#[inline(always)]
pub fn start(sk: u64, head: &SockHead, tgid: u32, fd: i32, flags: u64) -> Option<ConnRef> {
    let conn = Conn {
        // SAFETY: a helper without arguments.
        id: ConnId {
            tgid,
            fd,
            generation_ns: unsafe { bpf_ktime_get_ns() },
        },
        addrs: head.addrs,
        hash: head.hash,
        ports: head.ports,
        family: u32::from(head.family),
        turn: 0,
        flags,
        ingress: Track::NEW,
        egress: Track::NEW,
    };
    if CONNS.insert(&sk, &conn, u64::from(BPF_NOEXIST)).is_err() {
        ledger::add::<{ counter::MAP_UPDATE_FAILURES }>(1);
    }
    // Another thread may have been first; then its entry is the one.
    known(sk)
}

/// Ends a connection: its CLOSE record, and the entry is gone. That its socket may be another's by now is why nothing is
/// read from it.
#[inline(always)]
pub fn close(conn: &ConnRef, at_ns: u64) {
    if conn.flags & ANNOUNCED != 0 {
        skip::settle(conn, DIRECTION_INGRESS, at_ns);
        skip::settle(conn, DIRECTION_EGRESS, at_ns);
        let ends = ClosePayload {
            ingress_bytes: conn.pos(DIRECTION_INGRESS),
            egress_bytes: conn.pos(DIRECTION_EGRESS),
        };
        emit::close(conn.id, ends, at_ns);
    }
    // A failure means that another run removed it first.
    let _ = CONNS.remove(&conn.sk);
}

/// [`LATE`] if more bytes moved on `sk` than this call's own, else nothing. Where the kernel's counts cannot be read
/// the connection counts as late: its reader then looks for a beginning, and a fresh stream starts with one.
#[inline(never)]
pub fn lateness(sk: u64, ingress: u64, egress: u64) -> u64 {
    // A SYN and a FIN each count as one byte.
    const SLACK: u64 = 2;
    if received(sk) > ingress + SLACK || sent(sk) > egress + SLACK {
        LATE
    } else {
        0
    }
}

/// Bytes that the process has read from `sk` since it exists; the most there can be where that cannot be known.
#[inline(always)]
fn received(sk: u64) -> u64 {
    let arrived = kernel::read(sk, offset!(tcp_bytes_received)).unwrap_or(u64::MAX);
    let next: u32 = kernel::read(sk, offset!(tcp_rcv_nxt)).unwrap_or(0);
    let unread_from: u32 = kernel::read(sk, offset!(tcp_copied_seq)).unwrap_or(next);
    arrived.saturating_sub(u64::from(next.wrapping_sub(unread_from)))
}

/// Bytes that the process has written to `sk` since it exists; likewise.
#[inline(always)]
fn sent(sk: u64) -> u64 {
    // Read in this order an acknowledgement in between can only make the sum smaller.
    let acked = kernel::read(sk, offset!(tcp_bytes_acked)).unwrap_or(u64::MAX);
    let unacked_from: u32 = kernel::read(sk, offset!(tcp_snd_una)).unwrap_or(0);
    let next: u32 = kernel::read(sk, offset!(tcp_write_seq)).unwrap_or(unacked_from);
    acked.saturating_add(u64::from(next.wrapping_sub(unacked_from)))
}
