//! Any blocks, any losses: against what was encoded, and against the crate `loona-hpack` as decoder and as encoder.

use proptest::prelude::*;

use super::encoder::{Encoder, Form, NAMES, Step};
use super::{ALL, Line, TABLE_BYTES, lines_of};
use crate::http::h2::hpack::{Decoder, ListLimit};

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

    /// What another encoder says means the same to us, whatever the size of its table.
    #[test]
    fn blocks_of_another_encoder_mean_what_it_was_told(lists in prop::collection::vec(lists(), 1..24)) {
        let mut encoder = loona_hpack::Encoder::new();
        let mut decoder = Decoder::new(TABLE_BYTES);
        for lines in &lists {
            let list = decoder.decode(&encode(&mut encoder, lines), ALL);
            prop_assert!(list.is_whole);
            let known: Vec<_> = lines.iter().cloned().map(|(name, value)| (Some(name), Some(value))).collect();
            prop_assert_eq!(&lines_of(&list), &known);
        }
    }

    /// Joined at any block: nothing is wrong, what was said since is known, and in the end everything is that is said again.
    #[test]
    fn joining_another_encoder_late_gives_nothing_wrong(
        lists in prop::collection::vec(lists(), 2..24),
        joined in any::<prop::sample::Index>(),
    ) {
        let mut encoder = loona_hpack::Encoder::new();
        let mut decoder = Decoder::joining(TABLE_BYTES);
        let joined = joined.index(lists.len());
        let mut said: Vec<&Line> = Vec::new();
        for (number, lines) in lists.iter().enumerate() {
            let block = encode(&mut encoder, lines);
            if number < joined {
                continue;
            }
            let list = decoder.decode(&block, ALL);
            prop_assert!(list.is_whole);
            prop_assert_eq!(list.fields.len(), lines.len());
            for ((name, value), line) in lines_of(&list).iter().zip(lines) {
                prop_assert!(name.as_ref().is_none_or(|name| *name == line.0), "{:?} for {:?}", name, line);
                prop_assert!(value.as_ref().is_none_or(|value| *value == line.1), "{:?} for {:?}", value, line);
                let is_known = name.is_some() && value.is_some();
                // This encoder refers to the newest entry of a kind, so what it has said in full before our eyes stays known.
                prop_assert!(is_known || !said.contains(&line), "{:?} was said", line);
                if is_known {
                    said.push(line);
                }
            }
        }
    }
}

fn lists() -> impl Strategy<Value = Vec<Line>> {
    let name = prop::sample::select(
        &[
            ":method",
            ":path",
            ":status",
            "cookie",
            "x-a",
            "x-b",
            "x-long-name",
        ][..],
    );
    let value = prop_oneof![
        4 => prop::sample::select(vec!["GET", "/", "200", "a", ""]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..300),
    ];
    prop::collection::vec(
        (name, value).prop_map(|(name, value)| (name.as_bytes().to_vec(), value)),
        0..12,
    )
}

fn encode(encoder: &mut loona_hpack::Encoder<'_>, lines: &[Line]) -> Vec<u8> {
    encoder.encode(
        lines
            .iter()
            .map(|(name, value)| (name.as_slice(), value.as_slice())),
    )
}
