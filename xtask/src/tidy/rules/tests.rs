//! Each rule finds what it is for, in the place where it is, and nothing in a sound file.

use super::{Source, check};
use crate::tidy::Weight;

/// Findings in one file: lines and messages.
fn findings(path: &str, text: &str) -> Vec<(usize, String)> {
    check(&[Source::new(path.to_owned(), text.to_owned())])
        .into_iter()
        .map(|finding| (finding.line, finding.what))
        .collect()
}

#[track_caller]
fn bad(path: &str, body: &str, line: usize, expect: &str) {
    let found = findings(path, &format!("//! What it is for.\n{body}\n"));
    assert!(
        found.len() == 1 && found[0].0 == line && found[0].1.contains(expect),
        "{path}: {body}\n{found:?}"
    );
}

#[track_caller]
fn good(path: &str, body: &str) {
    let found = findings(path, &format!("//! What it is for.\n{body}\n"));
    assert!(found.is_empty(), "{path}: {body}\n{found:?}");
}

#[test]
fn long_files_are_found() {
    let text = |lines: usize| "//! Purpose.\n".to_owned() + &"x\n".repeat(lines - 1);
    let weights = |path: &str, lines| {
        check(&[Source::new(path.to_owned(), text(lines))])
            .into_iter()
            .map(|finding| finding.weight)
            .collect::<Vec<_>>()
    };
    assert_eq!(weights("agent/src/x.rs", 400), []);
    assert_eq!(weights("agent/src/x.rs", 401), [Weight::Warning]);
    assert_eq!(weights("agent/src/x.rs", 701), [Weight::Error]);
    for path in [
        "agent/src/x/tests.rs",
        "tests/tests/x.rs",
        "agent/src/http/hpack/tables.rs",
    ] {
        assert_eq!(weights(path, 2000), [], "{path}");
    }
}

#[test]
fn files_without_a_purpose_are_found() {
    for (path, text) in [
        ("agent/src/x.rs", "use std::io;\n"),
        ("agent/src/x.rs", "// A comment is no documentation.\n"),
        ("agent/src/x.rs", ""),
        ("testdata/x.lua", "local x = 1\n"),
        ("deploy/x.sh", "#!/bin/sh\nset -e\n"),
    ] {
        let found = findings(path, text);
        assert!(
            found.len() == 1 && found[0].1.starts_with("begin with"),
            "{path}: {found:?}"
        );
    }
    assert_eq!(findings("agent/src/x/tests.rs", "use super::x;\n"), []);
    assert_eq!(findings("deploy/x.sh", "#!/bin/sh\n# What it is for.\n"), []);
}

#[test]
fn one_door_to_the_kernel() {
    bad("agent/src/app.rs", "use aya::Ebpf;", 2, "(I1)");
    bad(
        "agent/src/doctor.rs",
        "\nlet x = procfs::process::all();",
        3,
        "(I1)",
    );
    bad(
        "agent/src/app.rs",
        "let x = read(\"/proc/self/maps\");",
        2,
        "(I1)",
    );
    bad("inspector/src/app.rs", "use procfs::Current as _;", 2, "(I1)");
    good("agent/src/capture/loader.rs", "use aya::Ebpf;");
    good(
        "agent/src/app.rs",
        "// aya and \"/proc\" are behind capture\nlet playa = 1; let s = \"aya\";",
    );
    good("agent/src/app.rs", "#[cfg(test)]\nmod tests { use procfs::x; }");
    good("tests/src/x.rs", "let x = \"/proc/1\";");
}

#[test]
fn the_core_does_no_io() {
    for (line, instead) in [
        ("use std::fs;", "source"),
        ("let x = fs::read(path);", "source"),
        ("use tokio::sync::mpsc;", "wait elsewhere"),
        ("use std::sync::Mutex;", "one owner"),
        ("let now = Instant::now();", "`now`"),
        ("let x: std::time::SystemTime;", "`now`"),
        ("let x = std::thread::current();", "spawn"),
        ("use std::net::{SocketAddr, TcpListener};", "admin"),
        ("let x = std::env::args();", "environment"),
    ] {
        for module in [
            "conn.rs",
            "http/h1.rs",
            "correlate/join.rs",
            "gateway/router.rs",
            "plugin.rs",
            "message/body.rs",
        ] {
            bad(&format!("agent/src/{module}"), line, 2, instead);
        }
        for module in [
            "app.rs",
            "ship/pool.rs",
            "gateway/sources/admin.rs",
            "gateway/source.rs",
            "plugin/store.rs",
        ] {
            good(&format!("agent/src/{module}"), line);
        }
    }
    good(
        "agent/src/conn.rs",
        "use std::net::SocketAddr;\nlet instantly = InstantLike;\n// no tokio here",
    );
    good("agent/src/conn.rs", "#[cfg(test)]\nmod tests { use std::fs; }");
}

