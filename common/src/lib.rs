//! The records that travel from the probes (`ebpf/`) to the agent (`agent/src/capture`), and the names of the
//! kernel's counters. Both sides compile this crate, so both read the same bytes.
//!
//! In: nothing. Out: plain `#[repr(C)]` data of fixed width with explicit padding, whose sizes are asserted at compile
//! time. Deliberately absent: behaviour, allocation, and Rust enums in memory (a code is checked when it is decoded).

#![no_std]

pub mod budget;
pub mod counter;
pub mod offsets;
pub mod process;
pub mod record;
pub mod target;
pub mod tls;
