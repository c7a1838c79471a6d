use std::sync::Arc;

use proptest::prelude::*;
use url::Url;

use super::file::{EnvironmentValues, read};
use super::schema::messages_url;
use super::transport::Transport;
use super::{Decision, Destination, PluginSet, UnboundConfig};
use crate::gateway::document::SourceFile;
use crate::gateway::entities::{Reference, Route, Service};
use crate::gateway::router::{Refusal, RouterFlavor};
use crate::gateway::snapshot::{ConsumerMatch, KnownBy, Resolution, RouteMatch, Snapshot, UnknownRoute};
use crate::telemetry::secret::Secret;

const GATEWAY: &str = "
_format_version: '3.0'
services:
- {name: s, routes: [{name: r, paths: [/r]}, {name: r2, paths: [/r2]}]}
- {name: s2, routes: [{name: r3, paths: [/r3]}]}
routes: [{name: free, paths: [/free]}]
consumers: [{username: c}, {username: c2}]
";

fn gateway() -> Snapshot {
    let file = file("kong.yml", GATEWAY);
    let entities = crate::gateway::declarative::read(&[file]).expect("it reads");
    Snapshot::build(entities, &RouterFlavor::TraditionalCompatible.into()).0
}

fn file(name: &str, text: &str) -> SourceFile {
    SourceFile {
        name: Arc::from(name),
        bytes: text.as_bytes().to_vec(),
    }
}

fn plugins(text: &str) -> Vec<UnboundConfig> {
    read(&[file("p.yml", text)], EnvironmentValues::default())
        .unwrap_or_else(|mistakes| panic!("{text}\n{mistakes}"))
}

/// The first or only mistakes of one `config`, without file and path.
fn mistakes_of(config: &str) -> Vec<String> {
    let text = format!("{{plugins: [{{name: runscope, config: {config}}}]}}");
    match read(&[file("p.yml", &text)], EnvironmentValues::default()) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes
            .0
            .iter()
            .map(|mistake| mistake.to_string().replace("p.yml: plugins[0].config.", ""))
            .collect(),
    }
}

#[test]
fn defaults_are_the_plugins_own() {
    let config = &plugins("{plugins: [{name: runscope, config: {access_token: T, bucket_key: B}}]}")[0];
    assert_eq!(config.origin, "p.yml: plugins[0]");
    assert_eq!((config.enabled, config.log_body), (true, false));
    let destination = Destination {
        url: Url::parse("https://api.runscope.com/buckets/B/messages").expect("a URL"),
        access_token: Secret::new("T"),
        timeout_ms: 10_000,
        keepalive_ms: 30,
        tls_verify: true,
        transport: Transport::default(),
    };
    assert_eq!(*config.destination, destination);
}

#[test]
fn values_are_coerced_as_the_plugins_schema_did() {
    let config = "{access_token: ' T ', bucket_key: B, timeout: ' 250 ', keepalive: 60000.7, log_body: 'TRUE', tls_verify: ' false '}";
    let config = &plugins(&format!("{{plugins: [{{name: runscope, config: {config}}}]}}"))[0];
    assert!(config.log_body);
    let destination = &config.destination;
    assert_eq!(
        (
            destination.timeout_ms,
            destination.keepalive_ms,
            destination.tls_verify
        ),
        (250, 60_000, false)
    );
    assert_eq!(destination.access_token.expose(), "T");
}

