//! Chooses the points of a library's OpenSSL probes, and has them proven.
//!
//! In: libraries, and what the probes counted. Out: a [`TlsProbePlan`] with what vouches for it. A library is proven once,
//! whatever the number of workers that map it. Deliberately absent: finding points (`placement`), how they are proven
//! (`self_test`), and which processes are probed (`session::tls`).

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;

use kongtap_common::counter;

use super::self_test::{ChildCommand, SelfTest, Verdict};
use super::state::{Proof, TlsCalls, TlsState};
use super::{TlsAttachment, TlsProbePlan};
use crate::capture::gateways::GatewayKind;
use crate::capture::libraries::TlsLibrary;
use crate::capture::placement::{self, Placement, Strategy};
use crate::capture::probes::KernelCounters;
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

/// Chooses for each library, and remembers what was proven.
#[derive(Debug)]
pub struct Chooser {
    options: TlsOptions,
    proven: HashMap<LibraryId, Verdict>,
    /// Self-tests under way.
    running: HashMap<LibraryId, Receiver<Verdict>>,
    /// Whether a plan waits for its self-test.
    waits: bool,
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

impl LibraryId {
    fn of(library: &TlsLibrary) -> Self {
        Self {
            device: library.device,
            inode: library.inode,
            build_id: library.build_id.clone(),
        }
    }
}

/// A choice, with what vouches for it.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Where.
    pub placements: BTreeMap<TlsFunction, Placement>,
    /// Why one may believe it.
    pub proof: Proof,
}

/// Why placed points are no longer believed.
const DISAGREEMENT: &str = "a call moved other bytes than its probes found";

impl Chooser {
    /// Nothing is proven yet.
    #[must_use]
    pub fn new(options: TlsOptions) -> Self {
        Self {
            options,
            proven: HashMap::new(),
            running: HashMap::new(),
            waits: true,
            disagreements: 0,
        }
    }

    /// Whether OpenSSL calls are probed at all.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.options.is_on
    }

    /// From now on no plan waits for a self-test: until that is through, first instructions are probed.
    pub const fn hurry(&mut self) {
        self.waits = false;
    }

    /// Where to probe a library that a gateway of some kind maps. The first time it is put to the proof, which takes seconds.
    pub fn plan(&mut self, library: &TlsLibrary, kind: GatewayKind) -> (TlsProbePlan, Proof) {
        let Choice { placements, proof } = self.choose(library);
        (plan(library, placements, kind), proof)
    }

    fn choose(&mut self, library: &TlsLibrary) -> Choice {
        if self.options.places == Places::Entries {
            return Choice {
                placements: placement::stepped(&library.placements, "capture.placement is \"entry\""),
                proof: Proof::NotNeeded,
            };
        }
        if self.disagreements > 0 {
            return refuted(library, DISAGREEMENT.to_owned());
        }
        match self.verdict(library) {
            Some(verdict) => choose(library, verdict),
            None => Choice {
                placements: placement::stepped(&library.placements, "until they are proven"),
                proof: Proof::None("it is under way".to_owned()),
            },
        }
    }

    /// Whether a self-test has come to its end.
    pub fn has_news(&mut self) -> bool {
        let over: Vec<(LibraryId, Verdict)> = self
            .running
            .iter()
            .filter_map(|(id, verdict)| match verdict.try_recv() {
                Ok(verdict) => Some((id.clone(), verdict)),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => Some((
                    id.clone(),
                    Verdict::Impossible("it ended without a word".to_owned()),
                )),
            })
            .collect();
        let is_news = !over.is_empty();
        for (id, verdict) in over {
            self.running.remove(&id);
            self.remember(id, verdict);
        }
        is_news
    }

    /// Whether the self-test of a library is under way.
    #[must_use]
    pub fn is_testing(&self, library: &TlsLibrary) -> bool {
        self.running.contains_key(&LibraryId::of(library))
    }

    /// What the self-test says; none while it is under way.
    fn verdict(&mut self, library: &TlsLibrary) -> Option<Verdict> {
        let id = LibraryId::of(library);
        if let Some(known) = self.proven.get(&id) {
            return Some(known.clone());
        }
        if self.running.contains_key(&id) {
            return None;
        }
        let (library, child) = (library.clone(), self.options.child.clone());
        let run = move || {
            SelfTest {
                library: &library,
                placements: &library.placements,
                child: &child,
            }
            .run()
        };
        if self.waits {
            let verdict = run();
            self.remember(id, verdict.clone());
            return Some(verdict);
        }
        let (sender, verdict) = channel();
        let thread = thread::Builder::new().name("kongtap-self-test".to_owned());
        match thread.spawn(move || drop(sender.send(run()))) {
            Ok(_detached) => {
                self.running.insert(id, verdict);
                None
            }
            Err(error) => Some(Verdict::Impossible(error.to_string())),
        }
    }

    fn remember(&mut self, id: LibraryId, verdict: Verdict) {
        if let Verdict::Failed(why) = &verdict {
            tracing::warn!(
                inode = id.inode,
                build_id = id.build_id,
                why,
                "The self-test of the TLS probes failed."
            );
        }
        if self.proven.len() >= PROVEN_LIBRARIES {
            self.proven.clear();
        }
        self.proven.insert(id, verdict);
    }

    /// Whether the probes have just counted the first call that moved other bytes than they found. From then on every plan
    /// is for first instructions; those that are in force have to be replaced.
    pub fn has_lost_trust(&mut self, counters: &KernelCounters) -> bool {
        let disagreements = counters.get(counter::TLS_PLACEMENT_DISAGREEMENTS);
        if disagreements <= self.disagreements {
            return false;
        }
        let was_trusting = self.disagreements == 0;
        self.disagreements = disagreements;
        if was_trusting {
            tracing::error!(
                disagreements,
                "TLS probes are in wrong places: {DISAGREEMENT}. All of them go to first instructions."
            );
        }
        was_trusting
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

/// What a library is called: its version or path.
#[must_use]
pub fn name(library: &TlsLibrary) -> String {
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

/// How a worker's TLS is captured with `plan`, of which `attachment` came.
#[must_use]
pub fn state(name: &str, plan: &TlsProbePlan, attachment: &TlsAttachment, proof: Proof) -> TlsState {
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
