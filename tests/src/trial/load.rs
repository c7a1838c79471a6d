//! The same load for every window: a few connections that each send, wait for the answer, and pause a moment.
//!
//! The pause leaves the machine time to spare. Without it the agent's own work would show as a slower gateway wherever they
//! share a CPU, whatever the endpoint does.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::{Connection, Request, Scheme};
use crate::payload::{Kind, bytes};
use crate::trial::Window;
use crate::trial::figures::Figures;

/// How long a window is.
const WINDOW: Duration = Duration::from_millis(400);
/// Connections.
const CONNECTIONS: u64 = 4;
/// Between an answer and the next request.
const PAUSE: Duration = Duration::from_millis(3);

/// Makes exchanges until the window is over.
///
/// # Errors
/// When an answer is not what the upstream sent.
pub(super) async fn run(gateway: SocketAddr, answer_bytes: usize) -> anyhow::Result<Window> {
    let began = Instant::now();
    let mut connections = JoinSet::new();
    for number in 0..CONNECTIONS {
        connections.spawn(exchange(gateway, answer_bytes, number, began + WINDOW));
    }
    let (mut ids, mut took) = (BTreeSet::new(), Vec::new());
    while let Some(done) = connections.join_next().await {
        for (id, one) in done?? {
            ids.insert(id);
            took.push(one);
        }
    }
    let figures = Figures::of(took, began.elapsed()).context("no exchange in a window")?;
    Ok(Window { ids, figures })
}

async fn exchange(
    gateway: SocketAddr,
    answer_bytes: usize,
    seed: u64,
    until: Instant,
) -> anyhow::Result<Vec<(String, Duration)>> {
    let target = format!("/plain/bytes?size={answer_bytes}&seed={seed}&kind=text&framing=length");
    let expected = bytes(Kind::Text, seed, answer_bytes);
    let mut connection = Connection::open(gateway, Scheme::Http).await?;
    let mut done = Vec::new();
    while Instant::now() < until {
        let request = Request::new("GET", &target);
        let began = Instant::now();
        let answer = connection.exchange(&request).await?;
        let took = began.elapsed();
        ensure!(answer.status == 200, "the gateway answered {}", answer.status);
        ensure!(
            answer.body.bytes == expected,
            "the gateway's answer is another one"
        );
        done.push((request.id, took));
        tokio::time::sleep(PAUSE).await;
    }
    Ok(done)
}
