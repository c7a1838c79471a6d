//! The request's headers as a plugin inside Kong saw them, rebuilt from both legs.
//!
//! In: a joined exchange. Out: its request headers. The plugin read them at the end of the request: what the client sent, as
//! the other plugins left it. nginx composes the upstream request from the same list and adds its own lines, so the upstream
//! leg shows what plugins took out, changed and added, once the names that nginx itself handles are set aside.
//! Absent: redaction, and the plugin's habit of lower-case names and of dropping what follows the hundredth line.

use crate::correlate::JoinedExchange;
use crate::http::headers::{Header, Headers};

/// Names that nginx sets, rewrites or drops towards the upstream whatever the request's header list says: those of Kong's
/// `proxy_set_header` lines (Kong 3.9.0, `kong/templates/nginx_kong.lua`) and the hop-by-hop and framing fields (RFC 9110, section
/// 7.6.1). For these the upstream leg is no witness: the client's lines stay and the upstream's are ignored.
const HANDLED_BY_NGINX: [&str; 18] = [
    "Connection",
    "Content-Length",
    "Expect",
    "Host",
    "Keep-Alive",
    "Proxy-Connection",
    "TE",
    "Transfer-Encoding",
    "Upgrade",
    "Via",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Path",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Proto",
    "X-Kong-Request-Id",
    "X-Real-IP",
];

/// The request headers as Kong's plugins saw them after all of them had run: the client's in their order with the values
/// that the upstream got, without those that it did not get, then those that only it got. Without an upstream leg, the client's as
/// they were sent.
#[must_use]
pub fn plugin_view(joined: &JoinedExchange) -> Headers {
    let sent = joined.client.request.as_ref().map(|request| &request.headers);
    let sent = sent.map_or(&[][..], |headers| headers.0.as_slice());
    // A retry repeats the request, so any attempt would do; the answer's is the one that the plugins ran last for.
    let passed_on = joined.upstream.iter().rev().find_map(|leg| leg.request.as_ref());
    let Some(passed_on) = passed_on else {
        return Headers(sent.to_vec());
    };

    // Lines are handed out by name, first come first served, which keeps the order of repeats.
    let mut unclaimed: Vec<Option<&Header>> = passed_on
        .headers
        .0
        .iter()
        .filter(|header| !is_handled_by_nginx(header))
        .map(Some)
        .collect();
    let mut view: Vec<Header> = sent
        .iter()
        .filter_map(|header| {
            if is_handled_by_nginx(header) {
                return Some(header);
            }
            unclaimed
                .iter_mut()
                .find(|slot| slot.is_some_and(|other| is_same_name(other, header)))
                .and_then(Option::take)
        })
        .cloned()
        .collect();
    view.extend(unclaimed.into_iter().flatten().cloned());
    Headers(view)
}

pub(super) fn is_handled_by_nginx(header: &Header) -> bool {
    HANDLED_BY_NGINX
        .iter()
        .any(|name| header.name.eq_ignore_ascii_case(name.as_bytes()))
}

fn is_same_name(one: &Header, other: &Header) -> bool {
    one.name.eq_ignore_ascii_case(&other.name)
}

#[cfg(test)]
mod tests;
