//! The Huffman code of HPACK strings (RFC 7541 section 5.2 and Appendix B), decoded.
//!
//! In: a coded string. Out: its bytes, or nothing if it is no coded string. The code is canonical: the codes of one length are
//! consecutive numbers, in the order of the symbols, and follow those of the shorter lengths. So all that has to be known is where each
//! length ends, and the symbols in that order. Deliberately absent: encoding.

/// Codes are compared as numbers of this many bits, filled up with zeros on the right.
const ALIGNED_BITS: u32 = 32;

/// Shortest code, bits.
const SHORTEST_BITS: u32 = 5;

/// For each length of codes: the length in bits, the first aligned number beyond its codes, and the place of its first symbol in
/// [`SYMBOLS`].
const LENGTHS: [(u32, u64, usize); 21] = [
    (5, 0x0_5000_0000, 0),
    (6, 0x0_b800_0000, 10),
    (7, 0x0_f800_0000, 36),
    (8, 0x0_fe00_0000, 68),
    (10, 0x0_ff40_0000, 74),
    (11, 0x0_ffa0_0000, 79),
    (12, 0x0_ffc0_0000, 82),
    (13, 0x0_fff0_0000, 84),
    (14, 0x0_fff8_0000, 90),
    (15, 0x0_fffe_0000, 92),
    (19, 0x0_fffe_6000, 95),
    (20, 0x0_fffe_e000, 98),
    (21, 0x0_ffff_4800, 106),
    (22, 0x0_ffff_b000, 119),
    (23, 0x0_ffff_ea00, 145),
    (24, 0x0_ffff_f600, 174),
    (25, 0x0_ffff_f800, 186),
    (26, 0x0_ffff_fbc0, 190),
    (27, 0x0_ffff_fe20, 205),
    (28, 0x0_ffff_fff0, 224),
    (30, 0x1_0000_0000, 253),
];

/// Every byte, by the number of its code. The last code of all, thirty ones, is the end-of-string symbol; it has no place here
/// because it may not occur.
const SYMBOLS: [u8; 256] = [
    48, 49, 50, 97, 99, 101, 105, 111, 115, 116, 32, 37, 45, 46, 47, 51, 52, 53, 54, 55, 56, 57, 61, 65, 95,
    98, 100, 102, 103, 104, 108, 109, 110, 112, 114, 117, 58, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77,
    78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 89, 106, 107, 113, 118, 119, 120, 121, 122, 38, 42, 44, 59, 88,
    90, 33, 34, 40, 41, 63, 39, 43, 124, 35, 62, 0, 36, 64, 91, 93, 126, 94, 125, 60, 96, 123, 92, 195, 208,
    128, 130, 131, 162, 184, 194, 224, 226, 153, 161, 167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230,
    129, 132, 133, 134, 136, 146, 154, 156, 160, 163, 164, 169, 170, 173, 178, 181, 185, 186, 187, 189, 190,
    196, 198, 228, 232, 233, 1, 135, 137, 138, 139, 140, 141, 143, 147, 149, 150, 151, 152, 155, 157, 158,
    165, 166, 168, 174, 175, 180, 182, 183, 188, 191, 197, 231, 239, 9, 142, 144, 145, 148, 159, 171, 206,
    215, 225, 236, 237, 199, 207, 234, 235, 192, 193, 200, 201, 202, 205, 210, 213, 218, 219, 238, 240, 242,
    243, 255, 203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251, 252, 253, 254,
    2, 3, 4, 5, 6, 7, 8, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 23, 24, 25, 26, 27, 28, 29, 30, 31, 127,
    220, 249, 10, 13, 22,
];

/// Adds the bytes of a coded string to `out`. `None`: it holds a code that may not occur, or does not end as RFC 7541
/// section 5.2 says: with less than a byte of ones.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Option<()> {
    // The newest `have` bits of `bits` are those that are not decoded yet; at most 29 of them, and a new byte.
    let (mut bits, mut have) = (0u64, 0u32);
    for byte in coded {
        bits = (bits << 8) | u64::from(*byte);
        have += 8;
        while have >= SHORTEST_BITS {
            let aligned = (bits << (u64::BITS - have)) >> (u64::BITS - ALIGNED_BITS);
            let mut first = 0;
            let (length, at) = LENGTHS.iter().find_map(|(length, end, at)| {
                let found = (aligned < *end).then_some((*length, *at));
                if found.is_none() {
                    first = *end;
                }
                found
            })?;
            if length > have {
                break;
            }
            let number = usize::try_from((aligned - first) >> (ALIGNED_BITS - length)).ok()?;
            out.push(*SYMBOLS.get(at.checked_add(number)?)?);
            have -= length;
        }
    }
    let ones = (1u64 << have) - 1;
    (have < 8 && bits & ones == ones).then_some(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::{LENGTHS, SYMBOLS, decode};

    /// The code of a byte, in digits.
    pub(in crate::http::h2::hpack) fn code_of(byte: u8) -> String {
        let number = SYMBOLS.iter().position(|symbol| *symbol == byte).unwrap();
        let length = LENGTHS.iter().rposition(|(_, _, at)| *at <= number).unwrap();
        let (bits, _, at) = LENGTHS[length];
        let first = if length == 0 {
            0
        } else {
            LENGTHS[length - 1].1 >> (32 - bits)
        };
        let code = first + u64::try_from(number - at).unwrap();
        format!("{code:0width$b}", width = usize::try_from(bits).unwrap())
    }

    #[track_caller]
    fn check(coded: &[u8], expected: Option<&[u8]>) {
        let mut out = Vec::new();
        let decoded = decode(coded, &mut out).map(|()| out);
        assert_eq!(decoded.as_deref(), expected, "{coded:02x?}");
    }

    #[test]
    fn strings_end_within_a_byte_of_ones() {
        check(b"", Some(b""));
        check(&[0b0000_0111], Some(b"0"));
        check(&[0b0000_0110], None); // padding that is not ones
        check(&[0b0000_0111, 0xff], None); // a byte of padding
        check(&[0xff], None);
        check(&[0xff, 0xff, 0xff, 0xff], None); // the end-of-string symbol
        check(&[0b1111_1000], Some(b"&"));
        check(&[0xff, 0xff, 0xff, 0b1111_0011], Some(b"\n")); // the first of the longest
    }
}
