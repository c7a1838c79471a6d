//! `cargo xtask ebpf`: the one way to build the eBPF objects.
//!
//! In: `ebpf/` and `common/`, and a Rust compiler that can build `core` for the BPF target: Debian's set, or a rustup
//! nightly with `rust-src`; and `bpf-linker`. Out: `ebpf/prebuilt/kongtap.<arch>.bpf.o` and the manifest that says what
//! they were made from, which the agent's build script holds against today's sources.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::ValueEnum;

mod build;
pub(crate) mod manifest;
mod tools;

use manifest::Hashes;
use tools::Tools;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Change nothing: say whether the manifest is of today's sources, and whether they build. The objects go to
    /// `target/ebpf/`; point KONGTAP_EBPF_OBJECT at one to build the agent with it.
    #[arg(long)]
    check: bool,
    /// Build in the probes' debug lines (for an agent with the feature `probe-log`). The objects go to `target/ebpf/`,
    /// as with `--check`: what is shipped never has them.
    #[arg(long)]
    probe_log: bool,
    /// For which processors.
    #[arg(long, value_enum, default_value_t = Arch::All)]
    arch: Arch,
    /// Which compiler.
    #[arg(long, value_enum, default_value_t = tools::Toolchain::Auto)]
    toolchain: tools::Toolchain,
}

/// A processor whose registers the probes can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arch {
    /// x86-64.
    #[value(name = "x86_64")]
    X86_64,
    /// 64-bit ARM.
    #[value(name = "aarch64")]
    Aarch64,
    /// Every one.
    All,
}

impl Arch {
    const fn names(self) -> &'static [&'static str] {
        match self {
            Self::X86_64 => &["x86_64"],
            Self::Aarch64 => &["aarch64"],
            Self::All => &["x86_64", "aarch64"],
        }
    }
}

/// Runs the verb.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("xtask lies in the repository")?;
    let prebuilt = root.join(manifest::PREBUILT);
    let sources = manifest::source_hashes(root)?;
    let recorded = read_manifest(&prebuilt);
    if arguments.check {
        check_sources(recorded.as_ref(), &sources)?;
    }
    let tools = Tools::find(arguments.toolchain)?;
    println!(
        "compiler: {}\nlinker:   {}",
        tools.rustc_version, tools.linker_version
    );
    let out = if arguments.check || arguments.probe_log {
        root.join("target/ebpf")
    } else {
        prebuilt
    };
    std::fs::create_dir_all(&out)?;
    let mut objects = recorded
        .as_ref()
        .map(|json| manifest::read(json, "objects"))
        .unwrap_or_default();
    for arch in arguments.arch.names() {
        let name = manifest::object_name(arch);
        let path = out.join(&name);
        build::build(root, &tools, arch, arguments.probe_log, &path)?;
        let hash = manifest::sha256(&std::fs::read(&path)?);
        let same = if objects.get(&name) == Some(&hash) {
            ", the same as before"
        } else {
            ""
        };
        println!(
            "built:    {}{same}",
            path.strip_prefix(root).unwrap_or(&path).display()
        );
        objects.insert(name, hash);
    }
    if out == root.join(manifest::PREBUILT) {
        if let Some(json) = &recorded
            && manifest::read(json, "sources") != sources
            && arguments.arch != Arch::All
        {
            bail!("the sources have changed, so every object must be rebuilt: leave out --arch");
        }
        write_manifest(&out, &sources, &objects, &tools)?;
    }
    Ok(())
}

fn read_manifest(prebuilt: &Path) -> Option<serde_json::Value> {
    serde_json::from_slice(&std::fs::read(prebuilt.join(manifest::MANIFEST)).ok()?).ok()
}

fn check_sources(recorded: Option<&serde_json::Value>, sources: &Hashes) -> anyhow::Result<()> {
    let Some(json) = recorded else {
        bail!("there is no manifest: run `cargo xtask ebpf`");
    };
    let changed = manifest::differences(&manifest::read(json, "sources"), sources);
    if !changed.is_empty() {
        bail!(
            "not built from today's sources: {}\nrun `cargo xtask ebpf`",
            changed.join(", ")
        );
    }
    println!("sources:  the manifest's");
    Ok(())
}

fn write_manifest(out: &Path, sources: &Hashes, objects: &Hashes, tools: &Tools) -> anyhow::Result<()> {
    let about = BTreeMap::from([
        ("rustc", &tools.rustc_version),
        ("bpf-linker", &tools.linker_version),
    ]);
    let json = serde_json::json!({ "objects": objects, "sources": sources, "tools": about });
    let path: PathBuf = out.join(manifest::MANIFEST);
    std::fs::write(&path, format!("{json:#}\n")).with_context(|| path.display().to_string())
}
