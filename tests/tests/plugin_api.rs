//! The documentation's curl lines, word for word, against a running kongtap; then traffic, which must arrive in the bucket that
//! Kong's precedence says.

#![expect(unused_crate_dependencies, reason = "they are the library's")]
#![expect(clippy::tests_outside_test_module, reason = "an integration test")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use kongtap_tests::client::{Request, Scheme, get_json, once};
use kongtap_tests::gateway::configuration::declarative_id;
use kongtap_tests::kernel::require_kernel;
use kongtap_tests::kongtap::Kongtap;
use kongtap_tests::processes::run_to_end;
use kongtap_tests::programs::programs;
use kongtap_tests::scene::Scene;
use kongtap_tests::wait::eventually;
use serde_json::Value;

/// How long one command may take.
const BUDGET: Duration = Duration::from_secs(20);
/// The token that every configuration has.
const TOKEN: &str = "token-of-the-documentation";

/// One command of a script.
struct Command {
    name: String,
    status: u16,
    text: String,
}

fn commands(script: &str) -> Vec<Command> {
    let blocks = script.split("\n\n").filter(|block| block.contains("\ncurl "));
    blocks
        .map(|block| {
            let (head, text) = block.split_once('\n').unwrap();
            let (name, status) = head.trim_start_matches("# ").rsplit_once(' ').unwrap();
            Command {
                name: name.to_owned(),
                status: status.parse().unwrap(),
                text: text.trim().to_owned(),
            }
        })
        .collect()
}

/// What stands for the documentation's placeholders in the lab.
fn in_the_lab(text: &str, bucket: &str, kongtap: &Kongtap) -> String {
    let mut text = text.to_owned();
    for host in ["http://kong:8001", "http://localhost:8001"] {
        text = text.replace(host, &format!("http://{}", kongtap.listen()));
    }
    for (placeholder, value) in [
        ("{service}", "plain-svc".to_owned()),
        ("{service_id}", declarative_id("services", "keyed-svc")),
        ("{route}", "unstripped".to_owned()),
        ("{route_id}", declarative_id("routes", "unstripped")),
        ("{keyed_route_id}", declarative_id("routes", "keyed")),
        ("{api}", "based".to_owned()),
        ("{consumer}", "alice".to_owned()),
        ("{consumer_id}", declarative_id("consumers", "alice")),
        ("{other_consumer_id}", declarative_id("consumers", "bob")),
        ("YOUR_ACCESS_TOKEN", TOKEN.to_owned()),
        ("YOUR_BUCKET_KEY", bucket.to_owned()),
    ] {
        text = text.replace(placeholder, &value);
    }
    assert!(!text.contains("YOUR_"), "{text}");
    text
}

