//! decK's own keys, in the forms that `deck gateway dump` and its documentation have.

use super::file;
use crate::gateway::declarative::{Declared, Lookup, read_with};
use crate::gateway::entities::{CredentialKind, PathHandling};

fn lookup(name: &str) -> Option<String> {
    match name {
        "DECK_HOST" => Some("orders.test".to_owned()),
        "DECK_PORT" => Some("8080".to_owned()),
        "DECK_ON" => Some("false".to_owned()),
        _ => None,
    }
}

fn read(text: &str) -> Declared {
    let lookup: Lookup = lookup;
    read_with(&[file("deck.yml", text)], lookup).unwrap_or_else(|mistakes| panic!("{text}\n{mistakes}"))
}

fn mistakes(text: &str) -> Vec<String> {
    let mistakes = read_with(&[file("deck.yml", text)], lookup)
        .expect_err(text)
        .to_string();
    mistakes.lines().map(str::to_owned).collect()
}

#[test]
fn a_dump_is_read_with_its_defaults_and_says_what_it_leaves_out() {
    let declared = read(
        r#"
_format_version: "3.0"
_konnect: {control_plane_name: cp}
_workspace: team
_info:
  select_tags: [orders, blue]
  defaults:
    service: {port: 8443, protocol: https, connect_timeout: 1}
    route: {strip_path: false, path_handling: v1, protocols: [https]}
    upstream: {algorithm: round-robin}
services:
- name: s
  host: h
  routes:
  - {name: nested, paths: [/a]}
  - {name: own, paths: [/b], strip_path: true, path_handling: null}
routes:
- {name: flat, paths: [/c], service: {name: s}}
"#,
    );
    let [nested, own, flat] = &declared.entities.routes[..] else {
        panic!("{:?}", declared.entities.routes)
    };
    assert!(!nested.strip_path && own.strip_path && !flat.strip_path);
    for route in [nested, own, flat] {
        assert_eq!(route.path_handling, Some(PathHandling::V1), "{route:?}");
        assert_eq!(route.protocols, ["https"]);
        assert_eq!(route.workspace.as_deref(), Some("team"));
        assert_eq!(route.service_id.as_ref(), Some(&declared.entities.services[0].id));
    }
    let upstream = &declared.entities.services[0].upstream;
    assert_eq!(
        (upstream.port, upstream.protocol.as_deref()),
        (Some(8443), Some("https"))
    );
    let note = declared.notes[0].to_string();
    assert!(
        note.starts_with("file deck.yml holds only what is tagged orders, blue"),
        "{note}"
    );
}

#[test]
fn plugins_share_configurations_and_keep_their_own() {
    let declared = read(
        r#"
_format_version: "3.0"
_plugin_configs: {keys: {key_names: [shared], key_in_body: true}}
services: [{name: s, host: h, plugins: [{name: key-auth, _config: keys, config: {key_names: [own]}}]}]
plugins: [{name: key-auth, _config: keys}, {name: key-auth, _config: none}]
"#,
    );
    let names: Vec<_> = declared
        .entities
        .plugins
        .iter()
        .map(|plugin| plugin.config.to_string())
        .collect();
    assert_eq!(
        names,
        [
            r#"{"key_in_body":true,"key_names":["own"]}"#,
            r#"{"key_in_body":true,"key_names":["shared"]}"#,
            "null"
        ]
    );
}

