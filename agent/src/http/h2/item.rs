//! What a direction of an HTTP/2 connection brings, when its framing is taken off.

use bytes::Bytes;

use super::block::Block;

/// Why bytes are not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unseen {
    /// They are lost.
    Lost,
    /// They were left uncopied on purpose.
    Left,
}

/// What a direction brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// Bytes of a body.
    Data { stream: u32, bytes: Bytes },
    /// Bytes of a body that moved unseen.
    Unseen { stream: u32, bytes: u64, why: Unseen },
    /// Part of a body, of unknown length, moved unseen.
    OpenHole { stream: u32 },
    /// Its side of the stream ends after a body.
    End { stream: u32 },
    /// A header block.
    Block(Block),
    /// The most payload that frames in the *other* direction may have.
    MostPayload(usize),
    /// RST_STREAM; `None`: its code is lost.
    Reset { stream: u32, code: Option<u32> },
    /// GOAWAY.
    GoAway { last: u32 },
    /// The place is lost, and with it this block. Anything may have moved until the next item.
    Lost(Option<Block>),
}
