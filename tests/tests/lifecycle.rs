//! A gateway's life under load: kongtap comes while it serves, workers are replaced, killed and upgraded, libraries change
//! on disk, gateways stop and start. What was missed is measured, and printed as figures (`--nocapture` shows them).
//!
//! Each test takes its turn on the machine ([`kongtap_tests::kernel`]).

#![expect(unused_crate_dependencies, reason = "they are the library's")]
#![expect(clippy::tests_outside_test_module, reason = "an integration test")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kongtap_tests::client::{Connection, Request, Scheme};
use kongtap_tests::gateway::Listeners;
use kongtap_tests::gateway::stand_in::{Leaving, Setting, StandIn};
use kongtap_tests::kernel::{Turn, require_kernel};
use kongtap_tests::kongtap::Kongtap;
use kongtap_tests::lab::{global_configuration, kong_yml};
use kongtap_tests::life::{Blind, Load, MOST_BLIND, Sent, quiet};
use kongtap_tests::processes::{Process, Start, pid};
use kongtap_tests::programs::programs;
use kongtap_tests::receiver::Receiver;
use kongtap_tests::scene::{Scene, TOKEN};
use kongtap_tests::shipped::Shipped;
use kongtap_tests::status::{Status, WatchedWorker};
use kongtap_tests::tls;
use kongtap_tests::upstream::Upstream;
use kongtap_tests::wait::eventually;
use rustix::process::{Signal, kill_process};
use tokio::time::Instant;

/// Connections of each scheme.
const CONNECTIONS: u64 = 3;
/// Exchanges before and after an event.
const SOME: usize = 60;
/// How long kongtap may take to watch new workers.
const WATCHED: Duration = Duration::from_secs(10);

/// What a test prints.
#[expect(clippy::print_stderr, reason = "the figures are what these tests measure")]
fn report(test: &str, blind: &[Blind], status: &Status) {
    for (number, blind) in blind.iter().enumerate() {
        eprintln!("{test}, event {}: blind for {blind}", number + 1);
    }
    let lost = status.lost_bytes();
    if lost > 0 {
        eprintln!("{test}: {lost} bytes lost: {:?}", status.bytes.lost);
    }
}

/// Waits for the last message, and requires that nothing is wrong but what the events explain: both sums hold, no byte is lost
/// but those of TLS calls that no socket is known for, no exchange is dropped, and nobody was blind for more than a second.
async fn settle(
    test: &str,
    pair: (&Kongtap, &Receiver),
    loads: Vec<Sent>,
    events: &[Instant],
    from: Option<Instant>,
    shipped: impl Fn() -> Vec<Shipped>,
) -> Vec<Blind> {
    let blind = judge(test, pair, loads, events, from, shipped).await;
    let status = pair.0.status().await.unwrap();
    assert_eq!(
        (status.lost_bytes_besides("tls_unbound"), status.dropped()),
        (0, 0),
        "{test}: {status:?}"
    );
    blind
}

/// The same without a word on what was lost or dropped: where others have gateways too, that may be theirs.
async fn judge(
    test: &str,
    (kongtap, receiver): (&Kongtap, &Receiver),
    loads: Vec<Sent>,
    events: &[Instant],
    from: Option<Instant>,
    shipped: impl Fn() -> Vec<Shipped>,
) -> Vec<Blind> {
    let mut sent = Sent::default();
    for more in loads {
        sent.whole.extend(more.whole);
        sent.broken.extend(more.broken);
    }
    sent.whole.sort_by_key(|timed| timed.began);
    let status = quiet(kongtap, receiver).await.unwrap();
    let excused = from.map(|from| sent.forget_before(from)).unwrap_or_default();
    let blind = sent
        .judge(&shipped(), events, &excused)
        .unwrap_or_else(|error| panic!("{test}: {error:#}\n{}", kongtap.log_tail()));
    report(test, &blind, &status);
    for blind in &blind {
        assert!(
            blind.plain < MOST_BLIND && blind.tls < MOST_BLIND,
            "{test}: {blind}"
        );
    }
    blind
}