#[test]
fn the_schema_refuses_in_the_plugins_words() {
    for (config, expected) in [
        (
            "{}",
            &[
                "bucket_key: bucket_key is required",
                "access_token: access_token is required",
            ][..],
        ),
        (
            "{access_token: '', bucket_key: '  '}",
            &[
                "bucket_key: bucket_key is required",
                "access_token: access_token is required",
            ],
        ),
        (
            "{access_token: T, bucket_key: 7}",
            &["bucket_key: bucket_key is not a string (put it in quotes)"],
        ),
        (
            "{access_token: T, bucket_key: B, timeout: soon}",
            &["timeout: timeout is not a number"],
        ),
        (
            "{access_token: T, bucket_key: B, timeout: 0}",
            &["timeout: timeout must be greater than 0 (milliseconds)"],
        ),
        (
            "{access_token: T, bucket_key: B, keepalive: -1}",
            &["keepalive: keepalive must be between 0 and 86400000 (milliseconds)"],
        ),
        (
            "{access_token: T, bucket_key: B, log_body: maybe}",
            &["log_body: log_body is not a boolean"],
        ),
        (
            "{access_token: T, bucket_key: B, api_endpoint: 'api.runscope.com'}",
            &[
                "api_endpoint: api_endpoint is not a url; write one such as http://127.0.0.1:8080 or https://host/base",
            ],
        ),
        (
            "{access_token: T, bucket_key: B, log_bodies: true}",
            &["log_bodies: log_bodies is an unknown field; did you mean `log_body`?"],
        ),
        (
            "{access_token: \"a\\nb\", bucket_key: B}",
            &["access_token: access_token cannot stand in a header: only printable ASCII may"],
        ),
        (
            "{access_token: T, bucket_key: ..}",
            &["bucket_key: bucket_key cannot be `.` or `..`"],
        ),
    ] {
        assert_eq!(mistakes_of(config), expected, "{config}");
    }
    assert_eq!(
        mistakes_of("{zzzzzzzz: 1, timeout: x, log_body: 3}").len(),
        5,
        "all at once"
    );
}

#[test]
fn urls_keep_the_base_path_and_nothing_else() {
    for (endpoint, key, expected) in [
        (
            "https://api.runscope.com",
            "k",
            "https://api.runscope.com/buckets/k/messages",
        ),
        (
            "http://127.0.0.1:9200/",
            "k",
            "http://127.0.0.1:9200/buckets/k/messages",
        ),
        ("http://h/base", "k", "http://h/base/buckets/k/messages"),
        ("http://h/base/", "k", "http://h/base/buckets/k/messages"),
        ("http://u:p@h:81/b?x=1#y", "k", "http://h:81/b/buckets/k/messages"),
        (
            "http://h",
            "a/b c?d%",
            "http://h/buckets/a%2Fb%20c%3Fd%25/messages",
        ),
    ] {
        let url = messages_url(&Url::parse(endpoint).expect("a URL"), key);
        assert_eq!(url.as_str(), expected, "{endpoint} {key}");
    }
}

#[test]
fn scopes_come_from_fields_old_fields_and_nesting() {
    let config = "config: {access_token: T, bucket_key: B}";
    let text = format!(
        "
_format_version: '3.0'
plugins:
- {{name: key-auth}}
- {{name: runscope, service: s, route: {{id: R}}, consumer: {{name: c}}, {config}}}
- {{name: runscope, service_id: S, {config}}}
services:
- {{name: nested, plugins: [{{name: runscope, {config}}}], routes: [{{id: X, plugins: [{{name: runscope, {config}}}]}}]}}
consumers: [{{username: u, plugins: [{{name: runscope, consumer: null, enabled: false, {config}}}]}}]
"
    );
    let found: Vec<_> = plugins(&text)
        .iter()
        .map(|config| {
            (
                config.origin.clone(),
                config.service.clone(),
                config.route.clone(),
                config.consumer.clone(),
            )
        })
        .collect();
    let id = |text: &str| Some(Reference::Id(text.to_owned()));
    let named = |text: &str| Some(Reference::Name(text.to_owned()));
    assert_eq!(
        found,
        [
            (
                "p.yml: plugins[1]".to_owned(),
                Some(Reference::Any("s".to_owned())),
                id("R"),
                named("c")
            ),
            ("p.yml: plugins[2]".to_owned(), id("S"), None, None),
            (
                "p.yml: services[0].plugins[0]".to_owned(),
                named("nested"),
                None,
                None
            ),
            (
                "p.yml: services[0].routes[0].plugins[0]".to_owned(),
                None,
                id("X"),
                None
            ),
            (
                "p.yml: consumers[0].plugins[0]".to_owned(),
                None,
                None,
                named("u")
            ),
        ]
    );
}

