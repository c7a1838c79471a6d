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

use anyhow::{Context as _, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::gateway::configuration::{Configuration, Service};
use crate::gateway::{Listeners, children, free_port, lua};
use crate::processes::{Process, Start};
use crate::tls::Identity;

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
    listeners: Listeners,
    directory: TempDir,
}

impl StandIn {
    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// When nginx or its Lua module is missing, the kong.yml asks for what the stand-in cannot do, or nginx does not start.
    pub async fn start(kong_yml: &str, identity: &Identity) -> anyhow::Result<Self> {
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
                &nginx_conf(&configuration, plain, tls, &worker_user()),
            ),
        ] {
            fs::write(directory.path().join(file), text)?;
        }
        fs::create_dir(directory.path().join("temp"))?;
        fs::set_permissions(directory.path().join("temp"), fs::Permissions::from_mode(0o711))?;
        check_nginx(directory.path())?;
        let process = Process::start(Start {
            name: "gateway",
            program: Path::new(NGINX),
            arguments: vec![
                "-p".to_owned(),
                directory.path().display().to_string(),
                "-c".to_owned(),
                "nginx.conf".to_owned(),
            ],
            environment: vec![],
            log: directory.path().join("nginx.log"),
        })?;
        let mut gateway = Self {
            process,
            listeners: Listeners {
                plain: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, plain))),
                tls: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, tls))),
            },
            directory,
        };
        gateway.wait_for_workers(&[]).await?;
        Ok(gateway)
    }

    /// Where it takes requests.
    #[must_use]
    pub const fn listeners(&self) -> Listeners {
        self.listeners
    }

    /// The master's pid.
    #[must_use]
    pub fn master(&self) -> u32 {
        self.process.pid()
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
        self.process.signal(Signal::HUP)?;
        self.wait_for_workers(&before).await
    }

    async fn wait_for_workers(&mut self, before: &[u32]) -> anyhow::Result<()> {
        let (master, listeners) = (self.master(), self.listeners);
        self.process
            .ready("the gateway's workers", BUDGET, async || {
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
            })
            .await
    }
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

fn nginx_conf(configuration: &Configuration, plain: u16, tls: u16, user: &str) -> String {
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
        r#"daemon off;
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
