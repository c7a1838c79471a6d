//! Why an exchange would be shipped where it would be: `kongtap explain`.
//!
//! In: a request as somebody describes it ([`ask::Ask`]), one reading of the configuration ([`Bound`]) and what it was read from
//! ([`Account`]). Out: an [`Explanation`]: the answer that the pipeline would give, and the trace to it. The answer is made by the pipeline's own functions, for the
//! exchange that the gateway would make of the request; the trace comes from the router's, the consumers' and the
//! configurations' own accounts. Sans-IO.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cli::exit::Exit;
use crate::correlate::JoinedExchange;
use crate::gateway::consumer::chain::{Judgement, Outcome};
use crate::gateway::credentials::authenticator::Finding;
use crate::gateway::entities::{Consumer, Route};
use crate::gateway::router::{Found, Refusal, RouterFlavor};
use crate::gateway::snapshot::{ConsumerMatch, KnownBy, Resolution, RouteMatch, UnknownRoute};
use crate::pipeline::Bound;
use crate::plugin::Decision;
use crate::plugin::trace::ScopeTrace;

pub mod account;
pub mod ask;
pub mod candidates;
mod text;

#[cfg(test)]
mod tests;

use self::account::{Account, SourceAnswer};
use self::ask::Ask;
use self::candidates::Candidate;

/// The whole decision. Its JSON form is documented in docs/explain.md.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// What was asked.
    pub request: Asked,
    /// The route.
    pub route: RouteAnswer,
    /// The route's service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Named>,
    /// What the Service gets, where the request is passed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<UpstreamAnswer>,
    /// The consumer.
    pub consumer: ConsumerAnswer,
    /// The `runscope` configuration.
    pub configuration: ConfigurationAnswer,
    /// What of the gateway's configuration is not evaluated: routes by name.
    pub warnings: Vec<String>,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// Scheme, host and target.
    pub url: String,
}

/// An entity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Named {
    /// Its id; derived where the configuration gives none.
    pub id: String,
    /// Its name (a consumer's user name).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Which route, and which others there were.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteAnswer {
    /// `matched`, `none` or `unknown`.
    pub answer: &'static str,
    /// Why it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'static str>,
    /// The route.
    #[serde(flatten)]
    pub route: Option<Named>,
    /// What the gateway answers instead of passing it on: a scheme that the route does not serve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// `traditional`, `traditional_compatible` or `expressions`.
    pub router: &'static str,
    /// The routes that came nearest, in the order in which the gateway looks.
    pub considered: Vec<Candidate>,
    /// How many others there are.
    pub others: usize,
}

/// What the Service gets of a request, as far as no plugin changes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UpstreamAnswer {
    /// The path, normalised, and the query as it was.
    pub target: String,
    /// `Host`; another where the Service's host is an Upstream of Kong's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// `X-Forwarded-Prefix`: what was taken off the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// What the groups of the route's regular expression took, by number and by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub captures: BTreeMap<String, String>,
}

/// Who, and how that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConsumerAnswer {
    /// `known`, `nobody` or `unknown`.
    pub answer: &'static str,
    /// The consumer.
    #[serde(flatten)]
    pub consumer: Option<Named>,
    /// How it was known: as `kong.consumer.by` in messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<KnownBy>,
    /// The auth plugins in force, in the order in which they run.
    pub plugins: Vec<PluginStep>,
    /// What comes of it.
    pub why: String,
}

/// One auth plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PluginStep {
    /// Its name.
    pub plugin: &'static str,
    /// What it makes of the request.
    pub finding: String,
}

/// Which configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigurationAnswer {
    /// `applies`, `none`, `route_unknown` or `consumer_unknown`.
    pub answer: &'static str,
    /// Where it is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Where messages go, the bucket included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Whether bodies are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_body: Option<bool>,
    /// Every scope of the precedence table, the strongest first.
    pub scopes: Vec<ScopeTrace>,
    /// Configurations that can apply to nothing, each with the reason.
    pub inactive: Vec<String>,
    /// Where configurations come from; of two with one scope the first counts.
    pub sources: Vec<SourceAnswer>,
}