#[test]
fn mistakes_of_the_form_are_reported_at_once() {
    let text = "
plugin: []
plugins:
- {name: runscope, servce: s, route: r, api_id: x, consumer_group: g, protocols: [tcp], config: {bucket_key: B}}
- {name: runscope, enabled: maybe, config: 7}
- {config: {}}
services: [{plugins: [{name: runscope, service: x, config: {access_token: T, bucket_key: B}}]}]
";
    let mistakes = read(&[file("p.yml", text)], EnvironmentValues::default())
        .expect_err("mistakes")
        .to_string();
    for expected in [
        "p.yml: plugin: is an unknown key; did you mean `plugins`?",
        "p.yml: plugins[0].servce: is an unknown field; did you mean `service`?",
        "p.yml: plugins[0].api: cannot stand beside a route or a service",
        "p.yml: plugins[0].consumer_group: consumer groups are not supported; name a `consumer`",
        "p.yml: plugins[0].protocols: none of them is HTTP, so this would never apply",
        "p.yml: plugins[0].config.access_token: access_token is required",
        "p.yml: plugins[1].enabled: must be true or false, not a string",
        "p.yml: plugins[1].config: must be a map, not a number",
        "p.yml: plugins[2].name: name is required",
        "p.yml: services[0]: needs a `name` or an `id`, so that its `runscope` plugin can be tied to the gateway's",
    ] {
        assert!(
            mistakes.lines().any(|line| line == expected),
            "no {expected:?} in\n{mistakes}"
        );
    }
    assert_eq!(mistakes.lines().count(), 10, "{mistakes}");
}

#[test]
fn the_environment_gives_one_global_configuration() {
    let of = |values| read(&[], values).map_err(|mistakes| mistakes.to_string());
    let nothing = EnvironmentValues {
        api_endpoint: Some("http://h"),
        ..EnvironmentValues::default()
    };
    assert_eq!(of(nothing), Ok(Vec::new()));
    let half = EnvironmentValues {
        access_token: Some("T"),
        log_body: Some("often"),
        bucket_key: Some(""),
        ..EnvironmentValues::default()
    };
    assert_eq!(
        of(half).expect_err("no bucket"),
        "environment: KONGTAP_BUCKET_KEY: bucket_key is required\nenvironment: KONGTAP_LOG_BODY: log_body is not a boolean"
    );
    let whole = EnvironmentValues {
        access_token: Some("T"),
        bucket_key: Some("B"),
        api_endpoint: Some("http://127.0.0.1:1/x"),
        log_body: Some("true"),
    };
    let configs = of(whole).expect("it is whole");
    assert_eq!(configs.len(), 1);
    assert!(configs[0].log_body && configs[0].service.is_none());
    assert_eq!(
        configs[0].destination.url.as_str(),
        "http://127.0.0.1:1/x/buckets/B/messages"
    );
    let global = file(
        "p.yml",
        "{plugins: [{name: runscope, config: {access_token: T, bucket_key: B}}]}",
    );
    let both = read(&[global], whole).expect("the order of sources decides");
    let set = PluginSet::bind(&both, &gateway());
    let active: Vec<_> = set.active().map(|config| config.origin.as_str()).collect();
    assert_eq!(active, ["p.yml: plugins[0]"]);
    let [shadowed] = set.inactive() else {
        panic!("{:?}", set.inactive())
    };
    assert_eq!(
        (shadowed.origin.as_str(), shadowed.scope.as_str()),
        ("environment", "global")
    );
    assert_eq!(
        shadowed.reason.to_string(),
        "p.yml: plugins[0] has the same scope and comes first"
    );
}

