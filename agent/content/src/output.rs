//! Where decoders write: one buffer that never gets longer than it may, and the count of their steps.
//!
//! In: decoded pieces. Out: the bytes, or the limit that was reached.

use std::io;

use crate::{FREE_BYTES, Limit, Limits};

/// Decoders hand their output on in pieces of at most this many bytes, where they can choose.
pub(crate) const PIECE_BYTES: usize = 8 << 10;

/// Why a decoder stopped before the end of its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// There is no more data.
    Truncated,
    /// A limit was reached.
    Limited(Limit),
    /// The data makes no sense about here.
    Damaged {
        /// Position in the coded data.
        at: usize,
    },
}

/// The bounded buffer.
#[derive(Debug)]
pub(crate) struct Output {
    bytes: Vec<u8>,
    most: usize,
    /// The limit that `most` stands for.
    limit: Limit,
    is_full: bool,
    steps_left: u32,
}

impl Output {
    /// For what comes out of `input_bytes` of coded data.
    pub(crate) fn new(input_bytes: usize, limits: &Limits) -> Self {
        let by_ratio = input_bytes.saturating_mul(limits.ratio).max(FREE_BYTES);
        let (most, limit) = if by_ratio < limits.output_bytes {
            (by_ratio, Limit::Ratio)
        } else {
            (limits.output_bytes, Limit::Output)
        };
        Self {
            bytes: Vec::new(),
            most,
            limit,
            is_full: false,
            steps_left: limits.steps,
        }
    }

    /// Counts a step.
    pub(crate) const fn step(&mut self) -> Result<(), Stop> {
        match self.steps_left.checked_sub(1) {
            Some(left) => {
                self.steps_left = left;
                Ok(())
            }
            None => Err(Stop::Limited(Limit::Steps)),
        }
    }

    /// Takes what there is room for.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<(), Stop> {
        let room = self.most.saturating_sub(self.bytes.len());
        let (taken, left) = piece.split_at_checked(room).unwrap_or((piece, &[]));
        // By doubling, as a vector grows by itself, but not beyond what it may hold.
        if self.bytes.capacity() < self.bytes.len().saturating_add(taken.len()) {
            let doubled = self
                .bytes
                .len()
                .saturating_mul(2)
                .clamp(PIECE_BYTES, self.most.max(PIECE_BYTES));
            self.bytes
                .reserve_exact(doubled.saturating_sub(self.bytes.len()).max(taken.len()));
        }
        self.bytes.extend_from_slice(taken);
        self.is_full |= !left.is_empty();
        self.check()
    }

    /// Whether more came than there was room for.
    pub(crate) const fn check(&self) -> Result<(), Stop> {
        if self.is_full {
            Err(Stop::Limited(self.limit))
        } else {
            Ok(())
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// What came from this position on.
    pub(crate) fn since(&self, position: usize) -> &[u8] {
        self.bytes.get(position..).unwrap_or_default()
    }

    /// Back to the beginning, for another attempt at the same data. Steps stay counted.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.is_full = false;
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// For decoders that write by themselves. It takes everything and [`Output::check`] says whether it could keep it.
impl io::Write for Output {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        match self.push(piece) {
            Ok(()) | Err(_) => Ok(piece.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stop {
    /// The same, in data that stands behind `before` other bytes.
    pub(crate) const fn behind(self, before: usize) -> Self {
        match self {
            Self::Damaged { at } => Self::Damaged { at: before + at },
            Self::Truncated | Self::Limited(_) => self,
        }
    }
}
