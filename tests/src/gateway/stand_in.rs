//! Debian's nginx, configured from a kong.yml to behave on the wire as Kong does: the same phases, header order, request id,
//! latencies, connection pool and answers of its own (testdata/lab/gateway.lua has the request handling).
//!
//! It has a directory, ports, user and pid file of its own; the host's nginx service is not touched.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Signal, kill_process};
use tempfile::TempDir;

use crate::gateway::configuration::{Configuration, Service};
use crate::gateway::{Listeners, children, free_port, lua};
use crate::processes::{Process, Start, pid};
use crate::tls::Identity;
use crate::wait::eventually;

/// How long nginx may take to start or reload.
const BUDGET: Duration = Duration::from_secs(10);
/// Where Debian puts nginx.
const NGINX: &str = "/usr/sbin/nginx";
/// Where Debian puts its modules.
const MODULES: &str = "/usr/lib/nginx/modules";
/// The request handling.
const HANDLER: &str = include_str!("../../../testdata/lab/gateway.lua");

/// The running gateway.
#[derive(Debug)]
pub struct StandIn {
    process: Process,
    setting: Setting,
    /// Where it is not the process that was started: a daemon's master, or that of a container.
    master: Option<u32>,
    listeners: Listeners,
    directory: TempDir,
}

/// What it runs in.
#[derive(Clone, Debug, Default)]
pub struct Setting {
    /// More environment.
    pub environment: Vec<(&'static str, String)>,
    /// A command that runs it, such as `unshare`; the master is then that command's child.
    pub inside: Vec<String>,
    /// How it stands to who started it.
    pub leaving: Leaving,
}

/// How a gateway stands to who started it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leaving {
    /// It stays its child.
    #[default]
    Stays,
    /// It leaves as a daemon does; only such a one can be upgraded (nginx ignores USR2 before its parent has changed).
    Leaves,
}

impl StandIn {
    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// When nginx or its Lua module is missing, the kong.yml asks for what the stand-in cannot do, or nginx does not start.
    pub async fn start(kong_yml: &str, identity: &Identity) -> anyhow::Result<Self> {
        Self::start_in(Setting::default(), kong_yml, identity).await
    }

