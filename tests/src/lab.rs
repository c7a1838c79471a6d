//! `kongtap-lab`: everything together, for `cargo xtask run`. An upstream, a gateway that runs before kongtap comes, the
//! inspector, kongtap attached to the running gateway, and sample traffic.
//!
//! In: [`Options`]. Out: a live table until Ctrl-C, or with `--once` a table of sent against received and a verdict. Whatever
//! happens, what was started ends, by pid, and its directories go.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use crate::gateway::running::{Named, Running};
use crate::gateway::stand_in::StandIn;
use crate::gateway::{Gateway, Listeners, free_port, kong};
use crate::inspector::{self, Inspector};
use crate::kongtap::Kongtap;
use crate::samples::{self, Sample};
use crate::template::fill;
use crate::tls;
use crate::upstream::Upstream;

mod live;
mod once;
mod table;

/// The lab's gateway configuration.
pub const KONG_YML: &str = include_str!("../../testdata/lab/kong.yml");
/// Exit code when Ctrl-C came before anything was shown.
const INTERRUPTED: u8 = 130;

/// What the lab is asked to do.
#[derive(Clone, Debug, clap::Parser)]
#[command(
    name = "kongtap-lab",
    version,
    about = "Shows kongtap at work: started by `cargo xtask run`"
)]
pub struct Options {
    /// The kongtap program.
    #[arg(long)]
    pub kongtap: PathBuf,
    /// The kongtap-inspector program.
    #[arg(long)]
    pub inspector: PathBuf,
    /// Send the sample traffic, compare what was sent with what arrived, and end; fails if an exchange is missing, doubled or
    /// different.
    #[arg(long)]
    pub once: bool,
    /// Watch a Kong that runs already, by its Admin API (http://127.0.0.1:8001).
    #[arg(long, value_name = "URL", conflicts_with = "pid")]
    pub admin_url: Option<String>,
    /// Watch a gateway that runs already, by the pid of its nginx master.
    #[arg(long)]
    pub pid: Option<u32>,
    /// That gateway's kong.yml, where it has no Admin API.
    #[arg(long, value_name = "FILE", requires = "pid")]
    pub gateway_config: Option<PathBuf>,
    /// Where that gateway takes plain requests (the Admin API says it otherwise).
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub proxy: Option<SocketAddr>,
    /// Where that gateway takes TLS.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub proxy_tls: Option<SocketAddr>,
    /// Port of the inspector's page; 0 for a free one.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
}

/// What runs. Ends in this order: kongtap sends what it has, then nobody sends, then nobody receives.
#[derive(Debug)]
struct Stage {
    kongtap: Kongtap,
    gateway: Gateway,
    inspector: Inspector,
    upstream: Upstream,
}

/// Runs the lab.
///
/// # Errors
/// When something cannot be started, or, with `--once`, an exchange is missing, doubled or different.
#[expect(clippy::print_stdout, reason = "the lab talks to the person who started it")]
pub async fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt()).context("wait for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("wait for SIGTERM")?;
    let mut stop = std::pin::pin!(async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    });
    let mut stage = tokio::select! {
        stage = Stage::set(options) => stage?,
        () = &mut stop => return Ok(ExitCode::from(INTERRUPTED)),
    };
    let outcome = if options.once {
        tokio::select! {
            outcome = once::once(&stage) => outcome.map(|()| ExitCode::SUCCESS),
            () = &mut stop => Ok(ExitCode::from(INTERRUPTED)),
        }
    } else {
        tokio::select! {
            outcome = live::live(&mut stage) => outcome.map(|()| ExitCode::SUCCESS),
            () = &mut stop => {
                println!("\nending: kongtap, gateway, inspector, upstream");
                Ok(ExitCode::SUCCESS)
            }
        }
    };
    let stopped = stage.stop().await;
    let code = outcome?;
    stopped?;
    Ok(code)
}

