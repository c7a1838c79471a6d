use std::collections::BTreeMap;

use crate::correlate::JoinedExchange;
use crate::correlate::fixture::{self, Call};
use crate::correlate::merge::plugin_view;
use crate::http::exchange::{Exchange, Leg};
use crate::http::headers::Headers;

const ALICE: [(&str, &str); 3] = [
    ("X-Consumer-ID", "b32379d9-3d28-5683-a79c-72139be6e34f"),
    ("X-Consumer-Custom-ID", "cust-0001"),
    ("X-Consumer-Username", "alice"),
];

type Lines = Vec<(String, String)>;

fn lines(headers: &Headers) -> Lines {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    headers
        .0
        .iter()
        .map(|header| (text(&header.name), text(&header.value)))
        .collect()
}

fn joined(client: Exchange, upstream: Vec<Exchange>) -> JoinedExchange {
    JoinedExchange {
        client,
        upstream,
        request_id: None,
    }
}

/// Each recorded call that reached a service, with its upstream legs.
fn recorded() -> Vec<(String, JoinedExchange)> {
    let legs = fixture::recorded_upstream_legs();
    fixture::recorded_calls()
        .into_iter()
        .filter_map(|Call { name, client }| {
            let id = client.response.as_ref()?.headers.text("X-Kong-Request-Id")?;
            let own = |leg: &&Exchange| {
                leg.request
                    .as_ref()
                    .is_some_and(|request| request.headers.text("X-Kong-Request-Id") == Some(id))
            };
            let upstream: Vec<Exchange> = legs.iter().filter(own).cloned().collect();
            (!upstream.is_empty()).then(|| (name, joined(client, upstream)))
        })
        .collect()
}

fn sent(joined: &JoinedExchange) -> &Headers {
    &joined.client.request.as_ref().expect("a request").headers
}

/// What a recorded call's view must be, said as a change to what the client sent: names gone, values changed in place, lines added at
/// the end.
#[derive(Default)]
struct Change {
    gone: Vec<&'static str>,
    changed: Vec<(&'static str, &'static str)>,
    added: Vec<(&'static str, &'static str)>,
}

/// What plugins did to a recorded call; a call that is not named here must come out exactly as it was sent.
fn change_of(call: &str) -> Option<Change> {
    let added = |more: &[(&'static str, &'static str)]| Change {
        added: [&ALICE[..], more].concat(),
        ..Change::default()
    };
    let first_key = ("X-Credential-Identifier", "701296a1-3d8d-479c-8239-d685facc423d");
    let second_key = ("X-Credential-Identifier", "bf0e58a4-6d67-4e0c-a526-a123208b2b6f");
    Some(match call {
        "keyed-alice" | "keyed-https" => added(&[first_key]),
        "keyed-alice-query" => added(&[second_key]),
        "keyed-customid-only" => Change {
            added: vec![
                ("X-Consumer-ID", "a03126a8-bf3c-46bd-b57d-5c70177d3c36"),
                ("X-Consumer-Custom-ID", "only-custom-id-5"),
                ("X-Credential-Identifier", "0133e86d-1b6f-4ac7-9347-60c7d4665a6b"),
            ],
            ..Change::default()
        },
        "keyed-spoof" => Change {
            changed: vec![
                ("X-Consumer-Username", "bob"),
                ("X-Credential-Identifier", "2aa3b70b-7285-480c-adec-88052c4b2d09"),
            ],
            added: vec![
                ("X-Consumer-ID", "def4f7d3-9863-5ad2-8fa9-c949bf26f55e"),
                ("X-Consumer-Custom-ID", "cust-0002"),
            ],
            ..Change::default()
        },
        "basic-bob" => Change {
            gone: vec!["Authorization"],
            added: vec![
                ("X-Consumer-ID", "def4f7d3-9863-5ad2-8fa9-c949bf26f55e"),
                ("X-Consumer-Custom-ID", "cust-0002"),
                ("X-Consumer-Username", "bob"),
                ("X-Credential-Identifier", "bob"),
            ],
            ..Change::default()
        },
        "jwt-carol" => Change {
            added: vec![
                ("X-Consumer-ID", "ffba6a1f-e659-5189-8244-bb9a3171034f"),
                ("X-Consumer-Username", "carol"),
                ("X-Credential-Identifier", "carol-iss"),
            ],
            ..Change::default()
        },
        "acl-alice" => Change {
            gone: vec!["apikey"],
            ..added(&[first_key, ("X-Consumer-Groups", "gold")])
        },
        "anon" => Change {
            added: vec![
                ("X-Consumer-ID", "5e2b545b-f71b-50c7-9afa-b2bf20dba80b"),
                ("X-Consumer-Username", "anonymous-user"),
                ("X-Anonymous-Consumer", "true"),
            ],
            ..Change::default()
        },
        "transform" => Change {
            gone: vec!["X-Lab-Remove"],
            added: vec![
                ("Kong-Request-ID", "6d577762-525f-486a-8d49-567d6528fa2a#1"),
                ("X-Lab-Added", "one"),
            ],
            ..Change::default()
        },
        _ => return None,
    })
}

