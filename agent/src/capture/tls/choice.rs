//! Chooses the points of a worker's OpenSSL probes, proves them, and puts the probes there.
//!
//! In: workers that began and ended. Out: a [`TlsState`] for each. A library is proven once, whatever the number of workers that
//! map it. Deliberately absent: finding points (`placement`) and how they are proven (`self_test`).

use std::collections::{BTreeMap, HashMap};

use kongtap_common::counter;

use super::self_test::{ChildCommand, SelfTest, Verdict};
use super::state::{Proof, TlsCalls, TlsState};
use super::{TlsAttachment, TlsProbePlan};
use crate::capture::gateways::{GatewayKind, Pid};
use crate::capture::libraries::{LibraryFinder, TlsLibrary, TlsSearch};
use crate::capture::placement::{self, Placement, Strategy};
use crate::capture::probes::Probes;
use crate::capture::symbols::TlsFunction;

/// Most libraries whose proof is remembered.
const PROVEN_LIBRARIES: usize = 256;

/// Where probes may sit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Places {
    /// Where they cost least and are proven.
    #[default]
    Proven,
    /// On first instructions only.
    Entries,
}

/// Whether OpenSSL calls are probed, and where.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// Whether.
    pub is_on: bool,
    /// Where.
    pub places: Places,
    /// How to start the child of the self-test.
    pub child: ChildCommand,
}

/// The OpenSSL probes of every worker.
#[derive(Debug)]
pub struct WorkersTls {
    options: TlsOptions,
    libraries: LibraryFinder,
    proven: HashMap<LibraryId, Verdict>,
    workers: BTreeMap<Pid, Probed>,
    /// Disagreements that were acted on.
    disagreements: u64,
}

/// One content of one library.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct LibraryId {
    device: u64,
    inode: u64,
    build_id: Option<String>,
}

/// What a worker's probes stand on.
#[derive(Debug)]
struct Probed {
    plan: TlsProbePlan,
    library: String,
}

/// A choice, with what vouches for it.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Where.
    pub placements: BTreeMap<TlsFunction, Placement>,
    /// Why one may believe it.
    pub proof: Proof,
}

impl WorkersTls {
    /// For workers that begin from now on.
    #[must_use]
    pub fn new(options: TlsOptions) -> Self {
        Self {
            options,
            libraries: LibraryFinder::default(),
            proven: HashMap::new(),
            workers: BTreeMap::new(),
            disagreements: 0,
        }
    }

    /// Probes a worker's libraries.
    pub fn begin(&mut self, probes: &mut Probes, pid: Pid, kind: GatewayKind) -> TlsState {
        if !self.options.is_on {
            return TlsState::Off;
        }
        let libraries = match self.libraries.search(pid) {
            Ok(TlsSearch::Found(libraries)) => libraries,
            Ok(TlsSearch::NoLibrary) => return TlsState::NoLibrary,
            Ok(TlsSearch::NoSymbols { examined }) => {
                let why: Vec<String> = examined
                    .iter()
                    .map(|file| format!("{}: {}", file.path.display(), file.problem.label()))
                    .collect();
                return TlsState::Unusable(why.join(", "));
            }
            Err(error) => return TlsState::Unusable(error.to_string()),
        };
        let mut outcome = TlsState::NoLibrary;
        for library in &libraries {
            outcome = self.begin_library(probes, pid, library, kind);
        }
        outcome
    }

    fn begin_library(
        &mut self,
        probes: &mut Probes,
        pid: Pid,
        library: &TlsLibrary,
        kind: GatewayKind,
    ) -> TlsState {
        let name = name(library);
        let choice = self.choose(library);
        let plan = plan(library, choice.placements, kind);
        match probes.attach_tls(pid.0, &plan) {
            Ok(attachment) => {
                let state = state(&name, &plan, &attachment, choice.proof);
                self.workers.insert(pid, Probed { plan, library: name });
                state
            }
            Err(error) => TlsState::Unusable(format!("{name}: {error}")),
        }
    }

    /// Where to probe a library.
    fn choose(&mut self, library: &TlsLibrary) -> Choice {
        if self.options.places == Places::Entries {
            return Choice {
                placements: placement::stepped(&library.placements, "capture.placement is \"entry\""),
                proof: Proof::NotNeeded,
            };
        }
        if self.disagreements > 0 {
            return refuted(
                library,
                "a call moved other bytes than its probes found".to_owned(),
            );
        }
        choose(library, self.verdict(library))
    }

