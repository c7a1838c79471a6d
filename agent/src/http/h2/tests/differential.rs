//! Whole connections against another implementation: a client and a server of the crate `h2` talk through memory, what they say is tapped,
//! and what we make of it must be what they made of it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::{Move, REQ, RES, fresh, joining, play};
use crate::http::exchange::{Body, Exchange, HeadState, Outcome};
use crate::http::h1::limits::HttpLimits;
use crate::http::headers::Headers;

/// Fields as text, sorted by name: `h2` keeps no order between names.
type Lines = Vec<(String, Vec<u8>)>;

/// One exchange, as planned and as somebody saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Said {
    method: String,
    target: String,
    fields: Lines,
    body: Vec<u8>,
    trailers: Lines,
    status: u16,
    answer_fields: Lines,
    answer: Vec<u8>,
    answer_trailers: Lines,
}

/// What is to be said on one connection.
#[derive(Clone, Debug)]
struct Plan {
    exchanges: Vec<Said>,
    /// Bytes of a piece of a body.
    piece: usize,
    frame_bytes: u32,
    table_bytes: u32,
}

/// What moved, in order.
type Tap = Arc<Mutex<Vec<Move>>>;

/// The client's end of the connection.
struct Tapped {
    inner: DuplexStream,
    tap: Tap,
}

impl AsyncRead for Tapped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, into);
        let new = into.filled()[before..].to_vec();
        if !new.is_empty() {
            self.tap.lock().unwrap().push(Move::Data(RES, new));
        }
        polled
    }
}

impl AsyncWrite for Tapped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        if let Poll::Ready(Ok(taken)) = &polled {
            self.tap
                .lock()
                .unwrap()
                .push(Move::Data(REQ, bytes[..*taken].to_vec()));
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

fn header_map(lines: &Lines) -> HeaderMap {
    let parse = |(name, value): &(String, Vec<u8>)| {
        (
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value).unwrap(),
        )
    };
    let mut map = HeaderMap::new();
    for (name, value) in lines.iter().map(parse) {
        map.append(name, value);
    }
    map
}

fn lines_of(map: &HeaderMap) -> Lines {
    sorted(
        map.iter()
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())),
    )
}

fn sorted(lines: impl Iterator<Item = (String, Vec<u8>)>) -> Lines {
    let mut lines: Lines = lines.collect();
    // Repeats keep their order.
    lines.sort_by(|(one, _), (other, _)| one.cmp(other));
    lines
}

async fn receive(mut body: RecvStream) -> (Vec<u8>, Lines) {
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        bytes.extend_from_slice(&piece);
    }
    let trailers = body.trailers().await.unwrap();
    (bytes, trailers.as_ref().map(lines_of).unwrap_or_default())
}

fn send(stream: &mut h2::SendStream<Bytes>, body: &[u8], trailers: &Lines, piece: usize) {
    for piece in body.chunks(piece) {
        stream.send_data(Bytes::copy_from_slice(piece), false).unwrap();
    }
    if trailers.is_empty() {
        stream.send_data(Bytes::new(), true).unwrap();
    } else {
        stream.send_trailers(header_map(trailers)).unwrap();
    }
}

/// The number of its plan, which each request carries.
fn number(fields: &HeaderMap) -> usize {
    fields["x-number"].to_str().unwrap().parse().unwrap()
}

