//! HTTP/2 on the client's leg, as an implementation of it writes it: indexed fields, Huffman codes, flow control.
//!
//! In: how many connections and exchanges. Out: a [`Tape`]. Both ends are the `h2` crate's, connected in memory; what the
//! gateway's end reads and writes goes onto the tape, call by call, with an HTTP/1.1 upstream leg for each stream.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use anyhow::Context as _;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};

use super::heads;
use super::tape::{Connection, Direction, Recorder, Tape};

/// Bytes that fit between the two ends.
const PIPE_BYTES: usize = 64 << 10;

/// What happened at the gateway's end.
#[derive(Debug)]
enum Step {
    /// A call moved bytes.
    Call(Direction, Vec<u8>),
    /// A request has come: the service is asked.
    Asked(usize),
}

type Steps = Arc<Mutex<Vec<Step>>>;

/// The gateway's end of a connection, which notes what it moves.
struct Noted {
    stream: DuplexStream,
    steps: Steps,
}

/// Exchanges with responses of `body_bytes`, one after the other on each connection.
///
/// # Errors
/// When the two ends do not understand each other.
pub fn tape(connections: usize, streams: usize, body_bytes: usize) -> anyhow::Result<Tape> {
    let body = Bytes::from(heads::body(body_bytes));
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut recorder = Recorder::new();
    for connection in 0..connections {
        let first = connection * streams;
        let steps = runtime.block_on(converse(first..first + streams, body.clone()))?;
        let mut client = recorder.open(heads::LISTENER_PORT);
        let mut upstream = recorder.open(0);
        for step in steps {
            match step {
                Step::Call(direction, bytes) => recorder.call(&mut client, direction, &bytes),
                Step::Asked(number) => ask(&mut recorder, &mut upstream, number, &body),
            }
        }
        recorder.close(&client);
        recorder.close(&upstream);
    }
    Ok(recorder.finish(connections * streams))
}

fn ask(recorder: &mut Recorder, upstream: &mut Connection, number: usize, body: &[u8]) {
    recorder.call(upstream, Direction::Egress, &heads::passed_on(number));
    let answer = [&heads::service_answer(body.len()), body].concat();
    recorder.call(upstream, Direction::Ingress, &answer);
}

async fn converse(numbers: std::ops::Range<usize>, body: Bytes) -> anyhow::Result<Vec<Step>> {
    let (client, gateway) = duplex(PIPE_BYTES);
    let steps = Steps::default();
    let noted = Noted {
        stream: gateway,
        steps: Arc::clone(&steps),
    };
    let serving = tokio::spawn(serve(noted, numbers.start, body, Arc::clone(&steps)));
    let (mut sender, connection) = h2::client::handshake(client).await?;
    let driving = tokio::spawn(connection);
    for number in numbers {
        sender = sender.ready().await?;
        let (answer, _stream) = sender.send_request(request(number)?, true)?;
        let mut body = answer.await?.into_body();
        while let Some(piece) = body.data().await {
            body.flow_control().release_capacity(piece?.len())?;
        }
    }
    drop(sender);
    driving.await??;
    serving.await??;
    Ok(std::mem::take(
        &mut *steps.lock().unwrap_or_else(PoisonError::into_inner),
    ))
}

/// The gateway: answers each stream when the service has answered.
async fn serve(noted: Noted, first: usize, body: Bytes, steps: Steps) -> anyhow::Result<()> {
    let mut connection = h2::server::handshake(noted).await?;
    let mut number = first;
    while let Some(accepted) = connection.accept().await {
        let (_request, mut respond) = accepted?;
        note(&steps, Step::Asked(number));
        let mut head = http::Response::builder().status(200);
        for (name, value) in fields(&heads::answer(number, body.len()))? {
            head = head.header(name, value);
        }
        let mut stream = respond.send_response(head.body(())?, false)?;
        stream.send_data(body.clone(), true)?;
        number += 1;
    }
    Ok(())
}

fn request(number: usize) -> anyhow::Result<http::Request<()>> {
    let head = heads::request(number);
    let target = str::from_utf8(&head)?
        .split(' ')
        .nth(1)
        .context("a target")?
        .to_owned();
    let mut request = http::Request::builder().uri(format!("https://api.example.com{target}"));
    for (name, value) in fields(&head)? {
        request = request.header(name, value);
    }
    request.body(()).context("a request")
}

/// The field lines of an HTTP/1 head that HTTP/2 has too.
fn fields(head: &[u8]) -> anyhow::Result<Vec<(String, String)>> {
    let lines = str::from_utf8(head)?.lines().skip(1);
    Ok(lines
        .filter_map(|line| line.split_once(": "))
        .filter(|(name, _)| !matches!(*name, "Host" | "Connection"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

fn note(steps: &Steps, step: Step) {
    steps.lock().unwrap_or_else(PoisonError::into_inner).push(step);
}

impl AsyncRead for Noted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Some(moved) = buffer.filled().get(before..).filter(|moved| !moved.is_empty()) {
            note(&self.steps, Step::Call(Direction::Ingress, moved.to_vec()));
        }
        polled
    }
}

impl AsyncWrite for Noted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(moved)) = &polled {
            let moved = bytes.get(..*moved).unwrap_or(bytes);
            note(&self.steps, Step::Call(Direction::Egress, moved.to_vec()));
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
