//! How the TLS of each worker is captured: which library, and whether its probes stand in that process alone or in every
//! process that maps the library.
//!
//! A library that only gateways map (Kong ships its own) is probed once, everywhere: a worker that a reload starts has its
//! TLS captured from its first call, and nothing has to be taken off when it ends. One that others map too is probed in
//! each worker by itself, so that nobody else pays. In: workers that begin, and who is a gateway's. Out: [`TlsState`]s.

use std::collections::{BTreeMap, BTreeSet};

use super::TlsState;
use super::sharing::{Sharing, sharing};
use crate::capture::gateways::{GatewayKind, Pid, ProcessId};
use crate::capture::libraries::{LibraryFinder, TlsLibrary, TlsSearch};
use crate::capture::probes::{FileId, Probes};
use crate::capture::symbols::TlsFunction;
use crate::capture::tls::TlsProbePlan;

/// What is known of libraries and where their probes stand.
#[derive(Debug, Default)]
pub(super) struct TlsCoverage {
    finder: LibraryFinder,
    /// What a master maps, which is what its children are born with.
    of_master: BTreeMap<ProcessId, Libraries>,
    /// Probed in every process, the eldest first.
    everywhere: Vec<Everywhere>,
    /// Also mapped by others than gateways, hence probed in each worker.
    shared: BTreeSet<FileId>,
}

/// A library that is probed in every process.
#[derive(Debug)]
struct Everywhere {
    file: FileId,
    /// How many functions are probed.
    functions: usize,
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

    /// A worker is gone.
    pub(super) fn forget(&mut self, worker: Pid) {
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
        let name = library
            .version
            .clone()
            .unwrap_or_else(|| library.path_in_process.display().to_string());
        let file = (library.device, library.inode);
        let plan = plan(library, subject.kind);
        let is_everywhere = self.everywhere.iter().any(|known| known.file == file);
        if !is_everywhere && !self.shared.contains(&file) {
            let sharing = sharing(
                library.inode,
                library.path_in_process.file_name().unwrap_or_default(),
                gateways,
            );
            tracing::debug!(?sharing, library = %library.path_in_process.display(), "Looked who uses a library.");
            // If the probes cannot be placed, the worker's own are tried, and say why not.
            if sharing == Sharing::GatewaysOnly
                && let Ok(attachment) = probes.attach_tls_everywhere(file, &plan)
            {
                self.everywhere.push(Everywhere {
                    file,
                    functions: attachment.probed.len(),
                    users: BTreeSet::new(),
                });
            }
        }
        if let Some(known) = self.everywhere.iter_mut().find(|known| known.file == file) {
            known.users.insert(subject.pid);
            return match probes.mark_tls(subject.pid.0) {
                Ok(()) => TlsState::Calls {
                    library: name,
                    functions: known.functions,
                },
                Err(error) => TlsState::Unusable(format!("{name}: {error}")),
            };
        }
        self.shared.insert(file);
        match probes.attach_tls(subject.pid.0, &plan) {
            Ok(attachment) => TlsState::Calls {
                library: name,
                functions: attachment.probed.len(),
            },
            Err(error) => TlsState::Unusable(format!("{name}: {error}")),
        }
    }
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

fn plan(library: &TlsLibrary, kind: GatewayKind) -> TlsProbePlan {
    // nginx always calls `SSL_set_fd` before its first handshake, so there is no need to pay for the handshake's probes.
    let sets_fd = kind != GatewayKind::Other;
    TlsProbePlan {
        path: library.path_for_agent.clone(),
        functions: library
            .functions
            .iter()
            .filter(|(function, _)| !(sets_fd && **function == TlsFunction::DoHandshake))
            .map(|(function, offset)| (*function, offset.0))
            .collect(),
    }
}
