//! Doctor's rows on a gateway's TLS: which library, whether its probes' places are proven, and for each function where they sit
//! and why.
//!
//! In: a gateway. Out: rows. The self-test is run as `run` would; the gateway itself is not touched.

use super::row;
use crate::capture::gateways::Gateway;
use crate::capture::host::{Check, CheckState};
use crate::capture::libraries::{LibraryFinder, TlsLibrary, TlsSearch};
use crate::capture::placement;
use crate::capture::tls::choice::{self, Choice};
use crate::capture::tls::self_test::{ChildCommand, SelfTest};
use crate::capture::tls::state::Proof;
use crate::config::{Config, ProbePlacement};
use crate::gateway::source::chain;

const LIBRARY: &str = "TLS library";
const SELF_TEST: &str = "TLS self-test";
const PROBE: &str = "TLS probe";

/// Looks at the library that a gateway maps.
pub(super) fn examine(
    config: &Config,
    gateway: &Gateway,
    libraries: &mut LibraryFinder,
    rows: &mut Vec<Check>,
) {
    // The workers are forks of one master, so one of them stands for all.
    let Some(worker) = gateway.workers.first() else {
        return;
    };
    match libraries.search(worker.pid) {
        Ok(TlsSearch::Found(found)) => {
            for library in &found {
                rows.push(row(LIBRARY, CheckState::Ok, describe(library), None));
                places(config, library, rows);
            }
        }
        Ok(TlsSearch::NoLibrary) => rows.push(row(
            LIBRARY,
            CheckState::Warning,
            "none is mapped: only plain traffic will be seen",
            None,
        )),
        Ok(TlsSearch::NoSymbols { examined }) => {
            let files: Vec<String> = examined
                .iter()
                .map(|file| format!("{}: {}", file.path.display(), file.problem.label()))
                .collect();
            let remedy = "use a library with symbols; plain traffic is seen without";
            rows.push(row(LIBRARY, CheckState::Warning, files.join(", "), Some(remedy)));
        }
        Err(error) => rows.push(row(
            LIBRARY,
            CheckState::Warning,
            chain(&error),
            Some("run as root, or with CAP_SYS_PTRACE"),
        )),
    }
}

fn describe(library: &TlsLibrary) -> String {
    format!(
        "{} ({}, build id {})",
        library.path_in_process.display(),
        library.version.as_deref().unwrap_or("version unknown"),
        library.build_id.as_deref().unwrap_or("unknown"),
    )
}

fn places(config: &Config, library: &TlsLibrary, rows: &mut Vec<Check>) {
    let chosen = match config.capture.placement {
        ProbePlacement::Auto => {
            let verdict = SelfTest {
                library,
                placements: &library.placements,
                child: &ChildCommand::default(),
            }
            .run();
            choice::choose(library, verdict)
        }
        ProbePlacement::Entry => Choice {
            placements: placement::stepped(&library.placements, "capture.placement is \"entry\""),
            proof: Proof::NotNeeded,
        },
    };
    rows.push(proof(&chosen.proof));
    for (function, placement) in &chosen.placements {
        let found = format!(
            "{} at {:#x}, begins with {}: {placement}",
            function.symbol(),
            placement.offset,
            placement.first
        );
        let state = if placement.is_cheap() || config.capture.placement == ProbePlacement::Entry {
            CheckState::Ok
        } else {
            CheckState::Warning
        };
        rows.push(row(PROBE, state, found, None));
    }
}

fn proof(proof: &Proof) -> Check {
    match proof {
        Proof::NotNeeded => row(
            SELF_TEST,
            CheckState::Ok,
            "not needed: every probe sits on a first instruction",
            None,
        ),
        Proof::SelfTest => row(
            SELF_TEST,
            CheckState::Ok,
            "passed: the probes saw exactly what a child did with this library",
            None,
        ),
        Proof::None(why) => row(
            SELF_TEST,
            CheckState::Warning,
            format!("not possible: {why}"),
            Some("TLS is captured all the same, at a higher price where a probe below is single-stepped"),
        ),
        Proof::Refuted(why) => row(
            SELF_TEST,
            CheckState::Warning,
            format!("failed: {why}"),
            Some("TLS is captured by probes on first instructions; please report this library's build id"),
        ),
    }
}
