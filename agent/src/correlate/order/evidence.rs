//! What a client's request and an upstream leg say of each other when no request id ties them.
//!
//! In: views of both. Out: whether they *can* belong together, whether they *look* as if they did, and what tells two clients
//! apart. The first may only say no where nothing in Kong or in its plugins can make it a yes, since whoever is ruled out wrongly
//! leaves the leg to somebody else; the second may say no whenever in doubt, since that costs a join and nothing more.
//!
//! What the gateway adds itself (Kong 0.12 on, `kong/runloop/handler.lua`, formerly `kong/core/handler.lua`): the last address of
//! `X-Forwarded-For` is the client's, or, where the client sent no such field, what the realip module took from another field;
//! `X-Forwarded-Proto`, `-Host` and (2.2 on) `-Path` are the request's own, or those that a trusted client sent. They are set
//! after the plugins' changes to the request's fields, and no bundled plugin changes them.

use std::net::IpAddr;

use bytes::Bytes;

use crate::capture::event::KernelTime;
use crate::correlate::GATEWAY_ERROR_STATUS_MIN;
use crate::correlate::merge::is_handled_by_nginx;
use crate::correlate::provenance;
use crate::http::exchange::{ConnInfo, Exchange, HeadState, Outcome, Request, Response};
use crate::http::headers::Headers;
use crate::http::open::OpenRequest;

/// A field line that two clients are told apart by has a value of at least so many bytes: a trace id, a cookie, a token, and
/// not a word that a plugin may add to somebody else's request.
const TELLING_BYTES_MIN: usize = 16;

/// Fields that Kong's tracing plugins set anew for their own span (B3; W3C's and Jaeger's begin with the trace's id, which stays).
const SPAN_FIELDS: [&str; 3] = ["x-b3-spanid", "x-b3-parentspanid", "x-datadog-parent-id"];

/// The beginning of a trace field that a tracer keeps, in bytes: the version and two thirds of the id of a `traceparent`.
const TRACE_BYTES: usize = 24;

/// Statuses after which nginx can be told to ask the next peer (`proxy_next_upstream`).
const RETRIED_STATUSES: [u16; 7] = [403, 404, 429, 500, 502, 503, 504];

/// A client's request: finished, under way, or gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client<'a> {
    pub(super) conn: &'a ConnInfo,
    pub(super) started: KernelTime,
    /// No upstream request of its can start after this.
    pub(super) until: KernelTime,
    /// When its response began.
    answered: Option<KernelTime>,
    /// When its response ended, if that came to its proper end.
    over: Option<KernelTime>,
    id: Option<&'a Bytes>,
    head: Option<Asked<'a>>,
    request: Option<&'a Request>,
    response: Option<&'a Response>,
}

#[derive(Clone, Copy, Debug)]
struct Asked<'a> {
    target: &'a [u8],
    headers: &'a Headers,
    is_whole: bool,
}

impl<'a> Client<'a> {
    /// A finished one that was taken in at `since`; `id` is what its response names.
    pub(super) fn finished(exchange: &'a Exchange, since: KernelTime, id: Option<&'a Bytes>) -> Self {
        let request = exchange.request.as_ref();
        let response = exchange.response.as_ref();
        let is_over = match exchange.outcome {
            Outcome::Complete => true,
            Outcome::ResponseAbsent | Outcome::ResponseCut | Outcome::HeadLost | Outcome::Upgraded => false,
        };
        Self {
            conn: &exchange.conn,
            started: request.map_or(KernelTime(0), |request| request.started),
            until: response.map_or(since, |response| response.started),
            answered: response.map(|response| response.started),
            over: response.filter(|_| is_over).map(|response| response.ended),
            id,
            head: request.map(|request| Asked {
                target: &request.target,
                headers: &request.headers,
                is_whole: request.head == HeadState::Whole,
            }),
            request,
            response,
        }
    }

    /// One that is under way.
    pub(super) fn open(open: &'a OpenRequest) -> Self {
        Self {
            conn: &open.conn,
            started: open.started,
            until: open.answered.unwrap_or(KernelTime(u64::MAX)),
            answered: open.answered,
            over: None,
            id: None,
            head: open.head.as_ref().map(|head| Asked {
                target: &head.target,
                headers: &head.headers,
                is_whole: head.is_whole,
            }),
            request: None,
            response: None,
        }
    }

