//! What needs no kernel: batches that the sink refuses are counted. (The ring itself is tested with the probes.)

use bytes::Bytes;
use kongtap_common::record::ConnId;

use super::{ReaderCounters, ReaderCounts, hand_over};
use crate::capture::event::{CaptureEvent, ConnClose, DataChunk, Direction, KernelTime};

const CONN: ConnId = ConnId {
    tgid: 1,
    fd: 2,
    generation_ns: 3,
};

fn batch() -> Vec<CaptureEvent> {
    let chunk = DataChunk {
        conn: CONN,
        at: KernelTime(4),
        direction: Direction::Ingress,
        pos: 0,
        len: 5,
        bytes: Bytes::from_static(b"hello"),
    };
    vec![
        CaptureEvent::Data(chunk.clone()),
        // Bytes that were never copied are not the reader's to lose.
        CaptureEvent::Data(DataChunk {
            len: 1000,
            bytes: Bytes::new(),
            ..chunk
        }),
        CaptureEvent::Close(ConnClose {
            conn: CONN,
            at: KernelTime(5),
            ends: None,
        }),
    ]
}

#[test]
fn a_refused_batch_is_counted_and_a_taken_one_too() {
    let counters = ReaderCounters::default();
    let (mut sink, taken) = std::sync::mpsc::sync_channel(1);
    hand_over(&mut sink, batch(), &counters);
    hand_over(&mut sink, batch(), &counters); // no room
    assert_eq!(taken.recv().unwrap(), batch());
    drop(taken);
    hand_over(&mut sink, batch(), &counters); // nobody listens
    let expected = ReaderCounts {
        delivered_bytes: 5,
        queue_full_bytes: 10,
        queue_full_events: 6,
        ..ReaderCounts::default()
    };
    assert_eq!(counters.snapshot(), expected);
}

#[test]
fn the_asynchronous_channel_refuses_alike() {
    let counters = ReaderCounters::default();
    let (mut sink, mut taken) = tokio::sync::mpsc::channel(1);
    hand_over(&mut sink, batch(), &counters);
    hand_over(&mut sink, batch(), &counters);
    assert_eq!(taken.try_recv().unwrap(), batch());
    assert_eq!(
        (
            counters.snapshot().delivered_bytes,
            counters.snapshot().queue_full_bytes
        ),
        (5, 5)
    );
}
