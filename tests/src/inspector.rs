//! kongtap-inspector, as a running program, and its Runscope API as a client sees it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::client::{Request, Scheme, get_json, once};
use crate::gateway::free_port;
use crate::processes::{Process, Start};

/// How long it may take to start, and to end.
const BUDGET: Duration = Duration::from_secs(10);
/// The bucket that the lab uses.
pub const BUCKET: &str = "lab";

/// A running `kongtap-inspector serve`.
#[derive(Debug)]
pub struct Inspector {
    process: Process,
    listen: SocketAddr,
    token: String,
    _directory: TempDir,
}

impl Inspector {
    /// Starts it with `token`, on `port` (0 for a free one), and waits until it answers.
    ///
    /// # Errors
    /// When it does not; with the end of its log.
    pub async fn start(program: &Path, token: &str, port: u16) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("kongtap-inspector.").tempdir()?;
        let port = if port == 0 { free_port()? } else { port };
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut process = Process::start(Start {
            name: "kongtap-inspector",
            program,
            arguments: vec!["serve".to_owned(), "--listen".to_owned(), listen.to_string()],
            // Not as an argument: other users can read those.
            environment: vec![("KONGTAP_INSPECTOR_TOKEN", token.to_owned())],
            log: directory.path().join("inspector.log"),
        })?;
        process
            .ready("the inspector to answer", BUDGET, async || {
                let request = Request::new("GET", "/healthz").field("Connection", "close");
                match once(listen, Scheme::Http, &request).await {
                    Ok(answer) if answer.status == 200 => Ok(()),
                    Ok(answer) => Err(format!("/healthz answered {}", answer.status)),
                    Err(error) => Err(format!("{error:#}")),
                }
            })
            .await?;
        Ok(Self {
            process,
            listen,
            token: token.to_owned(),
            _directory: directory,
        })
    }

    /// Its page, which is what `api_endpoint` is set to as well.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// The newest messages in the lab's bucket, at most `count` (the API's maximum is 1000), oldest first, without bodies.
    ///
    /// # Errors
    /// When the inspector does not answer as Runscope does.
    pub async fn newest(&self, count: usize) -> anyhow::Result<Vec<Value>> {
        let target = format!("/buckets/{BUCKET}/messages?count={count}");
        let mut page = self.data(&target).await?;
        let list = page
            .as_array_mut()
            .with_context(|| format!("{target}: no list"))?;
        list.reverse();
        Ok(std::mem::take(list))
    }

    /// One message, whole.
    ///
    /// # Errors
    /// When the inspector does not have it.
    pub async fn detail(&self, uuid: &str) -> anyhow::Result<Value> {
        self.data(&format!("/buckets/{BUCKET}/messages/{uuid}")).await
    }

    async fn data(&self, target: &str) -> anyhow::Result<Value> {
        let (status, mut envelope) = get_json(self.listen, target, Some(&self.token)).await?;
        ensure!(status == 200, "{target}: {status} {envelope}");
        Ok(envelope
            .get_mut("data")
            .with_context(|| format!("{target}: no data"))?
            .take())
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        self.process.stop(BUDGET).await
    }
}

/// A message's uuid.
///
/// # Errors
/// When it has none.
pub fn uuid(message: &Value) -> anyhow::Result<&str> {
    message
        .get("uuid")
        .and_then(Value::as_str)
        .with_context(|| format!("a message without uuid: {message}"))
}
