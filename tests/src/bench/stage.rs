//! What is measured: an nginx with one worker on a CPU of its own, proxying to another nginx that answers with fixed bodies.
//!
//! In: two CPUs. Out: addresses, the worker's pid, and how many requests it has taken. It proxies and adds a request id as
//! Kong does, and does nothing else, so that the worker's time is proxying and kongtap and little besides; the lab's
//! stand-in (`gateway/stand_in.rs`) behaves as Kong does, and spends three times as much in Lua.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use super::cpu::Cpus;
use crate::client::{Connection, Request, Scheme};
use crate::gateway::{Listeners, children, free_port};
use crate::processes::{Process, Start};
use crate::tls::Identity;

/// How long an nginx may take to start.
const BUDGET: Duration = Duration::from_secs(20);
/// Where Debian puts nginx.
const NGINX: &str = "/usr/sbin/nginx";
/// Where the gateway says how many requests it has taken.
const COUNTERS: &str = "/bench-counters";

/// A response that the upstream has, by its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// 512 bytes.
    Half,
    /// 1 KiB.
    Small,
    /// 5 MiB.
    Large,
}

impl Body {
    const ALL: [Self; 3] = [Self::Half, Self::Small, Self::Large];

    /// Where it is.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Half => "/half",
            Self::Small => "/small",
            Self::Large => "/large",
        }
    }

    const fn bytes(self) -> usize {
        match self {
            Self::Half => 512,
            Self::Small => 1 << 10,
            Self::Large => 5 << 20,
        }
    }
}

/// The two.
#[derive(Debug)]
pub struct Stage {
    gateway: Process,
    _upstream: Process,
    worker: u32,
    listeners: Listeners,
    directory: TempDir,
}

impl Stage {
    /// Starts both and waits until they answer.
    ///
    /// # Errors
    /// When nginx is missing or does not start.
    pub async fn set(cpus: Cpus, identity: &Identity) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("kongtap-bench.").tempdir()?;
        // Workers run as somebody else and have their directories below it.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711))?;
        let [upstream_port, plain, tls] = [free_port()?, free_port()?, free_port()?];
        let bodies = directory.path().join("bodies");
        fs::create_dir(&bodies)?;
        for body in Body::ALL {
            let text = vec![b'k'; body.bytes()];
            fs::write(bodies.join(body.path().trim_start_matches('/')), text)?;
        }
        for (file, text) in [
            ("certificate.pem", &identity.certificate_pem),
            ("key.pem", &identity.key_pem),
            ("kong.yml", &kong_yml(upstream_port)),
        ] {
            fs::write(directory.path().join(file), text)?;
        }
        let start = |name, cpu, servers: &str| nginx(directory.path(), name, cpu, servers);
        let upstream = start("upstream", cpus.others, &upstream_servers(upstream_port))?;
        let gateway = start(
            "gateway",
            cpus.gateway,
            &gateway_servers(upstream_port, plain, tls),
        )?;
        let mut stage = Self {
            gateway,
            _upstream: upstream,
            worker: 0,
            listeners: Listeners {
                plain: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, plain))),
                tls: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, tls))),
            },
            directory,
        };
        stage.wait().await?;
        Ok(stage)
    }

    async fn wait(&mut self) -> anyhow::Result<()> {
        let (master, listeners) = (self.master(), self.listeners);
        let ready = self.gateway.ready("the gateway to answer", BUDGET, async || {
            let workers = children(master).map_err(|error| error.to_string())?;
            let [worker] = workers[..] else {
                return Err(format!("workers {workers:?}"));
            };
            for scheme in [Scheme::Http, Scheme::Https] {
                for body in Body::ALL {
                    ask(listeners, scheme, body)
                        .await
                        .map_err(|error| format!("{error:#}"))?;
                }
            }
            Ok(worker)
        });
        self.worker = ready.await?;
        Ok(())
    }

    /// The master's pid.
    #[must_use]
    pub fn master(&self) -> u32 {
        self.gateway.pid()
    }

    /// The worker's pid.
    #[must_use]
    pub const fn worker(&self) -> u32 {
        self.worker
    }

    /// Where one of its bodies is asked for.
    ///
    /// # Panics
    /// Never: it listens for both schemes.
    #[must_use]
    pub fn url(&self, scheme: Scheme, body: Body) -> String {
        let name = match scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let address = self
            .listeners
            .of(scheme)
            .map_or_else(String::new, |address| address.to_string());
        format!("{name}://{address}{}", body.path())
    }

    /// Its configuration in Kong's form, for kongtap.
    #[must_use]
    pub fn configuration_file(&self) -> PathBuf {
        self.directory.path().join("kong.yml")
    }

    /// Where further files may be put.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A connection on which the gateway's counter is asked for.
    ///
    /// # Errors
    /// When the gateway is gone.
    pub async fn counter(&self) -> anyhow::Result<Counter> {
        let address = self.listeners.plain.context("no plain listener")?;
        Ok(Counter {
            connection: Connection::open(address, Scheme::Http).await?,
        })
    }
}

