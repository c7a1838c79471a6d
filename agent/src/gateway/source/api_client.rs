//! JSON over HTTP from an API that tells the gateway's configuration: its Admin API, or Konnect's.
//!
//! In: an address (http, https, a unix socket), TLS options, header credentials. Out: JSON objects, and lists page by page. Each
//! request is bounded in time, each answer in bytes, a reading in pages and bytes. Redirects are not followed and no proxy is
//! asked, so a token goes nowhere else. Deliberately absent: what the answers mean.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use serde_json::{Map, Value};
use url::Url;

use crate::gateway::source::{ApiKind, SourceError};
use crate::telemetry::secret::Secret;

/// Entities a page; the most that Kong allows.
const PAGE_SIZE: &str = "1000";
/// The most pages of one collection.
pub(in crate::gateway) const MAX_PAGES: usize = 2_000;
/// The largest single answer, bytes.
pub(in crate::gateway) const MAX_ANSWER_BYTES: usize = 32 << 20;
/// The most of all answers of one reading, bytes.
const MAX_READING_BYTES: usize = 512 << 20;
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where and how an API is asked.
#[derive(Clone, Debug)]
pub struct ApiOptions {
    /// Its address, a base path included: `http://host:8001`, `https://…/team`, `http://unix:/path/admin.sock`.
    pub url: String,
    /// Sent with each request.
    pub headers: Vec<(String, Credential)>,
    /// Bounds each request in all its phases.
    pub timeout: Duration,
    /// How its certificate is verified, and which is shown to it.
    pub tls: ApiTls,
}

/// TLS towards an API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiTls {
    /// Whose certificates are believed.
    pub trust: Trust,
    /// A client certificate and its key, PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Whose certificates are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// The authorities that the host trusts.
    #[default]
    Host,
    /// Those of this PEM file and no other.
    Only(PathBuf),
    /// Anybody's: the answers may be forged and the token read by who sits in between.
    Anybody,
}

/// A header's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Put before the secret, such as `Bearer `.
    pub prefix: &'static str,
    /// The secret.
    pub value: SecretAt,
}

/// Where a secret stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretAt {
    /// Here.
    Text(Secret),
    /// In a file, which is read for each request, so that it may be replaced while kongtap runs. Space around it is not part of it.
    File(PathBuf),
}

/// An API.
#[derive(Debug)]
pub struct ApiClient {
    http: reqwest::Client,
    kind: ApiKind,
    base: Url,
    /// The base as messages show it.
    shown: String,
    headers: Vec<(HeaderName, Credential)>,
    timeout: Duration,
}

impl fmt::Display for ApiClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// What is left of a reading's bounds.
#[derive(Debug)]
pub struct Allowance {
    bytes: usize,
}

impl Default for Allowance {
    fn default() -> Self {
        Self {
            bytes: MAX_READING_BYTES,
        }
    }
}

