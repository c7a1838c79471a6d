//! kongtap itself is killed, or stands still for a while. The gateway does not notice, and what comes afterwards is as ever.

use kongtap_tests::client::Scheme;
use kongtap_tests::faults::{Manner, RetryAfter};
use kongtap_tests::kernel::require_kernel;
use kongtap_tests::status::Status;
use kongtap_tests::trial::figures::compare;
use kongtap_tests::trial::{Setup, Trial};
use kongtap_tests::wait::eventually;
use rustix::process::Signal;

use crate::{ARRIVAL, SHIP, setup};

/// A queue that one window overfills.
const SHORT_QUEUE: usize = 50;

/// What kongtap is doing when it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing: all is delivered.
    Idle,
    /// It captures, under load.
    Busy,
    /// It waits for answers.
    Sending,
    /// It holds as much as it may.
    Full,
}

async fn killed(state: State) {
    let Some(turn) = require_kernel("killed").unwrap() else {
        return;
    };
    let toml = SHIP.replace("[ship]\n", &format!("[ship]\nqueue_messages = {SHORT_QUEUE}\n"));
    let setup = match state {
        State::Full => setup(Scheme::Http, &toml, &[]),
        State::Idle | State::Busy | State::Sending => setup(Scheme::Http, SHIP, &[]),
    };
    let mut trial = Trial::set(turn, setup).await.unwrap();
    let well = trial.window().await.unwrap();
    trial.settle().await.unwrap();
    let fault = match state {
        State::Idle | State::Busy => Manner::Well,
        State::Sending => Manner::Mute,
        State::Full => Manner::Status(500, RetryAfter::Unsaid),
    };
    trial.endpoint.behave(fault).await.unwrap();
    let disturbed = match state {
        State::Idle => {
            trial.kill().await.unwrap();
            trial.window().await.unwrap()
        }
        State::Busy => trial.window_while_killed().await.unwrap(),
        State::Sending | State::Full => {
            let window = trial.window().await.unwrap();
            until(&trial, state).await;
            trial.kill().await.unwrap();
            window
        }
    };
    compare(&[well.figures], &[disturbed.figures]).unwrap();
    trial.endpoint.behave(Manner::Well).await.unwrap();
    trial.restart(vec![]).await.unwrap();
    let again = trial.window().await.unwrap();
    let status = trial.settle().await.unwrap();
    trial.require_honest().unwrap();
    let kept = trial.endpoint.book().kept();
    assert!(
        well.ids.is_subset(&kept),
        "{state:?}: what had been delivered is there"
    );
    assert!(
        again.ids.is_subset(&kept),
        "{state:?}: what came after it is there"
    );
    assert_eq!(
        status.exchanges.shipped,
        u64::try_from(again.ids.len()).unwrap(),
        "{state:?}"
    );
    assert_eq!(trial.endpoint.book().repeats(), 0, "{state:?}");
}

async fn until(trial: &Trial, state: State) -> Status {
    eventually("the state to be killed in", ARRIVAL, async || {
        let status = trial
            .kongtap
            .status()
            .await
            .map_err(|error| format!("{error:#}"))?;
        let is_there = match state {
            State::Idle | State::Busy => true,
            State::Sending => !trial.endpoint.book().attempts.is_empty() && status.exchanges.queued > 0,
            State::Full => status.exchanges.dropped.get("queue_full_count") > Some(&0),
        };
        if is_there {
            Ok(status)
        } else {
            Err(format!("{:?}", status.exchanges))
        }
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_when_idle() {
    killed(State::Idle).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_under_load() {
    killed(State::Busy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_waits_for_answers() {
    killed(State::Sending).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_with_a_full_queue() {
    killed(State::Full).await;
}

/// For kongtap time jumps: it stands still with messages to send, and the gateway goes on. What it missed waits in the ring.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_for_a_while() {
    let Some(turn) = require_kernel("stopped").unwrap() else {
        return;
    };
    let mut trial = Trial::set(turn, setup(Scheme::Http, SHIP, &[])).await.unwrap();
    let well = trial.window().await.unwrap().figures;
    trial.settle().await.unwrap();
    trial.endpoint.behave(Manner::Refuse).await.unwrap();
    trial.window().await.unwrap();
    trial.kongtap.process().signal(Signal::STOP).unwrap();
    let mut stopped = Vec::new();
    for _ in 0..4 {
        stopped.push(trial.window().await.unwrap().figures);
    }
    trial.kongtap.process().signal(Signal::CONT).unwrap();
    trial.endpoint.behave(Manner::Well).await.unwrap();
    let status = trial.settle().await.unwrap();
    compare(&[well], &stopped).unwrap();
    trial.require_honest().unwrap();
    assert_eq!(status.lost_bytes(), 0, "{:?}", status.bytes.lost);
    assert_eq!(
        trial.endpoint.book().kept(),
        *trial.sent(),
        "{:?}",
        status.exchanges
    );
}

/// kongtap in a time namespace: its monotonic clock is another than the kernel's probes stamp records with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_another_time() {
    let Some(turn) = require_kernel("another time").unwrap() else {
        return;
    };
    let inside = [
        "unshare",
        "--time",
        "--monotonic",
        "100000",
        "--boottime",
        "100000",
    ];
    let setup = Setup {
        inside: inside.map(str::to_owned).to_vec(),
        ..setup(Scheme::Http, SHIP, &[])
    };
    let mut trial = Trial::set(turn, setup).await.unwrap();
    trial.window().await.unwrap();
    let status = trial.settle().await.unwrap();
    trial.require_honest().unwrap();
    assert_eq!(
        trial.endpoint.book().kept(),
        *trial.sent(),
        "{:?}",
        status.exchanges
    );
}
