//! The endpoint's name: known, unknown, or asked of somebody who does not answer.
//!
//! A program learns names from files below `/etc`. It is given its own in a mount namespace, so nobody else's change.

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;

use anyhow::Context as _;
use tempfile::TempDir;

use crate::faults::Manner;

/// The endpoint's name; nobody has one below `invalid` (RFC 2606, section 2).
pub(super) const NAME: &str = "endpoint.lab.invalid";
/// Where names are asked for.
const PORT: u16 = 53;
/// The files, by their names in `/etc`.
const FILES: [&str; 3] = ["hosts", "nsswitch.conf", "resolv.conf"];

/// Its files.
#[derive(Debug)]
pub(super) struct Names {
    address: SocketAddr,
    directory: TempDir,
    /// Takes questions, and answers none.
    silent: Option<UdpSocket>,
}

impl Names {
    /// The name is known.
    pub(super) fn new(address: SocketAddr) -> anyhow::Result<Self> {
        let mut names = Self {
            address,
            directory: tempfile::Builder::new().prefix("kongtap-names.").tempdir()?,
            silent: None,
        };
        names.behave(Manner::Well)?;
        Ok(names)
    }

    /// From now on it is known or not. The files are written in place: they are mounted.
    pub(super) fn behave(&mut self, manner: Manner) -> anyhow::Result<()> {
        let ip = self.address.ip();
        let mut hosts = "127.0.0.1 localhost\n".to_owned();
        let mut sources = "files";
        self.silent = None;
        if manner == Manner::SilentNames {
            sources = "files dns";
            let silent = UdpSocket::bind((ip, PORT)).context("somebody to ask for names")?;
            self.silent = Some(silent);
        } else if manner != Manner::NoName {
            hosts.push_str(&format!("{ip} {NAME}\n"));
        }
        std::fs::write(self.file("hosts"), hosts)?;
        std::fs::write(self.file("nsswitch.conf"), format!("hosts: {sources}\n"))?;
        std::fs::write(self.file("resolv.conf"), format!("nameserver {ip}\n"))?;
        Ok(())
    }

    /// A command that mounts them for the program that it becomes.
    pub(super) fn inside(&self) -> Vec<String> {
        let mounts: String = FILES
            .iter()
            .map(|name| format!("mount --bind {} /etc/{name} && ", self.file(name).display()))
            .collect();
        [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            &format!("{mounts}exec \"$@\""),
            "sh",
        ]
        .map(str::to_owned)
        .to_vec()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}