/// Has the plan said. Answers what moved, and what client and server made of it, by the number of the stream.
fn talk(plan: &Plan) -> (Vec<Move>, Vec<(u32, Said)>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let tap = Tap::default();
    let (client, server) = tokio::io::duplex(1 << 16);
    let client = Tapped {
        inner: client,
        tap: Arc::clone(&tap),
    };
    let said = runtime.block_on(async {
        let plan = Arc::new(plan.clone());
        let served = tokio::spawn(serve(server, Arc::clone(&plan)));
        let (mut sender, connection) = h2::client::Builder::new()
            .max_frame_size(plan.frame_bytes)
            .header_table_size(plan.table_bytes)
            .handshake(client)
            .await
            .unwrap();
        let driver = tokio::spawn(connection);
        let mut calls = Vec::new();
        for (at, exchange) in plan.exchanges.iter().enumerate() {
            sender = sender.ready().await.unwrap();
            let mut request = http::Request::builder()
                .method(exchange.method.as_str())
                .uri(format!("https://host.test{}", exchange.target))
                .body(())
                .unwrap();
            *request.headers_mut() = header_map(&exchange.fields);
            request.headers_mut().insert("x-number", HeaderValue::from(at));
            let (answer, mut stream) = sender.send_request(request, false).unwrap();
            let id = answer.stream_id().as_u32();
            send(&mut stream, &exchange.body, &exchange.trailers, plan.piece);
            calls.push(tokio::spawn(async move {
                let (head, body) = answer.await.unwrap().into_parts();
                let (answer, answer_trailers) = receive(body).await;
                let seen = Said {
                    status: head.status.as_u16(),
                    answer_fields: lines_of(&head.headers),
                    answer,
                    answer_trailers,
                    ..Said::default()
                };
                (id, seen)
            }));
        }
        let mut answers = Vec::new();
        for call in calls {
            answers.push(call.await.unwrap());
        }
        drop(sender);
        driver.await.unwrap().unwrap();
        let requests = served.await.unwrap();
        let both = answers.into_iter().enumerate().map(|(at, (id, answer))| {
            let (_, request) = requests.iter().find(|(number, _)| *number == at).unwrap().clone();
            let said = Said {
                method: request.method,
                target: request.target,
                fields: request.fields,
                body: request.body,
                trailers: request.trailers,
                ..answer
            };
            (id, said)
        });
        both.collect()
    });
    let moves = tap.lock().unwrap().clone();
    (moves, said)
}

/// Answers what the plan says, and tells what it was asked.
async fn serve(stream: DuplexStream, plan: Arc<Plan>) -> Vec<(usize, Said)> {
    let mut connection = h2::server::Builder::new()
        .max_frame_size(plan.frame_bytes)
        .max_header_list_size(1 << 20)
        .handshake::<_, Bytes>(stream)
        .await
        .unwrap();
    let mut tasks = Vec::new();
    while let Some(request) = connection.accept().await {
        let (request, mut responder) = request.unwrap();
        let plan = Arc::clone(&plan);
        tasks.push(tokio::spawn(async move {
            let (head, body) = request.into_parts();
            let at = number(&head.headers);
            let exchange = &plan.exchanges[at];
            let mut fields = head.headers.clone();
            fields.remove("x-number");
            let (body, trailers) = receive(body).await;
            let mut response = http::Response::builder()
                .status(exchange.status)
                .body(())
                .unwrap();
            *response.headers_mut() = header_map(&exchange.answer_fields);
            let mut stream = responder.send_response(response, false).unwrap();
            send(
                &mut stream,
                &exchange.answer,
                &exchange.answer_trailers,
                plan.piece,
            );
            let seen = Said {
                method: head.method.as_str().to_owned(),
                target: head.uri.path_and_query().unwrap().as_str().to_owned(),
                fields: lines_of(&fields),
                body,
                trailers,
                ..Said::default()
            };
            (at, seen)
        }));
    }
    let mut seen = Vec::new();
    for task in tasks {
        seen.push(task.await.unwrap());
    }
    seen
}

/// The same from what we saw.
fn as_said(exchange: &Exchange) -> Said {
    let request = exchange.request.as_ref().unwrap();
    let response = exchange.response.as_ref().unwrap();
    let lines = |headers: &Headers| {
        let text = |name: &Bytes| String::from_utf8(name.to_vec()).unwrap();
        let own = headers
            .0
            .iter()
            .filter(|header| header.name != "x-number" && header.name != "host");
        sorted(own.map(|header| (text(&header.name), header.value.to_vec())))
    };
    assert!(request.head == HeadState::Whole && response.head == HeadState::Whole);
    assert!(exchange.outcome == Outcome::Complete && request.headers.text("host") == Some("host.test"));
    assert!(request.body.is_whole() && response.body.is_whole());
    Said {
        method: String::from_utf8(request.method.to_vec()).unwrap(),
        target: String::from_utf8(request.target.to_vec()).unwrap(),
        fields: lines(&request.headers),
        body: request.body.bytes.to_vec(),
        trailers: lines(&request.trailers),
        status: response.status,
        answer_fields: lines(&response.headers),
        answer: response.body.bytes.to_vec(),
        answer_trailers: lines(&response.trailers),
    }
}

