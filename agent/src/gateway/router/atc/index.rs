//! Which expressions may hold for a request, so that a match looks at few.
//!
//! In: expressions. Out: the numbers of those that may hold, in order. What an expression certainly needs is read off its own
//! tree: an exact host, or the beginning of a path. An expression that shows neither is always a candidate.

use std::collections::HashMap;

use atc_router::ast::{BinaryOperator, Expression, LogicalExpression, Value};

use super::fields::Facts;

/// Numbers of matchers.
#[derive(Debug, Default)]
pub(super) struct Index {
    by_host: HashMap<String, PathIndex>,
    any_host: PathIndex,
}

#[derive(Debug, Default)]
struct PathIndex {
    /// The lengths of `by_prefix`'s keys.
    lengths: Vec<usize>,
    by_prefix: HashMap<String, Vec<usize>>,
    others: Vec<usize>,
}

impl Index {
    pub(super) fn add(&mut self, number: usize, expression: Option<&Expression>) {
        let prefixes = expression.and_then(|it| needed(it, "http.path", &is_beginning));
        match expression.and_then(|it| needed(it, "http.host", &is_equality)) {
            None => self.any_host.add(number, prefixes),
            Some(hosts) => {
                for host in hosts {
                    let of_host = self.by_host.entry(host.to_owned()).or_default();
                    of_host.add(number, prefixes.clone());
                }
            }
        }
    }

    pub(super) fn candidates(&self, facts: &Facts<'_>) -> Vec<usize> {
        let mut numbers = Vec::new();
        if let Some(of_host) = facts.host.as_ref().and_then(|host| self.by_host.get(host)) {
            of_host.candidates(&facts.path, &mut numbers);
        }
        self.any_host.candidates(&facts.path, &mut numbers);
        numbers.sort_unstable();
        numbers
    }
}

impl PathIndex {
    fn add(&mut self, number: usize, prefixes: Option<Vec<&str>>) {
        let Some(prefixes) = prefixes else {
            self.others.push(number);
            return;
        };
        for prefix in prefixes {
            if !self.lengths.contains(&prefix.len()) {
                self.lengths.push(prefix.len());
            }
            self.by_prefix.entry(prefix.to_owned()).or_default().push(number);
        }
    }

    fn candidates(&self, path: &str, numbers: &mut Vec<usize>) {
        let prefixes = self.lengths.iter().filter_map(|length| path.get(..*length));
        for of_prefix in prefixes.filter_map(|prefix| self.by_prefix.get(prefix)) {
            numbers.extend(of_prefix);
        }
        numbers.extend(&self.others);
    }
}

fn is_equality(operator: &BinaryOperator) -> bool {
    matches!(operator, BinaryOperator::Equals)
}

/// What equals a text begins with it, too.
fn is_beginning(operator: &BinaryOperator) -> bool {
    matches!(operator, BinaryOperator::Equals | BinaryOperator::Prefix)
}

/// Texts of which one must stand in `field`, each once, if the expression holds; `None` when it does not say so.
fn needed<'a>(
    expression: &'a Expression,
    field: &str,
    fits: &impl Fn(&BinaryOperator) -> bool,
) -> Option<Vec<&'a str>> {
    match expression {
        Expression::Predicate(predicate) => {
            let is_plain = predicate.lhs.var_name == field && predicate.lhs.transformations.is_empty();
            match &predicate.rhs {
                Value::String(text) if is_plain && fits(&predicate.op) => Some(vec![text]),
                Value::String(_) | Value::IpCidr(_) | Value::IpAddr(_) | Value::Int(_) | Value::Regex(_) => {
                    None
                }
            }
        }
        Expression::Logical(logical) => match logical.as_ref() {
            LogicalExpression::And(one, other) => {
                needed(one, field, fits).or_else(|| needed(other, field, fits))
            }
            LogicalExpression::Or(one, other) => {
                let mut all = needed(one, field, fits)?;
                all.extend(needed(other, field, fits)?);
                all.sort_unstable();
                all.dedup();
                Some(all)
            }
            LogicalExpression::Not(_) => None,
        },
    }
}
