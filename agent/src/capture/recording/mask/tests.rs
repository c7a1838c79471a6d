//! What a recording must not hold, in streams cut anywhere, and that a replay cannot tell the difference otherwise.

use bytes::Bytes;
use kongtap_common::record::{
    ABI, ConnId, DIRECTION_EGRESS, DIRECTION_INGRESS, FLAG_LATE, FLAG_NO_PAYLOAD, KIND_CLOSE, KIND_DATA,
    KIND_END, KIND_OPEN, OpenPayload, RecordHeader,
};
use proptest::prelude::*;
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::names::Names;
use super::{MaskCounts, Masker};
use crate::capture::decode::decode;
use crate::conn::{ConnLimits, ConnTable};
use crate::gateway::credentials;
use crate::http::exchange::{Exchange, Outcome};
use crate::message::redact::{HiddenNames, RedactedNames, Redaction};

const IN: u8 = DIRECTION_INGRESS;
const OUT: u8 = DIRECTION_EGRESS;
const CONN: ConnId = ConnId {
    tgid: 1,
    fd: 2,
    generation_ns: 3,
};

/// Kong's default places, and some of the operator's own.
fn names() -> Names {
    let own = RedactedNames {
        headers: vec!["X-Secret".into(), "Content-Length".into()],
        fields: vec!["pin code".into()],
        cookies: vec![],
    };
    Names::new(&HiddenNames::of(
        &Redaction::DefaultAnd(own),
        &credentials::defaults(),
    ))
}

fn header(kind: u8, direction: u8, pos: u64, length: usize) -> RecordHeader {
    let length = u32::try_from(length).unwrap();
    RecordHeader {
        kind,
        abi: ABI,
        flags: 0,
        captured_bytes: length,
        at_ns: 7,
        conn: CONN,
        pos_bytes: pos,
        call_bytes: length,
        direction,
        source: 0,
        pad: 0,
    }
}

fn record(header: &RecordHeader, payload: &[u8]) -> Vec<u8> {
    [header.as_bytes(), payload].concat()
}

fn open(late: bool) -> Vec<u8> {
    let ends = OpenPayload {
        local_addr: [127; 16],
        remote_addr: [127; 16],
        local_port: 8000,
        remote_port: 4000,
        family: 2,
        pad: 0,
    };
    let mut header = header(KIND_OPEN, IN, 0, size_of::<OpenPayload>());
    header.flags = if late { FLAG_LATE } else { 0 };
    record(&header, ends.as_bytes())
}

/// One thing that happens on the connection.
#[derive(Clone, Debug)]
enum Move {
    Data(u8, Vec<u8>),
    Hole(u8, u64),
    End(u8),
}

fn data(direction: u8, bytes: impl AsRef<[u8]>) -> Move {
    Move::Data(direction, bytes.as_ref().to_vec())
}

/// The records of `moves` on a connection that is seen from its start, with data cut into pieces of at most `piece` bytes.
fn records(moves: &[Move], piece: usize) -> Vec<Vec<u8>> {
    let mut records = vec![open(false)];
    let mut next = [0_u64; 2];
    for step in moves {
        match step {
            Move::Data(direction, bytes) => {
                for bytes in bytes.chunks(piece) {
                    let next = &mut next[usize::from(*direction)];
                    records.push(record(&header(KIND_DATA, *direction, *next, bytes.len()), bytes));
                    *next += u64::try_from(bytes.len()).unwrap();
                }
            }
            Move::Hole(direction, hole) => next[usize::from(*direction)] += hole,
            Move::End(direction) => {
                let header = header(KIND_END, *direction, next[usize::from(*direction)], 0);
                records.push(record(&header, &[]));
            }
        }
    }
    let ends = next.map(u64::to_ne_bytes).concat();
    records.push(record(&header(KIND_CLOSE, IN, 0, ends.len()), &ends));
    records
}

fn mask(records: &[Vec<u8>]) -> (Vec<Vec<u8>>, MaskCounts) {
    let mut masker = Masker::new();
    let (names, mut out) = (names(), Vec::new());
    for record in records {
        masker.mask(record, &names, |masked| out.push(masked.to_vec()));
    }
    (out, masker.counts())
}

