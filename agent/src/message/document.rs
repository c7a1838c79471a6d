//! The message's JSON, object by object.
//!
//! In: [`BuildInput`]. Out: JSON text, written field by field from borrowed parts.

use std::borrow::Cow;

use serde::Serialize;

use crate::guard::levels::Shed;
use crate::http::exchange::{Body, Request, Response, Version};
use crate::http::headers::Headers;
use crate::message::body::BodyField;
use crate::message::fields::{Digits, HeaderObject, SecondsFromMs, Text};
use crate::message::form::Form;
use crate::message::kong::{Kong, UniqueIdentifier};
use crate::message::redact::{MARK, RedactedBody, Rules};
use crate::message::shed::{Bodies, Noted, Part, Sheet};
use crate::message::shedding::cut;
use crate::message::{BuildInput, Profile, answer, target};

/// Room for everything but bodies and headers: the fixed keys, the `kong` object, timestamps.
const OVERHEAD_BYTES: usize = 1536;

/// Writes the message. Its bodies' places are noted, so that it can be sent without them.
#[expect(
    clippy::expect_used,
    reason = "memory takes every byte, every key is text and no value refuses to be written"
)]
pub(super) fn write(input: &BuildInput<'_>, shed: Shed) -> (Vec<u8>, Bodies) {
    let rules = Rules::new(input.redaction, &input.resolution.credentials).decoding(input.decoded_bytes);
    let client = &input.joined.client;
    let kept = Kept {
        request: client.request.as_ref().map(|request| cut(&request.body, shed)),
        response: client.response.as_ref().map(|response| cut(&response.body, shed)),
    };
    let sheet = Sheet::default();
    let document = Document::new(input, &rules, &kept, shed, &sheet);
    sheet.reserve(document.estimated_bytes(input, &kept));
    serde_json::to_writer(&sheet, &document).expect("JSON is written to memory");
    sheet.finish()
}

/// What is left of the bodies under the steps in force.
struct Kept<'a> {
    request: Option<Cow<'a, Body>>,
    response: Option<Cow<'a, Body>>,
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<RequestObject<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<ResponseObject<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unique_identifier: Option<UniqueIdentifier<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kong: Option<Kong<'a>>,
}

#[derive(Debug, Serialize)]
struct RequestObject<'a> {
    url: String,
    method: Text<'a>,
    headers: HeaderObject<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Noted<'a, BodyField<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_encoding: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    form: Option<Noted<'a, Form>>,
    timestamp: SecondsFromMs,
}

#[derive(Debug, Serialize)]
struct ResponseObject<'a> {
    status: u16,
    headers: HeaderObject<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Noted<'a, BodyField<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_encoding: Option<&'static str>,
    size_bytes: Digits,
    timestamp: SecondsFromMs,
    response_time: SecondsFromMs,
}

impl<'a> Document<'a> {
    fn new(
        input: &BuildInput<'a>,
        rules: &Rules<'_>,
        kept: &'a Kept<'_>,
        shed: Shed,
        sheet: &'a Sheet,
    ) -> Self {
        let request = input.joined.client.request.as_ref().zip(kept.request.as_deref());
        let response = input
            .joined
            .client
            .response
            .as_ref()
            .zip(kept.response.as_deref());
        let shape = BodyShape::of(input);
        let shown = match request {
            Some((request, body)) if shape.request == BodyPart::Captured => {
                rules.hide_in_body(&request.headers, body)
            }
            Some(_) | None => RedactedBody::Shown((&[]).into()),
        };
        let is_withheld = shown == RedactedBody::Withheld;
        Self {
            request: request.map(|(request, body)| {
                request_object(input, rules, request, body.is_whole(), (shape, shown), sheet)
            }),
            response: response
                .map(|(response, body)| response_object(input, rules, response, body, shape, sheet)),
            unique_identifier: match input.profile {
                Profile::Plugin => None,
                Profile::Extended => Some(UniqueIdentifier::of(input.joined, input.wall)),
            },
            kong: match input.profile {
                Profile::Plugin => None,
                Profile::Extended => Some(Kong::new(input, rules, is_withheld, shed, sheet)),
            },
        }
    }

    /// A guess at the text's length that spares the buffer most of its growing: it has room for the quotes of a body that is JSON
    /// itself; other escapes and base64 take more.
    fn estimated_bytes(&self, input: &BuildInput<'_>, kept: &Kept<'_>) -> usize {
        let headers = |headers: &Headers| -> usize {
            headers
                .0
                .iter()
                .map(|header| header.name.len() + header.value.len() + 6)
                .sum()
        };
        let body = |field: Option<&Noted<'_, BodyField<'_>>>, body: Option<&Body>| {
            field.and(body).map_or(0, |body| body.bytes.len())
        };
        let request = input.joined.client.request.as_ref().map_or(0, |request| {
            let shown = self.request.as_ref().and_then(|part| part.body.as_ref());
            body(shown, kept.request.as_deref()) + request.target.len()
        });
        let response = input.joined.client.response.as_ref().map_or(0, |response| {
            let shown = self.response.as_ref().and_then(|part| part.body.as_ref());
            body(shown, kept.response.as_deref()) + headers(&response.headers)
        });
        let bodies_and_headers = request + response + headers(input.request_headers);
        bodies_and_headers + bodies_and_headers / 4 + OVERHEAD_BYTES
    }
}