impl ApiClient {
    /// Sets up a client; reads certificates, asks nothing yet.
    ///
    /// # Errors
    /// The address is none, a header cannot be sent, a certificate cannot be used.
    pub fn new(kind: ApiKind, options: ApiOptions) -> Result<Self, SourceError> {
        let (base, socket) = address(&options.url)?;
        let mut http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT.min(options.timeout))
            .timeout(options.timeout)
            .no_proxy();
        http = match &options.tls.trust {
            Trust::Host => http,
            Trust::Anybody => http.tls_danger_accept_invalid_certs(true),
            Trust::Only(path) => {
                let certificates = reqwest::Certificate::from_pem_bundle(&read(path)?);
                let certificates = certificates.map_err(|source| unusable(path, source))?;
                if certificates.is_empty() {
                    let what = "has no certificate in PEM form (-----BEGIN CERTIFICATE-----)".to_owned();
                    return Err(SourceError::BadOption {
                        place: path.display().to_string(),
                        what,
                    });
                }
                http.tls_certs_only(certificates)
            }
        };
        if let Some((certificate, key)) = &options.tls.identity {
            let pem = [read(certificate)?, b"\n".to_vec(), read(key)?].concat();
            let identity = reqwest::Identity::from_pem(&pem);
            http = http.identity(identity.map_err(|source| unusable(certificate, source))?);
        }
        if let Some(socket) = &socket {
            http = http.unix_socket(socket.as_path());
        }
        let mut headers = Vec::new();
        for (name, credential) in options.headers {
            let Ok(parsed) = HeaderName::from_bytes(name.as_bytes()) else {
                let what = format!("`{name}` is not the name of a header field");
                return Err(SourceError::BadOption {
                    place: "a header for the API".to_owned(),
                    what,
                });
            };
            headers.push((parsed, credential));
        }
        Ok(Self {
            http: http.build().map_err(|source| SourceError::Client { source })?,
            kind,
            shown: match &socket {
                Some(socket) => format!("unix:{}{}", socket.display(), base.path().trim_end_matches('/')),
                None => without_user(&base).to_string(),
            },
            base,
            headers,
            timeout: options.timeout,
        })
    }

    /// Whether the address has a path: something before `/services`.
    #[must_use]
    pub fn has_path(&self) -> bool {
        !self.base.path().trim_matches('/').is_empty()
    }

    /// An address of the API, as messages show it.
    #[must_use]
    pub fn shown(&self, path: &[&str]) -> String {
        let base = self.shown.trim_end_matches('/');
        path.iter()
            .fold(base.to_owned(), |all, part| format!("{all}/{part}"))
    }

    /// A JSON object, and how many bytes it took.
    ///
    /// # Errors
    /// Unreachable, too slow, too large, another status than 200, no JSON object.
    pub async fn get(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<(Map<String, Value>, usize), SourceError> {
        let url = || self.shown(path);
        let failed = |source: reqwest::Error| {
            if source.is_timeout() {
                SourceError::Timeout {
                    url: url(),
                    seconds: self.timeout.as_secs(),
                }
            } else {
                SourceError::Unreachable {
                    url: url(),
                    source: source.without_url(),
                }
            }
        };
        let mut request = self
            .http
            .get(self.url(path, query))
            .header("accept", "application/json");
        for (name, credential) in &self.headers {
            request = request.header(name.clone(), value_of(name, credential).await?);
        }
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(SourceError::Status {
                url: url(),
                api: self.kind,
                status,
            });
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len().saturating_add(chunk.len()) > MAX_ANSWER_BYTES {
                return Err(SourceError::TooLarge {
                    url: url(),
                    limit: MAX_ANSWER_BYTES,
                    unit: "bytes",
                });
            }
            body.extend_from_slice(&chunk);
        }
        match serde_json::from_slice(&body) {
            Ok(Value::Object(map)) => Ok((map, body.len())),
            Ok(_) => Err(SourceError::Malformed {
                url: url(),
                what: "the answer is not a JSON object".to_owned(),
            }),
            Err(error) => Err(SourceError::Malformed {
                url: url(),
                what: format!("the answer is not JSON: {error}"),
            }),
        }
    }

    /// All pages of a list, each given to `take`. `next` may be a path or an address and may lack the base path and the size, so
    /// only its offset is taken. All dialects that there are: `total` with an absolute `next` (0.13), `next` as a path with
    /// `offset` beside it, `next: null` or none at the end.
    ///
    /// # Errors
    /// Those of [`ApiClient::get`], no list in a page, too many pages, and what `take` says.
    pub async fn pages(
        &self,
        path: &[&str],
        allowance: &mut Allowance,
        take: impl FnMut(Vec<Value>) -> Result<(), SourceError> + Send,
    ) -> Result<(), SourceError> {
        let (list, absent) = (&["data"], Err("the page has no list `data`"));
        self.pages_of(path, list, absent, allowance, take).await
    }

    /// The same of a list that goes by the first of several names; without any it is what `absent` says.
    ///
    /// # Errors
    /// Those of [`ApiClient::pages`].
    pub async fn pages_of(
        &self,
        path: &[&str],
        lists: &[&str],
        absent: Result<(), &str>,
        allowance: &mut Allowance,
        mut take: impl FnMut(Vec<Value>) -> Result<(), SourceError> + Send,
    ) -> Result<(), SourceError> {
        let mut offset: Option<String> = None;
        let mut seen = HashSet::new();
        for _ in 0..MAX_PAGES {
            let mut query = vec![("size", PAGE_SIZE)];
            query.extend(offset.as_deref().map(|offset| ("offset", offset)));
            let (mut page, bytes) = self.get(path, &query).await?;
            let malformed = |what: &str| SourceError::Malformed {
                url: self.shown(path),
                what: what.to_owned(),
            };
            allowance.bytes = allowance
                .bytes
                .checked_sub(bytes)
                .ok_or_else(|| SourceError::TooLarge {
                    url: self.shown.clone(),
                    limit: MAX_READING_BYTES,
                    unit: "bytes in all",
                })?;
            match lists.iter().find_map(|list| page.remove(*list)) {
                Some(Value::Array(data)) => take(data)?,
                // Lua's JSON has `{}` for an empty list.
                Some(Value::Object(map)) if map.is_empty() => {}
                None | Some(Value::Null) => absent.map_err(malformed)?,
                Some(_) => {
                    return Err(malformed(&format!(
                        "the page has no list `{}`",
                        lists.join("` or `")
                    )));
                }
            }
            let Some(next) = offset_of(&page) else {
                return Ok(());
            };
            if !seen.insert(next.clone()) {
                return Err(malformed("the pages go round in a circle"));
            }
            offset = Some(next);
        }
        Err(SourceError::TooLarge {
            url: self.shown(path),
            limit: MAX_PAGES,
            unit: "pages",
        })
    }

    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }
}

