//! `[limits]`: bounds on what is kept in memory, and on what the agent may take of its host.
//!
//! In: the section's keys. Out: a [`LimitsConfig`], or its mistakes. Deliberately absent: what happens at a limit (docs/limits.md).

use serde::{Deserialize, Deserializer};

use super::ConfigError;
use crate::http::h1::head;

/// `[limits]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Connections followed at once; the least recently used one gives way.
    pub connections: usize,
    /// Bytes kept of one body.
    pub body_bytes: usize,
    /// Bytes that are decoded, at most, of a compressed request body to look for what to hide; 0: it is withheld unseen.
    pub decoded_bytes: usize,
    /// Batches of records that may wait for the worker; more are dropped and counted.
    pub capture_batches: usize,
    /// How long an exchange waits for its upstream leg, milliseconds.
    pub join_grace_ms: u64,
    /// How long a connection may be silent before it is forgotten, seconds.
    pub idle_seconds: u64,
    /// Bytes that one connection may hold in unfinished exchanges.
    pub connection_bytes: usize,
    /// Longest head, bytes.
    pub message_head_bytes: usize,
    /// Most header fields of one head, at most 256.
    pub header_fields: usize,
    /// Most requests of one HTTP/1 connection that wait for their responses.
    pub pipelined_requests: usize,
    /// Most streams of one HTTP/2 connection that are followed at once.
    pub http2_streams: usize,
    /// Most bytes of each HPACK table.
    pub hpack_table_bytes: usize,
    /// How long a record waits for one that should have come before it, milliseconds.
    pub reorder_ms: u64,
    /// Most records of one connection that wait so.
    pub reorder_records: usize,
    /// Most bytes of one connection that wait so.
    pub reorder_bytes: usize,
    /// Upstream legs held for their client's exchange.
    pub held_upstream_legs: usize,
    /// Exchanges that may wait for their upstream leg.
    pub waiting_exchanges: usize,
    /// Cores that the agent may use before it sheds.
    pub cpu: Cores,
    /// Resident memory of the whole agent before it sheds, bytes.
    pub memory_bytes: u64,
    /// Bytes that all connections may hold together in unfinished exchanges.
    pub held_bytes: usize,
    /// Bytes of exchanges that may wait for their other leg.
    pub waiting_bytes: usize,
    /// Bytes of records that may wait for the worker.
    pub capture_bytes: usize,
}

/// A number of processor cores, to the thousandth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cores {
    thousandths: u32,
}

impl Cores {
    /// One.
    pub const ONE: Self = Self { thousandths: 1000 };
    /// More than any host that is known.
    const MOST: Self = Self {
        thousandths: 1024 * 1000,
    };

    /// As a number.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        f64::from(self.thousandths) / 1000.0
    }

    /// To the nearest thousandth; what is no number of cores becomes none, which the check refuses.
    fn of(cores: f64) -> Self {
        let bound = f64::from(Self::MOST.thousandths) + 1.0;
        let thousandths = (cores * 1000.0).clamp(0.0, bound);
        Self {
            thousandths: if thousandths.is_nan() {
                0
            } else {
                rounded(thousandths)
            },
        }
    }
}

/// `value` is not negative and far from the end of `u32`.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "there is no other way from a float, and this one saturates"
)]
fn rounded(value: f64) -> u32 {
    value.round() as u32
}

impl<'de> Deserialize<'de> for Cores {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        f64::deserialize(deserializer).map(Self::of)
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            connections: 65_536,
            body_bytes: 256 << 10,
            decoded_bytes: crate::message::redact::DECODED_BYTES,
            capture_batches: 1024,
            join_grace_ms: 500,
            idle_seconds: 600,
            connection_bytes: 16 << 20,
            message_head_bytes: 64 << 10,
            header_fields: 256,
            pipelined_requests: 256,
            http2_streams: 1024,
            hpack_table_bytes: 64 << 10,
            reorder_ms: 10,
            reorder_records: 64,
            reorder_bytes: 256 << 10,
            held_upstream_legs: 65_536,
            waiting_exchanges: 16_384,
            cpu: Cores::ONE,
            memory_bytes: 512 << 20,
            held_bytes: 128 << 20,
            waiting_bytes: 64 << 20,
            capture_bytes: 64 << 20,
        }
    }
}

/// What a container is given, its agent can be given too.
pub(super) fn apply_environment(limits: &mut LimitsConfig, set: &dyn Fn(&str) -> Option<String>) {
    if let Some(cores) = set("KONGTAP_CPU_LIMIT") {
        limits.cpu = Cores::of(cores.trim().parse().unwrap_or(f64::NAN));
    }
    if let Some(bytes) = set("KONGTAP_MEMORY_LIMIT") {
        limits.memory_bytes = bytes.trim().parse().unwrap_or(0);
    }
}

