//! Each bound of the parser, reached; and floods, which must not make it hold more.

use super::wire::{Script, block, continuation, data, frame, headers, reset, settings};
use super::{ENDS, GET, Move, OK, ONLY, POST, REQ, RES, WHOLE, conn, fresh, lines, play, start};
use crate::capture::event::KernelTime;
use crate::http::exchange::{Exchange, Leg};
use crate::http::h1::limits::HttpLimits;
use crate::http::h2::Http2;

fn with(change: impl FnOnce(&mut HttpLimits)) -> HttpLimits {
    let mut limits = HttpLimits::default();
    change(&mut limits);
    limits
}

fn run(limits: HttpLimits, script: &Script) -> (Vec<Exchange>, Http2) {
    play(fresh(limits), &script.moves)
}

#[test]
fn streams_are_bounded() {
    let mut script = start();
    for id in [1, 3, 5, 7] {
        script = script.ask(headers(id, ONLY, GET));
    }
    let (out, mut http) = run(with(|limits| limits.h2.streams = 2), &script);
    assert_eq!(
        lines(&out),
        ["1 GET /a [] -> * absent", "3 GET /a [] -> * absent"]
    );
    assert_eq!(http.take_stats().given_up_streams, 2);
}

#[test]
fn what_streams_hold_is_bounded() {
    let post = |id| [headers(id, WHOLE, POST), data(id, 0, &[b'x'; 4000])].concat();
    let script = [1, 3, 5]
        .into_iter()
        .fold(start(), |script, id| script.ask(post(id)));
    let limits = with(|limits| limits.h2.held_bytes = 12_000);
    let (out, http) = run(limits, &script);
    assert!(out.is_empty() && http.streams.held_bytes() <= 12_000);
    // Bodies have half of it: the first is whole, the second is cut, the third is counted alone.
    let (out, http) = run(
        limits,
        &script
            .ask([1, 3, 5].map(|id| data(id, ENDS, b"")).concat())
            .answer([1, 3, 5].map(|id| headers(id, ONLY, OK)).concat()),
    );
    let kept: Vec<_> = out
        .iter()
        .map(|exchange| &exchange.request.as_ref().unwrap().body)
        .collect();
    assert!(
        kept.iter()
            .all(|body| body.total_bytes == 4000 && body.complete && body.hole_bytes == 0)
    );
    assert_eq!((kept[0].bytes.len(), kept[2].bytes.len()), (4000, 0));
    assert!(
        (1..2000).contains(&kept[1].bytes.len()),
        "{}",
        kept[1].bytes.len()
    );
    assert_eq!(http.streams.held_bytes(), 0);
    // Heads have all of it, then the oldest stream gives way.
    let value = "v".repeat(5000);
    let script = [1, 3, 5].into_iter().fold(start(), |script, id| {
        script.ask(headers(id, ONLY, &[GET, &[("x", &value)]].concat()))
    });
    let (out, mut http) = run(limits, &script);
    assert_eq!(lines(&out), ["1 GET /a [] -> * absent"]);
    assert!(http.streams.held_bytes() <= 12_000);
    assert_eq!(http.take_stats().given_up_streams, 1);
}

#[test]
fn bodies_and_heads() {
    let limits = with(|limits| (limits.body_bytes, limits.head_bytes, limits.fields) = (4, 400, 6));
    let long = "v".repeat(500);
    let many = [GET, &[("a", "1"), ("b", "2"), ("c", "3")]].concat();
    let script = start()
        .ask(headers(1, ONLY, &[GET, &[("long", &long)]].concat()))
        .ask(headers(3, ONLY, &many))
        .ask(
            [
                frame(1, ENDS, 5, &block(GET)),
                continuation(5, 0, &b"\0\x01a\x01b".repeat(60)),
                continuation(5, WHOLE, &b"\0\x01a\x01b".repeat(60)),
            ]
            .concat(),
        )
        .ask(headers(7, ONLY, GET))
        .answer([1, 3, 5, 7].map(|id| headers(id, WHOLE, OK)).concat())
        .answer([1, 3, 5, 7].map(|id| data(id, ENDS, b"012345")).concat());
    let (out, _) = run(limits, &script);
    assert_eq!(
        lines(&out),
        [
            "1 GET /a? [] -> 200 [0123~]",
            "3 GET /a? [] -> 200 [0123~] !too_many_fields",
            "5 GET /a? [] -> 200 [0123~] !too_many_fields",
            "7 GET /a [] -> 200 [0123~]",
        ]
    );
    assert_eq!(out[0].response.as_ref().unwrap().body.total_bytes, 6);
}

#[test]
fn bodies_are_kept_from_when_they_are_wanted() {
    let mut http = fresh(with(|limits| limits.body_bytes = 0));
    let mut out = Vec::new();
    let exchange = |id| {
        [
            (REQ, headers(id, ONLY, GET)),
            (RES, [headers(id, WHOLE, OK), data(id, ENDS, b"body")].concat()),
        ]
    };
    let moves = start().calls();
    for (side, bytes) in moves.chain(exchange(1)) {
        http.data(side, bytes.into(), KernelTime(1), &mut out);
    }
    http.keep_bodies(100);
    for (side, bytes) in exchange(3) {
        http.data(side, bytes.into(), KernelTime(2), &mut out);
    }
    assert_eq!(
        lines(&out),
        ["1 GET /a [] -> 200 [~]", "3 GET /a [] -> 200 [body]"]
    );
}