#[test]
fn a_scope_written_twice_is_a_mistake() {
    let one = "{name: runscope, service: s, config: {access_token: T, bucket_key: B}}";
    let text = format!("{{plugins: [{one}, {one}]}}");
    let mistakes = read(&[file("p.yml", &text)], EnvironmentValues::default())
        .expect_err("twice")
        .to_string();
    assert_eq!(
        mistakes,
        "p.yml: plugins[1]: has the same scope as p.yml: plugins[0]; one of them must go"
    );
}

#[test]
fn what_the_gateway_does_not_have_leaves_a_configuration_inactive_and_visible() {
    let config = "config: {access_token: T, bucket_key: B}";
    let scopes = [
        "service: s",
        "service: gone",
        "route: gone",
        "consumer: gone",
        "{id}",
        "route: r3, service: s",
        "enabled: false",
    ];
    let id = gateway()
        .service(&Reference::Name("s".to_owned()))
        .expect("s")
        .id
        .to_string();
    let list: Vec<_> = scopes
        .iter()
        .map(|scope| {
            format!(
                "{{name: runscope, {}, {config}}}",
                scope.replace("{id}", &format!("service: {{id: {id}}}"))
            )
        })
        .collect();
    let configs = plugins(&format!("{{plugins: [{}]}}", list.join(", ")));
    let set = PluginSet::bind(&configs, &gateway());
    let reasons: Vec<_> = set
        .inactive()
        .iter()
        .map(|it| format!("{}: {}", it.origin, it.reason))
        .collect();
    assert_eq!(
        reasons,
        [
            "p.yml: plugins[1]: the gateway has no service `gone`",
            "p.yml: plugins[2]: the gateway has no route `gone`",
            "p.yml: plugins[3]: the gateway has no consumer `gone`",
            "p.yml: plugins[4]: p.yml: plugins[0] has the same scope and comes first",
            "p.yml: plugins[5]: its route does not lead to its service",
            "p.yml: plugins[6]: it is disabled",
        ]
    );
    assert_eq!(set.active().count(), 1);
}

/// The eight scopes by what they bind, the strongest first: the table of the reference, written down.
const TABLE: [(bool, bool, bool); 8] = [
    (true, true, true),
    (true, false, true),
    (false, true, true),
    (true, true, false),
    (false, false, true),
    (true, false, false),
    (false, true, false),
    (false, false, false),
];

