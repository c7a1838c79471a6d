//! What `/status` says of configurations: each with its origin and whether it applies, and routes that are not evaluated by name.

use std::path::Path;
use std::sync::Arc;

use super::{configuration, plugins};
use crate::app::setup::read_once;
use crate::config::Config;
use crate::gateway::router::RouterProfile;
use crate::gateway::snapshot::Snapshot;
use crate::gateway::source::GatewayState;
use crate::gateway::{declarative, document::SourceFile};

const CONFIG: &str =
    "name: runscope, config: {access_token: hunter2, bucket_key: b, api_endpoint: 'http://e.test'}";

fn written(directory: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).expect("written");
    path
}

#[tokio::test]
async fn each_configuration_has_its_origin_and_whether_it_is_active() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut config = Config::default();
    let service = "11111111-1111-4111-8111-111111111111";
    let kong = format!(
        "{{_format_version: '3.0', services: [{{name: s, id: {service}}}], plugins: [{{{CONFIG}, service: s}}]}}"
    );
    config.gateway.files = vec![written(directory.path(), "kong.yml", &kong)];
    let store = format!("plugins: [{{{CONFIG}, service: s, id: 00000000-0000-4000-8000-000000000001}}]");
    config.plugins.store = Some(written(directory.path(), "store.yml", &store));
    let file = format!(
        "plugins: [{{{CONFIG}}}, {{{CONFIG}, consumer: zoe}}, {{{CONFIG}, route: r, enabled: false}}]"
    );
    config.plugins.files = vec![written(directory.path(), "file.yml", &file)];
    let (bound, _) = read_once(&config).await.expect("a reading");
    let shown = plugins(&bound.plugins);
    let rows: Vec<_> = shown
        .iter()
        .map(|row| {
            let origin = row
                .origin
                .replace(&format!("{}/", directory.path().display()), "");
            (origin, row.scope.clone(), row.state.clone())
        })
        .collect();
    let expected = [
        (
            "store: 00000000-0000-4000-8000-000000000001",
            &*format!("service={service}"),
            "active",
        ),
        ("file.yml: plugins[0]", "global", "active"),
        (
            "file.yml: plugins[1]",
            "consumer=zoe",
            "inactive: the gateway has no consumer `zoe`",
        ),
        (
            "file.yml: plugins[2]",
            "route=r",
            "inactive: the gateway has no route `r`",
        ),
        (
            "gateway: kong.yml: plugins[0]",
            &*format!("service={service}"),
            "inactive: it is the gateway's own, which may post by itself; `plugins.from_gateway = true` uses it",
        ),
    ];
    let expected =
        expected.map(|(origin, scope, state)| (origin.to_owned(), scope.to_owned(), state.to_owned()));
    assert_eq!(rows, expected);
    for row in &shown {
        assert_eq!(row.endpoint, "http://e.test/buckets/b/messages", "{}", row.origin);
    }
    let json = serde_json::to_string(&shown).expect("JSON");
    assert!(!json.contains("hunter2"), "{json}");
}

#[test]
fn routes_that_are_not_evaluated_are_named() {
    let text = "
_format_version: '3.0'
services:
- name: s
  routes:
  - {name: sni, snis: [a.test]}
  - {name: who, paths: [/w], sources: [{ip: 10.0.0.0/8}]}
  - {name: look, paths: ['~/a(?=b)']}
  - {name: none}
  - {name: plain, paths: [/p]}
";
    let server_name = "asks for the server name of the TLS handshake, which is not seen: TLS requests that it may take have no known route";
    let client = "asks for the client's address, which is not certain (the gateway trusts proxies, or does not say whom it trusts): \
                  requests that it may take have no known route";
    let look = "look-around, including look-ahead and look-behind, is not supported";
    let none = "has nothing to match on; the gateway leaves it out too";
    for (flavor, expected) in [
        (
            "traditional",
            vec![
                format!("route sni {server_name}"),
                format!(
                    "route look has a regular expression in `paths` that is not evaluated ({look}): requests that it may take have no known route"
                ),
                format!("route none {none}"),
            ],
        ),
        (
            "traditional_compatible",
            vec![
                format!("route sni {server_name}"),
                format!("route who {client}"),
                format!("route look cannot be an expression, and the gateway leaves it out too: {look}"),
                format!("route none {none}"),
            ],
        ),
    ] {
        let entities = declarative::read(&[SourceFile {
            name: Arc::from("kong.yml"),
            bytes: text.as_bytes().to_vec(),
        }])
        .expect("a configuration");
        let (snapshot, warnings) = Snapshot::build(entities, &RouterProfile::of(None, Some(flavor)));
        let state = GatewayState {
            snapshot: Arc::new(snapshot),
            warnings: warnings.into(),
            ..GatewayState::empty()
        };
        let shown = configuration(&state, "kong.yml");
        assert_eq!(shown.warnings, expected, "{flavor}");
        assert_eq!(shown.entities["routes"], 5, "{flavor}");
    }
}
