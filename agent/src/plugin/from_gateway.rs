//! `runscope` configurations that the gateway's own configuration holds: those of an old Kong, or of a `kong.yml`.
//!
//! In: a [`Snapshot`], and the configurations of all other sources. Out: all of them bound, the gateway's last. Whether the gateway's
//! are used is the user's choice (`plugins.from_gateway`), because an old gateway posts by itself.

use crate::gateway::entities::Reference;
use crate::gateway::fields::Report;
use crate::gateway::snapshot::Snapshot;
use crate::plugin::file::NAME;
use crate::plugin::{Inactive, InactiveReason, PluginSet, UnboundConfig, schema};

/// What to do with configurations that stand in the gateway's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromGateway {
    /// Use them, after all others.
    Use,
    /// Show them only.
    Show,
}

/// Binds `named`, the configurations of the store, the files and the environment in this order, and behind them the gateway's own.
#[must_use]
pub fn bind(mut named: Vec<UnboundConfig>, choice: FromGateway, snapshot: &Snapshot) -> PluginSet {
    let mut notes: Vec<Inactive> = Vec::new();
    for found in read(snapshot) {
        match (found, choice) {
            (Ok(config), FromGateway::Use) => named.push(config),
            (Ok(config), FromGateway::Show) => notes.push(config.inactive(InactiveReason::NotTaken)),
            (Err(inactive), _) => notes.push(inactive),
        }
    }
    let mut plugins = PluginSet::bind(&named, snapshot);
    plugins.note(notes);
    plugins
}

/// The gateway's own configurations.
#[must_use]
pub fn read(snapshot: &Snapshot) -> Vec<Result<UnboundConfig, Inactive>> {
    let ours = snapshot.plugins().iter().filter(|plugin| plugin.name == NAME);
    ours.map(|plugin| {
        let origin = format!("gateway: {}", plugin.place);
        let mut report = Report::new(&origin);
        let config = Some(&plugin.config).filter(|config| !config.is_null());
        let settings = schema::settings(config, "config".to_owned(), &mut report);
        let reference =
            |id: &Option<std::sync::Arc<str>>| id.as_ref().map(|id| Reference::Id(id.to_string()));
        let scope = &plugin.scope;
        let Some(settings) = settings else {
            let mistakes: Vec<_> = report.into_mistakes().into_iter().map(|it| it.text).collect();
            return Err(Inactive {
                origin,
                scope: String::new(),
                endpoint: String::new(),
                reason: InactiveReason::Invalid(mistakes.join("; ")),
            });
        };
        let config = UnboundConfig {
            origin,
            service: reference(&scope.service_id),
            route: reference(&scope.route_id),
            consumer: reference(&scope.consumer_id),
            enabled: plugin.enabled,
            log_body: settings.log_body,
            destination: settings.destination,
        };
        match &plugin.workspace {
            // Bound like this it would take the traffic of all others too.
            Some(workspace) if scope.service_id.is_none() && scope.route_id.is_none() => {
                let why =
                    format!("it is for the workspace `{workspace}` alone; bind it to a service or a route");
                Err(config.inactive(InactiveReason::Invalid(why)))
            }
            Some(_) | None => Ok(config),
        }
    })
    .collect()
}
