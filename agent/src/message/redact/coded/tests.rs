//! A body under a content coding is sent as it was, or withheld: never changed, and never with a hidden field in it.

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use flate2::{Compression, GzBuilder};
use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde_json::{Value, json};

use crate::gateway::snapshot::CredentialPlace;
use crate::http::headers::Headers;
use crate::message::Profile;
use crate::message::redact::{DECODED_BYTES, MARK, RedactedBody, Redaction, Rules};
use crate::message::tests::{exchange, message_of, nowhere, whole};

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json; charset=utf-8";
const CODINGS: [&str; 6] = ["gzip", "deflate", "bare", "br", "zstd", "gzip, br"];

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// The header's value, and `text` under it.
fn coded(coding: &'static str, text: &[u8]) -> (&'static str, Vec<u8>) {
    let bytes = match coding {
        "gzip" => gzip(text),
        "deflate" => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        "bare" => {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(text).unwrap();
            return ("deflate", encoder.finish().unwrap());
        }
        "zstd" => compress_to_vec(text, CompressionLevel::Fastest),
        _ => {
            let inner = if coding == "br" { text.to_vec() } else { gzip(text) };
            let mut bytes = Vec::new();
            let parameters = brotli::enc::BrotliEncoderParams::default();
            brotli::BrotliCompress(&mut inner.as_slice(), &mut bytes, &parameters).unwrap();
            bytes
        }
    };
    (coding, bytes)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Sent,
    Withheld,
}
use Fate::{Sent, Withheld};

fn places() -> Vec<CredentialPlace> {
    vec![CredentialPlace::BodyField("apikey".to_owned())]
}

/// What becomes of these bytes under these headers, where `apikey` is a hidden field.
fn check_bytes(what: &str, content_type: &str, coding: &str, bytes: &[u8], decoded_bytes: usize, fate: Fate) {
    let mut headers = Headers::default();
    headers.push("Content-Type", content_type.to_owned());
    headers.push("Content-Encoding", coding.to_owned());
    let body = whole(bytes);
    let places = places();
    let rules = Rules::new(&Redaction::Default, &places).decoding(decoded_bytes);
    let expected = match fate {
        Sent => RedactedBody::Shown(bytes.into()),
        Withheld => RedactedBody::Withheld,
    };
    assert_eq!(rules.hide_in_body(&headers, &body), expected, "{what}: {coding}");
    let nothing = Rules::new(&Redaction::None, &places);
    assert_eq!(
        nothing.hide_in_body(&headers, &body),
        RedactedBody::Shown(bytes.into()),
        "{what}: {coding}, nothing is hidden"
    );
}

/// What becomes of `text` under every coding.
fn check(what: &str, content_type: &str, text: &str, fate: Fate) {
    for coding in CODINGS {
        let (coding, bytes) = coded(coding, text.as_bytes());
        check_bytes(what, content_type, coding, &bytes, DECODED_BYTES, fate);
    }
}

