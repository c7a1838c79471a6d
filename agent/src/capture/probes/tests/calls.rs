//! Every system call that moves bytes on sockets, by each source, byte for byte.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use kongtap_common::counter;

use super::child::{Scenario, Watched};
use super::plain::{LOOPBACK, Peer, on_each_source, only};
use super::{Capture, Seen, pattern};
use crate::capture::sources::libc::{LibcFinder, Placing};
use crate::capture::sources::{SocketSource, SourceChoice};

pub(super) mod script;

use script::{ACCEPTED, RECEIVED, SENT, SPLICED_OUT, Step};

/// Ranges of a stream that nobody can copy, when `source` watches.
fn holes(steps: &[Step], source: SocketSource) -> Vec<(usize, usize)> {
    let mut at = 0;
    let mut holes = Vec::new();
    for step in steps {
        let bytes = step.bytes();
        if step.has_no_payload(source) {
            holes.push((at, bytes));
        }
        at += bytes;
    }
    holes
}

fn blanked(mut bytes: Vec<u8>, holes: &[(usize, usize)]) -> Vec<u8> {
    for (at, length) in holes {
        bytes[*at..at + length].fill(0);
    }
    bytes
}

fn every_call(mut capture: Capture) {
    let source = capture.probes.sockets();
    let peer = Peer::bind(LOOPBACK);
    let mut child = Watched::start(Scenario::Calls, peer.address);
    capture.probes.watch(child.pid()).unwrap();
    child.go();
    let sent = pattern(Step::total(RECEIVED), 9);
    let (received, _) = peer.exchange(&sent);
    assert_eq!(received.len(), Step::total(SENT), "{source}: the script itself");
    let counters = capture.finish(1);
    let seen = only(&capture);
    let check = |stream: &super::Stream, steps: &[Step], truth: &[u8], what: &str| {
        let holes = holes(steps, source);
        let without: usize = holes.iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(
            stream.without_payload,
            u64::try_from(without).unwrap(),
            "{source}: {what} without payload"
        );
        let copied = stream.with_holes(truth.len(), &holes);
        assert!(
            copied == blanked(truth.to_vec(), &holes),
            "{source}: what was {what}"
        );
        assert_eq!(
            stream.end,
            u64::try_from(truth.len()).ok(),
            "{source}: end of what was {what}"
        );
    };
    check(&seen.egress, SENT, &received, "sent");
    check(&seen.ingress, RECEIVED, &sent, "received");
    assert!(!seen.open.unwrap().late, "{source}");
    assert_eq!(counters.lost_bytes(), 0, "{source}: {counters:?}");
    // Pipes, files, unix sockets and datagrams would show here.
    assert_eq!(
        counters.get(counter::SEEN_BYTES),
        u64::try_from(received.len() + sent.len()).unwrap(),
        "{source}"
    );
}

#[test]
fn every_call_comes_out_byte_for_byte() {
    on_each_source(every_call);
}

#[test]
fn every_call_comes_out_of_probes_at_entry_and_return() {
    if let Some(mut capture) = Capture::by(SourceChoice::Only(SocketSource::Uprobes)) {
        capture.probes.sockets.libc = LibcFinder::new(Placing::EntriesAlone);
        every_call(capture);
    }
}

#[test]
fn bytes_that_are_spliced_out_of_a_socket_move_the_position() {
    on_each_source(|mut capture| {
        let source = capture.probes.sockets();
        if source == SocketSource::Sock {
            return; // no tracepoint tells of them
        }
        let peer = Peer::bind(LOOPBACK);
        let mut child = Watched::start(Scenario::SpliceOut, peer.address);
        capture.probes.watch(child.pid()).unwrap();
        child.go();
        let sent = pattern(Step::total(SPLICED_OUT), 5);
        let (echoed, _) = peer.exchange(&sent);
        let holes = holes(SPLICED_OUT, source);
        assert!(echoed == sent, "{source}: the script itself");
        capture.finish(1);
        let ingress = &only(&capture).ingress;
        assert!(ingress.with_holes(sent.len(), &holes) == blanked(sent.clone(), &holes));
        assert_eq!(ingress.end, u64::try_from(sent.len()).ok(), "{source}");
    });
}

#[test]
fn accepted_connections_and_copied_descriptors_come_out_right() {
    on_each_source(|mut capture| {
        let source = capture.probes.sockets();
        let peer = Peer::bind(LOOPBACK);
        let mut child = Watched::start(Scenario::Accept, peer.address);
        capture.probes.watch(child.pid()).unwrap();
        child.go();
        let (mut first, _) = peer.listener.accept().unwrap();
        let mut port = [0; 2];
        first.read_exact(&mut port).unwrap();
        let port = u16::from_be_bytes(port);
        let mut clients = Vec::new();
        for number in 0..ACCEPTED {
            let mut client = TcpStream::connect((LOOPBACK, port)).unwrap();
            client.write_all(&pattern(1000 + number, 7)).unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).unwrap();
            clients.push((client.local_addr().unwrap(), answer));
        }
        drop(first);
        capture.finish(1 + ACCEPTED);
        for (number, (address, answer)) in clients.into_iter().enumerate() {
            let is_it = |seen: &&Seen| seen.open.unwrap().remote == address;
            let seen = capture.conns.values().find(is_it).unwrap();
            let said = pattern(1000 + number, 7);
            assert_eq!(seen.open.unwrap().local.port(), port, "{source}");
            assert!(seen.ingress.contiguous() == said, "{source}: {number}");
            assert!(seen.egress.contiguous() == answer, "{source}: {number}");
            assert_eq!(seen.ingress.end, u64::try_from(said.len()).ok(), "{source}");
            assert_eq!(seen.egress.end, u64::try_from(answer.len()).ok(), "{source}");
        }
    });
}
