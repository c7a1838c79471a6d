//! The comparison can fail: every way in which an exchange can be wrong is found.

use bytes::Bytes;

use super::{Expected, Report, Verdict, compare};
use crate::shipped::{Scope, Shipped};

fn scope() -> Scope {
    Scope {
        service: Some("s".to_owned()),
        route: Some("r".to_owned()),
        consumer: None,
    }
}

fn expected(id: &str) -> Expected {
    Expected {
        name: format!("sample {id}"),
        id: id.to_owned(),
        method: "POST".to_owned(),
        url: "http://127.0.0.1:8000/echo".to_owned(),
        status: 200,
        request_body: Bytes::from_static(b"question"),
        response_body: Bytes::from_static(b"answer"),
        response_wire_bytes: 6,
        request_id: Some("0f".to_owned()),
        scope: Some(scope()),
    }
}

fn shipped(id: &str) -> Shipped {
    Shipped {
        id: Some(id.to_owned()),
        method: "POST".to_owned(),
        url: "http://127.0.0.1:8000/echo".to_owned(),
        request_fields: [].into(),
        request_body: Some(b"question".to_vec()),
        request_timestamp: 1.0,
        status: Some(200),
        response_fields: [].into(),
        response_body: Some(b"answer".to_vec()),
        size_bytes: Some(6),
        response_time: Some(0.001),
        request_id: Some("0f".to_owned()),
        scope: scope(),
        lacks_upstream_leg: false,
    }
}

fn verdicts(report: &Report) -> Vec<&Verdict> {
    report.rows.iter().map(|row| &row.verdict).collect()
}

#[test]
fn all_there_once_in_any_order_is_clean() {
    let report = compare(&[expected("a"), expected("b")], &[shipped("b"), shipped("a")]);
    assert!(report.is_clean(), "{}", report.complaints(9));
}

#[test]
fn an_empty_body_may_be_an_absent_one() {
    let mut sent = expected("a");
    sent.request_body = Bytes::new();
    let mut message = shipped("a");
    message.request_body = None;
    assert!(compare(&[sent], &[message]).is_clean());
}

#[test]
fn missing_doubled_and_unexpected_ones_are_found() {
    let report = compare(
        &[expected("a"), expected("b")],
        &[shipped("b"), shipped("b"), shipped("c")],
    );
    assert_eq!(verdicts(&report), [&Verdict::Missing, &Verdict::Doubled(2)]);
    assert_eq!(report.strangers.len(), 1);
    assert!(!report.is_clean());
    let complaints = report.complaints(1);
    assert!(
        complaints.starts_with("3 of 2 exchanges are wrong\nsample a POST"),
        "{complaints}"
    );
}

#[test]
fn a_message_without_an_id_is_a_stranger() {
    let mut message = shipped("a");
    message.id = None;
    let report = compare(&[], &[message]);
    assert!(!report.is_clean() && report.strangers.len() == 1);
}

#[test]
fn half_seen_is_what_lacks_the_consumer_alone_and_says_why() {
    let sent = || {
        let mut sent = expected("a");
        sent.scope = Some(Scope {
            consumer: Some("bob".to_owned()),
            ..scope()
        });
        sent
    };
    let check = |spoil: fn(&mut Shipped)| {
        let mut message = shipped("a");
        message.lacks_upstream_leg = true;
        spoil(&mut message);
        verdicts(&compare(&[sent()], &[message]))[0].clone()
    };
    assert_eq!(check(|_| ()), Verdict::HalfSeen);
    let spoils: [fn(&mut Shipped); 3] = [
        |message| message.lacks_upstream_leg = false,
        |message| message.scope.consumer = Some("alice".to_owned()),
        |message| message.status = Some(201),
    ];
    for spoil in spoils {
        let verdict = check(spoil);
        assert!(matches!(verdict, Verdict::Different(_)), "{verdict:?}");
    }
}

#[test]
fn every_difference_is_found() {
    let check = |what: &str, spoil: fn(&mut Shipped)| {
        let mut message = shipped("a");
        spoil(&mut message);
        let report = compare(&[expected("a")], &[message]);
        let [Verdict::Different(differences)] = verdicts(&report)[..] else {
            panic!("{what}: {report:?}");
        };
        assert!(
            differences.len() == 1 && differences[0].starts_with(what),
            "{what}: {differences:?}"
        );
    };
    check("method", |message| message.method = "GET".to_owned());
    check("url", |message| {
        message.url = "http://127.0.0.1:8000/other".to_owned()
    });
    check("status", |message| message.status = Some(201));
    check("status", |message| message.status = None);
    check("request body", |message| {
        message.request_body = Some(b"Question".to_vec())
    });
    check("request body", |message| message.request_body = None);
    check("response body", |message| {
        message.response_body = Some(b"answer".repeat(2))
    });
    check("size_bytes", |message| message.size_bytes = Some(7));
    check("size_bytes", |message| message.size_bytes = None);
    check("request id", |message| message.request_id = Some("1e".to_owned()));
    check("scope", |message| message.scope.route = Some("other".to_owned()));
    check("scope", |message| {
        message.scope.consumer = Some("alice".to_owned())
    });
    check("scope", |message| message.scope.service = None);
}
