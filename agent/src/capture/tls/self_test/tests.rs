//! The self-test on the real kernel and the system's library: right places pass, and each way of being wrong is found out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{ChildCommand, Running, SelfTest, Verdict, child};
use crate::capture::libraries::{TlsLibrary, placements_in};
use crate::capture::placement::x86::place_in_itself;
use crate::capture::placement::{Count, Leave, Placement, Strategy, stepped};
use crate::capture::probes::{CaptureError, ProbeOptions, Probes};
use crate::capture::symbols::{TlsFunction, code};

const NAME: &str = "capture::tls::self_test::tests::run_as_child";

/// Not a test of its own: what the self-test starts.
#[test]
fn run_as_child() {
    if std::env::var_os(child::LIBRARY).is_some() {
        assert!(child::run());
    }
}

fn child() -> ChildCommand {
    ChildCommand {
        program: PathBuf::from("/proc/self/exe"),
        arguments: ["--exact", NAME, "--nocapture"].map(Into::into).into(),
    }
}

/// The system's library, or nothing where probes cannot be loaded.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn library() -> Option<TlsLibrary> {
    let loaded = Probes::load(&ProbeOptions {
        ring_bytes: 64 << 10,
        ..ProbeOptions::default()
    });
    if let Err(error @ (CaptureError::NoPrivilege { .. } | CaptureError::NoBtf { .. })) = &loaded {
        assert_ne!(std::env::var("REQUIRE_KERNEL").as_deref(), Ok("1"), "{error}");
        eprintln!("skipped: {error}");
        return None;
    }
    let directory = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
    ]
    .into_iter()
    .map(Path::new)
    .find(|directory| directory.join("libssl.so.3").exists())
    .expect("the system's libssl");
    let path = directory.join("libssl.so.3");
    Some(TlsLibrary {
        placements: placements_in(&path).expect("a file"),
        path_in_process: path.clone(),
        path_for_agent: path,
        device: 0,
        inode: 0,
        build_id: None,
        version: None,
        crypto_for_agent: Some(directory.join("libcrypto.so.3")),
        is_executable: false,
    })
}

fn run(library: &TlsLibrary, placements: &BTreeMap<TlsFunction, Placement>) -> Verdict {
    SelfTest {
        library,
        placements,
        child: &child(),
    }
    .run()
}

#[test]
fn the_chosen_places_and_the_first_instructions_pass() {
    let Some(library) = library() else { return };
    let cheap = library
        .placements
        .values()
        .filter(|placement| placement.is_cheap())
        .count();
    assert!(cheap >= 8, "{:#?}", library.placements);
    assert_eq!(run(&library, &library.placements), Verdict::Passed);
    assert_eq!(run(&library, &stepped(&library.placements, "")), Verdict::Passed);
}

/// The system's library with points in `SSL_read` and `SSL_write` themselves, and their `_ex` forms on first instructions.
#[cfg(target_arch = "x86_64")]
fn in_themselves(library: &TlsLibrary) -> BTreeMap<TlsFunction, Placement> {
    let bytes = std::fs::read(&library.path_for_agent).unwrap();
    let code = code(&bytes).unwrap();
    let mut placements = stepped(&library.placements, "");
    for function in [TlsFunction::Read, TlsFunction::Write] {
        let placement = place_in_itself(&code, function, &library.placements[&function]);
        placements.insert(function, placement.expect("the usual shape"));
    }
    placements
}

#[test]
#[cfg(target_arch = "x86_64")]
fn points_within_a_function_pass_and_with_a_wrong_count_they_do_not() {
    let Some(library) = library() else { return };
    let mut placements = in_themselves(&library);
    assert_eq!(run(&library, &placements), Verdict::Passed);
    for (displacement, expected) in [(8, "counts that cannot be"), (0x100, "")] {
        placements.get_mut(&TlsFunction::Read).unwrap().count = Count::Local(displacement);
        let verdict = run(&library, &placements);
        let Verdict::Failed(why) = &verdict else {
            panic!("{displacement}: {verdict:?}");
        };
        assert!(why.contains(expected), "{displacement}: {why}");
    }
}

