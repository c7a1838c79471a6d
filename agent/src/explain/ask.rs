//! A request as somebody describes it on a command line, and the exchange that a gateway would make of it.
//!
//! In: the words of the command line. Out: an [`Ask`], or what is wrong with them. The target is kept as it is written: nothing is
//! resolved or escaped, as that is the gateway's to do.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use kongtap_common::record::ConnId;

use crate::capture::event::KernelTime;
use crate::correlate::JoinedExchange;
use crate::gateway::entities::{Consumer, Reference};
use crate::http::anomaly::Anomalies;
use crate::http::exchange::{Body, ConnInfo, Exchange, HeadState, Leg, Outcome, Request, Response, Version};
use crate::http::headers::Headers;

/// Kong's own listeners, where the URL names no port.
const PLAIN_PORT: u16 = 8000;
const TLS_PORT: u16 = 8443;

/// A request to explain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The request.
    pub request: Request,
    /// Whether it comes by TLS.
    pub tls: bool,
    /// The client's end of the connection.
    pub client: SocketAddr,
    /// The listener's port.
    pub port: u16,
    /// Who it is taken to be authenticated as.
    pub consumer: Option<Reference>,
}

/// The words of the command line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Words<'a> {
    /// `GET`.
    pub method: &'a str,
    /// `http://host:port/path?query`, or a path alone.
    pub url: &'a str,
    /// `Name: value`, each.
    pub headers: &'a [String],
    /// The body.
    pub data: Option<&'a str>,
    /// Who it is taken to be authenticated as: an id or a user name.
    pub consumer: Option<&'a str>,
    /// The protocol; by the URL's scheme without.
    pub protocol: Option<Protocol>,
    /// The client's address; loopback without.
    pub client: Option<IpAddr>,
}

/// What a request comes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// HTTP in plain.
    Http,
    /// HTTP over TLS.
    Https,
    /// gRPC in plain.
    Grpc,
    /// gRPC over TLS.
    Grpcs,
}

/// What is wrong with the words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// No method.
    #[error("METHOD: `{0}` is no HTTP method; write one such as GET")]
    Method(String),
    /// No URL.
    #[error(
        "URL: `{0}` is neither a path such as /orders?x=1 nor an address such as http://api.example.com:8000/orders"
    )]
    Url(String),
    /// No header.
    #[error("--header: `{0}` is no header; write it as `Name: value`")]
    Header(String),
}

