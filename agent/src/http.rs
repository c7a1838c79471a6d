//! HTTP as a bystander sees it: heads and bodies from two positioned byte streams that may have holes.
//!
//! In: contiguous bytes and gaps from `conn`. Out: [`exchange::Exchange`]s, one for each request of one leg. Parsing
//! never fails: what is missing is said in the exchange. Deliberately absent: the two legs of one request (that is
//! `correlate`) and anything of Kong's.

pub mod anomaly;
mod body;
pub mod detect;
pub mod exchange;
pub mod h1;
pub mod h2;
pub mod headers;
pub mod open;
pub mod verdict;
