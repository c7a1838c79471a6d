//! What goes back from the worker to the probes: how much of a message is wanted, what may be passed over, and the question
//! which connections there still are.
//!
//! In: what the pipeline wants. Out: the probes' tables, and closes for connections whose end was lost with a full ring or
//! a full channel: without them an exchange would wait until its connection counts as silent. Deliberately absent: any
//! guess. A connection is closed when the probes did not know it any more at one moment, and everything that they wrote before
//! that moment has been through the pipeline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use kongtap_common::budget::Budget;
use kongtap_common::counter;
use kongtap_common::record::ConnId;

use crate::capture::event::{CaptureEvent, ConnClose, KernelTime, Skip};
use crate::capture::probes::{CaptureError, Controls};
use crate::capture::reader::ReaderCounters;
use crate::capture::session::CaptureStatus;
use crate::clock;
use crate::pipeline::{Pipeline, Sink};

/// How often connections are looked up, at most.
const CENSUS: Duration = Duration::from_secs(1);

/// The worker's handle to the probes.
#[derive(Debug)]
pub(super) struct Steering {
    controls: Controls,
    capture: Arc<ArcSwap<CaptureStatus>>,
    reader: Arc<ReaderCounters>,
    head_bytes: u32,
    /// Batches that may be in the channel at one time.
    channel_batches: usize,
    census: Option<Census>,
    looked: Instant,
    /// Losses that earlier looks answered for.
    answered: u64,
    /// Whether the probes refused something; said once.
    refused: bool,
}

/// Connections that the probes did not know any more.
#[derive(Debug)]
struct Census {
    gone: Vec<ConnId>,
    /// When they did not.
    at: KernelTime,
    /// Batches that may still hold something from before; not known until the reader has caught up.
    behind: Option<usize>,
}

impl Steering {
    pub(super) fn new(
        controls: Controls,
        capture: Arc<ArcSwap<CaptureStatus>>,
        reader: Arc<ReaderCounters>,
        head_bytes: u32,
        channel_batches: usize,
    ) -> Self {
        Self {
            controls,
            capture,
            reader,
            head_bytes,
            channel_batches,
            census: None,
            looked: clock::instant(),
            answered: 0,
            refused: false,
        }
    }

    /// Nothing is wanted of these bytes.
    pub(super) fn skip(&mut self, skip: Skip) {
        let done = self.controls.skip(skip);
        self.note(done);
    }

    /// The channel was looked into: there was a batch, which is done with, or it was empty.
    pub(super) fn took<S: Sink>(&mut self, pipeline: &mut Pipeline<S>, batch: Took) {
        let Some(census) = &mut self.census else {
            return;
        };
        let Some(behind) = census.behind else {
            return;
        };
        let behind = match batch {
            Took::Batch => behind.saturating_sub(1),
            Took::Nothing => 0,
        };
        if behind > 0 {
            census.behind = Some(behind);
            return;
        }
        let gone = std::mem::take(&mut census.gone);
        self.census = None;
        let known: std::collections::BTreeSet<ConnId> = pipeline.connections().collect();
        let lost: Vec<ConnId> = gone.into_iter().filter(|conn| known.contains(conn)).collect();
        if lost.is_empty() {
            return;
        }
        tracing::warn!(
            connections = lost.len(),
            "The ends of connections were lost; what they held is incomplete."
        );
        for conn in lost {
            let at = clock::kernel_now();
            pipeline.apply(CaptureEvent::Close(ConnClose { conn, at, ends: None }));
        }
    }

    /// To be called a few times a second.
    pub(super) fn steer<S: Sink>(&mut self, pipeline: &Pipeline<S>) {
        let done = self.controls.set_budget(Budget {
            head_bytes: self.head_bytes,
            body_bytes: u32::try_from(pipeline.wanted_body_bytes()).unwrap_or(u32::MAX),
        });
        self.note(done);
        if let Some(census) = &mut self.census {
            if census.behind.is_none() && self.reader.caught_up() > census.at {
                census.behind = Some(self.channel_batches + 1);
            }
            return;
        }
        let losses = losses(&self.capture.load());
        if losses == self.answered || self.looked.elapsed() < CENSUS {
            return;
        }
        self.looked = clock::instant();
        self.answered = losses;
        match self.controls.live() {
            Ok(live) => {
                let gone: Vec<ConnId> = pipeline
                    .connections()
                    .filter(|conn| !live.contains(conn))
                    .collect();
                self.census = (!gone.is_empty()).then(|| Census {
                    gone,
                    at: clock::kernel_now(),
                    behind: None,
                });
            }
            Err(error) => self.note(Err(error)),
        }
    }

    fn note(&mut self, done: Result<(), CaptureError>) {
        if let Err(error) = done
            && !std::mem::replace(&mut self.refused, true)
        {
            tracing::warn!(%error, "The probes cannot be told what is wanted; they copy more than is needed.");
        }
    }
}

/// What was in the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Took {
    Batch,
    Nothing,
}

/// Losses that may have taken the end of a connection with them.
fn losses(capture: &CaptureStatus) -> u64 {
    capture
        .kernel
        .get(counter::LOST_LIFECYCLE_RECORDS)
        .saturating_add(capture.reader.queue_full_events)
}
