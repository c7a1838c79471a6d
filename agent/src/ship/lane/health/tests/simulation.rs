//! Endpoints that serve so many at once, for so long each, with the rest waiting in a line: what the pace makes of them.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::clock;
use crate::ship::ShipLimits;
use crate::ship::lane::health::{Backlog, Begun, Ended, Health};

const MS: fn(u64) -> Duration = Duration::from_millis;

/// Most attempts at once: far more than any of the simulated endpoints is good for.
const MOST: usize = 128;

/// A first-come-first-served endpoint with a backlog that never ends.
struct Simulated {
    health: Health,
    start: Instant,
    now: Instant,
    rng: Rng,
    servers: usize,
    timeout: Duration,
    /// Attempts in the endpoint, by number: what they began as and when.
    open: BTreeMap<u64, (Begun, Instant)>,
    /// Those that wait for a server.
    line: VecDeque<u64>,
    /// When those that are served are done, and when those that nobody waits for any more time out.
    events: BTreeMap<(Instant, u64), Event>,
    busy: usize,
    count: u64,
}

#[derive(Clone, Copy)]
enum Event {
    Served,
    TimedOut,
}

/// What was seen over a time.
#[derive(Debug)]
struct Seen {
    per_second: f64,
    mean_in_flight: f64,
    most_in_flight: usize,
    failed: u64,
}

impl Simulated {
    fn new(servers: usize, seed: u64) -> Self {
        let limits = ShipLimits {
            in_flight: MOST,
            ..ShipLimits::default()
        };
        let now = clock::instant();
        Self {
            health: Health::new(&limits, Rng::with_seed(seed), now),
            start: now,
            now,
            rng: Rng::with_seed(seed),
            servers,
            timeout: MS(10_000),
            open: BTreeMap::new(),
            line: VecDeque::new(),
            events: BTreeMap::new(),
            busy: 0,
            count: 0,
        }
    }

    /// Lets time pass until `until` after the start; `service` gives the time that serving takes.
    fn run(&mut self, until: Duration, service: impl Fn(&mut Rng) -> Duration) -> Seen {
        let from = self.now;
        let end = self.start + until;
        let (mut served, mut failed, mut area, mut most) = (0_u32, 0, 0.0, 0);
        loop {
            while self.open.len() < self.health.allowed(self.now) {
                self.count += 1;
                let begun = self.health.started(Backlog::Some, self.now);
                self.open.insert(self.count, (begun, self.now));
                self.line.push_back(self.count);
                let timeout = (self.now + self.timeout, self.count);
                self.events.insert(timeout, Event::TimedOut);
            }
            while self.busy < self.servers
                && let Some(next) = self.line.pop_front()
            {
                self.busy += 1;
                let done = (self.now + service(&mut self.rng), next);
                self.events.insert(done, Event::Served);
            }
            most = most.max(self.open.len());
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            let change = self.health.next_change(self.now);
            let next = [event, change]
                .into_iter()
                .flatten()
                .min()
                .unwrap_or(end)
                .min(end);
            area += (next - self.now).as_secs_f64() * f64::from(u32::try_from(self.open.len()).unwrap());
            self.now = next;
            if next == end {
                let seconds = (end - from).as_secs_f64();
                return Seen {
                    per_second: f64::from(served) / seconds,
                    mean_in_flight: area / seconds,
                    most_in_flight: most,
                    failed,
                };
            }
            if Some(next) != event {
                continue;
            }
            let ((_, number), event) = self.events.pop_first().unwrap();
            match event {
                Event::Served => {
                    self.busy -= 1;
                    if let Some((begun, since)) = self.open.remove(&number) {
                        served += 1;
                        let took = self.now - since;
                        self.health.ended(begun, Ended::Answered { took }, self.now);
                    }
                }
                Event::TimedOut => {
                    if let Some((begun, _)) = self.open.remove(&number) {
                        failed += 1;
                        // The endpoint does not know, and serves it in vain.
                        self.health.ended(begun, Ended::Failed, self.now);
                    }
                }
            }
        }
    }
}