/// Many bytes of no pattern. Drawn one by one they would take longer than all that is done with them.
fn noise(length: usize, seed: u32) -> Vec<u8> {
    let mut state = u64::from(seed) | 1 << 32;
    let mut next = || {
        // Marsaglia's xorshift.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

fn fields() -> impl Strategy<Value = Lines> {
    let name = prop::sample::select(
        &[
            "accept",
            "x-a",
            "x-b",
            "user-agent",
            "x-long-name",
            "authorization",
        ][..],
    );
    let value = prop_oneof![
        4 => prop::sample::select(&["", "a", "text/html", "gzip, br"][..]).prop_map(|text| text.as_bytes().to_vec()),
        2 => prop::collection::vec(0x21..0x7fu8, 1..60),
        1 => prop::collection::vec(0x80..=0xffu8, 1..20),
        1 => (2000..9000usize, any::<u32>()).prop_map(|(length, seed)| {
            noise(length, seed).into_iter().map(|byte| b'a' + byte % 26).collect()
        }),
    ];
    let line = (name, value).prop_map(|(name, value)| (name.to_owned(), value));
    prop::collection::vec(line, 0..7)
}

fn plans() -> impl Strategy<Value = Plan> {
    let body = prop_oneof![
        2 => Just(Vec::new()),
        4 => prop::collection::vec(any::<u8>(), 1..400),
        1 => (20_000..60_000usize, any::<u32>()).prop_map(|(length, seed)| noise(length, seed)),
    ];
    let trailers = || prop_oneof![2 => Just(Lines::new()), 1 => fields()];
    let request = (
        prop::sample::select(&["GET", "POST", "PUT", "DELETE"][..]),
        "/[a-z]{0,9}(\\?[a-z]=[0-9]{1,3})?",
        fields(),
        body.clone(),
        trailers(),
    );
    let response = (
        prop::sample::select(&[200u16, 201, 404, 500, 799][..]),
        fields(),
        body,
        trailers(),
    );
    let exchange = (request, response).prop_map(
        |((method, target, fields, body, trailers), (status, answer_fields, answer, answer_trailers))| Said {
            method: method.to_owned(),
            target,
            fields,
            body,
            trailers,
            status,
            answer_fields,
            answer,
            answer_trailers,
        },
    );
    (
        prop::collection::vec(exchange, 1..12),
        prop::sample::select(&[2000usize, 9000, 70_000][..]),
        prop::sample::select(&[16_384u32, 40_000][..]),
        prop::sample::select(&[0u32, 100, 4096, 65_536][..]),
    )
        .prop_map(|(exchanges, piece, frame_bytes, table_bytes)| Plan {
            exchanges,
            piece,
            frame_bytes,
            table_bytes,
        })
}

/// Cases that each property tries by default: some seconds in a debug build.
const CASES: u32 = 48;

fn config() -> ProptestConfig {
    let cases = std::env::var("KONGTAP_PROPERTY_CASES").ok();
    ProptestConfig {
        cases: cases.map_or(CASES, |cases| cases.parse().unwrap()),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Cuts what moved into pieces; every so-many-th is lost.
fn cut(moves: &[Move], cuts: &[(usize, u8)], loses: bool) -> Vec<Move> {
    let mut cut = cuts.iter().cycle();
    let mut pieces = Vec::new();
    for step in moves {
        let Move::Data(side, bytes) = step else { continue };
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (length, fate) = cut.next().unwrap();
            let (piece, after) = rest.split_at((*length).min(rest.len()));
            pieces.push(match fate {
                0 if loses => Move::Hole(*side, u64::try_from(piece.len()).unwrap()),
                1 if loses => Move::Left(*side, u64::try_from(piece.len()).unwrap()),
                _ => Move::Data(*side, piece.to_vec()),
            });
            rest = after;
        }
    }
    pieces.push(Move::Close);
    pieces
}

fn is_part(seen: &Body, was: &[u8]) -> bool {
    was.starts_with(&seen.bytes) && (!seen.is_whole() || seen.bytes == was)
}

fn are_part(seen: &Headers, was: &Lines, state: HeadState) -> bool {
    let own = seen
        .0
        .iter()
        .filter(|header| header.name != "x-number" && header.name != "host");
    let mut count = 0;
    own.inspect(|_| count += 1).all(|header| {
        was.iter()
            .any(|(name, value)| *name == header.name && *value == header.value)
    }) && (state != HeadState::Whole || count == was.len())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn we_see_what_h2_sees(plan in plans(), cuts in prop::collection::vec((1..3000usize, 9..10u8), 1..20)) {
        let (moves, said) = talk(&plan);
        for moves in [moves.clone(), cut(&moves, &cuts, false)] {
            let (out, mut http) = play(fresh(HttpLimits::default()), &moves);
            prop_assert_eq!(out.len(), said.len());
            for (id, said) in &said {
                let exchange = out.iter().find(|exchange| exchange.stream == Some(*id)).unwrap();
                prop_assert_eq!(&as_said(exchange), said);
            }
            let stats = http.take_stats();
            prop_assert_eq!((stats.bad_heads, stats.lost_framings, stats.unknown_fields), (0, 0, 0));
        }
    }

    /// With bytes lost and left, from the start or joined late: what we say is a part of what was said.
    #[test]
    fn what_is_lost_is_never_made_up(
        plan in plans(),
        cuts in prop::collection::vec((1..3000usize, 0..24u8), 1..40),
        skipped in any::<prop::sample::Index>(),
        joins in any::<bool>(),
    ) {
        let (moves, said) = talk(&plan);
        let moves = if joins { &moves[skipped.index(moves.len())..] } else { &moves[..] };
        let http = if joins { joining() } else { fresh(HttpLimits::default()) };
        let (out, http) = play(http, &cut(moves, &cuts, true));
        prop_assert_eq!(http.streams.held_bytes(), 0);
        for exchange in &out {
            let was = said.iter().find(|(id, _)| exchange.stream == Some(*id));
            let Some((_, was)) = was else {
                return Err(TestCaseError::fail(format!("invented: {exchange:?}")));
            };
            if let Some(seen) = &exchange.request {
                prop_assert!(seen.method.is_empty() || seen.method == was.method);
                prop_assert!(seen.target.is_empty() || seen.target == was.target);
                prop_assert!(is_part(&seen.body, &was.body));
                prop_assert!(are_part(&seen.trailers, &was.trailers, HeadState::Partial));
                prop_assert!(are_part(&seen.headers, &was.fields, seen.head), "{:?} of {:?}", seen.headers, was.fields);
            }
            if let Some(seen) = &exchange.response {
                prop_assert_eq!(seen.status, was.status);
                prop_assert!(is_part(&seen.body, &was.answer));
                prop_assert!(are_part(&seen.trailers, &was.answer_trailers, HeadState::Partial));
                prop_assert!(are_part(&seen.headers, &was.answer_fields, seen.head));
            }
        }
    }
}

/// Streams that a client of `h2` cancels, before and in the middle of an answer.
#[test]
fn what_h2_cancels_is_a_client_that_went() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let tap = Tap::default();
    let (client, server) = tokio::io::duplex(1 << 16);
    let client = Tapped {
        inner: client,
        tap: Arc::clone(&tap),
    };
    runtime.block_on(async {
        let served = tokio::spawn(async move {
            let mut connection = h2::server::handshake(server).await.unwrap();
            let mut streams = Vec::new();
            while let Some(request) = connection.accept().await {
                let Ok((request, mut responder)) = request else {
                    break;
                };
                if request.uri().path() == "/half" {
                    let mut stream = responder.send_response(http::Response::new(()), false).unwrap();
                    stream.send_data(Bytes::from_static(b"half"), false).unwrap();
                    streams.push((responder, Some(stream)));
                } else {
                    streams.push((responder, None));
                }
            }
        });
        let (mut sender, connection) = h2::client::handshake(client).await.unwrap();
        let driver = tokio::spawn(connection);
        let request = |path| {
            http::Request::builder()
                .uri(format!("http://x{path}"))
                .body(())
                .unwrap()
        };
        let (answer, mut half) = sender.send_request(request("/half"), true).unwrap();
        let (_unanswered, mut none) = sender.send_request(request("/none"), true).unwrap();
        let mut body = answer.await.unwrap().into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "half");
        half.send_reset(Reason::CANCEL);
        none.send_reset(Reason::CANCEL);
        drop((half, none, body, _unanswered, sender));
        driver.await.unwrap().unwrap();
        served.await.unwrap();
    });
    let moves = tap.lock().unwrap().clone();
    let (out, _) = play(fresh(HttpLimits::default()), &moves);
    assert_eq!(
        super::lines(&out),
        [
            "1 GET /half [] -> 200 [half~] cut reset by client 8",
            "3 GET /none [] -> * absent reset by client 8",
        ]
    );
}