#[test]
fn placeholders_are_filled_in_as_text() {
    let declared = read(
        "
_format_version: '3.0'
# ${{ nothing is done to comments }}
services:
- name: s
  host: ${{ env \"DECK_HOST\" }}
  port: ${{ env \"DECK_PORT\" | toInt }}
  path: \"/${{ env \"DECK_HOST\" }}/x\"
  enabled: ${{env 'DECK_ON'}}
  plugins: [{name: oauth2, config: {provision_key: \"${{ env \"DECK_UNSET\" }}\"}}]
consumers:
- {username: alice, keyauth_credentials: [{key: \"${{ env \"DECK_UNSET\" }}\"}]}
",
    );
    let service = &declared.entities.services[0];
    assert_eq!(service.upstream.host.as_deref(), Some("orders.test"));
    assert_eq!(service.upstream.port, Some(8080));
    assert_eq!(service.upstream.path.as_deref(), Some("/orders.test/x"));
    assert!(!service.enabled);
}

/// What a request shows may be the one that is not known here.
#[test]
fn credentials_that_a_file_does_not_tell_leave_their_kind_unread() {
    let consumer = "consumers: [{username: alice, keyauth_credentials: [{key: a}";
    for (text, known, unread) in [
        (format!("{consumer}]}}]"), 1, vec![]),
        (
            format!("{consumer}, {{key: \"x${{{{ env 'DECK_UNSET' }}}}\"}}]}}]"),
            1,
            vec![CredentialKind::Key],
        ),
        (
            format!("{consumer}, {{key: \"${{{{ env 'DECK_HOST' }}}}\"}}]}}]"),
            2,
            vec![],
        ),
        // Tokens are made while the gateway runs: decK does not dump them.
        (
            format!("{consumer}]}}]\nplugins: [{{name: oauth2}}]"),
            1,
            vec![CredentialKind::Token],
        ),
        (
            format!(
                "{consumer}]}}]\nplugins: [{{name: oauth2}}]\noauth2_tokens: [{{access_token: t, credential: gone}}]"
            ),
            1,
            vec![],
        ),
        (
            format!(
                "{consumer}]}}]\nplugins: [{{name: key-auth}}, {{name: jwt}}]\n_info: {{select_tags: [t]}}"
            ),
            1,
            CredentialKind::ALL.to_vec(),
        ),
    ] {
        let entities = read(&format!("_format_version: '3.0'\n{text}\n")).entities;
        assert_eq!(entities.credentials.len(), known, "{text}");
        let got: Vec<_> = entities.unread_credentials.iter().copied().collect();
        assert_eq!(got, unread, "{text}");
    }
}

#[test]
fn placeholders_without_a_value_are_mistakes_where_the_value_matters() {
    let unset = mistakes(
        "
_format_version: '3.0'
services: [{name: s, host: \"${{ env \"DECK_A\" }}\", routes: [{name: r, paths: [\"/x${{ env `DECK_B` }}\"]}]}]
consumers: [{username: \"${{ env 'DECK_C' }}\"}]
",
    );
    assert_eq!(
        unset,
        [
            "deck.yml: services[0].host: needs the environment variable `DECK_A`, which kongtap does not have",
            "deck.yml: services[0].routes[0].paths[0]: needs the environment variable `DECK_B`, which kongtap does not have",
            "deck.yml: consumers[0].username: needs the environment variable `DECK_C`, which kongtap does not have",
        ]
    );
    let odd = mistakes(
        "_format_version: '3.0'\nservices:\n- {name: \"${{ env \"HOME\" }}\", host: \"${{ file 'x' }}\"}\n",
    );
    assert_eq!(
        odd,
        [
            "deck.yml:3:11: the placeholder `${{ env \"HOME\" }}` names a variable that decK does not read; its name must begin with DECK_",
            "deck.yml:3:38: the placeholder `${{ file 'x' }}` is not understood; write ${{ env \"DECK_NAME\" }}",
        ]
    );
}

#[test]
fn names_come_again_in_other_workspaces_and_only_there() {
    let of = |workspace: &str| {
        format!(
            "{{_format_version: '3.0', _workspace: {workspace}, services: [{{name: s}}], routes: [{{name: r, paths: [/], service: s}}]}}"
        )
    };
    let files = [
        file("a.yml", &of("a")),
        file("b.yml", &of("b")),
        file("c.yml", &of("default")),
    ];
    let entities = read_with(&files, lookup).expect("they fit").entities;
    let mut ids: Vec<_> = entities.services.iter().map(|service| &service.id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3);
    for (route, service) in entities.routes.iter().zip(&entities.services) {
        assert_eq!(route.service_id.as_ref(), Some(&service.id));
    }
    let twice = read_with(&[file("a.yml", &of("a")), file("b.yml", &of("a"))], lookup);
    let twice = twice.expect_err("the same workspace").to_string();
    assert!(
        twice.contains("b.yml: services[0]: `s` is defined twice"),
        "{twice}"
    );
}
