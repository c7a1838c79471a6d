//! What one exchange holds.

use super::{Message, Slot};
use crate::http::body::BodyBuilder;

impl Slot {
    /// Bytes of memory, as far as they are counted.
    pub(in crate::http::h1) fn held_bytes(&self) -> usize {
        let request = self.request.as_ref().map_or(0, |message| {
            let head = &message.head;
            head.method.len() + head.target.len() + head.headers.held_bytes() + message.body.kept_bytes()
        });
        let response = self.response.as_ref().map_or(0, |message| {
            message.head.reason.len() + message.head.headers.held_bytes() + message.body.kept_bytes()
        });
        size_of::<Self>() + request + response
    }

    pub(in crate::http::h1) fn stop_keeping_bodies(&mut self) {
        self.request
            .as_mut()
            .map(Message::body_mut)
            .into_iter()
            .for_each(BodyBuilder::stop_keeping);
        self.response
            .as_mut()
            .map(Message::body_mut)
            .into_iter()
            .for_each(BodyBuilder::stop_keeping);
    }
}

impl Slot {
    /// Bytes that are kept of its bodies.
    pub(in crate::http::h1) fn body_bytes(&self) -> usize {
        let request = self
            .request
            .as_ref()
            .map_or(0, |message| message.body.kept_bytes());
        let response = self
            .response
            .as_ref()
            .map_or(0, |message| message.body.kept_bytes());
        request + response
    }

    pub(in crate::http::h1) fn release_bodies(&mut self) {
        self.request
            .as_mut()
            .map(Message::body_mut)
            .into_iter()
            .for_each(BodyBuilder::release);
        self.response
            .as_mut()
            .map(Message::body_mut)
            .into_iter()
            .for_each(BodyBuilder::release);
    }
}

impl<H> Message<H> {
    const fn body_mut(&mut self) -> &mut BodyBuilder {
        &mut self.body
    }
}
