//! How header blocks come: in one frame or in many, padded, with priorities, compressed against what was said before.

use super::wire::{Script, block, continuation, data, frame, headers, padded};
use super::{ENDS, GET, OK, ONLY, POST, WHOLE, check, check_calls, start};

const GOT: &[&str] = &["1 GET /a [] -> 200 []"];

fn answered(script: Script) -> Script {
    script.answer(headers(1, ONLY, OK))
}

// RFC 9113 sections 4.3 and 6.10.
#[test]
fn continuations() {
    let get = block(GET);
    let (one, rest) = get.split_at(3);
    let (two, three) = rest.split_at(1);
    check(
        "a block in three frames",
        &answered(
            start().ask(
                [
                    frame(1, ENDS, 1, one),
                    continuation(1, 0, two),
                    continuation(1, WHOLE, three),
                ]
                .concat(),
            ),
        ),
        GOT,
    );
    check(
        "HEADERS with nothing in it, and all behind it",
        &start()
            .ask([frame(1, ENDS, 1, b""), continuation(1, WHOLE, &get)].concat())
            .answer([frame(1, ENDS, 1, b""), continuation(1, WHOLE, &block(OK))].concat()),
        GOT,
    );
    let bytewise: Vec<u8> = get.iter().flat_map(|byte| continuation(1, 0, &[*byte])).collect();
    check(
        "a frame for each byte, and an empty one at the end",
        &answered(start().ask([frame(1, ENDS, 1, b""), bytewise, continuation(1, WHOLE, b"")].concat())),
        GOT,
    );
    check(
        "empty frames between",
        &answered(
            start().ask(
                [
                    frame(1, ENDS, 1, one),
                    continuation(1, 0, b"").repeat(50),
                    continuation(1, WHOLE, rest),
                ]
                .concat(),
            ),
        ),
        GOT,
    );
    check(
        "END_STREAM is said on HEADERS and counts after the last frame",
        &answered(
            start()
                .ask(frame(1, 0, 1, one))
                .ask(continuation(1, WHOLE, rest))
                .ask(data(1, ENDS, b"body")),
        ),
        &["1 GET /a [body] -> 200 []"],
    );
    check(
        "trailers in two frames",
        &answered(
            start()
                .ask(headers(1, WHOLE, POST))
                .ask([frame(1, ENDS, 1, b"\0\x01a"), continuation(1, WHOLE, b"\x01b")].concat()),
        ),
        &["1 POST /p [] {a: b} -> 200 []"],
    );
    check(
        "padding is that of HEADERS alone",
        &answered(start().ask([padded(1, 1, ENDS, one, 9), continuation(1, WHOLE, rest)].concat())),
        GOT,
    );
}

// RFC 9113 section 6.10: nothing may come between. Peers end the connection.
#[test]
fn blocks_that_are_interrupted() {
    let get = block(GET);
    for (name, between) in [
        ("by DATA", data(1, 0, b"x")),
        ("by PING", frame(6, 0, 0, &[0; 8])),
        ("by an extension", frame(0xbb, 0, 0, b"")),
        (
            "by another stream's continuation",
            continuation(3, WHOLE, &get[3..]),
        ),
        ("by another block", headers(3, ONLY, GET)),
    ] {
        let script = start()
            .ask(
                [
                    frame(1, ENDS, 1, &get[..1]),
                    between,
                    continuation(1, WHOLE, &get[1..]),
                ]
                .concat(),
            )
            .ask(headers(5, ONLY, GET))
            .answer([headers(1, ONLY, OK), headers(5, ONLY, OK)].concat());
        check_calls(name, &script, &["1 GET ? [] -> 200 []", "5 GET /a [] -> 200 []"]);
    }
}

// RFC 9113 sections 6.1 and 6.2.
#[test]
fn padding_and_priority() {
    let with_priority = [b"\x80\0\0\0\x10", &block(POST)[..]].concat();
    check(
        "both on HEADERS, padding on DATA",
        &start()
            .ask(padded(1, 1, WHOLE | 0x20, &with_priority, 7))
            .ask(padded(0, 1, ENDS, b"body", 200))
            .answer(padded(1, 1, WHOLE, &block(OK), 0))
            .answer(padded(0, 1, ENDS, b"", 9)),
        &["1 POST /p [body] -> 200 []"],
    );
    check(
        "a priority alone",
        &answered(start().ask(frame(1, ONLY | 0x20, 1, &with_priority))),
        &["1 POST /p [] -> 200 []"],
    );
    check(
        "as much padding as there can be",
        &answered(
            start()
                .ask(padded(1, 1, WHOLE, &block(POST), 255))
                .ask(padded(0, 1, ENDS, b"x", 255)),
        ),
        &["1 POST /p [x] -> 200 []"],
    );
    check(
        "padding that is not zeros is padding all the same",
        &answered(start().ask(frame(
            1,
            ONLY | 0x8,
            1,
            &[&[3][..], &block(GET), b"\x84\x84\x84"].concat(),
        ))),
        GOT,
    );
    check(
        "more padding than payload: peers end the connection, and the table is lost",
        &answered(start().ask(frame(1, ONLY | 0x8, 1, b"\x09\x82\x84"))),
        &["1  ? [] -> 200 []"],
    );
}

