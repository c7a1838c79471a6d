//! How requests are answered.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use rustix::net::sockopt::set_socket_linger;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

use crate::faults::book::{Book, Parcel};
use crate::faults::{Manner, Moment, RetryAfter};
use crate::inspector::BUCKET;
use crate::scene::TOKEN;
use crate::wire::{Framing, Head, Wire, field};

/// How much of a request is read before a reset in it, bytes.
const FIRST_BYTES: usize = 64;
/// How much of an answer is kept back when it breaks off, bytes.
const UNSAID_BYTES: usize = 20;
/// What is said where TLS is expected.
const NO_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
/// What is said where HTTP is expected.
const NOISE: &[u8] = b"220 mail.lab.test ESMTP\r\n";

/// Where requests are taken: the manner of the moment, and the book.
#[derive(Debug)]
pub(super) struct Desk {
    manner: Mutex<Manner>,
    book: Mutex<Book>,
    /// Whose turn it is where one message is taken after the other.
    turn: tokio::sync::Mutex<()>,
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            manner: Mutex::new(Manner::Well),
            book: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }
}

impl Desk {
    pub(super) fn behave(&self, manner: Manner) {
        *self.manner.lock().unwrap_or_else(PoisonError::into_inner) = manner;
    }

    pub(super) fn book(&self) -> Book {
        self.lock().clone()
    }

    pub(super) fn connected(&self) {
        let mut book = self.lock();
        book.connections = book.connections.saturating_add(1);
    }

    fn manner(&self) -> Manner {
        *self.manner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the messages of a parcel but every nth.
    fn take(&self, parcel: &Parcel, leave: Option<usize>) -> Vec<Value> {
        let mut book = self.lock();
        let mut entries = Vec::with_capacity(parcel.messages.len());
        for message in &parcel.messages {
            let place = book.attempts.len().saturating_add(entries.len());
            if leave.is_some_and(|nth| place.checked_rem(nth) == Some(0)) {
                entries.push(entry("error", message.identifier.as_deref()));
            } else {
                book.take(message);
                entries.push(entry("success", message.identifier.as_deref()));
            }
        }
        entries
    }
}

/// Serves a connection until it ends, or the manner of the moment ends it.
pub(super) async fn serve(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    desk: &Arc<Desk>,
) -> anyhow::Result<()> {
    let end = stream.as_fd().try_clone_to_owned()?;
    let manner = desk.manner();
    if matches!(manner, Manner::Deaf | Manner::NoHandshake) {
        return hold(stream).await;
    }
    if manner == Manner::NoTls {
        return Wire::new(stream).send(NO_TLS).await;
    }
    if manner == Manner::Reset(Moment::InRequest) && acceptor.is_none() {
        let mut stream = stream;
        stream.read_exact(&mut [0; FIRST_BYTES]).await?;
        return reset(end, stream);
    }
    let mut wire = match acceptor {
        None => Wire::new(stream),
        Some(acceptor) => Wire::new(acceptor.accept(stream).await.context("TLS")?),
    };
    // A kept connection gets here in the manner of each request's moment.
    while let Some(head) = wire.head().await? {
        if desk.manner() == Manner::Deaf {
            return hold(wire).await;
        }
        if desk.manner() == Manner::Reset(Moment::InRequest) {
            return reset(end, wire);
        }
        let body = wire.body(Framing::of_request(&head.fields)?).await?;
        let parcel = match post(&head).and_then(|()| Parcel::read(&body.bytes)) {
            Ok(parcel) => parcel,
            Err(strange) => {
                desk.lock().strange.push(strange);
                return Ok(());
            }
        };
        desk.lock().attempt(&parcel);
        match respond(&mut wire, desk, &parcel).await? {
            Then::Keep => {}
            Then::Close => return Ok(()),
            Then::Reset => return reset(end, wire),
            Then::Hold => return hold(wire).await,
        }
    }
    Ok(())
}

/// What becomes of a connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Keep,
    Close,
    Reset,
    Hold,
}

async fn respond(wire: &mut Wire, desk: &Desk, parcel: &Parcel) -> anyhow::Result<Then> {
    let manner = desk.manner();
    if manner == Manner::Reset(Moment::InRequest) {
        return Ok(Then::Reset);
    }
    if let Manner::Status(status, again) = manner {
        wire.send(&refused(status, again)).await?;
        return Ok(Then::Keep);
    }
    if let Manner::Slow(pause) = manner {
        let turn = desk.turn.lock().await;
        tokio::time::sleep(pause).await;
        let entries = desk.take(parcel, None);
        drop(turn);
        wire.send(&accepted(&entries)).await?;
        return Ok(Then::Keep);
    }
    let leave = if let Manner::SomeErrors(nth) = manner {
        Some(nth)
    } else {
        None
    };
    tell(wire, manner, &accepted(&desk.take(parcel, leave))).await
}

