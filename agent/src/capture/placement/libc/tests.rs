//! Code in the shapes that C libraries really have.

use std::collections::BTreeSet;

use super::{Function, Placement, Processor, place};

const ADDRESS: u64 = 0x1000;
/// Another function that is probed.
const OTHER: u64 = 0x1100;
const RECVFROM: i64 = 45;

fn check(what: &str, code: &[&[u8]], number: i64, expected: &Placement) {
    check_on(Processor::X86_64, what, code, number, expected);
}

fn check_on(processor: Processor, what: &str, code: &[&[u8]], number: i64, expected: &Placement) {
    let function = Function {
        code: &code.concat(),
        address: ADDRESS,
        number,
    };
    let probed = BTreeSet::from([ADDRESS, OTHER]);
    assert_eq!(place(processor, &function, &probed), *expected, "{what}");
}

const SET_RECVFROM: &[u8] = &[0xb8, 0x2d, 0, 0, 0]; // mov $45,%eax
const SET_READ: &[u8] = &[0x31, 0xc0]; // xor %eax,%eax
const SET_OTHER: &[u8] = &[0xb8, 0xca, 0, 0, 0]; // mov $202,%eax: futex
const SET_BY_ARGUMENT: &[u8] = &[0x89, 0xf8]; // mov %edi,%eax
const MOVE: &[u8] = &[0x48, 0x8b, 0x74, 0x24, 0x08]; // mov 8(%rsp),%rsi
const SYSCALL: &[u8] = &[0x0f, 0x05];
const COMPARE: &[u8] = &[0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff]; // cmp $-4096,%rax
const COMPARE_4095: &[u8] = &[0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff]; // cmp $-4095,%rax
const COMPARE_OTHER: &[u8] = &[0x48, 0x3d, 0x00, 0xff, 0xff, 0xff]; // cmp $-256,%rax
const JA: &[u8] = &[0x77, 0x10];
const JA_NEAR: &[u8] = &[0x0f, 0x87, 0x80, 0, 0, 0];
const JAE: &[u8] = &[0x73, 0x01];
const JE: &[u8] = &[0x74, 0x10];
const RET: &[u8] = &[0xc3];

#[test]
fn behind_every_call_of_glibcs_functions() {
    check(
        "one call (sendfile)",
        &[SET_RECVFROM, SYSCALL, COMPARE_4095, JAE, RET],
        RECVFROM,
        &Placement::Behind(vec![13]),
    );
    check(
        "number zero (read)",
        &[SET_READ, SYSCALL, COMPARE, JA, RET],
        0,
        &Placement::Behind(vec![10]),
    );
    check(
        "two, one with arguments restored behind the number (recvfrom)",
        &[
            SET_RECVFROM,
            SYSCALL,
            COMPARE,
            JA,
            RET,
            SET_RECVFROM,
            MOVE,
            SYSCALL,
            COMPARE,
            JA_NEAR,
            RET,
        ],
        RECVFROM,
        &Placement::Behind(vec![13, 34]),
    );
    check(
        "another call besides, which is none of ours",
        &[SET_OTHER, SYSCALL, RET, SET_RECVFROM, SYSCALL, COMPARE, JA, RET],
        RECVFROM,
        &Placement::Behind(vec![21]),
    );
}

#[test]
fn entry_and_return_where_that_is_not_certain() {
    for (what, code) in [
        (
            "another comparison",
            &[SET_RECVFROM, SYSCALL, COMPARE_OTHER, JA][..],
        ),
        ("another condition", &[SET_RECVFROM, SYSCALL, COMPARE, JE]),
        ("nothing behind", &[SET_RECVFROM, SYSCALL]),
        ("something between", &[SET_RECVFROM, SYSCALL, MOVE, COMPARE, JA]),
        ("a number nobody knows", &[SET_BY_ARGUMENT, SYSCALL, COMPARE, JA]),
        ("no number at all", &[SYSCALL, COMPARE, JA]),
        (
            "one good and one bad",
            &[
                SET_RECVFROM,
                SYSCALL,
                COMPARE,
                JA,
                RET,
                SET_RECVFROM,
                SYSCALL,
                RET,
            ],
        ),
        // jmp to the ja
        (
            "a way into the middle",
            &[&[0xeb, 0x0d], SET_RECVFROM, SYSCALL, COMPARE, JA],
        ),
        // call to a function that makes the call (glibc from 2.41 on, musl)
        ("a call elsewhere", &[&[0xe8, 0x80, 0, 0, 0], RET]),
        ("bytes that are no code", &[&[0x06, 0x07]]),
        ("no bytes", &[]),
    ] {
        check(what, code, RECVFROM, &Placement::EntryAndReturn);
    }
}

#[test]
fn nowhere_in_a_function_that_passes_on_to_a_probed_one() {
    // jmp OTHER, as musl's recv does to recvfrom; call OTHER, as its sendmmsg does to sendmsg
    check(
        "a jump",
        &[&[0xe9, 0xfb, 0, 0, 0]],
        RECVFROM,
        &Placement::Forwards,
    );
    check(
        "a call",
        &[&[0xe8, 0xfb, 0, 0, 0], RET],
        RECVFROM,
        &Placement::Forwards,
    );
    // jmp ADDRESS
    check(
        "a loop of its own",
        &[&[0xeb, 0xfe]],
        RECVFROM,
        &Placement::EntryAndReturn,
    );
    let arm = |what, code: &[u8], expected| check_on(Processor::Aarch64, what, &[code], 207, expected);
    // mov x4,#0; b OTHER
    arm(
        "b",
        &[0x04, 0, 0x80, 0xd2, 0x3f, 0, 0, 0x14],
        &Placement::Forwards,
    );
    // bl to the word before the function
    arm("bl", &[0xff, 0xff, 0xff, 0x97], &Placement::EntryAndReturn);
    // svc #0; ret
    arm(
        "svc",
        &[0x01, 0, 0, 0xd4, 0xc0, 0x03, 0x5f, 0xd6],
        &Placement::EntryAndReturn,
    );
}
