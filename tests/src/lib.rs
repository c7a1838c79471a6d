//! The lab: an upstream, a gateway, a client and a receiver that record what they saw, and the comparison of what was sent
//! with what arrived. kongtap's end-to-end tests stand on it, and `cargo xtask run` shows it as `kongtap-lab`.
//!
//! In: the paths of the `kongtap` and `kongtap-inspector` programs. Out: reports of sent against received.
//! Absent: any code of kongtap's own, but in `bench::parse`, which measures it; the lab sees it as its users do, from outside.

pub mod bench;
pub mod client;
pub mod compare;
pub mod faults;
pub mod gateway;
pub mod grpc;
pub mod http2;
pub mod inspector;
pub mod kernel;
pub mod kongtap;
pub mod lab;
pub mod life;
pub mod load;
pub mod openssl;
pub mod payload;
pub mod processes;
pub mod programs;
pub mod receiver;
pub mod recording;
pub mod samples;
pub mod scene;
pub mod shipped;
pub mod status;
pub mod template;
pub mod tls;
pub mod tools;
pub mod trial;
pub mod upstream;
pub mod wait;
pub mod wire;

// The programs' alone that count allocations.
#[cfg(test)]
use allocation_counter as _;
