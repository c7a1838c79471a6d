//! Socket calls.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;

use kongtap_common::budget::Budget;
use kongtap_common::counter;

use super::child::{EVERY_CALL_BYTES, FILE_BYTES, LARGE_BYTES, REUSES, Scenario, Watched};
use super::{Capture, Seen, Stream, pattern, probes};
use crate::capture::decode::decode;
use crate::capture::probes::ProbeOptions;
use crate::capture::sources::{SocketSource, SourceChoice};

pub(super) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

pub(super) struct Peer {
    pub(super) listener: TcpListener,
    pub(super) address: SocketAddr,
}

impl Peer {
    pub(super) fn bind(ip: IpAddr) -> Self {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    /// Accepts a connection, sends `bytes`, reads to the end; answers what was read and the other end's address.
    pub(super) fn exchange(&self, bytes: &[u8]) -> (Vec<u8>, SocketAddr) {
        let (stream, other) = self.listener.accept().unwrap();
        let received = std::thread::scope(|scope| {
            let reading = scope.spawn(|| read_all(&stream));
            (&stream).write_all(bytes).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            reading.join().unwrap()
        });
        (received, other)
    }
}

fn read_all(mut stream: &TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    all
}

pub(super) fn only(capture: &Capture) -> &Seen {
    capture.conns.values().next().unwrap()
}

/// A capture by each source in turn.
pub(super) fn on_each_source(test: impl Fn(Capture)) {
    for source in SocketSource::ALL {
        if let Some(capture) = Capture::by(SourceChoice::Only(source)) {
            assert_eq!(capture.probes.sockets(), source);
            test(capture);
        }
    }
}

fn every_call_is_exact(mut capture: Capture, ip: IpAddr) {
    let peer = Peer::bind(ip);
    let mut child = Watched::start(Scenario::EveryCall, peer.address);
    capture.probes.watch(child.pid()).unwrap();
    child.go();
    let sent = pattern(150_001, 9);
    let (received, other) = peer.exchange(&sent);
    let counters = capture.finish(1);
    let seen = only(&capture);
    let open = seen.open.unwrap();
    assert_eq!((open.local, open.remote), (other, peer.address));
    assert_eq!((open.tls, open.late), (false, false));
    assert_eq!(open.conn.tgid, child.pid());
    assert_eq!(received.len(), EVERY_CALL_BYTES);
    assert!(seen.egress.contiguous() == received, "what was sent");
    assert!(seen.ingress.contiguous() == sent, "what was received");
    assert_eq!(seen.ingress.end, Some(150_001));
    assert_eq!(seen.egress.end, u64::try_from(EVERY_CALL_BYTES).ok());
    assert_eq!(
        counters.get(counter::SEEN_BYTES),
        counters.get(counter::COPIED_BYTES)
    );
    assert_eq!(counters.lost_bytes(), 0, "{counters:?}");
}

#[test]
fn every_call_is_exact_over_ipv4() {
    on_each_source(|capture| every_call_is_exact(capture, LOOPBACK));
}

#[test]
fn every_call_is_exact_over_ipv6() {
    on_each_source(|capture| every_call_is_exact(capture, IpAddr::V6(Ipv6Addr::LOCALHOST)));
}

#[test]
fn threads_do_not_mix() {
    on_each_source(|mut capture| {
        let peer = Peer::bind(LOOPBACK);
        let mut child = Watched::start(Scenario::Threads, peer.address);
        capture.probes.watch(child.pid()).unwrap();
        child.go();
        let answers = [pattern(80_000, 20), pattern(80_000, 21)];
        std::thread::scope(|scope| {
            for answer in &answers {
                scope.spawn(|| peer.exchange(answer));
            }
        });
        capture.finish(2);
        let mut ingress: Vec<_> = capture
            .conns
            .values()
            .map(|seen| seen.ingress.contiguous())
            .collect();
        ingress.sort();
        let mut expected = answers.to_vec();
        expected.sort();
        assert!(ingress == expected, "what each thread received");
        for seen in capture.conns.values() {
            assert!(
                seen.egress.contiguous() == pattern(EVERY_CALL_BYTES, 1),
                "what each thread sent"
            );
        }
    });
}

#[test]
fn a_connection_older_than_the_watch_is_late() {
    on_each_source(|mut capture| {
        let peer = Peer::bind(LOOPBACK);
        let mut child = Watched::start(Scenario::Late, peer.address);
        capture.probes.watch(child.pid()).unwrap();
        child.go();
        assert_eq!(peer.exchange(b"").0, b"beforeafter");
        capture.finish(1);
        let seen = only(&capture);
        assert!(seen.open.unwrap().late);
        assert_eq!(seen.egress.contiguous(), b"after");
    });
}

#[test]
fn a_reused_descriptor_is_another_connection() {
    on_each_source(|mut capture| {
        let peer = Peer::bind(LOOPBACK);
        let mut child = Watched::start(Scenario::Reuse, peer.address);
        capture.probes.watch(child.pid()).unwrap();
        child.go();
        let mut ports = Vec::new();
        for turn in 0..REUSES {
            let (mut stream, other) = peer.listener.accept().unwrap();
            ports.push(other.port());
            let mut said = [0; 100];
            let length = stream.read(&mut said).unwrap();
            assert_eq!(said[..length], *format!("turn {turn}").as_bytes());
            stream.write_all(format!("answer {turn}").as_bytes()).unwrap();
        }
        capture.finish(REUSES);
        let fds: std::collections::BTreeSet<i32> = capture.conns.keys().map(|conn| conn.fd).collect();
        assert_eq!(fds.len(), 1, "the descriptor was reused");
        let mut by_port: Vec<&Seen> = capture.conns.values().collect();
        by_port.sort_by_key(|seen| {
            ports
                .iter()
                .position(|port| *port == seen.open.unwrap().local.port())
        });
        for (turn, seen) in by_port.into_iter().enumerate() {
            assert_eq!(seen.egress.contiguous(), format!("turn {turn}").as_bytes());
            assert_eq!(seen.ingress.contiguous(), format!("answer {turn}").as_bytes());
            assert!(!seen.open.unwrap().late);
        }
    });
}

#[test]
fn a_large_vector_is_whole() {
    on_each_source(|mut capture| {
        let peer = Peer::bind(LOOPBACK);
        let mut child = Watched::start(Scenario::Large, peer.address);
        capture.probes.watch(child.pid()).unwrap();
        child.go();
        let (received, _) = peer.exchange(b"");
        assert_eq!(received.len(), LARGE_BYTES);
        capture.finish(1);
        assert!(only(&capture).egress.contiguous() == received);
    });
}

#[test]
fn sendfile_moves_the_position_without_bytes() {
    on_each_source(|mut capture| {
        let peer = Peer::bind(LOOPBACK);
        let mut child = Watched::start(Scenario::SendFile, peer.address);
        capture.probes.watch(child.pid()).unwrap();
        child.go();
        let (received, _) = peer.exchange(b"");
        assert_eq!(received.len(), FILE_BYTES + 8);
        let counters = capture.finish(1);
        let file = u64::try_from(FILE_BYTES).unwrap();
        let Stream {
            chunks,
            without_payload,
            end,
            ..
        } = &only(&capture).egress;
        assert_eq!(*chunks, [(0, b"head".to_vec()), (4 + file, b"tail".to_vec())]);
        assert_eq!((*without_payload, *end), (file, Some(file + 8)));
        assert_eq!(counters.get(counter::LEFT_NO_PAYLOAD_BYTES), file);
    });
}

#[test]
fn what_came_before_a_reset_is_read_and_then_it_closes() {
    on_each_source(|mut capture| {
        let peer = Peer::bind(LOOPBACK);
        let mut child = Watched::start(Scenario::Reset, peer.address);
        capture.probes.watch(child.pid()).unwrap();
        child.go();
        let (mut stream, _) = peer.listener.accept().unwrap();
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).unwrap();
        stream.write_all(b"last words").unwrap();
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        #[expect(unsafe_code, reason = "the standard library cannot ask for a reset")]
        // SAFETY: the option's value is a valid `linger`.
        let set = unsafe {
            libc::setsockopt(
                stream.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                (&raw const linger).cast(),
                u32::try_from(size_of::<libc::linger>()).unwrap(),
            )
        };
        assert_eq!(set, 0);
        drop(stream);
        capture.finish(1);
        let seen = only(&capture);
        assert_eq!(seen.egress.contiguous(), b"hello");
        assert_eq!(seen.ingress.contiguous(), b"last words");
    });
}

