//! `gzip` (RFC 1952) and `deflate` (RFC 1950, and RFC 1951 bare).
//!
//! In: coded data. Out: how much of it was data; the decoded bytes go to [`Output`].

use flate2::{Crc, Decompress, FlushDecompress, Status};

use crate::output::{Output, Stop};

/// What begins every gzip member, with the one compression method that there is.
const GZIP_MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
/// How far back deflate refers (RFC 1951 section 2).
const WINDOW_BYTES: usize = 32 << 10;

/// Every member of a gzip file (RFC 1952 section 2.2).
pub(crate) fn gzip(data: &[u8], output: &mut Output) -> Result<usize, Stop> {
    let mut decoder = Decompress::new(false);
    let mut at = 0;
    loop {
        let rest = data.get(at..).unwrap_or_default();
        // What follows the first member and is none is padding, or garbage, which gzip's own tool ignores too.
        if at > 0 && !rest.starts_with(&GZIP_MAGIC) {
            return Ok(at);
        }
        output.step()?;
        decoder.reset(false);
        at += member(rest, &mut decoder, output).map_err(|stop| stop.behind(at))?;
    }
}

/// One member; answers its length.
fn member(data: &[u8], decoder: &mut Decompress, output: &mut Output) -> Result<usize, Stop> {
    let header = header_bytes(data)?;
    let from = output.len();
    let body = data.get(header..).unwrap_or_default();
    let body_bytes = inflate(body, decoder, output).map_err(|stop| stop.behind(header))?;
    let trailer_at = header + body_bytes;
    let (trailer, _) = data
        .get(trailer_at..)
        .and_then(<[u8]>::split_first_chunk::<8>)
        .ok_or(Stop::Truncated)?;
    let mut crc = Crc::new();
    crc.update(output.since(from));
    // The check sum, then the length modulo 2^32, both of what came out.
    let expected = u64::from(crc.amount()) << 32 | u64::from(crc.sum());
    if u64::from_le_bytes(*trailer) == expected {
        Ok(trailer_at + trailer.len())
    } else {
        Err(Stop::Damaged { at: trailer_at })
    }
}

/// The length of a member's header (RFC 1952 section 2.3.1), whose fields nobody here needs.
fn header_bytes(data: &[u8]) -> Result<usize, Stop> {
    const FHCRC: u8 = 1 << 1;
    const FEXTRA: u8 = 1 << 2;
    const FNAME: u8 = 1 << 3;
    const FCOMMENT: u8 = 1 << 4;
    const RESERVED: u8 = 0b1110_0000;

    if let Some(at) = data
        .iter()
        .zip(GZIP_MAGIC)
        .position(|(byte, magic)| *byte != magic)
    {
        return Err(Stop::Damaged { at });
    }
    let (fixed, mut rest) = data.split_first_chunk::<10>().ok_or(Stop::Truncated)?;
    let [_, _, _, flags, ..] = *fixed;
    if flags & RESERVED != 0 {
        return Err(Stop::Damaged { at: 3 });
    }
    if flags & FEXTRA != 0 {
        let (length, after) = rest.split_first_chunk::<2>().ok_or(Stop::Truncated)?;
        let length = usize::from(u16::from_le_bytes(*length));
        rest = after.get(length..).ok_or(Stop::Truncated)?;
    }
    for text in [FNAME, FCOMMENT] {
        if flags & text != 0 {
            let end = rest.iter().position(|byte| *byte == 0).ok_or(Stop::Truncated)?;
            rest = rest.get(end + 1..).unwrap_or_default();
        }
    }
    if flags & FHCRC != 0 {
        let (sum, after) = rest.split_first_chunk::<2>().ok_or(Stop::Truncated)?;
        let at = data.len() - rest.len();
        let mut crc = Crc::new();
        crc.update(data.get(..at).unwrap_or_default());
        let [low, high, ..] = crc.sum().to_le_bytes();
        if *sum != [low, high] {
            return Err(Stop::Damaged { at });
        }
        rest = after;
    }
    Ok(data.len() - rest.len())
}

/// zlib's format, or, as browsers accept it too, deflate without anything around it.
pub(crate) fn zlib_or_bare(data: &[u8], output: &mut Output) -> Result<usize, Stop> {
    if has_zlib_header(data) {
        let end = inflate(data, &mut Decompress::new(true), output);
        // One bare stream in some hundreds begins like zlib's format. It would hardly go on like that.
        if !matches!(end, Err(Stop::Damaged { .. })) || output.len() > 0 {
            return end;
        }
        output.clear();
        let bare = inflate(data, &mut Decompress::new(false), output);
        return match bare {
            Err(Stop::Damaged { .. }) => end,
            Ok(_) | Err(Stop::Truncated | Stop::Limited(_)) => bare,
        };
    }
    inflate(data, &mut Decompress::new(false), output)
}

/// RFC 1950 section 2.2: deflate with a window of at most 32 KiB, no preset dictionary, and the check bits right.
fn has_zlib_header(data: &[u8]) -> bool {
    const PRESET_DICTIONARY: u8 = 1 << 5;
    match *data {
        [method, flags, ..] => {
            method & 0x0f == 8
                && method >> 4 <= 7
                && flags & PRESET_DICTIONARY == 0
                && u16::from_be_bytes([method, flags]) % 31 == 0
        }
        // A first byte that bare data hardly has.
        [method] => method & 0x0f == 8,
        [] => false,
    }
}

/// One deflate stream; answers its length.
fn inflate(data: &[u8], decoder: &mut Decompress, output: &mut Output) -> Result<usize, Stop> {
    let mut piece = [0; WINDOW_BYTES];
    let mut at = 0;
    loop {
        output.step()?;
        // The decoder fills its window to the end, then hands it out. With room for just that, nothing that was decoded is
        // still in there when it comes upon damage, after which it would give nothing more.
        let filled = usize::try_from(decoder.total_out()).unwrap_or_default() % WINDOW_BYTES;
        let room = piece.get_mut(filled..).unwrap_or_default();
        let rest = data.get(at..).unwrap_or_default();
        let (read, written) = (decoder.total_in(), decoder.total_out());
        let status = decoder.decompress(rest, room, FlushDecompress::None);
        let read = usize::try_from(decoder.total_in() - read).unwrap_or(rest.len());
        let written = usize::try_from(decoder.total_out() - written).unwrap_or(room.len());
        at += read;
        output.push(room.get(..written).unwrap_or_default())?;
        match status {
            Ok(Status::StreamEnd) => return Ok(at),
            Ok(Status::Ok | Status::BufError) if read == 0 && written == 0 => return Err(Stop::Truncated),
            Ok(Status::Ok | Status::BufError) => {}
            Err(_) => return Err(Stop::Damaged { at }),
        }
    }
}
