//! A body as it comes: counted whole, kept up to a bound and up to the first byte that is missing.

use bytes::BytesMut;

use crate::capture::event::KernelTime;
use crate::http::exchange::Body;

/// A body that is still being read.
#[derive(Debug)]
pub(super) struct BodyBuilder {
    limit: usize,
    kept: BytesMut,
    total_bytes: u64,
    wire_bytes: u64,
    hole_bytes: u64,
    /// Bytes of it are missing, lost or left, so that what comes later does not follow what is kept.
    is_broken: bool,
    has_open_hole: bool,
    first_hole_at: Option<u64>,
    declared_bytes: Option<u64>,
    /// When its newest byte moved.
    last: Option<KernelTime>,
}

impl BodyBuilder {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            kept: BytesMut::new(),
            total_bytes: 0,
            wire_bytes: 0,
            hole_bytes: 0,
            is_broken: false,
            has_open_hole: false,
            first_hole_at: None,
            declared_bytes: None,
            last: None,
        }
    }

    /// The head said how long it is.
    pub(super) const fn declare(&mut self, bytes: Option<u64>) {
        self.declared_bytes = bytes;
    }

    /// Takes body bytes that took `wire` bytes with their framing.
    pub(super) fn push(&mut self, data: &[u8], wire: u64, at: KernelTime) {
        self.last = Some(at);
        self.wire_bytes = self.wire_bytes.saturating_add(wire);
        self.total_bytes = self
            .total_bytes
            .saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
        if !self.is_broken {
            let room = self.limit.saturating_sub(self.kept.len());
            // Copied, so that a slow body does not keep whole batches of records alive.
            self.kept.extend_from_slice(data.get(..room).unwrap_or(data));
        }
    }

    /// Takes body bytes that were left uncopied on purpose: the body is cut here, and its size is known.
    pub(super) fn push_left(&mut self, bytes: u64, at: KernelTime) {
        self.last = Some(at);
        self.wire_bytes = self.wire_bytes.saturating_add(bytes);
        self.total_bytes = self.total_bytes.saturating_add(bytes);
        self.is_broken |= bytes > 0;
    }

    /// Takes body bytes that are lost.
    pub(super) fn push_hole(&mut self, bytes: u64, at: KernelTime) {
        if bytes > 0 {
            self.first_hole_at.get_or_insert(self.total_bytes);
        }
        self.push_left(bytes, at);
        self.hole_bytes = self.hole_bytes.saturating_add(bytes);
    }

    /// Whether its length is known, and another one than the head said.
    pub(super) fn differs_from_declared(&self) -> bool {
        !self.has_open_hole && self.declared_bytes.is_some_and(|bytes| bytes != self.total_bytes)
    }

    /// How many bytes of it are kept.
    pub(super) fn kept_bytes(&self) -> usize {
        self.kept.len()
    }

    /// Whether no byte that comes will be kept.
    pub(super) fn is_full(&self) -> bool {
        self.is_broken || self.kept.len() >= self.limit
    }

    /// Keeps nothing of what is still to come.
    pub(super) fn stop_keeping(&mut self) {
        self.limit = self.kept.len();
    }

    /// Keeps nothing of it, and gives back what was kept.
    pub(super) fn release(&mut self) {
        self.limit = 0;
        self.kept = BytesMut::new();
    }

    /// Takes a hole of unknown length.
    pub(super) const fn push_open_hole(&mut self) {
        if self.first_hole_at.is_none() {
            self.first_hole_at = Some(self.total_bytes);
        }
        self.is_broken = true;
        self.has_open_hole = true;
    }

    /// When its newest byte moved; `None` if none did.
    pub(super) const fn last(&self) -> Option<KernelTime> {
        self.last
    }

    pub(super) fn finish(self, complete: bool) -> Body {
        Body {
            bytes: self.kept.freeze(),
            total_bytes: self.total_bytes,
            wire_bytes: self.wire_bytes,
            hole_bytes: self.hole_bytes,
            has_open_hole: self.has_open_hole,
            first_hole_at: self.first_hole_at,
            declared_bytes: self.declared_bytes,
            complete,
        }
    }
}
