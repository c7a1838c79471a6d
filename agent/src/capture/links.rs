//! The uprobes of one process, to be taken off again.
//!
//! In: links. Out: nothing; dropping a link takes its probe off, which takes the kernel about 90 ms, one after the other
//! whoever asks (measured on 6.18).

use std::thread;
use std::time::Duration;

use aya::programs::uprobe::UProbeLink;

/// Pause between two probes of a process that is gone.
const DETACHING_PAUSE: Duration = Duration::from_millis(500);

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

    /// Takes the probes off a process that is gone, in the background and with pauses: the kernel's lock would otherwise
    /// keep probes off the workers that a reload has just started.
    pub(super) fn detach_later(self) {
        let slowly = move || {
            for link in self.0 {
                drop(link);
                thread::sleep(DETACHING_PAUSE);
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
