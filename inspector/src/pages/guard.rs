//! What stands between the pages and other web sites: response headers, and the check of the `Host` header.
//!
//! A site can give its own name the address 127.0.0.1 and have a visitor's browser read these pages as if they were its
//! own (DNS rebinding). The browser then sends the site's name as `Host`, so only names that are known are answered.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode, header};

use crate::app::App;

/// Nothing but our own two static files and the event stream; no inline script or style, no form, no frame.
pub(crate) const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Adds the headers that every answer carries.
pub(crate) async fn secure(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The names under which the pages may be asked for.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    names: Vec<String>,
    /// Listening on every address: any address may be asked for. A rebinding site has a name, never an address.
    any_address: bool,
}

impl Hosts {
    pub(crate) fn new(mut names: Vec<String>, listening: IpAddr) -> Self {
        names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
        names.push(listening.to_string());
        Self {
            names,
            any_address: listening.is_unspecified(),
        }
    }

    /// Whether a `Host` value names us. The port is left aside: port forwarding changes it, and an attacker cannot use it.
    fn know(&self, host: &str) -> bool {
        let name = without_port(host).to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        self.names.iter().any(|known| known == name) || (self.any_address && name.parse::<IpAddr>().is_ok())
    }
}

fn without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').map_or(rest, |(address, _)| address);
    }
    host.split_once(':').map_or(host, |(name, _)| name)
}

/// Refuses requests for names that are not ours.
pub(crate) async fn known_host(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let known = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().is_ok_and(|host| app.hosts.know(host)),
        (None, _) | (Some(_), Some(_)) => false,
    };
    if known {
        return next.run(request).await;
    }
    super::problem(
        StatusCode::MISDIRECTED_REQUEST,
        "Unknown host name",
        "These pages are not served under the name in the address bar. Open them as http://127.0.0.1 with the port, or start \
         the inspector with --host NAME.",
    )
}

#[cfg(test)]
mod tests {
    use super::Hosts;

    #[test]
    fn only_our_own_names_are_known() {
        let loopback = Hosts::new(vec!["inspector.example".into()], "127.0.0.1".parse().unwrap());
        let everywhere = Hosts::new(vec![], "0.0.0.0".parse().unwrap());
        for (host, on_loopback, on_every_address) in [
            ("localhost", true, true),
            ("LOCALHOST:8012", true, true),
            ("localhost.:8012", true, true),
            ("127.0.0.1:9", true, true),
            ("[::1]:8012", true, true),
            ("[::1]", true, true),
            ("inspector.example:443", true, false),
            ("192.0.2.1", false, true),
            ("[2001:db8::1]:1", false, true),
            ("evil.example", false, false),
            ("127.0.0.1.evil.example", false, false),
            ("localhost.evil.example:8012", false, false),
            ("evil.example:127.0.0.1", false, false),
            ("", false, false),
        ] {
            assert_eq!(loopback.know(host), on_loopback, "{host}");
            assert_eq!(everywhere.know(host), on_every_address, "{host}");
        }
    }
}