/// What the types cannot say.
pub(super) fn check(limits: &LimitsConfig) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    for (key, value) in [
        ("limits.connections", limits.connections),
        ("limits.capture_batches", limits.capture_batches),
        ("limits.pipelined_requests", limits.pipelined_requests),
        ("limits.http2_streams", limits.http2_streams),
        ("limits.held_upstream_legs", limits.held_upstream_legs),
        ("limits.waiting_exchanges", limits.waiting_exchanges),
    ] {
        if value == 0 {
            errors.push(ConfigError::new(key, "must be at least 1"));
        }
    }
    for (key, value) in [
        ("limits.held_bytes", limits.held_bytes),
        ("limits.waiting_bytes", limits.waiting_bytes),
        ("limits.capture_bytes", limits.capture_bytes),
    ] {
        if value < LEAST_HELD_BYTES {
            errors.push(ConfigError::new(key, "must be at least 1048576 (1 MiB)"));
        }
    }
    if limits.cpu.thousandths == 0 || limits.cpu > Cores::MOST {
        errors.push(ConfigError::new(
            "limits.cpu",
            "must be above 0 and at most 1024 (cores), such as 0.5",
        ));
    }
    if limits.memory_bytes < LEAST_MEMORY_BYTES {
        errors.push(ConfigError::new(
            "limits.memory_bytes",
            "must be at least 67108864 (64 MiB), which the agent takes without any traffic",
        ));
    }
    if limits.message_head_bytes < 1024 {
        errors.push(ConfigError::new(
            "limits.message_head_bytes",
            "must be at least 1024, such as 65536",
        ));
    }
    if !(1..=head::FIELDS).contains(&limits.header_fields) {
        errors.push(ConfigError::new(
            "limits.header_fields",
            "must be between 1 and 256",
        ));
    }
    errors
}

/// Least that is held of anything: a few exchanges with their bodies.
const LEAST_HELD_BYTES: usize = 1 << 20;
/// Ring, program, runtime and the gateway's configuration.
const LEAST_MEMORY_BYTES: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Cores, apply_environment, check, from_toml};

    fn complaints(text: &str) -> Vec<String> {
        let config = from_toml(Path::new("f"), &format!("[limits]\n{text}")).unwrap();
        check(&config).into_iter().map(|error| error.place).collect()
    }

    #[test]
    fn cores_are_a_number_above_nothing() {
        for (text, cores) in [("1", 1.0), ("0.05", 0.05), ("1024", 1024.0), ("0.0006", 0.001)] {
            let config = from_toml(Path::new("f"), &format!("[limits]\ncpu = {text}")).unwrap();
            assert!((config.limits.cpu.as_f64() - cores).abs() < 1e-9, "{text}");
            assert_eq!(complaints(&format!("cpu = {text}")), [""; 0], "{text}");
        }
        for text in ["0", "-1.0", "0.0001", "1024.5", "1e300", "inf", "nan"] {
            assert_eq!(complaints(&format!("cpu = {text}")), ["limits.cpu"], "{text}");
        }
        assert!(from_toml(Path::new("f"), "[limits]\ncpu = \"one\"").is_err());
        assert_eq!(Cores::ONE, Cores::of(1.0));
    }

    #[test]
    fn the_environment_wins_and_what_is_no_number_is_refused() {
        let places = |cpu: &str, memory: &str| -> Vec<String> {
            let mut config = from_toml(Path::new("f"), "[limits]\ncpu = 0.5").unwrap();
            apply_environment(&mut config, &|name| match name {
                "KONGTAP_CPU_LIMIT" => Some(cpu.to_owned()),
                "KONGTAP_MEMORY_LIMIT" => Some(memory.to_owned()),
                _ => None,
            });
            let mut places: Vec<String> = check(&config).into_iter().map(|error| error.place).collect();
            places.push(format!(
                "{} {}",
                config.limits.cpu.as_f64(),
                config.limits.memory_bytes
            ));
            places
        };
        assert_eq!(places("2", "104857600"), ["2 104857600"]);
        assert_eq!(places("", ""), ["0.5 536870912"]);
        assert_eq!(
            places("two", "100Mi"),
            ["limits.cpu", "limits.memory_bytes", "0 0"]
        );
    }

    #[test]
    fn what_is_held_has_a_least() {
        assert_eq!(complaints("memory_bytes = 67108864"), [""; 0]);
        assert_eq!(complaints("memory_bytes = 67108863"), ["limits.memory_bytes"]);
        assert_eq!(
            complaints("held_bytes = 0\nwaiting_bytes = 1\ncapture_bytes = 1048575"),
            [
                "limits.held_bytes",
                "limits.waiting_bytes",
                "limits.capture_bytes"
            ]
        );
    }
}