#[test]
fn what_is_in_it_decides() {
    check("a form without it", FORM, "a=1&b=2", Sent);
    check("a form with it", FORM, "a=1&apikey=k", Withheld);
    check("an escaped name", FORM, "a=1&%61pikey=k", Withheld);
    check("a name in a value", FORM, "a=apikey", Sent);
    check("JSON without it", JSON, r#"{"a":[1,2],"in":{"apikey":1}}"#, Sent);
    check("JSON with it", JSON, r#"{"a":1,"ApiKey":"k"}"#, Withheld);
    check("an escaped JSON name", JSON, r#"{"\u0061pikey":"k"}"#, Withheld);
    check("no JSON", JSON, "{broken", Withheld);
    check("text without it", "text/plain", "hello", Sent);
    check("text that spells it", "text/plain", "my APIKEY is", Withheld);
    check("multipart", "multipart/form-data; boundary=b", "--b", Withheld);
    check(
        "two types",
        "application/json, text/x-multipart/form-data",
        "{}",
        Withheld,
    );
}

#[test]
fn what_cannot_be_decoded_whole_is_withheld() {
    let text = "a=1&b=2";
    for coding in CODINGS {
        let (coding, bytes) = coded(coding, text.as_bytes());
        let check = |what: &str, bytes: &[u8], cap| check_bytes(what, FORM, coding, bytes, cap, Withheld);
        check("cut", &bytes[..bytes.len() - 1], DECODED_BYTES);
        check("more behind it", &[&bytes, &b"&c"[..]].concat(), DECODED_BYTES);
        check("as it is", text.as_bytes(), DECODED_BYTES);
        check("over the cap", &bytes, text.len() - 1);
        check("not to be decoded", &bytes, 0);
    }
    let at_the_cap = gzip(text.as_bytes());
    check_bytes("at the cap", FORM, "gzip", &at_the_cap, text.len(), Sent);
    check_bytes(
        "an unknown coding",
        FORM,
        "compress",
        b"\x1f\x9d\x90",
        DECODED_BYTES,
        Withheld,
    );
    check_bytes(
        "one of two unknown",
        FORM,
        "aes, gzip",
        &at_the_cap,
        DECODED_BYTES,
        Withheld,
    );
    check_bytes(
        "too many codings",
        FORM,
        "gzip,gzip,gzip,gzip",
        &at_the_cap,
        DECODED_BYTES,
        Withheld,
    );
    check_bytes(
        "no coding",
        FORM,
        "identity, identity",
        b"a=1",
        DECODED_BYTES,
        Sent,
    );
    let members = gzip(b"").repeat(5_000);
    check_bytes("too much work", FORM, "gzip", &members, DECODED_BYTES, Withheld);
}

#[test]
fn a_body_that_was_not_captured_whole_is_withheld() {
    let mut headers = Headers::default();
    headers.push("Content-Type", FORM);
    headers.push("Content-Encoding", "gzip");
    let mut body = whole(&gzip(b"a=1"));
    body.total_bytes += 1;
    let places = places();
    let rules = Rules::new(&Redaction::Default, &places);
    assert_eq!(rules.hide_in_body(&headers, &body), RedactedBody::Withheld);
}

/// Kong reads a field from the bytes as they were sent, and gzip's header has room for a form.
#[test]
fn what_kong_reads_in_the_coded_bytes_counts() {
    let with_name = |name: &str| {
        let mut encoder = GzBuilder::new()
            .filename(name)
            .write(Vec::new(), Compression::fast());
        encoder.write_all(b"a=1").unwrap();
        encoder.finish().unwrap()
    };
    for (name, fate) in [
        ("&apikey=secret&", Withheld),
        ("&%61pikey=secret&", Withheld),
        ("&b=1&", Sent),
    ] {
        check_bytes(name, FORM, "gzip", &with_name(name), DECODED_BYTES, fate);
    }
}

/// The plugin took `form` from `ngx.req.get_post_args`, which knows no coding: of the bytes as they are. Here these are of a
/// stored block, so that there is something to read in them.
#[test]
fn a_coded_form_is_sent_as_the_plugin_sent_it() {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::none());
    encoder.write_all(b"&a=1&b=2&").unwrap();
    let bytes = encoder.finish().unwrap();
    for profile in [Profile::Plugin, Profile::Extended] {
        let headers = [("content-type", FORM), ("content-encoding", "deflate")];
        let mut joined = exchange("POST", "/", &headers, "", 200, &[], "");
        joined.client.request.as_mut().unwrap().body = whole(&bytes);
        let mut resolution = nowhere();
        resolution.credentials = Arc::from(places());
        let message = message_of(&joined, &resolution, true, profile, &Redaction::Default);
        let value: Value = serde_json::from_slice(message.json()).unwrap();
        let form = &value["request"]["form"];
        assert_eq!((&form["a"], &form["b"]), (&json!("1"), &json!("2")), "{value}");
        let undecoded: Vec<&String> = form.as_object().unwrap().keys().collect();
        assert_eq!(
            undecoded.len(),
            4,
            "the block's header and the check sum are fields too: {undecoded:?}"
        );
        if profile == Profile::Plugin {
            assert_eq!(value["request"]["body"], String::from_utf8_lossy(&bytes).as_ref());
        } else {
            assert_eq!(value["request"]["body_encoding"], "base64");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_body_with_a_hidden_field_is_never_sent(
        before in "[a-p]{0,300}",
        secret in "[ -~]{1,24}",
        coding in proptest::sample::select(CODINGS.to_vec()),
        content_type in proptest::sample::select(vec![FORM, JSON, "text/plain"]),
    ) {
        let quoted = serde_json::to_string(&secret).unwrap();
        let text = match content_type {
            JSON => format!("{{\"{before}\":1,\"apikey\":{quoted}}}"),
            _ => format!("{before}=1&apikey={}", secret.replace('&', "%26")),
        };
        let (coding, bytes) = coded(coding, text.as_bytes());
        let headers = [("content-type", content_type), ("content-encoding", coding)];
        let mut joined = exchange("POST", "/", &headers, "", 200, &[], "");
        let body = &mut joined.client.request.as_mut().unwrap().body;
        *body = whole(&bytes);
        body.bytes = Bytes::from(bytes);
        let mut resolution = nowhere();
        resolution.credentials = Arc::from(places());
        let message = message_of(&joined, &resolution, true, Profile::Extended, &Redaction::Default);
        let value: Value = serde_json::from_slice(message.json()).unwrap();
        prop_assert_eq!(&value["request"]["body"], MARK);
        prop_assert_eq!(&value["request"]["form"], &json!({}));
    }
}
