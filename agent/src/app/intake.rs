//! The way from the reader to the worker: bounded by batches and by their bytes.
//!
//! In: batches of events. Out: the same, each with the room that it takes until it is done with. What finds no room is given back at once, so the
//! reader never waits (I3). Deliberately absent: what a refused batch is counted as (`capture/reader`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use crate::capture::event::CaptureEvent;
use crate::capture::reader::BatchSink;

/// A channel that holds at most so many batches and bytes. One batch always finds room when nothing is held.
pub(super) fn channel(batches: usize, bytes: usize) -> (Intake, Outlet) {
    let (sender, receiver) = sync_channel(batches);
    let held = Arc::new(AtomicUsize::new(0));
    let intake = Intake {
        sender,
        most: bytes,
        held: Arc::clone(&held),
    };
    (intake, Outlet { receiver, held })
}

/// Where the reader puts batches in.
#[derive(Debug)]
pub(super) struct Intake {
    sender: SyncSender<Batch>,
    most: usize,
    held: Arc<AtomicUsize>,
}

/// Where the worker takes them out.
#[derive(Debug)]
pub(super) struct Outlet {
    receiver: Receiver<Batch>,
    held: Arc<AtomicUsize>,
}

/// Events, and the room that they take.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) events: Vec<CaptureEvent>,
    pub(super) room: Room,
}

/// Bytes of the channel; given back when it is dropped, in whatever way.
#[derive(Debug)]
pub(super) struct Room {
    bytes: usize,
    held: Arc<AtomicUsize>,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl BatchSink for Intake {
    fn offer(&mut self, batch: Vec<CaptureEvent>) -> Result<(), Vec<CaptureEvent>> {
        use std::sync::mpsc::TrySendError;
        let bytes = bytes_of(&batch);
        // One reader puts in, so nothing comes in between.
        let held = self.held.load(Ordering::Relaxed);
        if held > 0 && held.saturating_add(bytes) > self.most {
            return Err(batch);
        }
        self.held.fetch_add(bytes, Ordering::Relaxed);
        let room = Room {
            bytes,
            held: Arc::clone(&self.held),
        };
        self.sender
            .try_send(Batch { events: batch, room })
            .map_err(|error| match error {
                TrySendError::Full(batch) | TrySendError::Disconnected(batch) => batch.events,
            })
    }
}

impl Outlet {
    /// The next batch.
    ///
    /// # Errors
    /// None came in time, or none can come any more.
    pub(super) fn recv_timeout(&self, timeout: Duration) -> Result<Batch, RecvTimeoutError> {
        self.receiver.recv_timeout(timeout)
    }

    /// Bytes that wait or are being worked on.
    pub(super) const fn held(&self) -> &Arc<AtomicUsize> {
        &self.held
    }
}

/// What a batch takes: its payload, and what holds it.
fn bytes_of(batch: &[CaptureEvent]) -> usize {
    let payload = batch.iter().map(|event| match event {
        CaptureEvent::Data(chunk) => chunk.bytes.len(),
        CaptureEvent::Open(_) | CaptureEvent::End(_) | CaptureEvent::Close(_) => 0,
    });
    size_of_val(batch) + payload.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use kongtap_common::record::ConnId;

    use super::{bytes_of, channel};
    use crate::capture::event::{CaptureEvent, DataChunk, Direction, KernelTime};
    use crate::capture::reader::BatchSink as _;

    fn batch(bytes: usize) -> Vec<CaptureEvent> {
        vec![CaptureEvent::Data(DataChunk {
            conn: ConnId {
                tgid: 1,
                fd: 2,
                generation_ns: 3,
            },
            at: KernelTime(1),
            direction: Direction::Ingress,
            pos: 0,
            len: 0,
            bytes: vec![b'x'; bytes].into(),
        })]
    }

    #[test]
    fn what_waits_for_the_worker_is_bounded_by_bytes() {
        let (mut intake, outlet) = channel(100, 4000);
        assert!(intake.offer(batch(9000)).is_ok(), "one always finds room");
        assert_eq!(intake.offer(batch(1)).unwrap_err().len(), 1);
        drop(outlet.recv_timeout(Duration::ZERO).unwrap());
        let taken = (0..10).filter(|_| intake.offer(batch(1000)).is_ok()).count();
        let each = bytes_of(&batch(1000));
        assert_eq!(taken, 4000 / each);
        let first = outlet.recv_timeout(Duration::ZERO).unwrap();
        assert!(intake.offer(batch(1000)).is_err(), "it is still being worked on");
        drop(first);
        assert!(intake.offer(batch(1000)).is_ok());
        while let Ok(batch) = outlet.recv_timeout(Duration::ZERO) {
            drop(batch);
        }
        assert_eq!(outlet.held().load(Ordering::Relaxed), 0);
        let taken = (0..200).filter(|_| intake.offer(Vec::new()).is_ok()).count();
        assert_eq!(taken, 100, "by number");
    }
}