/// Why there is no explanation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    /// `--consumer` names nobody.
    #[error("--consumer: the gateway has no consumer `{0}`")]
    NoConsumer(String),
}

impl Explanation {
    /// One JSON object, indented.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// What the process says to scripts.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self.configuration.answer {
            "applies" => Exit::Ok,
            "none" => Exit::NothingApplies,
            _ => Exit::NotKnown,
        }
    }
}

/// Explains what would become of a request.
///
/// # Errors
/// It names a consumer that the gateway does not have.
pub fn explain(bound: &Bound, account: Account, ask: &Ask) -> Result<Explanation, ExplainError> {
    let consumer = match &ask.consumer {
        None => None,
        Some(reference) => match bound.snapshot.consumer(reference) {
            Some(consumer) => Some(consumer),
            None => return Err(ExplainError::NoConsumer(reference.text().to_owned())),
        },
    };
    let foreseen = Foreseen::of(bound, ask, consumer.map(|consumer| &**consumer));
    let resolution = bound.snapshot.resolve(&foreseen.joined);
    let decision = bound.plugins.decide(&resolution);
    Ok(Explanation {
        request: Asked {
            method: String::from_utf8_lossy(&ask.request.method).into_owned(),
            url: ask.url(),
        },
        route: route_answer(bound, &foreseen, &resolution),
        service: resolution.service.as_ref().map(|service| Named {
            id: service.id.to_string(),
            name: service.name.as_deref().map(str::to_owned),
        }),
        upstream: upstream_answer(bound, &foreseen, &resolution),
        consumer: consumer_answer(&foreseen, &resolution),
        configuration: configuration_answer(bound, account.sources, &resolution, &decision),
        warnings: account.warnings,
    })
}

/// The exchange that the gateway would make of a request.
struct Foreseen {
    joined: JoinedExchange,
    judgement: Option<Judgement>,
    refusal: Option<Refusal>,
    is_given: bool,
    /// Whether the gateway sends it on, rather than answering by itself.
    is_passed_on: bool,
}

impl Foreseen {
    fn of(bound: &Bound, ask: &Ask, given: Option<&Consumer>) -> Self {
        let mut foreseen = Self {
            joined: ask.exchange(),
            judgement: None,
            refusal: None,
            is_given: given.is_some(),
            is_passed_on: false,
        };
        let unanswered = bound.snapshot.resolve(&foreseen.joined);
        let route = match unanswered.route {
            RouteMatch::Matched(route) => route,
            RouteMatch::NoRoute => {
                foreseen.joined.client.response = Some(ask::answered(404));
                return foreseen;
            }
            RouteMatch::Unknown(_) => {
                if let Some(consumer) = given {
                    foreseen.joined.upstream.push(ask.passed_on(consumer));
                }
                return foreseen;
            }
        };
        foreseen.refusal = unanswered.refusal;
        let judgement = bound.snapshot.judge(&route, &ask.request);
        let status = match (foreseen.refusal, given, &judgement.outcome) {
            (Some(refusal), _, _) => Some(refusal.status()),
            (None, Some(consumer), _) => {
                foreseen.joined.upstream.push(ask.passed_on(consumer));
                None
            }
            (None, None, Outcome::Refused(_)) => Some(401),
            (None, None, Outcome::Consumer(..) | Outcome::Nobody | Outcome::Unclear) => None,
        };
        foreseen.is_passed_on = status.is_none();
        foreseen.joined.client.response = Some(status.map_or_else(ask::proxied, ask::answered));
        foreseen.judgement = Some(judgement);
        foreseen
    }
}