/// The bytes of one direction, one piece after the other; `#` stands for a byte of which only the number is known.
fn stream(records: &[Vec<u8>], direction: u8) -> Vec<u8> {
    let mut stream = Vec::new();
    for record in records {
        let (header, payload) = RecordHeader::read_from_prefix(record).unwrap();
        if header.kind == KIND_DATA && header.direction == direction {
            let pos = usize::try_from(header.pos_bytes).unwrap();
            stream.resize(pos.max(stream.len()), b'#');
            stream.extend_from_slice(payload);
            stream.resize(pos + usize::try_from(header.call_bytes).unwrap(), b'#');
        }
    }
    stream
}

fn exchanges(records: &[Vec<u8>]) -> Vec<Exchange> {
    let (mut table, mut out) = (ConnTable::new(ConnLimits::default()), Vec::new());
    for record in records {
        table.apply(decode(record).unwrap(), &mut out);
    }
    out
}

/// What of an exchange no mask may change: everything but values.
fn shape(exchange: &Exchange) -> impl PartialEq + std::fmt::Debug + use<> {
    let request = exchange.request.as_ref().map(|request| {
        let names: Vec<Bytes> = request.headers.0.iter().map(|field| field.name.clone()).collect();
        (
            request.method.clone(),
            request.target.len(),
            names,
            request.body.total_bytes,
            request.body.wire_bytes,
            request.body.hole_bytes,
            request.body.complete,
        )
    });
    let response = exchange.response.as_ref().map(|response| {
        let names: Vec<Bytes> = response
            .headers
            .0
            .iter()
            .map(|field| field.name.clone())
            .collect();
        (
            response.status,
            names,
            response.body.total_bytes,
            response.body.wire_bytes,
            response.body.hole_bytes,
            response.body.complete,
        )
    });
    (exchange.outcome, request, response)
}

/// Masks the bytes of requests in one piece and in small ones.
#[track_caller]
fn check(requests: &str, expected: &str) {
    assert_eq!(requests.len(), expected.len(), "the case is wrong: {expected}");
    for piece in [usize::MAX, 1, 2, 3, 7] {
        let (out, counts) = mask(&records(&[data(IN, requests)], piece));
        let seen = stream(&out, IN);
        assert_eq!(
            seen.escape_ascii().to_string(),
            expected.as_bytes().escape_ascii().to_string(),
            "pieces of {piece}"
        );
        let masked = requests
            .bytes()
            .zip(expected.bytes())
            .filter(|(a, b)| a != b)
            .count();
        assert!(counts.masked_bytes >= u64::try_from(masked).unwrap());
    }
}

#[test]
fn secret_header_fields_are_masked() {
    check(
        "GET / HTTP/1.1\r\nHost: h\r\nAuthorization: Basic YTpi\r\nproxy-AUTHORIZATION:\tx y\r\nApiKey: k\r\nX-Secret:s\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nAuthorization: xxxxxxxxxx\r\nproxy-AUTHORIZATION:\txxx\r\nApiKey: x\r\nX-Secret:x\r\n\r\n",
    );
    // Folded, with bare line feeds, with blanks in odd places, with nothing in them, and names that only look alike.
    check(
        "GET / HTTP/1.1\nAuthorization: a\r\n b\r\n\tc\nOther: d\r\n e\n\n",
        "GET / HTTP/1.1\nAuthorization: x\r\n x\r\n\tx\nOther: d\r\n e\n\n",
    );
    check(
        "GET / HTTP/1.1\r\nAuthorization : a\r\nAuthorization:\r\nAuthorizations: b\r\nX: Authorization: c\r\n\r\n",
        "GET / HTTP/1.1\r\nAuthorization : x\r\nAuthorization:\r\nAuthorizations: b\r\nX: Authorization: c\r\n\r\n",
    );
}