    fn verdict(&mut self, library: &TlsLibrary) -> Verdict {
        let id = LibraryId {
            device: library.device,
            inode: library.inode,
            build_id: library.build_id.clone(),
        };
        if let Some(known) = self.proven.get(&id) {
            return known.clone();
        }
        let verdict = SelfTest {
            library,
            placements: &library.placements,
            child: &self.options.child,
        }
        .run();
        if let Verdict::Failed(why) = &verdict {
            tracing::warn!(
                library = name(library),
                why,
                "The self-test of the TLS probes failed."
            );
        }
        if self.proven.len() >= PROVEN_LIBRARIES {
            self.proven.clear();
        }
        self.proven.insert(id, verdict.clone());
        verdict
    }

    /// Puts every probe on first instructions when a call has moved other bytes than its probes found. Answers the new states.
    pub fn distrust(&mut self, probes: &mut Probes) -> BTreeMap<Pid, TlsState> {
        let Ok(counters) = probes.counters() else {
            return BTreeMap::new();
        };
        let disagreements = counters.get(counter::TLS_PLACEMENT_DISAGREEMENTS);
        if disagreements <= self.disagreements {
            return BTreeMap::new();
        }
        let was_trusting = self.disagreements == 0;
        self.disagreements = disagreements;
        if !was_trusting {
            return BTreeMap::new();
        }
        let why = "a call moved other bytes than its probes found";
        tracing::error!(
            disagreements,
            "TLS probes are in wrong places; {why}. All of them go to first instructions."
        );
        let mut states = BTreeMap::new();
        for (pid, probed) in &mut self.workers {
            probed.plan.placements = placement::stepped(&probed.plan.placements, why);
            let state = match probes.replace_tls(pid.0, &probed.plan) {
                Ok(attachment) => state(
                    &probed.library,
                    &probed.plan,
                    &attachment,
                    Proof::Refuted(why.to_owned()),
                ),
                Err(error) => TlsState::Unusable(format!("{}: {error}", probed.library)),
            };
            states.insert(*pid, state);
        }
        states
    }

    /// A worker is gone.
    pub fn forget(&mut self, pid: Pid) {
        self.workers.remove(&pid);
    }
}

/// Where to probe a library about which the self-test said `verdict`.
#[must_use]
pub fn choose(library: &TlsLibrary, verdict: Verdict) -> Choice {
    match verdict {
        Verdict::Passed => Choice {
            placements: library.placements.clone(),
            proof: Proof::SelfTest,
        },
        Verdict::Failed(why) => refuted(library, why),
        Verdict::Impossible(why) => {
            let stepped = placement::stepped(&library.placements, "not proven: no self-test");
            let certain = |function: &TlsFunction, placement: &Placement| {
                // Nobody has run the other processor's table yet.
                let is_certain = !placement.strategy.needs_proof() && cfg!(target_arch = "x86_64");
                if is_certain {
                    None
                } else {
                    stepped.get(function).cloned()
                }
            };
            Choice {
                placements: library
                    .placements
                    .iter()
                    .map(|(function, placement)| {
                        let chosen = certain(function, placement).unwrap_or_else(|| placement.clone());
                        (*function, chosen)
                    })
                    .collect(),
                proof: Proof::None(why),
            }
        }
    }
}

fn refuted(library: &TlsLibrary, why: String) -> Choice {
    Choice {
        placements: placement::stepped(&library.placements, "the self-test refuted the placed points"),
        proof: Proof::Refuted(why),
    }
}

fn name(library: &TlsLibrary) -> String {
    library
        .version
        .clone()
        .unwrap_or_else(|| library.path_in_process.display().to_string())
}

fn plan(
    library: &TlsLibrary,
    placements: BTreeMap<TlsFunction, Placement>,
    kind: GatewayKind,
) -> TlsProbePlan {
    // nginx always calls `SSL_set_fd` before its first handshake, so there is no need to pay for the handshake's probes.
    let sets_fd = kind != GatewayKind::Other;
    TlsProbePlan {
        path: library.path_for_agent.clone(),
        placements: placements
            .into_iter()
            .filter(|(function, _)| !(sets_fd && *function == TlsFunction::DoHandshake))
            .collect(),
    }
}

fn state(name: &str, plan: &TlsProbePlan, attachment: &TlsAttachment, proof: Proof) -> TlsState {
    let placed = |function: &TlsFunction| Some((*function, plan.placements.get(function)?.clone()));
    let probed: Vec<_> = attachment.probed.iter().filter_map(placed).collect();
    let is_plain = probed
        .iter()
        .all(|(_, placement)| placement.strategy == Strategy::Stepped);
    TlsState::Calls(TlsCalls {
        library: name.to_owned(),
        proof: if is_plain && !matches!(proof, Proof::Refuted(_)) {
            Proof::NotNeeded
        } else {
            proof
        },
        probed,
    })
}
