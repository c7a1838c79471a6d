//! What holds for every conversation, however its records are cut, repeated, exchanged, lost, left or joined late.
//!
//! `KONGTAP_PROPERTY_CASES` sets how many cases each property tries.

use proptest::prelude::*;
use proptest::sample::Index;

use super::conversation::{Conversation, Ending, Plan, Record, ending, http1, plan, run};
use super::http2_conversation::{Stream, http2, stream};
use super::id;
use crate::capture::event::KernelTime;
use crate::conn::{ConnLimits, ConnTable};
use crate::http::exchange::Leg;

/// Cases that each property tries by default: some seconds in all in a debug build.
const CASES: u32 = 96;

fn config() -> ProptestConfig {
    let cases = std::env::var("KONGTAP_PROPERTY_CASES").ok();
    ProptestConfig {
        cases: cases.map_or(CASES, |cases| cases.parse().unwrap()),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn leg() -> impl Strategy<Value = Leg> {
    prop_oneof![3 => Just(Leg::Downstream), 1 => Just(Leg::Upstream)]
}

fn conversation() -> impl Strategy<Value = Conversation> {
    prop_oneof![
        (leg(), prop::collection::vec(plan(), 1..8), ending())
            .prop_map(|(leg, plans, ending): (Leg, Vec<Plan>, Ending)| http1(leg, &plans, ending)),
        (
            leg(),
            prop::collection::vec(stream(), 1..8),
            prop::collection::vec(any::<u8>(), 1..40)
        )
            .prop_map(|(leg, streams, order): (Leg, Vec<Stream>, Vec<u8>)| http2(leg, &streams, &order)),
    ]
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    let cut = prop_oneof![1..20usize, 1..300usize, 1..16_384usize];
    prop::collection::vec(cut, 1..12)
}

/// What happens to one record on the way.
#[derive(Clone, Debug)]
enum Mangle {
    /// It comes again, so many records later.
    Repeat(usize),
    /// It comes again together with what was before and after it.
    Overlap,
    /// The one after it overtakes it, and so many others.
    Late(usize),
}

fn mangle(records: &[Record], mangles: &[(Index, Mangle)]) -> Vec<Record> {
    // By pairs of when it comes and what, so that indices stay what they were.
    let mut timed: Vec<(usize, Record)> = records
        .iter()
        .cloned()
        .enumerate()
        .map(|(at, record)| (at * 2, record))
        .collect();
    let mut moved = std::collections::BTreeSet::new();
    for (index, mangle) in mangles {
        let at = index.index(records.len());
        let record = &records[at];
        match mangle {
            Mangle::Repeat(later) => timed.push(((at + later) * 2 + 1, record.clone())),
            Mangle::Overlap => {
                let run: Vec<&Record> = records[at.saturating_sub(1)..]
                    .iter()
                    .take(3)
                    .take_while(|other| other.direction == record.direction)
                    .collect();
                if let [first, .., last] = run[..] {
                    let bytes: Vec<u8> = run.iter().flat_map(|record| record.bytes.to_vec()).collect();
                    let whole = Record {
                        len: last.pos + last.len - first.pos,
                        bytes: bytes.into(),
                        ..first.clone()
                    };
                    timed.push(((at.saturating_sub(1) + run.len() - 1) * 2 + 1, whole));
                }
            }
            Mangle::Late(later) => {
                // Its loss shows at once, because the next record of its direction follows.
                let next = records.get(at + 1);
                let is_followed = next.is_some_and(|next| next.direction == record.direction);
                let touches = (at..at + later + 2).any(|other| moved.contains(&other));
                if is_followed && !touches {
                    moved.extend(at..at + later + 2);
                    timed[at].0 = (at + 1 + later) * 2 + 1;
                }
            }
        }
    }
    timed.sort_by_key(|(at, _)| *at);
    timed.into_iter().map(|(_, record)| record).collect()
}

fn mangles() -> impl Strategy<Value = Vec<(Index, Mangle)>> {
    let mangle = prop_oneof![
        (0..6usize).prop_map(Mangle::Repeat),
        Just(Mangle::Overlap),
        (0..6usize).prop_map(Mangle::Late),
    ];
    prop::collection::vec((any::<Index>(), mangle), 0..12)
}

fn table() -> ConnTable {
    ConnTable::new(ConnLimits::default())
}

const KEPT: usize = 256 << 10;

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_split_repetition_and_reordering_gives_the_same_exchanges(
        conversation in conversation(),
        cuts in cuts(),
        mangles in mangles(),
    ) {
        let records = conversation.records(&cuts, false);
        let mut table = table();
        let mut events = conversation.events(&mangle(&records, &mangles), false);
        events.extend(conversation.end(&records));
        let out = run(&mut table, events);
        conversation.check_whole(&out, KEPT)?;
        prop_assert_eq!((table.stats().holes, table.stats().hole_bytes, table.stats().open), (0, 0, 0));
    }

    #[test]
    fn holes_cost_what_they_take_and_nothing_is_invented_or_paired_wrongly(
        conversation in conversation(),
        cuts in cuts(),
        fates in prop::collection::vec(0..8u8, 1..40),
        knows_its_ends in any::<bool>(),
        lost_tail in prop::option::of(any::<Index>()),
    ) {
        let records = conversation.records(&cuts, false);
        let mut kept: Vec<Record> = records
            .iter()
            .zip(fates.iter().cycle())
            .filter(|(_, fate)| **fate > 0)
            .map(|(record, _)| record.clone())
            .collect();
        if let Some(index) = lost_tail {
            kept.truncate(index.index(records.len()));
        }
        let total = |records: &[Record]| records.iter().map(|record| record.len).sum::<u64>();
        let lost = total(&records) - total(&kept);
        let mut table = table();
        let mut events = conversation.events(&kept, false);
        if knows_its_ends {
            events.extend(conversation.end(&records));
        } else {
            events.push(conversation.close(KernelTime(u64::MAX), None));
        }
        let out = run(&mut table, events);
        conversation.check(&out, KEPT)?;
        prop_assert!(table.stats().hole_bytes <= lost, "{} of {}", table.stats().hole_bytes, lost);
        if lost == 0 && knows_its_ends {
            conversation.check_whole(&out, KEPT)?;
        }
    }

    #[test]
    fn joining_late_gives_whole_later_exchanges_or_marked_ones(
        conversation in conversation(),
        cuts in cuts(),
        index in any::<Index>(),
        cut in any::<Index>(),
    ) {
        let mut records = conversation.records(&cuts, false);
        let first = index.index(records.len());
        records.drain(..first);
        let head = &mut records[0];
        // In the middle of a record, or before a call: where a request that was read a moment ago is still to be
        // answered, nothing tells the one that follows it from it (LIMITATIONS.md).
        let from = cut.index(head.bytes.len());
        let is_quiet = from == 0 && head.is_quiet;
        let asks = [&b"GET /"[..], b"HEAD /", b"POST /"].iter().any(|start| head.bytes[from..].starts_with(start));
        let from = if asks && !is_quiet { from + 1 } else { from };
        head.bytes = head.bytes.slice(from..);
        head.pos += u64::try_from(from).unwrap();
        head.len -= u64::try_from(from).unwrap();
        let begins_at = |direction| {
            let mut first = records.iter().filter(move |record| record.direction == direction);
            first.next().map_or(0, |record| record.pos)
        };
        let base = [begins_at(super::IN), begins_at(super::OUT)];
        for record in &mut records {
            record.pos -= base[usize::from(record.direction == super::OUT)];
        }
        let mut table = table();
        let mut events = conversation.events(&records, true);
        events.extend(conversation.end(&records));
        let out = run(&mut table, events);
        conversation.check(&out, KEPT)?;
    }

    #[test]
    fn bytes_that_are_left_uncopied_keep_sizes_exact_and_bodies_a_prefix(
        leg in leg(),
        plans in prop::collection::vec(plan(), 1..8),
        ending in ending(),
        cuts in cuts(),
        fates in prop::collection::vec(any::<bool>(), 1..40),
    ) {
        let conversation = http1(leg, &plans, ending);
        let records = conversation.records(&cuts, true);
        let left: Vec<Record> = records
            .iter()
            .zip(fates.iter().cycle())
            .map(|(record, is_left)| if *is_left && record.is_data { record.left() } else { record.clone() })
            .collect();
        let mut table = table();
        let mut events = conversation.events(&left, false);
        events.extend(conversation.end(&records));
        let out = run(&mut table, events);
        conversation.check_whole(&out, KEPT)?;
        prop_assert_eq!(table.stats().hole_bytes, 0);
    }

    #[test]
    fn sweeps_and_expiry_neither_double_nor_mispair(
        conversation in conversation(),
        cuts in cuts(),
        pauses in prop::collection::vec(0..6u8, 1..20),
    ) {
        let mut table = ConnTable::new(ConnLimits { idle_ns: 1_000_000_000, ..ConnLimits::default() });
        let records = conversation.records(&cuts, false);
        let (mut out, mut now, mut expired) = (Vec::new(), 0, false);
        let mut pauses = pauses.iter().cycle();
        let mut events = conversation.events(&records, false).into_iter();
        out.extend(run(&mut table, events.next()));
        let mut call = None;
        for (record, mut event) in records.iter().zip(events) {
            // Any pause is possible where the gateway owes nothing. The records of one call have one time, by which they are known
            // to belong together.
            let goes_on = call.replace(record.at) == Some(record.at);
            let pause = match *pauses.next().unwrap() {
                _ if goes_on => 0,
                0 if record.is_quiet => 2_000_000_000,
                1 => 50_000_000,
                _ => 1_000,
            };
            now += pause;
            table.sweep(KernelTime(now), &mut out);
            expired |= table.stats().expired > 0;
            if let crate::capture::event::CaptureEvent::Data(chunk) = &mut event {
                chunk.at = KernelTime(now);
            }
            out.extend(run(&mut table, [event]));
        }
        table.sweep(KernelTime(now + 3_000_000_000), &mut out);
        out.extend(run(&mut table, conversation.end(&records)));
        conversation.check(&out, KEPT)?;
        prop_assert_eq!(table.stats().open, 0);
        if !expired {
            prop_assert_eq!(out.len(), conversation.expected.len());
        }
    }

    #[test]
    fn what_a_connection_holds_stays_within_its_limits(
        calls in prop::collection::vec((any::<bool>(), 0..12u8, 0..9000usize, 0..20u8), 1..160),
    ) {
        let mut limits = ConnLimits { bytes: 20_000, ..ConnLimits::default() };
        (limits.http.head_bytes, limits.http.body_bytes, limits.http.fields) = (1024, 1000, 16);
        limits.reorder.bytes = 8_000;
        let mut feed = super::Feed::new(limits);
        let first = if calls[0].1 % 2 == 0 { super::protocols::PREFACE } else { super::GET.as_bytes() };
        feed.open(1, false).data(1, super::IN, first);
        for (number, (is_in, kind, bytes, jump)) in calls.iter().enumerate() {
            let direction = if *is_in { super::IN } else { super::OUT };
            if *jump == 0 {
                feed.lose(1, direction, 10);
            }
            feed.data(1, direction, nasty(number, *kind, *bytes));
            let (held, waiting) = feed.table.held_bytes(id(1));
            // One chunk may stand in the way of a limit: it is looked at when it has come.
            prop_assert!(held <= limits.held_bytes(), "{} are held after {}", held, number);
            prop_assert!(waiting <= limits.reorder.bytes, "{} wait", waiting);
        }
    }
}

/// Calls that make a parser hold as much as it will.
pub(super) fn nasty(number: usize, kind: u8, bytes: usize) -> Vec<u8> {
    let filler = vec![b'a'; bytes];
    let stream = u32::try_from(number * 2 + 1).unwrap();
    let frame = |kind: u8, flags: u8, payload: &[u8]| {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    };
    match kind {
        0 => super::GET.repeat(bytes / 20).into_bytes(),
        1 => [b"GET /", &filler[..]].concat(),
        2 => format!("POST / HTTP/1.1\r\nContent-Length: {bytes}\r\n\r\n").into_bytes(),
        3 => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n".to_vec(),
        4 => [
            super::GET.as_bytes(),
            b"GET / HTTP/1.1\r\n",
            &b"a:b\r\n".repeat(bytes / 5),
        ]
        .concat(),
        5 => frame(1, 0x4, b"\x82\x87\x04\x02/a"),
        6 => frame(1, 0, b"\x82\x87\x04\x02/a"),
        7 => frame(9, 0, &filler),
        8 => frame(0, 0, &filler),
        // The start of a frame that is longer than anything that follows.
        9 => [&b"\0\xff\xff\0\0\0\0\0\x01"[..], &filler].concat(),
        10 => (0..bytes / 20)
            .flat_map(|_| frame(1, 0x5, b"\x82\x87\x04\x02/a"))
            .collect(),
        _ => filler,
    }
}
