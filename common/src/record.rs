//! The ring buffer's records: one fixed header, then `captured_bytes` of payload.
//!
//! A record may be longer than header and payload together (the probes reserve by size class): what follows the
//! payload is unspecified and never read.

/// Layout version, in every record. A reader refuses a record of another version.
pub const ABI: u8 = 2;

/// Most payload bytes that one record carries; a longer call becomes several records.
pub const MAX_PAYLOAD_BYTES: u32 = 16 * 1024;

/// A connection was seen for the first time. Payload: one [`OpenPayload`].
pub const KIND_OPEN: u8 = 1;
/// Bytes moved. Payload: the copied bytes, at most [`RecordHeader::call_bytes`]; none when they were deliberately
/// left (see the flags). One that stands for no bytes at all only says how far the direction has come: what no record
/// brought of it is lost.
pub const KIND_DATA: u8 = 2;
/// One direction ended: the peer's FIN was read (ingress), or the gateway shut its side (egress). No payload.
pub const KIND_END: u8 = 3;
/// The socket is gone. Payload: one [`ClosePayload`]. Nothing follows for this [`ConnId`].
pub const KIND_CLOSE: u8 = 4;

/// Towards the gateway: the probed call received.
pub const DIRECTION_INGRESS: u8 = 0;
/// From the gateway: the probed call sent.
pub const DIRECTION_EGRESS: u8 = 1;

/// Bytes from a socket call.
pub const SOURCE_SOCKET: u8 = 0;
/// Plaintext from an OpenSSL call.
pub const SOURCE_TLS: u8 = 1;

/// On data: these bytes moved but were not copied, on purpose (`sendfile`, `splice`: there is no user memory to read; more
/// of a message than is wanted; a range that user space asked to be passed over).
pub const FLAG_NO_PAYLOAD: u16 = 1 << 0;
/// On open: the connection carries TLS, and its data records are plaintext from [`SOURCE_TLS`].
pub const FLAG_TLS: u16 = 1 << 1;
/// On open: bytes had moved on this connection before it was first seen.
pub const FLAG_LATE: u16 = 1 << 2;

/// Names one connection, once, since boot: a reused descriptor has another generation.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(
    feature = "user",
    derive(
        zerocopy::FromBytes,
        zerocopy::IntoBytes,
        zerocopy::KnownLayout,
        zerocopy::Immutable
    )
)]
pub struct ConnId {
    /// Thread group (process) that owns the descriptor, in the initial PID namespace.
    pub tgid: u32,
    /// File descriptor in that process when the connection was first seen.
    pub fd: i32,
    /// `CLOCK_MONOTONIC` nanoseconds when the connection was first seen.
    pub generation_ns: u64,
}

/// Starts every record.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    feature = "user",
    derive(
        zerocopy::FromBytes,
        zerocopy::IntoBytes,
        zerocopy::KnownLayout,
        zerocopy::Immutable
    )
)]
pub struct RecordHeader {
    /// `KIND_*`.
    pub kind: u8,
    /// [`ABI`].
    pub abi: u8,
    /// `FLAG_*`.
    pub flags: u16,
    /// Payload bytes that follow this header.
    pub captured_bytes: u32,
    /// `CLOCK_MONOTONIC` nanoseconds at the end of the call.
    pub at_ns: u64,
    /// The connection.
    pub conn: ConnId,
    /// Position of the first byte in this direction of this connection; counts every byte that moved, copied or not.
    pub pos_bytes: u64,
    /// Bytes of the call that this record stands for (equal to `captured_bytes` unless [`FLAG_NO_PAYLOAD`]).
    pub call_bytes: u32,
    /// `DIRECTION_*`.
    pub direction: u8,
    /// `SOURCE_*`.
    pub source: u8,
    /// Zero.
    pub pad: u16,
}

/// Address family of [`OpenPayload`]: IPv4.
pub const FAMILY_INET: u16 = 2;
/// Address family of [`OpenPayload`]: IPv6.
pub const FAMILY_INET6: u16 = 10;

/// The two ends of a connection, as the gateway's socket has them.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(
        zerocopy::FromBytes,
        zerocopy::IntoBytes,
        zerocopy::KnownLayout,
        zerocopy::Immutable
    )
)]
pub struct OpenPayload {
    /// The gateway's address in network order; IPv4 in the first four bytes.
    pub local_addr: [u8; 16],
    /// The other end's address, likewise.
    pub remote_addr: [u8; 16],
    /// The gateway's port, host order.
    pub local_port: u16,
    /// The other end's port, host order.
    pub remote_port: u16,
    /// `FAMILY_*`.
    pub family: u16,
    /// Zero.
    pub pad: u16,
}

/// How far both directions of a connection had come when it ended. Bytes below that which no record brought are lost.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(
        zerocopy::FromBytes,
        zerocopy::IntoBytes,
        zerocopy::KnownLayout,
        zerocopy::Immutable
    )
)]
pub struct ClosePayload {
    /// Position after the last byte towards the gateway.
    pub ingress_bytes: u64,
    /// Position after the last byte from the gateway.
    pub egress_bytes: u64,
}

const _: () = assert!(size_of::<ConnId>() == 16);
const _: () = assert!(size_of::<RecordHeader>() == 48);
const _: () = assert!(size_of::<OpenPayload>() == 40);
const _: () = assert!(size_of::<ClosePayload>() == 16);
