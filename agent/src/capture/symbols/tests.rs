//! Files that are made for the purpose. The system's libssl is read in the tests of `libraries`.

use proptest::prelude::*;

use super::made_elf::{Elf, TEXT_ADDRESS, TEXT_BYTES, TEXT_OFFSET};
use super::{ElfFacts, FileOffset, TlsFunction, openssl_version, read};

fn check(functions: &[(&str, u64)], expected: &[(TlsFunction, u64)]) {
    let elf = Elf {
        functions,
        rodata: b"",
        has_symbols: true,
    };
    let facts = read(&elf.bytes()).expect("well formed");
    let found: Vec<_> = facts
        .functions
        .iter()
        .map(|(function, offset)| (*function, offset.0))
        .collect();
    assert_eq!(found, expected, "{functions:?}");
}

#[test]
fn an_address_becomes_the_place_in_the_file() {
    check(
        &[("SSL_read", TEXT_ADDRESS), ("SSL_write", TEXT_ADDRESS + 0x7ff)],
        &[(TlsFunction::Read, 0x1000), (TlsFunction::Write, 0x17ff)],
    );
}

#[test]
fn addresses_outside_the_executable_bytes_are_left_out() {
    check(
        &[
            ("SSL_read", TEXT_ADDRESS + TEXT_BYTES),
            ("SSL_write", 0),
            ("SSL_free", u64::MAX),
        ],
        &[],
    );
}

#[test]
fn only_whole_known_names_count() {
    check(
        &[
            ("SSL_read_early_data", TEXT_ADDRESS),
            ("SSL_rea", TEXT_ADDRESS),
            ("", TEXT_ADDRESS),
        ],
        &[],
    );
    for function in TlsFunction::ALL {
        check(&[(function.symbol(), TEXT_ADDRESS + 16)], &[(*function, 0x1010)]);
    }
}

#[test]
fn a_file_without_symbols_has_no_functions() {
    let elf = Elf {
        functions: &[],
        rodata: b"",
        has_symbols: false,
    };
    let facts = read(&elf.bytes()).expect("well formed");
    assert_eq!(facts, ElfFacts::default());
    assert!(!facts.carries_data());
}

#[test]
fn what_is_no_elf_file_is_an_error() {
    for file in [&b""[..], b"\x7fELF", b"#!/bin/sh\n", b"MZ", &[0; 4096]] {
        assert!(read(file).is_err(), "{file:?}");
        assert_eq!(openssl_version(file), None);
    }
}

#[test]
fn the_version_is_the_text_that_openssl_prints() {
    let check = |rodata: &[u8], expected: Option<&str>| {
        let elf = Elf {
            functions: &[],
            rodata,
            has_symbols: true,
        };
        assert_eq!(openssl_version(&elf.bytes()).as_deref(), expected, "{rodata:?}");
    };
    check(
        b"x\0OpenSSL 3.0.19 27 Jan 2026\0y",
        Some("OpenSSL 3.0.19 27 Jan 2026"),
    );
    check(
        b"OpenSSL 1.1.1w  11 Sep 2023\0",
        Some("OpenSSL 1.1.1w  11 Sep 2023"),
    );
    check(
        b"OpenSSL 3.5.0-beta1 25 Mar 2025\0",
        Some("OpenSSL 3.5.0-beta1 25 Mar 2025"),
    );
    check(b"OpenSSL default user interface\0OpenSSL PKCS#3 DH method", None);
    check(b"", None);
}

proptest! {
    /// Whatever a file claims of itself, reading it ends, and no offset leaves the file.
    #[test]
    fn a_broken_file_is_survived(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..24), cut in any::<prop::sample::Index>(), cuts in any::<bool>()) {
        let functions = TlsFunction::ALL.iter().map(|function| (function.symbol(), TEXT_ADDRESS));
        let functions: Vec<_> = functions.collect();
        let mut file = Elf { functions: &functions, rodata: b"OpenSSL 3.0.19 27 Jan 2026", has_symbols: true }.bytes();
        // The text is zeros: damage goes where the structure is.
        let (text, rest) = (usize::try_from(TEXT_OFFSET).expect("small"), usize::try_from(TEXT_OFFSET + TEXT_BYTES).expect("small"));
        let structure: Vec<usize> = (0..120).chain(rest..file.len()).collect();
        prop_assert!(text > 120);
        for (at, value) in changes {
            file[*at.get(&structure)] = value;
        }
        if cuts {
            file.truncate(cut.index(file.len()));
        }
        if let Ok(facts) = read(&file) {
            for FileOffset(offset) in facts.functions.values() {
                prop_assert!(usize::try_from(*offset).is_ok_and(|offset| offset < file.len()));
            }
        }
        let _version = openssl_version(&file);
    }
}
