//! Shapes that compilers give to OpenSSL's functions, assembled by hand, and any bytes at all.

use std::collections::BTreeMap;

use proptest::prelude::{any, prop_assert, prop_assert_eq, prop_assume, prop_oneof, proptest};
use proptest::strategy::Strategy as _;

use crate::capture::placement::{Code, Count, Leave, Machine, Placement, Strategy, place};
use crate::capture::symbols::{FileOffset, TlsFunction};

/// Where the function under test lies in its file, and the one that it calls.
const START: u64 = 0x1000;
const INNER: u64 = 0x1200;

/// `call` and `jmp` from `at` bytes behind the start to [`INNER`].
fn to_inner(opcode: u8, at: usize) -> Vec<u8> {
    let next = START + u64::try_from(at).unwrap() + 5;
    let mut bytes = vec![opcode];
    bytes.extend(u32::try_from(INNER - next).unwrap().to_le_bytes());
    bytes
}

/// A function of pieces; `CALL` and `JUMP` stand for those to the inner function.
fn assemble(pieces: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for piece in pieces {
        match *piece {
            CALL => bytes.extend(to_inner(0xe8, bytes.len())),
            JUMP => bytes.extend(to_inner(0xe9, bytes.len())),
            piece => bytes.extend(piece),
        }
    }
    bytes
}

const CALL: &[u8] = &[0xe8];
const JUMP: &[u8] = &[0xe9];
const ENDBR: &[u8] = &[0xf3, 0x0f, 0x1e, 0xfa];
const PUSH_RBP: &[u8] = &[0x55];
const PUSH_R13: &[u8] = &[0x41, 0x55];
const MOV_RBP_RSP: &[u8] = &[0x48, 0x89, 0xe5];
const SUB_RSP_18: &[u8] = &[0x48, 0x83, 0xec, 0x18];
const SUB_RSP_8: &[u8] = &[0x48, 0x83, 0xec, 0x08];
/// `mov rax, fs:0x28; mov [rsp+8], rax; xor eax, eax`
const CANARY: &[u8] = &[
    0x64, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0, 0x48, 0x89, 0x44, 0x24, 0x08, 0x31, 0xc0,
];
const TEST_EDX: &[u8] = &[0x85, 0xd2];
const JS: &[u8] = &[0x78, 0x40];
const MOVSXD_RDX_EDX: &[u8] = &[0x48, 0x63, 0xd2];
const LEA_RCX_RSP_8: &[u8] = &[0x48, 0x8d, 0x4c, 0x24, 0x08];
const LEA_R8_RSP_8: &[u8] = &[0x4c, 0x8d, 0x44, 0x24, 0x08];
const MOV_RCX_RSP: &[u8] = &[0x48, 0x89, 0xe1];
const XOR_ECX: &[u8] = &[0x31, 0xc9];
const TEST_EAX: &[u8] = &[0x85, 0xc0];
const JLE: &[u8] = &[0x7e, 0x04];
/// `mov eax, [rsp+8]; add rsp, 0x18; ret`
const LOAD_AND_RETURN: &[u8] = &[0x8b, 0x44, 0x24, 0x08, 0x48, 0x83, 0xc4, 0x18, 0xc3];
/// `xor edx, edx; test eax, eax; cmovs eax, edx; add rsp, 8; ret`
const EX_END: &[u8] = &[
    0x31, 0xd2, 0x85, 0xc0, 0x0f, 0x48, 0xc2, 0x48, 0x83, 0xc4, 0x08, 0xc3,
];
const MOV_R8_RCX: &[u8] = &[0x49, 0x89, 0xc8];
const TEST_RDI: &[u8] = &[0x48, 0x85, 0xff];
const JE: &[u8] = &[0x74, 0x20];
const RET: &[u8] = &[0xc3];

/// Placements of `functions`, each the same `outer` bytes, in a file where `inner` lies at [`INNER`].
fn placed(functions: &[TlsFunction], outer: &[u8], inner: &[u8]) -> BTreeMap<TlsFunction, Placement> {
    let mut bytes = vec![0xcc; 0x800];
    bytes[..outer.len()].copy_from_slice(outer);
    let at = usize::try_from(INNER - START).unwrap();
    bytes[at..at + inner.len()].copy_from_slice(inner);
    let length = u64::try_from(outer.len()).unwrap();
    let code = Code {
        machine: Machine::X86_64,
        segments: vec![(START, &bytes)],
        sizes: functions.iter().map(|function| (*function, length)).collect(),
    };
    let functions = functions
        .iter()
        .map(|function| (*function, FileOffset(START)))
        .collect();
    place(&code, &functions)
}

