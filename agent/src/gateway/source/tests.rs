mod large;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{FileSource, Fingerprint, GatewayState, Look, Pace, Source, SourceError, chain, refresh};
use crate::gateway::admin_api::tests::{Behaviour, client, dialects, serve};
use crate::gateway::entities::Reference;
use crate::gateway::ports::PortMap;
use crate::gateway::router::RouterProfile;

const QUICK: Pace = Pace {
    interval: Duration::from_millis(10),
    full: Duration::from_secs(600),
};
const ONE: &str = "{_format_version: '3.0', services: [{name: one}]}";
const TWO: &str = "{_format_version: '3.0', services: [{name: two}]}";

fn files(paths: Vec<PathBuf>) -> Source {
    Source::Files(FileSource {
        paths,
        profile: RouterProfile::default(),
        lookup: |_| None,
    })
}

/// Polls until `holds`, within a budget.
async fn until(
    shared: &ArcSwap<GatewayState>,
    what: &str,
    holds: impl Fn(&GatewayState) -> bool,
) -> Arc<GatewayState> {
    for _ in 0..2_000 {
        let state = shared.load_full();
        if holds(&state) {
            return state;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{what}: {:?}", shared.load().source);
}

#[tokio::test]
async fn a_failed_refresh_keeps_the_last_snapshot_and_says_so() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("kong.yml");
    std::fs::write(&path, ONE).expect("written");
    let shared = Arc::new(ArcSwap::from_pointee(GatewayState::empty()));
    let (changes, mut changed) = mpsc::channel(16);
    let cancel = CancellationToken::new();
    let on_change = move |_: &_| changes.try_send(()).expect("room");
    let task = tokio::spawn(refresh(
        files(vec![path.clone()]),
        QUICK,
        PortMap::default(),
        Arc::clone(&shared),
        on_change,
        cancel.clone(),
    ));
    let has = |name: &str| {
        let reference = Reference::Name(name.to_owned());
        move |state: &GatewayState| state.snapshot.service(&reference).is_some()
    };
    let first = until(&shared, "the first reading", has("one")).await;
    assert_eq!(first.source.error, None);
    assert!(first.source.age_ns(u64::MAX).is_some() && first.snapshot.is_configured());

    std::fs::write(&path, "{_format_version: '3.0', services: 7}").expect("written");
    let broken = until(&shared, "the mistake", |state| state.source.error.is_some()).await;
    assert!(has("one")(&broken), "the last snapshot stays");
    let error = broken.source.error.as_deref().unwrap_or_default();
    assert!(
        error.ends_with("kong.yml: services: must be a list, not a number"),
        "{error}"
    );
    let later = until(&shared, "more failures", |state| {
        state.source.failed > broken.source.failed
    })
    .await;
    assert_eq!(
        later.source.current_at_unix_ns, broken.source.current_at_unix_ns,
        "its age grows"
    );

    std::fs::remove_file(&path).expect("removed");
    until(&shared, "the file is gone", |state| {
        state
            .source
            .error
            .as_deref()
            .is_some_and(|error| error.contains("cannot be read"))
    })
    .await;

    std::fs::write(&path, TWO).expect("written");
    let last = until(&shared, "the second reading", has("two")).await;
    assert_eq!(last.source.error, None);
    cancel.cancel();
    task.await.expect("it ends when cancelled");
    let mut count = 0;
    while changed.recv().await.is_some() {
        count += 1;
    }
    assert_eq!(count, 2, "told of each new snapshot once");
}

#[tokio::test]
async fn files_are_looked_at_before_they_are_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let (a, b) = (directory.path().join("a.yml"), directory.path().join("b.yml"));
    std::fs::write(&a, ONE).expect("written");
    std::fs::write(&b, TWO).expect("written");
    let source = files(vec![a.clone(), b]);
    let Ok(Look::Changed(reading)) = source.look(&Fingerprint::default()).await else {
        panic!("the first look reads");
    };
    assert_eq!(reading.entities.services.len(), 2);
    let last = reading.fingerprint;
    assert!(matches!(source.look(&last).await, Ok(Look::Unchanged(None, same)) if same == last));
    let touched = Fingerprint {
        cheap: Some("older".to_owned()),
        contents: last.contents,
    };
    assert!(
        matches!(source.look(&touched).await, Ok(Look::Unchanged(None, same)) if same == last),
        "same contents"
    );
    std::fs::write(&a, TWO.replace("two", "new")).expect("written");
    assert!(matches!(source.look(&touched).await, Ok(Look::Changed(_))));
    let missing = files(vec![directory.path().join("none.yml")]).fetch().await;
    assert!(matches!(missing, Err(SourceError::File { .. })), "{missing:?}");
}

