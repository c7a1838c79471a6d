//! Counters of the connection table.

use crate::http::h1::stats::HttpStats;

/// What the table met, and how many connections it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnStats {
    /// Open now.
    pub open: u64,
    /// First sights.
    pub opened: u64,
    /// Of those: open before the probes came.
    pub late: u64,
    /// Connections whose first sight was lost.
    pub without_open: u64,
    /// Closed.
    pub closed: u64,
    /// Given up to make room.
    pub evicted: u64,
    /// Given up after a long silence.
    pub expired: u64,
    /// Holes.
    pub holes: u64,
    /// Bytes that moved unseen.
    pub hole_bytes: u64,
    /// Records that came after others which follow them, and were put in their place.
    pub reordered: u64,
    /// Records of bytes that were known already, or had been given up.
    pub repeated: u64,
    /// Times that a connection held more than it may, so that bodies were cut or exchanges given up.
    pub full: u64,
    /// Bytes that all connections hold now in what is unfinished.
    pub held_bytes: u64,
    /// Connections whose bodies were given back because all of them together held too much.
    pub released_bodies: u64,
    /// Connections that were given up for that.
    pub given_up_heaviest: u64,
    /// Connections that are HTTP/2.
    pub http2: u64,
    /// Connections that are ciphertext.
    pub ciphertext: u64,
    /// Connections of other protocols.
    pub not_http: u64,
    /// What the HTTP parsers met.
    pub http: HttpStats,
}

impl ConnStats {
    /// Every count with its name in `/status` and metrics.
    #[must_use]
    pub fn named(&self) -> [(&'static str, u64); 27] {
        [
            ("open", self.open),
            ("opened", self.opened),
            ("late", self.late),
            ("without_open", self.without_open),
            ("closed", self.closed),
            ("evicted", self.evicted),
            ("expired", self.expired),
            ("holes", self.holes),
            ("hole_bytes", self.hole_bytes),
            ("reordered", self.reordered),
            ("repeated", self.repeated),
            ("full", self.full),
            ("held_bytes", self.held_bytes),
            ("released_bodies", self.released_bodies),
            ("given_up_heaviest", self.given_up_heaviest),
            ("http2", self.http2),
            ("ciphertext", self.ciphertext),
            ("not_http", self.not_http),
            ("bad_heads", self.http.bad_heads),
            ("lost_framings", self.http.lost_framings),
            ("resyncs", self.http.resyncs),
            ("skipped_bytes", self.http.skipped_bytes),
            ("unpaired_responses", self.http.unpaired_responses),
            ("upgrades", self.http.upgrades),
            ("unknown_fields", self.http.unknown_fields),
            ("pushes", self.http.pushes),
            ("given_up_streams", self.http.given_up_streams),
        ]
    }

    /// Adds counters (not the gauge).
    pub(super) fn add(&mut self, other: &Self) {
        self.holes += other.holes;
        self.hole_bytes = self.hole_bytes.saturating_add(other.hole_bytes);
        self.reordered += other.reordered;
        self.repeated += other.repeated;
        self.full += other.full;
        self.http2 += other.http2;
        self.ciphertext += other.ciphertext;
        self.not_http += other.not_http;
        self.http.add(&other.http);
    }
}
