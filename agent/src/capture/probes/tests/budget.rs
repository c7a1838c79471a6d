//! What is left uncopied: past the budget, passed over on request, and unseen by any call. Every byte has its place.

use std::io::{Read as _, Write as _};

use kongtap_common::budget::{Budget, GLIMPSE_BYTES};
use kongtap_common::counter;

use super::child::{
    BODY_BYTES, EVERY_CALL_BYTES, HEAD, PACE_BYTES, PACES, SETTINGS, SPLICED, Scenario, Watched,
};
use super::plain::{LOOPBACK, Peer, only};
use super::{Capture, pattern};
use crate::capture::event::{Direction, Skip};

#[test]
fn past_the_budget_there_are_lengths() {
    const HEAD_BYTES: u32 = 10_000;
    let budget = Budget {
        head_bytes: HEAD_BYTES,
        body_bytes: 0,
    };
    let Some(mut capture) = Capture::within(budget) else {
        return;
    };
    let peer = Peer::bind(LOOPBACK);
    let mut child = Watched::start(Scenario::EveryCall, peer.address);
    capture.probes.watch(child.pid()).unwrap();
    child.go();
    let sent = pattern(150_001, 9);
    let (received, _) = peer.exchange(&sent);
    let counters = capture.finish(1);
    let seen = only(&capture);
    for (stream, whole) in [(&seen.ingress, &sent), (&seen.egress, &received)] {
        assert_eq!(stream.missing(), 0, "what is left is told of, and so is where");
        assert_eq!(stream.closed_at, u64::try_from(whole.len()).ok());
        let head = usize::try_from(HEAD_BYTES).unwrap();
        let copied: usize = stream.chunks.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(
            (head..head + 5_000).contains(&copied),
            "{copied} bytes were copied"
        );
        for (pos, bytes) in &stream.chunks {
            let from = usize::try_from(*pos).unwrap();
            assert_eq!(*bytes, whole[from..from + bytes.len()], "at {from}");
        }
    }
    let left = seen.ingress.without_payload + seen.egress.without_payload;
    assert_eq!(counters.get(counter::LEFT_OVER_BUDGET_BYTES), left);
    assert_eq!(
        counters.get(counter::SEEN_BYTES),
        u64::try_from(EVERY_CALL_BYTES + sent.len()).unwrap()
    );
    assert_eq!(counters.lost_bytes(), 0, "{counters:?}");
}

type Answers = (Vec<(u64, Vec<u8>)>, Vec<(u64, u64)>);

/// The child is asked once and answers twice; gives the copied pieces of its answers and what is left.
fn answers(budget: Budget) -> Option<Answers> {
    let mut capture = Capture::within(budget)?;
    let peer = Peer::bind(LOOPBACK);
    let mut child = Watched::start(Scenario::Answers, peer.address);
    capture.probes.watch(child.pid()).unwrap();
    child.go();
    let (received, _) = peer.exchange(b"ask");
    capture.finish(1);
    let seen = only(&capture);
    assert_eq!(seen.egress.missing(), 0);
    for (pos, bytes) in &seen.egress.chunks {
        let from = usize::try_from(*pos).unwrap();
        assert_eq!(*bytes, received[from..from + bytes.len()], "at {from}");
    }
    Some((seen.egress.chunks.clone(), seen.egress.left.clone()))
}

#[test]
fn without_bodies_a_head_is_the_last_that_is_copied_but_for_what_frames_a_body() {
    let Some((chunks, left)) = answers(Budget {
        head_bytes: 1 << 16,
        body_bytes: 0,
    }) else {
        return;
    };
    let (head, glimpse) = (HEAD.len(), usize::try_from(GLIMPSE_BYTES).unwrap());
    let answer = head + 6 + BODY_BYTES + 7;
    let starts = [0, answer].map(|start| {
        let body = start + head + 6;
        vec![
            (start, head),
            (start + head, 6),
            (body, glimpse - 6),
            (body + BODY_BYTES, 7),
        ]
    });
    let expected: Vec<_> = starts.concat();
    let copied: Vec<_> = chunks
        .iter()
        .map(|(pos, bytes)| (usize::try_from(*pos).unwrap(), bytes.len()))
        .collect();
    assert_eq!(copied, expected, "the second head is seen, too");
    let lengths: Vec<_> = left
        .iter()
        .map(|(_, len)| usize::try_from(*len).unwrap())
        .collect();
    assert_eq!(lengths, [BODY_BYTES - (glimpse - 6); 2]);
}

