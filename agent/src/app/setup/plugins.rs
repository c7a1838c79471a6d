//! The `runscope` configurations that kongtap's own configuration names.

use super::read_files;
use crate::app::live::FromGateway;
use crate::config::Config;
use crate::gateway::document::Mistakes;
use crate::plugin::file::EnvironmentValues;
use crate::plugin::store::Store;
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

/// Those of a plugin store that was named: what stands at the usual place may be another agent's, or not readable.
///
/// # Errors
/// Every mistake in it.
pub fn stored(config: &Config) -> Result<Vec<UnboundConfig>, Mistakes> {
    let Some(path) = &config.plugins.store else {
        return Ok(Vec::new());
    };
    let store = Store::open(path.clone())?;
    Ok(store.view().plugins.iter().map(StoredPlugin::unbound).collect())
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
