//! How the TLS of each worker is captured: which library, and whether its probes stand in that process alone or in every
//! process that maps the library.
//!
//! A library that only gateways map (Kong ships its own) is probed once, everywhere: a worker that a reload starts has its
//! TLS captured from its first call, and nothing has to be taken off when it ends. One that others map too is probed in
//! each worker by itself, so that nobody else pays. In: workers that begin, and who is a gateway's. Out: [`TlsState`]s.

use std::collections::{BTreeMap, BTreeSet};

use super::sharing::{Sharing, sharing};
use crate::capture::gateways::{GatewayKind, Pid, ProcessId};
use crate::capture::libraries::{LibraryFinder, TlsLibrary, TlsSearch};
use crate::capture::probes::{CaptureError, FileId, Probes};
use crate::capture::tls::choice::{self, Chooser};
use crate::capture::tls::state::TlsState;
use crate::capture::tls::{TlsAttachment, TlsProbePlan};

/// What is known of libraries and where their probes stand.
#[derive(Debug)]
pub(super) struct TlsCoverage {
    chooser: Chooser,
    finder: LibraryFinder,
    /// What a master maps, which is what its children are born with.
    of_master: BTreeMap<ProcessId, Libraries>,
    /// Probed in every process, the eldest first.
    everywhere: Vec<Everywhere>,
    /// Also mapped by others than gateways, hence probed in each worker.
    shared: BTreeSet<FileId>,
    /// Workers with probes of their own.
    alone: BTreeMap<Pid, Standing>,
}

/// Probes that stand somewhere.
#[derive(Clone, Debug)]
struct Standing {
    library: TlsLibrary,
    kind: GatewayKind,
    /// Whether another plan is to come, when the self-test is through.
    is_provisional: bool,
    plan: TlsProbePlan,
    state: TlsState,
}

/// A library that is probed in every process.
#[derive(Debug)]
struct Everywhere {
    file: FileId,
    standing: Standing,
    /// Watched workers that map it.
    users: BTreeSet<Pid>,
}

/// Libraries that stay probed although no worker uses them now: a gateway that was stopped may start again.
const UNUSED_KEPT: usize = 2;

/// The libraries of a process, or why none can be used.
type Libraries = Result<Vec<TlsLibrary>, TlsState>;

/// A process whose TLS is to be captured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject {
    /// Which.
    pub(super) pid: Pid,
    /// The master that it was just born to, if it has not executed anything since.
    pub(super) born_to: Option<ProcessId>,
    /// What gateway it belongs to.
    pub(super) kind: GatewayKind,
}

impl TlsCoverage {
    /// Covers nothing yet.
    pub(super) fn new(chooser: Chooser) -> Self {
        Self {
            chooser,
            finder: LibraryFinder::default(),
            of_master: BTreeMap::new(),
            everywhere: Vec::new(),
            shared: BTreeSet::new(),
            alone: BTreeMap::new(),
        }
    }

    /// Puts the probes where the process's TLS is.
    pub(super) fn begin(
        &mut self,
        probes: &mut Probes,
        subject: Subject,
        gateways: &BTreeSet<Pid>,
    ) -> TlsState {
        let libraries = match self.libraries(subject) {
            Ok(libraries) => libraries,
            Err(state) => return state,
        };
        let mut outcome = TlsState::NoLibrary;
        for library in &libraries {
            outcome = self.cover(probes, subject, library, gateways);
        }
        outcome
    }

    /// A master that is gone has no more children.
    pub(super) fn forget_master(&mut self, master: ProcessId) {
        self.of_master.remove(&master);
    }

    fn libraries(&mut self, subject: Subject) -> Libraries {
        let Some(master) = subject.born_to else {
            return search(&mut self.finder, subject.pid);
        };
        if let Some(known) = self.of_master.get(&master) {
            return known.clone();
        }
        let found = search(&mut self.finder, master.pid);
        self.of_master.insert(master, found.clone());
        found
    }

