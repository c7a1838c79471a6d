//! `[ship]`: how messages are delivered.

use serde::Deserialize;

use crate::config::{ConfigError, SpoolConfig, spool};
use crate::plugin::transport::ProxyChoice;

/// `[ship]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct ShipConfig {
    /// Messages that may be queued or in flight.
    pub queue_messages: usize,
    /// Their bytes.
    pub queue_bytes: usize,
    /// Most posts in flight to one destination; how many there are is what the endpoint keeps up with.
    pub in_flight: usize,
    /// How long a stop waits for the queue to drain, milliseconds.
    pub drain_timeout_ms: u64,
    /// Most messages in one post; more than one only where the endpoint answers in list form.
    pub batch: usize,
    /// Most bytes of one such post.
    pub batch_bytes: usize,
    /// The proxy of destinations that name none; absent: as the environment says.
    pub proxy: Option<ProxyChoice>,
    /// What gives way when the queue is full.
    pub shed: ShedConfig,
    /// When what failed is sent again.
    pub retry: RetryConfig,
    /// When an endpoint that fails is left alone.
    pub breaker: BreakerConfig,
    /// What is kept on disk.
    pub spool: SpoolConfig,
}

/// `[ship.shed]`
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct ShedConfig {
    /// Whether bodies are left out before messages are dropped.
    pub bodies: bool,
    /// Whether messages of successes are dropped before those of errors.
    pub errors_last: bool,
    /// Which of them.
    pub drop: DropFirst,
}

/// `ship.shed.drop`
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum DropFirst {
    /// Those that came last.
    #[default]
    Newest,
    /// Those that wait longest.
    Oldest,
}

/// `[ship.retry]`
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct RetryConfig {
    /// From when a message was queued to its last attempt, seconds; 0: it is never sent again.
    pub max_age_seconds: u64,
    /// How long the first repeat waits, about, milliseconds; each further one about twice as long.
    pub first_ms: u64,
    /// How long a repeat waits at most, milliseconds.
    pub most_ms: u64,
}

/// `[ship.breaker]`
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerConfig {
    /// Failures in a row after which an endpoint is left alone.
    pub failures: u32,
    /// For how long at first, milliseconds; each further time about twice as long.
    pub open_ms: u64,
    /// For how long at most, milliseconds.
    pub most_ms: u64,
}

impl Default for ShipConfig {
    fn default() -> Self {
        Self {
            queue_messages: 10_000,
            queue_bytes: 64 << 20,
            in_flight: 32,
            drain_timeout_ms: 5_000,
            batch: 1,
            batch_bytes: 1 << 20,
            proxy: None,
            shed: ShedConfig::default(),
            retry: RetryConfig::default(),
            breaker: BreakerConfig::default(),
            spool: SpoolConfig::default(),
        }
    }
}

impl Default for ShedConfig {
    fn default() -> Self {
        Self {
            bodies: true,
            errors_last: true,
            drop: DropFirst::Newest,
        }
    }
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            max_age_seconds: 300,
            first_ms: 500,
            most_ms: 30_000,
        }
    }
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failures: 5,
            open_ms: 1_000,
            most_ms: 60_000,
        }
    }
}

/// The most messages of one post: what `kongtap-inspector` takes.
const MOST_BATCH: usize = 1000;

/// What the types cannot say.
pub(super) fn check(ship: &ShipConfig) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    let at_least_one = [
        ("queue_messages", ship.queue_messages),
        ("queue_bytes", ship.queue_bytes),
        ("in_flight", ship.in_flight),
        ("batch", ship.batch),
        ("batch_bytes", ship.batch_bytes),
        (
            "breaker.failures",
            usize::try_from(ship.breaker.failures).unwrap_or(1),
        ),
    ];
    for (key, value) in at_least_one {
        if value == 0 {
            errors.push(ConfigError::new(format!("ship.{key}"), "must be at least 1"));
        }
    }
    if ship.batch > MOST_BATCH {
        errors.push(ConfigError::new("ship.batch", "must be at most 1000"));
    }
    for (section, least, least_ms, most_ms) in [
        ("retry", "first_ms", ship.retry.first_ms, ship.retry.most_ms),
        ("breaker", "open_ms", ship.breaker.open_ms, ship.breaker.most_ms),
    ] {
        if least_ms == 0 {
            let place = format!("ship.{section}.{least}");
            errors.push(ConfigError::new(place, "must be at least 1 (milliseconds)"));
        } else if most_ms < least_ms {
            let place = format!("ship.{section}.most_ms");
            errors.push(ConfigError::new(place, format!("must not be less than {least}")));
        }
    }
    errors.extend(spool::check(&ship.spool));
    errors
}
