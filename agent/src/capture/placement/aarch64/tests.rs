//! Shapes of functions, assembled by hand, and any bytes at all.

use proptest::prelude::{any, prop_assert, proptest};

use crate::capture::placement::{Code, Leave, Machine, Placement, Strategy, place};
use crate::capture::symbols::{FileOffset, TlsFunction};

const START: u64 = 0x1000;

const BTI_C: u32 = 0xd503_245f;
const PACIASP: u32 = 0xd503_233f;
const RETAA: u32 = 0xd65f_0bff;
/// `tbnz w2, #31, +0x40`
const TBNZ_W2: u32 = 0x37f8_0202;
/// `cbz x0, +0x40`
const CBZ_X0: u32 = 0xb400_0200;
/// `stp x29, x30, [sp, #-32]!`
const STP_FP_LR: u32 = 0xa9be_7bfd;
/// `stp x19, x20, [sp, #-32]!`
const STP_SAVED: u32 = 0xa9be_53f3;
/// `mov x29, sp`
const MOV_FP_SP: u32 = 0x9100_03fd;
/// `mov x0, x19`
const MOV_X0_X19: u32 = 0xaa13_03e0;
/// `sub sp, sp, #32`
const SUB_SP: u32 = 0xd100_83ff;
/// `bl +0x100`
const BL: u32 = 0x9400_0040;
/// `b +0x1000`, out of the function
const B_AWAY: u32 = 0x1400_0400;
/// `b -4`
const B_BACK: u32 = 0x17ff_ffff;
const RET: u32 = 0xd65f_03c0;

fn placed(function: TlsFunction, words: &[u32]) -> Option<Placement> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let code = Code {
        machine: Machine::Aarch64,
        segments: vec![(START, &bytes)],
        sizes: [(function, u64::try_from(bytes.len()).unwrap())].into(),
    };
    place(&code, &[(function, FileOffset(START))].into()).remove(&function)
}

fn check(name: &str, function: TlsFunction, words: &[u32], expected: (Strategy, u64, Option<u64>)) {
    let placement = placed(function, words).unwrap();
    let leave = match &placement.leave {
        Leave::At(point) => Some(point.offset - START),
        Leave::Return | Leave::Nothing => None,
    };
    assert_eq!(
        (placement.strategy, placement.enter.offset - START, leave),
        expected,
        "{name}: {placement}"
    );
}

#[test]
fn shapes_of_functions() {
    use Strategy::{Entry, Placed, Stepped};
    use TlsFunction::{DoHandshake, Free, Read, ReadEx, SetFd};
    for (name, function, words, expected) in [
        (
            "a test first",
            Read,
            &[TBNZ_W2, STP_FP_LR, BL, RET][..],
            (Entry, 0, None),
        ),
        (
            "bti, then a test",
            Read,
            &[BTI_C, TBNZ_W2, STP_FP_LR, BL, RET],
            (Entry, 4, None),
        ),
        (
            "a frame first",
            Read,
            &[STP_FP_LR, MOV_FP_SP, TBNZ_W2, BL, RET],
            (Placed, 8, Some(16)),
        ),
        (
            "a signed return",
            Read,
            &[PACIASP, STP_FP_LR, TBNZ_W2, BL, RET],
            (Placed, 8, Some(16)),
        ),
        (
            "a signed return in one",
            Read,
            &[PACIASP, STP_FP_LR, TBNZ_W2, BL, RETAA],
            (Stepped, 0, None),
        ),
        (
            "a call",
            ReadEx,
            &[STP_FP_LR, MOV_FP_SP, BL, RET],
            (Placed, 8, Some(12)),
        ),
        (
            "two returns",
            Read,
            &[STP_FP_LR, TBNZ_W2, RET, BL, RET],
            (Stepped, 0, None),
        ),
        (
            "a jump away",
            Read,
            &[STP_FP_LR, TBNZ_W2, BL, B_AWAY, RET],
            (Stepped, 0, None),
        ),
        (
            "an argument is gone",
            Read,
            &[MOV_X0_X19, TBNZ_W2, RET],
            (Stepped, 0, None),
        ),
        (
            "a loop leads to it",
            Free,
            &[SUB_SP, CBZ_X0, B_BACK, RET],
            (Stepped, 0, None),
        ),
        (
            "a null check",
            Free,
            &[CBZ_X0, STP_FP_LR, BL, RET],
            (Entry, 0, None),
        ),
        (
            "saved registers",
            SetFd,
            &[STP_SAVED, MOV_FP_SP, BL, RET],
            (Entry, 8, None),
        ),
        (
            "no end in sight",
            DoHandshake,
            &[STP_FP_LR, CBZ_X0, B_AWAY],
            (Stepped, 0, None),
        ),
    ] {
        check(name, function, words, expected);
    }
}

proptest! {
    #[test]
    fn any_bytes_give_an_answer(
        words in proptest::collection::vec(any::<u32>(), 0..64),
        function in proptest::sample::select(TlsFunction::ALL),
    ) {
        if let Some(placement) = placed(function, &words) {
            let end = START + u64::try_from(words.len()).unwrap() * 4;
            prop_assert!((START..end).contains(&placement.enter.offset));
        }
    }
}
