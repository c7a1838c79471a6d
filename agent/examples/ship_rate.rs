//! Measures what a message costs, by hand and in release mode:
//!
//! ```text
//! cargo run --release -p kongtap --example ship_rate -- build
//! cargo run --release -p kongtap --example ship_rate -- receive 127.0.0.1:9444   # in another terminal
//! cargo run --release -p kongtap --example ship_rate -- send http://127.0.0.1:9444/buckets/b/messages 100000 16
//! cargo run --release -p kongtap --example ship_rate -- store /var/tmp/spool 100000
//! ```
//!
//! `build` makes messages with 2 KiB bodies on one thread. `send` ships one such message over and over; the receiver, a
//! process of its own, answers each with 200; with a fifth argument, a directory, it does so with a spool. `store` writes messages
//! of 2 KiB to a spool, as for an endpoint that is away. Figures are of the process that prints them: CPU from `/proc/self/stat`.

#![expect(
    unused_crate_dependencies,
    reason = "an example uses a few of the crate's dependencies"
)]
#![expect(clippy::print_stdout, reason = "figures are what it is for")]

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use kongtap::clock::{self, WallClock};
use kongtap::correlate::JoinedExchange;
use kongtap::gateway::entities::Scope;
use kongtap::gateway::snapshot::{ConsumerMatch, CredentialPlace, Resolution, RouteMatch, UnknownRoute};
use kongtap::http::anomaly::Anomalies;
use kongtap::http::exchange::{
    Body, ConnInfo, Exchange, HeadState, Leg, Outcome, Request, Response, Version,
};
use kongtap::http::headers::Headers;
use kongtap::message::redact::{DECODED_BYTES, Redaction};
use kongtap::message::{BuildInput, Message, Profile, build};
use kongtap::plugin::transport::Transport;
use kongtap::plugin::{Destination, PluginConfig};
use kongtap::ship::spool::SpoolOptions;
use kongtap::ship::{self, ShipLimits};
use kongtap::telemetry::ledger::ExchangeLedger;
use kongtap::telemetry::secret::Secret;
use kongtap_common::record::ConnId;
use tokio_util::sync::CancellationToken;

const BODY_BYTES: usize = 2048;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match arguments.as_slice() {
        ["build"] => build_rate(),
        ["receive", address] => runtime.block_on(receive(address)),
        ["send", url, count, in_flight] => {
            runtime.block_on(send(url, count.parse()?, in_flight.parse()?, None))
        }
        ["send", url, count, in_flight, path] => {
            runtime.block_on(send(url, count.parse()?, in_flight.parse()?, Some(path)))
        }
        ["store", path, count] => runtime.block_on(store(path, count.parse()?)),
        _ => bail!("build | receive ADDRESS | send URL COUNT IN_FLIGHT [SPOOL] | store PATH COUNT"),
    }
}

fn build_rate() -> anyhow::Result<()> {
    let sample = Sample::new("http://127.0.0.1:9/")?;
    for (name, profile, redaction) in [
        (
            "plugin profile, nothing redacted",
            Profile::Plugin,
            Redaction::None,
        ),
        (
            "extended profile, default redaction",
            Profile::Extended,
            Redaction::Default,
        ),
    ] {
        let count: u32 = 200_000;
        let before = cpu()?;
        let mut bytes = 0;
        for _ in 0..count {
            bytes = std::hint::black_box(sample.message(profile, &redaction))
                .json()
                .len();
        }
        let each = (cpu()?.saturating_sub(before)) / count;
        println!("{name}: {each:?} CPU a message of {bytes} bytes");
    }
    Ok(())
}

async fn receive(address: &str) -> anyhow::Result<()> {
    let app = axum::Router::new().fallback(|body: Bytes| async move {
        drop(body);
        r#"{"data":[{"status":"success","uuid":"00000000-0000-0000-0000-000000000000"}]}"#
    });
    axum::serve(tokio::net::TcpListener::bind(address).await?, app).await?;
    Ok(())
}

