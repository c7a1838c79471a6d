//! The C library that this test runs on, and files that are none.

use std::path::Path;

use super::{LibcError, LibcFinder, Placing, PointKind, points};
use crate::capture::gateways::Pid;
use crate::capture::libraries::maps::MapsText;
use crate::capture::sources::CALLS;

#[test]
fn every_call_has_a_point_in_the_library_of_this_process() {
    let own = Pid(std::process::id());
    for placing in [Placing::BehindCalls, Placing::EntriesAlone] {
        let files = match LibcFinder::new(placing).search(own) {
            Ok(files) => files,
            Err(error) => panic!("{error}"),
        };
        for call in CALLS {
            let is_there = |file: &super::LibcFile| {
                file.points.iter().any(|point| {
                    let is_kind = placing == Placing::BehindCalls || point.kind == PointKind::EntryAndReturn;
                    point.number == call.number && is_kind
                })
            };
            assert!(files.iter().any(is_there), "{}: {files:?}", call.tracepoint);
        }
    }
}

#[test]
fn a_process_that_is_gone_and_a_file_that_is_no_library_are_said() {
    let gone = LibcFinder::default().search(Pid(1 << 22));
    assert!(matches!(gone, Err(LibcError::Maps(..))), "{gone:?}");
    for bytes in [&b""[..], b"\x7fELF", b"#!/bin/sh\n"] {
        assert_eq!(points(bytes, Placing::BehindCalls), []);
    }
}

#[test]
fn a_library_cut_off_anywhere_gives_an_answer() {
    let maps = MapsText::read(Pid(std::process::id())).unwrap();
    let libc = maps
        .executable_files()
        .into_iter()
        .find(super::is_c_library)
        .unwrap();
    let whole = std::fs::read(&libc.path).unwrap();
    let all = points(&whole, Placing::BehindCalls).len();
    assert!(all >= CALLS.len(), "{all}");
    for length in (0..whole.len()).step_by(whole.len() / 37) {
        assert!(points(&whole[..length], Placing::BehindCalls).len() <= all);
    }
}

#[test]
fn names_of_c_libraries() {
    for (line, expected) in [
        ("1-2 r-xp 0 fe:00 3 /usr/lib/x86_64-linux-gnu/libc.so.6", true),
        ("1-2 r-xp 0 fe:00 3 /lib/libc-2.31.so", true),
        ("1-2 r-xp 0 fe:00 3 /lib/libpthread.so.0", true),
        ("1-2 r-xp 0 fe:00 3 /lib/ld-musl-x86_64.so.1", true),
        ("1-2 r-xp 0 fe:00 3 /usr/lib/libc-client.so.2007e", false),
        ("1-2 r-xp 0 fe:00 3 /usr/lib/libcrypto.so.3", false),
    ] {
        let files = MapsText(line.as_bytes().to_vec()).executable_files();
        let [file] = files.as_slice() else {
            panic!("{line}")
        };
        assert_eq!(
            super::is_c_library(file),
            expected,
            "{}",
            Path::new(line).display()
        );
    }
}
