//! What is made of the windows: paired differences against the base around them, and their median and quartiles.
//!
//! In: values in the order in which they were measured. Out: a [`Spread`] for each question. Absent: measuring, printing.

/// A median with its quartiles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The middle.
    pub median: f64,
    /// Lower quartile.
    pub low: f64,
    /// Upper quartile.
    pub high: f64,
}

/// The spread of some values; `None` of none.
#[must_use]
pub fn spread(values: &[f64]) -> Option<Spread> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some(Spread {
        median: quantile(&sorted, 2)?,
        low: quantile(&sorted, 1)?,
        high: quantile(&sorted, 3)?,
    })
}

/// The value at so many quarters of a sorted list, between two neighbours where it falls there.
fn quantile(sorted: &[f64], quarters: usize) -> Option<f64> {
    let scaled = sorted.len().checked_sub(1)?.saturating_mul(quarters);
    let (below, rest) = (scaled / 4, scaled % 4);
    let low = sorted.get(below)?;
    let high = sorted.get(below.saturating_add(1)).unwrap_or(low);
    Some(low + (high - low) * number(rest) / 4.0)
}

/// One measured value of a series: of the base, or of a case by its index.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Taken {
    /// `None`: the base, nobody beside the gateway.
    pub case: Option<usize>,
    /// The value.
    pub value: f64,
}

/// How far each value of `case` lies above the base, which is the mean of the base's nearest values before and after it:
/// so a base that drifts takes nothing from the difference.
#[must_use]
pub fn above_base(taken: &[Taken], case: usize) -> Vec<f64> {
    let is_base = |one: &&Taken| one.case.is_none();
    let mut above = Vec::new();
    for (index, one) in taken.iter().enumerate() {
        if one.case != Some(case) {
            continue;
        }
        let (before, after) = taken.split_at(index);
        let around = [before.iter().rev().find(is_base), after.iter().find(is_base)];
        let bases: Vec<f64> = around.into_iter().flatten().map(|base| base.value).collect();
        if !bases.is_empty() {
            above.push(one.value - bases.iter().sum::<f64>() / number(bases.len()));
        }
    }
    above
}

/// Differences of two lists that were measured alternately, element by element.
#[must_use]
pub fn differences(of: &[f64], from: &[f64]) -> Vec<f64> {
    of.iter().zip(from).map(|(one, other)| one - other).collect()
}

/// A count as a number to divide with. Counts of a bench are far below 2^32.
#[must_use]
pub fn number(count: impl TryInto<u32>) -> f64 {
    f64::from(count.try_into().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::{Spread, Taken, above_base, differences, spread};

    #[test]
    fn quartiles_lie_between_neighbours() {
        let check = |values: &[f64], low, median, high| {
            assert_eq!(spread(values), Some(Spread { median, low, high }), "{values:?}");
        };
        check(&[5.0], 5.0, 5.0, 5.0);
        check(&[4.0, 2.0], 2.5, 3.0, 3.5);
        check(&[50.0, 10.0, 30.0, 20.0, 40.0], 20.0, 30.0, 40.0);
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn a_drift_of_the_base_is_taken_out() {
        let base = |value| Taken { case: None, value };
        let case = |case, value| Taken {
            case: Some(case),
            value,
        };
        let taken = [
            base(20.0),
            case(0, 23.0),
            base(22.0),
            case(1, 33.0),
            base(24.0),
            case(0, 27.0),
        ];
        // The last value has a base on one side only.
        assert_eq!(above_base(&taken, 0), [2.0, 3.0]);
        assert_eq!(above_base(&taken, 1), [10.0]);
        assert!(above_base(&taken, 2).is_empty());
        assert!(above_base(&[case(0, 1.0)], 0).is_empty());
    }

    #[test]
    fn differences_are_paired() {
        assert_eq!(differences(&[3.0, 5.0], &[1.0, 1.0]), [2.0, 4.0]);
    }
}
