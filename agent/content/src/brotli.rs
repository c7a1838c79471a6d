//! `br`: brotli (RFC 7932).
//!
//! In: coded data. Out: how much of it was data; the decoded bytes go to [`Output`]. Deliberately absent: large windows and shared
//! dictionaries, which are other codings.

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};

use crate::Limit;
use crate::output::{Output, PIECE_BYTES, Stop};

/// Data is given to the decoder in pieces of this many bytes: of damaged data, what came before such a piece has come out.
const INPUT_BYTES: usize = 512;

/// One brotli stream.
pub(crate) fn decode(data: &[u8], output: &mut Output, window_bytes: usize) -> Result<usize, Stop> {
    let Some(first) = data.first() else {
        return Ok(0);
    };
    let window_bits = window_bits(*first).ok_or(Stop::Damaged { at: 0 })?;
    if 1_usize << window_bits > window_bytes {
        return Err(Stop::Limited(Limit::Window));
    }
    let mut state = BrotliState::new_strict(
        StandardAlloc::default(),
        StandardAlloc::default(),
        StandardAlloc::default(),
    );
    let mut piece = [0; PIECE_BYTES];
    let (mut at, mut total) = (0, 0);
    loop {
        output.step()?;
        let before = at;
        let mut readable = data.len().saturating_sub(at).min(INPUT_BYTES);
        let (mut writable, mut written) = (piece.len(), 0);
        let result = BrotliDecompressStream(
            &mut readable,
            &mut at,
            data,
            &mut writable,
            &mut written,
            &mut piece,
            &mut total,
            &mut state,
        );
        output.push(piece.get(..written).unwrap_or(&piece))?;
        match result {
            BrotliResult::ResultSuccess => return Ok(at),
            BrotliResult::ResultFailure => return Err(Stop::Damaged { at: before }),
            BrotliResult::NeedsMoreInput if at >= data.len() => return Err(Stop::Truncated),
            BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
        }
    }
}

/// The size of the window as a power of two: a stream's first one to seven bits (RFC 7932 section 9.1).
const fn window_bits(first: u8) -> Option<u8> {
    if first & 1 == 0 {
        return Some(16);
    }
    match (first >> 1 & 7, first >> 4 & 7) {
        (0, 0) => Some(17),
        (0, 1) => None,
        (0, low) => Some(8 + low),
        (high, _) => Some(17 + high),
    }
}

#[cfg(test)]
mod tests {
    use super::window_bits;

    /// The table of RFC 7932 section 9.1, its bits from right to left.
    #[test]
    fn the_window_is_read_as_the_decoder_reads_it() {
        for (bits, expected) in [
            (0b0, Some(16)),
            (0b010_0001, Some(10)),
            (0b011_0001, Some(11)),
            (0b111_0001, Some(15)),
            (0b000_0001, Some(17)),
            (0b0011, Some(18)),
            (0b1111, Some(24)),
            (0b001_0001, None),
        ] {
            assert_eq!(window_bits(bits), expected, "{bits:#b}");
        }
    }
}
