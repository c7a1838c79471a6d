//! A real Kong, where the `kong` command is installed: DB-less, with a prefix and ports of its own and the lab's kong.yml.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use tempfile::TempDir;

use crate::client::get_json;
use crate::gateway::{Listeners, free_port};
use crate::processes::{Process, Start, pid};

/// How long Kong may take to start.
const BUDGET: Duration = Duration::from_secs(60);

/// The running gateway.
#[derive(Debug)]
pub struct Kong {
    // Before the directory, so that it ends before its files do.
    _master: Master,
    _process: Process,
    listeners: Listeners,
    admin_url: String,
    _directory: TempDir,
}

impl Kong {
    /// The `kong` command, if it is in the search path.
    #[must_use]
    pub fn installed() -> Option<PathBuf> {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path)
            .map(|directory| directory.join("kong"))
            .find(|program| program.is_file())
    }

    /// Starts it and waits until its Admin API answers.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(program: &Path, kong_yml: &str) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("kongtap-kong.").tempdir()?;
        let declarative = directory.path().join("kong.yml");
        fs::write(&declarative, kong_yml)?;
        let prefix = directory.path().join("prefix");
        let (plain, tls, admin) = (free_port()?, free_port()?, free_port()?);
        let mut process = Process::start(Start {
            name: "kong",
            program,
            arguments: vec!["start".to_owned()],
            environment: vec![
                ("KONG_DATABASE", "off".to_owned()),
                ("KONG_DECLARATIVE_CONFIG", declarative.display().to_string()),
                ("KONG_PREFIX", prefix.display().to_string()),
                (
                    "KONG_PROXY_LISTEN",
                    format!("127.0.0.1:{plain} reuseport, 127.0.0.1:{tls} http2 ssl reuseport"),
                ),
                ("KONG_ADMIN_LISTEN", format!("127.0.0.1:{admin}")),
                ("KONG_ADMIN_GUI_LISTEN", "off".to_owned()),
                ("KONG_STATUS_LISTEN", "off".to_owned()),
                ("KONG_NGINX_WORKER_PROCESSES", "2".to_owned()),
                ("KONG_NGINX_DAEMON", "off".to_owned()),
                ("KONG_ANONYMOUS_REPORTS", "off".to_owned()),
            ],
            log: directory.path().join("kong.log"),
        })?;
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, admin));
        process
            .ready("Kong's Admin API", BUDGET, async || {
                match get_json(admin, "/", None).await {
                    Ok((200, _)) => Ok(()),
                    Ok((status, _)) => Err(format!("status {status}")),
                    Err(error) => Err(format!("{error:#}")),
                }
            })
            .await?;
        Ok(Self {
            _master: Master {
                pid_file: prefix.join("pids/nginx.pid"),
            },
            _process: process,
            listeners: Listeners {
                plain: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, plain))),
                tls: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, tls))),
            },
            admin_url: format!("http://{admin}"),
            _directory: directory,
        })
    }

    /// Where it takes requests.
    #[must_use]
    pub const fn listeners(&self) -> Listeners {
        self.listeners
    }

    /// Its Admin API.
    #[must_use]
    pub fn admin_url(&self) -> &str {
        &self.admin_url
    }
}

/// nginx under the `kong` command, which passes no signal on.
#[derive(Debug)]
struct Master {
    pid_file: PathBuf,
}

impl Drop for Master {
    fn drop(&mut self) {
        let read = fs::read_to_string(&self.pid_file)
            .ok()
            .and_then(|text| text.trim().parse().ok());
        if let Some(master) = read.and_then(|number| pid(number).ok()) {
            // It may have ended with the command already.
            let _gone = kill_process(master, Signal::TERM);
        }
    }
}
