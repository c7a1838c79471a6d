use kongtap_common::record::{
    ABI, ClosePayload, ConnId, FAMILY_INET, FAMILY_INET6, FLAG_LATE, FLAG_NO_PAYLOAD, FLAG_TLS, KIND_CLOSE,
    KIND_DATA, KIND_END, KIND_OPEN, OpenPayload, RecordHeader,
};
use proptest::prelude::*;
use zerocopy::IntoBytes as _;

use super::{Arena, DecodeError, decode, decode_in};
use crate::capture::event::{
    CaptureEvent, ConnClose, ConnEnd, ConnOpen, DataChunk, Direction, KernelTime, StreamEnds,
};

const CONN: ConnId = ConnId {
    tgid: 7,
    fd: 9,
    generation_ns: 11,
};
const AT: KernelTime = KernelTime(13);

fn header(kind: u8) -> RecordHeader {
    RecordHeader {
        kind,
        abi: ABI,
        flags: 0,
        captured_bytes: 0,
        at_ns: AT.0,
        conn: CONN,
        pos_bytes: 100,
        call_bytes: 0,
        direction: 1,
        source: 0,
        pad: 0,
    }
}

fn record(header: RecordHeader, payload: &[u8]) -> Vec<u8> {
    let captured_bytes = u32::try_from(payload.len()).unwrap();
    let mut record = RecordHeader {
        captured_bytes,
        ..header
    }
    .as_bytes()
    .to_vec();
    record.extend_from_slice(payload);
    record
}

fn data(payload: &[u8], call_bytes: u32, flags: u16) -> Vec<u8> {
    record(
        RecordHeader {
            call_bytes,
            flags,
            ..header(KIND_DATA)
        },
        payload,
    )
}

fn ends(family: u16, local: &[u8], remote: &[u8]) -> OpenPayload {
    let mut open = OpenPayload {
        local_addr: [0; 16],
        remote_addr: [0; 16],
        local_port: 8000,
        remote_port: 40_000,
        family,
        pad: 0,
    };
    open.local_addr[..local.len()].copy_from_slice(local);
    open.remote_addr[..remote.len()].copy_from_slice(remote);
    open
}

fn open(family: u16, local: &[u8], remote: &[u8], flags: u16) -> Vec<u8> {
    record(
        RecordHeader {
            flags,
            ..header(KIND_OPEN)
        },
        ends(family, local, remote).as_bytes(),
    )
}

fn opened(local: &str, remote: &str, tls: bool, late: bool) -> CaptureEvent {
    let (local, remote) = (local.parse().unwrap(), remote.parse().unwrap());
    CaptureEvent::Open(ConnOpen {
        conn: CONN,
        at: AT,
        local,
        remote,
        tls,
        late,
    })
}

fn chunk(bytes: &'static [u8], len: u64) -> CaptureEvent {
    let bytes = bytes.into();
    CaptureEvent::Data(DataChunk {
        conn: CONN,
        at: AT,
        direction: Direction::Egress,
        pos: 100,
        len,
        bytes,
    })
}

#[track_caller]
fn check(record: &[u8], expected: Result<CaptureEvent, DecodeError>) {
    assert_eq!(decode(record), expected);
    assert_eq!(decode_in(record, &mut Arena::default()), expected);
}

#[test]
fn records_become_events() {
    check(
        &open(FAMILY_INET, &[127, 0, 0, 1], &[10, 0, 0, 2], 0),
        Ok(opened("127.0.0.1:8000", "10.0.0.2:40000", false, false)),
    );
    let mut one = [0; 16];
    one[15] = 1;
    check(
        &open(FAMILY_INET6, &one, &one, FLAG_TLS),
        Ok(opened("[::1]:8000", "[::1]:40000", true, false)),
    );
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 2];
    check(
        &open(FAMILY_INET6, &mapped, &mapped, FLAG_LATE),
        Ok(opened("10.0.0.2:8000", "10.0.0.2:40000", false, true)),
    );
    check(&data(b"hello", 5, 0), Ok(chunk(b"hello", 5)));
    check(&data(b"", 4096, FLAG_NO_PAYLOAD), Ok(chunk(b"", 4096)));
    let end = CaptureEvent::End(ConnEnd {
        conn: CONN,
        at: AT,
        direction: Direction::Egress,
        pos: 100,
    });
    check(&record(header(KIND_END), b""), Ok(end));
    let ends = ClosePayload {
        ingress_bytes: 7,
        egress_bytes: 1 << 40,
    };
    let close = CaptureEvent::Close(ConnClose {
        conn: CONN,
        at: AT,
        ends: Some(StreamEnds {
            ingress: 7,
            egress: 1 << 40,
        }),
    });
    check(&record(header(KIND_CLOSE), ends.as_bytes()), Ok(close));
    check(&data(b"", 0, FLAG_NO_PAYLOAD), Ok(chunk(b"", 0)));
}

