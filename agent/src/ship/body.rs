//! The body of one POST: one message as it is, several as a JSON list, without a copy of any.
//!
//! In: messages' JSON. Out: chunks for the HTTP client, with their length known, and how far it has come with them, which
//! decides after a failure whether the endpoint can have the messages.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

const OPEN: Bytes = Bytes::from_static(b"[");
const BETWEEN: Bytes = Bytes::from_static(b",");
const CLOSE: Bytes = Bytes::from_static(b"]");

/// How far the HTTP client has come with a body.
#[derive(Debug, Default)]
pub(super) struct Progress {
    begun: AtomicBool,
    handed_over: AtomicBool,
}

impl Progress {
    /// Whether there was a connection to send it on.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// Whether all of it was given to the connection: otherwise the endpoint cannot have it whole.
    pub(super) fn is_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Relaxed)
    }
}

/// A body that is being sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// What comes before `rest`, so that one message needs no list of chunks.
    first: Option<Bytes>,
    rest: std::vec::IntoIter<Bytes>,
    left: u64,
    progress: Arc<Progress>,
}

impl Outgoing {
    /// `messages` are JSON objects.
    pub(super) fn new<'a, M>(messages: M, progress: Arc<Progress>) -> Self
    where
        M: ExactSizeIterator<Item = &'a Bytes>,
    {
        let mut messages = messages.cloned();
        let (first, rest) = if messages.len() <= 1 {
            (messages.next(), Vec::new())
        } else {
            let mut rest = Vec::with_capacity(2 * messages.len());
            for message in messages {
                if !rest.is_empty() {
                    rest.push(BETWEEN);
                }
                rest.push(message);
            }
            rest.push(CLOSE);
            (Some(OPEN), rest)
        };
        let left = first.iter().chain(&rest).map(length).sum();
        Self {
            first,
            rest: rest.into_iter(),
            left,
            progress,
        }
    }
}

fn length(chunk: &Bytes) -> u64 {
    u64::try_from(chunk.len()).unwrap_or(u64::MAX)
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.progress.begun.store(true, Ordering::Relaxed);
        let chunk = self.first.take().or_else(|| self.rest.next());
        if let Some(chunk) = &chunk {
            self.left = self.left.saturating_sub(length(chunk));
        }
        if self.left == 0 {
            self.progress.handed_over.store(true, Ordering::Relaxed);
        }
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};

    use bytes::Bytes;
    use hyper::body::Body as _;

    use super::{Outgoing, Progress};

    #[test]
    fn several_messages_are_a_list_and_none_is_copied() {
        let check = |messages: &[&'static str], text: &str| {
            let messages: Vec<Bytes> = messages
                .iter()
                .map(|it| Bytes::from_static(it.as_bytes()))
                .collect();
            let progress = Arc::new(Progress::default());
            let mut body = Outgoing::new(messages.iter(), Arc::clone(&progress));
            assert_eq!(body.size_hint().exact(), Some(u64::try_from(text.len()).unwrap()));
            assert!(!progress.has_begun());
            let mut sent = Vec::new();
            let mut context = Context::from_waker(Waker::noop());
            while !body.is_end_stream() {
                assert!(!progress.is_handed_over(), "{text}: {sent:?}");
                let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut context) else {
                    panic!("{text}: ended early");
                };
                let chunk = frame.into_data().unwrap();
                assert!(chunk.len() == 1 || messages.iter().any(|it| it.as_ptr() == chunk.as_ptr()));
                sent.extend_from_slice(&chunk);
            }
            assert_eq!(String::from_utf8(sent).unwrap(), text);
            assert_eq!(progress.is_handed_over(), !messages.is_empty());
        };
        check(&[], "");
        check(&["{\"a\":1}"], "{\"a\":1}");
        check(&["{\"a\":1}", "{\"b\":2}"], "[{\"a\":1},{\"b\":2}]");
        check(
            &["{\"a\":1}", "{\"b\":2}", "{\"c\":3}"],
            "[{\"a\":1},{\"b\":2},{\"c\":3}]",
        );
    }
}
