//! Counts what shipping a message takes from the allocator, and prints it as JSON: `kongtap-bench-ship` starts it. It is a program of its
//! own because its allocator counts, which would cost the other figures something.

#![expect(unused_crate_dependencies, reason = "they are the library's")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]

use std::process::ExitCode;

use allocation_counter::measure;
use clap::Parser as _;
use kongtap_tests::bench::parse::allocations::Counted;
use kongtap_tests::bench::ship::allocations::{Options, of};

fn main() -> ExitCode {
    let printed = of(&Options::parse(), count).and_then(|found| Ok(serde_json::to_string(&found)?));
    match printed {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn count(run: &mut dyn FnMut()) -> Counted {
    let counted = measure(run);
    Counted {
        times: counted.count_total,
        bytes: counted.bytes_total,
        peak_bytes: counted.bytes_max,
    }
}
