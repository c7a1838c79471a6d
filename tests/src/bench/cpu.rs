//! CPUs and the time that others spent on them, as the kernel tells it.
//!
//! In: pids. Out: CPU time from `schedstat`, pinned processes. Absent: wall time, which is the caller's.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Where what runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpus {
    /// The gateway's worker alone.
    pub gateway: usize,
    /// Everything else: upstream, load, kongtap, this program.
    pub others: usize,
}

impl Cpus {
    /// The first two that this program may use; the same one twice where there is but one.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn choose() -> anyhow::Result<Self> {
        let allowed = sched_getaffinity(None).context("which CPUs may be used?")?;
        let mut usable = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
        let gateway = usable.next().context("no CPU may be used")?;
        Ok(Self {
            gateway,
            others: usable.next().unwrap_or(gateway),
        })
    }

    /// Whether the gateway has a CPU for itself.
    #[must_use]
    pub const fn are_apart(self) -> bool {
        self.gateway != self.others
    }
}

/// Pins the calling thread, and all that it starts from now on, to one CPU.
///
/// # Errors
/// When the kernel refuses.
pub fn pin(cpu: usize) -> anyhow::Result<()> {
    let mut only = CpuSet::new();
    only.set(cpu);
    sched_setaffinity(None, &only).with_context(|| format!("pin to CPU {cpu}"))
}

/// CPU time of a process with one thread, such as a gateway's worker.
///
/// # Errors
/// When it is gone.
pub fn of_process(pid: u32) -> anyhow::Result<Duration> {
    read(PathBuf::from(format!("/proc/{pid}/schedstat")))
}

/// CPU time of the thread with this name.
///
/// # Errors
/// When the process is gone or has no such thread.
pub fn of_thread(pid: u32, name: &str) -> anyhow::Result<Duration> {
    let tasks = PathBuf::from(format!("/proc/{pid}/task"));
    for task in fs::read_dir(&tasks).with_context(|| format!("read {}", tasks.display()))? {
        let task = task?.path();
        // A thread may end while the list is read.
        if fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim_end() == name) {
            return read(task.join("schedstat"));
        }
    }
    anyhow::bail!("process {pid} has no thread {name}")
}

/// `schedstat`: nanoseconds on a CPU, nanoseconds waiting, time slices.
fn read(path: PathBuf) -> anyhow::Result<Duration> {
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let on_cpu = text.split_ascii_whitespace().next().unwrap_or_default();
    let nanoseconds = on_cpu
        .parse()
        .with_context(|| format!("{}: {text:?}", path.display()))?;
    ensure!(
        nanoseconds > 0,
        "{} counts nothing: this kernel is without CONFIG_SCHED_INFO",
        path.display()
    );
    Ok(Duration::from_nanos(nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::{of_process, of_thread};

    #[test]
    fn time_of_a_named_thread_is_found() {
        let pid = std::process::id();
        let (began, done) = (std::sync::mpsc::channel::<()>(), std::sync::mpsc::channel::<()>());
        let named = std::thread::Builder::new()
            .name("bench-named".to_owned())
            .spawn(move || {
                began.0.send(()).unwrap();
                let _ended = done.1.recv();
            })
            .unwrap();
        began.1.recv().unwrap();
        of_thread(pid, "bench-named").unwrap();
        let error = of_thread(pid, "nobody").unwrap_err().to_string();
        assert!(error.contains("has no thread nobody"), "{error}");
        of_process(pid).unwrap();
        drop(done.0);
        named.join().unwrap();
    }
}