    /// One that left alone, and may have asked until `until`.
    pub(super) fn gone(gone: &'a OpenRequest, until: KernelTime) -> Self {
        Self {
            until,
            ..Self::open(gone)
        }
    }

    pub(super) const fn worker(&self) -> u32 {
        self.conn.id.tgid
    }

    fn whole_head(&self) -> Option<Asked<'a>> {
        self.head.filter(|head| head.is_whole)
    }
}

/// An upstream leg of which the request was seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt<'a> {
    worker: u32,
    request: &'a Request,
    response: Option<&'a Response>,
    id: Option<&'a Bytes>,
}

impl<'a> Attempt<'a> {
    /// `None`: its request was not seen.
    pub(super) fn of(leg: &'a Exchange, id: Option<&'a Bytes>) -> Option<Self> {
        Some(Self {
            worker: leg.conn.id.tgid,
            request: leg.request.as_ref()?,
            response: leg.response.as_ref(),
            id,
        })
    }

    pub(super) const fn worker(&self) -> u32 {
        self.worker
    }

    pub(super) const fn started(&self) -> KernelTime {
        self.request.started
    }

    fn ended(&self) -> KernelTime {
        self.response
            .map_or(self.request.ended, |response| response.ended)
    }

    /// Whether the gateway may have asked another peer afterwards.
    pub(super) fn may_be_repeated(&self) -> bool {
        self.response
            .is_none_or(|response| RETRIED_STATUSES.contains(&response.status))
    }

    /// Whether `next` repeats this one: the same request, after this one failed.
    pub(super) fn is_repeated_by(&self, next: &Self) -> bool {
        self.may_be_repeated()
            && self.ended() <= next.started()
            && self.request.method == next.request.method
            && self.request.target == next.request.target
            && self.id == next.id
            && forwarded_for(&self.request.headers) == forwarded_for(&next.request.headers)
    }
}

/// Whether the gateway made this request for a client: it says for whom. Calls of plugins and health checks do not.
pub(super) fn is_on_behalf(request: &Request) -> bool {
    request.headers.contains("X-Forwarded-For") || request.headers.contains("X-Real-IP")
}

/// Whether nothing rules out that `attempt` was made for `client`.
pub(super) fn can_belong(client: &Client<'_>, attempt: &Attempt<'_>) -> bool {
    client.worker() == attempt.worker
        && is_nested(client, attempt)
        && !differ(client.id, attempt.id)
        && !is_from_elsewhere(client, attempt)
        && !asks_for_something_else(client, attempt)
        && !was_answered_by_the_gateway(client, attempt)
}

/// A worker does one thing after another: it reads a request before it passes it on, an upstream's answer before the
/// client gets one, and all of it before the client has all.
fn is_nested(client: &Client<'_>, attempt: &Attempt<'_>) -> bool {
    let answered = attempt.response.map(|response| response.started);
    let is_answered_later = answered
        .zip(client.answered)
        .is_some_and(|(one, other)| one > other);
    client.started <= attempt.started()
        && attempt.started() <= client.until
        && !is_answered_later
        && client.over.is_none_or(|over| attempt.ended() <= over)
}

fn differ(one: Option<&Bytes>, other: Option<&Bytes>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one != other)
}

/// Whether the attempt names another client address, which this client does not name anywhere.
fn is_from_elsewhere(client: &Client<'_>, attempt: &Attempt<'_>) -> bool {
    origin(client, attempt) == Origin::Elsewhere
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The client's own address.
    Peer,
    /// An address that one of its fields has: that of a client behind a trusted proxy.
    Named,
    /// Neither.
    Elsewhere,
    /// It cannot be told.
    Unknown,
}

