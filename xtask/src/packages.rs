//! Debian's packages that a verb needs: which are missing, and their installation.
//!
//! In: names. Out: they are there, or an error with the exact line that installs them. Nothing that a package brings is left
//! running or set to start: a host's own services are as they were.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// For the stand-in gateway.
pub(crate) const GATEWAY: [&str; 2] = ["nginx", "libnginx-mod-http-lua"];
/// For making load.
pub(crate) const LOAD: [&str; 1] = ["wrk"];
/// Clients of HTTP/2 that the tests set against the gateway.
pub(crate) const HTTP2: [&str; 2] = ["nghttp2-client", "curl"];
/// For the bench's comparisons.
pub(crate) const TRACER: [&str; 1] = ["bpftrace"];
/// For counting the agent's instructions.
pub(crate) const COUNTER: [&str; 1] = ["valgrind"];
/// For building the eBPF object from source with Debian's compiler.
pub(crate) const EBPF: [&str; 7] = [
    "rustc-web",
    "cargo-web",
    "rust-web-src",
    "llvm-22-dev",
    "libpolly-22-dev",
    "libzstd-dev",
    "zlib1g-dev",
];

/// For building libFuzzer.
pub(crate) const FUZZ: [&str; 2] = ["g++", "libc6-dev"];

/// For building OpenSSL from source.
pub(crate) const OPENSSL: [&str; 4] = ["gcc", "libc6-dev", "make", "perl"];

/// Asked by Debian's packages before they start a service.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs what is missing.
///
/// # Errors
/// When something is missing and cannot be installed: with the line that does it.
pub(crate) fn require(packages: &[&str], purpose: &str) -> anyhow::Result<()> {
    if !Path::new("/usr/bin/dpkg-query").exists() {
        println!(
            "this is not Debian: {purpose} needs what Debian calls {}",
            packages.join(", ")
        );
        return Ok(());
    }
    let missing = missing(packages)?;
    if missing.is_empty() {
        return Ok(());
    }
    if !is_root() {
        bail!("{purpose} needs packages. As root:\n    {}", line(&missing));
    }
    println!("installing {} for {purpose}", missing.join(" "));
    let no_services = NoServices::hold()?;
    // The package lists may be absent or old: then one look at them, and again.
    if install(&missing).is_err() {
        apt(&["update"])?;
        install(&missing).with_context(|| format!("try it by hand:\n    {}", line(&missing)))?;
    }
    drop(no_services);
    if missing.contains(&"nginx") {
        leave_disabled("nginx.service");
    }
    Ok(())
}

fn line(missing: &[&str]) -> String {
    format!(
        "apt-get update && apt-get install --yes --no-install-recommends {}",
        missing.join(" ")
    )
}

fn missing<'a>(packages: &[&'a str]) -> anyhow::Result<Vec<&'a str>> {
    let mut missing = Vec::new();
    for package in packages {
        let asked = Command::new("/usr/bin/dpkg-query")
            .args(["--show", "--showformat=${db:Status-Status}", package])
            .stderr(Stdio::null())
            .output()
            .context("start dpkg-query")?;
        if asked.stdout != b"installed" {
            missing.push(*package);
        }
    }
    Ok(missing)
}

fn install(packages: &[&str]) -> anyhow::Result<()> {
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(packages);
    apt(&arguments)
}

fn apt(arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .context("start apt-get")?;
    if !status.success() {
        bail!("apt-get {}: {status}", arguments.join(" "));
    }
    Ok(())
}

/// Whether this process is root, by the kernel's word.
pub(crate) fn is_root() -> bool {
    effective("Uid:").is_some_and(|uid| uid == "0")
}

/// Whether it has the capabilities to load probes and to look at another user's process, as bits of `CapEff`.
pub(crate) fn has_capabilities(bits: &[u32]) -> bool {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let held = text
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .map(str::trim);
    held.and_then(|held| u64::from_str_radix(held, 16).ok())
        .is_some_and(|held| {
            bits.iter()
                .all(|bit| held.checked_shr(*bit).is_some_and(|rest| rest & 1 == 1))
        })
}

/// The effective id in a line of real, effective, saved and file system id.
fn effective(name: &str) -> Option<String> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let ids = text.lines().find_map(|line| line.strip_prefix(name))?;
    ids.split_whitespace().nth(1).map(str::to_owned)
}

/// While it is held, Debian's packages start no service.
#[derive(Debug)]
struct NoServices {
    is_ours: bool,
}

impl NoServices {
    fn hold() -> anyhow::Result<Self> {
        if Path::new(POLICY).exists() {
            // Somebody has a policy; theirs holds.
            return Ok(Self { is_ours: false });
        }
        fs::write(POLICY, "#!/bin/sh\nexit 101\n").with_context(|| format!("write {POLICY}"))?;
        let policy = Self { is_ours: true };
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("write {POLICY}"))?;
        Ok(policy)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.is_ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("warning: {POLICY} is left, and keeps services from being started: {error}");
        }
    }
}

/// A package's installation also sets its service to start with the host.
fn leave_disabled(service: &str) {
    if !Path::new("/run/systemd/system").exists() {
        return;
    }
    let disabled = Command::new("systemctl")
        .args(["--quiet", "disable", service])
        .status();
    if !disabled.is_ok_and(|status| status.success()) {
        eprintln!("warning: {service} will start with the host: systemctl disable {service}");
    }
}

#[cfg(test)]
mod tests {
    use super::{has_capabilities, line, missing};

    #[test]
    fn what_is_not_installed_is_missing() {
        if !std::path::Path::new("/usr/bin/dpkg-query").exists() {
            eprintln!("skipped: this is not Debian");
            return;
        }
        assert_eq!(
            missing(&["dpkg", "kongtap-no-such-package"]).unwrap(),
            ["kongtap-no-such-package"]
        );
    }

    #[test]
    fn the_line_can_be_pasted() {
        assert_eq!(
            line(&["a", "b"]),
            "apt-get update && apt-get install --yes --no-install-recommends a b"
        );
    }

    #[test]
    fn no_process_has_a_capability_that_does_not_exist() {
        assert!(has_capabilities(&[]));
        assert!(!has_capabilities(&[63]));
        assert!(!has_capabilities(&[64]));
    }
}