#[test]
fn a_call_that_begins_like_a_head_is_copied_although_the_budget_is_used_up() {
    let Some((chunks, left)) = answers(Budget {
        head_bytes: 1024,
        body_bytes: 1024,
    }) else {
        return;
    };
    let second = HEAD.len() + 6 + BODY_BYTES + 7;
    let copied: usize = chunks
        .iter()
        .filter(|(pos, _)| usize::try_from(*pos).unwrap() >= second)
        .map(|(_, bytes)| bytes.len())
        .sum();
    assert_eq!(copied, 2048 + 7, "a budget of its own, and the end of the body");
    assert_eq!(left.len(), 2);
}

/// Found end to end: a server that did not wait for its client's preface had the budgets of HTTP/1.
#[test]
fn a_server_that_begins_http2_has_no_budget_either() {
    let Some(mut capture) = Capture::within(Budget {
        head_bytes: 1024,
        body_bytes: 1024,
    }) else {
        return;
    };
    let peer = Peer::bind(LOOPBACK);
    let mut child = Watched::start(Scenario::Settings, peer.address);
    capture.probes.watch(child.pid()).unwrap();
    child.go();
    let (received, _) = peer.exchange(b"");
    assert_eq!(received.len(), SETTINGS.len() + PACES * PACE_BYTES);
    capture.finish(1);
    let seen = only(&capture);
    let copied: usize = seen.egress.chunks.iter().map(|(_, bytes)| bytes.len()).sum();
    assert_eq!((copied, seen.egress.missing()), (received.len(), 0));
}

#[test]
fn what_is_of_no_use_is_passed_over_and_told_of_once() {
    let Some(mut capture) = Capture::start() else {
        return;
    };
    let mut controls = capture.probes.controls().unwrap();
    let peer = Peer::bind(LOOPBACK);
    let mut child = Watched::start(Scenario::Paced, peer.address);
    capture.probes.watch(child.pid()).unwrap();
    child.go();
    let (mut stream, _) = peer.listener.accept().unwrap();
    let (mut pace, mut all) = (vec![0; PACE_BYTES], Vec::new());
    // In the middle of a call; the skip is seen when the position comes to the next multiple of its step.
    let until = 15 * PACE_BYTES + 1234;
    for number in 0..PACES {
        if number == 3 {
            capture.until("three paces", |capture| {
                capture.conns.values().any(|seen| seen.egress.chunks.len() >= 3)
            });
            let conn = *capture.conns.keys().next().unwrap();
            assert_eq!(controls.live().unwrap().into_iter().collect::<Vec<_>>(), [conn]);
            for (direction, until) in [
                (Direction::Egress, u64::try_from(until).unwrap()),
                (Direction::Ingress, 2), // behind us: of no consequence
            ] {
                let skip = Skip {
                    conn,
                    direction,
                    until,
                };
                controls.skip(skip).unwrap();
            }
        }
        stream.write_all(b"!").unwrap();
        stream.read_exact(&mut pace).unwrap();
        all.extend_from_slice(&pace);
    }
    drop(stream);
    let counters = capture.finish(1);
    assert!(controls.live().unwrap().is_empty());
    let seen = only(&capture);
    assert_eq!((seen.egress.missing(), seen.ingress.missing()), (0, 0));
    assert_eq!(seen.ingress.contiguous(), [b'!'; PACES]);
    let [(from, len)] = seen.egress.left[..] else {
        panic!("one record tells of it: {:?}", seen.egress.left);
    };
    let asked_from = u64::try_from(3 * PACE_BYTES).unwrap();
    assert!(
        (asked_from..asked_from + (1 << 14)).contains(&from),
        "from {from}"
    );
    assert_eq!(usize::try_from(from + len).unwrap(), until);
    assert_eq!(counters.get(counter::LEFT_SKIPPED_BYTES), len);
    for (pos, bytes) in &seen.egress.chunks {
        let from = usize::try_from(*pos).unwrap();
        assert_eq!(*bytes, all[from..from + bytes.len()], "at {from}");
    }
    assert_eq!(counters.lost_bytes(), 0, "{counters:?}");
}