fn origin(client: &Client<'_>, attempt: &Attempt<'_>) -> Origin {
    let headers = &attempt.request.headers;
    let last = forwarded_for(headers)
        .and_then(|list| list.rsplit(|byte| *byte == b',').next())
        .or_else(|| headers.first("X-Real-IP").map(|value| &**value))
        .map(<[u8]>::trim_ascii);
    let Some(text) = last else {
        return Origin::Unknown;
    };
    let peer = client.conn.remote.ip();
    let address = str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse::<IpAddr>().ok());
    let Some(address) = address.filter(|_| !peer.is_unspecified()) else {
        return Origin::Unknown;
    };
    if address.to_canonical() == peer.to_canonical() {
        return Origin::Peer;
    }
    let Some(head) = client.whole_head() else {
        return Origin::Unknown;
    };
    let names_it = |value: &Bytes| value.windows(text.len()).any(|part| part == text);
    if head.headers.0.iter().any(|header| names_it(&header.value)) {
        Origin::Named
    } else {
        Origin::Elsewhere
    }
}

/// `X-Forwarded-For`: the gateway sends one line.
fn forwarded_for(headers: &Headers) -> Option<&[u8]> {
    headers.first("X-Forwarded-For").map(|value| &**value)
}

/// Whether the attempt names another scheme, host or path than this client asked for.
fn asks_for_something_else(client: &Client<'_>, attempt: &Attempt<'_>) -> bool {
    let Some(head) = client.whole_head() else {
        return false;
    };
    let passed_on = &attempt.request.headers;
    let disagrees = |name: &str, own: Option<&[u8]>, alike: fn(&[u8], &[u8]) -> bool| {
        let (Some(said), Some(own)) = (passed_on.first(name), own) else {
            return false;
        };
        !alike(said, own) && !head.headers.all(name).any(|value| alike(said, value))
    };
    let is_known = !client.conn.remote.ip().is_unspecified();
    let scheme: &[u8] = if client.conn.tls { b"https" } else { b"http" };
    let host = head.headers.first("Host").map(|value| &**value);
    disagrees(
        "X-Forwarded-Proto",
        is_known.then_some(scheme),
        <[u8]>::eq_ignore_ascii_case,
    ) || disagrees("X-Forwarded-Host", host, is_same_host)
        || disagrees("X-Forwarded-Path", path(head.target), |one, other| one == other)
}

/// The path of an origin-form target. Kong looks for the query behind the first byte.
fn path(target: &[u8]) -> Option<&[u8]> {
    if !target.starts_with(b"/") {
        return None;
    }
    let end = target.iter().position(|byte| *byte == b'?');
    target.get(..end.unwrap_or(target.len()))
}

/// Whether two hosts are the same but for case, port and a final dot, which nginx's `$host` has not.
fn is_same_host(one: &[u8], other: &[u8]) -> bool {
    fn name(host: &[u8]) -> &[u8] {
        let is_port = |colon: &usize| {
            host.get(colon + 1..)
                .is_some_and(|port| port.iter().all(u8::is_ascii_digit))
        };
        let colon = host.iter().rposition(|byte| *byte == b':').filter(is_port);
        // `[::1]` ends with a bracket, so what follows its last colon is no port.
        let name = host.get(..colon.unwrap_or(host.len())).unwrap_or(host);
        name.strip_suffix(b".").unwrap_or(name)
    }
    name(one).eq_ignore_ascii_case(name(other))
}

/// Whether Kong says that it answered this client itself, and not because the upstream (a Kong too) said so.
fn was_answered_by_the_gateway(client: &Client<'_>, attempt: &Attempt<'_>) -> bool {
    client.response.is_some_and(provenance::says_own)
        && attempt
            .response
            .is_some_and(|answer| !provenance::says_own(answer))
}

/// Whether a field of `client` that `attempt` carries tells it from `other`, who sent no such line.
pub(super) fn is_told_from(client: &Client<'_>, other: &Client<'_>, attempt: &Attempt<'_>) -> bool {
    let (Some(own), Some(others)) = (client.whole_head(), other.whole_head()) else {
        return false;
    };
    let came_for = |head: &Asked<'_>| {
        let list = listed_addresses(head.headers);
        let passed_on = forwarded_for(&attempt.request.headers);
        list.zip(passed_on)
            .is_some_and(|(list, passed_on)| is_appended(passed_on, &list))
    };
    if came_for(&own) && !came_for(&others) {
        return true;
    }
    own.headers
        .0
        .iter()
        .filter(|line| line.value.len() >= TELLING_BYTES_MIN && !is_handled_by_nginx(line))
        .any(|line| {
            let has = |headers: &Headers| {
                headers
                    .0
                    .iter()
                    .any(|header| header.value == line.value && header.name.eq_ignore_ascii_case(&line.name))
            };
            has(&attempt.request.headers) && !has(others.headers)
        })
}

