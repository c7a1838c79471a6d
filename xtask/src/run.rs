//! `cargo xtask run`: from a fresh machine to kongtap at work, in one command.
//!
//! Checks what is needed and installs what is missing, builds, and becomes `kongtap-lab` (tests/src/lab.rs), which starts
//! everything and ends it.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::packages;
use crate::tidy::root;

/// CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_PERFMON and CAP_BPF: what kongtap needs on a gateway of somebody else's.
const CAPABILITIES: [u32; 4] = [19, 21, 38, 39];
/// What is built: unoptimised, which is plenty for a demonstration, takes a fifth of the time, and is what the tests use.
const BUILD: [&str; 7] = [
    "build",
    "-p",
    "kongtap",
    "-p",
    "kongtap-inspector",
    "-p",
    "kongtap-tests",
];

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Send the sample traffic, print what was sent against what arrived, and end; fails if an exchange is missing, doubled or
    /// different.
    #[arg(long)]
    once: bool,
    /// Watch a Kong that runs already, by its Admin API (http://127.0.0.1:8001).
    #[arg(long, value_name = "URL", conflicts_with = "pid")]
    admin_url: Option<String>,
    /// Watch a gateway that runs already, by the pid of its nginx master.
    #[arg(long)]
    pid: Option<u32>,
    /// That gateway's kong.yml, where it has no Admin API.
    #[arg(long, value_name = "FILE", requires = "pid")]
    gateway_config: Option<PathBuf>,
    /// Where that gateway takes plain requests (the Admin API says it otherwise).
    #[arg(long, value_name = "ADDRESS:PORT")]
    proxy: Option<SocketAddr>,
    /// Where that gateway takes TLS.
    #[arg(long, value_name = "ADDRESS:PORT")]
    proxy_tls: Option<SocketAddr>,
    /// Port of the inspector's page [default: a free one].
    #[arg(long)]
    port: Option<u16>,
}

/// Runs the verb. Comes back only when something is missing.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    require_machine("cargo xtask run")?;
    let needs_stand_in = arguments.admin_url.is_none() && arguments.pid.is_none();
    if needs_stand_in {
        packages::require(&packages::GATEWAY, "the gateway of the lab")?;
    }
    let root = root()?;
    let built = Command::new(cargo())
        .args(BUILD)
        .current_dir(&root)
        .status()
        .context("start cargo")?;
    if !built.success() {
        bail!("the build failed");
    }
    let target = target_directory(&root);
    let program = |name| target.join("debug").join(name);
    let mut lab = Command::new(program("kongtap-lab"));
    lab.arg("--kongtap")
        .arg(program("kongtap"))
        .arg("--inspector")
        .arg(program("kongtap-inspector"));
    lab.args(passed_on(arguments));
    // The lab takes this process's place: signals reach it, and its exit code is ours.
    Err(lab.exec()).context("start kongtap-lab")
}

fn passed_on(arguments: &Arguments) -> Vec<String> {
    let mut passed = Vec::new();
    if arguments.once {
        passed.push("--once".to_owned());
    }
    let options = [
        ("--admin-url", arguments.admin_url.clone()),
        ("--pid", arguments.pid.map(|pid| pid.to_string())),
        (
            "--gateway-config",
            arguments
                .gateway_config
                .as_ref()
                .map(|path| path.display().to_string()),
        ),
        ("--proxy", arguments.proxy.map(|address| address.to_string())),
        (
            "--proxy-tls",
            arguments.proxy_tls.map(|address| address.to_string()),
        ),
        ("--port", arguments.port.map(|port| port.to_string())),
    ];
    for (name, value) in options {
        if let Some(value) = value {
            passed.extend([name.to_owned(), value]);
        }
    }
    passed
}

/// Probes need Linux and the right to load them.
pub(crate) fn require_machine(again: &str) -> anyhow::Result<()> {
    if !cfg!(target_os = "linux") {
        bail!("kongtap watches a gateway through the Linux kernel: run this on Linux");
    }
    if !packages::is_root() && !packages::has_capabilities(&CAPABILITIES) {
        bail!(
            "loading probes into the kernel takes root, or CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN and CAP_SYS_PTRACE. Run\n    \
             sudo -E env \"PATH=$PATH\" {again}"
        );
    }
    Ok(())
}

/// The cargo that started us.
pub(crate) fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Where cargo puts what it builds.
pub(crate) fn target_directory(root: &std::path::Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |directory| root.join(directory))
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::{Arguments, passed_on};

    #[test]
    fn what_the_user_says_reaches_the_lab() {
        let check = |said: &[&str]| {
            let command = Arguments::augment_args(Command::new("run").no_binary_name(true));
            let matches = command.try_get_matches_from(said).unwrap();
            assert_eq!(passed_on(&Arguments::from_arg_matches(&matches).unwrap()), said);
        };
        check(&[]);
        check(&["--once", "--port", "8012"]);
        check(&[
            "--admin-url",
            "http://127.0.0.1:8001",
            "--proxy",
            "127.0.0.1:8000",
        ]);
        check(&[
            "--pid",
            "12",
            "--gateway-config",
            "kong.yml",
            "--proxy-tls",
            "127.0.0.1:8443",
        ]);
    }
}