fn route_answer(bound: &Bound, foreseen: &Foreseen, resolution: &Resolution) -> RouteAnswer {
    let router = bound.snapshot.router();
    let facts = bound.snapshot.facts(&foreseen.joined.client);
    let all = facts.map(|facts| router.explain(&facts)).unwrap_or_default();
    let winner = match &resolution.route {
        RouteMatch::Matched(route) => Some(route),
        RouteMatch::NoRoute | RouteMatch::Unknown(_) => None,
    };
    let request = foreseen.joined.client.request.as_ref();
    let path = request.map_or(&[][..], |request| &*request.target);
    let (considered, others) = candidates::nearest(&all, winner, path);
    RouteAnswer {
        answer: match &resolution.route {
            RouteMatch::Matched(_) => "matched",
            RouteMatch::NoRoute => "none",
            RouteMatch::Unknown(_) => "unknown",
        },
        why: match &resolution.route {
            RouteMatch::Unknown(why) => Some(why_unknown(*why)),
            RouteMatch::Matched(_) | RouteMatch::NoRoute => None,
        },
        route: winner.map(|route| named(route)),
        refusal: foreseen.refusal.map(|refusal| match refusal {
            Refusal::NeedsTls { status } => format!("{status}: the route serves https only"),
            Refusal::NeedsHttp2 => "426: gRPC needs HTTP/2".to_owned(),
            Refusal::NotGrpc => "415: the route serves gRPC, and this is not (Content-Type)".to_owned(),
            Refusal::GrpcNeedsTls => "200 with grpc-status 1: the route serves grpcs only".to_owned(),
        }),
        router: match router.profile().flavor {
            RouterFlavor::Traditional => "traditional",
            RouterFlavor::TraditionalCompatible => "traditional_compatible",
            RouterFlavor::Expressions => "expressions",
        },
        considered,
        others,
    }
}

fn upstream_answer(bound: &Bound, foreseen: &Foreseen, resolution: &Resolution) -> Option<UpstreamAnswer> {
    if !foreseen.is_passed_on {
        return None;
    }
    let router = bound.snapshot.router();
    let facts = bound.snapshot.facts(&foreseen.joined.client)?;
    let Found::Route(matched) = router.find(&facts) else {
        return None;
    };
    let passed = router.passed_on(&matched, resolution.service.as_deref(), facts.host);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let query = facts.target.iter().position(|byte| *byte == b'?');
    let query = query.and_then(|at| facts.target.get(at..)).unwrap_or_default();
    Some(UpstreamAnswer {
        target: text([&*passed.path, query].concat()),
        host: passed.host.map(text),
        prefix: passed.prefix.map(text),
        captures: passed.captures.into_iter().collect(),
    })
}

fn named(route: &Route) -> Named {
    Named {
        id: route.id.to_string(),
        name: route.name.as_deref().map(str::to_owned),
    }
}

const fn why_unknown(why: UnknownRoute) -> &'static str {
    match why {
        UnknownRoute::NoConfiguration => "no configuration of the gateway is known",
        UnknownRoute::NoRequest => "not enough of the request is known",
        UnknownRoute::Unsupported => {
            "a route that may win asks for something that is not known or not evaluated here"
        }
        UnknownRoute::Ambiguous => {
            "several routes match alike, and what decides between them in the gateway is not known"
        }
        UnknownRoute::Contradicted => "the answer contradicts the match",
    }
}

fn consumer_answer(foreseen: &Foreseen, resolution: &Resolution) -> ConsumerAnswer {
    let step = |(plugin, finding): &(&'static str, Finding)| PluginStep {
        plugin,
        finding: finding_text(finding),
    };
    let steps = foreseen.judgement.iter().flat_map(|judgement| &judgement.steps);
    let (answer, consumer, by) = match &resolution.consumer {
        ConsumerMatch::Known(consumer, by) => {
            let named = Named {
                id: consumer.id.to_string(),
                name: consumer
                    .username
                    .as_ref()
                    .or(consumer.custom_id.as_ref())
                    .map(ToString::to_string),
            };
            ("known", Some(named), Some(*by))
        }
        ConsumerMatch::Nobody => ("nobody", None, None),
        ConsumerMatch::Unknown => ("unknown", None, None),
    };
    ConsumerAnswer {
        answer,
        consumer,
        by,
        plugins: steps.map(step).collect(),
        why: why_consumer(foreseen, resolution),
    }
}