#[tokio::test]
async fn an_admin_api_is_refreshed_and_cancelling_does_not_wait_for_it() {
    let (address, _) = serve(Behaviour::Good, 4).await;
    let shared = Arc::new(ArcSwap::from_pointee(GatewayState::empty()));
    let cancel = CancellationToken::new();
    let api = Source::AdminApi(client(format!("http://{address}"), None, Duration::from_secs(20)));
    let (ports, shared_of_task) = (PortMap::default(), Arc::clone(&shared));
    let task = tokio::spawn(refresh(api, QUICK, ports, shared_of_task, |_| {}, cancel.clone()));
    let state = until(&shared, "three looks", |state| state.source.succeeded >= 3).await;
    assert_eq!(state.snapshot.sizes(), (16, 18, 6));
    assert_eq!(state.facts.as_ref().map(|facts| facts.workers.len()), Some(2));
    cancel.cancel();
    task.await.expect("it ends");

    let (address, _) = serve(Behaviour::Hangs, 4).await;
    let api = Source::AdminApi(client(
        format!("http://{address}"),
        None,
        Duration::from_secs(3600),
    ));
    let cancel = CancellationToken::new();
    let task = tokio::spawn(refresh(
        api,
        QUICK,
        PortMap::default(),
        shared,
        |_| {},
        cancel.clone(),
    ));
    tokio::task::yield_now().await;
    cancel.cancel();
    tokio::time::timeout(Duration::from_secs(10), task)
        .await
        .expect("at once")
        .expect("it ends");
}

#[tokio::test]
async fn a_directory_is_its_files_by_name_and_a_new_one_is_seen() {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        std::fs::write(directory.path().join(name), text).expect("written");
    };
    let source = files(vec![directory.path().to_owned()]);
    let empty = source.fetch().await.expect_err("nothing there");
    assert!(
        chain(&empty).contains("without .yml, .yaml or .json files"),
        "{empty}"
    );
    write(
        "b.yml",
        "{_format_version: '3.0', routes: [{name: r, paths: [/], service: one}]}",
    );
    write(
        "a.json",
        "{\"_format_version\": \"3.0\", \"services\": [{\"name\": \"one\"}]}",
    );
    for passed_over in ["..hidden.yml", "notes.txt", "kong.yml.bak"] {
        write(passed_over, "{");
    }
    std::fs::create_dir(directory.path().join("more.yml")).expect("made");
    let first = source.fetch().await.expect("it reads");
    assert_eq!(
        (first.entities.services.len(), first.entities.routes.len()),
        (1, 1)
    );
    let unchanged = source.look(&first.fingerprint).await;
    assert!(matches!(unchanged, Ok(Look::Unchanged(..))), "{unchanged:?}");
    write("c.yaml", TWO);
    let Ok(Look::Changed(second)) = source.look(&first.fingerprint).await else {
        panic!("a file more")
    };
    assert_eq!(second.entities.services.len(), 2);
    std::fs::remove_file(directory.path().join("c.yaml")).expect("removed");
    assert!(matches!(
        source.look(&second.fingerprint).await,
        Ok(Look::Changed(_))
    ));
}

#[tokio::test]
async fn an_unchanged_hash_is_believed_until_a_full_reading_is_due() {
    let gateway = dialects::serve(dialects::document("2.8.1"), 1000, Vec::new(), Vec::new()).await;
    let run = async |full: Duration, looks: u64| {
        let api = client(
            format!("http://{}", gateway.address),
            None,
            Duration::from_secs(20),
        );
        let shared = Arc::new(ArcSwap::from_pointee(GatewayState::empty()));
        let cancel = CancellationToken::new();
        let pace = Pace { full, ..QUICK };
        let before = gateway.asked("/consumers");
        let source = Source::AdminApi(api);
        let (ports, shared_of_task) = (PortMap::default(), Arc::clone(&shared));
        let task = tokio::spawn(refresh(
            source,
            pace,
            ports,
            shared_of_task,
            |_| {},
            cancel.clone(),
        ));
        let state = until(&shared, "some looks", |state| state.source.succeeded >= looks).await;
        cancel.cancel();
        task.await.expect("it ends");
        (gateway.asked("/consumers") - before, state)
    };
    let (readings, state) = run(Duration::from_secs(600), 5).await;
    assert_eq!(readings, 1, "the hash says that nothing changed");
    let resolved = state.snapshot.sizes();
    assert_eq!(resolved, (1, 1, 2));
    let (readings, state) = run(Duration::ZERO, 3).await;
    assert!(readings >= 3, "{readings}: the hash is not asked");
    assert!(
        state.source.changed_at_unix_ns < state.source.current_at_unix_ns,
        "and nothing changed"
    );
}

#[tokio::test]
async fn the_gateways_ports_are_the_snapshots_unless_kongtaps_configuration_names_others() {
    let gateway = dialects::serve(dialects::document("2.8.1"), 1000, Vec::new(), Vec::new()).await;
    let own = PortMap::parse(["8080:8000"]).expect("ports");
    for (ports, expected) in [(PortMap::default(), 80), (own, 8080)] {
        let api = client(
            format!("http://{}", gateway.address),
            None,
            Duration::from_secs(20),
        );
        let reading = api.fetch().await.expect("it answers");
        let found = super::ports_of(&ports, reading.facts.as_ref()).outer(8000);
        assert_eq!(found, Some(expected));
    }
}
