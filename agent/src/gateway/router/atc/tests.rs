//! The verdict of an expression against the engine's own.

use atc_router::context::{Context, Match};
use atc_router::interpreter::Execute as _;
use proptest::prelude::*;

use super::{evaluate, fields, last_words, parse};
use crate::gateway::router::RouterProfile;
use crate::gateway::router::request::Prepared;
use crate::gateway::router::terms::Verdict;
use crate::gateway::router::tests::with_facts;

fn comparison() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(r#"http.method == "GET""#.to_owned()),
        Just(r#"http.path ^= "/a""#.to_owned()),
        Just(r#"http.path ~ "^/[a-c]+$""#.to_owned()),
        Just(r#"http.host =^ ".test""#.to_owned()),
        Just(r#"any(lower(http.headers.x_v)) == "1""#.to_owned()),
        Just(r#"http.queries.q != "1""#.to_owned()),
        Just("net.dst.port > 8000".to_owned()),
        Just("net.src.ip in 192.0.2.0/24".to_owned()),
    ]
}

fn expression() -> impl Strategy<Value = String> {
    comparison().prop_recursive(4, 12, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("({one}) && ({other})")),
            (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("({one}) || ({other})")),
            inner.prop_map(|inner| format!("!({inner})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_is_known_is_decided_as_the_engine_decides(text in expression(), request in prop_oneof![
        Just("GET http://a.test/abc?q=1 x-v: 1"), Just("PUT http://a.test:81/x x-v: 2; x-v: 1"), Just("GET http://b/a"),
    ]) {
        let schema = fields::schema();
        let parsed = parse(&text, &schema).expect("an expression");
        let mut used = fields::Used::default();
        used.add(&parsed);
        let profile = super::super::tests::gateway("3.9.1", "expressions");
        let own = |profile: &RouterProfile| with_facts(request, |facts| {
            let prepared = Prepared::new(facts, profile);
            let mut facts = used.values(&schema, &prepared, profile.atc_era()).expect("text");
            let verdict = evaluate::verdict(&parsed, &mut facts, &mut Match::new());
            let context: &mut Context<'_> = &mut facts.context;
            (verdict, parsed.execute(context, &mut Match::new()))
        });
        let (verdict, engine) = own(&profile);
        prop_assert_eq!(verdict, Verdict::from(engine), "{} of {}", &text, request);
        // With an address that is not known a verdict may be "perhaps", but never the opposite.
        let (perhaps, _) = own(&RouterProfile::of(None, Some("expressions")));
        prop_assert!(perhaps == verdict || perhaps == Verdict::Perhaps, "{} of {}", &text, request);
    }
}

#[test]
fn errors_are_one_line() {
    for (text, expected) in [
        ("http.path ~ \"(?=a)\"", "look-around"),
        ("http.path == 1", "Type mismatch"),
        ("http.path", "expected"),
    ] {
        let error = parse(text, &fields::schema()).expect_err(text);
        assert!(
            !error.contains('\n') && error.contains(expected),
            "{text}: {error}"
        );
    }
    assert_eq!(last_words(""), "");
}
