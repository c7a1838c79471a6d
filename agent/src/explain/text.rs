//! An explanation for people: the answer first, the trace behind it.

use std::fmt;

use super::{Explanation, Named, UpstreamAnswer};
use crate::gateway::snapshot::KnownBy;
use crate::plugin::trace::Found;

/// The most sentences about what is not evaluated; each is about a route or another entity of its own.
const MAX_WARNINGS: usize = 20;

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.request.method, self.request.url)?;
        writeln!(f)?;
        writeln!(f, "  route          {}", self.route_line())?;
        writeln!(
            f,
            "  service        {}",
            self.service.as_ref().map_or_else(|| "none".to_owned(), title)
        )?;
        if let Some(upstream) = &self.upstream {
            writeln!(f, "  passed on as   {}", upstream_line(upstream))?;
        }
        writeln!(f, "  consumer       {}", self.consumer_line())?;
        writeln!(f, "  configuration  {}", self.configuration_line())?;
        if let Some(refusal) = &self.route.refusal {
            writeln!(f, "  the gateway answers by itself: {refusal}")?;
        }
        self.routes(f)?;
        self.consumers(f)?;
        self.scopes(f)?;
        self.sources(f)?;
        self.warnings(f)
    }
}

impl Explanation {
    fn route_line(&self) -> String {
        match (&self.route.route, self.route.why) {
            (Some(route), _) => title(route),
            (None, Some(why)) => format!("unknown: {why}"),
            (None, None) => "none: the gateway answers 404".to_owned(),
        }
    }

    fn consumer_line(&self) -> String {
        match &self.consumer.consumer {
            Some(consumer) => {
                let by = match self.consumer.by {
                    Some(KnownBy::UpstreamHeaders) => "upstream_headers",
                    Some(KnownBy::Credentials) => "credentials",
                    Some(KnownBy::TokenUnverified) => "token_unverified",
                    Some(KnownBy::Anonymous) => "anonymous",
                    None => "",
                };
                format!("{}, by {by}", title(consumer))
            }
            None => self.consumer.answer.to_owned(),
        }
    }

    fn configuration_line(&self) -> String {
        let configuration = &self.configuration;
        match (&configuration.origin, &configuration.endpoint) {
            (Some(origin), Some(endpoint)) => {
                let bodies = if configuration.log_body == Some(true) {
                    "with bodies"
                } else {
                    "without bodies"
                };
                format!("{origin}, to {endpoint}, {bodies}")
            }
            _ => match configuration.answer {
                "route_unknown" => "unknown: it depends on the route; the exchange is not shipped".to_owned(),
                "consumer_unknown" => {
                    "unknown: it depends on the consumer; the exchange is not shipped".to_owned()
                }
                _ => "none: the exchange is not shipped".to_owned(),
            },
        }
    }

    fn routes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\nRoutes, in the order in which the {} router looks:",
            self.route.router
        )?;
        if self.route.considered.is_empty() {
            writeln!(f, "  there are none")?;
        }
        for candidate in &self.route.considered {
            let mark = if candidate.verdict == "taken" { "*" } else { " " };
            writeln!(
                f,
                "{mark} {:>3}  {}  [{}]\n        {}: {}",
                candidate.place, candidate.route, candidate.asks, candidate.verdict, candidate.why
            )?;
        }
        if self.route.others > 0 {
            writeln!(f, "        and {} more, which are further off", self.route.others)?;
        }
        Ok(())
    }

    fn consumers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nConsumer: {}", self.consumer.why)?;
        for step in &self.consumer.plugins {
            writeln!(f, "    {}: {}", step.plugin, step.finding)?;
        }
        Ok(())
    }

    fn scopes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nConfigurations, the strongest scope first:")?;
        for trace in &self.configuration.scopes {
            let (mark, text) = match &trace.found {
                Found::Nothing => (" ", "-".to_owned()),
                Found::NotApplicable => (" ", "- (the exchange has none of that)".to_owned()),
                Found::Unknown => (
                    " ",
                    "there are some, and it is not known whether they apply".to_owned(),
                ),
                Found::Disabled { origin } => (" ", format!("{origin} (disabled)")),
                Found::Weaker { origin } => (" ", format!("{origin} (a stronger one applies)")),
                Found::InForce { origin } => ("*", origin.clone()),
            };
            writeln!(f, "{mark} {:<27} {text}", trace.scope)?;
        }
        for inactive in &self.configuration.inactive {
            writeln!(f, "  inactive: {inactive}")?;
        }
        Ok(())
    }

    fn sources(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\nThey come from, of two with the same scope the first counting:"
        )?;
        for source in &self.configuration.sources {
            let count = match source.configurations {
                0 => "none".to_owned(),
                some => some.to_string(),
            };
            write!(f, "  {:<12} {count}", source.source)?;
            if !source.files.is_empty() {
                write!(f, " in {}", source.files.join(", "))?;
            }
            if let Some(note) = &source.note {
                write!(f, " ({note})")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }

    fn warnings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.warnings.is_empty() {
            return Ok(());
        }
        writeln!(f, "\nOf the gateway's configuration is not evaluated:")?;
        for warning in self.warnings.iter().take(MAX_WARNINGS) {
            writeln!(f, "  {warning}")?;
        }
        let others = self.warnings.len().saturating_sub(MAX_WARNINGS);
        if others > 0 {
            writeln!(f, "  and {others} more (--json has all)")?;
        }
        Ok(())
    }
}

fn upstream_line(upstream: &UpstreamAnswer) -> String {
    let mut line = upstream.target.clone();
    for (name, value) in [("Host", &upstream.host), ("X-Forwarded-Prefix", &upstream.prefix)] {
        if let Some(value) = value {
            line.push_str(&format!(", {name}: {value}"));
        }
    }
    if !upstream.captures.is_empty() {
        let captures = upstream.captures.iter();
        let captures: Vec<_> = captures.map(|(name, text)| format!("{name}={text}")).collect();
        line.push_str(&format!(" (captures {})", captures.join(", ")));
    }
    line
}

fn title(named: &Named) -> String {
    match &named.name {
        Some(name) => format!("{name} ({})", named.id),
        None => named.id.clone(),
    }
}
