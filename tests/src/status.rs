//! kongtap's `/status`, and the sums of invariant I5: bytes seen = copied + left + lost, and
//! exchanges seen = shipped + queued + filtered + dropped.
//!
//! The sums are added up here, from the counters; what the document says about its own balance is only compared with that.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use crate::client::get_json;

/// Counts by reason.
pub type Reasons = BTreeMap<String, u64>;

/// What is read of the document.
#[derive(Clone, Debug, Deserialize)]
pub struct Status {
    /// The source of socket bytes in force.
    pub sockets: Option<String>,
    /// The gateways that are watched.
    pub gateways: Vec<WatchedGateway>,
    /// Bytes of the gateway's calls.
    pub bytes: Bytes,
    /// Exchanges.
    pub exchanges: Exchanges,
    /// Connections and parsing, by event.
    #[serde(default)]
    pub connections: Reasons,
    /// Joining of the two legs, by event.
    #[serde(default)]
    pub joins: Reasons,
    /// Probe events beside bytes.
    #[serde(default)]
    pub probes: Reasons,
    /// How it stands to its own limits.
    #[serde(default)]
    pub guard: serde_json::Value,
    /// What does not work, in words.
    #[serde(default)]
    pub problems: Vec<serde_json::Value>,
}

/// One gateway.
#[derive(Clone, Debug, Deserialize)]
pub struct WatchedGateway {
    /// The master's pid.
    pub master: Option<u32>,
    /// The workers.
    pub workers: Vec<WatchedWorker>,
    /// Where it listens.
    #[serde(default)]
    pub listeners: Vec<SocketAddr>,
}

/// One worker.
#[derive(Clone, Debug, Deserialize)]
pub struct WatchedWorker {
    /// Its pid.
    pub pid: u32,
    /// How its TLS is captured, in words.
    pub tls: String,
    /// How it was found.
    #[serde(default)]
    pub found: String,
    /// Since when it is watched.
    #[serde(default)]
    pub watched_since_unix_ms: u64,
}

/// The byte half.
#[derive(Clone, Debug, Deserialize)]
pub struct Bytes {
    /// Moved by calls that the probes saw.
    pub seen: u64,
    /// Copied to user space.
    pub copied: u64,
    /// Of those, given to the parser.
    pub read: u64,
    /// Deliberately not copied, by reason.
    pub left: Reasons,
    /// Lost, by reason.
    pub lost: Reasons,
    /// What the document says about the sum.
    pub balanced: bool,
}

/// The exchange half.
#[derive(Clone, Debug, Deserialize)]
pub struct Exchanges {
    /// Rebuilt.
    pub seen: u64,
    /// Accepted by the endpoint.
    pub shipped: u64,
    /// Waiting.
    pub queued: u64,
    /// Left out on purpose, by reason.
    pub filtered: Reasons,
    /// Lost, by reason.
    pub dropped: Reasons,
    /// What the document says about the sum.
    pub balanced: bool,
}

/// Asks for it.
///
/// # Errors
/// When kongtap does not answer, or answers something else.
pub async fn status(listen: SocketAddr) -> anyhow::Result<Status> {
    let (code, json) = get_json(listen, "/status", None).await?;
    ensure!(code == 200, "/status answered {code}");
    serde_json::from_value(json.clone()).with_context(|| format!("/status: {json}"))
}

/// Whether probes are attached and a configuration is read.
///
/// # Errors
/// When kongtap is not ready: what it says.
pub async fn ready(listen: SocketAddr) -> Result<(), String> {
    let request = crate::client::Request::new("GET", "/readyz").field("Connection", "close");
    match crate::client::once(listen, crate::client::Scheme::Http, &request).await {
        Ok(answer) if answer.status == 200 => Ok(()),
        Ok(answer) => Err(format!(
            "/readyz: {} {}",
            answer.status,
            String::from_utf8_lossy(&answer.body.bytes)
        )),
        Err(error) => Err(format!("{error:#}")),
    }
}

impl Status {
    /// Checks both sums.
    ///
    /// # Errors
    /// When one does not hold, or the document judges it otherwise.
    pub fn require_balance(&self) -> anyhow::Result<()> {
        let sum = |reasons: &Reasons| reasons.values().sum::<u64>();
        let (bytes, exchanges) = (&self.bytes, &self.exchanges);
        let accounted = bytes
            .copied
            .saturating_add(sum(&bytes.left))
            .saturating_add(sum(&bytes.lost));
        ensure!(
            bytes.seen == accounted,
            "bytes: {} seen, {accounted} accounted for: {bytes:?}",
            bytes.seen
        );
        ensure!(
            bytes.read == bytes.copied,
            "bytes: {} copied, {} read: {bytes:?}",
            bytes.copied,
            bytes.read
        );
        let accounted = [
            exchanges.shipped,
            exchanges.queued,
            sum(&exchanges.filtered),
            sum(&exchanges.dropped),
        ];
        let accounted = accounted.iter().sum::<u64>();
        ensure!(
            exchanges.seen == accounted,
            "exchanges: {} seen, {accounted} accounted for: {exchanges:?}",
            exchanges.seen
        );
        ensure!(
            bytes.balanced && exchanges.balanced,
            "the sums hold, and /status says that they do not"
        );
        Ok(())
    }

    /// How many bytes were lost.
    #[must_use]
    pub fn lost_bytes(&self) -> u64 {
        self.bytes.lost.values().sum()
    }

    /// How many bytes were lost for another reason than `reason`.
    #[must_use]
    pub fn lost_bytes_besides(&self, reason: &str) -> u64 {
        self.lost_bytes() - self.bytes.lost.get(reason).unwrap_or(&0)
    }

    /// How many exchanges were dropped.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.exchanges.dropped.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Status;

    fn document() -> Value {
        json!({
            "version": "0.1.0", "state": "watching",
            "gateways": [{"kind": "nginx", "master": 10, "workers": [{"pid": 11, "tls": "off"}]}],
            "bytes": {"seen": 10, "copied": 7, "read": 7, "left": {"body": 2}, "lost": {"ring_full": 1}, "balanced": true},
            "exchanges": {"seen": 6, "shipped": 3, "queued": 1, "filtered": {"profile": 1}, "dropped": {"timeout": 1}, "balanced": true},
        })
    }

    #[test]
    fn sums_are_added_up_and_not_believed() {
        let check = |pointer: &str, value: Value, expect: &str| {
            let mut document = document();
            *document.pointer_mut(pointer).unwrap() = value;
            let status: Status = serde_json::from_value(document).unwrap();
            let error = status.require_balance().unwrap_err().to_string();
            assert!(error.contains(expect), "{pointer}: {error}");
        };
        check("/bytes/seen", json!(11), "11 seen, 10 accounted");
        check("/bytes/read", json!(6), "7 copied, 6 read");
        check("/bytes/lost/ring_full", json!(0), "10 seen, 9 accounted");
        check("/exchanges/shipped", json!(4), "6 seen, 7 accounted");
        check("/bytes/balanced", json!(false), "says that they do not");
        let status: Status = serde_json::from_value(document()).unwrap();
        status.require_balance().unwrap();
        assert_eq!((status.lost_bytes(), status.dropped()), (1, 1));
    }
}