/// The guard takes bodies away and gives them back while connections are open.
#[test]
fn a_budget_that_changes_counts_from_the_next_call() {
    const SMALL_BYTES: u32 = 1024;
    const GENEROUS: Budget = Budget {
        head_bytes: 1 << 16,
        body_bytes: 1 << 16,
    };
    let Some(mut capture) = Capture::within(GENEROUS) else {
        return;
    };
    let mut controls = capture.probes.controls().unwrap();
    let peer = Peer::bind(LOOPBACK);
    let mut child = Watched::start(Scenario::Paced, peer.address);
    capture.probes.watch(child.pid()).unwrap();
    child.go();
    let (mut stream, _) = peer.listener.accept().unwrap();
    let (mut pace, mut all) = (vec![0; PACE_BYTES], Vec::new());
    let (from, to) = (8, 16);
    for number in 0..PACES {
        if number == from || number == to {
            // The last call's record is written when its probe has looked at the budget.
            let told = u64::try_from(number * PACE_BYTES).unwrap();
            capture.until("the paces so far", |capture| {
                let moved = |seen: &super::Seen| {
                    let copied: usize = seen.egress.chunks.iter().map(|(_, bytes)| bytes.len()).sum();
                    u64::try_from(copied).unwrap() + seen.egress.without_payload
                };
                capture.conns.values().any(|seen| moved(seen) >= told)
            });
            controls
                .set_budget(if number == from {
                    Budget {
                        head_bytes: SMALL_BYTES,
                        body_bytes: 0,
                    }
                } else {
                    GENEROUS
                })
                .unwrap();
        }
        stream.write_all(b"!").unwrap();
        stream.read_exact(&mut pace).unwrap();
        all.extend_from_slice(&pace);
    }
    drop(stream);
    let counters = capture.finish(1);
    let egress = &only(&capture).egress;
    assert_eq!(egress.missing(), 0);
    let mut copied = vec![0; PACES];
    for (pos, bytes) in &egress.chunks {
        let at = usize::try_from(*pos).unwrap();
        assert_eq!(*bytes, all[at..at + bytes.len()], "at {at}");
        copied[at / PACE_BYTES] += bytes.len();
    }
    for (number, copied) in copied.into_iter().enumerate() {
        if (from..to).contains(&number) {
            assert!(copied < PACE_BYTES / 2, "pace {number}: {copied} bytes");
        } else {
            assert_eq!(copied, PACE_BYTES, "pace {number}");
        }
    }
    assert_eq!(
        counters.get(counter::LEFT_OVER_BUDGET_BYTES),
        egress.without_payload
    );
    assert_eq!(counters.lost_bytes(), 0, "{counters:?}");
}

#[test]
fn what_is_skipped_until_the_end_is_told_of_at_the_end() {
    let Some(mut capture) = Capture::start() else {
        return;
    };
    let mut controls = capture.probes.controls().unwrap();
    let peer = Peer::bind(LOOPBACK);
    let mut child = Watched::start(Scenario::Paced, peer.address);
    capture.probes.watch(child.pid()).unwrap();
    child.go();
    let (mut stream, _) = peer.listener.accept().unwrap();
    let mut pace = vec![0; PACE_BYTES];
    for number in 0..PACES {
        if number == 1 {
            capture.until("the first pace", |capture| {
                capture.conns.values().any(|seen| !seen.egress.chunks.is_empty())
            });
            let conn = *capture.conns.keys().next().unwrap();
            controls
                .skip(Skip {
                    conn,
                    direction: Direction::Egress,
                    until: u64::MAX,
                })
                .unwrap();
        }
        stream.write_all(b"!").unwrap();
        stream.read_exact(&mut pace).unwrap();
    }
    drop(stream);
    let counters = capture.finish(1);
    let egress = &only(&capture).egress;
    assert_eq!((egress.missing(), egress.left.len()), (0, 1));
    assert_eq!(counters.get(counter::LEFT_SKIPPED_BYTES), egress.without_payload);
    assert!(egress.without_payload > u64::try_from((PACES - 4) * PACE_BYTES).unwrap());
}

#[test]
fn bytes_that_pass_no_probed_call_are_declared() {
    let Some(mut capture) = Capture::start() else {
        return;
    };
    let peer = Peer::bind(LOOPBACK);
    let mut child = Watched::start(Scenario::Splice, peer.address);
    capture.probes.watch(child.pid()).unwrap();
    child.go();
    let [before, between, after] = SPLICED;
    let sent = pattern(before + between + after, 6);
    peer.exchange(&sent);
    let counters = capture.finish(1);
    let seen = only(&capture);
    let bytes = |length: usize| u64::try_from(length).unwrap();
    assert_eq!(seen.ingress.missing(), 0);
    assert_eq!(seen.ingress.left, [(bytes(before), bytes(between))]);
    assert_eq!(seen.ingress.closed_at, Some(bytes(sent.len())));
    assert_eq!(counters.get(counter::LEFT_NO_PAYLOAD_BYTES), bytes(between));
    let copied: Vec<u8> = seen
        .ingress
        .chunks
        .iter()
        .flat_map(|(_, bytes)| bytes.clone())
        .collect();
    assert_eq!(copied, [&sent[..before], &sent[before + between..]].concat());
}
