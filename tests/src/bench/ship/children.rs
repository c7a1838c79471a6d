//! The two processes of a measurement, and what they say.
//!
//! In: this program's path, and a case. Out: what both ends counted, which must agree.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use serde::de::DeserializeOwned;

use super::case::{Case, Transport};
use super::receiver::{Address, Taken};
use super::sender::Sent;

/// A running receiver. It ends when it is dropped.
#[derive(Debug)]
pub struct Receiver {
    endpoint: String,
    process: Child,
    questions: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Receiver {
    /// Starts it.
    ///
    /// # Errors
    /// When it does not say where it listens.
    pub fn start(program: &Path, transport: Transport) -> anyhow::Result<Self> {
        let mut process = Command::new(program)
            .args(["--receive", transport.name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the receiver")?;
        let questions = process.stdin.take();
        let answers = process.stdout.take().context("the receiver's output")?;
        let mut receiver = Self {
            endpoint: String::new(),
            process,
            questions,
            answers: BufReader::new(answers).lines(),
        };
        let Address { address } = receiver.line()?;
        let scheme = match transport {
            Transport::Plain => "http",
            Transport::Tls | Transport::Http2 => "https",
        };
        receiver.endpoint = format!("{scheme}://{address}");
        Ok(receiver)
    }

    /// What `api_endpoint` is set to.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What it took so far.
    ///
    /// # Errors
    /// When it is gone.
    pub fn taken(&mut self) -> anyhow::Result<Taken> {
        let questions = self.questions.as_mut().context("the receiver's input")?;
        questions.write_all(b"?\n").context("ask the receiver")?;
        self.line()
    }

    fn line<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let line = self.answers.next().context("the receiver is gone")??;
        serde_json::from_str(&line).with_context(|| format!("the receiver said {line:?}"))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.questions.take());
        // What its parent does not read any more, it need not say.
        let _killed = self.process.kill();
        let _ended = self.process.wait();
    }
}

/// Sends `messages` messages to `receiver`, and requires that it took as many.
///
/// # Errors
/// When the sender fails, with its reason; when the counts do not agree.
pub fn send(
    program: &Path,
    case: Case,
    messages: usize,
    receiver: &mut Receiver,
) -> anyhow::Result<(Sent, Taken)> {
    let spool = tempfile::tempdir()?;
    let before = receiver.taken()?;
    let output = Command::new(program)
        .args(["--case", case.name(), "--endpoint", receiver.endpoint()])
        .args(["--messages", &messages.to_string()])
        .arg("--spool")
        .arg(spool.path().join("spool"))
        .stdin(Stdio::null())
        .output()
        .context("start the sender")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    let sent: Sent = serde_json::from_slice(&output.stdout).context("the sender's answer")?;
    let after = receiver.taken()?;
    let taken = Taken {
        posts: after.posts - before.posts,
        messages: after.messages - before.messages,
        bytes: after.bytes - before.bytes,
    };
    ensure!(
        taken.messages == sent.shipped,
        "{} messages were shipped, and {} came",
        sent.shipped,
        taken.messages
    );
    ensure!(
        case.is_list() || taken.posts == taken.messages,
        "a POST had more than one message"
    );
    Ok((sent, taken))
}
