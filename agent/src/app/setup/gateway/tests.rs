use std::path::Path;

use super::{admin_options, konnect_options, ports, profile, source};
use crate::config::{Config, apply_environment, from_toml};
use crate::gateway::router::RouterFlavor;
use crate::gateway::source::api_client::{Credential, SecretAt, Trust};
use crate::telemetry::secret::Secret;

fn config(text: &str, variable: Option<(&str, &str)>) -> Config {
    let mut config = from_toml(Path::new("f"), text).expect(text);
    apply_environment(&mut config, &|name| {
        variable
            .filter(|(known, _)| *known == name)
            .map(|(_, value)| value.to_owned())
    });
    config
}

#[test]
fn the_source_is_the_one_that_is_named_and_files_come_first() {
    let konnect = "[gateway.konnect]\nregion = \"eu\"\ncontrol_plane_id = \"id\"";
    for (text, expected) in [
        ("", None),
        (
            "[gateway]\nadmin_url = \"http://h:8001/team/\"",
            Some("http://h:8001/team"),
        ),
        (
            "[gateway]\nadmin_url = \"http://unix:/run/a.sock\"",
            Some("unix:/run/a.sock"),
        ),
        (
            "[gateway]\nadmin_url = \"http://h:8001\"\nfiles = [\"/a.yml\", \"/b\"]",
            Some("/a.yml, /b"),
        ),
        (konnect, Some("https://eu.api.konghq.com/ control plane id")),
    ] {
        let found = source(&config(text, None)).expect(text);
        assert_eq!(
            found.map(|source| source.to_string()).as_deref(),
            expected,
            "{text}"
        );
    }
    assert!(source(&config("[gateway]\nadmin_url = \"h\"", None)).is_err());
}

#[test]
fn the_environments_token_wins_over_the_files() {
    let text = "[gateway]\nadmin_token_file = \"/t\"\nadmin_headers = { x-who = \"me\" }\nadmin_ca = \"/ca\"";
    let of = |variable| admin_options(&config(text, variable).gateway, "http://h");
    let file = of(None);
    let me = (
        "x-who".to_owned(),
        Credential {
            prefix: "",
            value: SecretAt::Text(Secret::new("me")),
        },
    );
    let token = |value| ("kong-admin-token".to_owned(), Credential { prefix: "", value });
    assert_eq!(file.headers, [token(SecretAt::File("/t".into())), me.clone()]);
    assert_eq!(file.tls.trust, Trust::Only("/ca".into()));
    let set = of(Some(("KONGTAP_ADMIN_TOKEN", "s")));
    assert_eq!(set.headers, [token(SecretAt::Text(Secret::new("s"))), me]);
    let insecure = config("[gateway]\nadmin_tls_verify = false", None);
    assert_eq!(
        admin_options(&insecure.gateway, "http://h").tls.trust,
        Trust::Anybody
    );
    assert_eq!(
        admin_options(&Config::default().gateway, "http://h").tls.trust,
        Trust::Host
    );

    let text = "[gateway.konnect]\naddress = \"http://h\"\ntoken_file = \"/t\"";
    for (variable, value) in [
        (None, SecretAt::File("/t".into())),
        (
            Some(("KONGTAP_KONNECT_TOKEN", "s")),
            SecretAt::Text(Secret::new("s")),
        ),
    ] {
        let konnect = config(text, variable).gateway.konnect.expect("a control plane");
        let options = konnect_options(&konnect);
        let bearer = (
            "authorization".to_owned(),
            Credential {
                prefix: "Bearer ",
                value,
            },
        );
        assert_eq!(
            (options.url.as_str(), options.headers),
            ("http://h", vec![bearer])
        );
    }
}

#[test]
fn the_router_of_a_file_is_what_the_configuration_says() {
    for (text, flavor, minor) in [
        ("", RouterFlavor::TraditionalCompatible, 9),
        ("router_flavor = \"expressions\"", RouterFlavor::Expressions, 9),
        ("version = \"2.8.1\"", RouterFlavor::Traditional, 8),
        (
            "version = \"3.4.0\"\nrouter_flavor = \"traditional\"",
            RouterFlavor::Traditional,
            4,
        ),
    ] {
        let profile = profile(&config(&format!("[gateway]\n{text}"), None));
        assert_eq!((profile.flavor, profile.version.minor), (flavor, minor), "{text}");
    }
    let mapped = ports(&config("[gateway]\nport_maps = [\"80:8000\"]", None));
    assert_eq!(mapped.outer(8000), Some(80));
}
