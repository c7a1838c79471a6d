//! Recordings in tests: made beside a running agent, replayed by nobody, and judged.
//!
//! In: a [`Scene`]. Out: files in a [`Place`], the messages that a replay prints, and the recorder's own account.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::client::{Content, Request};
use crate::lab::global_configuration;
use crate::processes::{Process, Start, run_to_end};
use crate::programs::programs;
use crate::scene::{Scene, TOKEN};
use crate::template::fill;

pub mod same;

/// How long a recorder may take to place its probes, or to take them off.
pub const PROBES: Duration = Duration::from_secs(60);

/// How long a replay may take.
const REPLAY: Duration = Duration::from_secs(60);

/// The plugin configuration of a replay.
const PLUGINS: &str = include_str!("../../testdata/lab/runscope.yml");

/// Where recordings are made and replayed. Everybody may enter, as a replay runs as nobody.
#[derive(Debug)]
pub struct Place(TempDir);

/// What a replay gave.
#[derive(Debug)]
pub struct Replay {
    /// What it wrote: a JSON object a line.
    pub lines: String,
    /// What it said.
    pub said: String,
}

impl Place {
    /// A new one.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        fs::set_permissions(directory.path(), Permissions::from_mode(0o777))?;
        Ok(Self(directory))
    }

    /// The path of a file in it.
    #[must_use]
    pub fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Starts to record into `name`, with `more` arguments, and waits until the probes are placed.
    ///
    /// # Errors
    /// When it does not begin.
    pub async fn record(&self, name: &str, scene: &Scene, more: &[&str]) -> anyhow::Result<Process> {
        let log = self.at(&format!("{name}.log"));
        let mut arguments = vec!["record".to_owned(), "--output".to_owned()];
        arguments.push(self.at(name).display().to_string());
        arguments.extend(scene.gateway_arguments());
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        let mut recorder = Process::start(Start {
            name: "kongtap record",
            program: &programs()?.kongtap,
            arguments,
            environment: vec![],
            log: log.clone(),
        })?;
        let says_so = async || {
            let said = fs::read_to_string(&log).unwrap_or_default();
            if said.contains("Recording") {
                Ok(())
            } else {
                Err(said)
            }
        };
        recorder.ready("the recording to begin", PROBES, says_so).await?;
        Ok(recorder)
    }

    /// Puts what a replay needs where nobody can read it: a copy of the program, and the configurations.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn prepare(&self, scene: &Scene) -> anyhow::Result<()> {
        fs::copy(&programs()?.kongtap, self.at("kongtap"))?;
        fs::copy(scene.gateway.configuration_file(), self.at("kong.yml"))?;
        let environment = global_configuration("http://127.0.0.1:9", TOKEN);
        let bucket = environment.iter().find(|(name, _)| *name == "KONGTAP_BUCKET_KEY");
        let values = [
            ("ENDPOINT", "http://127.0.0.1:9".to_owned()),
            ("TOKEN", TOKEN.to_owned()),
            ("BUCKET", bucket.context("no bucket")?.1.clone()),
        ];
        fs::write(self.at("runscope.yml"), fill(PLUGINS, &values)?)?;
        for name in ["kong.yml", "runscope.yml"] {
            fs::set_permissions(self.at(name), Permissions::from_mode(0o644))?;
        }
        Ok(())
    }

    /// Replays `name` as nobody.
    ///
    /// # Errors
    /// When the replay fails.
    pub async fn replay(&self, name: &str) -> anyhow::Result<Replay> {
        fs::set_permissions(self.at(name), Permissions::from_mode(0o644))?;
        // Nobody makes a file of its own each time.
        let outputs = tempfile::Builder::new()
            .prefix("out.")
            .tempdir_in(self.0.path())?;
        fs::set_permissions(outputs.path(), Permissions::from_mode(0o777))?;
        let output = outputs.path().join("messages.jsonl");
        let text = |path: PathBuf| path.display().to_string();
        let arguments = [
            "--reuid=65534".to_owned(),
            "--regid=65534".to_owned(),
            "--clear-groups".to_owned(),
            "--".to_owned(),
            text(self.at("kongtap")),
            "replay".to_owned(),
            text(self.at(name)),
            "--gateway-config".to_owned(),
            text(self.at("kong.yml")),
            "--plugins".to_owned(),
            text(self.at("runscope.yml")),
            "--output".to_owned(),
            text(output.clone()),
        ];
        let arguments = arguments.iter().map(String::as_str);
        let finished = run_to_end(Path::new("setpriv"), arguments, &[], REPLAY).await?;
        ensure!(finished.code == Some(0), "{finished:?}");
        Ok(Replay {
            lines: fs::read_to_string(output)?,
            said: finished.stderr,
        })
    }
}

