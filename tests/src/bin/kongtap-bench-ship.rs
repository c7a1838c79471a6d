//! Measures what a shipped message costs the agent: `cargo xtask bench ship` builds it and starts it. All of it is in
//! `kongtap_tests::bench::ship`.

#![expect(unused_crate_dependencies, reason = "they are the library's")]
#![expect(clippy::print_stderr, reason = "a command-line tool")]

use std::process::ExitCode;

use clap::Parser as _;
use kongtap_tests::bench::ship::{Options, run};

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
