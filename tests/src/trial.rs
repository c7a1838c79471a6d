//! A trial of kongtap against an endpoint that fails: a gateway under load, kongtap attached to it, the endpoint, and what the
//! load got and sent. Fault tests are made of it.
//!
//! In: what kongtap runs with. Out: windows of load with their figures, everything that was sent, and the judgement: the
//! gateway did not notice, the agent kept within its memory, both sums of I5 hold, nothing came twice. Absent: which fault
//! happens when; that is the tests'.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::client::Scheme;
use crate::faults::Endpoint;
use crate::inspector::BUCKET;
use crate::kernel::Turn;
use crate::kongtap::Kongtap;
use crate::programs::programs;
use crate::scene::{Scene, TOKEN};
use crate::status::Status;
use crate::trial::load::run;
use crate::wait::eventually;

pub mod figures;
mod load;

/// How long it may take until every message is accounted for.
const SETTLED: Duration = Duration::from_secs(40);
/// How long a process may take to be gone after SIGKILL.
const GONE: Duration = Duration::from_secs(20);
/// Neither TLS nor its probes: what is captured is not in question here, and starting and stopping are quick without. Nor is the
/// agent's CPU time, of which a debug build takes much: it is not to leave anything out for that.
const CAPTURE: &str = "[capture]\ntls = \"off\"\n[limits]\ncpu = 64.0\n";

/// What a trial is set up with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How the endpoint is spoken to.
    pub scheme: Scheme,
    /// More of `kongtap.toml`. `${DIRECTORY}` is the trial's own; there is an empty `disk` in it.
    pub toml: String,
    /// Whether messages have identifiers.
    pub profile: Profile,
    /// `timeout` of the `runscope` configuration.
    pub timeout_ms: u64,
    /// Whether its `api_endpoint` is a name or an address.
    pub by: By,
    /// A command that becomes kongtap.
    pub inside: Vec<String>,
    /// Bytes of each answer of the gateway's.
    pub answer_bytes: usize,
}

/// `message.profile`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Messages have identifiers, by which a repeat is known.
    Extended,
    /// They have none.
    Plugin,
}

/// How kongtap is told of the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// By its address.
    Address,
    /// By its name.
    Name,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            scheme: Scheme::Http,
            toml: String::new(),
            profile: Profile::Extended,
            timeout_ms: 300,
            by: By::Address,
            inside: vec![],
            answer_bytes: 1000,
        }
    }
}

/// The trial. What it started ends when it is dropped.
#[derive(Debug)]
pub struct Trial {
    /// kongtap.
    pub kongtap: Kongtap,
    /// Where it sends to.
    pub endpoint: Endpoint,
    scene: Scene,
    setup: Setup,
    sent: BTreeSet<String>,
    /// What this kongtap can have seen.
    sent_to_this: u64,
    directory: TempDir,
}

/// One window of load.
#[derive(Clone, Debug)]
pub struct Window {
    /// The lab's ids of its exchanges.
    pub ids: BTreeSet<String>,
    /// How it went.
    pub figures: figures::Figures,
}

