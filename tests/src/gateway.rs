//! The gateway under observation: Debian's nginx standing in for Kong, a real Kong where one is installed, or one that runs
//! already and was named by the user.
//!
//! In: a kong.yml. Out: addresses to send to, and the pid to watch. All that the lab started ends with it.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;

use crate::client::Scheme;

pub mod configuration;
pub mod kong;
pub mod lua;
pub mod running;
pub mod stand_in;

/// Where a gateway takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listeners {
    /// Plain HTTP.
    pub plain: Option<SocketAddr>,
    /// TLS.
    pub tls: Option<SocketAddr>,
}

impl Listeners {
    /// The address for this scheme.
    #[must_use]
    pub const fn of(&self, scheme: Scheme) -> Option<SocketAddr> {
        match scheme {
            Scheme::Http => self.plain,
            Scheme::Https => self.tls,
        }
    }
}

/// Any of them.
#[derive(Debug)]
pub enum Gateway {
    /// nginx, configured to behave as Kong does on the wire.
    StandIn(stand_in::StandIn),
    /// A Kong that the lab started.
    Kong(kong::Kong),
    /// A gateway that ran before the lab, and will run after it.
    Running(running::Running),
}

impl Gateway {
    /// Where it takes requests.
    #[must_use]
    pub const fn listeners(&self) -> Listeners {
        match self {
            Self::StandIn(gateway) => gateway.listeners(),
            Self::Kong(gateway) => gateway.listeners(),
            Self::Running(gateway) => gateway.listeners(),
        }
    }

    /// How `kongtap run` is told about it.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        match self {
            Self::StandIn(gateway) => vec![
                "--pid".to_owned(),
                gateway.master().to_string(),
                "--gateway-config".to_owned(),
                gateway.configuration_file().display().to_string(),
            ],
            Self::Kong(gateway) => vec!["--admin-url".to_owned(), gateway.admin_url().to_owned()],
            Self::Running(gateway) => gateway.arguments(),
        }
    }

    /// One line for the user.
    #[must_use]
    pub fn description(&self) -> String {
        match self {
            Self::StandIn(gateway) => {
                format!(
                    "nginx standing in for Kong, master pid {}, configured from a kong.yml",
                    gateway.master()
                )
            }
            Self::Kong(gateway) => format!("Kong, Admin API {}", gateway.admin_url()),
            Self::Running(gateway) => gateway.description(),
        }
    }
}

/// A loopback port that is free now.
///
/// # Errors
/// When there is none.
pub fn free_port() -> anyhow::Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("look for a free port")?;
    Ok(listener.local_addr()?.port())
}

/// The pids of the children of `parent`, from the parent's own list.
///
/// # Errors
/// When the process is gone.
pub fn children(parent: u32) -> anyhow::Result<Vec<u32>> {
    let list = PathBuf::from(format!("/proc/{parent}/task/{parent}/children"));
    let text = std::fs::read_to_string(&list).with_context(|| format!("read {}", list.display()))?;
    text.split_ascii_whitespace()
        .map(|pid| Ok(pid.parse()?))
        .collect()
}