#[test]
fn a_full_ring_loses_only_what_it_counts() {
    const RING_BYTES: u32 = 64 * 1024;
    let options = ProbeOptions {
        ring_bytes: RING_BYTES,
        budget: Budget::EVERYTHING,
        ..ProbeOptions::default()
    };
    let Some(mut probes) = probes(&options) else {
        return;
    };
    let peer = Peer::bind(LOOPBACK);
    let mut child = Watched::start(Scenario::EveryCall, peer.address);
    probes.watch(child.pid()).unwrap();
    child.go();
    let sent = pattern(150_001, 9);
    let (received, _) = peer.exchange(&sent); // nobody reads the ring meanwhile
    drop(child);
    let counters = probes.counters().unwrap();
    assert!(counters.is_balanced(), "{counters:?}");
    assert!(counters.get(counter::LOST_RING_FULL_BYTES) > 0, "{counters:?}");
    assert_eq!(
        counters.get(counter::SEEN_BYTES),
        u64::try_from(received.len() + sent.len()).unwrap()
    );
    let mut ring = probes.ring().unwrap();
    assert_eq!(ring.size_bytes(), usize::try_from(RING_BYTES).unwrap());
    let mut seen = Seen::default();
    ring.drain(usize::MAX, |record| seen.take(decode(record).unwrap()));
    // There was room for what outranks bodies, and it says what is missing.
    assert_eq!(counters.get(counter::LOST_LIFECYCLE_RECORDS), 0, "{counters:?}");
    assert!(seen.open.is_some() && seen.closed);
    let mut copied = 0;
    for (stream, whole) in [(&seen.ingress, &sent), (&seen.egress, &received)] {
        let total = u64::try_from(whole.len()).ok();
        assert_eq!((stream.end, stream.closed_at), (total, total));
        for (pos, bytes) in &stream.chunks {
            let from = usize::try_from(*pos).unwrap();
            assert_eq!(*bytes, whole[from..from + bytes.len()], "at {from}");
            copied += u64::try_from(bytes.len()).unwrap();
        }
    }
    assert_eq!(copied, counters.get(counter::COPIED_BYTES));
    assert_eq!(
        seen.ingress.missing() + seen.egress.missing(),
        counters.get(counter::LOST_RING_FULL_BYTES),
        "every byte that is missing shows where it was"
    );
}

#[test]
fn an_unwatched_process_is_not_seen() {
    on_each_source(|mut capture| {
        let peer = Peer::bind(LOOPBACK);
        let mut child = Watched::start(Scenario::Late, peer.address);
        capture.probes.watch(child.pid()).unwrap();
        capture.probes.unwatch(child.pid()).unwrap();
        child.go();
        assert_eq!(peer.exchange(b"").0, b"beforeafter");
        drop(child);
        let counters = capture.finish(0);
        assert_eq!(counters.get(counter::SEEN_BYTES), 0);
    });
}
