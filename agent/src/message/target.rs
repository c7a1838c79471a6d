//! `request.url`: scheme, host, listener port and raw target, as nginx's variables gave them to the old plugin.
//!
//! In: a request head and its connection. Out: text. The scheme is the client connection's (never
//! `X-Forwarded-Proto`), the host loses its port, the port is the listener's and always printed, the target keeps its
//! bytes (Kong 0.13.1 `log-serializers/runscope.lua`: `$scheme://$host:$server_port$request_uri`). Behind `port_maps`, which came with
//! 2.0, it is the outer port, as in the serializer that Kong has since (Kong 3.9 `pdk/log.lua`).

use crate::http::exchange::{ConnInfo, Request};
use crate::message::redact::Rules;

/// nginx's `server_name` in Kong's template: what `$host` is when a request names no host.
const SERVER_NAME: &str = "kong";

/// The URL of `request`, with what `rules` hide in its query hidden. `outer_port` is the listener's in `port_maps`, if it is there.
pub(super) fn url(conn: &ConnInfo, outer_port: Option<u16>, request: &Request, rules: &Rules<'_>) -> String {
    let (authority, path) = split_target(&request.target);
    let host = authority
        .filter(|authority| !authority.is_empty())
        .or_else(|| {
            request
                .headers
                .first("host")
                .or_else(|| request.headers.first(":authority"))
                .map(AsRef::as_ref)
        })
        .map(host_of)
        .filter(|host| !host.is_empty())
        .unwrap_or_else(|| SERVER_NAME.to_owned());
    let path = rules.hide_in_url(path);
    let scheme = if conn.tls { "https" } else { "http" };

    let mut url = String::with_capacity(scheme.len() + host.len() + path.len() + "://:65535/".len());
    url.push_str(scheme);
    url.push_str("://");
    url.push_str(&host);
    url.push(':');
    url.push_str(&outer_port.unwrap_or_else(|| conn.local.port()).to_string());
    if !path.starts_with(b"/") {
        url.push('/');
    }
    push_text(&mut url, &path);
    url
}

/// Takes the absolute form (RFC 9112, 3.2.2) apart; the other forms are all path.
fn split_target(target: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let Some(scheme_ends) = target.windows(3).position(|window| window == b"://") else {
        return (None, target);
    };
    let is_scheme = target
        .get(..scheme_ends)
        .is_some_and(|scheme| !scheme.is_empty() && scheme.iter().all(u8::is_ascii_alphanumeric));
    let Some(rest) = target.get(scheme_ends + 3..).filter(|_| is_scheme) else {
        return (None, target);
    };
    let path_starts = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?' | b'#'))
        .unwrap_or(rest.len());
    let (authority, path) = rest.split_at(path_starts);
    (Some(authority), path)
}

/// nginx's `$host`: without user information, port and trailing dot, in lower case; brackets of an IPv6 literal stay.
fn host_of(authority: &[u8]) -> String {
    let host = authority.rsplit(|byte| *byte == b'@').next().unwrap_or(authority);
    let port_starts = match host.iter().position(|byte| *byte == b']') {
        Some(bracket) if host.starts_with(b"[") => bracket + 1,
        Some(_) | None => host.iter().position(|byte| *byte == b':').unwrap_or(host.len()),
    };
    let host = host.get(..port_starts).unwrap_or(host);
    let host = host.strip_suffix(b".").unwrap_or(host);
    let mut text = String::with_capacity(host.len());
    push_text(&mut text, host);
    text.make_ascii_lowercase();
    text
}

/// Adds bytes as text. Bytes that are not UTF-8 become percent escapes, which stand for the same bytes in a URL.
fn push_text(text: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::url;
    use crate::message::redact::{Redaction, Rules};
    use crate::message::tests::exchange;

    fn check(tls: bool, port: u16, host: Option<&str>, target: &str, expected: &str) {
        let headers: Vec<(&str, &str)> = host.into_iter().map(|host| ("Host", host)).collect();
        let mut joined = exchange("GET", target, &headers, "", 200, &[], "");
        joined.client.conn.tls = tls;
        joined.client.conn.local.set_port(port);
        let request = joined.client.request.as_ref().unwrap();
        let rules = Rules::new(&Redaction::None, &[]);
        assert_eq!(
            url(&joined.client.conn, None, request, &rules),
            expected,
            "{host:?} {target}"
        );
    }

    #[test]
    fn the_url_is_what_nginx_variables_make_of_it() {
        check(
            false,
            8000,
            Some("api.example.com:8000"),
            "/orders?x=1&x=2",
            "http://api.example.com:8000/orders?x=1&x=2",
        );
        check(
            true,
            8443,
            Some("API.Example.com"),
            "/A%20b",
            "https://api.example.com:8443/A%20b",
        );
        check(false, 80, Some("h"), "/", "http://h:80/");
        check(false, 8000, Some("h:9999"), "/", "http://h:8000/");
        check(false, 8000, Some("h."), "/", "http://h:8000/");
        check(false, 8000, None, "/x", "http://kong:8000/x");
        check(false, 8000, Some(""), "/x", "http://kong:8000/x");
        check(false, 8000, Some("[::1]:8000"), "/x", "http://[::1]:8000/x");
        check(
            false,
            8000,
            Some("[2001:DB8::1]"),
            "/x",
            "http://[2001:db8::1]:8000/x",
        );
        check(
            false,
            8000,
            Some("other"),
            "http://Host.Example:81/x?y",
            "http://host.example:8000/x?y",
        );
        check(
            false,
            8000,
            Some("other"),
            "http://u:p@host.example",
            "http://host.example:8000/",
        );
        check(
            false,
            8000,
            Some("other"),
            "http://host.example?x=1",
            "http://host.example:8000/?x=1",
        );
        check(
            false,
            8000,
            Some("h"),
            "/redirect?to=http://else/",
            "http://h:8000/redirect?to=http://else/",
        );
        check(false, 8000, Some("h"), "*", "http://h:8000/*");
    }

    #[test]
    fn behind_mapped_ports_the_port_is_the_clients() {
        let joined = exchange("GET", "/x", &[("Host", "h:1")], "", 200, &[], "");
        let request = joined.client.request.as_ref().unwrap();
        let rules = Rules::new(&Redaction::None, &[]);
        assert_eq!(
            url(&joined.client.conn, Some(443), request, &rules),
            "http://h:443/x"
        );
    }

    #[test]
    fn bytes_that_are_not_text_become_escapes() {
        let mut joined = exchange("GET", "/", &[("Host", "h")], "", 200, &[], "");
        let request = joined.client.request.as_mut().unwrap();
        request.target = bytes::Bytes::from_static(b"/\xff\xc3\xa9");
        let request = joined.client.request.as_ref().unwrap();
        let rules = Rules::new(&Redaction::None, &[]);
        assert_eq!(
            url(&joined.client.conn, None, request, &rules),
            "http://h:8000/%FF\u{e9}"
        );
    }
}
