//! The `runscope` configurations that kongtap's own configuration names.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use super::read_files;
use crate::config::Config;
use crate::gateway::document::{Mistake, Mistakes, Place};
use crate::plugin::file::EnvironmentValues;
use crate::plugin::from_gateway::FromGateway;
use crate::plugin::store::{self, ContentsError};
use crate::plugin::stored::StoredPlugin;
use crate::plugin::{UnboundConfig, file};

/// The `runscope` configurations of files and the environment, read again.
///
/// # Errors
/// Every mistake of every file.
pub fn declared(config: &Config) -> Result<Vec<UnboundConfig>, Mistakes> {
    let mut mistakes = Vec::new();
    let files = read_files(&config.plugins.files, &mut mistakes);
    if !mistakes.is_empty() {
        return Err(Mistakes(mistakes));
    }
    file::read(&files, environment_values(config))
}

/// What a plugin store holds, for whoever only looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The file.
    pub path: PathBuf,
    /// Its configurations.
    pub plugins: Vec<UnboundConfig>,
    /// Why it may hold others: the usual place is not for this user to read.
    pub note: Option<String>,
}

/// The store that a running agent would open.
///
/// # Errors
/// Every mistake in it, or that it cannot be read. Nobody said that the one at the usual place is to be read, so there a refusal for
/// want of rights is a note.
pub fn stored(config: &Config) -> Result<Stored, Mistakes> {
    let path = config.plugins.store_path();
    let found = store::contents(&path);
    stored_at(path, found, config.plugins.store.is_some())
}

fn stored_at(
    path: PathBuf,
    found: Result<Vec<StoredPlugin>, ContentsError>,
    is_named: bool,
) -> Result<Stored, Mistakes> {
    match found {
        Ok(plugins) => Ok(Stored {
            path,
            plugins: plugins.iter().map(StoredPlugin::unbound).collect(),
            note: None,
        }),
        Err(ContentsError::Wrong(mistakes)) => Err(mistakes),
        Err(ContentsError::Unreadable(error)) if !is_named && error.kind() == ErrorKind::PermissionDenied => {
            let note = format!("cannot be read ({error}): what an agent has there is not taken into account");
            Ok(Stored {
                path,
                plugins: Vec::new(),
                note: Some(note),
            })
        }
        Err(ContentsError::Unreadable(error)) => Err(Mistakes(vec![Mistake {
            origin: Arc::from(path.display().to_string()),
            place: Place::Whole,
            text: format!("cannot be read: {error}"),
        }])),
    }
}

/// What to do with `runscope` configurations in the gateway's own.
#[must_use]
pub const fn from_gateway(config: &Config) -> FromGateway {
    if config.plugins.from_gateway {
        FromGateway::Use
    } else {
        FromGateway::Show
    }
}

pub(super) fn environment_values(config: &Config) -> EnvironmentValues<'_> {
    let global = config.plugins.global.as_ref();
    EnvironmentValues {
        access_token: global
            .and_then(|global| global.access_token.as_ref())
            .map(|token| token.expose()),
        bucket_key: global.and_then(|global| global.bucket_key.as_deref()),
        api_endpoint: global.and_then(|global| global.api_endpoint.as_deref()),
        log_body: global.and_then(|global| global.log_body.as_deref()),
    }
}

#[cfg(test)]
mod tests;
