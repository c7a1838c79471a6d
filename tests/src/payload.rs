//! Deterministic bytes: the same seed and size give the same body on every side, so that bodies need not be carried about
//! to be compared.

use bytes::{BufMut as _, Bytes, BytesMut};

/// What kind of bytes a body is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Printable ASCII, which JSON carries as it is.
    Text,
    /// Any byte, most of it no UTF-8.
    Binary,
}

/// A small generator (splitmix64): repeatable, and good enough to tell bodies apart.
#[derive(Clone, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// The sequence of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The next number below `bound` (0 when `bound` is 0).
    pub const fn below(&mut self, bound: u64) -> u64 {
        match self.draw().checked_rem(bound) {
            Some(number) => number,
            None => 0,
        }
    }
}

/// `size` bytes of `seed`.
#[must_use]
pub fn bytes(kind: Kind, seed: u64, size: usize) -> Bytes {
    let mut numbers = Numbers::new(seed);
    let mut body = BytesMut::with_capacity(size.saturating_add(8));
    while body.len() < size {
        match kind {
            Kind::Binary => body.put_u64(numbers.draw()),
            Kind::Text => {
                for byte in numbers.draw().to_be_bytes() {
                    body.put_u8(b' '.saturating_add(byte % 95));
                }
            }
        }
    }
    body.truncate(size);
    body.freeze()
}

#[cfg(test)]
mod tests {
    use super::{Kind, bytes};

    #[test]
    fn a_seed_means_one_body_of_the_asked_size() {
        for size in [0, 1, 7, 8, 9, 40_000] {
            assert_eq!(bytes(Kind::Binary, 5, size), bytes(Kind::Binary, 5, size));
            assert_eq!(bytes(Kind::Text, 5, size).len(), size);
        }
        assert_ne!(bytes(Kind::Binary, 5, 64), bytes(Kind::Binary, 6, 64));
        assert!(
            bytes(Kind::Text, 1, 4096)
                .iter()
                .all(|byte| (b' '..=b'~').contains(byte))
        );
        assert!(str::from_utf8(&bytes(Kind::Binary, 1, 4096)).is_err());
    }
}