#[test]
fn each_recorded_call_is_seen_as_the_plugins_left_it() {
    let mut changed_calls = 0;
    let calls = recorded();
    for (name, joined) in &calls {
        let mut expected = lines(sent(joined));
        if let Some(change) = change_of(name) {
            changed_calls += 1;
            for gone in &change.gone {
                let before = expected.len();
                expected.retain(|(line, _)| line != gone);
                assert!(expected.len() < before, "{name}: {gone} was sent");
            }
            for (line, value) in &mut expected {
                if let Some((_, new)) = change.changed.iter().find(|(other, _)| other == line) {
                    (*new).clone_into(value);
                }
            }
            let added = change.added.iter();
            expected.extend(added.map(|(line, value)| ((*line).to_owned(), (*value).to_owned())));
        }
        assert_eq!(lines(&plugin_view(joined)), expected, "{name}");
    }
    assert_eq!(calls.len(), 44, "calls that reached a service");
    assert_eq!(changed_calls, 10, "calls that plugins changed");
}

#[test]
fn the_view_is_what_the_old_plugin_posted() {
    let calls = recorded();
    let mut compared = Vec::new();
    for post in fixture::recorded_posts() {
        let id = post["response"]["headers"]["x-kong-request-id"].as_str();
        let Some((name, joined)) = calls.iter().find(|(_, joined)| {
            let response = joined.client.response.as_ref().expect("a response");
            response.headers.text("X-Kong-Request-Id") == id
        }) else {
            continue;
        };
        let posted: BTreeMap<String, String> =
            serde_json::from_value(post["request"]["headers"].clone()).expect("a map of strings");
        let seen: BTreeMap<String, String> = lines(&plugin_view(joined))
            .into_iter()
            .map(|(line, value)| (line.to_ascii_lowercase(), value))
            .collect();
        assert_eq!(seen, posted, "{name}");
        compared.push(name.as_str());
    }
    assert_eq!(compared, ["runscope-body", "runscope-nobody"]);
}

#[test]
fn the_view_is_what_kongs_own_log_serializer_posted() {
    let calls = recorded();
    let posts = fixture::recorded_serializer_posts();
    assert_eq!(posts.len(), 1);
    for post in posts {
        let id = post["request"]["id"].as_str();
        let (_, joined) = calls
            .iter()
            .find(|(_, joined)| {
                joined
                    .client
                    .response
                    .as_ref()
                    .unwrap()
                    .headers
                    .text("X-Kong-Request-Id")
                    == id
            })
            .expect("the call is in the transcript");
        let posted: BTreeMap<String, String> =
            serde_json::from_value(post["request"]["headers"].clone()).expect("a map of strings");
        let seen: BTreeMap<String, String> = lines(&plugin_view(joined))
            .into_iter()
            .map(|(line, value)| (line.to_ascii_lowercase(), value))
            .collect();
        assert_eq!(seen, posted);
        // And what became of it: one try, whose waiting time is the header's.
        assert_eq!(
            post["tries"].as_array().map(Vec::len),
            Some(joined.upstream.len())
        );
        let answer = &joined.client.response.as_ref().unwrap().headers;
        assert_eq!(
            answer.text("X-Kong-Upstream-Latency"),
            Some(&*post["latencies"]["proxy"].to_string())
        );
        assert_eq!(
            answer.text("X-Kong-Proxy-Latency"),
            Some(&*post["latencies"]["kong"].to_string())
        );
    }
}

