//! The uprobes of one process, to be taken off again.
//!
//! In: links. Out: nothing; dropping a link takes its probe off, which takes the kernel about 90 ms, one after the other
//! whoever asks (measured on 6.18).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use aya::programs::uprobe::UProbeLink;

/// Pause between two probes of processes that are gone.
const DETACHING_PAUSE: Duration = Duration::from_millis(100);

// The kernel has one lock for all uprobes of the host, so these are the process's, not an object's.
/// One probe at a time is taken off in the background.
static DETACHING: Mutex<()> = Mutex::new(());
/// How many processes are being probed at this moment.
static ATTACHING: AtomicUsize = AtomicUsize::new(0);

/// While it lives, nothing is taken off in the background: a new worker's probes come first, since its traffic passes
/// unseen until they are on.
#[derive(Debug)]
pub(super) struct Attaching(());

impl Attaching {
    pub(super) fn begin() -> Self {
        ATTACHING.fetch_add(1, Ordering::AcqRel);
        Self(())
    }
}

impl Drop for Attaching {
    fn drop(&mut self) {
        ATTACHING.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The probes on one process.
#[derive(Debug, Default)]
pub(super) struct UprobeLinks(pub(super) Vec<UProbeLink>);

impl UprobeLinks {
    pub(super) fn append(&mut self, mut more: Self) {
        self.0.append(&mut more.0);
    }

    /// Takes the probes off a process that goes on, in the background but at once.
    pub(super) fn detach_soon(self) {
        drop(
            thread::Builder::new()
                .name("kongtap-detach".to_owned())
                .spawn(move || drop(self)),
        );
    }

    /// Takes the probes off a process that is gone, in the background, one at a time with all others and with pauses.
    pub(super) fn detach_later(self) {
        let slowly = move || {
            for link in self.0 {
                let turn = DETACHING.lock().unwrap_or_else(PoisonError::into_inner);
                thread::sleep(DETACHING_PAUSE);
                while ATTACHING.load(Ordering::Acquire) > 0 {
                    thread::sleep(DETACHING_PAUSE);
                }
                drop(link);
                drop(turn);
            }
        };
        // Without a thread the links are dropped here and now, with the closure.
        drop(
            thread::Builder::new()
                .name("kongtap-detach".to_owned())
                .spawn(slowly),
        );
    }
}
