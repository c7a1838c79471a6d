//! Cookies of the OpenSSL uprobes: they tell the probes which function they sit on, and where it leaves its byte count.

/// `int SSL_read(SSL *, void *, int)`, or what stands behind it: a result of zero says that no more will come.
pub const READ: u64 = 1;
/// `int SSL_read_ex(SSL *, void *, size_t, size_t *)`.
pub const READ_EX: u64 = 2;
/// `int SSL_write(SSL *, const void *, int)`.
pub const WRITE: u64 = 3;
/// `int SSL_write_ex(SSL *, const void *, size_t, size_t *)`.
pub const WRITE_EX: u64 = 4;
/// `int SSL_do_handshake(SSL *)`.
pub const HANDSHAKE: u64 = 5;
/// Which bits of a cookie name the function.
pub const FUNCTION_MASK: u64 = 0xff;

/// The result is the count. The length that was asked for is an `int`.
pub const COUNT_RESULT: u64 = 0 << 8;
/// The fourth argument points to the count. The length is a `size_t`, here and below.
pub const COUNT_ARGUMENT_4: u64 = 1 << 8;
/// The fifth argument does.
pub const COUNT_ARGUMENT_5: u64 = 2 << 8;
/// The count is in a local variable, [`displacement`] bytes above the stack pointer. The length is an `int`.
pub const COUNT_LOCAL: u64 = 3 << 8;
/// Which bits of a cookie say where the count is.
pub const COUNT_MASK: u64 = 0xff << 8;

const DISPLACEMENT_SHIFT: u32 = 32;

/// [`COUNT_LOCAL`] at `displacement`.
#[must_use]
pub const fn count_local(displacement: u16) -> u64 {
    #[expect(clippy::as_conversions, reason = "a widening; conversions are not const")]
    let displacement = displacement as u64;
    COUNT_LOCAL | displacement << DISPLACEMENT_SHIFT
}

/// The displacement of a cookie with [`COUNT_LOCAL`].
#[must_use]
pub const fn displacement(cookie: u64) -> u64 {
    cookie >> DISPLACEMENT_SHIFT
}

/// `int SSL_set_fd(SSL *, int)`.
pub const SET_BOTH: u64 = 1;
/// `int SSL_set_rfd(SSL *, int)`.
pub const SET_READ: u64 = 2;
/// `int SSL_set_wfd(SSL *, int)`.
pub const SET_WRITE: u64 = 3;

#[cfg(test)]
mod tests {
    use super::{COUNT_LOCAL, COUNT_MASK, FUNCTION_MASK, WRITE, count_local, displacement};

    #[test]
    fn a_cookie_keeps_its_parts_apart() {
        for bytes in [0_u16, 8, u16::MAX] {
            let cookie = WRITE | count_local(bytes);
            assert_eq!(cookie & FUNCTION_MASK, WRITE);
            assert_eq!(cookie & COUNT_MASK, COUNT_LOCAL);
            assert_eq!(displacement(cookie), u64::from(bytes));
        }
    }
}
