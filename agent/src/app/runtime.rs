//! The runtime that ships, serves the interface and reads the gateway's configuration: one kind of it, for the agent and for whoever
//! measures the agent's parts.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// Threads of the runtime: delivery and the interface are light, and the gateway needs the cores.
const THREADS: usize = 2;

/// Starts it.
///
/// # Errors
/// When the system gives no thread.
pub fn build() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("kongtap-async")
        .enable_all()
        .build()
}
