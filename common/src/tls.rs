//! Cookies of the OpenSSL uprobes: they tell the probes which function they sit on.

/// `int SSL_read(SSL *, void *, int)`.
pub const READ: u64 = 1;
/// `int SSL_read_ex(SSL *, void *, size_t, size_t *)`.
pub const READ_EX: u64 = 2;
/// `int SSL_write(SSL *, const void *, int)`.
pub const WRITE: u64 = 3;
/// `int SSL_write_ex(SSL *, const void *, size_t, size_t *)`.
pub const WRITE_EX: u64 = 4;
/// `int SSL_do_handshake(SSL *)`.
pub const HANDSHAKE: u64 = 5;

/// `int SSL_set_fd(SSL *, int)`.
pub const SET_BOTH: u64 = 1;
/// `int SSL_set_rfd(SSL *, int)`.
pub const SET_READ: u64 = 2;
/// `int SSL_set_wfd(SSL *, int)`.
pub const SET_WRITE: u64 = 3;