struct Expected {
    strategy: Strategy,
    enter: u64,
    leave: Option<u64>,
    count: Count,
}

fn entry(enter: u64, count: Count) -> Expected {
    Expected {
        strategy: Strategy::Entry,
        enter: START + enter,
        leave: None,
        count,
    }
}

fn inner(enter: u64, count: Count) -> Expected {
    Expected {
        strategy: Strategy::Inner,
        enter: INNER + enter,
        leave: None,
        count,
    }
}

fn within(enter: u64, leave: u64, displacement: u16) -> Expected {
    Expected {
        strategy: Strategy::Placed,
        enter: START + enter,
        leave: Some(START + leave),
        count: Count::Local(displacement),
    }
}

fn stepped(count: Count) -> Expected {
    Expected {
        strategy: Strategy::Stepped,
        enter: START,
        leave: None,
        count,
    }
}

fn check(name: &str, function: TlsFunction, outer: &[&[u8]], callee: &[&[u8]], expected: &Expected) {
    let placements = placed(&[function], &assemble(outer), &callee.concat());
    let placement = &placements[&function];
    let leave = match &placement.leave {
        Leave::At(point) => Some(point.offset),
        Leave::Return | Leave::Nothing => None,
    };
    assert_eq!(
        (placement.strategy, placement.enter.offset, leave, placement.count),
        (expected.strategy, expected.enter, expected.leave, expected.count),
        "{name}: {placement}"
    );
}

#[test]
fn functions_that_leave_the_work_to_another() {
    use TlsFunction::{Read, ReadEx, Write, WriteEx};
    let push: &[&[u8]] = &[PUSH_R13, SUB_RSP_18, RET];
    let endbr_push: &[&[u8]] = &[ENDBR, PUSH_R13, RET];
    let null_check: &[&[u8]] = &[TEST_RDI, JE, RET];
    let stepped_inner: &[&[u8]] = &[SUB_RSP_18, RET];
    let plain: &[&[u8]] = &[
        SUB_RSP_18,
        TEST_EDX,
        JS,
        LEA_RCX_RSP_8,
        MOVSXD_RDX_EDX,
        CALL,
        TEST_EAX,
        JLE,
        LOAD_AND_RETURN,
    ];
    let protected: &[&[u8]] = &[
        SUB_RSP_18,
        CANARY,
        TEST_EDX,
        JS,
        MOV_RCX_RSP,
        MOVSXD_RDX_EDX,
        CALL,
        TEST_EAX,
        JLE,
        LOAD_AND_RETURN,
    ];
    let with_flags: &[&[u8]] = &[
        SUB_RSP_18,
        TEST_EDX,
        JS,
        LEA_R8_RSP_8,
        XOR_ECX,
        MOVSXD_RDX_EDX,
        CALL,
        TEST_EAX,
        JLE,
        LOAD_AND_RETURN,
    ];
    let with_frame: &[&[u8]] = &[
        ENDBR,
        PUSH_RBP,
        MOV_RBP_RSP,
        TEST_EDX,
        JS,
        MOVSXD_RDX_EDX,
        CALL,
        RET,
    ];
    let ex: &[&[u8]] = &[SUB_RSP_8, CALL, EX_END];
    let (a4, a5) = (Count::Argument4, Count::Argument5);
    for (name, function, outer, callee, expected) in [
        ("plain", Read, plain, push, inner(0, a4)),
        ("plain, inner with endbr64", Read, plain, endbr_push, inner(4, a4)),
        (
            "plain, inner checks for null",
            Write,
            plain,
            null_check,
            inner(3, a4),
        ),
        (
            "plain, inner steps",
            Read,
            plain,
            stepped_inner,
            within(0x06, 0x17, 8),
        ),
        ("protected", Read, protected, push, inner(0, a4)),
        (
            "protected, inner steps",
            Write,
            protected,
            stepped_inner,
            within(0x16, 0x25, 0),
        ),
        ("flags", Write, with_flags, push, inner(0, a5)),
        (
            "flags, inner steps",
            Write,
            with_flags,
            stepped_inner,
            within(0x06, 0x19, 8),
        ),
        ("frame pointer", Read, with_frame, push, entry(4, Count::Result)),
        ("ex", ReadEx, ex, push, inner(0, a4)),
        ("ex, inner steps", ReadEx, ex, stepped_inner, stepped(a4)),
        (
            "ex, a jump",
            WriteEx,
            &[MOV_R8_RCX, XOR_ECX, JUMP],
            push,
            entry(5, a5),
        ),
        (
            "ex, endbr64 and a jump",
            WriteEx,
            &[ENDBR, MOV_R8_RCX, XOR_ECX, JUMP],
            push,
            entry(9, a5),
        ),
    ] {
        check(name, function, outer, callee, &expected);
    }
}

