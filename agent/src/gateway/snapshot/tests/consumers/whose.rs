//! Whose a credential is: in the recordings, among fifty thousand consumers, in a workspace; and that none is printed.

use std::sync::Arc;

use serde_json::Value;

use super::super::{EXCHANGES, KONG_YML, name, recorded};
use super::Answer::Proxied;
use super::{CONFIGURATION, joined, snapshot, who, written};
use crate::gateway::declarative;
use crate::gateway::document::SourceFile;
use crate::gateway::router::RouterFlavor;
use crate::gateway::snapshot::{ConsumerMatch, Snapshot};

/// The recordings again, without what the upstream leg says: credentials alone give the consumer that it proves.
#[test]
fn credentials_alone_give_every_recorded_exchange_the_same_consumer() {
    let snapshot = snapshot(KONG_YML, RouterFlavor::TraditionalCompatible);
    let mut by_credentials = 0;
    for line in EXCHANGES.lines() {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        let case = line["name"].as_str().expect("a name");
        let mut joined = recorded(&line);
        let with = name(&snapshot.resolve(&joined));
        joined.upstream.clear();
        joined.client.request.as_mut().expect("a request").body.complete = true;
        let resolution = snapshot.resolve(&joined);
        assert_eq!(name(&resolution), with, "{case}");
        assert_ne!(resolution.consumer, ConsumerMatch::Unknown, "{case}");
        by_credentials += usize::from(matches!(resolution.consumer, ConsumerMatch::Known(..)));
    }
    assert_eq!(by_credentials, 10);
}

/// What is kept of credentials cannot be printed, and not be found in what is.
#[test]
fn credentials_do_not_print() {
    let snapshot = snapshot(CONFIGURATION, RouterFlavor::TraditionalCompatible);
    let printed = format!("{snapshot:?}");
    for secret in ["alice-key", "flat-token", "nested-token", "alice-iss"] {
        assert!(!printed.contains(secret), "{secret}");
    }
    assert_eq!(snapshot.credentials(), 9);
}

/// That a look-up does not go through the consumers, within wide bounds. Figures are in docs/compatibility.md.
#[test]
fn fifty_thousand_consumers_cost_what_fifty_do() {
    let took = |consumers: usize| {
        let one = |number: usize| {
            format!(
                "{{\"username\": \"c{number}\", \"keyauth_credentials\": [{{\"key\": \"key-{number}\"}}]}}"
            )
        };
        let list: Vec<_> = (0..consumers).map(one).collect();
        let text = format!(
            "{{\"_format_version\": \"3.0\", \"services\": [{{\"name\": \"s\", \"routes\": [{{\"name\": \"r\", \"paths\": [\"/r\"]}}], \
             \"plugins\": [{{\"name\": \"key-auth\"}}]}}], \"consumers\": [{}]}}",
            list.join(",")
        );
        let snapshot = snapshot(&text, RouterFlavor::TraditionalCompatible);
        assert_eq!(snapshot.credentials(), consumers);
        let last = consumers - 1;
        let joined = joined(written(&format!("GET /r | apikey: key-{last}")), Proxied);
        let started = crate::clock::unix_ns();
        for _ in 0..200 {
            assert_eq!(who(&snapshot, &joined), format!("c{last} by credentials"));
        }
        crate::clock::unix_ns().saturating_sub(started) / 200
    };
    let (few, many) = (took(50), took(50_000));
    assert!(
        many < few * 50,
        "{many} ns with 50,000 consumers, {few} ns with 50"
    );
}

/// The same credential may be given to somebody in each workspace.
#[test]
fn a_credential_counts_in_its_own_workspace_only() {
    let file = |workspace: &str, consumer: &str, keys: &str| {
        SourceFile {
        name: Arc::from(workspace),
        bytes: format!(
            "{{_format_version: '3.0', _workspace: {workspace}, services: [{{name: s, routes: [{{name: r, paths: [/{workspace}]}}]}}], plugins: [{{name: key-auth}}], consumers: [{{username: {consumer}, keyauth_credentials: [{keys}]}}]}}"
        )
        .into_bytes(),
    }
    };
    let files = [
        file("a", "ann", "{key: both}, {key: hers}"),
        file("b", "bea", "{key: both}"),
        file("default", "dee", "{key: both}"),
    ];
    let entities = declarative::read(&files).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let (snapshot, _) = Snapshot::build(entities, &RouterFlavor::TraditionalCompatible.into());
    for (case, expected) in [
        ("GET /a | apikey: both", "ann by credentials"),
        ("GET /a | apikey: hers", "ann by credentials"),
        ("GET /b | apikey: both", "bea by credentials"),
        ("GET /b | apikey: hers", "?"),
        ("GET /default | apikey: both", "dee by credentials"),
    ] {
        assert_eq!(
            who(&snapshot, &joined(written(case), Proxied)),
            expected,
            "{case}"
        );
    }
}
