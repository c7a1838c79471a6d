//! Blocks that were lost, late joins, tables whose size changes, what is malformed, bounds.

use super::{ALL, TABLE_BYTES, bytes, check, check_one};
use crate::http::h2::hpack::{Decoder, ListLimit};

use super::appendix_c::CODED_RESPONSES;

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