/// Runs a command in a shell and gives status and body.
async fn shell(command: &str) -> (u16, String) {
    let command = format!("{command} --silent --show-error --write-out '\\n%{{http_code}}'");
    let finished = run_to_end(Path::new("sh"), ["-c", &command], &[], BUDGET)
        .await
        .unwrap();
    assert_eq!(finished.code, Some(0), "{command}\n{finished:?}");
    let (body, status) = finished.stdout.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

/// A gateway's file in which the route `based` leads to no service: what an API of 0.13 is to the plugin API.
fn with_an_api(scene: &Scene, directory: &Path) -> String {
    let text = std::fs::read_to_string(scene.gateway.configuration_file()).unwrap();
    let route = "  - { name: based, paths: [/based] }\n";
    assert!(text.contains(route), "{text}");
    let text = text.replace(&format!("  routes:\n{route}"), "");
    let text = format!("{text}routes:\n{}", route.trim_start());
    let path = directory.join("kong.yml");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// Runs the script, sends every configuration to the scene's receiver, and requires each exchange in its bucket.
async fn check(dialect: &str, script: &str, sent: &[(&str, Option<&str>, &str)]) {
    let Some(turn) = require_kernel(dialect).unwrap() else {
        return;
    };
    let scene = Scene::set(turn).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("kongtap.toml");
    std::fs::write(&file, format!("[admin]\ndialect = \"{dialect}\"\n")).unwrap();
    let arguments = [
        "--config",
        &file.display().to_string(),
        "--pid",
        &scene.gateway.master().to_string(),
        "--gateway-config",
        &with_an_api(&scene, directory.path()),
    ];
    let arguments = arguments.into_iter().map(str::to_owned).collect();
    let kongtap = Kongtap::start(&programs().unwrap().kongtap, arguments, Vec::new())
        .await
        .unwrap();

    for command in commands(script) {
        let text = in_the_lab(&command.text, &command.name, &kongtap);
        let (status, body) = shell(&text).await;
        assert_eq!(status, command.status, "{text}\n{body}");
        assert!(!body.contains(TOKEN), "a token is printed: {body}");
    }

    // The documented parameter that says where messages go.
    let endpoint = scene.receiver.endpoint();
    let (_, list) = get_json(kongtap.listen(), "/plugins", None).await.unwrap();
    let ids: Vec<&str> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["id"].as_str().unwrap())
        .collect();
    let created = commands(script)
        .iter()
        .filter(|command| command.status == 201)
        .count();
    assert_eq!(ids.len(), created);
    for id in ids {
        let line = format!(
            "curl -X PATCH http://{}/plugins/{id} --data config.api_endpoint={endpoint}",
            kongtap.listen()
        );
        let (status, body) = shell(&line).await;
        assert_eq!(status, 200, "{line}\n{body}");
    }
    let (_, status) = get_json(kongtap.listen(), "/status", None).await.unwrap();
    for plugin in status["plugins"].as_array().unwrap() {
        assert_eq!(plugin["state"], "active", "{plugin}");
        assert!(
            plugin["origin"].as_str().unwrap().starts_with("store: "),
            "{plugin}"
        );
    }

    let gateway = scene.listeners().plain.unwrap();
    let mut expected = BTreeMap::new();
    for (target, key, bucket) in sent {
        let mut request = Request::new("GET", target);
        if let Some(key) = key {
            request = request.field("apikey", key);
        }
        once(gateway, Scheme::Http, &request).await.unwrap();
        expected.insert(request.id, ((*target).to_owned(), (*bucket).to_owned()));
    }
    let settled = scene.settle(&kongtap, expected.len()).await;
    let mut found = BTreeMap::new();
    for post in scene.receiver.posts() {
        let message: Value = serde_json::from_slice(&post.body).unwrap();
        let id = message["request"]["headers"]["x-lab-id"]
            .as_str()
            .unwrap()
            .to_owned();
        let bucket = post
            .line
            .trim_start_matches("POST /buckets/")
            .trim_end_matches("/messages");
        let target = expected
            .get(&id)
            .map_or_else(String::new, |(target, _)| target.clone());
        let earlier = found.insert(id, (target, bucket.to_owned()));
        assert_eq!(earlier, None, "one exchange is one message");
    }
    assert_eq!(found, expected, "{settled:?}\n{}", kongtap.log_tail());
    assert!(!kongtap.log_tail().contains(TOKEN), "a token is logged");
    gone_again(&kongtap).await;
}

/// Everything can be deleted, and then nothing is configured any more.
async fn gone_again(kongtap: &Kongtap) {
    let (_, list) = get_json(kongtap.listen(), "/plugins", None).await.unwrap();
    for plugin in list["data"].as_array().unwrap() {
        let id = plugin["id"].as_str().unwrap();
        let line = format!("curl -X DELETE http://{}/plugins/{id}", kongtap.listen());
        assert_eq!(shell(&line).await, (204, String::new()), "{line}");
    }
    let emptied = eventually("no configuration", BUDGET, async || {
        let status = get_json(kongtap.listen(), "/status", None).await;
        let (_, status) = status.map_err(|error| format!("{error:#}"))?;
        match status["plugins"].as_array() {
            Some(plugins) if plugins.is_empty() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    emptied.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_of_0_13_work_and_each_scope_has_its_bucket() {
    let sent = [
        ("/plain/json", None, "service"),
        ("/json", None, "route"),
        ("/based/json", None, "api"),
        ("/hidden/json", Some("alice-key-1"), "consumer"),
        ("/keyed/json", Some("alice-key-1"), "consumer-service"),
        ("/keyed/json", Some("bob-key-1"), "consumer-route"),
        ("/hidden/json", Some("bob-key-1"), "global"),
        ("/hidden/json", None, "global"),
        ("/nothing-here", None, "global"),
    ];
    check("0.13", include_str!("../docs/kong-0.13.sh"), &sent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_of_3_work_and_each_scope_has_its_bucket() {
    let sent = [
        ("/plain/json", None, "service"),
        ("/headers", None, "route"),
        ("/based/json", None, "global"),
        ("/hidden/json", Some("alice-key-2"), "consumer"),
        ("/keyed/json", Some("alice-key-2"), "consumer-service"),
        ("/keyed/json", Some("bob-key-1"), "consumer-route"),
        ("/keyed/json", None, "global"),
        ("/nothing-here", None, "global"),
    ];
    check("3", include_str!("../docs/kong-3.sh"), &sent).await;
}

#[test]
fn the_scripts_are_understood_whole() {
    for script in [
        include_str!("../docs/kong-0.13.sh"),
        include_str!("../docs/kong-3.sh"),
    ] {
        let lines = script.lines().filter(|line| line.starts_with("curl ")).count();
        assert_eq!(commands(script).len(), lines);
        if lines < 10 {
            panic!("only {lines} commands");
        }
    }
}
