use kongtap_common::offsets::{ABSENT, KernelOffsets};
use proptest::prelude::*;

use super::{Btf, kernel_offsets};

/// Type information for: `int`; `struct inner { int a; int b; }`; `struct outer { int x; struct { … inner … }; int bits : 4; int z; }`.
fn sample() -> Vec<u8> {
    let strings = b"\0int\0inner\0a\0b\0outer\0x\0bits\0z\0";
    let name = |text: &str| {
        let with_end: Vec<u8> = [b"\0", text.as_bytes(), b"\0"].concat();
        let at = strings
            .windows(with_end.len())
            .position(|window| window == with_end)
            .unwrap();
        u32::try_from(at + 1).unwrap()
    };
    let structure = |members: u32, flag: u32| flag << 31 | 4 << 24 | members;
    let types: Vec<u32> = [
        vec![name("int"), 1 << 24, 4, 32],
        vec![
            name("inner"),
            structure(2, 0),
            8,
            name("a"),
            1,
            0,
            name("b"),
            1,
            32,
        ],
        vec![
            name("outer"),
            structure(4, 1),
            20,
            name("x"),
            1,
            0,
            0,
            2,
            32,
            name("bits"),
            1,
            4 << 24 | 97,
            name("z"),
            1,
            128,
        ],
    ]
    .concat();
    let types: Vec<u8> = types.into_iter().flat_map(u32::to_ne_bytes).collect();
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
    let mut all = [0xeb9f_u16.to_ne_bytes(), [1, 0]].concat();
    for field in [24, 0, length(&types), length(&types), length(strings)] {
        all.extend_from_slice(&field.to_ne_bytes());
    }
    [all, types, strings.to_vec()].concat()
}

#[test]
fn members_are_found_where_they_are() {
    let sample = sample();
    let btf = Btf::parse(&sample).unwrap();
    for (structure, member, expected) in [
        ("inner", "a", Some(0)),
        ("inner", "b", Some(4)),
        ("outer", "x", Some(0)),
        ("outer", "b", Some(8)), // of the nameless member
        ("outer", "z", Some(16)),
        ("outer", "bits", None), // begins within a byte
        ("outer", "missing", None),
        ("int", "a", None),
        ("oute", "x", None),
        ("outer", "", None),
    ] {
        assert_eq!(
            btf.member_offset(structure, member),
            expected,
            "{structure}.{member}"
        );
    }
}

#[test]
fn nothing_of_the_kernel_is_in_the_sample() {
    assert_eq!(kernel_offsets(&sample()).unwrap(), KernelOffsets::ABSENT);
}

#[test]
fn what_is_not_btf_is_refused() {
    let sample = sample();
    for length in 0..24 {
        assert!(kernel_offsets(&sample[..length]).is_err(), "{length} bytes");
    }
    assert!(kernel_offsets(&sample[..sample.len() - 1]).is_err());
    assert!(kernel_offsets(b"\x7fELF").is_err());
}

#[test]
fn this_kernel_has_every_field() {
    let Ok(btf) = std::fs::read("/sys/kernel/btf/vmlinux") else {
        super::super::tests::skip("no /sys/kernel/btf/vmlinux");
        return;
    };
    let offsets = kernel_offsets(&btf).unwrap();
    assert!(
        !format!("{offsets:?}").contains(&ABSENT.to_string()),
        "{offsets:?}"
    );
    // The head of `sock_common` is what the probes take for granted.
    let btf = Btf::parse(&btf).unwrap();
    for (member, expected) in [
        ("skc_daddr", 0),
        ("skc_rcv_saddr", 4),
        ("skc_hash", 8),
        ("skc_dport", 12),
        ("skc_num", 14),
        ("skc_family", 16),
        ("skc_state", 18),
    ] {
        assert_eq!(
            btf.member_offset("sock_common", member),
            Some(expected),
            "{member}"
        );
    }
}

proptest! {
    #[test]
    fn damaged_type_information_gives_an_answer(at in 0..200_usize, value in any::<u8>()) {
        let mut bytes = sample();
        let length = bytes.len();
        bytes[at % length] = value;
        // It may be wrong, but it is one: no panic, no endless search, and whole bytes.
        let found = Btf::parse(&bytes).ok().and_then(|btf| btf.member_offset("outer", "b"));
        prop_assert!(found.is_none_or(|offset| offset <= u32::MAX / 8), "{:?}", found);
    }
}