/// One possible truth about an exchange: route, service, consumer by name.
type World = (Option<&'static str>, Option<&'static str>, Option<&'static str>);

/// What Kong would use in a world: the number of the scope in the table.
fn obvious(states: &[u8; 8], (route, service, consumer): World) -> Option<usize> {
    TABLE
        .iter()
        .enumerate()
        .position(|(number, (by_route, by_service, by_consumer))| {
            states[number] == 1
                && (!by_route || route == Some("r"))
                && (!by_service || service == Some("s"))
                && (!by_consumer || consumer == Some("c"))
        })
}

const ROUTES: [(Option<&str>, Option<&str>); 5] = [
    (Some("r"), Some("s")),
    (Some("r2"), Some("s")),
    (Some("r3"), Some("s2")),
    (Some("free"), None),
    (None, None),
];

#[test]
fn an_unknown_consumer_matters_where_somebodys_configuration_says_otherwise() {
    #[track_caller]
    fn check(configs: &str, expected: Option<&str>) {
        let snapshot = gateway();
        let set = PluginSet::bind(&plugins(&format!("{{plugins: [{configs}]}}")), &snapshot);
        let route = snapshot.route(&Reference::Name("r".to_owned())).expect("a route");
        let decision = set.decide(&Resolution {
            route: RouteMatch::Matched(Arc::clone(route)),
            service: None,
            consumer: ConsumerMatch::Unknown,
            credentials: Arc::from([]),
            refusal: None,
            outer_port: None,
        });
        let got = match &decision {
            Decision::Use(config) => Some(config.origin.as_str()),
            Decision::ConsumerUnknown => None,
            Decision::None | Decision::RouteUnknown => panic!("{configs}: {decision:?}"),
        };
        assert_eq!(got, expected, "{configs}");
    }
    let global = "{name: runscope, config: {access_token: T, bucket_key: B}}";
    let hers = |rest: &str| {
        format!("{global}, {{name: runscope, consumer: c, config: {{access_token: T, bucket_key: {rest}}}}}")
    };
    check(global, Some("p.yml: plugins[0]"));
    check(&hers("B"), Some("p.yml: plugins[0]"));
    check(&hers("C"), None);
    check(&hers("B, log_body: true"), None);
    check(
        "{name: runscope, consumer: c, config: {access_token: T, bucket_key: B}}",
        None,
    );
}

#[test]
fn precedence_is_kongs_for_every_set_of_configurations_and_all_that_may_be_unknown() {
    let snapshot = gateway();
    let consumer = |name: &str| {
        Arc::clone(
            snapshot
                .consumer(&Reference::Name(name.to_owned()))
                .expect("a consumer"),
        )
    };
    let consumers = [
        (
            ConsumerMatch::Known(consumer("c"), KnownBy::Credentials),
            vec![Some("c")],
        ),
        (
            ConsumerMatch::Known(consumer("c2"), KnownBy::Credentials),
            vec![Some("c2")],
        ),
        (ConsumerMatch::Nobody, vec![None]),
        (ConsumerMatch::Unknown, vec![Some("c"), Some("c2"), None]),
    ];
    let matched = |name: &str| -> (Arc<Route>, Option<Arc<Service>>) {
        let route = Arc::clone(
            snapshot
                .route(&Reference::Name(name.to_owned()))
                .expect("a route"),
        );
        let service = route.service_id.as_ref().map(|id| Reference::Id(id.to_string()));
        let service = service
            .and_then(|reference| snapshot.service(&reference))
            .cloned();
        (route, service)
    };
    // One bucket each: where two configurations say the same, it does not matter which one is in force.
    let destinations: Vec<_> = (0..TABLE.len())
        .map(|number| {
            let config = format!("{{access_token: T, bucket_key: B{number}}}");
            let configs = plugins(&format!("{{plugins: [{{name: runscope, config: {config}}}]}}"));
            Arc::clone(&configs[0].destination)
        })
        .collect();
    let mut asked = 0;
    // Each scope is absent, enabled or disabled.
    for set in 0..3_u32.pow(8) {
        let mut states = [0_u8; 8];
        for (number, state) in states.iter_mut().enumerate() {
            *state = u8::try_from(set / 3_u32.pow(u32::try_from(number).expect("small")) % 3).expect("small");
        }
        let name = |bound: bool, name: &str| bound.then(|| Reference::Name(name.to_owned()));
        let configs: Vec<_> = TABLE
            .iter()
            .enumerate()
            .filter(|(number, _)| states[*number] > 0)
            .map(|(number, (by_route, by_service, by_consumer))| UnboundConfig {
                origin: number.to_string(),
                service: name(*by_service, "s"),
                route: name(*by_route, "r"),
                consumer: name(*by_consumer, "c"),
                enabled: states[number] == 1,
                log_body: false,
                destination: Arc::clone(&destinations[number]),
            })
            .collect();
        let plugin_set = PluginSet::bind(&configs, &snapshot);
        for (who, possible_consumers) in &consumers {
            let mut cases: Vec<(RouteMatch, Option<Arc<Service>>, Vec<_>)> = ROUTES
                .iter()
                .map(|(route, service)| match route {
                    Some(name) => {
                        let (route, service_of_it) = matched(name);
                        (
                            RouteMatch::Matched(route),
                            service_of_it,
                            vec![(Some(*name), *service)],
                        )
                    }
                    None => (RouteMatch::NoRoute, None, vec![(None, None)]),
                })
                .collect();
            let unknown = RouteMatch::Unknown(UnknownRoute::Unsupported);
            // A consumer is only ever known where a route was found.
            let somewhere = ROUTES
                .iter()
                .filter(|(route, _)| route.is_some() || !matches!(who, ConsumerMatch::Known(..)));
            cases.push((unknown, None, somewhere.copied().collect()));
            for (route, service, possible_routes) in cases {
                let worlds = possible_routes.iter().flat_map(|(route, service)| {
                    possible_consumers
                        .iter()
                        .map(move |consumer| (*route, *service, consumer.filter(|_| route.is_some())))
                });
                let by_route = |consumer: Option<&'static str>| {
                    let results = possible_routes
                        .iter()
                        .map(|(r, s)| obvious(&states, (*r, *s, consumer.filter(|_| r.is_some()))));
                    let results: std::collections::HashSet<_> = results.collect();
                    results.len() > 1
                };
                let results: std::collections::HashSet<_> =
                    worlds.map(|world| obvious(&states, world)).collect();
                let decision = plugin_set.decide(&Resolution {
                    route: route.clone(),
                    service,
                    consumer: who.clone(),
                    credentials: Arc::from([]),
                    refusal: None,
                    outer_port: None,
                });
                let got = match &decision {
                    Decision::Use(config) => Some(config.origin.parse::<usize>().expect("a number")),
                    Decision::None | Decision::RouteUnknown | Decision::ConsumerUnknown => None,
                };
                let is_unknown = matches!(decision, Decision::RouteUnknown | Decision::ConsumerUnknown);
                let where_and_who = format!("{states:?} {route:?} {who:?}");
                if results.len() == 1 {
                    assert!(!is_unknown, "it cannot differ: {where_and_who}");
                    assert_eq!(Some(&got), results.iter().next(), "{where_and_who}");
                } else {
                    assert!(is_unknown, "it may differ: {where_and_who}");
                    let depends_on_route = possible_consumers.iter().any(|consumer| by_route(*consumer));
                    if decision == Decision::RouteUnknown {
                        assert!(depends_on_route, "{where_and_who}");
                    }
                }
                asked += 1;
            }
        }
    }
    assert_eq!(asked, 6561 * 4 * 6);
}