#[test]
fn what_follows_the_payload_is_not_read() {
    let mut longer = data(b"hello", 5, 0);
    longer.extend_from_slice(&[0xaa; 123]);
    check(&longer, Ok(chunk(b"hello", 5)));
}

#[test]
fn what_is_no_record_says_why() {
    check(b"", Err(DecodeError::ShortHeader { have: 0 }));
    check(&[0; 47], Err(DecodeError::ShortHeader { have: 47 }));
    check(
        &record(
            RecordHeader {
                abi: ABI + 1,
                ..header(KIND_END)
            },
            b"",
        ),
        Err(DecodeError::Abi { found: ABI + 1 }),
    );
    check(&record(header(0), b""), Err(DecodeError::Kind { found: 0 }));
    check(&record(header(5), b""), Err(DecodeError::Kind { found: 5 }));
    check(
        &record(
            RecordHeader {
                direction: 2,
                ..header(KIND_END)
            },
            b"",
        ),
        Err(DecodeError::Direction { found: 2 }),
    );
    check(&open(1, &[], &[], 0), Err(DecodeError::Family { found: 1 }));
    check(
        &record(header(KIND_OPEN), &[0; 39]),
        Err(DecodeError::ShortPayload { have: 39, need: 40 }),
    );
    check(
        &record(header(KIND_CLOSE), &[0; 15]),
        Err(DecodeError::ShortPayload { have: 15, need: 16 }),
    );
    let whole = data(b"hello", 5, 0);
    check(
        &whole[..whole.len() - 1],
        Err(DecodeError::ShortPayload { have: 4, need: 5 }),
    );
    check(
        &data(b"hello", 6, 0),
        Err(DecodeError::Length { captured: 5, call: 6 }),
    );
    check(
        &data(b"hello", 5, FLAG_NO_PAYLOAD),
        Err(DecodeError::Length { captured: 5, call: 5 }),
    );
}

#[test]
fn an_arena_keeps_every_payload_apart() {
    let mut arena = Arena::default();
    let payloads: Vec<Vec<u8>> = (0..200)
        .map(|n| vec![u8::try_from(n).unwrap(); 1 + n * 97 % 5000])
        .collect();
    let events: Vec<CaptureEvent> = payloads
        .iter()
        .map(|payload| {
            decode_in(
                &data(payload, u32::try_from(payload.len()).unwrap(), 0),
                &mut arena,
            )
            .unwrap()
        })
        .collect();
    for (event, payload) in events.iter().zip(&payloads) {
        let CaptureEvent::Data(chunk) = event else {
            panic!("{event:?}")
        };
        assert_eq!(chunk.bytes, payload);
    }
}

proptest! {
    #[test]
    fn any_bytes_give_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let once = decode(&bytes);
        prop_assert_eq!(once, decode_in(&bytes, &mut Arena::default()));
    }

    #[test]
    fn any_header_gives_an_answer(
        kind in 0..6_u8, flags in any::<u16>(), captured in 0..100_u32, call in 0..100_u32,
        direction in 0..3_u8, payload in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let header = RecordHeader { flags, call_bytes: call, direction, captured_bytes: captured, ..header(kind) };
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(&payload);
        if let Ok(CaptureEvent::Data(chunk)) = decode(&bytes) {
            // Never more than was given, and all of the call or none of it.
            prop_assert!(chunk.bytes.len() <= payload.len());
            prop_assert!(chunk.bytes.is_empty() || u64::from(call) == u64::try_from(chunk.bytes.len()).unwrap());
        }
    }
}
