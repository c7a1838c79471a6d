//! The gateway's entities and facts from its Admin API.
//!
//! In: an address and perhaps a token. Out: a [`Reading`] of all pages of services, routes, consumers and plugins, and
//! [`GatewayFacts`]. Everything is bounded: each request in time, each answer in bytes, the pages in number. Redirects are
//! not followed, so a token goes nowhere else. Deliberately absent: writing.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};
use url::Url;
use uuid::Uuid;

use crate::gateway::admin_api::facts::GatewayFacts;
use crate::gateway::entities::{Entities, Reference};
use crate::gateway::fields::{Fields, Report};
use crate::gateway::forms::{self, RegexMark};
use crate::gateway::router::{KongVersion, RouterProfile};
use crate::gateway::source::{Fingerprint, Reading, SourceError};
use crate::telemetry::secret::Secret;

mod credentials;
pub mod facts;

#[cfg(test)]
pub(crate) mod tests;

/// Entities a page; the most that Kong allows.
const PAGE_SIZE: u32 = 1000;
/// The most pages of one collection.
const MAX_PAGES: usize = 2_000;
/// The largest single answer, bytes.
const MAX_ANSWER_BYTES: usize = 32 << 20;
/// The most of all answers of one reading, bytes.
const MAX_READING_BYTES: usize = 512 << 20;
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where and how an Admin API is asked.
#[derive(Clone, Debug)]
pub struct AdminApiOptions {
    /// Its address, a base path (a workspace) included.
    pub url: String,
    /// Sent as `Kong-Admin-Token`.
    pub token: Option<Secret>,
    /// Bounds each request in all its phases.
    pub timeout: Duration,
    /// Whether its certificate is verified.
    pub tls_verify: bool,
}

/// An Admin API.
#[derive(Debug)]
pub struct AdminApi {
    client: reqwest::Client,
    base: Url,
    token: Option<Secret>,
    timeout: Duration,
}

impl fmt::Display for AdminApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.base)
    }
}

/// The raw entities of one collection.
type Items = Vec<Value>;

impl AdminApi {
    /// Sets up a client; asks nothing yet.
    ///
    /// # Errors
    /// The address is none, or TLS cannot be set up.
    pub fn new(options: AdminApiOptions) -> Result<Self, SourceError> {
        let parsed = Url::parse(&options.url).ok();
        let base = parsed.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let Some(mut base) = base else {
            return Err(SourceError::BadUrl { url: options.url });
        };
        base.set_query(None);
        base.set_fragment(None);
        let path = base.path().trim_end_matches('/').to_owned();
        base.set_path(&path);
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT.min(options.timeout))
            .timeout(options.timeout)
            .danger_accept_invalid_certs(!options.tls_verify)
            .no_proxy()
            .build()
            .map_err(|source| SourceError::Client { source })?;
        Ok(Self {
            client,
            base,
            token: options.token,
            timeout: options.timeout,
        })
    }

    /// What the gateway says of itself: `GET /` and the configuration's hash of `GET /status`.
    ///
    /// # Errors
    /// Unreachable, too slow, refused, or no Admin API.
    pub async fn facts(&self) -> Result<GatewayFacts, SourceError> {
        let url = self.url(None, None);
        let (root, _) = self.get(url.clone()).await.map_err(|error| match error {
            // Whatever answers something else at `/` is something else.
            SourceError::Malformed { url, what } => SourceError::NotAdminApi { url, what },
            other @ (SourceError::BadUrl { .. }
            | SourceError::Client { .. }
            | SourceError::Unreachable { .. }
            | SourceError::Timeout { .. }
            | SourceError::Status { .. }
            | SourceError::NotAdminApi { .. }
            | SourceError::TooLarge { .. }
            | SourceError::File { .. }
            | SourceError::Mistakes(_)) => other,
        })?;
        let mut facts = GatewayFacts::of(&root).map_err(|what| SourceError::NotAdminApi {
            url: url.to_string(),
            what: what.to_owned(),
        })?;
        // Only a hash to save work by: without it everything is read each time.
        if let Ok((status, _)) = self.get(self.url(Some("status"), None)).await {
            facts.configuration_hash = facts::configuration_hash(&status);
        }
        Ok(facts)
    }

    /// Everything.
    ///
    /// # Errors
    /// Any [`SourceError`] but those of files.
    pub async fn fetch(&self) -> Result<Reading, SourceError> {
        let facts = self.facts().await?;
        let mut budget = MAX_READING_BYTES;
        let services = self.collection("services", &mut budget).await?;
        let routes = self.collection("routes", &mut budget).await?;
        let version = KongVersion::parse(&facts.version);
        let apis = if version.is_some_and(|version| version.major == 0) {
            self.collection("apis", &mut budget).await?
        } else {
            Items::new()
        };
        let consumers = self.collection("consumers", &mut budget).await?;
        let plugins = self.collection("plugins", &mut budget).await?;
        let contents =
            serde_json::to_vec(&[&services, &routes, &apis, &consumers, &plugins]).unwrap_or_default();
        let profile = RouterProfile {
            client_address: facts.client_address,
            ..RouterProfile::of(version, facts.router_flavor.as_deref())
        };
        let mark = if version.is_some_and(|version| version.major < 3) {
            RegexMark::AnyOddCharacter
        } else {
            RegexMark::Tilde
        };
        let (credentials, unread) = self.credentials(&plugins, &mut budget).await;
        let mut report = Report::new(self.base.as_str());
        let mut entities = entities_of(
            [&services, &routes, &apis, &consumers, &plugins],
            mark,
            &mut report,
        );
        (entities.credentials, entities.unread_credentials) = (credentials.entities, unread);
        report.finish(()).map_err(|mistakes| SourceError::Malformed {
            url: self.base.to_string(),
            what: format!("an entity cannot be understood\n{mistakes}"),
        })?;
        Ok(Reading {
            entities,
            profile,
            fingerprint: Fingerprint {
                cheap: facts.configuration_hash.clone(),
                contents: Uuid::new_v5(&credentials.digest, &contents),
            },
            facts: Some(facts),
        })
    }

    /// All pages of a collection. `next` may be a path or an address and may lack the base path and the size, so only its
    /// offset is taken.
    async fn collection(&self, name: &str, budget: &mut usize) -> Result<Items, SourceError> {
        let mut items = Items::new();
        let mut offset: Option<String> = None;
        let mut seen = HashSet::new();
        for _ in 0..MAX_PAGES {
            let url = self.url(Some(name), offset.as_deref());
            let (mut page, bytes) = self.get(url.clone()).await?;
            *budget = budget.checked_sub(bytes).ok_or_else(|| SourceError::TooLarge {
                url: self.base.to_string(),
                limit: MAX_READING_BYTES,
                unit: "bytes in all",
            })?;
            let malformed = |what: &str| SourceError::Malformed {
                url: url.to_string(),
                what: what.to_owned(),
            };
            match page.remove("data") {
                Some(Value::Array(data)) => items.extend(data),
                // Lua's JSON has `{}` for an empty list.
                Some(Value::Object(map)) if map.is_empty() => {}
                Some(_) | None => return Err(malformed("the page has no list `data`")),
            }
            let Some(next) = offset_of(&page) else {
                return Ok(items);
            };
            if !seen.insert(next.clone()) {
                return Err(malformed("the pages go round in a circle"));
            }
            offset = Some(next);
        }
        Err(SourceError::TooLarge {
            url: self.url(Some(name), None).to_string(),
            limit: MAX_PAGES,
            unit: "pages",
        })
    }

    fn url(&self, collection: Option<&str>, offset: Option<&str>) -> Url {
        let mut url = self.base.clone();
        let Some(collection) = collection else {
            return url;
        };
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push(collection);
        }
        if collection != "status" {
            let mut query = url.query_pairs_mut();
            query.append_pair("size", &PAGE_SIZE.to_string());
            if let Some(offset) = offset {
                query.append_pair("offset", offset);
            }
        }
        url
    }

    /// A JSON object, and how many bytes it took.
    async fn get(&self, url: Url) -> Result<(Map<String, Value>, usize), SourceError> {
        let text = || url.to_string();
        let failed = |source: reqwest::Error| {
            if source.is_timeout() {
                SourceError::Timeout {
                    url: text(),
                    seconds: self.timeout.as_secs(),
                }
            } else {
                SourceError::Unreachable {
                    url: text(),
                    source: source.without_url(),
                }
            }
        };
        let mut request = self.client.get(url.clone()).header("accept", "application/json");
        if let Some(token) = &self.token {
            request = request.header("kong-admin-token", token.expose());
        }
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(SourceError::Status { url: text(), status });
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len().saturating_add(chunk.len()) > MAX_ANSWER_BYTES {
                return Err(SourceError::TooLarge {
                    url: text(),
                    limit: MAX_ANSWER_BYTES,
                    unit: "bytes",
                });
            }
            body.extend_from_slice(&chunk);
        }
        match serde_json::from_slice(&body) {
            Ok(Value::Object(map)) => Ok((map, body.len())),
            Ok(_) => Err(SourceError::Malformed {
                url: text(),
                what: "the answer is not a JSON object".to_owned(),
            }),
            Err(error) => Err(SourceError::Malformed {
                url: text(),
                what: format!("the answer is not JSON: {error}"),
            }),
        }
    }
}

