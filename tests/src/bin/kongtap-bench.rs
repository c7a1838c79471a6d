//! Measures what capturing costs: `cargo xtask bench capture` builds it and starts it. All of it is in `kongtap_tests::bench`.

#![expect(unused_crate_dependencies, reason = "they are the library's")]
#![expect(clippy::print_stderr, reason = "a command-line tool")]

use std::process::ExitCode;

use clap::Parser as _;
use kongtap_tests::bench::cpu::{Cpus, pin};
use kongtap_tests::bench::{Options, run};

fn main() -> ExitCode {
    match bench(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// One thread, pinned before anything is started from it: children inherit where they run.
fn bench(options: &Options) -> anyhow::Result<()> {
    let cpus = Cpus::choose()?;
    pin(cpus.others)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(run(options, cpus))
}
