//! HPACK: the RFC's examples, a differential property against another decoder, and blocks that were never seen.

use bytes::Bytes;
use proptest::prelude::*;

use super::{Decoder, Field, FieldList, ListLimit};

const ALL: ListLimit = ListLimit {
    bytes: 1 << 20,
    fields: 1 << 10,
};
const TABLE_BYTES: usize = 64 << 10;

type Line = (Vec<u8>, Vec<u8>);
/// A name or a value; `None` if it is not known.
type Part = Option<Vec<u8>>;

/// A field as text; `?` for what is not known.
fn line(field: &Field) -> String {
    let part = |part: &Option<Bytes>| {
        part.as_ref()
            .map_or_else(|| "?".to_owned(), |bytes| bytes.escape_ascii().to_string())
    };
    format!("{}: {}", part(&field.name), part(&field.value))
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// Decodes blocks one after the other; each must be whole and hold `expected`.
#[track_caller]
fn check(decoder: &mut Decoder, blocks: &[(&str, &[&str])]) {
    for (block, expected) in blocks {
        check_one(decoder, block, expected, true);
    }
}

#[track_caller]
fn check_one(decoder: &mut Decoder, block: &str, expected: &[&str], is_whole: bool) {
    let list = decoder.decode(&bytes(block), ALL);
    let lines: Vec<String> = list.fields.iter().map(line).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert_eq!((lines.as_slice(), list.is_whole), (expected, is_whole), "{block}");
}

#[test]
fn the_representations_of_appendix_c_2() {
    for (block, expected) in [
        (
            "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
            "custom-key: custom-header",
        ),
        ("040c 2f73 616d 706c 652f 7061 7468", ":path: /sample/path"),
        ("1008 7061 7373 776f 7264 0673 6563 7265 74", "password: secret"),
        ("82", ":method: GET"),
    ] {
        check(&mut Decoder::new(TABLE_BYTES), &[(block, &[expected])]);
    }
}

const REQUESTS: [&[&str]; 3] = [
    &[
        ":method: GET",
        ":scheme: http",
        ":path: /",
        ":authority: www.example.com",
    ],
    &[
        ":method: GET",
        ":scheme: http",
        ":path: /",
        ":authority: www.example.com",
        "cache-control: no-cache",
    ],
    &[
        ":method: GET",
        ":scheme: https",
        ":path: /index.html",
        ":authority: www.example.com",
        "custom-key: custom-value",
    ],
];

#[test]
fn the_requests_of_appendix_c_3() {
    check(
        &mut Decoder::new(TABLE_BYTES),
        &[
            ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", REQUESTS[0]),
            ("8286 84be 5808 6e6f 2d63 6163 6865", REQUESTS[1]),
            (
                "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
                REQUESTS[2],
            ),
        ],
    );
}

#[test]
fn the_huffman_coded_requests_of_appendix_c_4() {
    check(
        &mut Decoder::new(TABLE_BYTES),
        &[
            ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", REQUESTS[0]),
            ("8286 84be 5886 a8eb 1064 9cbf", REQUESTS[1]),
            (
                "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
                REQUESTS[2],
            ),
        ],
    );
}

const RESPONSES: [&[&str]; 3] = [
    &[
        ":status: 302",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:21 GMT",
        "location: https://www.example.com",
    ],
    &[
        ":status: 307",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:21 GMT",
        "location: https://www.example.com",
    ],
    &[
        ":status: 200",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:22 GMT",
        "location: https://www.example.com",
        "content-encoding: gzip",
        "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
    ],
];

/// A table of 256 bytes, from which the RFC's examples evict. The size is set in a block of its own.
fn small_table() -> Decoder {
    let mut decoder = Decoder::new(TABLE_BYTES);
    check(&mut decoder, &[("3fe1 01", &[])]);
    decoder
}

#[test]
fn the_responses_of_appendix_c_5() {
    check(
        &mut small_table(),
        &[
            (
                "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 \
                 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                RESPONSES[0],
            ),
            ("4803 3330 37c1 c0bf", RESPONSES[1]),
            (
                "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 \
                 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 \
                 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
                RESPONSES[2],
            ),
        ],
    );
}

const CODED_RESPONSES: [&str; 3] = [
    "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 \
     8f0b 97c8 e9ae 82ae 43d3",
    "4883 640e ffc1 c0bf",
    "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 \
     dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
];

#[test]
fn the_huffman_coded_responses_of_appendix_c_6() {
    check(
        &mut small_table(),
        &[
            (CODED_RESPONSES[0], RESPONSES[0]),
            (CODED_RESPONSES[1], RESPONSES[1]),
            (CODED_RESPONSES[2], RESPONSES[2]),
        ],
    );
}

#[test]
fn whoever_joins_late_knows_what_was_said_since() {
    let mut decoder = Decoder::joining(TABLE_BYTES);
    check(
        &mut decoder,
        &[
            (CODED_RESPONSES[1], &[":status: 307", "?: ?", "?: ?", "?: ?"]),
            (
                CODED_RESPONSES[2],
                &[
                    ":status: 200",
                    "?: ?",
                    "date: Mon, 21 Oct 2013 20:13:22 GMT",
                    "?: ?",
                    "content-encoding: gzip",
                    "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
                ],
            ),
            // The newest, a name that is known from the last block, a value under a name that is not known.
            (
                "be 7f00 0178 7f 05 0179",
                &[
                    "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
                    "content-encoding: x",
                    "?: y",
                ],
            ),
            // That one was inserted too: it and what was before it moved on.
            (
                "be bf c0",
                &[
                    "?: y",
                    "content-encoding: x",
                    "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
                ],
            ),
        ],
    );
}

#[test]
fn after_a_lost_block_old_entries_have_no_known_place() {
    let mut decoder = Decoder::new(TABLE_BYTES);
    check(&mut decoder, &[("4001 6101 62", &["a: b"]), ("be", &["a: b"])]);
    decoder.lose();
    check(
        &mut decoder,
        &[
            ("be", &["?: ?"]),
            ("4001 6301 64", &["c: d"]),
            ("be bf", &["c: d", "?: ?"]),
        ],
    );
    // A table that is emptied is known again, and then nothing can stand beyond what is there.
    check(
        &mut decoder,
        &[("20 3fe1 1f 4001 6501 66", &["e: f"]), ("be", &["e: f"])],
    );
    assert!(!decoder.decode(&bytes("bf"), ALL).is_whole);
}

#[test]
fn an_entry_that_evicts_for_certain_makes_the_table_known_again() {
    let mut decoder = Decoder::joining(TABLE_BYTES);
    // 64 bytes: room for one entry of 34, and not for a second one.
    check(
        &mut decoder,
        &[("3f21 4001 6101 62", &["a: b"]), ("be", &["a: b"])],
    );
    assert!(!decoder.decode(&bytes("bf"), ALL).is_whole);
}

#[test]
fn the_size_of_the_table_may_have_changed_in_a_lost_block() {
    let mut decoder = Decoder::new(TABLE_BYTES);
    check(&mut decoder, &[("3f21", &[])]); // 64 bytes, room for one entry
    decoder.lose(); // … in which the encoder went back to 4096
    check(
        &mut decoder,
        &[
            ("4001 6101 62 4001 6301 64", &["a: b", "c: d"]),
            ("be bf", &["c: d", "a: b"]),
        ],
    );
}

#[test]
fn malformed_blocks_give_what_came_before_the_fault() {
    for (block, expected) in [
        ("82 80", &[":method: GET"][..]),            // index 0
        ("82 be", &[":method: GET"]),                // nothing stands there
        ("82 ffff ffff ffff 7f", &[":method: GET"]), // a number out of all bounds
        ("82 4003 61", &[":method: GET"]),           // a string that is not all there
        ("82 40", &[":method: GET"]),
        ("82 4081 0601 62", &[":method: GET"]), // padding that is no ones
        ("84 7fff", &[":path: /"]),
    ] {
        let mut decoder = Decoder::new(TABLE_BYTES);
        check_one(&mut decoder, block, expected, false);
        // What it inserted is not known, so the table is not either.
        check(&mut decoder, &[("be", &["?: ?"])]);
    }
}

#[test]
fn lists_and_tables_are_bounded() {
    let limit = ListLimit {
        bytes: 100,
        fields: 2,
    };
    let mut decoder = Decoder::new(70);
    let list = decoder.decode(&bytes("4001 6101 62 4001 6301 64 4001 6501 66"), limit);
    assert_eq!((list.fields.len(), list.is_whole), (2, false));
    // The third was thrown away but inserted; the first did not fit into the two entries that are kept here.
    check(&mut decoder, &[("be bf c0", &["e: f", "c: d", "?: ?"])]);
    let few_bytes = ListLimit { bytes: 40, fields: 9 };
    assert_eq!(decoder.decode(&bytes("bebf"), few_bytes).fields.len(), 1);
}

/// How an encoder may say a field.
#[derive(Clone, Copy, Debug)]
enum Form {
    Indexed,
    Inserted,
    Plain,
    Never,
}

/// What an encoder may do.
#[derive(Clone, Debug)]
enum Step {
    Field {
        line: Line,
        form: Form,
        coded: bool,
        by_name: bool,
    },
    Resize(usize),
}

/// What whoever reads along knows of a field: its name, its value.
type Known = (bool, bool);

/// An encoder that does what it is told as far as that can be done. It keeps its own table, and with each entry what somebody can
/// know of it who has missed blocks.
#[derive(Default)]
struct Encoder {
    table: Vec<(Line, Known)>,
    capacity: Option<usize>,
}

const NAMES: [&str; 8] = [
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
    fn encode(&mut self, steps: &[Step]) -> (Vec<u8>, Vec<(Line, Known)>) {
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
    fn forget(&mut self) {
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
        bits.push_str(&super::huffman::tests::code_of(*byte));
    }
    while !bits.len().is_multiple_of(8) {
        bits.push('1');
    }
    integer(block, 0x80, 7, bits.len() / 8);
    for byte in bits.as_bytes().chunks(8) {
        block.push(u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap());
    }
}

fn lines_of(list: &FieldList) -> Vec<(Part, Part)> {
    let part = |part: &Option<Bytes>| part.as_ref().map(|bytes| bytes.to_vec());
    list.fields
        .iter()
        .map(|field| (part(&field.name), part(&field.value)))
        .collect()
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let form = prop_oneof![
        4 => Just(Form::Indexed),
        2 => Just(Form::Inserted),
        1 => Just(Form::Plain),
        1 => Just(Form::Never),
    ];
    let value = prop_oneof![
        3 => prop::sample::select(vec![b"".to_vec(), b"/".to_vec(), b"gzip, br".to_vec()]),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => prop::collection::vec(any::<u8>(), 90..200),
    ];
    let field = (
        prop::sample::select(&NAMES[..]),
        value,
        form,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(name, value, form, coded, by_name)| Step::Field {
            line: (name.as_bytes().to_vec(), value),
            form,
            coded,
            by_name,
        });
    let resize = prop_oneof![Just(0), Just(64), 0..400usize, Just(4096)].prop_map(Step::Resize);
    prop::collection::vec(prop_oneof![1 => resize, 12 => field], 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Every block means the same to us, to another decoder, and to who encoded it.
    #[test]
    fn blocks_mean_what_another_decoder_takes_them_for(blocks in prop::collection::vec(steps(), 1..16)) {
        let mut encoder = Encoder::default();
        let mut decoder = Decoder::new(TABLE_BYTES);
        let mut other = loona_hpack::Decoder::new();
        for block in &blocks {
            let (block, said) = encoder.encode(block);
            let expected: Vec<Line> = said.into_iter().map(|(line, _)| line).collect();
            let list = decoder.decode(&block, ALL);
            prop_assert!(list.is_whole);
            let known: Vec<_> = expected.iter().cloned().map(|(name, value)| (Some(name), Some(value))).collect();
            prop_assert_eq!(&lines_of(&list), &known);
            prop_assert_eq!(other.decode(&block).unwrap(), expected);
        }
    }

    /// Whatever blocks are lost, wholly or from some byte on: what is known is right, and what can be known is known.
    #[test]
    fn after_losses_all_is_known_that_can_be_and_nothing_is_wrong(
        blocks in prop::collection::vec((steps(), 0..6u8, any::<prop::sample::Index>()), 1..16),
        joins in any::<bool>(),
        limit in prop_oneof![4 => Just(TABLE_BYTES), 1 => Just(200)],
    ) {
        let mut encoder = Encoder::default();
        let mut decoder = if joins { Decoder::joining(limit) } else { Decoder::new(limit) };
        for (steps, fate, cut) in &blocks {
            let (block, said) = encoder.encode(steps);
            let list = match fate {
                0 => {
                    decoder.lose();
                    encoder.forget();
                    continue;
                }
                1 => {
                    encoder.forget();
                    decoder.decode_cut(&block[..cut.index(block.len() + 1)], ALL)
                }
                _ => {
                    let list = decoder.decode(&block, ALL);
                    prop_assert!(list.is_whole);
                    prop_assert_eq!(list.fields.len(), said.len());
                    list
                }
            };
            for ((name, value), (line, known)) in lines_of(&list).iter().zip(&said) {
                prop_assert!(name.as_ref().is_none_or(|name| *name == line.0), "{:?} for {:?}", name, line);
                prop_assert!(value.as_ref().is_none_or(|value| *value == line.1), "{:?} for {:?}", value, line);
                if limit == TABLE_BYTES {
                    prop_assert_eq!((name.is_some(), value.is_some()), *known, "{:?}", line);
                }
            }
        }
    }

    /// No bytes make it panic, or keep more than it may.
    #[test]
    fn any_bytes_are_taken(blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 1..8)) {
        let mut decoder = Decoder::joining(300);
        for block in &blocks {
            let list = decoder.decode(block, ListLimit { bytes: 200, fields: 3 });
            prop_assert!(list.fields.len() <= 3);
        }
    }
}