#[test]
fn functions_without_another() {
    use TlsFunction::{DoHandshake, Free, SetFd};
    let mov_r12_esi: &[u8] = &[0x41, 0x89, 0xf4];
    for (name, function, outer, expected) in [
        (
            "push first",
            SetFd,
            &[PUSH_R13, mov_r12_esi, RET][..],
            entry(0, Count::Result),
        ),
        (
            "endbr64, push",
            SetFd,
            &[ENDBR, PUSH_RBP, RET],
            entry(4, Count::Result),
        ),
        ("test, je", Free, &[TEST_RDI, JE, RET], entry(3, Count::Result)),
        (
            "sub, then push",
            SetFd,
            &[SUB_RSP_8, PUSH_RBP, RET],
            entry(4, Count::Result),
        ),
        (
            "sub, then push, return wanted",
            DoHandshake,
            &[SUB_RSP_8, PUSH_RBP, RET],
            stepped(Count::Result),
        ),
        (
            "nothing emulated",
            Free,
            &[SUB_RSP_8, RET],
            stepped(Count::Result),
        ),
    ] {
        check(name, function, outer, &[RET], &expected);
    }
}

#[test]
fn what_makes_a_point_uncertain_moves_or_removes_it() {
    use TlsFunction::{Read, SetFd, Write};
    let push: &[&[u8]] = &[PUSH_R13, RET];
    let stepped_inner: &[&[u8]] = &[SUB_RSP_18, RET];
    let mov_edi_edx: &[u8] = &[0x89, 0xd7];
    let mov_eax_1: &[u8] = &[0xb8, 1, 0, 0, 0];
    let and_rsp: &[u8] = &[0x48, 0x83, 0xe4, 0xf0];
    let lea_r8_rdi: &[u8] = &[0x4c, 0x8d, 0x47, 0x08];
    // jmp back to the push behind `sub`.
    let back_to_push: &[u8] = &[0xeb, 0xfd];
    let result = Count::Result;
    for (name, function, outer, callee, expected) in [
        (
            "an argument is gone",
            SetFd,
            &[mov_edi_edx, PUSH_RBP, RET][..],
            push,
            stepped(result),
        ),
        (
            "a loop leads to the point",
            SetFd,
            &[SUB_RSP_8, PUSH_RBP, back_to_push],
            push,
            stepped(result),
        ),
        (
            "the result is written over",
            Read,
            &[
                SUB_RSP_18,
                TEST_EDX,
                JS,
                LEA_RCX_RSP_8,
                MOVSXD_RDX_EDX,
                CALL,
                mov_eax_1,
                JLE,
                LOAD_AND_RETURN,
            ],
            stepped_inner,
            stepped(result),
        ),
        (
            "the count is in no local",
            Write,
            &[
                SUB_RSP_18,
                TEST_EDX,
                JS,
                lea_r8_rdi,
                XOR_ECX,
                MOVSXD_RDX_EDX,
                CALL,
                TEST_EAX,
                JLE,
                LOAD_AND_RETURN,
            ],
            push,
            stepped(result),
        ),
        (
            "the frame cannot be told",
            Read,
            &[
                SUB_RSP_18,
                and_rsp,
                TEST_EDX,
                JS,
                LEA_RCX_RSP_8,
                MOVSXD_RDX_EDX,
                CALL,
                TEST_EAX,
                JLE,
                RET,
            ],
            stepped_inner,
            stepped(result),
        ),
        (
            "the error's path comes first",
            Read,
            &[SUB_RSP_18, TEST_EDX, JS, CALL, LOAD_AND_RETURN],
            push,
            stepped(result),
        ),
    ] {
        check(name, function, outer, callee, &expected);
    }
}

