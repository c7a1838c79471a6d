//! The real kernel: whether tests may load probes here, and whose turn it is.

use std::fs::File;

use anyhow::Context as _;

/// Set to 1 where a test that needs the kernel must not be skipped.
const REQUIRE: &str = "REQUIRE_KERNEL";

/// The right to load probes and to judge what they see: one test at a time on a machine, since a gateway is watched whole and
/// the machine has few cores. It ends when this is dropped.
#[derive(Debug)]
pub struct Turn {
    _locked: File,
}

/// Waits for the turn; `None`, with the reason printed, where probes cannot be loaded.
///
/// # Panics
/// Where probes cannot be loaded although `REQUIRE_KERNEL=1` says that they must.
///
/// # Errors
/// When the lock cannot be had.
#[expect(
    clippy::print_stderr,
    reason = "this is what tells the reader of a test run about a skip"
)]
pub fn require_kernel(test: &str) -> anyhow::Result<Option<Turn>> {
    if let Some(reason) = cannot_load() {
        assert!(
            std::env::var(REQUIRE).as_deref() != Ok("1"),
            "{test} needs the kernel ({REQUIRE}=1), and {reason}"
        );
        eprintln!("skipped {test}: {reason}");
        return Ok(None);
    }
    let path = std::env::temp_dir().join("kongtap-kernel-tests.lock");
    let locked = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    locked
        .lock()
        .with_context(|| format!("lock {}", path.display()))?;
    Ok(Some(Turn { _locked: locked }))
}

fn cannot_load() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return Some("this is not Linux".to_owned());
    }
    if !rustix::process::geteuid().is_root() {
        return Some("loading probes takes root: sudo -E cargo test".to_owned());
    }
    None
}
