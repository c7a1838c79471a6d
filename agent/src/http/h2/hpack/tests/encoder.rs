//! An encoder that does what it is told, for tests.

use super::Line;

/// How an encoder may say a field.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    Indexed,
    Inserted,
    Plain,
    Never,
}

/// What an encoder may do.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Field {
        line: Line,
        form: Form,
        coded: bool,
        by_name: bool,
    },
    Resize(usize),
}

/// What whoever reads along knows of a field: its name, its value.
pub(super) type Known = (bool, bool);

/// An encoder that does what it is told as far as that can be done. It keeps its own table, and with each entry what somebody can
/// know of it who has missed blocks.
#[derive(Default)]
pub(super) struct Encoder {
    table: Vec<(Line, Known)>,
    capacity: Option<usize>,
}

pub(super) const NAMES: [&str; 8] = [
    ":path",
    "cookie",
    "user-agent",
    "x-a",
    "x-b",
    "x-long-name",
    "accept",
    "te",
];

impl Encoder {
    /// A block, and what it says.
    pub(super) fn encode(&mut self, steps: &[Step]) -> (Vec<u8>, Vec<(Line, Known)>) {
        let (mut block, mut lines) = (Vec::new(), Vec::new());
        let has_fields = steps.iter().any(|step| matches!(step, Step::Field { .. }));
        for step in steps {
            match step {
                // Only allowed at the start of a block (RFC 7541 section 4.2), and the other decoder wants a field after it.
                Step::Resize(bytes) if lines.is_empty() && has_fields => {
                    self.capacity = Some(*bytes);
                    self.evict(0);
                    integer(&mut block, 0x20, 5, *bytes);
                }
                Step::Resize(_) => {}
                Step::Field {
                    line,
                    form,
                    coded,
                    by_name,
                } => {
                    let known = self.field(&mut block, line, *form, *coded, *by_name);
                    lines.push((line.clone(), known));
                }
            }
        }
        (block, lines)
    }

    /// Who reads along missed the last block.
    pub(super) fn forget(&mut self) {
        for (_, known) in &mut self.table {
            *known = (false, false);
        }
    }

    fn field(&mut self, block: &mut Vec<u8>, line: &Line, form: Form, coded: bool, by_name: bool) -> Known {
        let same = self.table.iter().position(|(entry, _)| entry == line);
        if let (Form::Indexed, Some(at)) = (form, same) {
            integer(block, 0x80, 7, 62 + at);
            return self.table[at].1;
        }
        let (mark, bits) = match form {
            Form::Indexed | Form::Inserted => (0x40, 6),
            Form::Plain => (0, 4),
            Form::Never => (0x10, 4),
        };
        let same_name = self
            .table
            .iter()
            .position(|(entry, _)| by_name && entry.0 == line.0);
        let is_name_known = if let Some(at) = same_name {
            integer(block, mark, bits, 62 + at);
            self.table[at].1.0
        } else {
            integer(block, mark, bits, 0);
            string(block, &line.0, coded);
            true
        };
        string(block, &line.1, coded);
        let known = (is_name_known, true);
        if matches!(form, Form::Indexed | Form::Inserted) {
            self.evict(size(line));
            if size(line) <= self.capacity.unwrap_or(4096) {
                self.table.insert(0, (line.clone(), known));
            }
        }
        known
    }

    fn evict(&mut self, room: usize) {
        let capacity = self.capacity.unwrap_or(4096);
        let used = |table: &[(Line, Known)]| table.iter().map(|(line, _)| size(line)).sum::<usize>();
        while !self.table.is_empty() && used(&self.table) + room > capacity {
            self.table.pop();
        }
    }
}

fn size(line: &Line) -> usize {
    line.0.len() + line.1.len() + 32
}

fn integer(block: &mut Vec<u8>, mark: u8, bits: u32, value: usize) {
    let most = (1usize << bits) - 1;
    if value < most {
        block.push(mark | u8::try_from(value).unwrap());
        return;
    }
    block.push(mark | u8::try_from(most).unwrap());
    let mut rest = value - most;
    while rest >= 128 {
        block.push(0x80 | u8::try_from(rest % 128).unwrap());
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap());
}

fn string(block: &mut Vec<u8>, text: &[u8], coded: bool) {
    if !coded {
        integer(block, 0, 7, text.len());
        block.extend_from_slice(text);
        return;
    }
    let mut bits = String::new();
    for byte in text {
        bits.push_str(&crate::http::h2::hpack::huffman::tests::code_of(*byte));
    }
    while !bits.len().is_multiple_of(8) {
        bits.push('1');
    }
    integer(block, 0x80, 7, bits.len() / 8);
    for byte in bits.as_bytes().chunks(8) {
        block.push(u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap());
    }
}
