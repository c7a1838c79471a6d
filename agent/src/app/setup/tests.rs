use std::path::Path;
use std::sync::Arc;

use super::{check_files, plugins, read_once};
use crate::app::live::Live;
use crate::config::{Config, GlobalPlugin, from_toml};
use crate::explain::account::SourceAnswer;
use crate::gateway::ports::PortMap;
use crate::gateway::source::GatewayState;
use crate::plugin::PluginSet;
use crate::plugin::store::Store;
use crate::telemetry::secret::Secret;

#[test]
fn every_file_of_a_directory_is_checked() {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, text) in [
        ("a.yml", "{_format_version: '3.0', services: [{name: s}]}"),
        ("b.yml", "{_format_version: '3.0', services: 7}"),
    ] {
        std::fs::write(directory.path().join(name), text).expect("written");
    }
    let mut config = Config::default();
    config.gateway.files = vec![directory.path().to_owned()];
    let mistakes = check_files(&config).expect_err("b.yml is wrong").to_string();
    assert!(
        mistakes.ends_with("b.yml: services: must be a list, not a number"),
        "{mistakes}"
    );
    std::fs::remove_file(directory.path().join("b.yml")).expect("removed");
    assert_eq!(check_files(&config).expect("a.yml is right").entities, (1, 0, 0));
}

const CONFIG: &str = "name: runscope, config: {access_token: t, bucket_key: b}";

/// A global configuration in each of the four sources, and one more of the gateway's.
fn four_sources(directory: &Path) -> Config {
    let kong = format!(
        "{{_format_version: '3.0', services: [{{name: s, routes: [{{name: r, paths: [/r], snis: ['*']}}]}}], plugins: [{{{CONFIG}}}, {{{CONFIG}, service: s}}]}}"
    );
    let store = format!("plugins: [{{{CONFIG}, id: 00000000-0000-4000-8000-000000000001}}]");
    let file = format!("plugins: [{{{CONFIG}}}, {{{CONFIG}, service: gone}}]");
    for (name, text) in [("kong.yml", &kong), ("store.yml", &store), ("file.yml", &file)] {
        std::fs::write(directory.join(name), text).expect("written");
    }
    let mut config = Config::default();
    config.gateway.files = vec![directory.join("kong.yml")];
    config.plugins.store = Some(directory.join("store.yml"));
    config.plugins.files = vec![directory.join("file.yml")];
    config.plugins.global = Some(GlobalPlugin {
        access_token: Some(Secret::new("t")),
        bucket_key: Some("b".to_owned()),
        ..GlobalPlugin::default()
    });
    config
}

/// What applies, then what does not and why.
fn shown(plugins: &PluginSet) -> Vec<String> {
    let active = plugins.active().map(|config| config.origin.clone());
    let inactive = plugins.inactive().iter();
    let inactive = inactive.map(|it| format!("{} ({})", it.origin, it.reason));
    active.chain(inactive).collect()
}

/// What a running agent binds, of the same configuration.
fn of_a_running_agent(config: &Config, state: &GatewayState) -> Vec<String> {
    let store = Store::open(config.plugins.store_path()).expect("a store");
    let declared = check_files(config).expect("good files").plugins;
    let live = Live::new(
        &store.view().plugins,
        declared,
        plugins::from_gateway(config),
        PortMap::default(),
    );
    live.gateway_changed(state);
    shown(&live.history().load().newest().plugins)
}

#[tokio::test]
async fn what_is_read_once_is_what_a_running_agent_decides_by() {
    for has_store in [true, false] {
        for has_file in [true, false] {
            for has_environment in [true, false] {
                for from_gateway in [true, false] {
                    let directory = tempfile::tempdir().expect("a directory");
                    let mut config = four_sources(directory.path());
                    config.plugins.from_gateway = from_gateway;
                    if !has_store {
                        std::fs::remove_file(config.plugins.store_path()).expect("removed");
                    }
                    if !has_file {
                        config.plugins.files.clear();
                    }
                    if !has_environment {
                        config.plugins.global = None;
                    }
                    let (bound, account) = read_once(&config).await.expect("a reading");
                    let state = GatewayState {
                        snapshot: Arc::clone(&bound.snapshot),
                        ..GatewayState::empty()
                    };
                    let case = format!("{has_store} {has_file} {has_environment} {from_gateway}");
                    let found = shown(&bound.plugins);
                    assert_eq!(found, of_a_running_agent(&config, &state), "{case}");
                    // The first source that has one has the global scope.
                    let directory = directory.path().display();
                    let global = [
                        (
                            has_store,
                            "store: 00000000-0000-4000-8000-000000000001".to_owned(),
                        ),
                        (has_file, format!("{directory}/file.yml: plugins[0]")),
                        (has_environment, "environment".to_owned()),
                        (from_gateway, format!("gateway: {directory}/kong.yml: plugins[0]")),
                    ];
                    let first = global
                        .into_iter()
                        .find_map(|(there, origin)| there.then_some(origin));
                    assert_eq!(
                        found.first().filter(|it| first.is_some() && !it.contains('(')),
                        first.as_ref(),
                        "{case}"
                    );
                    let counts: Vec<_> = account.sources.iter().map(|it| it.configurations).collect();
                    let count = |there: bool, many: usize| if there { many } else { 0 };
                    let expected = [
                        count(has_store, 1),
                        count(has_file, 2),
                        count(has_environment, 1),
                        2,
                    ];
                    assert_eq!(counts, expected, "{case}");
                }
            }
        }
    }
}

#[tokio::test]
async fn each_source_is_told_of_and_what_of_the_gateway_is_not_evaluated() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = four_sources(directory.path());
    let (_, account) = read_once(&config).await.expect("a reading");
    let of = |name: &str| vec![directory.path().join(name).display().to_string()];
    let source = |source, files, configurations, note: Option<&str>| SourceAnswer {
        source,
        files,
        configurations,
        note: note.map(str::to_owned),
    };
    assert_eq!(
        account.sources,
        [
            source("store", of("store.yml"), 1, None),
            source("files", of("file.yml"), 2, None),
            source("environment", Vec::new(), 1, None),
            source(
                "gateway",
                Vec::new(),
                2,
                Some("not used, as `plugins.from_gateway` is not set")
            ),
        ]
    );
    assert_eq!(account.warnings.len(), 1, "{:?}", account.warnings);
    assert!(
        account.warnings[0].starts_with("route r asks for the server name"),
        "{:?}",
        account.warnings
    );
}

#[test]
fn what_gives_way_is_what_the_configuration_says() {
    use crate::ship::shed::{GoesFirst, ShedPolicy};

    let policy = |text: &str| super::ship_limits(&from_toml(Path::new("f"), text).expect(text)).shed;
    assert_eq!(policy(""), ShedPolicy::default());
    let text = "[ship.shed]\nbodies = false\nerrors_last = false\ndrop = \"oldest\"";
    let expected = ShedPolicy {
        bodies: false,
        errors_last: false,
        first: GoesFirst::Oldest,
    };
    assert_eq!(policy(text), expected);
}