impl Replay {
    /// The messages.
    ///
    /// # Errors
    /// When a line is no message.
    pub fn messages(&self) -> anyhow::Result<Vec<Value>> {
        messages(&self.lines)
    }
}

/// The messages in what a replay wrote.
///
/// # Errors
/// When a line is no message.
pub fn messages(lines: &str) -> anyhow::Result<Vec<Value>> {
    lines
        .lines()
        .map(|line| {
            let mut line: Value = serde_json::from_str(line)?;
            let message = line.get_mut("message").context("no message in a line")?;
            Ok(message.take())
        })
        .collect()
}

/// A recording's last item: the recorder's account of it.
///
/// # Errors
/// When there is none.
pub fn trailer(recording: &[u8]) -> anyhow::Result<Value> {
    let mut lines = recording.splitn(3, |byte| *byte == b'\n');
    let mut rest = lines.nth(2).context("no header")?;
    loop {
        let (head, after) = rest.split_first_chunk::<5>().context("no trailer")?;
        let [tag, length @ ..] = *head;
        let length = usize::try_from(u32::from_le_bytes(length))?;
        let (item, next) = after.split_at_checked(length).context("it breaks off")?;
        if tag == b'T' {
            ensure!(next.is_empty(), "something follows the trailer");
            return Ok(serde_json::from_slice(item)?);
        }
        rest = next;
    }
}

/// Requires that what the probes copied is in the file, or that the trailer says why not. Gives the trailer.
///
/// # Errors
/// When bytes are unaccounted for.
pub fn require_balance(recording: &[u8]) -> anyhow::Result<Value> {
    let trailer = trailer(recording)?;
    let number = |path: &str| {
        let value = trailer.pointer(path).and_then(Value::as_u64);
        value.with_context(|| format!("no {path} in {trailer}"))
    };
    let recorded = number("/counts/payload_bytes")?
        + number("/counts/dropped_bytes")?
        + number("/counts/mask/left_out_bytes")?;
    ensure!(number("/kernel/copied_bytes")? == recorded, "{trailer}");
    ensure!(number("/counts/mask/unknown_records")? == 0, "{trailer}");
    Ok(trailer)
}

/// Whether `text` stands anywhere in a recording.
#[must_use]
pub fn holds(recording: &[u8], text: &str) -> bool {
    recording.windows(text.len()).any(|part| part == text.as_bytes())
}

/// Secrets that nothing but [`secret_requests`] holds, each in another place.
pub const SECRETS: [&str; 7] = [
    "alice-key-2",
    "five-key-1",
    "a-bearer-token",
    "a-session-id",
    "a-form-password",
    "a-json-password",
    "a-multipart-password",
];

/// Requests with a credential in every place that is masked; the gateway answers each with 200.
#[must_use]
pub fn secret_requests() -> Vec<Request> {
    let [header, query, bearer, session, form, json, multipart] = SECRETS;
    let content = |text: String| Content::Sized(text.into());
    let part =
        format!("--b\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\n{multipart}\r\n--b--\r\n");
    vec![
        Request::new("GET", "/keyed/json").field("ApiKey", header),
        Request::new("GET", &format!("/keyed/json?a=1&apikey={query}&b=2")),
        Request::new("GET", "/plain/json")
            .field("Authorization", &format!("Bearer {bearer}"))
            .field("Cookie", &format!("theme=dark; session={session}")),
        Request::new("POST", "/plain/echo").content(
            "application/x-www-form-urlencoded",
            content(format!("user=u&password={form}&more=m")),
        ),
        Request::new("POST", "/plain/echo").content(
            "application/json",
            content(format!("{{\"user\":\"u\",\"password\":\"{json}\"}}")),
        ),
        Request::new("POST", "/plain/bytes?size=10&seed=1")
            .content("multipart/form-data; boundary=b", content(part)),
    ]
}