impl Stage {
    /// Starts everything, kongtap last: the gateway runs before it comes.
    #[expect(clippy::print_stdout, reason = "the lab talks to the person who started it")]
    async fn set(options: &Options) -> anyhow::Result<Self> {
        let identity = tls::self_signed()?;
        let upstream = Upstream::start(&identity).await?;
        println!(
            "upstream   http://{} and https://{}",
            upstream.plain, upstream.tls
        );
        let gateway = gateway(options, &upstream, &identity).await?;
        println!("gateway    {}", gateway.description());
        let listeners = gateway.listeners();
        for (scheme, address) in [("http", listeners.plain), ("https", listeners.tls)] {
            if let Some(address) = address {
                println!("           {scheme}://{address}");
            }
        }
        let token = Uuid::new_v4().simple().to_string();
        let inspector = Inspector::start(&options.inspector, &token, options.port).await?;
        println!("inspector  {}", inspector.url());
        let mut arguments = gateway.arguments();
        if let Some(file) = &options.gateway_config {
            arguments.extend(["--gateway-config".to_owned(), file.display().to_string()]);
        }
        let kongtap = Kongtap::start(
            &options.kongtap,
            arguments,
            global_configuration(&inspector.url(), &token),
        )
        .await?;
        println!(
            "kongtap    attached to the running gateway; http://{}/status\n",
            kongtap.listen()
        );
        Ok(Self {
            kongtap,
            gateway,
            inspector,
            upstream,
        })
    }

    /// The sample traffic for this gateway.
    fn samples(&self) -> Vec<Sample> {
        match &self.gateway {
            Gateway::StandIn(_) | Gateway::Kong(_) => samples::all(),
            Gateway::Running(running) => samples::harmless(running.listeners()),
        }
    }

    /// Whether somebody else's traffic may be seen as well.
    const fn is_shared(&self) -> bool {
        matches!(self.gateway, Gateway::Running(_))
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        let status = self.kongtap.stop().await?;
        ensure!(
            status.success(),
            "kongtap ended with {status}\n{}",
            self.kongtap.log_tail()
        );
        drop(self.gateway);
        let status = self.inspector.stop().await?;
        ensure!(status.success(), "the inspector ended with {status}");
        Ok(())
    }
}

/// One global configuration, bodies too, as the environment gives it.
#[must_use]
pub fn global_configuration(endpoint: &str, token: &str) -> Vec<(&'static str, String)> {
    vec![
        ("KONGTAP_API_ENDPOINT", endpoint.to_owned()),
        ("KONGTAP_ACCESS_TOKEN", token.to_owned()),
        ("KONGTAP_BUCKET_KEY", inspector::BUCKET.to_owned()),
        ("KONGTAP_LOG_BODY", "true".to_owned()),
    ]
}

/// The lab's kong.yml for this upstream.
///
/// # Errors
/// When no port is free.
pub fn kong_yml(upstream: &Upstream) -> anyhow::Result<String> {
    fill(
        KONG_YML,
        &[
            ("UPSTREAM", upstream.plain.to_string()),
            ("UPSTREAM_TLS", upstream.tls.to_string()),
            ("NOBODY", format!("127.0.0.1:{}", free_port()?)),
        ],
    )
}

async fn gateway(
    options: &Options,
    upstream: &Upstream,
    identity: &tls::Identity,
) -> anyhow::Result<Gateway> {
    let given = Listeners {
        plain: options.proxy,
        tls: options.proxy_tls,
    };
    let named = options
        .admin_url
        .clone()
        .map(Named::AdminUrl)
        .or_else(|| options.pid.map(Named::Pid));
    if let Some(named) = named {
        return Ok(Gateway::Running(Running::find(named, given).await?));
    }
    let kong_yml = kong_yml(upstream)?;
    if let Some(program) = kong::Kong::installed() {
        return Ok(Gateway::Kong(kong::Kong::start(&program, &kong_yml).await?));
    }
    Ok(Gateway::StandIn(StandIn::start(&kong_yml, identity).await?))
}

/// How long a message may take from the gateway to the inspector.
const ARRIVAL: Duration = Duration::from_secs(20);
