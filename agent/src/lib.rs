//! kongtap: a running Kong gateway's exchanges, shipped to a Runscope endpoint without touching the gateway.
//!
//! The modules stand in the order in which data flows: `capture` (the only one that knows the kernel) makes
//! [`capture::event::CaptureEvent`]s, `conn` and `http` make exchanges of one leg, `correlate` joins the legs,
//! `gateway` names Service, Route and Consumer, `plugin` decides which configuration is in force, `message` builds what
//! is sent and `ship` sends it. `ARCHITECTURE.md` has the map and the invariants.

pub mod admin;
pub mod app;
pub mod capture;
pub mod cli;
pub mod clock;
pub mod config;
pub mod conn;
pub mod correlate;
pub mod doctor;
pub mod explain;
pub mod gateway;
pub mod guard;
pub mod http;
#[cfg(test)]
mod limits;
pub mod message;
pub mod pipeline;
pub mod plugin;
pub mod ship;
pub mod telemetry;

// The examples' and the program's alone.
#[cfg(test)]
use anyhow as _;
use rustls as _;
use tracing_subscriber as _;
