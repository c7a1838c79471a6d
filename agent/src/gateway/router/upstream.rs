//! What the gateway does with a request once it has its route: refuse it for its scheme, or send it on under another path.
//!
//! In: a route, how its path matched, the Service's path. Out: the upstream path, as it stands on the upstream leg, or the
//! answer that the gateway makes by itself. Rules: K@3.9 kong/router/{utils,traditional,atc}.lua, kong/runloop/handler.lua;
//! K@0.13.1 kong/core/router.lua. Deliberately absent: the query, which is passed on unchanged, and the escaping of what
//! normalising decoded.

use crate::gateway::entities::{PathHandling, Route, Upstream};
use crate::gateway::router::profile::{Era, RouterFlavor, RouterProfile};

pub(super) mod captures;

/// What of a request the gateway sends on in another form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOn {
    /// The path, without the query, which is passed on unchanged.
    pub path: Vec<u8>,
    /// `Host`; `None` where nothing says it. Where the Service's host is an Upstream of Kong's, that Upstream may name another.
    pub host: Option<Vec<u8>>,
    /// `X-Forwarded-Prefix`: what was taken off the path.
    pub prefix: Option<Vec<u8>>,
    /// What the groups of the route's regular expression took.
    pub captures: Vec<captures::Capture>,
}

/// What of a request's path a route matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// Nothing: the route asks for no path.
    None,
    /// This text: the bytes that are taken off, and what `X-Forwarded-Prefix` says.
    Text(Vec<u8>),
    /// All of it, by a branch of a regular expression that does not say where it ends.
    Unbounded,
}

impl PathMatch {
    fn taken(&self) -> Option<usize> {
        match self {
            Self::None | Self::Unbounded => None,
            Self::Text(text) => Some(text.len()),
        }
    }
}

/// An answer that the gateway gives to a request which its protocols do not allow, before any plugin runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Asked in plain, served by TLS only: 426, or one of the redirects.
    NeedsTls {
        /// `https_redirect_status_code`.
        status: u16,
    },
    /// gRPC by another version than HTTP/2: 426.
    NeedsHttp2,
    /// No gRPC on a gRPC route: 415.
    NotGrpc,
    /// Plain gRPC on a `grpcs` route: 200 with `grpc-status: 1`.
    GrpcNeedsTls,
}

impl Refusal {
    /// The status of the answer.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::NeedsTls { status } => status,
            Self::NeedsHttp2 => 426,
            Self::NotGrpc => 415,
            Self::GrpcNeedsTls => 200,
        }
    }
}

/// What of a request its refusal depends on.
#[derive(Clone, Copy, Debug)]
pub struct Approach<'a> {
    /// The scheme that the gateway believes: its own, or `X-Forwarded-Proto` of a trusted proxy.
    pub tls: bool,
    /// Whether it came by HTTP/2.
    pub http2: bool,
    /// `Content-Type`.
    pub content_type: Option<&'a [u8]>,
}

/// Whether the gateway refuses a request that takes `route`.
#[must_use]
pub fn refusal(route: &Route, approach: Approach<'_>) -> Option<Refusal> {
    if route.api.as_ref().is_some_and(|api| api.https_only) && !approach.tls {
        return Some(Refusal::NeedsTls { status: 426 });
    }
    if route.serves("https") && !route.serves("http") && !approach.tls {
        let status = route.https_redirect_status_code;
        return Some(Refusal::NeedsTls { status });
    }
    if !route.serves("grpc") && !route.serves("grpcs") {
        return None;
    }
    let is_grpc = approach
        .content_type
        .is_some_and(|content_type| content_type.starts_with(b"application/grpc"));
    if !is_grpc {
        return Some(Refusal::NotGrpc);
    }
    if !approach.http2 {
        return Some(Refusal::NeedsHttp2);
    }
    (!route.serves("grpc") && !approach.tls).then_some(Refusal::GrpcNeedsTls)
}

