//! Shows kongtap at work: `cargo xtask run` builds it and starts it. All of it is in `kongtap_tests::lab`.

#![expect(unused_crate_dependencies, reason = "they are the library's")]
#![expect(clippy::print_stderr, reason = "a command-line tool")]

use std::process::ExitCode;

use clap::Parser as _;
use kongtap_tests::lab::{Options, run};

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Options::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