// RFC 7541 sections 2.3, 4 and 6; what nghttp2, Go and h2 make of the table's size is the same by RFC 9113 section 4.3.1.
#[test]
fn tables() {
    let pairs = |script: Script, numbers: &[u32]| {
        let answers: Vec<u8> = numbers.iter().flat_map(|id| headers(*id, ONLY, OK)).collect();
        script.answer(answers)
    };
    check(
        "a stream refers to what another one said",
        &pairs(
            start()
                .ask(frame(1, ONLY, 1, b"\x82\x87\x41\x01x\x44\x02/q"))
                .ask(frame(1, ONLY, 3, b"\x82\x87\xbf\xbe")),
            &[1, 3],
        ),
        &["1 GET /q [] -> 200 []", "3 GET /q [] -> 200 []"],
    );
    check(
        "the directions have tables of their own",
        &start()
            .ask(frame(1, ONLY, 1, b"\x82\x87\x41\x01x\x44\x02/q"))
            .answer(frame(1, ONLY, 1, b"\x48\x03299"))
            .ask(frame(1, ONLY, 3, b"\x82\x87\xbf\xbe"))
            .answer(frame(1, ONLY, 3, b"\xbe")),
        &["1 GET /q [] -> 299 []", "3 GET /q [] -> 299 []"],
    );
    check(
        "trailers share the table of heads",
        &start().ask(headers(1, ONLY, GET)).answer(
            [
                frame(1, WHOLE, 1, b"\x88\x40\x01a\x01b"),
                frame(1, ONLY, 1, b"\xbe"),
            ]
            .concat(),
        ),
        &["1 GET /a [] -> 200 [] {a: b}"],
    );
    check(
        "down to nothing and up again in one block, as nghttp2 says it: the table is empty (4.2)",
        &pairs(
            start()
                .ask(frame(1, ONLY, 1, b"\x82\x87\x41\x01x\x44\x02/q"))
                .ask(frame(1, ONLY, 3, b"\x20\x3f\xe1\x1f\x82\x87\x41\x01y\x44\x02/r"))
                .ask(frame(1, ONLY, 5, b"\x82\x87\xbf\xbe")),
            &[1, 3, 5],
        ),
        &[
            "1 GET /q [] -> 200 []",
            "3 GET /r [] -> 200 []",
            "5 GET /r [] -> 200 []",
        ],
    );
    check(
        "a smaller table evicts from the oldest on (4.3)",
        &pairs(
            start()
                .ask(frame(1, ONLY, 1, b"\x82\x87\x41\x01x\x44\x02/q"))
                // 40 bytes have room for `:path: /q` (39) alone.
                .ask(frame(1, ONLY, 3, b"\x3f\x09\x82\x87\xbe\x01\x01y")),
            &[1, 3],
        ),
        &["1 GET /q [] -> 200 []", "3 GET /q [] -> 200 []"],
    );
    check(
        "what is never indexed is not (6.2.3)",
        &pairs(
            start()
                .ask(frame(1, ONLY, 1, b"\x82\x41\x01x\x14\x02/q"))
                .ask(frame(1, ONLY, 3, b"\x82\x04\x02/r\xbe")),
            &[1, 3],
        ),
        &["1 GET /q [] -> 200 []", "3 GET /r [] -> 200 []"],
    );
    check(
        "the block of a stream that is over counts too (4.3)",
        &pairs(
            start()
                .ask(headers(1, WHOLE, POST))
                .answer(frame(3, 0, 1, &[0; 4]))
                .ask(frame(1, ONLY, 1, b"\x40\x01a\x01b\x44\x02/q"))
                .ask(frame(1, ONLY, 3, b"\x82\x41\x01x\xbf")),
            &[3],
        ),
        &[
            "1 POST /p [~] -> * absent reset by server 0",
            "3 GET /q [] -> 200 []",
        ],
    );
    check(
        "a block that cannot be decoded is known up to there, and the table not at all (2.3.3)",
        &pairs(
            start()
                .ask(frame(1, ONLY, 1, b"\x82\x44\x02/q\xff\xff\xff\xff\xff"))
                .ask(frame(1, ONLY, 3, b"\x82\x87\xbe")),
            &[1, 3],
        ),
        &["1 GET /q? [] -> 200 []", "3 GET ? [] -> 200 []"],
    );
}
