//! stub: types that other modules build on

use std::sync::Arc;

use bytes::Bytes;

use crate::plugin::Destination;

/// What is posted: the plugin's JSON message, redacted, and where it goes. Only [`build`](self) makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    destination: Arc<Destination>,
    json: Bytes,
}

impl Message {
    /// Where it goes.
    #[must_use]
    pub fn destination(&self) -> &Arc<Destination> {
        &self.destination
    }

    /// The JSON text.
    #[must_use]
    pub fn json(&self) -> &Bytes {
        &self.json
    }
}
