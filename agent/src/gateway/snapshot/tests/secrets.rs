//! No secret of a configuration is in anything that was made of it.

use std::sync::Arc;

use super::Snapshot;
use crate::gateway::declarative;
use crate::gateway::document::SourceFile;
use crate::gateway::router::RouterProfile;

/// Every place where Kong keeps a secret, with `PLANTED` in it.
const FULL: &str = r#"
_format_version: "3.0"
certificates:
- {id: 11111111-1111-4111-8111-111111111111, cert: PLANTED-cert, key: PLANTED-key, snis: [{name: a.test}]}
vaults: [{name: env, prefix: PLANTED-vault, config: {prefix: PLANTED}}]
services:
- name: s
  url: http://PLANTED-user:PLANTED-password@h/base
  client_certificate: 11111111-1111-4111-8111-111111111111
  routes: [{name: r, hosts: [h]}]
  plugins:
  - {name: openid-connect, config: {client_secret: [PLANTED], session_secret: PLANTED, session_redis_password: PLANTED, issuer: "http://i"}}
  - {name: oauth2, config: {provision_key: PLANTED, scopes: [a]}}
  - {name: ldap-auth-advanced, config: {ldap_password: PLANTED, header_type: ldap}}
  - {name: session, config: {secret: PLANTED, cookie_name: sid}}
  - {name: vault-auth, config: {vault: {vault_token: PLANTED}, access_token_name: a}}
  - {name: jwt-signer, config: {access_token_keyset: PLANTED}}
  - {name: saml, config: {request_signing_key: PLANTED, session_secret: PLANTED}}
  - {name: rate-limiting, config: {redis: {password: PLANTED}, redis_password: PLANTED}}
  - {name: http-log, config: {http_endpoint: "http://u:PLANTED@h", headers: {authorization: PLANTED}}}
  - {name: request-transformer, config: {add: {headers: ["authorization:PLANTED"]}, replace: {headers: ["x:PLANTED"]}}}
  - {name: aws-lambda, config: {aws_secret: PLANTED}}
  - {name: key-auth, config: {key_names: [k], identity_realms: [{id: PLANTED}]}}
  - {name: request-termination, config: {body: PLANTED, status_code: 503}}
consumers:
- username: alice
  keyauth_credentials: [{key: PLANTED}]
  basicauth_credentials: [{username: alice, password: PLANTED}]
  jwt_secrets: [{key: iss, secret: PLANTED, rsa_public_key: PLANTED}]
  hmacauth_credentials: [{username: alice, secret: PLANTED}]
  oauth2_credentials: [{name: app, client_id: id, client_secret: PLANTED}]
keyauth_credentials: [{consumer: alice, key: PLANTED}]
"#;

fn file(text: &str) -> [SourceFile; 1] {
    [SourceFile {
        name: Arc::from("kong.yml"),
        bytes: text.as_bytes().to_vec(),
    }]
}

#[test]
fn a_snapshot_holds_no_planted_secret() {
    let entities = declarative::read(&file(FULL)).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(entities.plugins.len(), 13, "all of them were read");
    for plugin in &entities.plugins {
        let kept = plugin.config.to_string();
        assert!(!kept.contains("PLANTED"), "{}: {kept}", plugin.name);
    }
    let as_read = format!("{entities:?}");
    assert!(
        as_read.contains("alice") && !as_read.contains("PLANTED"),
        "{as_read}"
    );
    let (snapshot, warnings) = Snapshot::build(entities, &RouterProfile::default());
    let text = format!("{snapshot:?} {warnings:?}");
    assert!(text.contains("alice") && !text.contains("PLANTED"), "{text}");
}

#[test]
fn mistakes_do_not_quote_secrets() {
    let broken = FULL
        .replace("hosts: [h]", "hosts: h")
        .replace("enabled: true", "")
        .replace("{key: PLANTED}", "{key: PLANTED, key: PLANTED}")
        .replace("key_names: [k]", "key_names: 7");
    for text in [
        broken,
        FULL.replace("PLANTED", "PLANTED: ["),
        FULL.replace("name: s\n", "name: [s]\n"),
    ] {
        let mistakes = declarative::read(&file(&text))
            .expect_err("it is broken")
            .to_string();
        assert!(!mistakes.contains("PLANTED"), "{mistakes}");
    }
}