#[test]
fn wrong_places_are_found_out() {
    let Some(library) = library() else { return };
    let good = &library.placements;
    let with = |function: TlsFunction, change: &dyn Fn(&mut Placement)| {
        let mut placements = good.clone();
        change(placements.get_mut(&function).unwrap());
        placements
    };
    let write_point = good[&TlsFunction::Write].enter.clone();
    let cases: [(&str, BTreeMap<TlsFunction, Placement>); 5] = [
        (
            "the count is elsewhere",
            with(TlsFunction::Read, &|read| read.count = Count::Argument5),
        ),
        (
            "the point is another function's",
            with(TlsFunction::Read, &|read| read.enter = write_point.clone()),
        ),
        (
            "the count is taken to be the result",
            with(TlsFunction::Write, &|write| write.count = Count::Result),
        ),
        (
            "the end is never reached",
            with(TlsFunction::Write, &|write| {
                // `SSL_free` is called after everything.
                write.leave = Leave::At(good[&TlsFunction::Free].enter.clone());
                write.strategy = Strategy::Placed;
            }),
        ),
        ("one form is not probed", {
            let mut placements = stepped(good, "");
            placements.remove(&TlsFunction::ReadEx);
            placements
        }),
    ];
    for (name, placements) in cases {
        let verdict = run(&library, &placements);
        assert!(matches!(verdict, Verdict::Failed(_)), "{name}: {verdict:?}");
    }
}

#[test]
fn the_child_has_given_up_everything_before_it_loads_the_library() {
    let Some(library) = library() else { return };
    let running = Running::start(&child(), &library).unwrap();
    running.expect(child::READY).unwrap();
    // The test harness runs it in a second thread; as `kongtap` it has but one.
    let tasks = std::fs::read_dir(format!("/proc/{}/task", running.process.id())).unwrap();
    let task = tasks.map(|task| task.unwrap().path()).max().unwrap();
    let of_child = |file: &str| std::fs::read_to_string(task.join(file)).unwrap();
    let status = of_child("status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(field("Uid:"), ["65534"; 4]);
    assert_eq!(field("Gid:"), ["65534"; 4]);
    assert_eq!(field("Groups:"), [""; 0]);
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(field(set), ["0000000000000000"], "{set}");
    }
    assert_eq!(field("NoNewPrivs:"), ["1"]);
    for entry in of_child("environ").split_terminator('\0') {
        assert!(entry.starts_with("KONGTAP_SELF_TEST_"), "{entry}");
    }
    let interfaces = of_child("net/dev").lines().skip(2).count();
    assert_eq!(interfaces, 1, "only its own loopback: {}", of_child("net/dev"));
}

#[test]
fn what_cannot_be_loaded_is_no_failure_of_the_places() {
    let Some(library) = library() else { return };
    let check = |change: &dyn Fn(&mut TlsLibrary), expected: &str| {
        let mut library = library.clone();
        change(&mut library);
        let verdict = run(&library, &library.placements);
        let Verdict::Impossible(why) = &verdict else {
            panic!("{expected}: {verdict:?}");
        };
        assert!(why.contains(expected), "{expected}: {why}");
    };
    let own = PathBuf::from("/proc/self/exe");
    check(
        &|library| library.is_executable = true,
        "linked into the executable",
    );
    check(
        &|library| library.path_for_agent = "/no/such/file".into(),
        "/no/such/file",
    );
    check(
        &|library| library.path_for_agent.clone_from(&own),
        "cannot be loaded here",
    );
    let crypto = library.crypto_for_agent.clone().unwrap();
    check(
        &|library| library.path_for_agent.clone_from(&crypto),
        "the library has no",
    );
    let nobody = SelfTest {
        library: &library,
        placements: &library.placements,
        child: &ChildCommand {
            program: "/no/such/program".into(),
            arguments: vec![],
        },
    };
    assert!(matches!(nobody.run(), Verdict::Impossible(_)));
}