#[test]
fn a_refused_request_is_logged_by_global_configurations_alone() {
    let snapshot = gateway();
    let text = "plugins:
- {name: runscope, service: s, config: {access_token: t, bucket_key: service}}
- {name: runscope, config: {access_token: t, bucket_key: global}}
";
    let all = plugins(text);
    for (configs, refusal, expected) in [
        (&all[..], None, Some("service")),
        (&all[..], Some(Refusal::NotGrpc), Some("global")),
        (&all[..1], Some(Refusal::NotGrpc), None),
    ] {
        let set = PluginSet::bind(configs, &snapshot);
        let service = snapshot.service(&Reference::Any("s".to_owned())).cloned();
        let decision = set.decide(&Resolution {
            route: RouteMatch::Matched(Arc::new(Route::default())),
            service,
            consumer: ConsumerMatch::Nobody,
            credentials: Arc::from([]),
            refusal,
            outer_port: None,
        });
        let bucket = match &decision {
            Decision::Use(config) => config.destination.url.path().split('/').nth(2).map(str::to_owned),
            Decision::None | Decision::RouteUnknown | Decision::ConsumerUnknown => None,
        };
        assert_eq!(bucket.as_deref(), expected, "{refusal:?}");
    }
}

proptest! {
    #[test]
    fn random_files_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), config in "[a-z0-9:{}\\[\\], '\"%/?#.@\n-]{0,120}") {
        drop(read(&[SourceFile { name: Arc::from("p.yml"), bytes }], EnvironmentValues::default()));
        let text = format!("plugins:\n- name: runscope\n  config: {{access_token: T, bucket_key: B, {config}}}");
        drop(read(&[file("p.yml", &text)], EnvironmentValues::default()));
    }

    #[test]
    fn messages_urls_have_the_key_as_one_segment(key in "\\PC{1,20}") {
        prop_assume!(!matches!(key.as_str(), "." | ".."));
        let url = messages_url(&Url::parse("http://h/base").expect("a URL"), &key);
        prop_assert_eq!(url.path_segments().map(Iterator::count), Some(4));
    }
}
