//! A process that nobody watches: how long its calls take while kongtap watches somebody else.
//!
//! In: a CPU and how long to measure. Out: nanoseconds a call. The loop runs on the CPU that the gateway leaves idle meanwhile.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::time::Instant;

use super::cpu;
use super::figures::{number, spread};

/// Calls between two looks at the clock.
const BLOCK: u32 = 2_000;
/// What is sent, bytes: a small message.
const MESSAGE: usize = 64;

/// Nanoseconds a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Nanoseconds {
    /// `sendto` and `recvfrom` on a pair of unix stream sockets.
    pub socket_call: f64,
    /// `getppid`: a call that has nothing to do with sockets.
    pub other_call: f64,
}

/// Measures both kinds, each for `lasting`, in a thread of its own.
///
/// # Errors
/// When the thread cannot be pinned or a call fails.
pub fn measure(cpu: usize, lasting: Duration) -> anyhow::Result<Nanoseconds> {
    let measuring = std::thread::spawn(move || {
        cpu::pin(cpu)?;
        let (one, other) = UnixStream::pair().context("a pair of sockets")?;
        let (message, mut buffer) = ([0_u8; MESSAGE], [0_u8; MESSAGE]);
        let pairs = quiet_block(lasting, || {
            let sent = send(&one, &message, SendFlags::empty())?;
            let (_, received) = recv(&other, &mut buffer, RecvFlags::empty())?;
            ensure!(sent == MESSAGE && received == MESSAGE, "a message was cut");
            Ok(())
        })?;
        let other_call = quiet_block(lasting, || {
            std::hint::black_box(rustix::process::getppid());
            Ok(())
        })?;
        Ok(Nanoseconds {
            socket_call: pairs / 2.0,
            other_call,
        })
    });
    measuring.join().map_err(|_panic| anyhow!("the loop panicked"))?
}

/// The lower quartile of blocks, ns a turn: others' work and interrupts make blocks longer, never shorter.
fn quiet_block(lasting: Duration, mut turn: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let began = Instant::now();
    let mut blocks = Vec::new();
    while began.elapsed() < lasting {
        let block_began = Instant::now();
        for _ in 0..BLOCK {
            turn()?;
        }
        blocks.push(block_began.elapsed().as_secs_f64() * 1e9 / number(BLOCK));
    }
    Ok(spread(&blocks).context("no block was measured")?.low)
}
