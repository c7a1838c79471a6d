//! What one direction's reader holds.

use super::{Reader, State};

impl Reader {
    /// Bytes of memory in an unfinished frame or header block, or while the place is looked for.
    pub(in crate::http::h2) fn held_bytes(&self) -> usize {
        let block = self.block.as_ref().map_or(0, |block| block.text.len());
        block
            + match &self.state {
                State::Whole { text, .. } => text.len(),
                State::Lost { held, starts } => held.len() + starts.len() * size_of::<usize>(),
                State::Preface { .. }
                | State::Header { .. }
                | State::PadLength { .. }
                | State::Data { .. }
                | State::Skip { .. } => 0,
            }
    }
}
