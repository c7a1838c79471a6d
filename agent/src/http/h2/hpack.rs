//! HPACK (RFC 7541) as a bystander decodes it: from the first block, from any later one, and after blocks that were lost.
//!
//! In: header blocks in order, and word of those that were lost. Out: [`Field`]s, whose names and values may be unknown but never
//! wrong (`table` says why). Deliberately absent: encoding, and what fields mean.

mod huffman;
mod table;
#[cfg(test)]
mod tests;

use bytes::Bytes;

pub(crate) use self::table::Field;
use self::table::Table;

/// Bytes that an integer may have after its prefix: four of them make numbers of 28 bits, more than any table or string has.
const INTEGER_BYTES: u32 = 4;

/// How much of one header list is kept. What is over it is decoded, because the table depends on it, and thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListLimit {
    /// Bytes by RFC 7541 section 4.1: 32 a field, and its name and value.
    pub(crate) bytes: usize,
    /// Fields.
    pub(crate) fields: usize,
}

/// What a block held.
#[derive(Debug)]
pub(crate) struct FieldList {
    /// Its fields in order; the first ones, if it is not whole.
    pub(crate) fields: Vec<Field>,
    /// Whether these are all of them.
    pub(crate) is_whole: bool,
    /// Whether there were more than are kept.
    pub(crate) has_more: bool,
}

/// One direction's decoder.
#[derive(Debug)]
pub(crate) struct Decoder {
    table: Table,
}

impl Decoder {
    /// The decoder of a connection's first block. Its table keeps at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            table: Table::new(limit),
        }
    }

    /// The decoder of a block in the middle of a connection.
    pub(crate) fn joining(limit: usize) -> Self {
        let mut decoder = Self::new(limit);
        decoder.lose();
        decoder
    }

    /// A block was lost, wholly or from some point on.
    pub(crate) fn lose(&mut self) {
        self.table.forget();
    }

    /// Bytes that the table keeps.
    pub(crate) const fn table_bytes(&self) -> usize {
        self.table.size()
    }

    /// Decodes a whole block. One that is malformed counts as lost from there on.
    pub(crate) fn decode(&mut self, block: &[u8], limit: ListLimit) -> FieldList {
        let (mut list, is_decoded) = self.decode_start(block, limit);
        if !is_decoded {
            self.lose();
            list.is_whole = false;
        }
        list
    }

    /// Decodes the start of a block whose rest is lost.
    pub(crate) fn decode_cut(&mut self, start: &[u8], limit: ListLimit) -> FieldList {
        let (mut list, _) = self.decode_start(start, limit);
        self.lose();
        list.is_whole = false;
        list
    }

    /// Also says whether all of `block` could be decoded.
    fn decode_start(&mut self, block: &[u8], limit: ListLimit) -> (FieldList, bool) {
        let mut list = FieldList {
            fields: Vec::new(),
            is_whole: true,
            has_more: false,
        };
        let mut input = Input { rest: block };
        let mut kept_bytes = 0usize;
        while let Some(first) = input.rest.first().copied() {
            let field = match self.step(first, &mut input) {
                Some(Step::Field(field)) => field,
                Some(Step::Resized) => continue,
                None => return (list, false),
            };
            kept_bytes = kept_bytes.saturating_add(field.size());
            if kept_bytes > limit.bytes || list.fields.len() >= limit.fields {
                (list.is_whole, list.has_more) = (false, true);
            } else {
                list.fields.push(field);
            }
        }
        (list, true)
    }

    /// One representation (RFC 7541 section 6). `None`: it is malformed, or not all there.
    fn step(&mut self, first: u8, input: &mut Input<'_>) -> Option<Step> {
        match first {
            0x80.. => self.table.get(input.integer(7)?).map(Step::Field),
            0x40.. => {
                let field = self.literal(6, input)?;
                self.table.insert(field.clone());
                Some(Step::Field(field))
            }
            0x20.. => {
                self.table.resize(input.integer(5)?);
                Some(Step::Resized)
            }
            // Without indexing (0x00) and never indexed (0x10) differ for who passes them on.
            _ => self.literal(4, input).map(Step::Field),
        }
    }

    fn literal(&self, prefix_bits: u32, input: &mut Input<'_>) -> Option<Field> {
        let name = match input.integer(prefix_bits)? {
            0 => Some(input.string()?),
            index => self.table.get(index)?.name,
        };
        Some(Field {
            name,
            value: Some(input.string()?),
        })
    }
}

enum Step {
    Field(Field),
    Resized,
}

/// What of a block is not decoded yet.
struct Input<'a> {
    rest: &'a [u8],
}

impl Input<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    /// RFC 7541 section 5.1.
    fn integer(&mut self, prefix_bits: u32) -> Option<usize> {
        let mask = 0xff_u8 >> (8 - prefix_bits);
        let prefix = self.byte()? & mask;
        if prefix < mask {
            return Some(prefix.into());
        }
        let mut value = usize::from(prefix);
        for number in 0..INTEGER_BYTES {
            let byte = self.byte()?;
            value = value.checked_add(usize::from(byte & 0x7f) << (7 * number))?;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// RFC 7541 section 5.2. What it takes is bounded by what is there.
    fn string(&mut self) -> Option<Bytes> {
        let is_coded = *self.rest.first()? >= 0x80;
        let length = self.integer(7)?;
        let (text, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        if !is_coded {
            return Some(Bytes::copy_from_slice(text));
        }
        // The shortest code has five bits.
        let mut decoded = Vec::with_capacity(text.len().saturating_mul(8) / 5);
        huffman::decode(text, &mut decoded)?;
        Some(decoded.into())
    }
}
