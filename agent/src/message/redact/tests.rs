//! A hidden value does not occur in a message, wherever it stood; what need not be hidden stays.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, proptest};
use serde_json::Value;

use super::{MARK, RedactedBody, RedactedNames, Redaction, Rules};
use crate::gateway::snapshot::CredentialPlace;
use crate::http::headers::Headers;
use crate::message::Profile;
use crate::message::tests::{exchange, message_of, nowhere, whole};

fn places() -> Vec<CredentialPlace> {
    vec![
        CredentialPlace::Header("apikey".to_owned()),
        CredentialPlace::Query("apikey".to_owned()),
        CredentialPlace::BodyField("apikey".to_owned()),
        CredentialPlace::Cookie("session".to_owned()),
    ]
}

fn rules<'a>(redaction: &'a Redaction, places: &'a [CredentialPlace]) -> Rules<'a> {
    Rules::new(redaction, places)
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

#[test]
fn query_parameters_are_hidden_by_name() {
    let places = places();
    let rules = rules(&Redaction::Default, &places);
    for (url, expected) in [
        ("/a?x=1", "/a?x=1"),
        ("/a", "/a"),
        ("/apikey=1", "/apikey=1"),
        ("/a?apikey=k", "/a?apikey=REDACTED"),
        ("/a?x=1&apikey=k=k&y", "/a?x=1&apikey=REDACTED&y"),
        ("/a?APIKEY=k", "/a?APIKEY=REDACTED"),
        ("/a?%61pikey=k", "/a?%61pikey=REDACTED"),
        ("/a?apikey=1&apikey=2", "/a?apikey=REDACTED&apikey=REDACTED"),
        ("/a?apikey", "/a?apikey"),
        ("/a?apikeys=k", "/a?apikeys=k"),
    ] {
        assert_eq!(text(&rules.hide_in_url(url.as_bytes())), expected);
    }
}

#[test]
fn headers_are_hidden_whole_and_cookies_by_name() {
    let places = places();
    let rules = rules(&Redaction::Default, &places);
    for (name, value, expected) in [
        ("Authorization", "Basic eA==", "REDACTED"),
        ("proxy-authorization", "x", "REDACTED"),
        ("ApiKey", "k", "REDACTED"),
        ("accept", "*/*", "*/*"),
        ("cookie", "a=1; session=k; b=2", "a=1; session=REDACTED; b=2"),
        ("Cookie", "session=k", "session=REDACTED"),
        ("cookie", "a=1, session=k,more; b=2", "a=1, session=REDACTED; b=2"),
        ("cookie", "a=session", "a=session"),
        ("set-cookie", "session=k", "session=k"),
        (
            "referer",
            "http://h/?apikey=k&x=1",
            "http://h/?apikey=REDACTED&x=1",
        ),
        ("location", "https://h/?apikey=k", "https://h/?apikey=REDACTED"),
    ] {
        assert_eq!(
            text(&rules.hide_in_header(name.as_bytes(), value.as_bytes())),
            expected,
            "{name}: {value}"
        );
    }
}

/// `expected`: `None` is a body that is withheld.
fn check_body(
    content_type: &str,
    coding: Option<&str>,
    body: &str,
    whole_body: bool,
    expected: Option<&str>,
) {
    let places = places();
    let mut headers = Headers::default();
    if !content_type.is_empty() {
        headers.push("Content-Type", content_type.to_owned());
    }
    if let Some(coding) = coding {
        headers.push("Content-Encoding", coding.to_owned());
    }
    let mut captured = whole(body.as_bytes());
    if !whole_body {
        captured.total_bytes += 1;
    }
    let shown = rules(&Redaction::Default, &places);
    let expected = expected.map_or(RedactedBody::Withheld, |body| {
        RedactedBody::Shown(body.as_bytes().to_vec().into())
    });
    assert_eq!(
        shown.hide_in_body(&headers, &captured),
        expected,
        "{content_type} {body}"
    );
    let nothing = rules(&Redaction::None, &places);
    assert_eq!(
        nothing.hide_in_body(&headers, &captured),
        RedactedBody::Shown(body.as_bytes().into())
    );
}

#[test]
fn body_fields_are_hidden_or_the_body_is_withheld() {
    let form = "application/x-www-form-urlencoded";
    let json = "application/json; charset=utf-8";
    check_body(form, None, "a=1&apikey=k", true, Some("a=1&apikey=REDACTED"));
    check_body(form, None, "a=1", true, Some("a=1"));
    check_body(form, None, "a=1&api", false, None);
    check_body(form, Some("gzip"), "a=1", true, None);
    check_body(form, Some("identity"), "a=1", true, Some("a=1"));
    check_body(
        json,
        None,
        r#"{"a":[1, 2], "apikey" : "k" }"#,
        true,
        Some(r#"{"a":[1, 2], "apikey" : "REDACTED" }"#),
    );
    check_body(
        json,
        None,
        r#"{"apikey":{"x":["k"]},"n":1e400}"#,
        true,
        Some(r#"{"apikey":"REDACTED","n":1e400}"#),
    );
    check_body(
        json,
        None,
        r#"{"\u0061pikey":1,"apikey":2}"#,
        true,
        Some(r#"{"\u0061pikey":"REDACTED","apikey":"REDACTED"}"#),
    );
    check_body(
        json,
        None,
        r#"{"in":{"apikey":"k"}}"#,
        true,
        Some(r#"{"in":{"apikey":"k"}}"#),
    );
    check_body(json, None, r#"[{"a":1}]"#, true, Some(r#"[{"a":1}]"#));
    check_body(json, None, "\"text\"", true, Some("\"text\""));
    check_body(json, None, " null ", true, Some(" null "));
    check_body(json, None, r#"{"apikey":"k"} trailing"#, true, None);
    check_body(json, None, "{broken", true, None);
    check_body(json, None, r#"{"a":1}"#, false, None);
    check_body("multipart/form-data; boundary=b", None, "--b", true, None);
    check_body("application/json, multipart/form-data", None, "{}", true, None);
    check_body("text/plain", None, "hello", true, Some("hello"));
    check_body("text/plain", None, "hello", false, Some("hello"));
    check_body("text/plain", None, "APIKEY=k", true, None);
    check_body("", None, "hello", true, Some("hello"));
    check_body(json, None, "", true, Some(""));
}

#[test]
fn a_withheld_body_is_marked_and_has_no_form() {
    let mut joined = exchange(
        "POST",
        "/a",
        &[("content-type", "application/x-www-form-urlencoded")],
        "apikey=s3cret&b=1",
        200,
        &[],
        "",
    );
    joined.client.request.as_mut().unwrap().body.total_bytes = 4096;
    let mut resolution = nowhere();
    resolution.credentials = Arc::from(places());
    let message = message_of(&joined, &resolution, true, Profile::Extended, &Redaction::Default);
    let value: Value = serde_json::from_slice(message.json()).unwrap();
    assert_eq!(value["request"]["body"], MARK);
    assert_eq!(value["request"]["form"], serde_json::json!({}));
    assert_eq!(value["kong"]["completeness"]["request"]["withheld"], true);
    assert_eq!(value["kong"]["completeness"]["response"].get("withheld"), None);
}

#[test]
fn nothing_is_hidden_when_the_operator_says_so() {
    let joined = exchange(
        "GET",
        "/a?apikey=k1",
        &[("authorization", "k2")],
        "",
        200,
        &[],
        "",
    );
    let mut resolution = nowhere();
    resolution.credentials = Arc::from(places());
    let message = message_of(&joined, &resolution, true, Profile::Plugin, &Redaction::None);
    let value: Value = serde_json::from_slice(message.json()).unwrap();
    assert_eq!(value["request"]["headers"]["authorization"], "k2");
    assert_eq!(value["request"]["url"], "http://kong:8000/a?apikey=k1");
}

#[test]
fn names_of_the_operator_are_hidden_beside_the_default() {
    let redaction = Redaction::DefaultAnd(RedactedNames {
        headers: vec!["X-Secret".to_owned()],
        fields: vec!["pin".to_owned()],
        cookies: vec!["sid".to_owned()],
    });
    let rules = rules(&redaction, &[]);
    assert_eq!(text(&rules.hide_in_header(b"x-secret", b"v")), MARK);
    assert_eq!(text(&rules.hide_in_header(b"authorization", b"v")), MARK);
    assert_eq!(text(&rules.hide_in_header(b"cookie", b"sid=1")), "sid=REDACTED");
    assert_eq!(
        text(&rules.hide_in_url(b"/?pin=1&apikey=2")),
        "/?pin=REDACTED&apikey=2"
    );
}

/// Where a secret may stand in a request.
#[derive(Clone, Copy, Debug)]
enum Place {
    Header,
    Authorization,
    Query,
    Cookie,
    Form,
    Json,
    TruncatedForm,
    BrokenJson,
    Multipart,
}

const PLACES: [Place; 9] = [
    Place::Header,
    Place::Authorization,
    Place::Query,
    Place::Cookie,
    Place::Form,
    Place::Json,
    Place::TruncatedForm,
    Place::BrokenJson,
    Place::Multipart,
];

/// Text that nothing else in the message is made of.
fn secret() -> impl Strategy<Value = String> {
    "[Q-Z]{4}[ -~]{0,24}[Q-Z]{4}"
}

/// The secret as a client would write it there.
fn escaped(secret: &str) -> String {
    secret.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_secret_never_occurs_in_the_message(
        secret in secret(),
        place in proptest::sample::select(PLACES.to_vec()),
        before in "[a-p]{0,8}",
        after in "[a-p]{0,8}",
        extended in any::<bool>(),
        log_body in any::<bool>(),
    ) {
        let cookie_secret: String = secret.chars().filter(|c| *c != ';').collect();
        let quoted = serde_json::to_string(&secret).unwrap();
        let in_pairs = format!("a={before}&apikey={}&b={after}", escaped(&secret));
        let (mut target, mut headers, mut body) = ("/a".to_owned(), Vec::new(), String::new());
        match place {
            Place::Header => headers.push(("ApiKey", secret.clone())),
            Place::Authorization => headers.push(("authorization", secret.clone())),
            Place::Query => target = format!("/a?{in_pairs}"),
            Place::Cookie => {
                headers.push(("cookie", format!("x={before}; session={cookie_secret}; y={after}")));
            }
            Place::Form | Place::TruncatedForm => {
                headers.push(("content-type", "application/x-www-form-urlencoded".to_owned()));
                body = in_pairs;
            }
            Place::Json => {
                headers.push(("content-type", "application/json".to_owned()));
                body = format!("{{\"{before}\":1,\"apikey\":{quoted},\"z\":\"{after}\"}}");
            }
            Place::BrokenJson => {
                headers.push(("content-type", "application/json".to_owned()));
                body = format!("{{\"{before}\":1,\"apikey\":{quoted},");
            }
            Place::Multipart => {
                headers.push(("content-type", "multipart/form-data; boundary=b".to_owned()));
                body = format!("--b\r\ncontent-disposition: form-data; name=apikey\r\n\r\n{secret}\r\n--b--");
            }
        }
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut joined = exchange("POST", &target, &headers, &body, 200, &[], "ok");
        if matches!(place, Place::TruncatedForm) {
            let body = &mut joined.client.request.as_mut().unwrap().body;
            body.bytes = Bytes::copy_from_slice(&body.bytes[..body.bytes.len() / 2]);
        }
        let mut resolution = nowhere();
        resolution.credentials = Arc::from(places());
        let profile = if extended { Profile::Extended } else { Profile::Plugin };
        let message = message_of(&joined, &resolution, log_body, profile, &Redaction::Default);
        let json = text(message.json());
        serde_json::from_str::<Value>(json).unwrap();
        // Its ends are letters that nothing else is made of: enough to find any piece of it that got through.
        for piece in secret.as_bytes().windows(4).filter(|piece| piece.iter().all(|byte| (b'Q'..=b'Z').contains(byte))) {
            prop_assert!(!json.contains(text(piece)), "{:?} of {place:?} in {json}", text(piece));
        }
    }
}