/// Workers that kongtap watches.
fn watched(status: &Status) -> Vec<WatchedWorker> {
    let gateways = status.gateways.iter();
    gateways.flat_map(|gateway| gateway.workers.clone()).collect()
}

/// Waits until kongtap watches exactly these gateways' workers, and two of each that `before` does not hold.
async fn until_watched(kongtap: &Kongtap, gateways: &[&StandIn], before: &[u32]) -> Status {
    eventually("kongtap to watch the new workers", WATCHED, async || {
        let status = kongtap.status().await.map_err(|error| format!("{error:#}"))?;
        let known: HashSet<u32> = watched(&status).iter().map(|worker| worker.pid).collect();
        for gateway in gateways {
            let workers = gateway.workers().map_err(|error| error.to_string())?;
            let new = workers.iter().filter(|worker| !before.contains(worker)).count();
            if new != 2 || !workers.iter().all(|worker| known.contains(worker)) {
                return Err(format!("workers {workers:?}, watched {known:?}"));
            }
        }
        Ok(status)
    })
    .await
    .unwrap_or_else(|error| panic!("{error:#}\n{}", kongtap.log_tail()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attached_under_load_everything_is_whole_from_then_on() {
    let Some(turn) = require_kernel("attach under load").unwrap() else {
        return;
    };
    let scene = Scene::set(turn).await.unwrap();
    let load = Load::start(scene.listeners(), CONNECTIONS);
    // Idle connections too: they carry nothing while kongtap comes, and go on afterwards.
    let mut open = Vec::new();
    for scheme in [Scheme::Http, Scheme::Https] {
        let mut connection = Connection::open(scene.listeners().of(scheme).unwrap(), scheme)
            .await
            .unwrap();
        connection
            .exchange(&Request::new("GET", "/plain/json"))
            .await
            .unwrap();
        open.push(connection);
    }
    load.reach(SOME).await.unwrap();
    let kongtap = scene.attach().await.unwrap();
    let attached = Instant::now();
    let mut ids = Vec::new();
    for connection in &mut open {
        let request = Request::new("GET", "/plain/json");
        assert_eq!(connection.exchange(&request).await.unwrap().status, 200);
        ids.push(request.id);
    }
    load.reach(3 * SOME).await.unwrap();
    let status = until_watched(&kongtap, &[&scene.gateway], &[]).await;
    for worker in watched(&status) {
        assert_eq!(worker.found, "running");
        assert!(worker.watched_since_unix_ms > 1_700_000_000_000, "{worker:?}");
    }
    let pair = (&kongtap, &scene.receiver);
    let own: HashSet<String> = ids.iter().cloned().collect();
    settle(
        "attach",
        pair,
        vec![load.end().await.unwrap()],
        &[],
        Some(attached),
        || {
            let mut shipped = scene.shipped().unwrap();
            shipped.retain(|message| !own.contains(message.id.as_deref().unwrap_or_default()));
            shipped
        },
    )
    .await;
    let shipped = scene.shipped().unwrap();
    for id in &ids {
        let message = shipped
            .iter()
            .find(|message| message.id.as_deref() == Some(id))
            .unwrap();
        assert_eq!(message.status, Some(200), "{}", message.url);
    }
}

/// Reloads twice under load, and gives how long kongtap was blind, and what it logged.
async fn reload_twice(test: &str, mut scene: Scene) -> (Vec<Blind>, String) {
    let kongtap = scene.attach().await.unwrap();
    let load = Load::start(scene.listeners(), CONNECTIONS);
    let mut events = Vec::new();
    for _ in 0..2 {
        load.reach(SOME).await.unwrap();
        let before = scene.gateway.workers().unwrap();
        events.push(Instant::now());
        scene.gateway.reload().await.unwrap();
        let status = until_watched(&kongtap, &[&scene.gateway], &before).await;
        for worker in watched(&status) {
            if !before.contains(&worker.pid) {
                assert_eq!(worker.found, "birth", "{worker:?}\n{}", kongtap.log_tail());
                assert!(worker.tls.starts_with("calls"), "{worker:?}");
            }
        }
        pass(MOST_BLIND, *events.last().unwrap()).await;
    }
    load.reach(SOME).await.unwrap();
    let pair = (&kongtap, &scene.receiver);
    let blind = settle(test, pair, vec![load.end().await.unwrap()], &events, None, || {
        scene.shipped().unwrap()
    })
    .await;
    (blind, kongtap.log_tail())
}

/// Waits until `time` has gone by since `moment`.
async fn pass(time: Duration, moment: Instant) {
    tokio::time::sleep_until(moment + time).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_reload_the_new_workers_are_seen_within_a_second() {
    let Some(turn) = require_kernel("reload").unwrap() else {
        return;
    };
    // Somebody else uses the system's libssl, so that each worker has probes of its own.
    let other = Other::of(Path::new("/usr/lib/x86_64-linux-gnu/libssl.so.3"));
    let (blind, log) = reload_twice("reload, shared libssl", Scene::set(turn).await.unwrap()).await;
    drop(other);
    for blind in blind {
        assert!(
            blind.plain < Duration::from_millis(100),
            "plain traffic: {blind}\n{log}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_reload_nothing_is_missed_where_only_the_gateway_uses_its_library() {
    let Some(turn) = require_kernel("reload, private libssl").unwrap() else {
        return;
    };
    let library = PrivateLibrary::new();
    let scene = Scene::set_in(turn, library.setting(Leaving::Stays))
        .await
        .unwrap();
    let (blind, log) = reload_twice("reload, private libssl", scene).await;
    for blind in blind {
        assert_eq!(
            (blind.plain_missed.0, blind.tls_missed.0),
            (0, 0),
            "{blind}\n{log}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_binary_upgrade_is_followed() {
    let Some(turn) = require_kernel("upgrade").unwrap() else {
        return;
    };
    let setting = Setting {
        leaving: Leaving::Leaves,
        ..Setting::default()
    };
    let mut scene = Scene::set_in(turn, setting).await.unwrap();
    let kongtap = scene.attach().await.unwrap();
    let load = Load::start(scene.listeners(), CONNECTIONS);
    load.reach(SOME).await.unwrap();
    let before = scene.gateway.workers().unwrap();
    let event = Instant::now();
    scene.gateway.upgrade().await.unwrap();
    let status = until_watched(&kongtap, &[&scene.gateway], &before).await;
    assert!(
        status
            .gateways
            .iter()
            .any(|gateway| gateway.master == Some(scene.gateway.master())),
        "{status:?}"
    );
    pass(MOST_BLIND, event).await;
    load.reach(SOME).await.unwrap();
    let pair = (&kongtap, &scene.receiver);
    settle(
        "upgrade",
        pair,
        vec![load.end().await.unwrap()],
        &[event],
        None,
        || scene.shipped().unwrap(),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_library_that_is_replaced_on_disk_is_followed() {
    let Some(turn) = require_kernel("library").unwrap() else {
        return;
    };
    let library = PrivateLibrary::new();
    let mut scene = Scene::set_in(turn, library.setting(Leaving::Leaves))
        .await
        .unwrap();
    // The workers run the old file, which is gone from disk, before kongtap comes.
    library.replace();
    let kongtap = scene.attach().await.unwrap();
    let load = Load::start(scene.listeners(), CONNECTIONS);
    load.reach(SOME).await.unwrap();
    let mut events = Vec::new();
    // A reload's workers have their master's library, an upgrade's the new one.
    for upgrade in [false, true] {
        library.replace();
        let before = scene.gateway.workers().unwrap();
        events.push(Instant::now());
        if upgrade {
            scene.gateway.upgrade().await.unwrap();
        } else {
            scene.gateway.reload().await.unwrap();
        }
        let status = until_watched(&kongtap, &[&scene.gateway], &before).await;
        for worker in watched(&status) {
            assert!(worker.tls.starts_with("calls"), "{worker:?}");
        }
        pass(MOST_BLIND, *events.last().unwrap()).await;
        load.reach(SOME).await.unwrap();
    }
    let pair = (&kongtap, &scene.receiver);
    settle(
        "library replaced",
        pair,
        vec![load.end().await.unwrap()],
        &events,
        None,
        || scene.shipped().unwrap(),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_killed_is_replaced() {
    let Some(turn) = require_kernel("killed worker").unwrap() else {
        return;
    };
    let scene = Scene::set(turn).await.unwrap();
    let kongtap = scene.attach().await.unwrap();
    let load = Load::start(scene.listeners(), CONNECTIONS);
    load.reach(SOME).await.unwrap();
    let victim = *scene.gateway.workers().unwrap().first().unwrap();
    let event = Instant::now();
    kill_process(pid(victim).unwrap(), Signal::KILL).unwrap();
    eventually("another worker, watched", WATCHED, async || {
        let workers = scene.gateway.workers().map_err(|error| error.to_string())?;
        let status = kongtap.status().await.map_err(|error| format!("{error:#}"))?;
        let known: Vec<u32> = watched(&status).iter().map(|worker| worker.pid).collect();
        let same = workers.len() == 2 && known.len() == 2 && workers.iter().all(|pid| known.contains(pid));
        if same && !workers.contains(&victim) {
            Ok(())
        } else {
            Err(format!("workers {workers:?}, watched {known:?}"))
        }
    })
    .await
    .unwrap();
    pass(MOST_BLIND, event).await;
    load.reach(SOME).await.unwrap();
    let pair = (&kongtap, &scene.receiver);
    settle(
        "worker killed",
        pair,
        vec![load.end().await.unwrap()],
        &[event],
        None,
        || scene.shipped().unwrap(),
    )
    .await;
}

/// kongtap that looks for gateways by itself.
async fn discover(scene: &Scene, more: &[&str]) -> Kongtap {
    let mut arguments = vec![
        "--gateway-config".to_owned(),
        scene.gateway.configuration_file().display().to_string(),
    ];
    arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
    let environment = global_configuration(&scene.receiver.endpoint(), TOKEN);
    Kongtap::start_only(&programs().unwrap().kongtap, arguments, environment).unwrap()
}

/// Messages of these listeners: on a machine that others use, discovery finds their gateways as well.
fn of(listeners: &[Listeners], scene: &Scene) -> Vec<Shipped> {
    let ports: Vec<String> = listeners
        .iter()
        .flat_map(|listeners| [listeners.plain, listeners.tls])
        .flatten()
        .map(|address| format!(":{}/", address.port()))
        .collect();
    let mut shipped = scene.shipped().unwrap();
    shipped.retain(|message| ports.iter().any(|port| message.url.contains(port)));
    shipped
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_starts_and_starts_again_is_found() {
    let Some(turn) = require_kernel("start and start again").unwrap() else {
        return;
    };
    let mut scene = Scene::set(turn).await.unwrap();
    scene.gateway.stop().await.unwrap();
    let kongtap = discover(&scene, &["--wait"]).await;
    eventually("kongtap to look for gateways", WATCHED, async || {
        let status = kongtap.status().await.map_err(|error| format!("{error:#}"))?;
        let address = scene.listeners().plain.unwrap();
        let known = status
            .gateways
            .iter()
            .any(|gateway| gateway.listeners.contains(&address));
        assert!(!known, "it is stopped: {status:?}");
        Ok(())
    })
    .await
    .unwrap();
    let (mut loads, mut events) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        events.push(Instant::now());
        scene.gateway.start_again().await.unwrap();
        let load = Load::start(scene.listeners(), CONNECTIONS);
        load.reach(SOME).await.unwrap();
        until_watched(&kongtap, &[&scene.gateway], &[]).await;
        pass(MOST_BLIND, *events.last().unwrap()).await;
        load.reach(SOME).await.unwrap();
        // The connections break off when the gateway goes.
        loads.push(load.end().await.unwrap());
        scene.gateway.stop().await.unwrap();
    }
    let listeners = [scene.listeners()];
    let pair = (&kongtap, &scene.receiver);
    judge("started", pair, loads, &events, None, || of(&listeners, &scene)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_are_watched_at_once() {
    let Some(turn) = require_kernel("two gateways").unwrap() else {
        return;
    };
    let mut scene = Scene::set(turn).await.unwrap();
    let identity = tls::self_signed().unwrap();
    let yml = kong_yml(&scene.upstream).unwrap();
    let mut second = StandIn::start(&yml, &identity).await.unwrap();
    let more = vec!["--pid".to_owned(), second.master().to_string()];
    let environment = global_configuration(&scene.receiver.endpoint(), TOKEN);
    let kongtap = scene.attach_with(more, environment).await.unwrap();
    let loads = vec![
        Load::start(scene.listeners(), 2),
        Load::start(second.listeners(), 2),
    ];
    for load in &loads {
        load.reach(SOME / 2).await.unwrap();
    }
    let before: Vec<u32> = [scene.gateway.workers().unwrap(), second.workers().unwrap()].concat();
    let mut events = vec![Instant::now()];
    scene.gateway.reload().await.unwrap();
    events.push(Instant::now());
    second.reload().await.unwrap();
    let status = until_watched(&kongtap, &[&scene.gateway, &second], &before).await;
    assert_eq!(status.gateways.len(), 2, "{status:?}");
    pass(MOST_BLIND, events[1]).await;
    let mut sent = Vec::new();
    for load in loads {
        load.reach(SOME / 2).await.unwrap();
        sent.push(load.end().await.unwrap());
    }
    let pair = (&kongtap, &scene.receiver);
    settle("two gateways", pair, sent, &events, None, || {
        scene.shipped().unwrap()
    })
    .await;
}

/// A copy of OpenSSL's libraries that only a test's gateway uses.
struct PrivateLibrary(tempfile::TempDir);

const LIBRARIES: [&str; 2] = ["libssl.so.3", "libcrypto.so.3"];
const SYSTEM_LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";

impl PrivateLibrary {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let library = Self(
            tempfile::Builder::new()
                .prefix("kongtap-libssl.")
                .tempdir()
                .unwrap(),
        );
        std::fs::set_permissions(library.0.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        library.replace();
        library
    }

    /// Puts other files in the place of those that run, as a package manager does.
    fn replace(&self) {
        for name in LIBRARIES {
            let fresh = self.0.path().join("fresh");
            std::fs::copy(Path::new(SYSTEM_LIBRARIES).join(name), &fresh).unwrap();
            std::fs::rename(&fresh, self.0.path().join(name)).unwrap();
        }
    }

    fn setting(&self, leaving: Leaving) -> Setting {
        Setting {
            environment: vec![("LD_LIBRARY_PATH", self.0.path().display().to_string())],
            leaving,
            ..Setting::default()
        }
    }
}

/// A process that maps a library and does nothing.
struct Other(std::process::Child);

impl Other {
    fn of(library: &Path) -> Self {
        let child = Command::new("sleep")
            .arg("300")
            .env("LD_PRELOAD", library)
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

/// A network namespace, as long as this lives.
struct Namespace(
    Process,
    #[expect(dead_code, reason = "the log's place")] tempfile::TempDir,
);

impl Namespace {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let holder = Process::start(Start {
            name: "the namespace's holder",
            program: Path::new("unshare"),
            arguments: ["--net", "sh", "-c", "ip link set lo up && exec sleep 300"]
                .map(str::to_owned)
                .to_vec(),
            environment: vec![],
            log: directory.path().join("log"),
        })
        .unwrap();
        let namespace = Self(holder, directory);
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        eventually("the namespace", WATCHED, async || {
            let comm = std::fs::read_to_string(format!("/proc/{}/comm", namespace.0.pid()));
            let other = std::fs::read_link(namespace.path());
            match (comm, other) {
                (Ok(comm), Ok(other)) if comm.trim() == "sleep" && other != own => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await
        .unwrap();
        namespace
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.0.pid()))
    }

    /// Runs `work` on a thread in the namespace: its sockets, and the programs that it starts, are in there.
    async fn run<T: Send + 'static, F: Future<Output = T>>(
        &self,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> T {
        let namespace = std::fs::File::open(self.path()).unwrap();
        let (sender, result) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            use std::os::fd::AsFd as _;
            let network = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(namespace.as_fd(), network).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let _nobody_waits = sender.send(runtime.block_on(work()));
        });
        result.await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_in_namespaces_of_its_own_is_captured() {
    let Some(turn) = require_kernel("namespaces").unwrap() else {
        return;
    };
    contained(turn).await;
}

/// As in a container: other processes, other network, and a library that exists in its mount namespace alone.
async fn contained(turn: Turn) {
    let namespace = Namespace::new().await;
    let libraries = tempfile::Builder::new()
        .prefix("kongtap-inside.")
        .tempdir()
        .unwrap();
    let inside = libraries.path().display().to_string();
    let script = format!(
        "mount -t tmpfs -o mode=755 none {inside} && cp {SYSTEM_LIBRARIES}/libssl.so.3 {SYSTEM_LIBRARIES}/libcrypto.so.3 {inside}/ && \
         LD_LIBRARY_PATH={inside} exec \"$@\""
    );
    let setting = Setting {
        inside: [
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child=TERM",
            "sh",
            "-c",
            &script,
            "sh",
        ]
        .map(str::to_owned)
        .to_vec(),
        ..Setting::default()
    };
    let receiver = Receiver::start().await.unwrap();
    // The upstream's, the gateway's and the client's sockets are made in there; their runtime lives until the test ends.
    let (ready, told) = tokio::sync::oneshot::channel();
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let traffic = namespace.run(move || async move {
        let identity = tls::self_signed().unwrap();
        let upstream = Upstream::start(&identity).await.unwrap();
        let yml = kong_yml(&upstream).unwrap();
        let mut gateway = StandIn::start_in(setting, &yml, &identity).await.unwrap();
        let listeners = gateway.listeners();
        ready
            .send((gateway.master(), gateway.configuration_file(), listeners))
            .unwrap();
        gone.await.unwrap();
        let load = Load::start(listeners, CONNECTIONS);
        load.reach(SOME).await.unwrap();
        let event = Instant::now();
        gateway.reload().await.unwrap();
        pass(MOST_BLIND, event).await;
        load.reach(SOME).await.unwrap();
        let sent = load.end().await.unwrap();
        let workers = gateway.workers().unwrap();
        (sent, event, workers, gateway)
    });
    let kongtap = async {
        let (master, configuration, listeners) = told.await.unwrap();
        assert!(
            !libraries.path().join("libssl.so.3").exists(),
            "the library is not in there alone"
        );
        let arguments = vec![
            "--pid".to_owned(),
            master.to_string(),
            "--gateway-config".to_owned(),
            configuration.display().to_string(),
        ];
        let environment = global_configuration(&receiver.endpoint(), TOKEN);
        let kongtap = Kongtap::start(&programs().unwrap().kongtap, arguments, environment)
            .await
            .unwrap();
        go.send(()).unwrap();
        (kongtap, listeners)
    };
    let ((sent, event, workers, _gateway), (kongtap, listeners)) = tokio::join!(traffic, kongtap);
    let status = kongtap.status().await.unwrap();
    let known: Vec<u32> = watched(&status).iter().map(|worker| worker.pid).collect();
    assert!(
        workers.iter().all(|worker| known.contains(worker)),
        "workers {workers:?} by the host's numbers, watched {known:?}"
    );
    let gateway = status.gateways.first().unwrap();
    let addresses: Vec<_> = [listeners.plain, listeners.tls].into_iter().flatten().collect();
    assert!(
        addresses
            .iter()
            .all(|address| gateway.listeners.contains(address)),
        "{gateway:?}"
    );
    let pair = (&kongtap, &receiver);
    settle("namespaces", pair, vec![sent], &[event], None, || {
        kongtap_tests::scene::shipped_at(&receiver).unwrap()
    })
    .await;
    drop(turn);
}