    /// Starts it in a setting of its own.
    ///
    /// # Errors
    /// As [`StandIn::start`].
    pub async fn start_in(setting: Setting, kong_yml: &str, identity: &Identity) -> anyhow::Result<Self> {
        let configuration = Configuration::read(kong_yml)?;
        let directory = tempfile::Builder::new().prefix("kongtap-gateway.").tempdir()?;
        // Workers run as somebody else and keep their temporary files below it.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711))?;
        let (plain, tls) = (free_port()?, free_port()?);
        for (file, text) in [
            ("kong.yml", kong_yml),
            ("gateway.lua", HANDLER),
            ("configuration.lua", &lua::table(&configuration)),
            ("certificate.pem", &identity.certificate_pem),
            ("key.pem", &identity.key_pem),
            (
                "nginx.conf",
                &nginx_conf(&configuration, setting.leaving, plain, tls, &worker_user()),
            ),
        ] {
            fs::write(directory.path().join(file), text)?;
        }
        fs::create_dir(directory.path().join("temp"))?;
        fs::set_permissions(directory.path().join("temp"), fs::Permissions::from_mode(0o711))?;
        check_nginx(directory.path())?;
        let mut gateway = Self {
            process: launch(&setting, directory.path())?,
            setting,
            master: None,
            listeners: Listeners {
                plain: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, plain))),
                tls: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, tls))),
            },
            directory,
        };
        gateway.settle().await?;
        Ok(gateway)
    }

    /// Waits until it runs: finds its master, and waits for its workers.
    async fn settle(&mut self) -> anyhow::Result<()> {
        if self.setting.leaving == Leaving::Leaves {
            let status = self.process.wait(BUDGET).await?;
            ensure!(
                status.success(),
                "the gateway does not start: {status}\n{}",
                self.log()
            );
            let file = self.directory.path().join("nginx.pid");
            let master = eventually("the gateway's pid", BUDGET, async || pid_in(&file)).await?;
            self.master = Some(master);
        } else if !self.setting.inside.is_empty() {
            let outer = self.process.pid();
            let master = eventually("the gateway in its command", BUDGET, async || {
                only_child(outer).map_err(|error| error.to_string())
            });
            self.master = Some(master.await?);
        }
        self.wait_for_workers(&[]).await
    }

    /// Starts it again after [`StandIn::stop`]: the same files, ports and command line.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        self.process = launch(&self.setting, self.directory.path())?;
        self.master = None;
        self.settle().await
    }

    /// Ends it as an operator does: it finishes what it has.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let master = self.master();
        kill_process(pid(master)?, Signal::QUIT).context("stop the gateway")?;
        gone(master).await?;
        if self.process.ended()?.is_none() {
            self.process.wait(BUDGET).await?;
        }
        Ok(())
    }

    /// Upgrades the executable while it serves, as nginx's documentation tells: USR2 to the old master, and once the new one
    /// has workers, QUIT to the old one. Only for one that [`Leaving::Leaves`].
    ///
    /// # Errors
    /// When there is no new master, or the old one stays.
    pub async fn upgrade(&mut self) -> anyhow::Result<()> {
        let old = self.master();
        kill_process(pid(old)?, Signal::USR2).context("tell the gateway to upgrade")?;
        let file = self.directory.path().join("nginx.pid");
        let new = eventually("the new master's workers", BUDGET, async || {
            let new = pid_in(&file)?;
            let workers = children(new).map_err(|error| error.to_string())?;
            if new == old || workers.len() < 2 {
                return Err(format!("master {new}, workers {workers:?}"));
            }
            Ok(new)
        })
        .await?;
        self.master = Some(new);
        kill_process(pid(old)?, Signal::QUIT).context("end the old master")?;
        gone(old).await
    }

    /// Where it takes requests.
    #[must_use]
    pub const fn listeners(&self) -> Listeners {
        self.listeners
    }

    /// The master's pid.
    #[must_use]
    pub fn master(&self) -> u32 {
        self.master.unwrap_or_else(|| self.process.pid())
    }

    /// The workers' pids; those that are still shutting down after a reload too.
    ///
    /// # Errors
    /// When the gateway is gone.
    pub fn workers(&self) -> anyhow::Result<Vec<u32>> {
        children(self.master())
    }

    /// The kong.yml that it was made from.
    #[must_use]
    pub fn configuration_file(&self) -> PathBuf {
        self.directory.path().join("kong.yml")
    }

    /// What it complained about.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log_text()
    }

    /// Replaces the workers, as `kong reload` does, and waits until the new ones run.
    ///
    /// # Errors
    /// When they do not.
    pub async fn reload(&mut self) -> anyhow::Result<()> {
        let before = self.workers()?;
        kill_process(pid(self.master())?, Signal::HUP).context("reload the gateway")?;
        self.wait_for_workers(&before).await
    }

    async fn wait_for_workers(&self, before: &[u32]) -> anyhow::Result<()> {
        let (master, listeners) = (self.master(), self.listeners);
        let running = eventually("the gateway's workers", BUDGET, async || {
            let workers = children(master).map_err(|error| error.to_string())?;
            let new = workers.iter().filter(|worker| !before.contains(worker)).count();
            if new < 2 {
                return Err(format!("workers {workers:?}"));
            }
            for address in [listeners.plain, listeners.tls].into_iter().flatten() {
                tokio::net::TcpStream::connect(address)
                    .await
                    .map_err(|error| error.to_string())?;
            }
            Ok(())
        });
        running.await.with_context(|| self.process.log_tail())
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        // What is the lab's child ends with `process`; a daemon is nobody's.
        if self.setting.leaving == Leaving::Leaves
            && let Some(master) = self.master.and_then(|master| pid(master).ok())
        {
            let _gone = kill_process(master, Signal::TERM);
        }
    }
}

fn launch(setting: &Setting, directory: &Path) -> anyhow::Result<Process> {
    let mut command: Vec<String> = setting.inside.clone();
    command.extend([
        NGINX.to_owned(),
        "-p".to_owned(),
        directory.display().to_string(),
        "-c".to_owned(),
        "nginx.conf".to_owned(),
    ]);
    let program = command.remove(0);
    Process::start(Start {
        name: "gateway",
        program: Path::new(&program),
        arguments: command,
        environment: setting.environment.clone(),
        log: directory.join("nginx.log"),
    })
}

fn pid_in(file: &Path) -> Result<u32, String> {
    let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
    text.trim()
        .parse()
        .map_err(|_error| format!("{text:?} is no pid"))
}

fn only_child(parent: u32) -> anyhow::Result<u32> {
    let children = children(parent)?;
    children.first().copied().context("it has no child yet")
}

/// Waits until there is no such process.
async fn gone(process: u32) -> anyhow::Result<()> {
    eventually("the gateway to end", BUDGET, async || {
        match fs::read_to_string(format!("/proc/{process}/stat")) {
            Ok(stat) if !stat.contains(") Z ") => Err(format!("{process} runs")),
            Ok(_) | Err(_) => Ok(()),
        }
    })
    .await
}