/// What a client's `X-Forwarded-For` lines come to in nginx's one variable.
fn listed_addresses(headers: &Headers) -> Option<Vec<u8>> {
    let lines: Vec<&[u8]> = headers.all("X-Forwarded-For").map(|value| &**value).collect();
    (!lines.is_empty()).then(|| lines.join(&b", "[..]))
}

/// Whether `passed_on` is `list` and one address more.
fn is_appended(passed_on: &[u8], list: &[u8]) -> bool {
    let more = passed_on
        .strip_prefix(list)
        .and_then(|rest| rest.strip_prefix(b", "));
    more.is_some_and(|more| !more.contains(&b','))
}

/// Whether `last`, the attempt that would have served `client`, looks as if it had.
pub(super) fn fits(client: &Client<'_>, last: &Attempt<'_>) -> bool {
    let (Some(head), Some(request)) = (client.whole_head(), client.request) else {
        return false;
    };
    let is_for_it = match origin(client, last) {
        Origin::Peer | Origin::Named => true,
        Origin::Elsewhere | Origin::Unknown => false,
    };
    is_for_it
        && is_listed(head.headers, last)
        && was_mostly_passed_on(&request.headers, &last.request.headers)
        && !names_somebody_else(&request.headers, &last.request.headers)
        && is_answer(client.response, last.response)
}

/// Whether the client's list of addresses is the beginning of what was passed on.
fn is_listed(headers: &Headers, attempt: &Attempt<'_>) -> bool {
    match (listed_addresses(headers), forwarded_for(&attempt.request.headers)) {
        (Some(list), Some(passed_on)) => is_appended(passed_on, &list),
        (None, Some(passed_on)) => !passed_on.contains(&b','),
        (_, None) => true,
    }
}

/// Whether at least half of the client's own lines are there unchanged.
fn was_mostly_passed_on(sent: &Headers, passed_on: &Headers) -> bool {
    let own = sent.0.iter().filter(|header| !is_handled_by_nginx(header));
    let (mut lines, mut kept) = (0_u32, 0_u32);
    for header in own {
        lines += 1;
        let is_there = passed_on
            .0
            .iter()
            .any(|other| other.value == header.value && other.name.eq_ignore_ascii_case(&header.name));
        kept += u32::from(is_there);
    }
    kept.saturating_mul(2) >= lines
}

/// Whether a telling field has another value than the client sent, other than a tracer's, which keeps the beginning.
fn names_somebody_else(sent: &Headers, passed_on: &Headers) -> bool {
    let begins_alike = |one: &[u8], other: &[u8]| {
        let begin = one.get(..TRACE_BYTES);
        one == other || begin.is_some_and(|begin| other.starts_with(begin))
    };
    sent.0
        .iter()
        .filter(|line| line.value.len() >= TELLING_BYTES_MIN && !is_handled_by_nginx(line))
        .filter(|line| {
            !SPAN_FIELDS
                .iter()
                .any(|name| line.name.eq_ignore_ascii_case(name.as_bytes()))
        })
        .any(|line| {
            let mut same_name = passed_on
                .0
                .iter()
                .filter(|other| other.name.eq_ignore_ascii_case(&line.name))
                .peekable();
            same_name.peek().is_some() && !same_name.any(|other| begins_alike(&line.value, &other.value))
        })
}

/// Whether what the client got can be what the upstream sent: its status and its `Date`, which Kong passes through, or an error
/// of the gateway's for an attempt without an answer.
fn is_answer(got: Option<&Response>, sent: Option<&Response>) -> bool {
    match (got, sent) {
        (None, _) => true,
        (Some(got), None) => got.status >= GATEWAY_ERROR_STATUS_MIN,
        (Some(got), Some(sent)) => {
            let date = |response: &Response| response.headers.first("Date").cloned();
            got.status == sent.status
                && !provenance::says_own(sent)
                && date(sent).is_none_or(|sent| date(got).is_some_and(|got| got == sent))
        }
    }
}