/// Where the next page begins, if there is one. The last page of some gateways has an `offset` but no `next`.
pub(in crate::gateway) fn offset_of(page: &Map<String, Value>) -> Option<String> {
    let next = page.get("next").and_then(Value::as_str)?;
    let query = next.split_once('?').map_or("", |(_, query)| query);
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    let in_next = pairs
        .find(|(name, _)| name == "offset")
        .map(|(_, value)| value.into_owned());
    in_next.or_else(|| page.get("offset").and_then(Value::as_str).map(str::to_owned))
}

/// The base of all addresses, and the socket that they are asked through.
fn address(url: &str) -> Result<(Url, Option<PathBuf>), SourceError> {
    let bad = || SourceError::BadUrl { url: hide_user(url) };
    let in_socket = url
        .strip_prefix("http://unix:")
        .or_else(|| url.strip_prefix("unix:"));
    let (text, socket) = match in_socket {
        Some(rest) => {
            let (socket, base) = rest.split_once(':').unwrap_or((rest, ""));
            if !socket.starts_with('/') {
                return Err(bad());
            }
            // The name goes into `Host` alone.
            let text = format!("http://localhost{base}");
            (text, Some(PathBuf::from(socket)))
        }
        None => (url.to_owned(), None),
    };
    let parsed = Url::parse(&text).ok();
    let base = parsed.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let mut base = base.ok_or_else(bad)?;
    base.set_query(None);
    base.set_fragment(None);
    let path = base.path().trim_end_matches('/').to_owned();
    base.set_path(&path);
    Ok((base, socket))
}

fn without_user(url: &Url) -> Url {
    let mut url = url.clone();
    // An address with a host takes both.
    let is_clean = url.set_username("").is_ok() && url.set_password(None).is_ok();
    debug_assert!(is_clean || url.username().is_empty());
    url
}

/// A text that is no address, without what stands before an `@`.
fn hide_user(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, rest)) => format!("…@{rest}"),
        None => text.to_owned(),
    }
}

async fn value_of(name: &HeaderName, credential: &Credential) -> Result<HeaderValue, SourceError> {
    let (text, place) = match &credential.value {
        SecretAt::Text(secret) => (secret.expose().to_owned(), format!("the header {name}")),
        SecretAt::File(path) => {
            let failed = |source| SourceError::File {
                path: path.clone(),
                source,
            };
            let text = tokio::fs::read_to_string(path).await.map_err(failed)?;
            (text.trim().to_owned(), path.display().to_string())
        }
    };
    let value = HeaderValue::from_str(&format!("{}{text}", credential.prefix)).ok();
    let mut value = value
        .filter(|_| !text.is_empty())
        .ok_or_else(|| SourceError::BadOption {
            place,
            what:
                "is empty or has characters that no header may have; it must hold the secret and nothing else"
                    .to_owned(),
        })?;
    value.set_sensitive(true);
    Ok(value)
}

fn read(path: &Path) -> Result<Vec<u8>, SourceError> {
    std::fs::read(path).map_err(|source| SourceError::File {
        path: path.to_owned(),
        source,
    })
}

fn unusable(path: &Path, source: reqwest::Error) -> SourceError {
    SourceError::Certificate {
        path: path.to_owned(),
        source,
    }
}
