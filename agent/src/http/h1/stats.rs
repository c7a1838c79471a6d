//! What the HTTP parsers count.

/// What the parser met, for the table's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HttpStats {
    /// Heads that were given up: malformed, or longer than the bound.
    pub bad_heads: u64,
    /// Bodies whose chunk framing was malformed or lost in a hole.
    pub lost_framings: u64,
    /// Times that a direction found its next head after it had lost its place.
    pub resyncs: u64,
    /// Bytes passed over while looking for a head.
    pub skipped_bytes: u64,
    /// Responses whose request was never seen.
    pub unpaired_responses: u64,
    /// Connections that changed protocol.
    pub upgrades: u64,
    /// HTTP/2 field lines of which the name or the value is not known.
    pub unknown_fields: u64,
    /// HTTP/2 streams that the server announced by itself.
    pub pushes: u64,
    /// HTTP/2 streams that were given up because there were too many, or because they may have ended in a hole.
    pub given_up_streams: u64,
}

impl HttpStats {
    /// Adds the counters of `other`.
    pub const fn add(&mut self, other: &Self) {
        self.bad_heads += other.bad_heads;
        self.lost_framings += other.lost_framings;
        self.resyncs += other.resyncs;
        self.skipped_bytes = self.skipped_bytes.saturating_add(other.skipped_bytes);
        self.unpaired_responses += other.unpaired_responses;
        self.upgrades += other.upgrades;
        self.unknown_fields += other.unknown_fields;
        self.pushes += other.pushes;
        self.given_up_streams += other.given_up_streams;
    }
}