/// Where the next page begins, if there is one. The last page of some gateways has an `offset` but no `next`.
fn offset_of(page: &Map<String, Value>) -> Option<String> {
    let next = page.get("next").and_then(Value::as_str)?;
    let query = next.split_once('?').map_or("", |(_, query)| query);
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    let in_next = pairs
        .find(|(name, _)| name == "offset")
        .map(|(_, value)| value.into_owned());
    in_next.or_else(|| page.get("offset").and_then(Value::as_str).map(str::to_owned))
}

/// References in the Admin API are ids; one whose entity is missing (it was removed between two pages) stays as it is.
fn entities_of(
    [services, routes, apis, consumers, plugins]: [&Items; 5],
    mark: RegexMark,
    report: &mut Report,
) -> Entities {
    let mut entities = Entities::default();
    let id = |reference: Option<Reference>| {
        reference.map(|reference| reference.text().to_ascii_lowercase().into())
    };
    each("services", services, report, |fields, report| {
        entities.services.push(forms::service(fields, report));
    });
    each("routes", routes, report, |fields, report| {
        let mut form = forms::route(fields, "", mark, report);
        form.route.service_id = id(form.service);
        entities.routes.push(form.route);
    });
    each("apis", apis, report, |fields, report| {
        entities.routes.push(forms::api(fields, report));
    });
    each("consumers", consumers, report, |fields, report| {
        entities.consumers.push(forms::consumer(fields, report));
    });
    each("plugins", plugins, report, |fields, report| {
        if let Some(mut form) = forms::plugin(fields, report) {
            form.plugin.scope.service_id = id(form.service);
            form.plugin.scope.route_id = id(form.route);
            form.plugin.scope.consumer_id = id(form.consumer);
            entities.plugins.push(form.plugin);
        }
    });
    entities
}

fn each(name: &str, items: &Items, report: &mut Report, mut take: impl FnMut(&Fields<'_>, &mut Report)) {
    for (index, item) in items.iter().enumerate() {
        if let Some(fields) = Fields::of(item, format!("{name}[{index}]"), report) {
            take(&fields, report);
        }
    }
}
