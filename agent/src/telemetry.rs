//! What kongtap says of itself: the ledger that proves that nothing was lost silently, the status that `/status`,
//! `/metrics` and `doctor` print, and secrets that do not print.
//!
//! Counting happens where the thing happens, through plain atomics or a stage's own counters; [`status::Status`] is the one
//! value that gathers them, so the page and the metrics cannot disagree.

pub mod ledger;
pub mod metrics;
pub mod secret;
pub mod status;
