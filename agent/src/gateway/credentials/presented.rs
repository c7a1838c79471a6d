//! What a request shows to one auth plugin.
//!
//! In: a request and where the plugin looks. Out: the text that names a credential, in the order in which Kong looks (3.9
//! kong/plugins/{key-auth,jwt,oauth2}/handler.lua, basic-auth/access.lua, hmac-auth/access.lua). Nothing is verified here: that is
//! what the gateway did. Deliberately absent: whose the credential is.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::gateway::credentials::authenticator::{JwtPlaces, KeyPlaces};
use crate::http::exchange::{HeadState, Request};

/// Arguments that Kong reads of a query or a form, at most.
const MAX_ARGUMENTS: usize = 100;
/// Kong cannot read fields of a body that nginx put on disk: `client_body_buffer_size`, 8k by default.
const MAX_BODY_BYTES: usize = 8 * 1024;
/// Longest token that is decoded, bytes; the gateway takes no larger header by default.
const MAX_TOKEN_BYTES: usize = 32 * 1024;

/// What stands where a plugin looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Presented {
    /// Nothing.
    Absent,
    /// What names a credential.
    Identity(Vec<u8>),
    /// Something that the gateway refuses without looking whose it is.
    Invalid,
    /// It cannot be said: the place was not seen, or not whole.
    Unclear,
}

/// What a named argument is.
enum Argument<'a> {
    Absent,
    Text(Cow<'a, str>),
    Several,
    Unclear,
}

/// `key-auth`: for each name the header, the query, the body.
pub(super) fn key(places: &KeyPlaces, request: &Request) -> Presented {
    let mut body = None;
    for name in &places.names {
        if places.in_header {
            let mut values = header(request, name);
            match (values.next(), values.next()) {
                (None, _) => {}
                (Some(_), Some(_)) => return Presented::Invalid,
                (Some(key), None) => return identity(key),
            }
        }
        if places.in_query {
            match argument(query(request), name) {
                Argument::Text(key) => return identity(key.as_bytes()),
                Argument::Several => return Presented::Invalid,
                Argument::Absent | Argument::Unclear => {}
            }
        }
        if places.in_body {
            let body = body.get_or_insert_with(|| Body::of(request));
            match body.field(name) {
                Argument::Text(key) => return identity(key.as_bytes()),
                Argument::Several => return Presented::Invalid,
                Argument::Unclear => return Presented::Unclear,
                Argument::Absent => {}
            }
        }
    }
    absent_from(request)
}

/// `basic-auth`: the user name of `Proxy-Authorization`, else of `Authorization`.
pub(super) fn basic(request: &Request) -> Presented {
    either_authorization(request, |value| {
        let coded = after_scheme(value, "basic")?;
        let decoded = STANDARD.decode(coded.trim_ascii()).ok()?;
        let colon = decoded.iter().position(|byte| *byte == b':')?;
        decoded.get(..colon).map(<[u8]>::to_vec)
    })
}

/// `hmac-auth`: `hmac username="…", algorithm="…", …`.
pub(super) fn hmac(request: &Request) -> Presented {
    either_authorization(request, |value| {
        let fields = after_scheme(value, "hmac")?.trim_ascii_start();
        let rest = fields.strip_prefix(b"username=\"")?;
        let end = rest.windows(2).position(|pair| pair == b"\",")?;
        let after = rest.get(end.saturating_add(2)..)?.trim_ascii_start();
        let name = rest.get(..end).filter(|name| !name.is_empty())?;
        after.starts_with(b"algorithm=\"").then(|| name.to_vec())
    })
}

