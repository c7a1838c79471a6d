//! The sample traffic: one exchange of every kind that the main job names.
//!
//! In: the gateway's listeners. Out: what client and upstream saw of each, ready to be compared with what arrives.

use anyhow::{Context as _, ensure};
use bytes::Bytes;

use crate::client::{Content, Request, Scheme, once};
use crate::compare::Expected;
use crate::gateway::Listeners;
use crate::payload::{Kind, bytes};
use crate::shipped::Scope;

/// One exchange to make.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What tables call it.
    pub name: &'static str,
    /// Plain or TLS.
    pub scheme: Scheme,
    /// What is sent.
    pub request: Request,
    /// What it must show; `None` for a gateway whose configuration is not the lab's.
    pub answer: Option<Foreseen>,
}

/// What testdata/lab/kong.yml makes of a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreseen {
    /// The client's status.
    pub status: u16,
    /// Where it belongs.
    pub scope: Scope,
}

/// Samples for a gateway with the lab's kong.yml.
#[must_use]
pub fn all() -> Vec<Sample> {
    use Scheme::{Http, Https};
    let plain = |status| foreseen(status, "plain-svc", "plain", None);
    let keyed = |consumer| foreseen(200, "keyed-svc", "keyed", Some(consumer));
    let get = |target| Request::new("GET", target);
    let post = |target, media_type, content| Request::new("POST", target).content(media_type, content);
    let json = Content::Sized(Bytes::from_static(br#"{"hello":"gateway","n":[1,2,3]}"#));
    let form = Content::Sized(Bytes::from_static(b"a=1&a=2&b=two+words&c"));
    let binary = Content::Sized(bytes(Kind::Binary, 7, 3000));
    let chunks = Content::Chunked(bytes(Kind::Text, 8, 20_000), 1500);
    let form_type = "application/x-www-form-urlencoded";
    let sample = |name, scheme, request, answer| Sample {
        name,
        scheme,
        request,
        answer: Some(answer),
    };
    vec![
        sample("plain", Http, get("/plain/json?x=1&x=2"), plain(200)),
        sample("TLS", Https, get("/plain/json"), plain(200)),
        sample(
            "JSON body",
            Http,
            post("/plain/echo", "application/json", json.clone()),
            plain(200),
        ),
        sample(
            "JSON body, TLS",
            Https,
            post("/plain/echo", "application/json", json),
            plain(200),
        ),
        sample(
            "form",
            Http,
            post("/plain/echo", form_type, form.clone()),
            plain(200),
        ),
        sample(
            "form, TLS",
            Https,
            post("/plain/echo", form_type, form),
            plain(200),
        ),
        sample(
            "binary body",
            Http,
            post("/plain/echo", "application/octet-stream", binary),
            plain(200),
        ),
        sample(
            "chunked request",
            Http,
            post("/plain/echo", "text/plain", chunks.clone()),
            plain(200),
        ),
        sample(
            "chunked request, TLS",
            Https,
            post("/plain/echo", "text/plain", chunks),
            plain(200),
        ),
        sample(
            "chunked response",
            Http,
            get("/plain/bytes?size=20000&seed=9&framing=chunked"),
            plain(200),
        ),
        sample(
            "chunked response, TLS",
            Https,
            get("/plain/bytes?size=20000&seed=9&framing=chunked"),
            plain(200),
        ),
        sample(
            "response until close",
            Http,
            get("/plain/bytes?size=5000&seed=3&framing=close"),
            plain(200),
        ),
        sample(
            "large response",
            Http,
            get("/plain/bytes?size=40000&seed=4&kind=binary"),
            plain(200),
        ),
        sample(
            "gzip",
            Http,
            get("/plain/gzip").field("Accept-Encoding", "gzip"),
            plain(200),
        ),
        sample("HEAD", Http, Request::new("HEAD", "/plain/json"), plain(200)),
        sample("204", Http, get("/plain/status/204"), plain(204)),
        sample("404 of the upstream", Http, get("/plain/status/404"), plain(404)),
        sample("500 of the upstream", Https, get("/plain/status/500"), plain(500)),
        sample("slow", Http, get("/plain/slow?ms=120"), plain(200)),
        sample(
            "by host",
            Http,
            get("/status/200").host("api.lab.test"),
            foreseen(200, "plain-svc", "by-host", None),
        ),
        sample(
            "path kept",
            Http,
            get("/headers?y=2"),
            foreseen(200, "plain-svc", "unstripped", None),
        ),
        sample(
            "by method",
            Http,
            Request::new("PUT", "/plain/echo")
                .content("text/plain", Content::Sized(Bytes::from_static(b"put"))),
            foreseen(200, "plain-svc", "writes", None),
        ),
        sample(
            "key-auth",
            Http,
            get("/keyed/headers").field("apikey", "alice-key-1"),
            keyed("alice"),
        ),
        sample(
            "key-auth, TLS",
            Https,
            get("/keyed/headers").field("X-Api-Key", "bob-key-1"),
            keyed("bob"),
        ),
        sample(
            "forged consumer",
            Http,
            get("/keyed/json")
                .field("X-Consumer-Username", "alice")
                .field("apikey", "bob-key-1"),
            keyed("bob"),
        ),
        sample(
            "no key (401)",
            Http,
            get("/keyed/json"),
            foreseen(401, "keyed-svc", "keyed", None),
        ),
        sample(
            "TLS upstream",
            Http,
            get("/tlsup/json"),
            foreseen(200, "tls-upstream-svc", "tlsup", None),
        ),
        sample(
            "TLS on both legs",
            Https,
            get("/tlsup/json"),
            foreseen(200, "tls-upstream-svc", "tlsup", None),
        ),
        sample("no route (404)", Http, get("/nothing-here"), no_route()),
        sample("no route (404), TLS", Https, get("/nothing-here"), no_route()),
        sample(
            "upstream down (502)",
            Http,
            get("/dead/json"),
            foreseen(502, "dead-svc", "dead", None),
        ),
    ]
}

/// Samples for a gateway of the user's: paths that no route should have, so that nothing behind it is asked to work.
#[must_use]
pub fn harmless(listeners: Listeners) -> Vec<Sample> {
    [Scheme::Http, Scheme::Https]
        .into_iter()
        .filter(|scheme| listeners.of(*scheme).is_some())
        .map(|scheme| Sample {
            name: "no such path",
            scheme,
            request: Request::new("GET", "/kongtap-lab/no-such-path"),
            answer: None,
        })
        .collect()
}

fn foreseen(status: u16, service: &str, route: &str, consumer: Option<&str>) -> Foreseen {
    Foreseen {
        status,
        scope: Scope {
            service: Some(service.to_owned()),
            route: Some(route.to_owned()),
            consumer: consumer.map(str::to_owned),
        },
    }
}

fn no_route() -> Foreseen {
    Foreseen {
        status: 404,
        scope: Scope::default(),
    }
}

/// Makes the exchange on a connection of its own.
///
/// # Errors
/// When the gateway does not answer, or not with the status that the lab's kong.yml leads to: then it is the lab that is
/// broken.
pub async fn send(sample: &Sample, listeners: Listeners) -> anyhow::Result<Expected> {
    let gateway = listeners.of(sample.scheme).with_context(|| {
        format!(
            "{}: the gateway has no {} listener",
            sample.name,
            sample.scheme.name()
        )
    })?;
    let answer = once(gateway, sample.scheme, &sample.request)
        .await
        .with_context(|| sample.name.to_owned())?;
    if let Some(foreseen) = &sample.answer {
        ensure!(
            answer.status == foreseen.status,
            "{}: the gateway answered {} instead of {}: {}",
            sample.name,
            answer.status,
            foreseen.status,
            String::from_utf8_lossy(&answer.body.bytes)
        );
    }
    let scope = sample.answer.as_ref().map(|foreseen| foreseen.scope.clone());
    Ok(Expected::of(
        sample.name,
        (sample.scheme, gateway),
        &sample.request,
        &answer,
        scope,
    ))
}