/// `Host` on the upstream leg: the client's own, port and all, or the Service's, with its port where that is not the scheme's own
/// [K@3.9 kong/runloop/handler.lua, balancer.prepare].
pub(super) fn upstream_host(
    route: &Route,
    upstream: Option<&Upstream>,
    host: Option<&[u8]>,
) -> Option<Vec<u8>> {
    if route.preserve_host {
        return host.map(<[u8]>::to_vec);
    }
    let upstream = upstream?;
    let own = match upstream.protocol.as_deref() {
        Some("https" | "grpcs") => 443,
        Some(_) | None => 80,
    };
    let name = upstream.host.as_deref()?;
    Some(match upstream.port {
        Some(port) if port != own => format!("{name}:{port}").into_bytes(),
        Some(_) | None => name.as_bytes().to_vec(),
    })
}

/// The path on the upstream leg for a normalised request path.
pub(super) fn upstream_path(
    route: &Route,
    service_path: Option<&str>,
    request_path: &[u8],
    matched: &PathMatch,
    profile: &RouterProfile,
) -> Vec<u8> {
    let base = service_path
        .filter(|path| !path.is_empty())
        .unwrap_or("/")
        .as_bytes();
    let era = profile.era();
    let is_atc = profile.flavor != RouterFlavor::Traditional;
    let rest = match matched.taken() {
        Some(taken) => sanitise(request_path.get(taken..).unwrap_or_default()),
        None => request_path.get(1..).unwrap_or_default(),
    };
    if era < Era::V1_0 {
        return legacy(route, base, request_path, matched);
    }
    // Before 1.5 there was one way only.
    let default = if era < Era::V2_0 {
        PathHandling::V1
    } else {
        PathHandling::V0
    };
    match route.path_handling.unwrap_or(default) {
        // The expression flavours know one way only.
        PathHandling::V1 if !is_atc => {
            if !route.strip_path {
                return [base, request_path.get(1..).unwrap_or_default()].concat();
            }
            joined_once(base, rest)
        }
        PathHandling::V0 | PathHandling::V1 => with_one_slash(route, base, request_path, rest),
    }
}

fn with_one_slash(route: &Route, base: &[u8], request_path: &[u8], rest: &[u8]) -> Vec<u8> {
    let open = base.strip_suffix(b"/").unwrap_or(base);
    let is_open = open.len() == base.len();
    if !route.strip_path {
        return match request_path {
            b"/" if is_open => base.to_vec(),
            path => [open, path].concat(),
        };
    }
    match rest {
        [] if base == b"/" => b"/".to_vec(),
        [] if request_path.len() > 1 && request_path.ends_with(b"/") => [open, b"/"].concat(),
        // A request for `/` alone keeps the slash that the base has.
        [] if request_path == b"/" => base.to_vec(),
        [] => open.to_vec(),
        [b'/', ..] => [open, rest].concat(),
        rest => [open, b"/", rest].concat(),
    }
}

/// Joined as they are, but for a doubled slash.
fn joined_once(base: &[u8], rest: &[u8]) -> Vec<u8> {
    match base.strip_suffix(b"/") {
        Some(open) if rest.starts_with(b"/") => [open, rest].concat(),
        Some(_) | None => [base, rest].concat(),
    }
}

/// 0.13 and 0.14: what follows a match gets a slash, and the base loses its own.
fn legacy(route: &Route, base: &[u8], request_path: &[u8], matched: &PathMatch) -> Vec<u8> {
    let is_root = request_path == b"/";
    let path = match matched.taken() {
        Some(taken) if route.strip_path && !is_root => {
            let rest = request_path.get(taken..).unwrap_or_default();
            [b"/", rest.strip_prefix(b"/").unwrap_or(rest)].concat()
        }
        Some(_) | None => request_path.to_vec(),
    };
    if base == b"/" {
        return path;
    }
    let open = base.strip_suffix(b"/").unwrap_or(base);
    if path != b"/" {
        return [open, &path].concat();
    }
    let asked_for_slash = request_path.ends_with(b"/");
    let base_has_slash = open.len() != base.len();
    match (base_has_slash, is_root, asked_for_slash) {
        (true, true, _) | (true, _, true) => base.to_vec(),
        (true, false, false) | (false, true, _) | (false, false, false) => open.to_vec(),
        (false, false, true) => [open, b"/"].concat(),
    }
}

/// What follows a match must not climb.
fn sanitise(rest: &[u8]) -> &[u8] {
    match rest {
        b"." | b".." => b"",
        [b'.', b'.', b'/', rest @ ..] | [b'.', b'/', rest @ ..] => rest,
        rest => rest,
    }
}
