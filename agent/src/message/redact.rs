//! What a message must not say: credentials, hidden before the message exists (invariant I7).
//!
//! In: the operator's [`Redaction`] and the places that the gateway's configuration reads credentials from. Out: the
//! same bytes with [`MARK`] in place of values. Only requests carry credentials to the gateway, so responses pass
//! unchanged, except that a `location` gets the treatment of the URL; what a service chooses to echo is its own affair.
//!
//! Names are compared without regard to case everywhere: that hides at times more than Kong would read, never less.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::gateway::snapshot::CredentialPlace;
use crate::http::exchange::Body;
use crate::http::headers::Headers;
use crate::message::form;

mod coded;
mod json;

/// Stands where a value was hidden.
pub const MARK: &str = "REDACTED";

/// What to hide. The choice is the operator's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Redaction {
    /// What Kong's own log serializer hides (`authorization`, `proxy-authorization`), and the places from which the
    /// auth plugins on the route read credentials.
    #[default]
    Default,
    /// The default, and these too.
    DefaultAnd(RedactedNames),
    /// Nothing: messages are as the old plugin sent them.
    None,
}

/// Names, in any case, of what to hide beyond the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedactedNames {
    /// Request headers.
    pub headers: Vec<String>,
    /// Query parameters, form fields and top-level fields of JSON bodies.
    pub fields: Vec<String>,
    /// Cookies.
    pub cookies: Vec<String>,
}

/// Every name whose values are hidden, by where it stands: for whoever hides values before there is an exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HiddenNames {
    /// Header fields.
    pub headers: BTreeSet<String>,
    /// Query parameters.
    pub queries: BTreeSet<String>,
    /// Fields of bodies.
    pub fields: BTreeSet<String>,
    /// Cookies.
    pub cookies: BTreeSet<String>,
}

impl HiddenNames {
    /// What `redaction` hides where credentials stand in `places`.
    #[must_use]
    pub fn of(redaction: &Redaction, places: &[CredentialPlace]) -> Self {
        let rules = Rules::new(redaction, places);
        let of = |kind| rules.names(kind).map(str::to_ascii_lowercase).collect();
        let mut names = Self {
            headers: of(Kind::Header),
            queries: of(Kind::Query),
            fields: of(Kind::BodyField),
            cookies: of(Kind::Cookie),
        };
        if rules.hides_credentials {
            names.headers.extend(ALWAYS_HIDDEN_HEADERS.map(str::to_owned));
        }
        names
    }

    /// Adds the names of `other`.
    pub fn extend(&mut self, other: Self) {
        self.headers.extend(other.headers);
        self.queries.extend(other.queries);
        self.fields.extend(other.fields);
        self.cookies.extend(other.cookies);
    }
}

const ALWAYS_HIDDEN_HEADERS: [&str; 2] = ["authorization", "proxy-authorization"];

/// How much of a body under a content coding is looked through unless the operator says otherwise, bytes.
pub const DECODED_BYTES: usize = 1 << 20;

/// Headers that hold a URL, which may repeat the query of the request.
pub(crate) const URL_HEADERS: [&str; 2] = ["referer", "location"];

/// [`Redaction`] and credential places together: what to hide in one exchange.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules<'a> {
    hides_credentials: bool,
    places: &'a [CredentialPlace],
    names: Option<&'a RedactedNames>,
    /// At most so many bytes are decoded of a body to look through it.
    decoded_bytes: usize,
}

/// What became of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RedactedBody<'a> {
    /// It may be sent: as it was, or with values hidden.
    Shown(Cow<'a, [u8]>),
    /// It may hold a credential that cannot be told from the rest.
    Withheld,
}

impl<'a> Rules<'a> {
    pub(super) fn new(redaction: &'a Redaction, places: &'a [CredentialPlace]) -> Self {
        let (hides_credentials, names) = match redaction {
            Redaction::Default => (true, None),
            Redaction::DefaultAnd(names) => (true, Some(names)),
            Redaction::None => (false, None),
        };
        Self {
            hides_credentials,
            places: if hides_credentials { places } else { &[] },
            names,
            decoded_bytes: DECODED_BYTES,
        }
    }