#[test]
fn messages_are_made_in_one_place() {
    bad(
        "agent/src/ship/queue.rs",
        "let message = Message { json };",
        2,
        "(I7)",
    );
    bad("agent/src/app.rs", "send(Message{ json })", 2, "(I7)");
    good("agent/src/message.rs", "Message { json }");
    good("agent/src/message/document.rs", "Message { json }");
    good(
        "agent/src/ship.rs",
        "impl Queue for Message {\nfn take() -> Message {\nfn see(&self) -> &Message {\nstruct Message {",
    );
    good("agent/src/ship.rs", "let x = LogMessage { json };");
}

#[test]
fn probes_only_look() {
    bad(
        "ebpf/src/main.rs",
        "let x = bpf_probe_write_user(a, b);",
        2,
        "(I8)",
    );
    bad("ebpf/src/main.rs", "#[kprobe]", 2, "(I8)");
    bad("ebpf/src/main.rs", "    #[xdp(frags)]", 2, "(I8)");
    good(
        "ebpf/src/main.rs",
        "#[uprobe]\n#[uretprobe]\n#[raw_tracepoint(tracepoint = \"x\")]\n#[map]\n#[inline(always)]",
    );
    good("ebpf/src/main.rs", "// never bpf_probe_write_user");
}

#[test]
fn unsafe_code_has_its_places() {
    bad("agent/src/http/h1.rs", "unsafe { x() }", 2, "unsafe");
    bad("tests/src/x.rs", "unsafe fn x() {}", 2, "unsafe");
    good("agent/src/capture/probes.rs", "unsafe { x() }");
    good("common/src/record.rs", "unsafe impl Pod for X {}");
    good("agent/src/clock.rs", "unsafe { x() }");
    good(
        "agent/src/app.rs",
        "#[expect(unsafe_code)]\nlet x = \"unsafe\"; // unsafe",
    );
}

#[test]
fn an_exception_that_is_not_needed_is_found() {
    let found = findings("agent/src/clock.rs", "//! Clock.\n");
    assert!(
        found.len() == 1 && found[0].1.contains("needs no exception"),
        "{found:?}"
    );
}

#[test]
fn leftovers_are_found() {
    let mark = concat!("TO", "DO");
    bad(
        "agent/src/x.rs",
        &format!("// {mark}: later"),
        2,
        "needs an issue",
    );
    bad("docs/x.rs", &format!("// {mark}(me)"), 2, "needs an issue");
    good(
        "agent/src/x.rs",
        &format!("// {mark}(#12): later\nlet {mark}S = 1;"),
    );
    bad("agent/src/x.rs", "fn x() { todo!() }", 2, "todo!");
    bad(
        "agent/src/x.rs",
        "fn x() { unimplemented!(\"y\") }",
        2,
        "unimplemented!",
    );
    bad("agent/src/x.rs", "#[ignore]", 2, "ignored");
    bad("agent/src/x.rs", "#[ignore = \"slow\"]", 2, "ignored");
    good(
        "agent/src/x.rs",
        "let s = \"todo!\"; let todo = 1; let ignore = 2;",
    );
}

#[test]
fn paths_of_a_machine_are_found() {
    let home = concat!("/ho", "me/");
    bad(
        "agent/src/x.rs",
        &format!("let p = \"{home}me/x\";"),
        2,
        "one machine",
    );
    assert_eq!(
        findings("docs/x.md", &format!("see {}x\n", concat!("/ro", "ot/"))).len(),
        1
    );
    good(
        "agent/src/x.rs",
        &format!("let p = \"https://example.test{home}\"; let q = \"./x{home}\";"),
    );
}

#[test]
fn metrics_are_described() {
    let sources = |doc: Option<&str>| {
        let code = "//! Metrics.\nlet a = \"kongtap_bytes_seen\"; let b = \"kongtap.toml\"; // \"kongtap_not_one\"\n";
        let mut sources = vec![Source::new(
            "agent/src/telemetry/metrics.rs".to_owned(),
            code.to_owned(),
        )];
        sources.extend(doc.map(|doc| Source::new("docs/metrics.md".to_owned(), doc.to_owned())));
        check(&sources)
    };
    assert_eq!(sources(None), []);
    assert_eq!(sources(Some("`kongtap_bytes_seen_total`: bytes")), []);
    let found = sources(Some("nothing"));
    assert!(
        found.len() == 1 && found[0].what.contains("kongtap_bytes_seen"),
        "{found:?}"
    );
}