/// How many requests the gateway has taken.
#[derive(Debug)]
pub struct Counter {
    connection: Connection,
}

impl Counter {
    /// The count now, with this question in it.
    ///
    /// # Errors
    /// When the gateway is gone.
    pub async fn requests(&mut self) -> anyhow::Result<u64> {
        let answer = self.connection.exchange(&Request::new("GET", COUNTERS)).await?;
        requests(&String::from_utf8_lossy(&answer.body.bytes))
    }
}

/// Of nginx's status page: the third line is `accepts handled requests`.
fn requests(page: &str) -> anyhow::Result<u64> {
    let counts = page.lines().nth(2).unwrap_or_default();
    let requests = counts.split_ascii_whitespace().nth(2).unwrap_or_default();
    requests
        .parse()
        .with_context(|| format!("the gateway's counters: {page:?}"))
}

async fn ask(listeners: Listeners, scheme: Scheme, body: Body) -> anyhow::Result<()> {
    let address = listeners.of(scheme).context("no listener")?;
    let answer = crate::client::once(address, scheme, &Request::new("GET", body.path())).await?;
    ensure!(
        answer.status == 200 && answer.body.bytes.len() == body.bytes(),
        "{}: status {}, {} bytes",
        body.path(),
        answer.status,
        answer.body.bytes.len()
    );
    Ok(())
}

/// Starts an nginx in a directory of its own below `directory`.
fn nginx(directory: &Path, name: &'static str, cpu: usize, servers: &str) -> anyhow::Result<Process> {
    let prefix = directory.join(name);
    for path in [prefix.clone(), prefix.join("temp")] {
        fs::create_dir(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o711))?;
    }
    let user = if rustix::process::geteuid().is_root() {
        "user nobody nogroup;"
    } else {
        ""
    };
    let text = format!(
        "daemon off;\n{user}\nworker_processes 1;\npid nginx.pid;\nerror_log stderr warn;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n  access_log off;\n  client_body_temp_path temp/body; proxy_temp_path temp/proxy; \
         fastcgi_temp_path temp/fastcgi;\n  uwsgi_temp_path temp/uwsgi; scgi_temp_path temp/scgi;\n  \
         keepalive_requests 1000000000;\n{servers}}}\n"
    );
    fs::write(prefix.join("nginx.conf"), text)?;
    Process::start(Start {
        name,
        program: Path::new("taskset"),
        arguments: ["-c", &cpu.to_string(), NGINX, "-c", "nginx.conf", "-p"]
            .map(str::to_owned)
            .into_iter()
            .chain([prefix.display().to_string()])
            .collect(),
        environment: vec![],
        log: prefix.join("nginx.log"),
    })
}

/// Bodies from files that are in the page cache: the upstream is not to be what the load waits for.
fn upstream_servers(port: u16) -> String {
    format!(
        "  server {{\n    listen 127.0.0.1:{port};\n    root ../bodies; sendfile on; tcp_nopush on;\n    \
         default_type text/plain; open_file_cache max=8;\n  }}\n"
    )
}

/// What does not fit into its buffers waits in the upstream, not in a file: the calls of an exchange are socket calls.
fn gateway_servers(upstream: u16, plain: u16, tls: u16) -> String {
    format!(
        r#"  upstream service {{ server 127.0.0.1:{upstream} max_fails=0; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{plain} backlog=4096;
    listen 127.0.0.1:{tls} ssl backlog=4096;
    ssl_certificate ../certificate.pem;
    ssl_certificate_key ../key.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    proxy_max_temp_file_size 0;
    location / {{
      proxy_http_version 1.1;
      proxy_set_header Connection keep-alive;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Kong-Request-Id $request_id;
      add_header X-Kong-Request-Id $request_id;
      proxy_pass http://service;
    }}
    location = {COUNTERS} {{ stub_status; }}
  }}
"#
    )
}

fn kong_yml(upstream: u16) -> String {
    format!(
        "_format_version: '3.0'\nservices:\n- name: bench\n  url: http://127.0.0.1:{upstream}\n  \
         routes: [{{ name: all, paths: [/] }}]\n"
    )
}

#[cfg(test)]
mod tests {
    use super::requests;

    #[test]
    fn the_third_number_is_the_requests() {
        let page =
            "Active connections: 2 \nserver accepts handled requests\n 11 12 130 \nReading: 0 Writing: 1\n";
        assert_eq!(requests(page).unwrap(), 130);
        assert!(requests("<html>").is_err());
    }
}
