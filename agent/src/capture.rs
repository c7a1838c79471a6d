//! The one door to the kernel: finds gateways, loads and attaches the probes, drains the ring and cooks its records.
//!
//! In: a kernel and `/proc`. Out: [`event::CaptureEvent`]s. Nothing outside this module knows eBPF, `/proc` or file
//! descriptors; everything after it also runs from a recording.

pub mod boot;
pub mod decode;
pub mod event;
pub mod gateways;
pub mod host;
pub mod libraries;
mod links;
pub(crate) mod namespace;
pub mod placement;
pub mod probes;
pub mod reader;
pub mod recording;
pub mod ring;
pub mod session;
pub mod sockets;
pub mod sources;
pub mod symbols;
pub mod tls;
pub mod usage;
