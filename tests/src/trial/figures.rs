//! How the gateway did in a window, and whether a fault made a difference to it.

use std::fmt;
use std::time::Duration;

use anyhow::ensure;

/// A faulty window's latency may be so many times that of a well one,
const TIMES: u32 = 2;
/// and so much more: a machine that others use is not more exact than this.
const SLACK: Duration = Duration::from_millis(2);
/// The least part of a well window's exchanges that a faulty one must have, as a fraction.
const LEAST: (usize, usize) = (1, 3);

/// One window's figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// The middle one of the exchanges' times.
    pub median: Duration,
    /// Exchanges.
    pub exchanges: usize,
    /// How long the window was.
    pub window: Duration,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} exchanges in {} ms, median {} us",
            self.exchanges,
            self.window.as_millis(),
            self.median.as_micros()
        )
    }
}

impl Figures {
    /// Of exchanges that took so long, in a window.
    pub fn of(mut took: Vec<Duration>, window: Duration) -> Option<Self> {
        took.sort_unstable();
        Some(Self {
            median: *took.get(took.len() / 2)?,
            exchanges: took.len(),
            window,
        })
    }
}

/// Requires that the gateway did as well in faulty windows as in well ones. Others on the machine can only make a window worse,
/// so the best window of each kind is compared: a slower gateway is slower in all of its windows.
///
/// # Errors
/// When it did not.
pub fn compare(well: &[Figures], faulty: &[Figures]) -> anyhow::Result<()> {
    let median = |windows: &[Figures]| {
        windows
            .iter()
            .map(|window| window.median)
            .min()
            .unwrap_or_default()
    };
    let exchanges = |windows: &[Figures]| windows.iter().map(|window| window.exchanges).max().unwrap_or(0);
    let most = median(well).saturating_mul(TIMES).saturating_add(SLACK);
    ensure!(
        median(faulty) <= most,
        "the gateway became slower: median {:?} beside {:?}",
        median(faulty),
        median(well)
    );
    ensure!(
        exchanges(faulty).saturating_mul(LEAST.1) >= exchanges(well).saturating_mul(LEAST.0),
        "the gateway did less: {} exchanges beside {}",
        exchanges(faulty),
        exchanges(well)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Figures, compare};

    fn window(median_ms: u64, exchanges: usize) -> Figures {
        Figures {
            median: Duration::from_millis(median_ms),
            exchanges,
            window: Duration::from_millis(400),
        }
    }

    #[test]
    fn a_window_that_others_disturbed_is_no_difference_and_a_slower_gateway_is() {
        let well = [window(1, 400), window(9, 50)];
        compare(&well, &[window(30, 20), window(2, 300)]).unwrap();
        let slower = compare(&well, &[window(30, 400), window(6, 400)]).unwrap_err();
        assert!(slower.to_string().contains("slower"), "{slower}");
        let less = compare(&well, &[window(1, 100), window(1, 133)]).unwrap_err();
        assert!(less.to_string().contains("less"), "{less}");
    }

    #[test]
    fn the_median_is_the_middle_one() {
        let took = [5, 1, 3].map(Duration::from_millis).to_vec();
        let figures = Figures::of(took, Duration::from_secs(1)).unwrap();
        assert_eq!(figures.median, Duration::from_millis(3));
        assert!(Figures::of(vec![], Duration::from_secs(1)).is_none());
    }
}
