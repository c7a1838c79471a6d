//! What each expression makes of one request.
//!
//! An expression is taken apart at its outermost `&&`; each part is a criterion, named by the fields that it looks at.

use std::collections::BTreeSet;

use atc_router::ast::{Expression, LogicalExpression};
use atc_router::context::Match;

use super::{Engine, Matcher, evaluate, fields};
use crate::gateway::router::considered::{Considered, Criterion, Fit};
use crate::gateway::router::request::Prepared;

/// The priority's parts, from the highest bits on: name, shift, width [K@3.9 kong/router/transform.lua].
const PARTS: [(&str, u32, u32); 6] = [
    ("kinds of attributes", 61, 3),
    ("plain hosts only", 60, 1),
    ("headers", 52, 8),
    ("regular expression", 51, 1),
    ("regex_priority", 19, 32),
    ("length of the prefix", 0, 19),
];
/// Expressions outrank everything else.
const EXPRESSION: u64 = 0xFF;

impl Engine {
    pub(in crate::gateway::router) fn explain(&self, request: &Prepared<'_>) -> Vec<Considered<'_>> {
        // A value that is not UTF-8 makes the gateway's router fail before it looks at any route.
        let Some(mut facts) = self.fields.values(&self.schema, request, self.era) else {
            return Vec::new();
        };
        let matchers = self.matchers.iter();
        matchers.map(|matcher| considered(matcher, &mut facts)).collect()
    }
}

fn considered<'a>(matcher: &'a Matcher, facts: &mut fields::Facts<'_>) -> Considered<'a> {
    let mut criteria = Vec::new();
    match &matcher.expression {
        None => criteria.push((Criterion::Expression, Fit::Perhaps)),
        Some(expression) => {
            let mut parts = Vec::new();
            conjuncts(expression, &mut parts);
            for part in parts {
                let mut looked_at = BTreeSet::new();
                fields_of(part, &mut looked_at);
                let verdict = evaluate::verdict(part, facts, &mut Match::new());
                criteria.push((criterion(&looked_at), Fit::from(verdict)));
            }
        }
    }
    Considered {
        route: &matcher.route,
        criteria,
        standing: standing(matcher.priority),
    }
}

fn standing(priority: u64) -> Vec<(&'static str, i64)> {
    let number = |bits: u64| i64::try_from(bits).unwrap_or(i64::MAX);
    if priority >> 56 == EXPRESSION {
        return vec![
            ("an expression of its own", 1),
            ("priority", number(priority & !(EXPRESSION << 56))),
        ];
    }
    let part = |(name, shift, width): &(&'static str, u32, u32)| {
        let mask = 1_u64.checked_shl(*width).unwrap_or(0).wrapping_sub(1);
        (*name, number((priority >> shift) & mask))
    };
    let mut all = vec![("an expression of its own", 0)];
    all.extend(PARTS.iter().map(part));
    all
}

fn conjuncts<'a>(expression: &'a Expression, parts: &mut Vec<&'a Expression>) {
    if let Expression::Logical(logical) = expression
        && let LogicalExpression::And(one, other) = logical.as_ref()
    {
        conjuncts(one, parts);
        conjuncts(other, parts);
    } else {
        parts.push(expression);
    }
}

fn fields_of<'a>(expression: &'a Expression, found: &mut BTreeSet<&'a str>) {
    match expression {
        Expression::Predicate(predicate) => {
            found.insert(&predicate.lhs.var_name);
        }
        Expression::Logical(logical) => match logical.as_ref() {
            LogicalExpression::And(one, other) | LogicalExpression::Or(one, other) => {
                fields_of(one, found);
                fields_of(other, found);
            }
            LogicalExpression::Not(inner) => fields_of(inner, found),
        },
    }
}

fn criterion(fields: &BTreeSet<&str>) -> Criterion {
    let of = |field: &str| match field {
        "net.protocol" => Criterion::Protocols,
        "tls.sni" => Criterion::Snis,
        "http.method" => Criterion::Methods,
        "http.host" => Criterion::Hosts,
        "net.src.ip" | "net.src.port" => Criterion::Sources,
        "net.dst.ip" | "net.dst.port" => Criterion::Destinations,
        field if field.starts_with("http.path") => Criterion::Paths,
        field if field.starts_with("http.headers.") => Criterion::Headers,
        field if field.starts_with("http.queries.") => Criterion::Queries,
        _ => Criterion::Expression,
    };
    let mut kinds: Vec<Criterion> = fields.iter().map(|field| of(field)).collect();
    kinds.dedup();
    match kinds.as_slice() {
        [one] => *one,
        // A host with a port; server names, which only TLS requests are asked for.
        [Criterion::Hosts, Criterion::Destinations] => Criterion::Hosts,
        [Criterion::Protocols, Criterion::Snis] => Criterion::Snis,
        _ => Criterion::Expression,
    }
}
