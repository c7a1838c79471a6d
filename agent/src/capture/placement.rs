//! Where in a function a uprobe costs least: on an instruction that the kernel emulates instead of single-stepping.
//!
//! In: a function's machine code. Out: file offsets and what is known there. Pure. Deliberately absent: reading files and
//! attaching.

pub mod emulated;
pub mod libc;
