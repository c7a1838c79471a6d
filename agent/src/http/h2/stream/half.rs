//! One side of a stream: how far it has come, and what is kept of it.

use crate::capture::event::KernelTime;
use crate::http::anomaly::{Anomalies, Anomaly};
use crate::http::body::BodyBuilder;
use crate::http::h2::head::Head;
use crate::http::headers::Headers;

/// How far one side of a stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Its head has not come.
    Awaited,
    /// It is being read.
    Reading,
    /// It ended as its framing said.
    Complete,
    /// It ended otherwise.
    Ended,
    /// Its head is lost.
    Lost,
}

/// One side of a stream.
#[derive(Debug)]
pub(super) struct Half {
    pub(super) progress: Progress,
    pub(super) head: Option<Head>,
    pub(super) body: BodyBuilder,
    pub(super) trailers: Headers,
    pub(super) are_trailers_whole: bool,
    pub(super) started: KernelTime,
    pub(super) ended: KernelTime,
    /// Something of it may have moved unseen, its end too.
    pub(super) in_doubt: bool,
}

impl Half {
    pub(super) fn new(body_bytes: usize) -> Self {
        Self {
            progress: Progress::Awaited,
            head: None,
            body: BodyBuilder::new(body_bytes),
            trailers: Headers::default(),
            are_trailers_whole: true,
            started: KernelTime(0),
            ended: KernelTime(0),
            in_doubt: false,
        }
    }

    /// Whether its head was lost: there is a body without one, or an end. One that never was (section 8.1.1) is not lost.
    pub(super) const fn lacks_its_head(&mut self) -> bool {
        let lacks = matches!(self.progress, Progress::Awaited) && self.in_doubt;
        if lacks {
            self.progress = Progress::Lost;
        }
        lacks
    }

    pub(super) const fn is_over(&self) -> bool {
        match self.progress {
            Progress::Awaited | Progress::Reading => false,
            Progress::Complete | Progress::Ended | Progress::Lost => true,
        }
    }

    /// What was odd about it. RFC 9113 section 8.1.1: DATA is as long as the head says.
    pub(super) fn anomalies(&self) -> Anomalies {
        let mut anomalies = self.head.as_ref().map_or(Anomalies::NONE, |head| head.anomalies);
        let differs = self.progress == Progress::Complete && self.body.differs_from_declared();
        anomalies.insert_if(differs, Anomaly::ConflictingContentLength);
        anomalies
    }

    /// Its head and trailers, and what is kept of its body.
    pub(super) fn held_bytes(&self) -> usize {
        self.body
            .kept_bytes()
            .saturating_add(self.head.as_ref().map_or(0, |head| held_bytes(&head.headers)))
            .saturating_add(held_bytes(&self.trailers))
    }

    pub(super) fn ended(&self) -> KernelTime {
        self.body.last().map_or(self.ended, |last| last.max(self.ended))
    }
}

/// Memory that fields take.
pub(super) fn held_bytes(headers: &Headers) -> usize {
    headers
        .0
        .iter()
        .map(|header| header.name.len() + header.value.len() + size_of_val(header))
        .sum()
}
