//! One direction of a connection: what its next byte belongs to, and the head that is not complete yet.

use bytes::BytesMut;

use super::framing::Framing;
use crate::capture::event::KernelTime;

/// What a direction does with its next byte.
#[derive(Debug)]
pub(super) enum State {
    /// It belongs to a head.
    Head,
    /// It belongs to the current message's body.
    Body(Framing),
    /// It is passed over until a call begins like a head.
    Resync,
    /// It is passed over: the gateway does not read it (requests), or nobody asked for it (responses). Until the response has
    /// ended, or until there is another request.
    Ignored,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Half {
    pub(super) state: State,
    /// An unfinished head, or trailer section.
    pub(super) head: BytesMut,
    /// How much of `head` has been searched for its end.
    pub(super) searched: usize,
    /// When the first byte of the current head moved.
    pub(super) started: KernelTime,
}

impl Half {
    pub(super) fn new() -> Self {
        Self {
            state: State::Head,
            head: BytesMut::new(),
            searched: 0,
            started: KernelTime(0),
        }
    }

    pub(super) fn forget_head(&mut self) {
        self.head = BytesMut::new();
        self.searched = 0;
    }
}