#[test]
fn one_probe_serves_both_forms() {
    use TlsFunction::{Read, ReadEx};
    let plain = assemble(&[
        SUB_RSP_18,
        TEST_EDX,
        JS,
        LEA_RCX_RSP_8,
        MOVSXD_RDX_EDX,
        CALL,
        TEST_EAX,
        JLE,
        LOAD_AND_RETURN,
    ]);
    // The `_ex` form, behind it.
    let at = 0x40;
    let mut bytes = vec![0xcc; 0x800];
    bytes[..plain.len()].copy_from_slice(&plain);
    let mut ex = SUB_RSP_8.to_vec();
    ex.extend(to_inner(0xe8, at + ex.len()));
    ex.extend(EX_END);
    bytes[at..at + ex.len()].copy_from_slice(&ex);
    let inner = usize::try_from(INNER - START).unwrap();
    bytes[inner..inner + 2].copy_from_slice(PUSH_R13);
    let code = Code {
        machine: Machine::X86_64,
        segments: vec![(START, &bytes)],
        sizes: BTreeMap::new(),
    };
    let at = START + u64::try_from(at).unwrap();
    let functions = [(Read, FileOffset(START)), (ReadEx, FileOffset(at))].into();
    let placements = place(&code, &functions);
    assert_eq!(placements[&Read].strategy, Strategy::Inner);
    assert_eq!(placements[&ReadEx].strategy, Strategy::Shared(Read));
    assert_eq!(placements[&ReadEx].to_string(), "seen by the probe of SSL_read");
}

proptest! {
    /// Bytes drawn from what prologues are made of, so that points are found often, and from anything.
    #[test]
    fn any_bytes_give_an_answer_and_no_point_behind_a_branch_target(
        function in proptest::sample::select(TlsFunction::ALL),
        pieces in proptest::collection::vec(
            prop_oneof![
                proptest::sample::select(vec![
                    ENDBR, PUSH_RBP, PUSH_R13, MOV_RBP_RSP, SUB_RSP_18, TEST_EDX, JS, MOVSXD_RDX_EDX, LEA_RCX_RSP_8,
                    LEA_R8_RSP_8, XOR_ECX, CALL, TEST_EAX, JLE, JE, TEST_RDI, MOV_R8_RCX, RET,
                ]).prop_map(<[u8]>::to_vec),
                proptest::collection::vec(any::<u8>(), 1..8),
            ],
            0..24,
        ),
    ) {
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let outer = assemble(&pieces);
        prop_assume!(outer.len() <= 0x200);
        let placements = placed(&[function], &outer, &[0x41, 0x55]);
        let Some(placement) = placements.get(&function) else {
            return Ok(());
        };
        let instructions: Vec<_> = iced_x86::Decoder::with_ip(64, &outer, START, iced_x86::DecoderOptions::NONE)
            .into_iter()
            .collect();
        let targets: Vec<u64> = instructions
            .iter()
            .filter(|instruction| instruction.is_jcc_short_or_near() || instruction.is_jmp_short_or_near())
            .map(iced_x86::Instruction::near_branch64)
            .collect();
        let mut points = vec![placement.enter.offset];
        if let Leave::At(point) = &placement.leave {
            points.push(point.offset);
        }
        for point in points {
            if point == START || point >= INNER {
                continue;
            }
            let at = instructions.iter().position(|instruction| instruction.ip() == point);
            let at = at.expect("a point is an instruction");
            prop_assert!(crate::capture::placement::emulated::is_emulated(&instructions[at]));
            for before in &instructions[1..=at] {
                prop_assert!(!targets.contains(&before.ip()), "{placement}");
            }
        }
    }

    #[test]
    fn an_entry_comes_before_the_first_write_to_an_argument(
        count in 0_usize..6,
        spoiler in 0_usize..5,
    ) {
        // `mov rdi|rsi|rdx|rcx|r8, rax` among harmless instructions, then a push.
        let spoilers: [&[u8]; 5] = [
            &[0x48, 0x89, 0xc7], &[0x48, 0x89, 0xc6], &[0x48, 0x89, 0xc2], &[0x48, 0x89, 0xc1], &[0x49, 0x89, 0xc0],
        ];
        let mut pieces = vec![TEST_EDX; count];
        pieces.push(spoilers[spoiler]);
        pieces.push(PUSH_RBP);
        let placements = placed(&[TlsFunction::ReadEx], &assemble(&pieces), &[0xc3]);
        let found = placements[&TlsFunction::ReadEx].strategy;
        let expected = if spoiler < 4 { Strategy::Stepped } else { Strategy::Entry };
        prop_assert_eq!(found, expected);
    }
}