/// Says what was taken; the manners that keep it to themselves, or half of it, do not.
async fn tell(wire: &mut Wire, manner: Manner, answer: &[u8]) -> anyhow::Result<Then> {
    match manner {
        Manner::Mute => return Ok(Then::Hold),
        Manner::Reset(Moment::InRequest | Moment::BeforeAnswer) => return Ok(Then::Reset),
        Manner::Reset(Moment::InAnswer) => {
            let most = answer.len().saturating_sub(UNSAID_BYTES);
            wire.send(answer.get(..most).unwrap_or_default()).await?;
            return Ok(Then::Reset);
        }
        Manner::Noise => {
            wire.send(NOISE).await?;
            return Ok(Then::Close);
        }
        Manner::Drip(pause) => {
            for byte in answer {
                wire.send(&[*byte]).await?;
                tokio::time::sleep(pause).await;
            }
        }
        Manner::Well
        | Manner::Refuse
        | Manner::NoName
        | Manner::SilentNames
        | Manner::BlackHole
        | Manner::Deaf
        | Manner::Status(..)
        | Manner::SomeErrors(_)
        | Manner::Slow(_)
        | Manner::Certificate(_)
        | Manner::NoTls
        | Manner::NoHandshake => wire.send(answer).await?,
    }
    Ok(Then::Keep)
}

/// Keeps a connection open and does nothing with it.
async fn hold<T>(connection: T) -> anyhow::Result<()> {
    std::future::pending::<()>().await;
    drop(connection);
    Ok(())
}

/// Ends a connection by a reset: one that lingers for no time is not ended in an orderly way (socket(7), `SO_LINGER`).
fn reset<T>(end: OwnedFd, connection: T) -> anyhow::Result<()> {
    set_socket_linger(&end, Some(Duration::ZERO))?;
    drop(end);
    drop(connection);
    Ok(())
}

/// Whether it is a post of messages by this scene's kongtap.
fn post(head: &Head) -> Result<(), String> {
    let line = format!("POST /buckets/{BUCKET}/messages HTTP/1.1");
    let token = format!("Bearer {TOKEN}");
    let check = || -> anyhow::Result<()> {
        ensure!(head.first_line == line, "{} instead of {line}", head.first_line);
        ensure!(
            field(&head.fields, "authorization") == Some(&token),
            "another token"
        );
        Ok(())
    };
    check().map_err(|error| format!("{error:#}"))
}

fn entry(status: &str, identifier: Option<&str>) -> Value {
    let error = match status {
        "error" => json!({"code": 1, "message": "refused by the test", "more_info": null}),
        _ => Value::Null,
    };
    json!({
        "status": status, "unique_identifier": identifier, "uuid": Uuid::new_v4().to_string(), "warning": null,
        "error": error,
    })
}

/// Runscope's answer to posted messages.
fn accepted(entries: &[Value]) -> Vec<u8> {
    let errors = entries.iter().filter(|entry| entry["status"] == "error").count();
    let body = json!({
        "meta": {"success_count": entries.len().saturating_sub(errors), "warning_count": 0, "error_count": errors},
        "data": entries,
    });
    answer(200, "", &body)
}

fn refused(status: u16, again: RetryAfter) -> Vec<u8> {
    let body = json!({
        "data": null,
        "error": {"status": status, "message": "refused by the test", "more_info": null, "error": null},
        "meta": {"status": "error"},
    });
    let again = match again {
        RetryAfter::Unsaid => String::new(),
        RetryAfter::Seconds(seconds) => format!("Retry-After: {seconds}\r\n"),
        RetryAfter::Date(seconds) => {
            let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
            let then = SystemTime::UNIX_EPOCH + now + Duration::from_secs(seconds);
            format!("Retry-After: {}\r\n", httpdate::fmt_http_date(then))
        }
    };
    let moved = if status == 301 {
        "Location: /elsewhere\r\n"
    } else {
        ""
    };
    answer(status, &format!("{again}{moved}"), &body)
}

fn answer(status: u16, fields: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    let head = format!("HTTP/1.1 {status} Answer\r\nContent-Type: application/json\r\n{fields}");
    format!("{head}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}