fn why_consumer(foreseen: &Foreseen, resolution: &Resolution) -> String {
    if foreseen.refusal.is_some() {
        return "the gateway answers before it asks any plugin".to_owned();
    }
    match (&resolution.route, &foreseen.judgement) {
        (RouteMatch::NoRoute, _) => return "nobody is authenticated where no route is".to_owned(),
        (RouteMatch::Unknown(_), _) if !foreseen.is_given => {
            return "which auth plugins are in force depends on the route".to_owned();
        }
        (RouteMatch::Matched(_) | RouteMatch::Unknown(_), _) => {}
    }
    if foreseen.is_given {
        return "taken as authenticated, as --consumer says".to_owned();
    }
    match foreseen
        .judgement
        .as_ref()
        .map(|judgement| (&judgement.outcome, judgement.steps.is_empty()))
    {
        None | Some((Outcome::Nobody, true)) => "no auth plugin is in force on the route".to_owned(),
        Some((Outcome::Nobody, false)) => "the auth plugins make no Consumer of it".to_owned(),
        Some((Outcome::Consumer(_, KnownBy::Anonymous), _)) => {
            "no credential is accepted, and the plugin's `anonymous` names this consumer".to_owned()
        }
        Some((Outcome::Consumer(_, KnownBy::TokenUnverified), _)) => {
            "the token says so; the gateway verifies its signature, kongtap does not".to_owned()
        }
        Some((Outcome::Consumer(_, KnownBy::Credentials | KnownBy::UpstreamHeaders), _)) => {
            "the credential is this consumer's, if the gateway accepts it".to_owned()
        }
        Some((Outcome::Refused(plugin), _)) => format!("{plugin} refuses the request (401)"),
        Some((Outcome::Unclear, _)) => "it depends on what cannot be seen here".to_owned(),
    }
}

fn finding_text(finding: &Finding) -> String {
    let name = |consumer: &Consumer| {
        let named = consumer.username.as_ref().or(consumer.custom_id.as_ref());
        named.unwrap_or(&consumer.id).to_string()
    };
    match finding {
        Finding::NotAsked => "not asked".to_owned(),
        Finding::Absent => "finds no credential".to_owned(),
        Finding::Refused => "finds a credential that is nobody's".to_owned(),
        Finding::Known(consumer) => format!("finds a credential of {}", name(consumer)),
        Finding::Claimed(consumer) => format!(
            "finds a credential that names {}, unverified here",
            name(consumer)
        ),
        Finding::NoConsumer => "knows people who are no consumers".to_owned(),
        Finding::Unclear => "cannot be followed from here".to_owned(),
    }
}

fn configuration_answer(
    bound: &Bound,
    sources: Vec<SourceAnswer>,
    resolution: &Resolution,
    decision: &Decision,
) -> ConfigurationAnswer {
    let (answer, config) = match decision {
        Decision::Use(config) => ("applies", Some(config)),
        Decision::None => ("none", None),
        Decision::RouteUnknown => ("route_unknown", None),
        Decision::ConsumerUnknown => ("consumer_unknown", None),
    };
    let inactive = bound.plugins.inactive().iter();
    ConfigurationAnswer {
        answer,
        origin: config.map(|config| config.origin.clone()),
        endpoint: config.map(|config| config.destination.url.to_string()),
        log_body: config.map(|config| config.log_body),
        scopes: bound.plugins.trace(resolution),
        inactive: inactive
            .map(|it| format!("{}: {}", it.origin, it.reason))
            .collect(),
        sources,
    }
}