/// `jwt`: the claim that names the key, unverified. Several different tokens are refused.
pub(super) fn jwt(places: &JwtPlaces, request: &Request) -> Presented {
    let mut tokens: Vec<Vec<u8>> = Vec::new();
    let mut add = |token: &[u8]| {
        if !token.is_empty() && !tokens.iter().any(|known| known == token) {
            tokens.push(token.to_vec());
        }
    };
    for name in &places.queries {
        for (_, value) in arguments(query(request)).filter(|(own, _)| own == name) {
            add(value.as_bytes());
        }
    }
    for name in &places.cookies {
        if let Some(value) = cookie(request, name) {
            add(value);
        }
    }
    for name in &places.headers {
        if let Some(token) = header(request, name)
            .next()
            .and_then(|value| after_scheme(value, "bearer"))
        {
            add(token.trim_ascii());
        }
    }
    match tokens.as_slice() {
        [] => absent_from(request),
        [token] => claim(token, &places.claim).map_or(Presented::Invalid, Presented::Identity),
        [_, _, ..] => Presented::Invalid,
    }
}

/// `oauth2`: the argument `access_token`, else the header.
pub(super) fn token(header_name: &str, request: &Request) -> Presented {
    match argument(query(request), "access_token") {
        Argument::Text(token) => return identity(token.as_bytes()),
        Argument::Several => return Presented::Invalid,
        Argument::Absent | Argument::Unclear => {}
    }
    match Body::of(request).field("access_token") {
        Argument::Text(token) => return identity(token.as_bytes()),
        Argument::Several => return Presented::Invalid,
        Argument::Unclear => return Presented::Unclear,
        Argument::Absent => {}
    }
    let value = header(request, header_name).next();
    let token =
        value.and_then(|value| after_scheme(value, "bearer").or_else(|| after_scheme(value, "token")));
    token.map_or_else(|| absent_from(request), |token| identity(token.trim_ascii()))
}

/// Whether a cookie, or a header that carries credentials of any scheme, is there.
pub(super) fn has_cookie(request: &Request, name: &str) -> bool {
    cookie(request, name).is_some()
}

/// Whether `Authorization` or `Proxy-Authorization` is there.
pub(super) fn has_authorization(request: &Request) -> bool {
    request.headers.contains("proxy-authorization") || request.headers.contains("authorization")
}

fn identity(text: &[u8]) -> Presented {
    if text.is_empty() {
        Presented::Absent
    } else {
        Presented::Identity(text.to_vec())
    }
}

/// A field that was not seen may have been there.
fn absent_from(request: &Request) -> Presented {
    match request.head {
        HeadState::Whole => Presented::Absent,
        HeadState::Partial | HeadState::FromUpstream => Presented::Unclear,
    }
}

fn either_authorization(request: &Request, read: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Presented {
    let found = ["proxy-authorization", "authorization"]
        .into_iter()
        .filter_map(|name| header(request, name).next())
        .find_map(read);
    found.map_or_else(|| absent_from(request), Presented::Identity)
}

/// The values of a header; Kong takes `_` for `-`.
fn header<'a>(request: &'a Request, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let same = move |own: &[u8]| {
        own.len() == name.len()
            && own
                .iter()
                .zip(name.as_bytes())
                .all(|(own, wanted)| own.eq_ignore_ascii_case(wanted) || (*wanted == b'_' && *own == b'-'))
    };
    let fields = request.headers.0.iter();
    fields
        .filter(move |field| same(&field.name))
        .map(|field| &*field.value)
}

/// What follows a scheme's name, in any case.
fn after_scheme<'a>(value: &'a [u8], scheme: &str) -> Option<&'a [u8]> {
    let value = value.trim_ascii_start();
    let (own, rest) = value.split_at_checked(scheme.len())?;
    let is_apart = rest.first().is_some_and(u8::is_ascii_whitespace);
    (own.eq_ignore_ascii_case(scheme.as_bytes()) && is_apart).then(|| rest.trim_ascii_start())
}

fn query(request: &Request) -> &[u8] {
    let mark = request.target.iter().position(|byte| *byte == b'?');
    mark.and_then(|mark| request.target.get(mark.saturating_add(1)..))
        .unwrap_or_default()
}

