//! A file of `runscope` configurations, from bytes to the configurations in force.

use kongtap::gateway::snapshot::Snapshot;
use kongtap::plugin::PluginSet;
use kongtap::plugin::file::{EnvironmentValues, check, read};

use crate::file::{as_json, source};

/// Reads the file.
///
/// # Panics
/// When there is an error without a mistake in it, when the file means another thing as JSON, or when a configuration is neither in force
/// nor reported.
pub fn run(data: &[u8]) {
    let file = source(data);
    let files = std::slice::from_ref(&file);
    let environment = EnvironmentValues::default();
    let configs = match read(files, environment) {
        Ok(configs) => configs,
        Err(mistakes) => {
            assert!(!mistakes.0.is_empty(), "refused without a reason");
            assert!(mistakes.0.iter().all(|mistake| !mistake.to_string().is_empty()));
            return;
        }
    };
    assert_eq!(check(files, environment).ok(), Some(configs.len()));
    if let Some(json) = as_json(&file) {
        let again = read(&[json], environment).ok();
        assert_eq!(again.as_ref(), Some(&configs), "another thing as JSON");
    }
    let set = PluginSet::bind(&configs, &Snapshot::empty());
    assert_eq!(set.active().count() + set.inactive().len(), configs.len());
}
