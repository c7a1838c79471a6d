//! The time namespace that this process is in: how far its monotonic clock is from the kernel's.
//!
//! In: `/proc/self/timens_offsets` (time_namespaces(7)). Out: nanoseconds. A kernel without time namespaces has no such file, and
//! shows everybody its own clock.

use std::fs;

/// What this process's monotonic clock is ahead of the kernel's, nanoseconds.
pub(crate) fn monotonic_offset_ns() -> i64 {
    let text = fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
    offset_ns(&text).unwrap_or(0)
}

/// `monotonic  SECONDS  NANOSECONDS`, a line for each clock.
fn offset_ns(text: &str) -> Option<i64> {
    text.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("monotonic") {
            return None;
        }
        let seconds: i64 = words.next()?.parse().ok()?;
        let nanos: i64 = words.next()?.parse().ok()?;
        seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
    })
}

#[cfg(test)]
mod tests {
    use super::offset_ns;

    #[test]
    fn the_monotonic_line_counts() {
        let check = |text: &str, expected| assert_eq!(offset_ns(text), expected, "{text:?}");
        check(
            "monotonic           0         0\nboottime            0         0\n",
            Some(0),
        );
        check(
            "monotonic         100         5\nboottime           -5         0\n",
            Some(100_000_000_005),
        );
        check(
            "boottime            7         0\nmonotonic          -1         1\n",
            Some(-999_999_999),
        );
        check("monotonic 9223372036854775807 0\n", None);
        check("monotonic x 0\n", None);
        check("", None);
    }
}