#[test]
fn secret_query_parameters_are_masked_wherever_a_url_stands() {
    check(
        "GET /p?a=1&apikey=k1&b=2&APIKEY=k2 HTTP/1.1\r\nReferer: http://h/?jwt=t&a=1\r\n\r\n",
        "GET /p?a=1&apikey=xx&b=2&APIKEY=xx HTTP/1.1\r\nReferer: http://h/?jwt=x&a=1\r\n\r\n",
    );
    // Escaped names, a value with blanks in it that spells the version, and what is no query.
    check(
        "GET /?api%6Bey=k&api%6key=1&pin+code=2&pin%20code=3&apikey=a HTTP/1.b HTTP/1.1\r\n\r\n",
        "GET /?api%6Bey=x&api%6key=1&pin+code=x&pin%20code=x&apikey=x HTTP/1.x HTTP/1.1\r\n\r\n",
    );
    check(
        "GET /apikey=1&apikey=2 HTTP/1.1\r\nX: ?apikey=3\r\n\r\n",
        "GET /apikey=1&apikey=2 HTTP/1.1\r\nX: ?apikey=3\r\n\r\n",
    );
}

#[test]
fn secret_cookies_are_masked_and_others_are_not() {
    check(
        "GET / HTTP/1.1\r\nCookie: a=1; session=s;b=2,session=t,u; c=session\r\n\r\n",
        "GET / HTTP/1.1\r\nCookie: a=1; session=x;b=2,session=xxx; c=session\r\n\r\n",
    );
}

