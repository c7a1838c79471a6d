//! The OpenSSL matrix: which builds there are, and the server of `tests/openssl/server.rs` on each of them.
//!
//! In: what `cargo xtask openssl` left in `target/openssl-matrix`. Out: running [`Server`]s. The server is compiled here, when a
//! test first asks for it, so that no test judges a stale one. Absent: traffic, which [`traffic`] makes.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::processes::{Process, Start};
use crate::tls::self_signed;

pub mod traffic;

/// The versions, one a line, with that of the crate which carries the sources.
const VERSIONS: &str = include_str!("../openssl/versions");
/// The server's source.
const SERVER: &str = include_str!("../openssl/server.rs");
/// What builds the matrix.
const BUILD: &str = "cargo xtask openssl";
/// Set to 1 where the matrix may not be missing.
const REQUIRE: &str = "REQUIRE_KERNEL";
/// Size of the server's socket buffers, bytes: small, so that a client which does not read is soon felt.
const SEND_BUFFER_BYTES: u32 = 16 * 1024;
/// How long a server may take to listen.
const START: Duration = Duration::from_secs(20);

/// How a server has OpenSSL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linkage {
    /// `libssl.so`
    Shared,
    /// In the executable; found by its symbol table.
    Static,
    /// In the executable, which has no symbol table but exports its functions, as gateways with loadable modules do.
    StaticExported,
}

/// One build of OpenSSL, and how a server has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// OpenSSL's version, such as `3.5.5`.
    pub version: &'static str,
    /// Whether it is built with `-fcf-protection` (or what the processor has for it).
    pub is_protected: bool,
    /// How it is linked.
    pub linkage: Linkage,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let linkage = match self.linkage {
            Linkage::Shared => "shared",
            Linkage::Static => "in the executable",
            Linkage::StaticExported => "in the executable, exported",
        };
        let protection = if self.is_protected {
            "with cf-protection"
        } else {
            "without cf-protection"
        };
        write!(f, "OpenSSL {} {linkage}, {protection}", self.version)
    }
}

/// Which functions the server calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// `SSL_read` and `SSL_write`.
    Plain,
    /// `SSL_read_ex` and `SSL_write_ex`.
    Ex,
}

impl Api {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Plain, Self::Ex];

    const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Ex => "ex",
        }
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "SSL_*",
            Self::Ex => "SSL_*_ex",
        })
    }
}

/// Every version of the matrix.
pub fn versions() -> impl Iterator<Item = &'static str> {
    VERSIONS.lines().filter_map(|line| line.split(' ').next())
}

/// The rows of a version that begins like this, such as `3.5.`.
///
/// # Errors
/// When there is none.
pub fn rows(version: &str) -> anyhow::Result<Vec<Row>> {
    let version = versions()
        .find(|known| known.starts_with(version))
        .with_context(|| format!("no OpenSSL {version} in tests/openssl/versions"))?;
    let row = |is_protected, linkage| Row {
        version,
        is_protected,
        linkage,
    };
    Ok(vec![
        row(false, Linkage::Shared),
        row(true, Linkage::Shared),
        row(false, Linkage::Static),
        row(true, Linkage::StaticExported),
    ])
}

/// Whether the matrix has these rows; where it does not, the reason is printed.
///
/// # Panics
/// Where it does not although `REQUIRE_KERNEL=1` says that it must.
#[must_use]
#[expect(
    clippy::print_stderr,
    reason = "this tells the reader of a test run about a skip"
)]
pub fn require_matrix(test: &str, rows: &[Row]) -> bool {
    let Some(missing) = rows.iter().find(|row| !row.directory().join("stamp").is_file()) else {
        return true;
    };
    let reason = format!(
        "the OpenSSL matrix has no {}; build it with `{BUILD}`",
        missing.version
    );
    assert!(
        std::env::var(REQUIRE).as_deref() != Ok("1"),
        "{test} may not be skipped ({REQUIRE}=1): {reason}"
    );
    eprintln!("skipped {test}: {reason}");
    false
}

impl Row {
    /// Where its libraries are.
    fn directory(&self) -> PathBuf {
        let protection = if self.is_protected { "-cet" } else { "" };
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../target/openssl-matrix")
            .join(format!("{}{protection}", self.version))
    }

    /// The file that defines OpenSSL's functions in this row.
    ///
    /// # Errors
    /// When the server cannot be compiled.
    pub fn defining_file(&self) -> anyhow::Result<PathBuf> {
        match self.linkage {
            Linkage::Shared => Ok(self.directory().join("libssl.so")),
            Linkage::Static | Linkage::StaticExported => self.server(),
        }
    }

