//! kongtap's chores, each a verb. `cargo xtask run` does the main job, `cargo xtask test` passes the tests.
//!
//! Depends on none of the workspace's own crates: it must build when they do not.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]

use std::process::ExitCode;

use clap::Parser;

mod bench;
mod ebpf;
mod fuzz;
mod openssl;
mod packages;
mod run;
mod test;
mod tidy;

/// kongtap's chores.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", version)]
enum Verb {
    /// Build everything and show it working: a gateway, kongtap attached to it, sample traffic, the inspector's page.
    Run(run::Arguments),
    /// Install what the tests need, then run every check and test.
    Test(test::Arguments),
    /// Measure what capturing costs.
    Bench(bench::Arguments),
    /// Build the eBPF object into `ebpf/prebuilt/`.
    Ebpf(ebpf::Arguments),
    /// Build the OpenSSL versions that the TLS probes are tested on into `target/openssl-matrix/`.
    Openssl(openssl::Arguments),
    /// Fuzz the parsers: libFuzzer on every target of `fuzz/`.
    Fuzz(fuzz::Arguments),
    /// Check file sizes, invariants and documentation.
    Tidy(tidy::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Verb::parse() {
        Verb::Run(arguments) => run::run(&arguments),
        Verb::Test(arguments) => test::run(&arguments),
        Verb::Bench(arguments) => bench::run(&arguments),
        Verb::Ebpf(arguments) => ebpf::run(&arguments),
        Verb::Openssl(arguments) => openssl::run(&arguments),
        Verb::Fuzz(arguments) => fuzz::run(&arguments),
        Verb::Tidy(arguments) => tidy::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