#[test]
fn an_endpoint_gets_what_it_keeps_up_with_and_no_more() {
    for servers in [1_u32, 2, 3, 4, 8, 16, 32] {
        for service in [20, 100, 1000] {
            let mut endpoint = Simulated::new(usize::try_from(servers).unwrap(), 1);
            let constant = |_: &mut Rng| MS(service);
            // Until it is found out, 60 round trips; then a while, with measuring anew twice.
            endpoint.run(MS(60 * service), constant);
            let seen = endpoint.run(MS(60 * service) + MS(70_000), constant);
            let best = f64::from(servers) * 1000.0 / f64::from(u32::try_from(service).unwrap());
            let case = format!("{servers} servers, {service} ms, best {best}: {seen:?}");

            assert!(seen.per_second >= 0.9 * best, "{case}");
            assert!(seen.mean_in_flight <= 2.0 * f64::from(servers), "{case}");
            assert!(
                seen.most_in_flight <= 2 * usize::try_from(servers).unwrap(),
                "{case}"
            );
            assert_eq!(seen.failed, 0, "{case}");
        }
    }
}

#[test]
fn one_whose_times_vary_is_not_taken_for_slow() {
    for seed in 1..=3 {
        for servers in [1_u32, 4, 16] {
            let mut endpoint = Simulated::new(usize::try_from(servers).unwrap(), seed);
            // Exponential with a mean of 50 ms, so that nothing can be told from a single answer.
            let varying = |rng: &mut Rng| MS(50).mul_f64(-(1.0 - rng.f64()).ln());
            endpoint.run(MS(5_000), varying);
            let seen = endpoint.run(MS(105_000), varying);
            let best = f64::from(servers) * 20.0;
            let case = format!("{servers} servers, best {best}: {seen:?}");

            assert!(seen.per_second >= 0.8 * best, "{case}");
            assert!(seen.mean_in_flight <= 3.0 * f64::from(servers) + 1.0, "{case}");
        }
    }
}

#[test]
fn one_that_becomes_a_hundred_times_slower_is_kept_busy_and_no_more() {
    let quick = |_: &mut Rng| MS(20);
    let slow = |_: &mut Rng| MS(2_000);
    let mut endpoint = Simulated::new(8, 1);
    endpoint.run(MS(5_000), quick);
    let turn = endpoint.run(MS(125_000), slow);
    assert_eq!(turn.failed, 0, "{turn:?}");
    assert!(turn.most_in_flight <= 16, "{turn:?}");
    let slowed = endpoint.run(MS(245_000), slow);
    assert!(
        slowed.per_second >= 0.8 * 4.0 && slowed.most_in_flight <= 16,
        "{slowed:?}"
    );
    endpoint.run(MS(255_000), quick);
    let back = endpoint.run(MS(275_000), quick);
    assert!(back.per_second >= 0.9 * 400.0, "{back:?}");
    assert!(back.most_in_flight <= 16, "{back:?}");
}

#[test]
fn one_that_is_slower_than_the_timeout_is_left_alone_and_found_again() {
    let quick = |_: &mut Rng| MS(20);
    let mut endpoint = Simulated::new(8, 1);
    endpoint.timeout = MS(500);
    endpoint.run(MS(5_000), quick);
    let slow = endpoint.run(MS(65_000), |_| MS(2_000));
    // Those in flight when it began, and one now and then.
    assert!(slow.failed >= 5 && slow.failed <= 12 + 12, "{slow:?}");
    assert!(slow.mean_in_flight < 1.0, "{slow:?}");
    // It has been open for at most a minute.
    endpoint.run(MS(125_000), quick);
    let back = endpoint.run(MS(135_000), quick);
    assert!(back.per_second >= 0.9 * 400.0 && back.failed == 0, "{back:?}");
}

#[test]
fn one_that_is_sent_little_is_not_judged_by_it() {
    let limits = ShipLimits::default();
    let now = clock::instant();
    let mut health = Health::new(&limits, Rng::with_seed(1), now);
    for _ in 0..1000 {
        let begun = health.started(Backlog::None, now);
        health.ended(begun, Ended::Answered { took: MS(1) }, now);
    }
    assert_eq!(health.allowed(now), 1);
}
