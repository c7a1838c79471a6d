//! What an exchange of HTTP/2 is said to be worth.

use super::wire::{Script, data, headers, reset};
use super::{ENDS, GET, Move, OK, ONLY, POST, REQ, RES, WHOLE, check_from, fresh, start};
use crate::http::h1::limits::HttpLimits;
use crate::http::verdict::Verdict::{self, BodyCut, ClientGone, HeadLost, Hole, ResponseAbsent, Whole};

#[track_caller]
fn check(name: &str, script: Script, expected: Verdict) {
    let script = script.then(Move::Close);
    check_from(name, &|| fresh(HttpLimits::default()), &script, &|out, _| {
        assert_eq!(out[0].verdict(), expected, "{name}");
    });
}

fn got() -> Script {
    start().ask(headers(1, ONLY, GET))
}

/// Five of nine bytes.
fn half_answered() -> Script {
    let head = [(":status", "200"), ("content-length", "9")];
    got().answer([headers(1, WHOLE, &head), data(1, 0, b"01234")].concat())
}

#[test]
fn verdicts() {
    let cut = |side, at, of| BodyCut { side, at, of };
    check("everything came", got().answer(headers(1, ONLY, OK)), Whole);
    check(
        "a body of a declared length that is cut",
        half_answered(),
        cut(RES, 5, Some(9)),
    );
    check(
        "broken off by the server",
        half_answered().answer(reset(1, 2)),
        cut(RES, 5, Some(9)),
    );
    check(
        "a request that is answered before it has ended",
        start()
            .ask([headers(1, WHOLE, POST), data(1, 0, b"in")].concat())
            .answer([headers(1, ONLY, OK), reset(1, 0)].concat()),
        cut(REQ, 2, None),
    );
    check(
        "a hole in the answer",
        got()
            .answer([&headers(1, WHOLE, OK), &data(1, ENDS, b"0123456789")[..9 + 4]].concat())
            .hole(RES, 6),
        Hole { side: RES, at: 4 },
    );
    check(
        "a hole in the request",
        start()
            .ask([&headers(1, WHOLE, POST), &data(1, ENDS, b"0123456789")[..9]].concat())
            .hole(REQ, 1)
            .ask("123456789")
            .answer(headers(1, ONLY, OK)),
        Hole { side: REQ, at: 0 },
    );
    check(
        "what was left on purpose is no hole",
        got()
            .answer([&headers(1, WHOLE, OK), &data(1, ENDS, b"0123456789")[..9 + 4]].concat())
            .left(RES, 6),
        Whole,
    );
    check(
        "a head that is lost",
        got()
            .answer(&headers(1, ONLY, OK)[..9])
            .hole(RES, super::wire::block(OK).len()),
        HeadLost,
    );
    check("nobody answers", got(), ResponseAbsent);
    check("refused by the server", got().answer(reset(1, 7)), ResponseAbsent);
    check(
        "refused by a GOAWAY",
        got().answer(super::wire::goaway(0, b"")),
        ResponseAbsent,
    );
    check("cancelled before the answer", got().ask(reset(1, 8)), ClientGone);
    check(
        "cancelled in the middle of it",
        half_answered().ask(reset(1, 8)),
        ClientGone,
    );
    check(
        "cancelled after it",
        got().answer(headers(1, ONLY, OK)).ask(reset(1, 8)),
        Whole,
    );
    check(
        "a client that closes the connection",
        half_answered().then(Move::End(REQ)),
        ClientGone,
    );
    check(
        "a server that does",
        half_answered().then(Move::End(RES)),
        cut(RES, 5, Some(9)),
    );
    check(
        "a tunnel",
        start()
            .ask(headers(
                1,
                WHOLE,
                &[(":method", "CONNECT"), (":authority", "x:1")],
            ))
            .answer(headers(1, WHOLE, OK)),
        Whole,
    );
}
