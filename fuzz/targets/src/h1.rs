//! HTTP/1 on a connection: any bytes, in any pieces, with anything missing.

use kongtap::http::detect::{Detection, detect};

use crate::flow::{Delivery, Played, play};
use crate::script::{Move, Script};
use crate::{bounds, late};

/// Plays the script in `data` to a connection table.
///
/// # Panics
/// When bytes are made up or counted twice, a bound does not hold, pieces make a difference, or a late join tells of another head.
pub fn run(data: &[u8]) {
    let script = Script::parse(data, b"");
    let whole = play(&script, Delivery::Whole);
    bounds::check(&whole, script.settings.limits.http);
    let pieces = play(&script, Delivery::Pieces);
    bounds::check(&pieces, script.settings.limits.http);
    if is_plain(&script, &whole) {
        assert_eq!(pieces.exchanges, whole.exchanges, "pieces make a difference");
        late::check_h1(&script, &whole);
    }
}

/// Whether a connection's traffic is such that where calls end says nothing: it begins with a request, nothing is missing, and the
/// parser never lost its place, after which it looks for calls that begin like a head.
pub(crate) fn is_plain(script: &Script, played: &Played) -> bool {
    let first = script.moves.iter().find_map(|step| match step {
        Move::Data(_, bytes) => Some(bytes),
        Move::Hole(..) | Move::Left(..) | Move::End(_) | Move::Close | Move::Wait(_) => None,
    });
    let begins = first.is_some_and(|bytes| matches!(detect(bytes), Detection::Request | Detection::Http2));
    let is_over_once = script.moves.iter().filter(|step| **step == Move::Close).count()
        == usize::from(script.moves.last() == Some(&Move::Close));
    let (stats, http) = (&played.stats, &played.stats.http);
    begins
        && is_over_once
        && !played.truths.has_gaps
        && (stats.not_http, stats.ciphertext) == (0, 0)
        && (
            http.bad_heads,
            http.lost_framings,
            http.resyncs,
            http.skipped_bytes,
        ) == (0, 0, 0, 0)
}