fn arguments(text: &[u8]) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    url::form_urlencoded::parse(text).take(MAX_ARGUMENTS)
}

fn argument<'a>(text: &'a [u8], name: &str) -> Argument<'a> {
    let mut values = arguments(text)
        .filter(|(own, _)| own == name)
        .map(|(_, value)| value);
    match (values.next(), values.next()) {
        (None, _) => Argument::Absent,
        (Some(_), Some(_)) => Argument::Several,
        (Some(value), None) if value.is_empty() => Argument::Absent,
        (Some(value), None) => Argument::Text(value),
    }
}

/// A cookie as nginx finds it: between `;`.
fn cookie<'a>(request: &'a Request, name: &str) -> Option<&'a [u8]> {
    let lines = request.headers.all("cookie");
    let mut pairs = lines.flat_map(|line| line.split(|byte| *byte == b';'));
    pairs.find_map(|pair| {
        let pair = pair.trim_ascii();
        let rest = pair.get(name.len()..)?;
        let own = pair.get(..name.len())?;
        own.eq_ignore_ascii_case(name.as_bytes())
            .then(|| rest.strip_prefix(b"="))
            .flatten()
    })
}

/// A token's claim, else the field of that name in its header [K@3.9 kong/plugins/jwt/handler.lua].
fn claim(token: &[u8], name: &str) -> Option<Vec<u8>> {
    if token.len() > MAX_TOKEN_BYTES {
        return None;
    }
    let mut parts = token.split(|byte| *byte == b'.');
    let (header, claims) = (parts.next()?, parts.next()?);
    let read = |part: &[u8]| -> Option<Vec<u8>> {
        let unpadded = part
            .trim_ascii()
            .strip_suffix(b"==")
            .or_else(|| part.strip_suffix(b"="));
        let json = URL_SAFE_NO_PAD.decode(unpadded.unwrap_or(part)).ok()?;
        let value: Value = serde_json::from_slice(&json).ok()?;
        let text = value.get(name)?.as_str()?;
        (!text.is_empty()).then(|| text.as_bytes().to_vec())
    };
    read(claims).or_else(|| read(header))
}

/// The fields of a body, as far as Kong finds any (`kong.request.get_body`).
enum Body<'a> {
    Form(&'a [u8]),
    Json(Value),
    None,
    Unclear,
}

impl<'a> Body<'a> {
    fn of(request: &'a Request) -> Self {
        let body = &request.body;
        if body.total_bytes == 0 && body.complete {
            return Self::None;
        }
        let says = |text: &str| {
            request.headers.all("content-type").any(|value| {
                let value = value.to_ascii_lowercase();
                value.windows(text.len()).any(|part| part == text.as_bytes())
            })
        };
        let is_form = says("application/x-www-form-urlencoded");
        let is_json = says("application/json");
        if !is_form && !is_json && !says("multipart/") {
            return Self::None;
        }
        let is_readable = body.is_whole()
            && body.bytes.len() <= MAX_BODY_BYTES
            && !request.headers.contains("content-encoding");
        match (is_readable, is_form, is_json) {
            (true, true, false) => Self::Form(&body.bytes),
            (true, false, true) => match serde_json::from_slice(&body.bytes) {
                Ok(value) => Self::Json(value),
                Err(_) => Self::None,
            },
            _ => Self::Unclear,
        }
    }

    fn field(&self, name: &str) -> Argument<'_> {
        match self {
            Self::None => Argument::Absent,
            Self::Unclear => Argument::Unclear,
            Self::Form(text) => argument(text, name),
            Self::Json(value) => match value.get(name) {
                Some(Value::String(text)) => Argument::Text(Cow::Borrowed(text)),
                Some(Value::Array(_) | Value::Object(_)) => Argument::Several,
                Some(Value::Null | Value::Bool(_) | Value::Number(_)) | None => Argument::Absent,
            },
        }
    }
}
