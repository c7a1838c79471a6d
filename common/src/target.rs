//! The table of watched processes: two bits for each process id that the kernel can give out. User space maps the table
//! into its memory, so that both sides change it by atomic instructions alone: a word holds the bits of 32 processes.

/// Most process ids (`PID_MAX_LIMIT` of 64-bit kernels).
pub const PIDS: u32 = 1 << 22;
/// Process ids in one 64-bit word.
pub const PIDS_PER_WORD: u32 = 32;
/// Words in the table: 1 MiB in all.
pub const WORDS: u32 = PIDS / PIDS_PER_WORD;

/// The process's sockets are watched.
pub const WATCHED: u64 = 1;
/// Its OpenSSL calls are probed, so a socket call may be the inner half of one.
pub const TLS: u64 = 2;
/// Both bits.
pub const MASK: u64 = WATCHED | TLS;

/// Word that holds the bits of `tgid`.
#[must_use]
pub const fn word(tgid: u32) -> u32 {
    tgid / PIDS_PER_WORD
}

/// How far those bits are shifted in it.
#[must_use]
pub const fn shift(tgid: u32) -> u32 {
    (tgid % PIDS_PER_WORD) * 2
}
