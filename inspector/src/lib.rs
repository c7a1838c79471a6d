//! The inspector: receives what kongtap (or any client of the Runscope messages API) posts, keeps it and shows it.
//!
//! ```text
//! POST ─ api::receive ─ message::check ─ writer (one thread, batches) ─ store (SQLite)
//! GET  ─ api::read ────────────────────────────────────────────────────┤
//! browser ─ pages (list, exchange) ─ pages::live (follows the writer) ──┘
//! ```
//!
//! - [`message`]: what a message must look like; says what is wrong and where. No IO.
//! - [`store`]: the one trait between the inspector and a database, and its SQLite form.
//! - [`writer`]: commits in batches off the async threads; a post is answered when its batch is on disk. Keeps the bounds.
//! - `api`: Runscope's envelope, for clients with a token.
//! - `pages`: HTML for people. Everything captured is hostile and only ever becomes text.
//! - [`server`], [`config`], [`cli`], [`token`], [`clock`]: the rest of a program.
//!
//! Every bound is a named constant, or a field of [`config::Limits`] or [`store::Retention`]. The inspector needs no
//! privilege and shares no code with the capture.

mod api;
mod app;
pub mod cli;
pub mod clock;
pub mod config;
mod content;
pub mod message;
mod pages;
pub mod server;
pub mod store;
pub mod token;
pub mod writer;

use anyhow as _; // `main`'s
#[cfg(test)]
use reqwest as _; // the tests' of the running program
use tracing_subscriber as _; // `main`'s