#[test]
fn the_upstream_leg_keeps_no_bodies() {
    let script = start()
        .ask(headers(1, ONLY, GET))
        .answer([headers(1, WHOLE, OK), data(1, ENDS, b"body")].concat());
    let (out, _) = play(
        Http2::new(conn(), Leg::Upstream, HttpLimits::default()),
        &script.moves,
    );
    assert_eq!(lines(&out), ["1 GET /a [] -> 200 [~]"]);
}

#[test]
fn tables_are_bounded() {
    // Room for two entries of 34 bytes: the oldest of three is not known any more, and nothing is wrong.
    let script = start()
        .ask(frame(
            1,
            ONLY,
            1,
            b"\x82\x84\x41\x01x\x40\x01a\x01b\x40\x01c\x01d\x40\x01e\x01f",
        ))
        .ask(frame(1, ONLY, 3, b"\x82\x84\x01\x01x\xbe\xbf\xc0"))
        .answer([headers(1, ONLY, OK), headers(3, ONLY, OK)].concat());
    let (out, mut http) = run(with(|limits| limits.h2.table_bytes = 70), &script);
    let request = out[1].request.as_ref().unwrap();
    let known: Vec<_> = ["a", "c", "e"].map(|name| request.headers.text(name)).to_vec();
    assert_eq!(known, [None, Some("d"), Some("f")]);
    assert_eq!(http.take_stats().unknown_fields, 1);
}

#[test]
fn streams_in_doubt_are_given_up() {
    let limits = with(|limits| limits.h2.doubtful_ns = 1000);
    let wait = |ns| {
        start()
            .ask(headers(1, ONLY, GET))
            .hole(RES, 50)
            .then(Move::Wait(ns))
            .ask(headers(3, ONLY, GET))
    };
    assert!(run(limits, &wait(900)).0.is_empty());
    let (out, mut http) = run(limits, &wait(1000));
    assert_eq!(lines(&out), ["1 GET /a [] -> * lost"]);
    assert_eq!(http.take_stats().given_up_streams, 1);
}

// Floods. What is held must not grow with what came.

/// Plays one piece of bytes many times.
fn flood(
    times: u32,
    mut piece: impl FnMut(u32) -> Vec<u8>,
    side: crate::http::h1::Side,
) -> (Vec<Exchange>, Http2, usize) {
    let (mut out, mut http) = play(fresh(HttpLimits::default()), &start().moves);
    let mut most = 0;
    for number in 0..times {
        http.data(side, piece(number).into(), KernelTime(9), &mut out);
        most = most.max(http.streams.held_bytes());
    }
    (out, http, most)
}

// CVE-2023-44487.
#[test]
fn a_rapid_reset() {
    let piece = |number| [headers(2 * number + 1, ONLY, GET), reset(2 * number + 1, 8)].concat();
    let (out, http, most) = flood(20_000, piece, REQ);
    assert_eq!((out.len(), http.streams.held_bytes(), most), (20_000, 0, 0));
}

// CVE-2024-24549, CVE-2024-27316 and their kin.
#[test]
fn a_flood_of_continuations() {
    let piece = |number| match number {
        0 => frame(1, ENDS, 1, &block(GET)),
        19_999 => continuation(1, WHOLE, b""),
        _ => continuation(1, 0, &[0, 1, b'a', 1, b'b'].repeat(40)),
    };
    let (_, http, most) = flood(20_000, piece, REQ);
    // The block is 4 MB; its text is kept up to `head_bytes`, and so are its fields.
    assert!(most < 1 << 20, "{most}");
    let (mut out, mut http) = (Vec::new(), http);
    http.data(RES, headers(1, ONLY, OK).into(), KernelTime(9), &mut out);
    assert_eq!(lines(&out), ["1 GET /a? [] -> 200 [] !too_many_fields"]);
    assert_eq!(
        out[0].request.as_ref().unwrap().headers.0.len(),
        HttpLimits::default().fields - 3
    );
}

// One byte of a block may stand for kilobytes of a field that the table holds.
#[test]
fn a_bomb_of_references() {
    let value = [b'v'; 4000];
    let mut block = b"\x82\x84\x40\x01a\x7f\xa1\x1e".to_vec();
    block.extend(value);
    block.extend([0xbe; 16_000 - 4007]);
    let (out, http) = run(HttpLimits::default(), &start().ask(frame(1, ONLY, 1, &block)));
    assert!(out.is_empty());
    assert!(
        http.streams.held_bytes() < 2 * HttpLimits::default().head_bytes,
        "{}",
        http.streams.held_bytes()
    );
}

// CVE-2019-9512, -9515, -9518.
#[test]
fn floods_of_frames_that_say_nothing() {
    for piece in [
        settings(&[(1, 0)]),
        frame(6, 0, 0, &[0; 8]),
        data(1, 0, b""),
        frame(2, 0, 1, &[0; 5]),
        frame(0xbe, 0, 0, b""),
    ] {
        let (out, http, most) = flood(20_000, |_| piece.repeat(4), REQ);
        assert_eq!((out.len(), http.streams.held_bytes(), most), (0, 0, 0));
    }
}

#[test]
fn what_may_be_a_frame_is_held_up_to_a_bound() {
    // Each call begins like a frame of 60 kB, which never ends as one.
    let piece = [&[0, 0xea, 0x60, 0, 0, 0, 0, 0, 1][..], &[0xff; 991]].concat();
    let mut http = super::joining();
    let mut out = Vec::new();
    for _ in 0..2000 {
        http.data(REQ, piece.clone().into(), KernelTime(1), &mut out);
    }
    // 2 MB came; what is not passed over is held.
    let skipped = http.take_stats().skipped_bytes;
    assert!(skipped >= 2_000_000 - (160 << 10), "{skipped}");
}
