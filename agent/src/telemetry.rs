//! What kongtap says of itself: counters, the ledger that proves that nothing was lost silently, and secrets that do not
//! print.
//!
//! Counting happens where the thing happens, through plain atomics; `/metrics` and `/status` read them.

pub mod ledger;
pub mod secret;
