//! Looks at the store and at the plugin files again and again, and puts edits by hand in force.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use super::live::Live;
use super::setup;
use crate::config::Config;
use crate::gateway::source::files;
use crate::plugin::store::Store;

/// How often. What is looked at is a file's times and size; it is read only when these change.
const INTERVAL: Duration = Duration::from_secs(1);

/// Runs until cancelled.
pub(super) async fn watch(config: Config, store: Arc<Store>, live: Arc<Live>, cancel: CancellationToken) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut files = Files::new(config);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let (store, live) = (Arc::clone(&store), Arc::clone(&live));
        let looking = tokio::task::spawn_blocking(move || {
            store.look(&|plugins| {
                tracing::info!(configurations = plugins.len(), "The plugin store was edited.");
                live.store_changed(plugins);
            });
            files.look(&live);
            files
        });
        match looking.await {
            Ok(looked) => files = looked,
            Err(error) => {
                tracing::error!(%error, "Edits of configuration files are not seen any more.");
                return;
            }
        }
    }
}

/// The plugin files, by what tells whether they have changed.
struct Files {
    config: Config,
    seen: Vec<Stamp>,
}

impl Files {
    fn new(config: Config) -> Self {
        let seen = stamps(&config.plugins.files);
        Self { config, seen }
    }

    /// Reads all of them again when one has changed. Mistakes keep the last state.
    fn look(&mut self, live: &Live) {
        let now = stamps(&self.config.plugins.files);
        if now == self.seen {
            return;
        }
        self.seen = now;
        match setup::plugins::declared(&self.config) {
            Ok(configs) => {
                tracing::info!(configurations = configs.len(), "The plugin files were edited.");
                live.files_changed(configs);
            }
            Err(mistakes) => {
                tracing::error!(%mistakes, "The plugin files cannot be used as they are; their last state stays in force.");
            }
        }
    }
}

/// A file with what changes when it does; nothing where it cannot be looked at.
type Stamp = (PathBuf, Option<(SystemTime, u64)>);

fn stamps(paths: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |path: PathBuf| {
        let metadata = std::fs::metadata(&path).ok();
        let seen = metadata.and_then(|metadata| Some((metadata.modified().ok()?, metadata.len())));
        (path, seen)
    };
    // A directory that cannot be read stands for itself, as a file does that is not there.
    let expand = |path: &PathBuf| files::expand(path).unwrap_or_else(|_| vec![path.clone()]);
    paths.iter().flat_map(expand).map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use super::stamps;

    #[test]
    fn every_edit_of_a_file_or_within_a_directory_is_seen() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let write = |name: &str, text: &str| std::fs::write(path(name), text).unwrap();
        std::fs::create_dir(path("d")).unwrap();
        let paths = [path("f.yml"), path("d")];
        let mut last = stamps(&paths);
        let edits: [(&str, &dyn Fn()); 6] = [
            ("a file comes", &|| write("f.yml", "a")),
            ("it grows", &|| write("f.yml", "ab")),
            ("a directory gets its first", &|| write("d/a.yml", "a")),
            ("and another", &|| write("d/b.yml", "a")),
            ("which grows", &|| write("d/b.yml", "ab")),
            ("one goes", &|| std::fs::remove_file(path("d/a.yml")).unwrap()),
        ];
        for (what, edit) in edits {
            edit();
            let now = stamps(&paths);
            assert_ne!(now, last, "{what}");
            assert_eq!(now, stamps(&paths), "{what}: and then nothing");
            last = now;
        }
    }
}
