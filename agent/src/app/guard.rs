//! Runs the guard: looks at what the agent has used, twice a second, and puts the steps that it leads to in force.
//!
//! In: this process's CPU time and resident memory. Out: [`Levels`] for the pipeline and, through it, the probes; pressure on the queue; one log line for each
//! step; what `/status` shows. Deliberately absent: when a step is taken (`guard`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::capture::usage;
use crate::clock;
use crate::config::Config;
use crate::guard::levels::Levels;
use crate::guard::{Guard, GuardLimits, Resource, Sample, Standing, Taken};
use crate::ship::ShipHandle;
use crate::telemetry::status::guard::{CpuStatus, GuardStatus, LadderStatus, MemoryStatus};

/// How often it looks: a few times within what it averages over.
const EVERY: Duration = Duration::from_millis(500);
/// How often free memory is given back at most: it takes the allocator's locks.
const GIVE_BACK_EVERY: Duration = Duration::from_secs(2);

/// What the guard is told and what it changes.
pub(super) struct Parts {
    pub(super) limits: GuardLimits,
    pub(super) levels: Arc<Levels>,
    pub(super) ship: ShipHandle,
    /// Bytes on the way to the worker.
    pub(super) captured: Arc<AtomicUsize>,
    pub(super) shown: Arc<ArcSwap<GuardStatus>>,
}

/// The limits that the configuration sets.
pub(super) fn limits(config: &Config) -> GuardLimits {
    GuardLimits {
        cpu: config.limits.cpu.as_f64(),
        memory_bytes: config.limits.memory_bytes,
    }
}

/// Guards until it is cancelled.
pub(super) async fn watch(parts: Parts, cancel: CancellationToken) {
    let mut guard = Guard::new(parts.limits);
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut given_back = clock::instant();
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if guard.wants_memory_back() && given_back.elapsed() >= GIVE_BACK_EVERY {
            given_back = clock::instant();
            // It may take milliseconds, and others wait for the runtime.
            let done = tokio::task::spawn_blocking(usage::give_back_memory).await;
            if done.is_err() {
                tracing::error!("Memory could not be given back.");
            }
        }
        let (cpu, resident_bytes) = usage::now();
        let sample = Sample {
            now: clock::instant(),
            cpu,
            resident_bytes,
        };
        for taken in guard.observe(sample) {
            put_in_force(&parts, taken);
        }
        parts.shown.store(Arc::new(status(&guard, &parts)));
    }
}

fn put_in_force(parts: &Parts, taken: Taken) {
    let Taken { resource, change } = taken;
    parts.levels.set(resource, change.to);
    if resource == Resource::Memory {
        parts.ship.set_pressure(change.to.halves_the_queue());
    }
    let load = format!("{:.0} %", change.load * 100.0);
    let (of, from, to) = (resource.label(), change.from.label(), change.to.label());
    if change.to > change.from {
        tracing::warn!(
            of,
            load,
            from,
            to,
            "The agent takes too much of its limit and does less."
        );
    } else {
        tracing::info!(of, load, from, to, "The agent has room and does more again.");
    }
}

fn status(guard: &Guard, parts: &Parts) -> GuardStatus {
    let captured = u64::try_from(parts.captured.load(Ordering::Relaxed)).unwrap_or(u64::MAX);
    GuardStatus {
        cpu: CpuStatus {
            limit: parts.limits.cpu,
            share: guard.cpu_share(),
            ladder: ladder(guard.standing(Resource::Cpu), &parts.levels, Resource::Cpu),
        },
        memory: MemoryStatus {
            limit_bytes: parts.limits.memory_bytes,
            resident_bytes: guard.resident_bytes(),
            // The others are known to whoever shows it.
            held_bytes: [("capture", captured)].into(),
            ladder: ladder(guard.standing(Resource::Memory), &parts.levels, Resource::Memory),
        },
    }
}

fn ladder(standing: Standing, levels: &Levels, resource: Resource) -> LadderStatus {
    LadderStatus {
        step: standing.step.label(),
        index: u64::try_from(standing.index).unwrap_or(u64::MAX),
        since_unix_ms: standing.since.map(unix_ms),
        climbs: standing.climbs,
        descents: standing.descents,
        cut_body_bytes: levels.cut_body_bytes(resource),
        is_exhausted: standing.is_exhausted,
    }
}

fn unix_ms(at: Instant) -> u64 {
    let ago = u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
    (clock::unix_ns() / 1_000_000).saturating_sub(ago)
}