async fn send(url: &str, count: u32, in_flight: usize, spool: Option<&str>) -> anyhow::Result<()> {
    let sample = Sample::new(url)?;
    let message = sample.message(Profile::Extended, &Redaction::Default);
    let ledger = Arc::new(ExchangeLedger::default());
    let limits = ShipLimits {
        in_flight,
        ..ShipLimits::default()
    };
    let (handle, shipper) = ship::new(limits, Arc::clone(&ledger));
    if let Some(path) = spool {
        handle.open_spool(spool_at(path))?;
    }
    let cancel = CancellationToken::new();
    let task = tokio::spawn(shipper.run(cancel.clone()));
    let (started, before) = (clock::instant(), cpu()?);
    for _ in 0..count {
        while handle.stats().queued_messages >= limits.queue_messages / 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        ledger.saw();
        handle.offer(message.clone());
    }
    cancel.cancel();
    task.await?;
    let took = clock::instant().saturating_duration_since(started);
    let each = cpu()?.saturating_sub(before) / count;
    println!(
        "{count} messages of {} bytes, {in_flight} in flight: {:.0} messages/s, {each:?} CPU each; {:?} {:?}",
        message.json().len(),
        f64::from(count) / took.as_secs_f64(),
        ledger.snapshot(),
        handle.stats().spool.map(|spool| spool.counts),
    );
    Ok(())
}

/// All messages but the first go to the disk alone: nobody sends, and the queue has room for one.
async fn store(path: &str, count: u32) -> anyhow::Result<()> {
    let mut sample = Sample::new("http://127.0.0.1:9/")?;
    for body in [
        sample
            .joined
            .client
            .request
            .as_mut()
            .map(|request| &mut request.body),
        sample
            .joined
            .client
            .response
            .as_mut()
            .map(|response| &mut response.body),
    ] {
        let body = body.context("a body")?;
        body.bytes = body.bytes.slice(..480);
    }
    let message = sample.message(Profile::Extended, &Redaction::Default);
    let ledger = Arc::new(ExchangeLedger::default());
    let limits = ShipLimits {
        queue_messages: 1,
        ..ShipLimits::default()
    };
    let (handle, shipper) = ship::new(limits, Arc::clone(&ledger));
    handle.open_spool(spool_at(path))?;
    let (started, before) = (clock::instant(), cpu()?);
    for at in 0..count {
        while at % 1000 == 0
            && handle
                .stats()
                .spool
                .is_some_and(|spool| spool.unwritten.messages > 4_000)
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        ledger.saw();
        handle.offer(message.clone());
    }
    while handle
        .stats()
        .spool
        .is_some_and(|spool| spool.unwritten.messages + spool.unsynced.messages > 0)
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let took = clock::instant().saturating_duration_since(started);
    let each = cpu()?.saturating_sub(before) / count;
    println!(
        "{count} messages of {} bytes, written and synchronised: {:.0} messages/s, {each:?} CPU each; {:?}",
        message.json().len(),
        f64::from(count) / took.as_secs_f64(),
        handle.stats().spool.map(|spool| (spool.counts, spool.lost)),
    );
    drop(shipper);
    Ok(())
}

fn spool_at(path: &str) -> SpoolOptions {
    SpoolOptions {
        path: path.into(),
        bytes: 4 << 30,
        segment_bytes: 16 << 20,
        max_age: Duration::from_secs(86_400),
        sync: Duration::from_secs(1),
    }
}

/// User and system time of this process.
fn cpu() -> anyhow::Result<Duration> {
    let stat = procfs::process::Process::myself()?.stat()?;
    let ticks = stat.utime + stat.stime;
    Ok(Duration::from_millis(ticks * 1000 / procfs::ticks_per_second()))
}

/// One exchange with a body of [`BODY_BYTES`] each way and an ordinary set of headers.
struct Sample {
    joined: JoinedExchange,
    headers: Headers,
    resolution: Resolution,
    config: PluginConfig,
}

