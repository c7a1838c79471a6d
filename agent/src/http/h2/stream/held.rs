//! What one stream holds.

use super::{Half, Stream};

impl Stream {
    /// Bytes of memory, as far as they are counted.
    pub(in crate::http::h2) fn held_bytes(&self) -> usize {
        size_of::<Self>() + self.request.held_bytes() + self.response.held_bytes()
    }

    pub(in crate::http::h2) fn stop_keeping_bodies(&mut self) {
        self.request.body.stop_keeping();
        self.response.body.stop_keeping();
    }
}

impl Half {
    fn held_bytes(&self) -> usize {
        let head = self.head.as_ref().map_or(0, |head| {
            let texts = [&head.method, &head.authority, &head.path];
            let texts: usize = texts
                .iter()
                .filter_map(|text| text.as_ref())
                .map(|text| text.len())
                .sum();
            texts + head.headers.held_bytes()
        });
        head + self.trailers.held_bytes() + self.body.kept_bytes()
    }
}