    /// The server on this build, compiled when it is not there or was compiled of something else.
    ///
    /// # Errors
    /// When it cannot be compiled.
    pub fn server(&self) -> anyhow::Result<PathBuf> {
        let directory = self
            .directory()
            .canonicalize()
            .with_context(|| format!("{self} is not built: {BUILD}"))?;
        let arguments = self.link_arguments(&directory);
        let library = fs::metadata(directory.join("stamp"))
            .and_then(|stamp| stamp.modified())
            .context("when the library was built")?;
        let stamp = format!("{arguments:?}\n{library:?}\n{SERVER}");
        let program = directory.join(match self.linkage {
            Linkage::Shared => "server-shared",
            Linkage::Static | Linkage::StaticExported => "server-static",
        });
        let stamp_file = program.with_extension("stamp");
        if program.is_file() && fs::read_to_string(&stamp_file).is_ok_and(|known| known == stamp) {
            return Ok(program);
        }
        let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let compiled = Command::new(compiler)
            .args([
                "--edition",
                "2024",
                "--crate-name",
                "server",
                "-C",
                "opt-level=1",
                "-o",
            ])
            .arg(&program)
            .args(&arguments)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("openssl/server.rs"))
            .stdin(Stdio::null())
            .output()
            .context("start rustc")?;
        ensure!(
            compiled.status.success(),
            "the server does not compile for {self}:\n{}",
            String::from_utf8_lossy(&compiled.stderr)
        );
        fs::write(&stamp_file, stamp).context("write the server's stamp")?;
        Ok(program)
    }

    fn link_arguments(&self, directory: &Path) -> Vec<String> {
        let directory = directory.display();
        let search = ["-L".to_owned(), format!("native={directory}")];
        let more: &[&str] = match self.linkage {
            Linkage::Shared => {
                let found_at_run_time = format!("link-arg=-Wl,-rpath,{directory}");
                let libraries = ["-l", "dylib=ssl", "-l", "dylib=crypto", "-C"].map(str::to_owned);
                return search
                    .into_iter()
                    .chain(libraries)
                    .chain([found_at_run_time])
                    .collect();
            }
            Linkage::Static => &["-l", "static=ssl", "-l", "static=crypto"],
            Linkage::StaticExported => &[
                "-l",
                "static=ssl",
                "-l",
                "static=crypto",
                "-C",
                "link-arg=-Wl,--export-dynamic",
                "-C",
                "strip=symbols",
            ],
        };
        search
            .into_iter()
            .chain(more.iter().map(|argument| (*argument).to_owned()))
            .collect()
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// The process.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Server {
    /// Starts a row's server.
    ///
    /// # Errors
    /// When it cannot be compiled, or does not listen.
    pub async fn start(row: &Row, api: Api) -> anyhow::Result<Self> {
        let program = row.server()?;
        let directory = tempfile::tempdir().context("a directory")?;
        let at = |name: &str| directory.path().join(name);
        let identity = self_signed()?;
        fs::write(at("certificate.pem"), identity.certificate_pem)?;
        fs::write(at("key.pem"), identity.key_pem)?;
        let arguments = [
            ("--api", api.name().to_owned()),
            ("--certificate", at("certificate.pem").display().to_string()),
            ("--key", at("key.pem").display().to_string()),
            ("--send-buffer", SEND_BUFFER_BYTES.to_string()),
        ];
        let mut process = Process::start(Start {
            name: "the OpenSSL server",
            program: &program,
            arguments: arguments
                .into_iter()
                .flat_map(|(name, value)| [name.to_owned(), value])
                .collect(),
            environment: vec![],
            log: at("server.log"),
        })?;
        let log = at("server.log");
        let address = process
            .ready("the OpenSSL server to listen", START, async || {
                let said = fs::read_to_string(&log).unwrap_or_default();
                let address = said.lines().find_map(|line| line.strip_prefix("listening "));
                address.and_then(|address| address.parse().ok()).ok_or(said)
            })
            .await?;
        Ok(Self {
            process,
            address,
            _directory: directory,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{rows, versions};

    #[test]
    fn every_version_has_a_row_for_each_linkage_and_protection() {
        for version in versions() {
            let rows = rows(version).unwrap();
            assert_eq!(rows.len(), 4);
            for (index, row) in rows.iter().enumerate() {
                assert!(rows.iter().skip(index + 1).all(|other| other != row), "{row}");
            }
        }
        assert!(rows("0.9").is_err());
    }
}
