use super::{Halves, SUMMARY_URL_BYTES, VALUES, Warning, check};

/// The old plugin's message as a Kong 3.9 with the plugin restored sent it.
const PLUGIN: &str = r#"{"request":{"method":"POST","body":"a=1&a=2&b","url":"http:\/\/127.0.0.1:8000\/rs?x=1","form":{"a":["1","2"],"b":true},"timestamp":1795341581.101,"headers":{"host":"127.0.0.1:8000","accept":["text\/html","*\/*"]}},"response":{"body":"ok","size_bytes":"14","headers":{},"response_time":0.002,"status":200,"timestamp":1795341581.103}}"#;

#[test]
fn the_plugins_message_is_summed_up() {
    let checked = check(PLUGIN).unwrap();
    let summary = checked.summary;
    assert_eq!(checked.warnings, []);
    assert_eq!(summary.halves, Halves::Both);
    assert_eq!(summary.method.as_deref(), Some("POST"));
    assert_eq!(summary.url.as_deref(), Some("http://127.0.0.1:8000/rs?x=1"));
    assert_eq!(summary.status, Some(200));
    assert_eq!(summary.size_bytes, Some(14));
    assert_eq!(summary.response_time_us, Some(2_000));
    assert_eq!(summary.at.map(|at| at.0), Some(1_795_341_581_101_000));
    assert_eq!(summary.route, None);
    assert!(!summary.incomplete);
}

#[test]
fn the_extended_profile_names_route_service_and_consumer() {
    let summary = check(
        r#"{"request":{"method":"GET","url":"/"},"unique_identifier":"u-1","kong":{"route":{"id":"r","name":"orders"},
            "service":{"id":"s"},"consumer":{"username":null,"custom_id":"c-7"},"completeness":{"response":"cut"},"new":[1]}}"#,
    )
    .unwrap()
    .summary;
    assert_eq!(summary.unique_identifier.as_deref(), Some("u-1"));
    assert_eq!(summary.route.as_deref(), Some("orders"));
    assert_eq!(summary.service.as_deref(), Some("s"));
    assert_eq!(summary.consumer.as_deref(), Some("c-7"));
    assert_eq!(summary.halves, Halves::Request);
    assert!(summary.incomplete);
}

#[test]
fn what_clients_really_send_is_accepted() {
    for json in [
        r#"{"response":{"status":204}}"#,
        r#"{"response":{"status":"204","size_bytes":0,"response_time":"0.1","headers":[]}}"#,
        r#"{"response":{"status":200.0,"size_bytes":22.0,"reason":"OK","body_encoding":null}}"#,
        r#"{"response":{"status":0},"request":null}"#,
        r#"{"request":{"method":"GET","url":"x","headers":{"content-length":5},"form":{"n":[1,true]},"body":null}}"#,
        r#"{"request":{"method":"GET","url":"x","body":"\u0000\ud83d\ude00"},"kong":"text","other":{"a":[null]}}"#,
        r#"{"request":{"method":"GET","url":"x","body_encoding":"plaintext","body":""},"unique_identifier":""}"#,
    ] {
        assert!(check(json).is_ok(), "{json}: {:?}", check(json));
    }
}

#[test]
fn a_bad_message_is_refused_with_the_place() {
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let long_name = format!(
        r#"{{"request":{{"method":"GET","url":"x","headers":{{"{}":{{}}}}}}}}"#,
        "n".repeat(5_000)
    );
    for (json, path) in [
        ("", "$"),
        ("{", "$"),
        ("[]", "$"),
        ("null", "$"),
        ("{}", "$"),
        (deep.as_str(), "$"),
        (r#"{"request":null,"response":null}"#, "$"),
        (r#"{"request":{"method":"GET","url":"x","body":"\ud800"}}"#, "$"),
        (r#"{"request":[]}"#, "request"),
        (r#"{"response":"200"}"#, "response"),
        (r#"{"request":{"url":"x"}}"#, "request.method"),
        (r#"{"request":{"method":7,"url":"x"}}"#, "request.method"),
        (r#"{"request":{"method":"GET"}}"#, "request.url"),
        (r#"{"request":{"method":"GET","url":""}}"#, "request.url"),
        (
            r#"{"request":{"method":"GET","url":"x","headers":"a: b"}}"#,
            "request.headers",
        ),
        (
            r#"{"request":{"method":"GET","url":"x","headers":{"a":true}}}"#,
            "request.headers.a",
        ),
        (
            r#"{"request":{"method":"GET","url":"x","headers":{"a":["1",{}]}}}"#,
            "request.headers.a[1]",
        ),
        (
            r#"{"request":{"method":"GET","url":"x","form":{"a":{}}}}"#,
            "request.form.a",
        ),
        (
            r#"{"request":{"method":"GET","url":"x","body":{}}}"#,
            "request.body",
        ),
        (
            r#"{"request":{"method":"GET","url":"x","body_encoding":"gzip"}}"#,
            "request.body_encoding",
        ),
        (
            r#"{"request":{"method":"GET","url":"x","timestamp":"now"}}"#,
            "request.timestamp",
        ),
        (
            r#"{"request":{"method":"GET","url":"x","timestamp":-1}}"#,
            "request.timestamp",
        ),
        (
            r#"{"request":{"method":"GET","url":"x","timestamp":1795341581101}}"#,
            "request.timestamp",
        ),
        (r#"{"response":{}}"#, "response.status"),
        (r#"{"response":{"status":1000}}"#, "response.status"),
        (r#"{"response":{"status":200.5}}"#, "response.status"),
        (r#"{"response":{"status":-1}}"#, "response.status"),
        (
            r#"{"response":{"status":200,"size_bytes":"many"}}"#,
            "response.size_bytes",
        ),
        (
            r#"{"response":{"status":200,"response_time":-1}}"#,
            "response.response_time",
        ),
        (r#"{"response":{"status":200,"reason":1}}"#, "response.reason"),
        (
            r#"{"response":{"status":200},"unique_identifier":5}"#,
            "unique_identifier",
        ),
    ] {
        match check(json) {
            Ok(_) => panic!("accepted: {json}"),
            Err(invalid) => assert_eq!(invalid.path, path, "{json}"),
        }
    }
    let named = check(&long_name).unwrap_err().path;
    assert!(
        named.starts_with("request.headers.nnn") && named.len() < 200,
        "{named}"
    );
}

#[test]
fn a_body_that_is_not_base64_is_a_warning_not_a_loss() {
    let checked = check(
        r#"{"request":{"method":"GET","url":"x","body":"%%","body_encoding":"base64"},
            "response":{"status":200,"body":"aGk=","body_encoding":"base64"}}"#,
    )
    .unwrap();
    assert_eq!(checked.warnings, [Warning::BodyNotBase64]);
}

#[test]
fn a_long_url_is_cut_between_characters() {
    let json = format!(
        r#"{{"request":{{"method":"GET","url":"{}"}}}}"#,
        "é".repeat(SUMMARY_URL_BYTES)
    );
    let url = check(&json).unwrap().summary.url.unwrap();
    assert_eq!(url.len(), SUMMARY_URL_BYTES);
}

#[test]
fn a_message_of_too_many_values_is_refused_unparsed() {
    let message = |extra: String| {
        format!(
            r#"{{"response":{{"status":200,"body":"{}"}},"kong":[{extra}]}}"#,
            ",[{".repeat(VALUES)
        )
    };
    assert!(check(&message("0,".repeat(VALUES - 100) + "0")).is_ok());
    assert_eq!(check(&message("0,".repeat(VALUES) + "0")).unwrap_err().path, "$");
}