/// Has nginx look at its configuration, so that a missing module is reported as what it is.
fn check_nginx(directory: &Path) -> anyhow::Result<()> {
    let checked = Command::new(NGINX)
        .arg("-t")
        .arg("-p")
        .arg(directory)
        .args(["-c", "nginx.conf"])
        .output()
        .with_context(|| format!("start {NGINX}: install the packages nginx and libnginx-mod-http-lua"))?;
    if !checked.status.success() {
        bail!(
            "nginx refuses the stand-in's configuration:\n{}",
            String::from_utf8_lossy(&checked.stderr)
        );
    }
    Ok(())
}

/// Workers give up root, as Kong's do.
fn worker_user() -> String {
    if rustix::process::geteuid().is_root() {
        "user nobody nogroup;".to_owned()
    } else {
        String::new()
    }
}

fn nginx_conf(configuration: &Configuration, leaving: Leaving, plain: u16, tls: u16, user: &str) -> String {
    let daemon = match leaving {
        Leaving::Stays => "off",
        Leaving::Leaves => "on",
    };
    let upstreams: String = configuration
        .services
        .iter()
        .enumerate()
        .map(|(index, service)| upstream(index, service))
        .collect();
    // Kong's services may differ in timeouts; nginx's proxy timeouts cannot be variables, so the longest holds for all.
    let timeout = |which: usize| {
        configuration
            .services
            .iter()
            .filter_map(|service| service.timeouts_ms.get(which))
            .max()
            .copied()
            .unwrap_or(60_000)
    };
    format!(
        r#"daemon {daemon};
{user}
worker_processes 2;
pid nginx.pid;
error_log stderr notice;
load_module {MODULES}/ndk_http_module.so;
load_module {MODULES}/ngx_http_lua_module.so;
events {{ worker_connections 4096; multi_accept on; }}
http {{
  charset UTF-8;
  access_log access.log;
  client_body_temp_path temp/body; proxy_temp_path temp/proxy; fastcgi_temp_path temp/fastcgi;
  uwsgi_temp_path temp/uwsgi; scgi_temp_path temp/scgi;
  client_body_buffer_size 8k;
  client_max_body_size 0;
  underscores_in_headers on;
  keepalive_requests 10000;
  lua_package_path "/usr/share/lua/5.1/?.lua;;";
  init_by_lua_block {{
    local directory = ngx.config.prefix()
    gateway = dofile(directory .. "gateway.lua")
    gateway.configure(dofile(directory .. "configuration.lua"))
  }}
{upstreams}
  server {{
    server_name kong;
    listen 127.0.0.1:{plain} reuseport backlog=16384;
    listen 127.0.0.1:{tls} ssl http2 reuseport backlog=16384;
    ssl_certificate certificate.pem;
    ssl_certificate_key key.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    error_page 400 404 408 411 412 413 414 417 494 /kong_error_handler;
    error_page 500 502 503 504 /kong_error_handler;
    header_filter_by_lua_block {{ gateway.header_filter() }}
    location / {{
      default_type '';
      set $upstream_scheme ''; set $upstream_name ''; set $upstream_uri ''; set $upstream_host '';
      set $forwarded_path ''; set $forwarded_prefix ''; set $forwarded_via ''; set $proxied_at ''; set $made_here '';
      access_by_lua_block {{ gateway.access() }}
      proxy_http_version 1.1;
      proxy_set_header Via $forwarded_via;
      proxy_set_header Host $upstream_host;
      proxy_set_header Connection keep-alive;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $host;
      proxy_set_header X-Forwarded-Port $server_port;
      proxy_set_header X-Forwarded-Path $forwarded_path;
      proxy_set_header X-Forwarded-Prefix $forwarded_prefix;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Kong-Request-Id $request_id;
      proxy_pass_header Server;
      proxy_pass_header Date;
      proxy_ssl_server_name on;
      proxy_connect_timeout {connect}ms; proxy_read_timeout {read}ms; proxy_send_timeout {write}ms;
      proxy_next_upstream error timeout;
      proxy_pass $upstream_scheme://$upstream_name$upstream_uri;
    }}
    location = /kong_error_handler {{
      internal;
      default_type '';
      content_by_lua_block {{ gateway.answer_error() }}
    }}
  }}
}}
"#,
        connect = timeout(0),
        read = timeout(1),
        write = timeout(2),
    )
}

/// A pool of kept connections. nginx tries each line of it once, so a retry is a line more.
fn upstream(index: usize, service: &Service) -> String {
    let server = format!("    server {} max_fails=0;\n", service.address);
    let servers = server.repeat(service.retries.saturating_add(1));
    format!(
        "  upstream {} {{\n{servers}    keepalive 512; keepalive_requests 10000; keepalive_timeout 60s;\n  }}\n",
        lua::upstream_name(index),
    )
}