    /// The same, with at most `bytes` decoded of a body under a content coding; with 0 such a body is withheld.
    pub(super) const fn decoding(self, bytes: usize) -> Self {
        Self {
            decoded_bytes: bytes,
            ..self
        }
    }

    /// The value of a header field as it may be sent.
    pub(super) fn hide_in_header<'v>(&self, name: &[u8], value: &'v [u8]) -> Cow<'v, [u8]> {
        if self.hides_header(name) {
            Cow::Borrowed(MARK.as_bytes())
        } else if name.eq_ignore_ascii_case(b"cookie") && self.has(Kind::Cookie) {
            self.hide_in_cookies(value)
        } else if URL_HEADERS
            .iter()
            .any(|header| name.eq_ignore_ascii_case(header.as_bytes()))
        {
            self.hide_in_url(value)
        } else {
            Cow::Borrowed(value)
        }
    }

    /// A URL or request target with the values of hidden query parameters hidden.
    pub(super) fn hide_in_url<'v>(&self, url: &'v [u8]) -> Cow<'v, [u8]> {
        let query_starts = url.iter().position(|byte| *byte == b'?').map(|mark| mark + 1);
        match query_starts.and_then(|start| url.split_at_checked(start)) {
            Some((path, query)) if self.has(Kind::Query) => match self.hide_in_pairs(Kind::Query, query) {
                Cow::Borrowed(_) => Cow::Borrowed(url),
                Cow::Owned(query) => Cow::Owned([path, &query].concat()),
            },
            Some(_) | None => Cow::Borrowed(url),
        }
    }

    /// A request body with the values of hidden fields hidden.
    ///
    /// Kong reads fields from form, JSON and multipart bodies (`kong.request.get_body`). The first two are searched; one
    /// of these that is not whole, not well formed or multipart is withheld. Bodies of other types are withheld only when
    /// they spell the name of a hidden field. Under a content coding any of them is withheld unless it is known to hold none.
    pub(super) fn hide_in_body<'v>(&self, headers: &Headers, body: &'v Body) -> RedactedBody<'v> {
        let bytes: &[u8] = &body.bytes;
        if bytes.is_empty() || !self.has(Kind::BodyField) {
            return RedactedBody::Shown(Cow::Borrowed(bytes));
        }
        if is_coded(headers) {
            return if coded::is_clear(self, headers, body) {
                RedactedBody::Shown(Cow::Borrowed(bytes))
            } else {
                RedactedBody::Withheld
            };
        }
        let shown = match BodyType::of(headers) {
            BodyType::Form if body.is_whole() => Some(self.hide_in_pairs(Kind::BodyField, bytes)),
            BodyType::Json if body.is_whole() => {
                json::hide_fields(bytes, |name| self.hides(Kind::BodyField, name))
            }
            BodyType::Form | BodyType::Json | BodyType::Opaque => None,
            BodyType::Other => (!self.spells_a_field(bytes)).then_some(Cow::Borrowed(bytes)),
        };
        shown.map_or(RedactedBody::Withheld, RedactedBody::Shown)
    }

    fn hides_header(&self, name: &[u8]) -> bool {
        (self.hides_credentials
            && ALWAYS_HIDDEN_HEADERS
                .iter()
                .any(|header| name.eq_ignore_ascii_case(header.as_bytes())))
            || self.hides(Kind::Header, name)
    }

    /// `name=value` pairs between `&`, names possibly percent-encoded.
    fn hide_in_pairs<'v>(&self, kind: Kind, pairs: &'v [u8]) -> Cow<'v, [u8]> {
        let is_hidden = |pair: &[u8]| {
            form::split_pair(pair).is_some_and(|(name, _)| self.hides(kind, &form::decode(name)))
        };
        if !pairs.split(|byte| *byte == b'&').any(is_hidden) {
            return Cow::Borrowed(pairs);
        }
        let mut out = Vec::with_capacity(pairs.len() + MARK.len());
        for (index, pair) in pairs.split(|byte| *byte == b'&').enumerate() {
            if index > 0 {
                out.push(b'&');
            }
            match form::split_pair(pair) {
                Some((name, _)) if is_hidden(pair) => {
                    out.extend_from_slice(name);
                    out.push(b'=');
                    out.extend_from_slice(MARK.as_bytes());
                }
                Some(_) | None => out.extend_from_slice(pair),
            }
        }
        Cow::Owned(out)
    }

    /// Cookies are separated by `;`. nginx's `$cookie_NAME` also takes a `,` before a name, but a value runs to the `;`.
    fn hide_in_cookies<'v>(&self, cookies: &'v [u8]) -> Cow<'v, [u8]> {
        let mut out = Vec::new();
        let mut is_changed = false;
        for (index, cookie) in cookies.split(|byte| *byte == b';').enumerate() {
            if index > 0 {
                out.push(b';');
            }
            match self.hidden_cookie_value(cookie) {
                Some(value_starts) => {
                    is_changed = true;
                    out.extend_from_slice(cookie.get(..value_starts).unwrap_or_default());
                    out.extend_from_slice(MARK.as_bytes());
                }
                None => out.extend_from_slice(cookie),
            }
        }
        if is_changed {
            Cow::Owned(out)
        } else {
            Cow::Borrowed(cookies)
        }
    }

    /// Where the value of the first hidden cookie between two `;` starts.
    fn hidden_cookie_value(&self, cookie: &[u8]) -> Option<usize> {
        let mut name_starts = 0;
        for part in cookie.split(|byte| *byte == b',') {
            if let Some((name, _)) = form::split_pair(part)
                && self.hides(Kind::Cookie, name.trim_ascii())
            {
                return Some(name_starts + name.len() + 1);
            }
            name_starts += part.len() + 1;
        }
        None
    }

    /// The names to hide of one kind.
    fn names(&self, kind: Kind) -> impl Iterator<Item = &'a str> {
        let credentials = self.places.iter().filter_map(move |place| match (kind, place) {
            (Kind::Header, CredentialPlace::Header(name))
            | (Kind::Query, CredentialPlace::Query(name))
            | (Kind::BodyField, CredentialPlace::BodyField(name))
            | (Kind::Cookie, CredentialPlace::Cookie(name)) => Some(name.as_str()),
            (
                _,
                CredentialPlace::Header(_)
                | CredentialPlace::Query(_)
                | CredentialPlace::BodyField(_)
                | CredentialPlace::Cookie(_),
            ) => None,
        });
        let chosen = self.names.map_or(&[][..], |names| match kind {
            Kind::Header => &names.headers,
            Kind::Query | Kind::BodyField => &names.fields,
            Kind::Cookie => &names.cookies,
        });
        credentials.chain(chosen.iter().map(String::as_str))
    }

    fn hides(&self, kind: Kind, name: &[u8]) -> bool {
        self.names(kind)
            .any(|hidden| name.eq_ignore_ascii_case(hidden.as_bytes()))
    }

    fn has(&self, kind: Kind) -> bool {
        self.names(kind).next().is_some()
    }

    fn spells_a_field(&self, bytes: &[u8]) -> bool {
        self.names(Kind::BodyField)
            .filter(|name| !name.is_empty())
            .any(|name| {
                bytes
                    .windows(name.len())
                    .any(|window| window.eq_ignore_ascii_case(name.as_bytes()))
            })
    }
}

/// Where a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Header,
    Query,
    BodyField,
    Cookie,
}

/// How a request body is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyType {
    /// Pairs.
    Form,
    /// JSON.
    Json,
    /// Kong would find fields in it, this code would not.
    Opaque,
    /// Kong finds no fields in it.
    Other,
}

impl BodyType {
    /// Under a content coding nothing is found as the bytes go by.
    pub(crate) fn of(headers: &Headers) -> Self {
        if is_coded(headers) {
            Self::Opaque
        } else {
            Self::within_codings(headers)
        }
    }

    /// The type of what the content codings are of.
    fn within_codings(headers: &Headers) -> Self {
        let claims = |text: &str| {
            headers
                .all("content-type")
                .any(|value| form::contains_ignoring_case(value, text.as_bytes()))
        };
        match (claims(form::CONTENT_TYPE), claims("json"), claims("multipart/")) {
            (false, false, false) => Self::Other,
            (true, false, false) => Self::Form,
            (false, true, false) => Self::Json,
            _ => Self::Opaque,
        }
    }
}

fn is_coded(headers: &Headers) -> bool {
    kongtap_content::is_coded(headers.all("content-encoding"))
}

#[cfg(test)]
mod tests;