impl Sample {
    fn new(url: &str) -> anyhow::Result<Self> {
        let mut headers = Headers::default();
        for (name, value) in [
            ("Host", "api.example.com"),
            ("User-Agent", "curl/7.88.1"),
            ("Accept", "*/*"),
            ("Content-Type", "application/json"),
            ("Content-Length", "2048"),
            ("apikey", "0123456789abcdef0123456789abcdef"),
            ("X-Consumer-ID", "b32379d9-3d28-5683-a79c-72139be6e34f"),
            ("X-Consumer-Username", "alice"),
        ] {
            headers.push(name, value);
        }
        let mut answer_headers = Headers::default();
        for (name, value) in [
            ("Content-Type", "application/json"),
            ("Content-Length", "2048"),
            ("Connection", "keep-alive"),
            ("Date", "Sun, 22 Nov 2026 09:59:41 GMT"),
            ("Server", "kong/3.9.1"),
            ("X-Kong-Upstream-Latency", "1"),
            ("X-Kong-Proxy-Latency", "1"),
            ("Via", "1.1 kong/3.9.1"),
            ("X-Kong-Request-Id", "bc7f4f6b9304d05aa419716376654c24"),
        ] {
            answer_headers.push(name, value);
        }
        let filler = BODY_BYTES - br#"{"text":""}"#.len();
        let text = Bytes::from(format!(
            r#"{{"text":"{}"}}"#,
            "lorem ip"
                .repeat(filler / 8 + 1)
                .get(..filler)
                .context("filler")?
        ));
        let body = Body {
            total_bytes: 2048,
            wire_bytes: 2048,
            hole_bytes: 0,
            has_open_hole: false,
            first_hole_at: None,
            declared_bytes: None,
            complete: true,
            bytes: text,
        };
        let at = |us: u64| kongtap::capture::event::KernelTime(us * 1000);
        let client = Exchange {
            conn: ConnInfo {
                id: ConnId {
                    tgid: 1,
                    fd: 9,
                    generation_ns: 1,
                },
                local: "127.0.0.1:8000".parse()?,
                remote: "127.0.0.1:40000".parse()?,
                tls: false,
            },
            leg: Leg::Downstream,
            request: Some(Request {
                method: Bytes::from_static(b"POST"),
                target: Bytes::from_static(b"/orders/17?expand=lines&page=2"),
                version: Version::Http11,
                head: HeadState::Whole,
                trailers: Headers::default(),
                headers: headers.clone(),
                body: body.clone(),
                started: at(1000),
                ended: at(1000),
            }),
            response: Some(Response {
                status: 200,
                reason: Bytes::from_static(b"OK"),
                version: Version::Http11,
                head: HeadState::Whole,
                trailers: Headers::default(),
                headers: answer_headers,
                body,
                started: at(3000),
                ended: at(3000),
            }),
            outcome: Outcome::Complete,
            stream: None,
            reset: None,
            left_by: None,
            anomalies: Anomalies::NONE,
        };
        let upstream = Exchange {
            leg: Leg::Upstream,
            ..client.clone()
        };
        Ok(Self {
            joined: JoinedExchange {
                client,
                upstream: vec![upstream],
                request_id: Some(Bytes::from_static(b"bc7f4f6b9304d05aa419716376654c24")),
            },
            headers,
            resolution: Resolution {
                route: RouteMatch::Unknown(UnknownRoute::NoConfiguration),
                service: None,
                consumer: ConsumerMatch::Nobody,
                credentials: Arc::from([
                    CredentialPlace::Header("apikey".to_owned()),
                    CredentialPlace::Query("apikey".to_owned()),
                    CredentialPlace::BodyField("apikey".to_owned()),
                ]),
                refusal: None,
                outer_port: None,
            },
            config: PluginConfig {
                origin: "example".to_owned(),
                scope: Scope::default(),
                enabled: true,
                log_body: true,
                destination: Arc::new(Destination {
                    url: url::Url::parse(url)?,
                    access_token: Secret::new("token"),
                    timeout_ms: 10_000,
                    keepalive_ms: 30,
                    tls_verify: true,
                    transport: Transport::default(),
                }),
            },
        })
    }

    fn message(&self, profile: Profile, redaction: &Redaction) -> Message {
        build(&BuildInput {
            joined: &self.joined,
            request_headers: &self.headers,
            resolution: &self.resolution,
            config: &self.config,
            profile,
            redaction,
            decoded_bytes: DECODED_BYTES,
            wall: WallClock {
                boot_unix_ns: 1_795_341_000_000_000_000,
            },
        })
    }
}
