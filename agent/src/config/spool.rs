//! `[ship.spool]`: messages are written ahead to disk, and taken back after a restart.

use std::path::PathBuf;

use serde::Deserialize;

use crate::config::ConfigError;

/// The smallest and the largest segment, bytes: one has to hold large messages, and giving up one must not cost too many.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 1 << 20..=1 << 30;

/// Segments that fit at least: one that grows, and one that gives way.
const LEAST_SEGMENTS: u64 = 4;

/// `[ship.spool]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct SpoolConfig {
    /// Its directory, for one agent alone; none: nothing is written.
    pub path: Option<PathBuf>,
    /// All of its files together; the oldest give way.
    pub bytes: u64,
    /// One file.
    pub segment_bytes: u64,
    /// After which a message that waits is given up, seconds.
    pub max_age_seconds: u64,
    /// How long what was written may be lost to a failure of the machine, milliseconds; 0: each write is synchronised.
    pub sync_ms: u64,
}

impl Default for SpoolConfig {
    fn default() -> Self {
        Self {
            path: None,
            bytes: 1 << 30,
            segment_bytes: 16 << 20,
            max_age_seconds: 86_400,
            sync_ms: 1_000,
        }
    }
}

/// What the types cannot say.
pub(super) fn check(spool: &SpoolConfig) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    let mut mistake =
        |key: &str, what: String| errors.push(ConfigError::new(format!("ship.spool.{key}"), what));
    if spool.path.as_ref().is_some_and(|path| !path.is_absolute()) {
        mistake(
            "path",
            "must be absolute, such as /var/lib/kongtap/spool".to_owned(),
        );
    }
    if !SEGMENT_BYTES.contains(&spool.segment_bytes) {
        let what = format!(
            "must be between {} and {}",
            SEGMENT_BYTES.start(),
            SEGMENT_BYTES.end()
        );
        mistake("segment_bytes", what);
    } else if spool.bytes < spool.segment_bytes.saturating_mul(LEAST_SEGMENTS) {
        let what = format!("must be at least {LEAST_SEGMENTS} times segment_bytes");
        mistake("bytes", what);
    }
    if spool.max_age_seconds == 0 {
        mistake("max_age_seconds", "must be at least 1".to_owned());
    }
    errors
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{check, from_toml};

    #[test]
    fn mistakes_are_said_with_their_place() {
        let check = |text: &str, expected: &[&str]| {
            let config = from_toml(Path::new("f"), &format!("[ship.spool]\n{text}")).unwrap();
            let errors = check(&config);
            let places: Vec<&str> = errors.iter().map(|error| &*error.place).collect();
            assert_eq!(places, expected, "{text}");
        };
        check("", &[]);
        check("path = \"/s\"", &[]);
        check("path = \"s\"", &["ship.spool.path"]);
        check("path = \"\"", &["ship.spool.path"]);
        check("segment_bytes = 1", &["ship.spool.segment_bytes"]);
        check("segment_bytes = 2000000000", &["ship.spool.segment_bytes"]);
        check("bytes = 67108863", &["ship.spool.bytes"]);
        check("bytes = 67108864", &[]);
        check(
            "max_age_seconds = 0\nsync_ms = 0",
            &["ship.spool.max_age_seconds"],
        );
    }
}