#[test]
fn secret_fields_of_bodies_are_masked_and_the_next_request_is_not() {
    check(
        "POST / HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 30\r\n\r\na=1&password=p \"q&apikey=k&c=3GET /?apikey=1 HTTP/1.1\r\nApikey: 2\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 30\r\n\r\na=1&password=xxxx&apikey=x&c=3GET /?apikey=x HTTP/1.1\r\nApikey: x\r\n\r\n",
    );
    check(
        "POST / HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n4\r\napik\r\n5;x=y\r\ney=ab\r\n2\r\ncd\r\n0\r\nAuthorization: t\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n4\r\napik\r\n5;x=y\r\ney=xx\r\n2\r\nxx\r\n0\r\nAuthorization: x\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    );
    check(
        "POST / HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 4\r\n\r\nabcdGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 4\r\n\r\nxxxxGET / HTTP/1.1\r\n\r\n",
    );
}

#[track_caller]
fn check_json(body: &str, expected: &str) {
    let head = |body: &str| {
        format!(
            "POST / HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    check(&head(body), &head(expected));
    if serde_json::from_str::<serde_json::Value>(body).is_ok() {
        let masked = serde_json::from_str::<serde_json::Value>(expected);
        assert!(masked.is_ok(), "no JSON any more: {expected}");
    }
}

#[test]
fn secret_members_of_json_are_masked_and_it_stays_json() {
    check_json(
        r#"{"apikey" : "a\"b\\", "x":"apikey", "Api\u006bey":"c", "y":1}"#,
        r#"{"apikey" : "xxxxxx", "x":"apikey", "Api\u006bey":"x", "y":1}"#,
    );
    check_json(
        r#"{"password":-1.5e3,"code":true,"jwt":null,"a":{"apikey":[1,"b",{"c":"d"}],"e":"f"}}"#,
        r#"{"password":-9.9e9,"code":true,"jwt":null,"a":{"apikey":[9,"x",{"x":"x"}],"e":"f"}}"#,
    );
    check_json(
        r#"{"url":"http://h/?apikey=a\"b&c=1","authorization":"Basic x"}"#,
        r#"{"url":"http://h/?apikey=xxxx&c=1","authorization":"xxxxxxx"}"#,
    );
    // No JSON, or half of it: nothing is lost on the way to the next member.
    check_json(
        r#"it"s {"apikey":"k"} {"jwt":abc}"#,
        r#"it"s {"apikey":"x"} {"jwt":xxx}"#,
    );
    check_json(r#"{"apikey":truth,"jwt":"#, r#"{"apikey":truxx,"jwt":"#);
}

#[test]
fn what_responses_repeat_is_masked_too() {
    let moves = [
        data(IN, "GET /a?apikey=k HTTP/1.1\r\n\r\nHEAD /b HTTP/1.1\r\n\r\n"),
        data(
            OUT,
            "HTTP/1.1 302 Found\r\nLocation: /b?apikey=k\r\nSet-Cookie: session=1\r\nContent-Length: 31\r\n\r\n\
             {\"headers\":{\"apikey\":\"secret\"}}HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n",
        ),
        data(IN, "GET /c HTTP/1.1\r\n\r\n"),
        data(OUT, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ];
    for piece in [usize::MAX, 1, 5] {
        let (out, _) = mask(&records(&moves, piece));
        assert_eq!(
            stream(&out, OUT).escape_ascii().to_string(),
            "HTTP/1.1 302 Found\\r\\nLocation: /b?apikey=x\\r\\nSet-Cookie: session=1\\r\\nContent-Length: 31\\r\\n\\r\\n\
             {\\\"headers\\\":{\\\"apikey\\\":\\\"xxxxxx\\\"}}HTTP/1.1 200 OK\\r\\nContent-Length: 99\\r\\n\\r\\n\
             HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok"
        );
    }
}

#[test]
fn after_a_hole_everything_is_masked_until_the_place_is_known() {
    let moves = [
        data(IN, "GET /a HTTP/1.1\r\nAutho"),
        Move::Hole(IN, 20),
        data(IN, "cret\r\nHost: h\r\n\r\n"),
        data(IN, "GET /b HTTP/1.1\r\nApikey: k\r\n\r\n"),
        data(OUT, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n"),
        Move::Hole(OUT, 5),
        data(OUT, "of it\nplain"),
        Move::Hole(OUT, 4),
        data(OUT, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ];
    let (out, _) = mask(&records(&moves, usize::MAX));
    assert_eq!(
        stream(&out, IN).escape_ascii().to_string(),
        "GET /a HTTP/1.1\\r\\nAutho####################xxxxxxxxxxxxxxxxxGET /b HTTP/1.1\\r\\nApikey: x\\r\\n\\r\\n"
    );
    assert_eq!(
        stream(&out, OUT).escape_ascii().to_string(),
        "HTTP/1.1 200 OK\\r\\nContent-Length: 20\\r\\n\\r\\n#####xxxxx\\nplain####\
         HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n"
    );
}

#[test]
fn a_connection_in_use_is_masked_until_its_next_request() {
    let late = [
        open(true),
        record(&header(KIND_DATA, IN, 500, 6), b"secret"),
        record(&header(KIND_DATA, OUT, 900, 15), b"HTTP/1.1 200 OK"),
        record(&header(KIND_DATA, IN, 506, 18), b"GET / HTTP/1.1\r\n\r\n"),
    ];
    let (out, _) = mask(&late);
    assert!(stream(&out, IN).ends_with(b"xxxxxxGET / HTTP/1.1\r\n\r\n"));
    assert!(stream(&out, OUT).ends_with(&[b'x'; 15]));
    // So is one whose first sight was lost.
    let (out, _) = mask(&late[1..]);
    assert!(stream(&out, IN).ends_with(b"xxxxxxGET / HTTP/1.1\r\n\r\n"));
}

#[test]
fn what_cannot_be_masked_is_left_out_by_length() {
    #[track_caller]
    fn check(moves: &[Move], kept: &str, counts: (u64, u64, u64)) {
        for piece in [usize::MAX, 1, 9] {
            let input = records(moves, piece);
            let (out, seen) = mask(&input);
            let text = stream(&out, IN);
            let (shown, hidden) = text.split_at(kept.len());
            assert_eq!(
                shown.escape_ascii().to_string(),
                kept.as_bytes().escape_ascii().to_string()
            );
            assert!(
                hidden.iter().all(|byte| matches!(byte, b'#' | b'x')),
                "{}",
                text.escape_ascii()
            );
            assert_eq!(text.len(), stream(&input, IN).len());
            let connections = (
                seen.http2_connections,
                seen.upgraded_connections,
                seen.not_http_connections,
            );
            assert_eq!(connections, counts, "pieces of {piece}");
            assert!(seen.left_out_bytes > 0);
        }
    }
    let http2 = "PRI * HTTP/2.0\r\n";
    check(
        &[
            data(IN, format!("{http2}\r\nSM\r\n\r\nframes with secrets")),
            data(OUT, "frames"),
        ],
        http2,
        (1, 0, 0),
    );
    let upgrade = "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n";
    let moves = [
        data(IN, upgrade),
        data(OUT, "HTTP/1.1 101 Switching Protocols\r\n\r\n\x01\x02"),
        data(IN, "secret frame"),
    ];
    check(&moves, upgrade, (0, 1, 0));
    check(
        &[data(IN, "\x16\x03\x01ciphertext"), data(IN, "more of it")],
        "\x16\x03",
        (0, 0, 1),
    );
    check(
        &[data(IN, "*2 AUTH secret"), data(IN, "more of it")],
        "",
        (0, 0, 1),
    );
}

#[test]
fn records_of_unknown_kinds_and_layouts_are_not_kept() {
    let mut strange = header(99, IN, 0, 6);
    let mut records = vec![record(&strange, b"secret")];
    strange.kind = KIND_DATA;
    strange.abi = 99;
    records.push(record(&strange, b"secret"));
    strange.abi = ABI;
    strange.direction = 9;
    records.push(record(&strange, b"secret"));
    records.push(vec![1, 2, 3]);
    let (out, counts) = mask(&records);
    assert_eq!((out.len(), counts.unknown_records), (0, 4));
}

#[test]
fn bytes_that_only_moved_stay_so() {
    let mut moved = header(KIND_DATA, OUT, 0, 0);
    moved.flags = FLAG_NO_PAYLOAD;
    moved.call_bytes = 5000;
    let input = vec![open(false), record(&moved, &[])];
    assert_eq!(mask(&input).0, input);
}

/// Requests with a secret in every place that has one, and what is around it.
fn message() -> impl Strategy<Value = String> {
    let secret = "SECRET[A-Za-z0-9]{0,12}";
    let plain = "[a-z0-9 ]{0,20}";
    let parts = (secret, plain, 0_u8..9, any::<bool>());
    parts.prop_map(|(secret, plain, place, chunked)| {
        let form = "Content-Type: application/x-www-form-urlencoded\r\n";
        let json = "Content-Type: application/json\r\n";
        let word = plain.replace(' ', "");
        let (target, fields, body) = match place {
            0 => (
                String::new(),
                format!("AuthoriZation: Bearer {secret}\r\n"),
                plain,
            ),
            1 => (format!("?a={word}&apikey={secret}"), String::new(), plain),
            2 => (
                String::new(),
                format!("Cookie: a={word}; session={secret}\r\n"),
                plain,
            ),
            3 => (
                String::new(),
                form.to_owned(),
                format!("a={word}&password={secret}&b={word}"),
            ),
            4 => (String::new(), form.to_owned(), format!("apikey={secret}")),
            5 => (
                String::new(),
                json.to_owned(),
                format!("{{\"a\":\"{plain}\",\"jwt\": \"{secret}\"}}"),
            ),
            6 => (
                String::new(),
                format!("apikey: {secret}\r\n {secret}\r\nX: {plain}\r\n"),
                String::new(),
            ),
            7 => (
                String::new(),
                String::new(),
                format!("{plain}\nauthorization: {secret}\n{plain}"),
            ),
            _ => (
                String::new(),
                format!("Referer: http://h/{word}?apikey={secret}\r\n"),
                plain,
            ),
        };
        let length = body.len();
        let (framing, body) = match (chunked, length) {
            (_, 0) => (String::new(), String::new()),
            (false, _) => (format!("Content-Length: {length}\r\n"), body),
            (true, _) => {
                let (one, two) = body.split_at(length / 2);
                let chunk = |text: &str| match text.len() {
                    0 => String::new(),
                    length => format!("{length:x}\r\n{text}\r\n"),
                };
                let body = format!("{}{}0\r\n\r\n", chunk(one), chunk(two));
                ("Transfer-Encoding: chunked\r\n".to_owned(), body)
            }
        };
        format!("POST /{target} HTTP/1.1\r\nHost: h\r\n{fields}{framing}\r\n{body}")
    })
}

const ANSWERS: [&str; 4] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n",
];

proptest! {
    #[test]
    fn no_secret_is_left_whatever_the_pieces_and_a_replay_sees_the_same_exchanges(
        requests in prop::collection::vec((message(), 0_usize..4), 1..6),
        cuts in prop::collection::vec(1_usize..40, 1..40),
        pipelined in any::<bool>(),
    ) {
        let mut moves: Vec<Move> = Vec::new();
        let answer = |index: &usize| ANSWERS[*index];
        if pipelined {
            let all: String = requests.iter().map(|(request, _)| request.as_str()).collect();
            moves.push(data(IN, all));
            moves.push(data(OUT, requests.iter().map(|(_, index)| answer(index)).collect::<String>()));
        } else {
            for (request, index) in &requests {
                moves.push(data(IN, request));
                moves.push(data(OUT, answer(index)));
            }
        }
        let whole = records(&moves, usize::MAX);
        let (masked_whole, _) = mask(&whole);
        let mut sizes = cuts.iter().cycle();
        let mut cut = Vec::new();
        for step in &moves {
            let Move::Data(direction, bytes) = step else { continue };
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                cut.push(data(*direction, piece));
                rest = after;
            }
        }
        let cut = records(&cut, usize::MAX);
        let (masked_cut, _) = mask(&cut);
        for direction in [IN, OUT] {
            prop_assert_eq!(stream(&masked_whole, direction), stream(&masked_cut, direction));
            prop_assert_eq!(stream(&whole, direction).len(), stream(&masked_whole, direction).len());
        }
        let text = String::from_utf8(stream(&masked_cut, IN)).unwrap();
        prop_assert!(!text.contains("SECR"), "{}", text);
        let (before, after) = (exchanges(&cut), exchanges(&masked_cut));
        prop_assert_eq!(before.len(), requests.len());
        prop_assert!(before.iter().all(|exchange| exchange.outcome == Outcome::Complete));
        let shapes = |exchanges: &[Exchange]| exchanges.iter().map(shape).collect::<Vec<_>>();
        prop_assert_eq!(shapes(&before), shapes(&after));
    }

    #[test]
    fn with_holes_no_secret_is_left_and_positions_are_exact(
        requests in prop::collection::vec(message(), 1..6),
        pieces in prop::collection::vec((1_usize..60, 0_u8..4), 1..40),
    ) {
        let all: String = requests.concat();
        let (mut rest, mut sizes, mut moves) = (all.as_bytes(), pieces.iter().cycle(), Vec::new());
        while !rest.is_empty() {
            let (size, fate) = sizes.next().unwrap();
            let (piece, after) = rest.split_at(rest.len().min(*size));
            rest = after;
            if *fate == 0 {
                moves.push(Move::Hole(IN, u64::try_from(piece.len()).unwrap()));
            } else {
                moves.push(data(IN, piece));
            }
        }
        moves.push(Move::End(IN));
        let input = records(&moves, usize::MAX);
        let (out, _) = mask(&input);
        let seen = stream(&out, IN);
        prop_assert_eq!(seen.len(), stream(&input, IN).len());
        prop_assert!(!seen.windows(4).any(|part| part == b"SECR"), "{}", seen.escape_ascii());
        // What was lost of the stream is lost of the same exchanges.
        let outcomes = |records: &[Vec<u8>]| exchanges(records).iter().map(|it| it.outcome).collect::<Vec<_>>();
        prop_assert_eq!(outcomes(&input), outcomes(&out));
    }

    #[test]
    fn any_records_are_masked_without_a_panic(
        noise in prop::collection::vec((any::<[u8; 6]>(), 0_u64..300, prop::collection::vec(any::<u8>(), 0..120)), 0..60),
    ) {
        let mut masker = Masker::new();
        let names = names();
        for (bits, pos, payload) in noise {
            let mut header = header(bits[0] % 6, bits[1] % 3, pos, payload.len());
            header.flags = u16::from(bits[2] % 8);
            header.conn.fd = i32::from(bits[3] % 4);
            header.call_bytes = header.call_bytes.wrapping_add(u32::from(bits[4] % 3));
            header.captured_bytes = header.captured_bytes.wrapping_sub(u32::from(bits[5] % 2));
            masker.mask(&record(&header, &payload), &names, |_| {});
        }
    }
}
