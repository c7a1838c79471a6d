//! HTTP/2 on a connection: any frames, in any pieces, with anything missing.

use crate::flow::{Delivery, play};
use crate::h1::is_plain;
use crate::script::Script;
use crate::{bounds, late};

/// Plays the script in `data`, behind a client's preface, to a connection table.
///
/// # Panics
/// When bytes are made up or counted twice, a bound does not hold, pieces make a difference, or a late join tells what was not so.
pub fn run(data: &[u8]) {
    let script = Script::parse(data, late::PREFACE);
    let whole = play(&script, Delivery::Whole);
    bounds::check(&whole, script.settings.limits.http);
    let pieces = play(&script, Delivery::Pieces);
    bounds::check(&pieces, script.settings.limits.http);
    if is_plain(&script, &whole) {
        assert_eq!(pieces.exchanges, whole.exchanges, "pieces make a difference");
        late::check_h2(&script, &whole);
    }
}