impl Trial {
    /// Starts everything, with an endpoint that is well.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn set(turn: Turn, setup: Setup) -> anyhow::Result<Self> {
        let scene = Scene::set(turn).await?;
        let endpoint = Endpoint::start(setup.scheme).await?;
        let directory = tempfile::Builder::new().prefix("kongtap-trial.").tempdir()?;
        std::fs::create_dir(directory.path().join("disk"))?;
        let kongtap = start(&scene, &setup, &endpoint, &directory).await?;
        Ok(Self {
            kongtap,
            endpoint,
            scene,
            setup,
            sent: BTreeSet::new(),
            sent_to_this: 0,
            directory,
        })
    }

    /// Load for one window, with every answer of the gateway's checked.
    ///
    /// # Errors
    /// When the gateway does not answer as it should.
    pub async fn window(&mut self) -> anyhow::Result<Window> {
        let gateway = self.scene.listeners().plain.context("a plain listener")?;
        let window = run(gateway, self.setup.answer_bytes).await?;
        self.sent.extend(window.ids.iter().cloned());
        self.sent_to_this = self.sent_to_this.saturating_add(u64::try_from(window.ids.len())?);
        Ok(window)
    }

    /// The same, with kongtap killed in the middle of it.
    ///
    /// # Errors
    /// When the gateway does not answer as it should, or kongtap does not end.
    pub async fn window_while_killed(&mut self) -> anyhow::Result<Window> {
        let gateway = self.scene.listeners().plain.context("a plain listener")?;
        let seen = self.kongtap.status().await?.exchanges.seen;
        let load = tokio::spawn(run(gateway, self.setup.answer_bytes));
        eventually("kongtap to see the load", SETTLED, async || {
            let status = self
                .kongtap
                .status()
                .await
                .map_err(|error| format!("{error:#}"))?;
            if status.exchanges.seen > seen {
                Ok(())
            } else {
                Err("nothing seen".to_owned())
            }
        })
        .await?;
        self.kill().await?;
        let window = load.await??;
        self.sent.extend(window.ids.iter().cloned());
        Ok(window)
    }

    /// Everything that was sent, by the lab's ids.
    #[must_use]
    pub const fn sent(&self) -> &BTreeSet<String> {
        &self.sent
    }

    /// Waits until kongtap has seen all that was sent since it came, and has shipped, dropped or left out every one of them.
    ///
    /// # Errors
    /// When that does not come to be, or a sum does not hold.
    pub async fn settle(&self) -> anyhow::Result<Status> {
        self.settle_with(0).await
    }

    /// The same with at most so many still queued.
    ///
    /// # Errors
    /// When that does not come to be, or a sum does not hold.
    pub async fn settle_with(&self, queued: u64) -> anyhow::Result<Status> {
        let settled = eventually("every message to be accounted for", SETTLED, async || {
            let status = self
                .kongtap
                .status()
                .await
                .map_err(|error| format!("{error:#}"))?;
            status.require_balance().map_err(|error| format!("{error:#}"))?;
            let exchanges = &status.exchanges;
            let found = status.found();
            let seen = self.sent_to_this.saturating_add(found);
            if exchanges.seen == seen && exchanges.queued <= queued {
                Ok(status)
            } else {
                Err(format!(
                    "{} sent, {found} found; {exchanges:?}",
                    self.sent_to_this
                ))
            }
        });
        settled.await.with_context(|| self.kongtap.log_tail())
    }

    /// Ends kongtap as `kill -9` does.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        let process = self.kongtap.process();
        process.signal(Signal::KILL)?;
        process.wait(GONE).await?;
        Ok(())
    }

    /// Starts kongtap anew, with the same files, within `inside`.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn restart(&mut self, inside: Vec<String>) -> anyhow::Result<()> {
        self.setup.inside = inside;
        self.kongtap = start(&self.scene, &self.setup, &self.endpoint, &self.directory).await?;
        self.sent_to_this = 0;
        Ok(())
    }

    /// `message.profile`
    #[must_use]
    pub const fn profile(&self) -> Profile {
        self.setup.profile
    }

    /// Its directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The most memory that kongtap has had resident, bytes.
    ///
    /// # Errors
    /// When it is gone.
    pub fn most_resident_bytes(&mut self) -> anyhow::Result<u64> {
        let file = format!("/proc/{}/status", self.kongtap.process().pid());
        let text = std::fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
        let kilobytes = text.lines().find_map(|line| {
            let value = line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?;
            value.parse::<u64>().ok()
        });
        Ok(kilobytes
            .with_context(|| format!("no VmHWM in {file}"))?
            .saturating_mul(1024))
    }

    /// Requires what holds whatever the endpoint did: nothing came that was not sent, each post was as it should be, and each
    /// message had one identifier.
    ///
    /// # Errors
    /// When it does not hold.
    pub fn require_honest(&self) -> anyhow::Result<()> {
        let book = self.endpoint.book();
        ensure!(
            book.strange.is_empty(),
            "{:?}",
            book.strange.iter().take(3).collect::<Vec<_>>()
        );
        let kept = book.kept();
        let unknown: Vec<_> = kept.difference(&self.sent).take(3).collect();
        ensure!(unknown.is_empty(), "nobody sent {unknown:?}");
        let identifiers = match self.setup.profile {
            Profile::Extended => kept.len(),
            Profile::Plugin => 0,
        };
        ensure!(
            book.identifiers() == identifiers,
            "{} identifiers for {} messages",
            book.identifiers(),
            kept.len()
        );
        Ok(())
    }
}

/// What stands for the trial's directory in a [`Setup`].
const DIRECTORY: &str = "${DIRECTORY}";

/// Starts kongtap on the scene's gateway.
async fn start(
    scene: &Scene,
    setup: &Setup,
    endpoint: &Endpoint,
    directory: &TempDir,
) -> anyhow::Result<Kongtap> {
    let file = |name: &str| directory.path().join(name);
    let (api_endpoint, mut inside) = match setup.by {
        By::Address => (endpoint.url(), vec![]),
        By::Name => (endpoint.named_url(), endpoint.inside_names()),
    };
    let here = |text: &str| text.replace(DIRECTORY, &directory.path().display().to_string());
    inside.extend(setup.inside.iter().map(|word| here(word)));
    let profile = match setup.profile {
        Profile::Extended => "extended",
        Profile::Plugin => "plugin",
    };
    std::fs::write(
        file("kongtap.toml"),
        format!(
            "{CAPTURE}[message]\nprofile = \"{profile}\"\n{}",
            here(&setup.toml)
        ),
    )?;
    std::fs::write(
        file("plugins.yml"),
        format!(
            "plugins:\n- name: runscope\n  config: {{ api_endpoint: '{api_endpoint}', access_token: {TOKEN}, bucket_key: {BUCKET}, timeout: {}, log_body: true }}\n",
            setup.timeout_ms
        ),
    )?;
    let mut arguments = scene.gateway_arguments();
    for (flag, name) in [("--config", "kongtap.toml"), ("--plugins", "plugins.yml")] {
        arguments.extend([flag.to_owned(), file(name).display().to_string()]);
    }
    let authority = endpoint
        .authority_file()
        .map(|file| ("SSL_CERT_FILE", file.display().to_string()));
    let mut kongtap = Kongtap::start_inside(
        &inside,
        &programs()?.kongtap,
        arguments,
        authority.into_iter().collect(),
    )?;
    kongtap.until_ready().await?;
    Ok(kongtap)
}
