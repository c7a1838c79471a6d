//! Finding the place in a stream of frames again after it was lost, or when a connection is joined in its middle.
//!
//! In: the bytes of each call, in order. Out: bytes that begin with a frame. Gateways and TLS libraries write whole frames, so a
//! frame is looked for where calls begin (`frame::boundary` says what is taken for one). Bounded by twice
//! [`CANDIDATE_BYTES`].

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes};

use super::frame::{self, Boundary};

/// Bytes that are held while it is open whether a call began with a frame.
pub(super) const CANDIDATE_BYTES: usize = 80 << 10;

/// What may begin with a frame.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// The bytes since the oldest start that is still in question.
    held: Vec<u8>,
    /// Where calls began in `held`.
    starts: VecDeque<usize>,
}

/// What a call's bytes led to.
#[derive(Debug)]
pub(super) struct Found {
    /// Bytes that begin with a frame; `None` if there are none yet.
    pub(super) frames: Option<Bytes>,
    /// Bytes that turned out to be of no use.
    pub(super) skipped_bytes: usize,
}

impl Search {
    /// Bytes of memory.
    pub(super) fn held_bytes(&self) -> usize {
        let starts = self.starts.len().saturating_mul(size_of::<usize>());
        self.held.len().saturating_add(starts)
    }

    /// Looks at the bytes of a call.
    pub(super) fn call(&mut self, bytes: &[u8]) -> Found {
        self.starts.push_back(self.held.len());
        self.held.extend_from_slice(bytes);
        while let Some(start) = self.starts.front().copied() {
            let found = match self.held.get(start..).map(frame::boundary) {
                Some(Boundary::NotYet) if self.held.len() - start <= CANDIDATE_BYTES => {
                    return Found {
                        frames: None,
                        skipped_bytes: self.trim(start),
                    };
                }
                Some(Boundary::Yes) => true,
                Some(Boundary::NotYet | Boundary::No) | None => false,
            };
            if found {
                let mut frames = Bytes::from(std::mem::take(&mut self.held));
                frames.advance(start);
                self.starts.clear();
                return Found {
                    frames: Some(frames),
                    skipped_bytes: start,
                };
            }
            self.starts.pop_front();
        }
        Found {
            frames: None,
            skipped_bytes: self.forget(),
        }
    }

    /// Lets go of what lies before the oldest start that is in question, when it is worth moving the rest.
    fn trim(&mut self, start: usize) -> usize {
        if start <= CANDIDATE_BYTES {
            return 0;
        }
        self.held.drain(..start);
        for place in &mut self.starts {
            *place = place.saturating_sub(start);
        }
        start
    }

    /// What comes next does not follow what is held. Answers how much that was.
    pub(super) fn forget(&mut self) -> usize {
        self.starts.clear();
        std::mem::take(&mut self.held).len()
    }
}
