//! What is not wanted is not copied, and the message is none the worse: sizes are exact, and it comes at once.

#![expect(unused_crate_dependencies, reason = "they are the library's")]
#![expect(clippy::tests_outside_test_module, reason = "an integration test")]
#![expect(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use kongtap_tests::client::{Content, Request, Scheme, once};
use kongtap_tests::compare::{Expected, Verdict, compare};
use kongtap_tests::kernel::require_kernel;
use kongtap_tests::lab::global_configuration;
use kongtap_tests::payload::{Kind, bytes};
use kongtap_tests::scene::{Scene, TOKEN};
use kongtap_tests::status::Status;
use kongtap_tests::wait::eventually;

/// A large answer.
const LARGE_BYTES: u64 = 5 << 20;
/// All that may be copied for one exchange without bodies: each leg has a request and the first 64 KiB of an answer, and a
/// gateway's call may reach beyond by its small pieces.
const COPIED_BYTES: u64 = 200 << 10;
/// What `limits.body_bytes` is by default.
const KEPT_BYTES: usize = 256 << 10;

async fn attach(scene: &Scene, log_body: bool) -> kongtap_tests::kongtap::Kongtap {
    let mut environment = global_configuration(&scene.receiver.endpoint(), TOKEN);
    environment.retain(|(name, _)| *name != "KONGTAP_LOG_BODY");
    environment.push(("KONGTAP_LOG_BODY", log_body.to_string()));
    scene.attach_with(vec![], environment).await.unwrap()
}

/// One exchange of `framing`; gives it, and waits for its message.
async fn exchange(
    scene: &Scene,
    kongtap: &kongtap_tests::kongtap::Kongtap,
    before: &Status,
    scheme: Scheme,
    request: Request,
) -> (Expected, Status) {
    let gateway = scene.listeners().of(scheme).unwrap();
    let posts = scene.receiver.count();
    let answer = once(gateway, scheme, &request).await.unwrap();
    assert_eq!(answer.status, 200, "{}", request.target);
    let expected = Expected::of("large", (scheme, gateway), &request, &answer, None);
    scene.settle(kongtap, posts + 1).await.unwrap();
    // The kernel's counts are read a few times a second.
    let body_bytes = u64::try_from(request.body().len() + expected.response_body.len()).unwrap();
    let moved = before.bytes.seen + 2 * body_bytes;
    let counted = eventually("both legs to be counted", Duration::from_secs(10), async || {
        let status = kongtap.status().await.map_err(|error| format!("{error:#}"))?;
        if status.bytes.seen > moved && status.require_balance().is_ok() {
            Ok(status)
        } else {
            Err(format!("{:?}", status.bytes))
        }
    });
    (expected, counted.await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_bodies_a_large_answer_is_a_size() {
    let Some(turn) = require_kernel("large answers without bodies").unwrap() else {
        return;
    };
    let scene = Scene::set(turn).await.unwrap();
    let kongtap = attach(&scene, false).await;
    let mut before = kongtap.status().await.unwrap();
    let mut expected = Vec::new();
    for (scheme, framing) in [
        (Scheme::Http, "length"),
        (Scheme::Http, "chunked"),
        (Scheme::Http, "close"),
        (Scheme::Https, "length"),
        (Scheme::Https, "chunked"),
    ] {
        let target = format!("/plain/bytes?size={LARGE_BYTES}&seed=1&kind=text&framing={framing}");
        let (mut one, status) =
            exchange(&scene, &kongtap, &before, scheme, Request::new("GET", &target)).await;
        let copied = status.bytes.copied - before.bytes.copied;
        assert!(
            copied < COPIED_BYTES,
            "{framing}, {scheme:?}: {copied} bytes copied"
        );
        before = status;
        // The size on the wire is compared; the body is not sent.
        one.response_body = bytes::Bytes::new();
        expected.push(one);
    }
    let upload = bytes(Kind::Binary, 3, 800_000);
    for content in [Content::Sized(upload.clone()), Content::Chunked(upload, 30_000)] {
        let request =
            Request::new("POST", "/plain/bytes?size=10&seed=1").content("application/octet-stream", content);
        let (mut one, status) = exchange(&scene, &kongtap, &before, Scheme::Http, request).await;
        assert!(status.bytes.copied - before.bytes.copied < COPIED_BYTES);
        before = status;
        (one.request_body, one.response_body) = Default::default();
        expected.push(one);
    }
    scene.require_all(&kongtap, &expected).await.unwrap();
    let left = |reason: &str| before.bytes.left.get(reason).copied().unwrap_or(0);
    assert!(
        left("over_budget") + left("skipped") > 9 * LARGE_BYTES,
        "{:?}",
        before.bytes
    );
    assert_eq!(before.connections.get("holes"), Some(&0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_large_body_the_first_part_is_kept_and_it_says_so() {
    let Some(turn) = require_kernel("large answers with bodies").unwrap() else {
        return;
    };
    let scene = Scene::set(turn).await.unwrap();
    let kongtap = attach(&scene, true).await;
    let before = kongtap.status().await.unwrap();
    for (scheme, framing) in [
        (Scheme::Http, "length"),
        (Scheme::Http, "chunked"),
        (Scheme::Https, "length"),
    ] {
        let target = format!("/plain/bytes?size={LARGE_BYTES}&seed=2&kind=text&framing={framing}");
        let (mut expected, status) =
            exchange(&scene, &kongtap, &before, scheme, Request::new("GET", &target)).await;
        let message = scene.shipped().unwrap().pop().unwrap();
        let kept = message.response_body.as_deref().unwrap();
        assert_eq!(kept.len(), KEPT_BYTES, "{framing}");
        expected.response_body.truncate(KEPT_BYTES);
        let report = compare(&[expected], &[message]);
        assert_eq!(report.rows[0].verdict, Verdict::Same);
        let post = scene.receiver.posts().pop().unwrap();
        let document: serde_json::Value = serde_json::from_slice(&post.body).unwrap();
        let captured = &document["kong"]["completeness"]["response"];
        assert_eq!(captured["state"], "truncated", "{framing}: {captured}");
        assert_eq!(captured["total_bytes"], LARGE_BYTES, "{framing}, {scheme:?}");
        assert_eq!(status.lost_bytes(), 0, "{:?}", status.bytes);
    }
}
