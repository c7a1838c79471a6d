//! Who may call: one rule for every path of the agent's interface.
//!
//! In: how the interface is set up, and a request's method, path and header fields. Out: a [`Grant`], or why not. Without a token
//! only a loopback address is served, and only under a name of this host, so that a page in a browser cannot reach the agent
//! through a name that it controls (DNS rebinding). With a token everything but the two probes asks for it. No page of another
//! site may write, whatever it presents. Deliberately absent: users and roles.

use std::net::IpAddr;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::telemetry::secret::Secret;

/// Kong's own field for it.
const KONG_TOKEN: &str = "kong-admin-token";
/// Paths that say no more than yes or no, for those who cannot present a token (kubelets).
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// How the interface is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// To everybody on this host. For loopback addresses only.
    ThisHost,
    /// To whoever presents the token.
    Token(Secret),
}

/// What a request that may pass may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Whether the agent is up, and not why.
    Probe,
    /// Everything but tokens.
    ThisHost,
    /// Everything: it presented the token.
    Token,
}

/// Why a request may not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It was sent to a name that is not this host's.
    #[error("this interface answers to localhost only")]
    OtherName,
    /// The token is missing or wrong.
    #[error("present the token of admin.token, as a bearer token or in Kong-Admin-Token")]
    NoToken,
    /// A browser sent it for a page of another site.
    #[error("a page of another site cannot write here")]
    OtherSite,
}

impl Denied {
    /// The status that says so.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::OtherName => StatusCode::MISDIRECTED_REQUEST,
            Self::NoToken => StatusCode::UNAUTHORIZED,
            Self::OtherSite => StatusCode::FORBIDDEN,
        }
    }
}

/// Judges a request.
///
/// # Errors
/// [`Denied`].
pub fn judge(access: &Access, method: &Method, path: &str, headers: &HeaderMap) -> Result<Grant, Denied> {
    let grant = match access {
        Access::ThisHost if names_this_host(headers.get(header::HOST)) => Grant::ThisHost,
        Access::ThisHost => return Err(Denied::OtherName),
        Access::Token(token) if presents(headers, token) => Grant::Token,
        Access::Token(_) if PROBES.contains(&path) => Grant::Probe,
        Access::Token(_) => return Err(Denied::NoToken),
    };
    let is_read = method == Method::GET || method == Method::HEAD;
    if !is_read && is_of_another_site(headers) {
        return Err(Denied::OtherSite);
    }
    Ok(grant)
}

/// Browsers send `Origin` with every write, and say in `Sec-Fetch-Site` whose page asked; the agent has no page of its own.
fn is_of_another_site(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site");
    headers.contains_key(header::ORIGIN) || site.is_some_and(|site| site != "none")
}

fn names_this_host(host: Option<&HeaderValue>) -> bool {
    // HTTP/1.0 clients may send none; a browser always does.
    let Some(host) = host else { return true };
    let Ok(authority) = Authority::try_from(host.as_bytes()) else {
        return false;
    };
    let name = authority.host();
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn presents(headers: &HeaderMap, token: &Secret) -> bool {
    let kong = headers.get(KONG_TOKEN).map(HeaderValue::as_bytes);
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
        // RFC 6750 section 2.1; the scheme is case-insensitive (RFC 9110 section 11.1).
        let (scheme, rest) = value.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(rest)
    });
    let mut presented = kong.into_iter().chain(bearer);
    presented.any(|presented| is_same(presented.trim_ascii(), token.expose().as_bytes()))
}

/// Compares to the end, so that the time taken says nothing about where they differ.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let differing = one.iter().zip(other).fold(0, |seen, (a, b)| seen | (a ^ b));
    std::hint::black_box(differing) == 0 && one.len() == other.len()
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};

    use super::{Access, Denied, Grant, judge};
    use crate::telemetry::secret::Secret;

    fn check(
        access: &Access,
        method: Method,
        path: &str,
        fields: &[(&str, &str)],
        expected: Result<Grant, Denied>,
    ) {
        let headers: HeaderMap = fields
            .iter()
            .map(|(name, value)| {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                (name, HeaderValue::from_str(value).unwrap())
            })
            .collect();
        assert_eq!(
            judge(access, &method, path, &headers),
            expected,
            "{method} {path} {fields:?}"
        );
    }

    #[test]
    fn without_a_token_only_names_of_this_host_are_answered() {
        let here = Ok(Grant::ThisHost);
        for (host, expected) in [
            ("localhost", here),
            ("LOCALHOST:8011", here),
            ("127.0.0.1", here),
            ("127.9.9.9:1", here),
            ("[::1]:8011", here),
            ("[::1]", here),
            ("evil.example", Err(Denied::OtherName)),
            ("localhost.evil.example:8011", Err(Denied::OtherName)),
            ("10.0.0.1:8011", Err(Denied::OtherName)),
            ("127.0.0.1.evil.example", Err(Denied::OtherName)),
            ("", Err(Denied::OtherName)),
        ] {
            check(
                &Access::ThisHost,
                Method::POST,
                "/plugins",
                &[("host", host)],
                expected,
            );
            check(
                &Access::ThisHost,
                Method::GET,
                "/status",
                &[("host", host)],
                expected,
            );
        }
        check(&Access::ThisHost, Method::GET, "/status", &[], here);
    }

    #[test]
    fn a_token_that_is_set_is_asked_for_everywhere_but_at_the_probes() {
        let access = Access::Token(Secret::new("s3cret"));
        let name = ("host", "agent.example:8011");
        for (field, expected) in [
            (("kong-admin-token", "s3cret"), Ok(Grant::Token)),
            (("authorization", "Bearer s3cret"), Ok(Grant::Token)),
            (("authorization", "bearer  s3cret "), Ok(Grant::Token)),
            (("kong-admin-token", "s3cre"), Err(Denied::NoToken)),
            (("kong-admin-token", "s3crett"), Err(Denied::NoToken)),
            (("kong-admin-token", ""), Err(Denied::NoToken)),
            (("authorization", "Basic s3cret"), Err(Denied::NoToken)),
            (("authorization", "s3cret"), Err(Denied::NoToken)),
            (("x-other", "s3cret"), Err(Denied::NoToken)),
        ] {
            check(&access, Method::GET, "/plugins", &[name, field], expected);
            check(&access, Method::DELETE, "/plugins/x", &[name, field], expected);
        }
        check(
            &access,
            Method::GET,
            "/status",
            &[("host", "localhost")],
            Err(Denied::NoToken),
        );
        check(&access, Method::GET, "/healthz", &[name], Ok(Grant::Probe));
        check(&access, Method::GET, "/readyz", &[], Ok(Grant::Probe));
    }

    #[test]
    fn pages_of_other_sites_may_not_write() {
        let host = ("host", "127.0.0.1:8011");
        for field in [
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                let denied = Err(Denied::OtherSite);
                check(&Access::ThisHost, method, "/plugins", &[host, field], denied);
            }
            check(
                &Access::ThisHost,
                Method::GET,
                "/plugins",
                &[host, field],
                Ok(Grant::ThisHost),
            );
        }
        check(
            &Access::ThisHost,
            Method::POST,
            "/plugins",
            &[host, ("sec-fetch-site", "none")],
            Ok(Grant::ThisHost),
        );
    }
}
