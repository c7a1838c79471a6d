//! Which processes are watched, and how.

use std::time::Duration;

use kongtap_common::budget::Budget;

use crate::capture::gateways::{Pid, Selector};
use crate::capture::probes::ProbeOptions;
use crate::capture::reader::ReaderOptions;
use crate::capture::session::SessionOptions;
use crate::capture::sources::{SocketSource, SourceChoice};
use crate::capture::tls::choice::{Places, TlsOptions};
use crate::config::{Config, ProbePlacement, SocketCapture, TlsCapture};
use crate::gateway::admin_api::facts::GatewayFacts;

/// Which processes to watch: those that were named, else those that the Admin API tells of, else what `/proc` shows.
#[must_use]
pub fn selector(config: &Config, facts: Option<&GatewayFacts>) -> Selector {
    if !config.gateway.pids.is_empty() {
        return Selector::Pids(config.gateway.pids.iter().copied().map(Pid).collect());
    }
    match facts {
        Some(facts) if facts.master.is_some() || !facts.workers.is_empty() => Selector::Reported {
            master: facts.master.map(Pid),
            workers: facts.workers.iter().copied().map(Pid).collect(),
        },
        _ => Selector::Scan,
    }
}

/// What to capture, and how.
#[must_use]
pub fn session_options(config: &Config, selector: Selector) -> SessionOptions {
    SessionOptions {
        selector,
        tls: TlsOptions {
            is_on: config.capture.tls == TlsCapture::Auto,
            places: match config.capture.placement {
                ProbePlacement::Auto => Places::Proven,
                ProbePlacement::Entry => Places::Entries,
            },
            ..TlsOptions::default()
        },
        probes: ProbeOptions {
            sockets: source_choice(config.capture.sockets),
            ring_bytes: config.capture.ring_bytes,
            budget: Budget {
                head_bytes: config.capture.head_bytes,
                body_bytes: u32::try_from(config.limits.body_bytes).unwrap_or(u32::MAX),
            },
            ..ProbeOptions::default()
        },
        reader: ReaderOptions {
            poll: Duration::from_millis(config.capture.poll_ms),
            ..ReaderOptions::default()
        },
    }
}

/// Which source of socket bytes is asked for.
#[must_use]
pub const fn source_choice(sockets: SocketCapture) -> SourceChoice {
    match sockets {
        SocketCapture::Auto => SourceChoice::Auto,
        SocketCapture::Sock => SourceChoice::Only(SocketSource::Sock),
        SocketCapture::Syscalls => SourceChoice::Only(SocketSource::Syscalls),
        SocketCapture::Uprobes => SourceChoice::Only(SocketSource::Uprobes),
    }
}