#[test]
fn made_up_exchanges() {
    #[track_caller]
    fn check(
        what: &str,
        sent: Option<&[(&str, &str)]>,
        attempts: &[Option<&[(&str, &str)]>],
        expected: &[(&str, &str)],
    ) {
        let leg = |leg: Leg, lines: Option<&[(&str, &str)]>| {
            let request = lines.map(|lines| fixture::request(fixture::headers(lines), 1));
            fixture::exchange(leg, 1, 1, request, None)
        };
        let attempts = attempts.iter().map(|lines| leg(Leg::Upstream, *lines));
        let joined = joined(leg(Leg::Downstream, sent), attempts.collect());
        let expected = lines(&fixture::headers(expected));
        assert_eq!(lines(&plugin_view(&joined)), expected, "{what}");
    }

    check(
        "no upstream leg: as sent",
        Some(&[("Host", "a"), ("apikey", "k")]),
        &[],
        &[("Host", "a"), ("apikey", "k")],
    );
    check("nothing seen", None, &[], &[]);
    check(
        "the client's head was lost: what the upstream got, without nginx's lines",
        None,
        &[Some(&[("Via", "1.1 kong"), ("HOST", "up"), ("Accept", "*/*")])],
        &[("Accept", "*/*")],
    );
    check(
        "an upstream leg without a request says nothing",
        Some(&[("apikey", "k")]),
        &[None],
        &[("apikey", "k")],
    );
    check(
        "the newest attempt with a request counts",
        Some(&[("X-Try", "0")]),
        &[Some(&[("X-Try", "1")]), Some(&[("X-Try", "2")]), None],
        &[("X-Try", "2")],
    );
    check(
        "the client's own values of nginx's names stay, hop-by-hop ones too",
        Some(&[
            ("host", "a"),
            ("connection", "close, TE"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers"),
            ("expect", "100-continue"),
            ("upgrade", "websocket"),
            ("transfer-encoding", "chunked"),
            ("via", "1.0 edge"),
            ("x-real-ip", "203.0.113.9"),
            ("x-forwarded-proto", "https"),
        ]),
        &[Some(&[
            ("Via", "1.0 edge, 1.1 kong/3.9.1"),
            ("Host", "up"),
            ("Connection", "keep-alive"),
            ("X-Forwarded-Proto", "http"),
            ("X-Real-IP", "127.0.0.1"),
            ("Content-Length", "3"),
        ])],
        &[
            ("host", "a"),
            ("connection", "close, TE"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers"),
            ("expect", "100-continue"),
            ("upgrade", "websocket"),
            ("transfer-encoding", "chunked"),
            ("via", "1.0 edge"),
            ("x-real-ip", "203.0.113.9"),
            ("x-forwarded-proto", "https"),
        ],
    );
    check(
        "repeats keep their order, surplus ones come at the end",
        Some(&[("Accept", "a"), ("X-A", "1"), ("accept", "b")]),
        &[Some(&[
            ("Accept", "a"),
            ("X-A", "1"),
            ("accept", "b"),
            ("Accept", "c"),
        ])],
        &[("Accept", "a"), ("X-A", "1"), ("accept", "b"), ("Accept", "c")],
    );
    check(
        "repeats that nginx folds into one line",
        Some(&[("cookie", "a=1"), ("x-a", "1"), ("cookie", "b=2")]),
        &[Some(&[("cookie", "a=1; b=2"), ("x-a", "1")])],
        &[("cookie", "a=1; b=2"), ("x-a", "1")],
    );
}
