//! Records as the probes write them.
//!
//! In: what the gateway's calls moved. Out: a [`Tape`]. Absent: what the bytes mean.

use kongtap_common::record::{
    ABI, ClosePayload, ConnId, DIRECTION_EGRESS, DIRECTION_INGRESS, FAMILY_INET, FLAG_NO_PAYLOAD, KIND_CLOSE,
    KIND_DATA, KIND_OPEN, MAX_PAYLOAD_BYTES, OpenPayload, RecordHeader, SOURCE_SOCKET,
};
use zerocopy::IntoBytes as _;

/// Time between two calls of the gateway's, nanoseconds.
const CALL_NS: u64 = 10_000;

/// The one worker of the gateway.
const WORKER: u32 = 4711;

/// Records in their order, and how many exchanges are in them.
#[derive(Debug)]
pub struct Tape {
    /// The records.
    pub records: Vec<Vec<u8>>,
    /// Exchanges, each seen whole on both legs.
    pub exchanges: usize,
}

/// Which way bytes go, seen from the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Towards it.
    Ingress,
    /// From it.
    Egress,
}

/// A connection, and how far it has come.
#[derive(Debug)]
pub struct Connection {
    id: ConnId,
    ingress: u64,
    egress: u64,
}

/// Makes a tape.
#[derive(Debug)]
pub struct Recorder {
    records: Vec<Vec<u8>>,
    now_ns: u64,
    opened: i32,
}

impl Recorder {
    /// Nothing moved yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            records: Vec::new(),
            now_ns: 1_000_000_000,
            opened: 0,
        }
    }

    /// First sight of a connection; `local_port` is the gateway's.
    pub fn open(&mut self, local_port: u16) -> Connection {
        self.opened += 1;
        self.now_ns += CALL_NS;
        let id = ConnId {
            tgid: WORKER,
            fd: self.opened,
            generation_ns: self.now_ns,
        };
        let mut address = [0; 16];
        address
            .iter_mut()
            .zip([127, 0, 0, 1])
            .for_each(|(byte, of_loopback)| *byte = of_loopback);
        let payload = OpenPayload {
            local_addr: address,
            remote_addr: address,
            local_port,
            remote_port: 40_000,
            family: FAMILY_INET,
            pad: 0,
        };
        self.record(KIND_OPEN, id, payload.as_bytes());
        Connection {
            id,
            ingress: 0,
            egress: 0,
        }
    }

    /// A call that moved `bytes`, all of them copied.
    pub fn call(&mut self, connection: &mut Connection, direction: Direction, bytes: &[u8]) {
        self.now_ns += CALL_NS;
        let most = usize::try_from(MAX_PAYLOAD_BYTES).unwrap_or(usize::MAX);
        for part in bytes.chunks(most) {
            self.data(connection, direction, part.len(), part);
        }
    }

    /// A call that moved `bytes` bytes, none of them copied; nothing if they are none.
    pub fn left(&mut self, connection: &mut Connection, direction: Direction, bytes: usize) {
        if bytes > 0 {
            self.now_ns += CALL_NS;
            self.data(connection, direction, bytes, &[]);
        }
    }

    /// The end of a connection.
    pub fn close(&mut self, connection: &Connection) {
        self.now_ns += CALL_NS;
        let payload = ClosePayload {
            ingress_bytes: connection.ingress,
            egress_bytes: connection.egress,
        };
        self.record(KIND_CLOSE, connection.id, payload.as_bytes());
    }

    /// The tape, which holds so many exchanges.
    #[must_use]
    pub fn finish(self, exchanges: usize) -> Tape {
        Tape {
            records: self.records,
            exchanges,
        }
    }

    fn data(&mut self, connection: &mut Connection, direction: Direction, moved: usize, copied: &[u8]) {
        let (position, code) = match direction {
            Direction::Ingress => (&mut connection.ingress, DIRECTION_INGRESS),
            Direction::Egress => (&mut connection.egress, DIRECTION_EGRESS),
        };
        let call_bytes = u32::try_from(moved).unwrap_or(u32::MAX);
        let header = RecordHeader {
            flags: if copied.len() == moved { 0 } else { FLAG_NO_PAYLOAD },
            pos_bytes: *position,
            call_bytes,
            direction: code,
            ..self.header(KIND_DATA, connection.id, copied)
        };
        *position += u64::from(call_bytes);
        self.records.push([header.as_bytes(), copied].concat());
    }

    fn record(&mut self, kind: u8, conn: ConnId, payload: &[u8]) {
        let header = self.header(kind, conn, payload);
        self.records.push([header.as_bytes(), payload].concat());
    }

    fn header(&self, kind: u8, conn: ConnId, payload: &[u8]) -> RecordHeader {
        RecordHeader {
            kind,
            abi: ABI,
            flags: 0,
            captured_bytes: u32::try_from(payload.len()).unwrap_or(u32::MAX),
            at_ns: self.now_ns,
            conn,
            pos_bytes: 0,
            call_bytes: 0,
            direction: DIRECTION_INGRESS,
            source: SOURCE_SOCKET,
            pad: 0,
        }
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}
