//! What an end-to-end test begins with: an upstream, a running gateway, a receiver, and kongtap attached to the gateway; and
//! what it ends with: everything arrived once, as it was, and the sums of invariant I5 hold.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::compare::{Expected, compare};
use crate::gateway::Listeners;
use crate::gateway::stand_in::{Setting, StandIn};
use crate::kernel::Turn;
use crate::kongtap::Kongtap;
use crate::lab::{global_configuration, kong_yml};
use crate::programs::programs;
use crate::receiver::Receiver;
use crate::shipped::Shipped;
use crate::status::Status;
use crate::tls;
use crate::upstream::Upstream;
use crate::wait::eventually;

/// How long messages may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(60);
/// How many complaints a failure shows.
const COMPLAINTS: usize = 12;
/// The bearer token of the scene's receiver.
pub const TOKEN: &str = "scene-token";

/// Arguments that choose a source of socket bytes.
#[must_use]
pub fn by(sockets: &str) -> Vec<String> {
    vec!["--sockets".to_owned(), sockets.to_owned()]
}

/// Everything but kongtap.
#[derive(Debug)]
pub struct Scene {
    /// The gateway.
    pub gateway: StandIn,
    /// Where messages go.
    pub receiver: Receiver,
    /// The service behind the gateway.
    pub upstream: Upstream,
    _turn: Turn,
}

impl Scene {
    /// Starts upstream, gateway and receiver. kongtap comes later: it always attaches to a running gateway.
    ///
    /// # Errors
    /// When one of them does not start.
    pub async fn set(turn: Turn) -> anyhow::Result<Self> {
        Self::set_in(turn, Setting::default()).await
    }

    /// The same with a gateway in a setting of its own.
    ///
    /// # Errors
    /// When one of them does not start.
    pub async fn set_in(turn: Turn, setting: Setting) -> anyhow::Result<Self> {
        let identity = tls::self_signed()?;
        let upstream = Upstream::start(&identity).await?;
        Ok(Self {
            gateway: StandIn::start_in(setting, &kong_yml(&upstream)?, &identity).await?,
            receiver: Receiver::start().await?,
            upstream,
            _turn: turn,
        })
    }

    /// Where the gateway takes requests.
    #[must_use]
    pub const fn listeners(&self) -> Listeners {
        self.gateway.listeners()
    }

    /// Attaches kongtap, with one global configuration that has bodies.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn attach(&self) -> anyhow::Result<Kongtap> {
        let environment = global_configuration(&self.receiver.endpoint(), TOKEN);
        self.attach_with(vec![], environment).await
    }

    /// The same, with the source of socket bytes that is named, and none other.
    ///
    /// # Errors
    /// When it does not become ready, or has taken another one.
    pub async fn attach_by(&self, sockets: &str) -> anyhow::Result<Kongtap> {
        let environment = global_configuration(&self.receiver.endpoint(), TOKEN);
        let kongtap = self.attach_with(by(sockets), environment).await?;
        let taken = kongtap.status().await?.sockets;
        ensure!(
            taken.as_deref() == Some(sockets),
            "{sockets} was asked for, {taken:?} is in force"
        );
        Ok(kongtap)
    }

    /// Attaches kongtap with more arguments and its environment.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn attach_with(
        &self,
        more: Vec<String>,
        environment: Vec<(&'static str, String)>,
    ) -> anyhow::Result<Kongtap> {
        let mut arguments = self.gateway_arguments();
        arguments.extend(more);
        Kongtap::start(&programs()?.kongtap, arguments, environment).await
    }

    /// `--pid` and `--gateway-config` of this gateway.
    #[must_use]
    pub fn gateway_arguments(&self) -> Vec<String> {
        vec![
            "--pid".to_owned(),
            self.gateway.master().to_string(),
            "--gateway-config".to_owned(),
            self.gateway.configuration_file().display().to_string(),
        ]
    }

    /// Waits until kongtap has nothing left to send, then requires that exactly the expected exchanges arrived, each once and
    /// as it was, with nothing lost and both sums right. Gives the messages for further questions.
    ///
    /// # Errors
    /// When anything is missing, doubled, different, lost or unaccounted for.
    pub async fn require_all(
        &self,
        kongtap: &Kongtap,
        expected: &[Expected],
    ) -> anyhow::Result<Vec<Shipped>> {
        // What is missing is said by the comparison, better than by the wait.
        let _settled = self.settle(kongtap, expected.len()).await;
        let shipped = self.shipped()?;
        let report = compare(expected, &shipped);
        let status = kongtap.status().await?;
        ensure!(
            report.is_clean(),
            "{}\n{:?}\n{:?}\n{}",
            report.complaints(COMPLAINTS),
            status.bytes,
            status.exchanges,
            kongtap.log_tail()
        );
        status.require_balance()?;
        ensure!(
            status.lost_bytes() == 0,
            "bytes were lost: {:?}",
            status.bytes.lost
        );
        ensure!(
            status.dropped() == 0,
            "exchanges were dropped: {:?}",
            status.exchanges.dropped
        );
        let arrived = u64::try_from(shipped.len())?;
        ensure!(
            status.exchanges.shipped == arrived,
            "/status says {} shipped, {arrived} arrived",
            status.exchanges.shipped
        );
        Ok(shipped)
    }

    /// Waits until at least `count` posts came and kongtap has none left. Gives the status at that moment.
    ///
    /// # Errors
    /// When that does not come to be.
    pub async fn settle(&self, kongtap: &Kongtap, count: usize) -> anyhow::Result<Status> {
        eventually("every message to arrive", ARRIVAL, async || {
            let posts = self.receiver.count();
            let status = kongtap.status().await.map_err(|error| format!("{error:#}"))?;
            if posts >= count && status.exchanges.queued == 0 && status.require_balance().is_ok() {
                Ok(status)
            } else {
                Err(format!(
                    "{posts} of {count} posts came; {:?} {:?}",
                    status.exchanges, status.bytes
                ))
            }
        })
        .await
    }

    /// The messages at the receiver. Each post is checked for where and how it came.
    ///
    /// # Errors
    /// When a post is not what the plugin would send.
    pub fn shipped(&self) -> anyhow::Result<Vec<Shipped>> {
        shipped_at(&self.receiver)
    }
}

/// The messages at a receiver of its own, likewise.
///
/// # Errors
/// When a post is not what the plugin would send.
pub fn shipped_at(receiver: &Receiver) -> anyhow::Result<Vec<Shipped>> {
    let line = format!("POST /buckets/{}/messages", crate::inspector::BUCKET);
    let posts = receiver.posts();
    posts
        .iter()
        .map(|post| {
            let field = |name| crate::wire::field(&post.fields, name);
            ensure!(post.line == line, "{} instead of {line}", post.line);
            ensure!(
                field("authorization") == Some(&format!("Bearer {TOKEN}")),
                "no bearer token"
            );
            ensure!(
                field("content-type") == Some("application/json"),
                "{:?}",
                field("content-type")
            );
            let message: Value = serde_json::from_slice(&post.body).context("a post is no JSON")?;
            Shipped::read(&message).with_context(|| format!("message {message}"))
        })
        .collect()
}
