//! Other people's clients, run to their end: what kongtap sees of them nobody of ours has shaped.
//!
//! In: a program of Debian's and its arguments. Out: what it wrote. `cargo xtask test --only packages` installs them.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::process::Command;
use tokio::time::timeout;

/// How long one may run.
const BUDGET: Duration = Duration::from_secs(60);

/// Runs a program to its end. Gives what it wrote to its standard output.
///
/// # Errors
/// When it is not installed, does not end in time or fails.
pub async fn run(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let (output, status) = run_to_any_end(program, arguments).await?;
    ensure!(
        status == Some(0),
        "{program} {}: {status:?}\n{output}",
        arguments.join(" ")
    );
    Ok(output)
}

/// The same whatever its end is; also gives its exit code.
///
/// # Errors
/// When it is not installed or does not end in time.
pub async fn run_to_any_end(program: &str, arguments: &[&str]) -> anyhow::Result<(String, Option<i32>)> {
    let running = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(BUDGET, running)
        .await
        .with_context(|| format!("{program} does not end"))?
        .with_context(|| format!("{program} is missing: cargo xtask test --only packages"))?;
    let written = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok((written, output.status.code()))
}