impl Ask {
    /// Reads the words.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn of(words: Words<'_>) -> Result<Self, AskError> {
        let is_method = !words.method.is_empty() && words.method.bytes().all(is_token_byte);
        if !is_method {
            return Err(AskError::Method(words.method.to_owned()));
        }
        let url = Url::of(words.url).ok_or_else(|| AskError::Url(words.url.to_owned()))?;
        let protocol = words.protocol.or(url.protocol).unwrap_or(Protocol::Http);
        let is_grpc = matches!(protocol, Protocol::Grpc | Protocol::Grpcs);
        let tls = matches!(protocol, Protocol::Https | Protocol::Grpcs);
        let mut headers = Headers::default();
        for line in words.headers {
            let field = line
                .split_once(':')
                .filter(|(name, _)| !name.is_empty() && name.bytes().all(is_token_byte));
            let (name, value) = field.ok_or_else(|| AskError::Header(line.clone()))?;
            headers.push(name.as_bytes().to_vec(), value.trim().as_bytes().to_vec());
        }
        let mut add = |name: &str, value: &str| {
            if !headers.contains(name) {
                headers.push(name.as_bytes().to_vec(), value.as_bytes().to_vec());
            }
        };
        add("Host", url.authority.unwrap_or("localhost"));
        if is_grpc {
            add("Content-Type", "application/grpc");
        } else if words.data.is_some() {
            // As curl does.
            add("Content-Type", "application/x-www-form-urlencoded");
        }
        let bytes = Bytes::copy_from_slice(words.data.unwrap_or_default().as_bytes());
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(Self {
            request: Request {
                head: HeadState::Whole,
                method: Bytes::copy_from_slice(words.method.as_bytes()),
                target: Bytes::copy_from_slice(url.target.as_bytes()),
                version: if is_grpc { Version::Http2 } else { Version::Http11 },
                headers,
                body: Body {
                    bytes,
                    total_bytes: length,
                    wire_bytes: length,
                    complete: true,
                    ..Body::default()
                },
                trailers: Headers::default(),
                started: KernelTime(0),
                ended: KernelTime(0),
            },
            tls,
            client: SocketAddr::new(words.client.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), 0),
            port: url.port.unwrap_or(if tls { TLS_PORT } else { PLAIN_PORT }),
            consumer: words.consumer.map(|name| Reference::Any(name.to_owned())),
        })
    }

    /// The request's address, for people.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        let host = self
            .request
            .headers
            .first("host")
            .map(|host| String::from_utf8_lossy(host));
        let target = String::from_utf8_lossy(&self.request.target);
        format!("{scheme}://{}{target}", host.unwrap_or_default())
    }

    /// Whether it comes by HTTP/2.
    #[must_use]
    pub fn is_http2(&self) -> bool {
        self.request.version == Version::Http2
    }

    /// The client's leg, not answered yet.
    #[must_use]
    pub fn exchange(&self) -> JoinedExchange {
        JoinedExchange {
            client: self.leg(Leg::Downstream, self.request.clone()),
            upstream: Vec::new(),
            request_id: None,
        }
    }

    /// The upstream leg on which the gateway names a consumer.
    #[must_use]
    pub fn passed_on(&self, consumer: &Consumer) -> Exchange {
        let mut request = self.request.clone();
        request.headers = Headers::default();
        let claims = [
            ("X-Consumer-ID", Some(&consumer.id)),
            ("X-Consumer-Username", consumer.username.as_ref()),
            ("X-Consumer-Custom-ID", consumer.custom_id.as_ref()),
        ];
        for (name, value) in claims {
            if let Some(value) = value {
                request
                    .headers
                    .push(name.as_bytes().to_vec(), value.as_bytes().to_vec());
            }
        }
        self.leg(Leg::Upstream, request)
    }

    fn leg(&self, leg: Leg, request: Request) -> Exchange {
        Exchange {
            conn: ConnInfo {
                id: ConnId {
                    tgid: 0,
                    fd: 0,
                    generation_ns: 0,
                },
                local: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), self.port),
                remote: self.client,
                tls: self.tls,
            },
            leg,
            request: Some(request),
            response: None,
            outcome: Outcome::Complete,
            stream: None,
            reset: None,
            left_by: None,
            anomalies: Anomalies::NONE,
        }
    }
}

/// The gateway's own answer.
#[must_use]
pub(super) fn answered(status: u16) -> Response {
    response(status, "X-Kong-Response-Latency")
}

/// A service's answer.
#[must_use]
pub(super) fn proxied() -> Response {
    response(200, "X-Kong-Upstream-Latency")
}

fn response(status: u16, latency: &'static str) -> Response {
    let mut headers = Headers::default();
    headers.push(latency, "0");
    Response {
        head: HeadState::Whole,
        status,
        reason: Bytes::new(),
        version: Version::Http11,
        headers,
        body: Body::default(),
        trailers: Headers::default(),
        started: KernelTime(0),
        ended: KernelTime(0),
    }
}

/// RFC 9110 section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

struct Url<'a> {
    protocol: Option<Protocol>,
    authority: Option<&'a str>,
    port: Option<u16>,
    target: &'a str,
}

impl<'a> Url<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let text = text.split_once('#').map_or(text, |(before, _)| before);
        if text.is_empty()
            || text
                .bytes()
                .any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control())
        {
            return None;
        }
        if text.starts_with('/') {
            return Some(Self {
                protocol: None,
                authority: None,
                port: None,
                target: text,
            });
        }
        let (scheme, rest) = text.split_once("://")?;
        let protocol = match scheme.to_ascii_lowercase().as_str() {
            "http" => Protocol::Http,
            "https" => Protocol::Https,
            "grpc" => Protocol::Grpc,
            "grpcs" => Protocol::Grpcs,
            _ => return None,
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at_checked(end)?;
        // Credentials in an address are not sent in it.
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        if authority.is_empty() {
            return None;
        }
        let port = match authority.rsplit_once(':') {
            Some((_, port)) if !port.contains(']') => Some(port.parse().ok()?),
            Some(_) | None => None,
        };
        Some(Self {
            protocol: Some(protocol),
            authority: Some(authority),
            port,
            target: if target.is_empty() { "/" } else { target },
        })
    }
}