fn request_object<'a>(
    input: &BuildInput<'a>,
    rules: &Rules<'_>,
    request: &'a Request,
    is_whole: bool,
    (shape, shown): (BodyShape, RedactedBody<'a>),
    sheet: &'a Sheet,
) -> RequestObject<'a> {
    let is_form = shape.request == BodyPart::Captured && Form::is_claimed(&request.headers);
    let form = match (&shown, shape.request) {
        (_, BodyPart::Absent) => None,
        (RedactedBody::Shown(bytes), BodyPart::Captured) if is_form => Some(Form::parse(bytes, is_whole)),
        (RedactedBody::Shown(_) | RedactedBody::Withheld, BodyPart::Empty | BodyPart::Captured) => {
            Some(Form::default())
        }
    };
    let body = match (shown, shape.request) {
        (_, BodyPart::Absent) => None,
        (_, BodyPart::Empty) => Some(BodyField::Text("".into())),
        (RedactedBody::Withheld, BodyPart::Captured) => Some(BodyField::Text(MARK.into())),
        // nginx has no body to give when there is none.
        (RedactedBody::Shown(bytes), BodyPart::Captured) if bytes.is_empty() => None,
        (RedactedBody::Shown(bytes), BodyPart::Captured) => {
            Some(BodyField::new(bytes, is_whole, input.profile))
        }
    };
    RequestObject {
        url: target::url(
            &input.joined.client.conn,
            input.resolution.outer_port,
            request,
            rules,
        ),
        method: Text(method(input, request)),
        headers: HeaderObject::of_request(input.request_headers, rules),
        body_encoding: body.as_ref().and_then(BodyField::encoding),
        body: body.map(|body| sheet.note(Part::RequestBody, body)),
        form: form.map(|form| sheet.note(Part::Form, form)),
        timestamp: SecondsFromMs(input.wall.unix_ms(request.started)),
    }
}

fn response_object<'a>(
    input: &BuildInput<'a>,
    rules: &Rules<'_>,
    response: &'a Response,
    captured: &'a Body,
    shape: BodyShape,
    sheet: &'a Sheet,
) -> ResponseObject<'a> {
    let body = match shape.response {
        BodyPart::Absent => None,
        BodyPart::Empty => Some(BodyField::Text("".into())),
        BodyPart::Captured => Some(BodyField::new(
            (&*captured.bytes).into(),
            captured.is_whole(),
            input.profile,
        )),
    };
    let ended_ms = input.wall.unix_ms(response.ended);
    let started_ms = input
        .joined
        .client
        .request
        .as_ref()
        .map_or(ended_ms, |request| input.wall.unix_ms(request.started));
    ResponseObject {
        status: response.status,
        headers: HeaderObject::of_response(
            &response.headers,
            rules,
            connection(input.profile, response),
            unseen_header(input, response),
        ),
        body_encoding: body.as_ref().and_then(BodyField::encoding),
        body: body.map(|body| sheet.note(Part::ResponseBody, body)),
        size_bytes: Digits(response.body.wire_bytes),
        timestamp: SecondsFromMs(ended_ms),
        response_time: SecondsFromMs(ended_ms.saturating_sub(started_ms)),
    }
}

/// The method as the plugin saw it at log time: a plugin may have changed it, which the upstream leg shows.
fn method<'a>(input: &BuildInput<'a>, request: &'a Request) -> &'a [u8] {
    input
        .joined
        .upstream
        .last()
        .and_then(|attempt| attempt.request.as_ref())
        .map_or(&request.method, |sent| &sent.method)
}

/// The value of the `connection` field, which the old plugin's view of a response always had.
///
/// It was nginx's intent at log time, not the wire's field, and nginx clears its keep-alive flag of an HTTP/1 request
/// before it logs: a real plugin posted `close` where the client read `keep-alive` (testdata/runscope). HTTP/2 requests
/// keep the flag (nginx `ngx_http_finalize_connection`). The extended profile sends what the client read.
fn connection(profile: Profile, response: &Response) -> &[u8] {
    match (profile, response.version) {
        (Profile::Plugin, _) if response.status == 101 => b"upgrade",
        (Profile::Plugin, Version::Http10 | Version::Http11) => b"close",
        (Profile::Plugin | Profile::Extended, Version::Http2) => b"keep-alive",
        (Profile::Extended, Version::Http10 | Version::Http11) => {
            let default: &[u8] = if response.version == Version::Http10 {
                b"close"
            } else {
                b"keep-alive"
            };
            response
                .headers
                .first("connection")
                .map_or(default, |value| value)
        }
    }
}

/// A field of the wire that the plugin did not see: nginx writes `Date` into the answers that Kong makes itself, after
/// the plugins' view of them. On proxied answers it is the upstream's, which the plugin saw.
fn unseen_header(input: &BuildInput<'_>, response: &Response) -> Option<&'static str> {
    let is_kongs_own = answer::answered_by(input.joined) == Some(answer::AnsweredBy::Gateway)
        && !response.headers.contains(answer::UPSTREAM_LATENCY);
    (input.profile == Profile::Plugin && is_kongs_own).then_some("date")
}

/// Which of the body keys are there, and what they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BodyShape {
    request: BodyPart,
    response: BodyPart,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyPart {
    /// No key.
    Absent,
    /// `""`: bodies are not logged.
    Empty,
    /// What was captured.
    Captured,
}

impl BodyShape {
    /// The plugin prepared these keys in its `access` phase; where that did not run, they are missing from the plugin's
    /// message. The extended profile has no reason to hide a request from whoever looks into a 401.
    fn of(input: &BuildInput<'_>) -> Self {
        let is_skipped = match input.profile {
            Profile::Plugin => answer::was_access_skipped(input.joined, input.resolution),
            Profile::Extended => false,
        };
        let (request, response) = match (is_skipped, input.config.log_body) {
            (false, true) => (BodyPart::Captured, BodyPart::Captured),
            (false, false) => (BodyPart::Empty, BodyPart::Empty),
            (true, true) => (BodyPart::Absent, BodyPart::Captured),
            (true, false) => (BodyPart::Absent, BodyPart::Absent),
        };
        Self { request, response }
    }
}
