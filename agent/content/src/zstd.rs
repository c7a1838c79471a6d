//! `zstd` (RFC 8878, and RFC 9659 for its window).
//!
//! In: coded data. Out: how much of it was data; the decoded bytes go to [`Output`]. A block is decoded when it is there whole, so
//! what is cut loses up to a block. Deliberately absent: dictionaries, which a coding of another name has.

use std::io::Read as _;

use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::Limit;
use crate::output::{Output, Stop};

/// RFC 8878 section 3.1.1.
const MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
/// The first bytes of frames to skip differ in four bits (RFC 8878 section 3.1.2).
const SKIPPABLE: [u8; 4] = 0x184D_2A50_u32.to_le_bytes();
const BLOCK_HEADER_BYTES: usize = 3;
const CHECKSUM_BYTES: usize = 4;
/// An empty last block and a check sum: ends a frame whose own end is missing, so that the decoder gives its window away.
const CLOSING: [u8; BLOCK_HEADER_BYTES + CHECKSUM_BYTES] = [1, 0, 0, 0, 0, 0, 0];

/// Every frame.
pub(crate) fn decode(data: &[u8], output: &mut Output, window_bytes: usize) -> Result<usize, Stop> {
    let mut at = 0;
    loop {
        let rest = data.get(at..).unwrap_or_default();
        let Some((magic, after)) = rest.split_first_chunk::<4>() else {
            let is_cut = MAGIC.starts_with(rest) && !rest.is_empty();
            return match (at, is_cut) {
                (_, true) => Err(Stop::Truncated),
                (0, false) => Err(Stop::Damaged { at }),
                (_, false) => Ok(at),
            };
        };
        output.step()?;
        at += if is_skippable(*magic) {
            let (length, _) = after.split_first_chunk::<4>().ok_or(Stop::Truncated)?;
            let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
            let all = length.saturating_add(8);
            if all > rest.len() {
                return Err(Stop::Truncated);
            }
            all
        } else if *magic == MAGIC {
            frame(rest, output, window_bytes).map_err(|stop| stop.behind(at))?
        } else if at > 0 {
            return Ok(at);
        } else {
            return Err(Stop::Damaged { at });
        };
    }
}

fn is_skippable([first, rest @ ..]: [u8; 4]) -> bool {
    let [skippable, others @ ..] = SKIPPABLE;
    first & 0xf0 == skippable && rest == others
}

/// One frame; answers its length.
fn frame(data: &[u8], output: &mut Output, window_bytes: usize) -> Result<usize, Stop> {
    let header = Header::of(data)?;
    let from = output.len();
    // A new one each time: one that is used again takes all of its window at once.
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(u64::try_from(window_bytes).unwrap_or(u64::MAX));
    match decoder.init(data) {
        Ok(()) => {}
        Err(FrameDecoderError::WindowSizeTooBig { .. }) => return Err(Stop::Limited(Limit::Window)),
        Err(_) => return Err(Stop::Damaged { at: header.bytes }),
    }
    let blocks = blocks(data, header, &mut decoder, output);
    if blocks.is_err() && !decoder.is_finished() {
        // It cannot fail, and if it did there would be less to show.
        drop(decoder.decode_blocks(&CLOSING[..], BlockDecodingStrategy::UptoBlocks(1)));
    }
    drop(decoder.collect_to_writer(&mut *output));
    output.check()?;
    let end = blocks?;
    let declared = decoder.content_size();
    let is_right = (declared == 0
        || u64::try_from(output.since(from).len()).is_ok_and(|bytes| bytes == declared))
        && (!header.has_checksum || decoder.get_checksum_from_data() == decoder.get_calculated_checksum());
    if is_right {
        Ok(end)
    } else {
        Err(Stop::Damaged {
            at: end.saturating_sub(CHECKSUM_BYTES),
        })
    }
}

/// Decodes block after block; answers where the last one and the check sum end.
fn blocks(
    data: &[u8],
    header: Header,
    decoder: &mut FrameDecoder,
    output: &mut Output,
) -> Result<usize, Stop> {
    let mut at = header.bytes;
    loop {
        output.step()?;
        let rest = data.get(at..).unwrap_or_default();
        let block = Block::of(rest)?;
        let (block_bytes, after) = rest.split_at_checked(block.bytes).ok_or(Stop::Truncated)?;
        let checksum_bytes = if block.is_last && header.has_checksum {
            CHECKSUM_BYTES
        } else {
            0
        };
        let checksum = after.get(..checksum_bytes);
        let mut source = block_bytes.chain(checksum.unwrap_or(&[0; CHECKSUM_BYTES]));
        decoder
            .decode_blocks(&mut source, BlockDecodingStrategy::UptoBlocks(1))
            .map_err(|_why| Stop::Damaged { at })?;
        drop(decoder.collect_to_writer(&mut *output));
        output.check()?;
        at += block.bytes;
        if block.is_last {
            return checksum.map_or(Err(Stop::Truncated), |checksum| Ok(at + checksum.len()));
        }
    }
}

/// What has to be known of a frame's header (RFC 8878 section 3.1.1.1).
#[derive(Clone, Copy, Debug)]
struct Header {
    /// Its length, magic number included.
    bytes: usize,
    has_checksum: bool,
}

impl Header {
    fn of(data: &[u8]) -> Result<Self, Stop> {
        const RESERVED: u8 = 1 << 3;
        let at = MAGIC.len();
        let descriptor = *data.get(at).ok_or(Stop::Truncated)?;
        if descriptor & RESERVED != 0 {
            return Err(Stop::Damaged { at });
        }
        let is_single_segment = descriptor & 1 << 5 != 0;
        let dictionary = match descriptor & 3 {
            3 => 4,
            length => usize::from(length),
        };
        let content_size = match descriptor >> 6 {
            0 => usize::from(is_single_segment),
            power => 1 << power,
        };
        let bytes = at + 1 + usize::from(!is_single_segment) + dictionary + content_size;
        if data.len() < bytes {
            return Err(Stop::Truncated);
        }
        Ok(Self {
            bytes,
            has_checksum: descriptor & 1 << 2 != 0,
        })
    }
}

/// A block's header (RFC 8878 section 3.1.1.2).
#[derive(Clone, Copy, Debug)]
struct Block {
    /// The block's length, header included.
    bytes: usize,
    is_last: bool,
}

impl Block {
    fn of(data: &[u8]) -> Result<Self, Stop> {
        const RUN_LENGTH: u8 = 1;
        let (&[low, middle, high], _) = data
            .split_first_chunk::<BLOCK_HEADER_BYTES>()
            .ok_or(Stop::Truncated)?;
        let size = u32::from_le_bytes([low, middle, high, 0]) >> 3;
        let content = if low >> 1 & 3 == RUN_LENGTH {
            1
        } else {
            usize::try_from(size).unwrap_or(usize::MAX)
        };
        Ok(Self {
            bytes: content.saturating_add(BLOCK_HEADER_BYTES),
            is_last: low & 1 != 0,
        })
    }
}