    fn cover(
        &mut self,
        probes: &mut Probes,
        subject: Subject,
        library: &TlsLibrary,
        gateways: &BTreeSet<Pid>,
    ) -> TlsState {
        let file = (library.device, library.inode);
        if !self.everywhere.iter().any(|known| known.file == file) {
            // Asked before the child of a self-test uses the library, too.
            let is_private = !self.shared.contains(&file) && is_only_of_gateways(library, gateways);
            let (plan, proof) = self.chooser.plan(library, subject.kind);
            let standing = |plan, state| Standing {
                library: library.clone(),
                kind: subject.kind,
                is_provisional: self.chooser.is_testing(library),
                plan,
                state,
            };
            let name = choice::name(library);
            // If the probes cannot be placed everywhere, the worker's own are tried, and say why not.
            if is_private && let Ok(attachment) = probes.attach_tls_everywhere(file, &plan) {
                let state = choice::state(&name, &plan, &attachment, proof);
                self.everywhere.push(Everywhere {
                    file,
                    standing: standing(plan, state),
                    users: BTreeSet::new(),
                });
            } else {
                self.shared.insert(file);
                return match probes.attach_tls(subject.pid.0, &plan) {
                    Ok(attachment) => {
                        let state = choice::state(&name, &plan, &attachment, proof);
                        self.alone.insert(subject.pid, standing(plan, state.clone()));
                        state
                    }
                    Err(error) => TlsState::Unusable(format!("{name}: {error}")),
                };
            }
        }
        let Some(known) = self.everywhere.iter_mut().find(|known| known.file == file) else {
            return TlsState::NoLibrary;
        };
        known.users.insert(subject.pid);
        match probes.mark_tls(subject.pid.0) {
            Ok(()) => known.standing.state.clone(),
            Err(error) => TlsState::Unusable(format!("{}: {error}", choice::name(library))),
        }
    }

    /// From now on no worker waits for a self-test.
    pub(super) const fn hurry(&mut self) {
        self.chooser.hurry();
    }

    /// A worker is gone.
    pub(super) fn forget(&mut self, worker: Pid) {
        self.alone.remove(&worker);
        for library in &mut self.everywhere {
            library.users.remove(&worker);
        }
    }

    /// Takes probes off libraries that nobody has used for longest, as replaced ones are.
    pub(super) fn let_go_of_unused(&mut self, probes: &mut Probes) {
        let unused = |known: &Everywhere| known.users.is_empty();
        let mut surplus = self
            .everywhere
            .iter()
            .filter(|known| unused(known))
            .count()
            .saturating_sub(UNUSED_KEPT);
        self.everywhere.retain(|known| {
            if surplus == 0 || !unused(known) {
                return true;
            }
            surplus -= 1;
            probes.detach_tls_everywhere(known.file);
            false
        });
    }

    /// Goes over to better places when a self-test is through, and to first instructions when a call has moved other bytes
    /// than its probes found. Answers the states that changed.
    pub(super) fn renew(&mut self, probes: &mut Probes) -> BTreeMap<Pid, TlsState> {
        let has_lost_trust = probes
            .counters()
            .is_ok_and(|counters| self.chooser.has_lost_trust(&counters));
        let mut states = BTreeMap::new();
        if !self.chooser.has_news() && !has_lost_trust {
            return states;
        }
        for known in &mut self.everywhere {
            let file = known.file;
            let attach = |plan: &_| probes.replace_tls_everywhere(file, plan);
            if known.standing.renew(&mut self.chooser, has_lost_trust, attach) {
                states.extend(known.users.iter().map(|pid| (*pid, known.standing.state.clone())));
            }
        }
        for (pid, standing) in &mut self.alone {
            let attach = |plan: &_| probes.replace_tls(pid.0, plan);
            if standing.renew(&mut self.chooser, has_lost_trust, attach) {
                states.insert(*pid, standing.state.clone());
            }
        }
        states
    }
}

impl Standing {
    /// Says whether the probes were replaced.
    fn renew(
        &mut self,
        chooser: &mut Chooser,
        has_lost_trust: bool,
        attach: impl FnOnce(&TlsProbePlan) -> Result<TlsAttachment, CaptureError>,
    ) -> bool {
        if !has_lost_trust && (!self.is_provisional || chooser.is_testing(&self.library)) {
            return false;
        }
        let (plan, proof) = chooser.plan(&self.library, self.kind);
        let name = choice::name(&self.library);
        self.state = match attach(&plan) {
            Ok(attachment) => choice::state(&name, &plan, &attachment, proof),
            Err(error) => TlsState::Unusable(format!("{name}: {error}")),
        };
        self.plan = plan;
        self.is_provisional = false;
        true
    }
}

/// Whether a library is mapped by gateways alone.
fn is_only_of_gateways(library: &TlsLibrary, gateways: &BTreeSet<Pid>) -> bool {
    let name = library.path_in_process.file_name().unwrap_or_default();
    let sharing = sharing(library.inode, name, gateways);
    tracing::debug!(?sharing, library = %library.path_in_process.display(), "Looked who uses a library.");
    sharing == Sharing::GatewaysOnly
}

fn search(finder: &mut LibraryFinder, pid: Pid) -> Libraries {
    match finder.search(pid) {
        Ok(TlsSearch::Found(libraries)) => Ok(libraries),
        Ok(TlsSearch::NoLibrary) => Err(TlsState::NoLibrary),
        Ok(TlsSearch::NoSymbols { examined }) => {
            let why: Vec<String> = examined
                .iter()
                .map(|file| format!("{}: {}", file.path.display(), file.problem.label()))
                .collect();
            Err(TlsState::Unusable(why.join(", ")))
        }
        Err(error) => Err(TlsState::Unusable(error.to_string())),
    }
}
