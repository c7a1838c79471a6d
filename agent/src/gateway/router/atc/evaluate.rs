//! Whether an expression holds, where some facts are not known.
//!
//! In: an expression and a request's facts. Out: a verdict. The engine decides each comparison; joining them is done here,
//! because a comparison of what is not known is neither true nor false. Without such a field this is what the engine does
//! with the whole (`tests.rs` compares them).

use atc_router::ast::{Expression, LogicalExpression, Value};
use atc_router::context::Match;
use atc_router::interpreter::Execute as _;

use super::fields::Facts;
use crate::gateway::router::terms::Verdict;
use crate::gateway::router::upstream::PathMatch;

pub(super) fn verdict(expression: &Expression, facts: &mut Facts<'_>, found: &mut Match) -> Verdict {
    match expression {
        Expression::Logical(logical) => match logical.as_ref() {
            LogicalExpression::And(one, other) => {
                verdict(one, facts, found).and(|| verdict(other, facts, found))
            }
            LogicalExpression::Or(one, other) => {
                verdict(one, facts, found).or(|| verdict(other, facts, found))
            }
            LogicalExpression::Not(inner) => verdict(inner, facts, found).not(),
        },
        Expression::Predicate(predicate) if facts.is_unknown(&predicate.lhs.var_name) => Verdict::Perhaps,
        Expression::Predicate(predicate) => Verdict::from(predicate.execute(&mut facts.context, found)),
    }
}

/// What of the path the engine says that it matched. Kong takes as many bytes off the beginning, wherever they stood.
pub(super) fn path_match(found: &Match) -> PathMatch {
    match found.matches.get("http.path") {
        Some(Value::String(text)) => PathMatch::Text(text.clone().into_bytes()),
        Some(Value::IpCidr(_) | Value::IpAddr(_) | Value::Int(_) | Value::Regex(_)) | None => PathMatch::None,
    }
}
