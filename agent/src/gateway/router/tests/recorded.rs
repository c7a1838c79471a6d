//! Requests of a real gateway: the path that its services got is the path that is said here.

use std::sync::Arc;

use serde_json::Value;

use super::{gateway, with_facts};
use crate::gateway::declarative;
use crate::gateway::document::SourceFile;
use crate::gateway::router::{Found, RequestFacts, Router};
use crate::http::headers::Headers;

const KONG_YML: &str = include_str!("../../../../../testdata/kong-yml/lab-3.9.1/kong.yml");
const EXCHANGES: &str = include_str!("../../../../../testdata/kong-yml/lab-3.9.1/exchanges.jsonl");
const TRANSCRIPT: &str = include_str!("../../../../../testdata/kong-3.9.1/transcript.txt");

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().expect("text")
}

#[test]
fn upstream_paths_are_those_that_the_services_got() {
    let file = SourceFile {
        name: Arc::from("kong.yml"),
        bytes: KONG_YML.into(),
    };
    let entities = declarative::read(&[file]).expect("a configuration");
    let routes: Vec<_> = entities.routes.into_iter().map(Arc::new).collect();
    for flavor in ["traditional", "traditional_compatible", "expressions"] {
        let (router, _) = Router::build(&routes, &gateway("3.9.1", flavor));
        let mut proven = 0;
        for line in EXCHANGES.lines() {
            let line: Value = serde_json::from_str(line).expect("a line of JSON");
            let Some(upstream) = line["upstream"].as_array().and_then(|legs| legs.last()) else {
                continue;
            };
            let mut headers = Headers::default();
            for field in line["request"]["headers"].as_array().expect("fields") {
                let part = |at: usize| field[at].as_str().unwrap_or_default().as_bytes().to_vec();
                headers.push(part(0), part(1));
            }
            let host = headers.first("host").map(|host| host.to_vec());
            with_facts("GET http://z.test/", |facts| {
                let facts = RequestFacts {
                    tls: line["tls"].as_bool().expect("a flag"),
                    method: text(&line["request"], "method").as_bytes(),
                    target: text(&line["request"], "target").as_bytes(),
                    host: host.as_deref(),
                    headers: &headers,
                    ..*facts
                };
                let name = text(&line, "name");
                let Found::Route(matched) = router.find(&facts) else {
                    panic!("{flavor} {name}: no route");
                };
                let id = matched.route.service_id.as_ref();
                let service = entities.services.iter().find(|service| Some(&service.id) == id);
                let passed = router.passed_on(&matched, service, facts.host);
                let target = text(upstream, "target");
                let sent = target.split_once('?').map_or(target, |(path, _)| path);
                assert_eq!(String::from_utf8_lossy(&passed.path), sent, "{flavor} {name}");
                let got = |name: &str| {
                    let fields = upstream["headers"].as_array().expect("fields").iter();
                    let mut own = fields.filter(|field| {
                        field[0]
                            .as_str()
                            .is_some_and(|own| own.eq_ignore_ascii_case(name))
                    });
                    own.next().and_then(|field| field[1].as_str()).map(str::to_owned)
                };
                let text = |bytes: Option<Vec<u8>>| bytes.map(|it| String::from_utf8_lossy(&it).into_owned());
                assert_eq!(text(passed.prefix), got("x-forwarded-prefix"), "{flavor} {name}");
                // The one Service that is an Upstream of Kong's, whose targets have names of their own.
                let host = text(passed.host);
                if host.as_deref() != Some("lab-upstream") {
                    assert_eq!(host, got("host"), "{flavor} {name}");
                }
            });
            proven += 1;
        }
        assert!(proven >= 30, "{flavor}: only {proven}");
    }
}

/// Those exchanges are the transcript's: none of its calls is passed over.
#[test]
fn every_call_of_the_transcript_is_among_the_exchanges() {
    let names: std::collections::HashSet<_> = EXCHANGES
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"))
        .map(|line| text(&line, "name").to_owned())
        .collect();
    let calls = TRANSCRIPT.lines().filter_map(|line| line.strip_prefix("### "));
    let missing: Vec<_> = calls.filter(|call| !names.contains(call.trim())).collect();
    assert_eq!(missing, Vec::<&str>::new());
}
