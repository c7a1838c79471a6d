//! The gateway's entities and facts from its Admin API, of any version from 0.13 on.
//!
//! In: an [`ApiClient`] and perhaps workspaces. Out: a [`Reading`] of all pages of services, routes, consumers and plugins, of
//! Enterprise's consumer groups, of the credentials that plugins ask for, and [`GatewayFacts`]. The form of the pages and entities follows the version that `GET /`
//! tells. Deliberately absent: writing.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;

use crate::gateway::admin_api::facts::GatewayFacts;
use crate::gateway::collections::{Collection, Gathered, Listed, credentials, groups, mark_of};
use crate::gateway::declarative;
use crate::gateway::document::SourceFile;
use crate::gateway::router::{KongVersion, RouterProfile};
use crate::gateway::snapshot::SnapshotWarning;
use crate::gateway::source::api_client::{Allowance, ApiClient, ApiOptions};
use crate::gateway::source::{ApiKind, Fingerprint, Reading, SourceError};
use crate::gateway::workspace;

pub mod facts;

#[cfg(test)]
pub(crate) mod tests;

/// How often a reading begins anew because the configuration changed between its pages.
const MAX_TORN_READINGS: usize = 3;
/// The most workspaces that are read.
const MAX_WORKSPACES: usize = 1_000;

/// An Admin API.
#[derive(Debug)]
pub struct AdminApi {
    client: ApiClient,
    workspaces: Vec<String>,
}

impl fmt::Display for AdminApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.client)
    }
}

impl AdminApi {
    /// Sets up a client; asks nothing yet. Only the named workspaces are read; none named: all that there are, or the one that the
    /// address names.
    ///
    /// # Errors
    /// Those of [`ApiClient::new`].
    pub fn new(options: ApiOptions, workspaces: Vec<String>) -> Result<Self, SourceError> {
        Ok(Self {
            client: ApiClient::new(ApiKind::Admin, options)?,
            workspaces,
        })
    }

    /// What the gateway says of itself: `GET /` and the configuration's hash of `GET /status`.
    ///
    /// # Errors
    /// Unreachable, too slow, refused, or no Admin API.
    pub async fn facts(&self) -> Result<GatewayFacts, SourceError> {
        let (root, _) = self.client.get(&[], &[]).await.map_err(|error| {
            // Whatever answers something else at `/` is something else.
            if let SourceError::Malformed { url, what } = error {
                SourceError::NotAdminApi { url, what }
            } else {
                error
            }
        })?;
        let mut facts = GatewayFacts::of(&root).map_err(|what| SourceError::NotAdminApi {
            url: self.client.shown(&[]),
            what: what.to_owned(),
        })?;
        facts.configuration_hash = self.configuration_hash().await;
        Ok(facts)
    }

    /// Only a hash to save work by: without it everything is read each time.
    async fn configuration_hash(&self) -> Option<String> {
        let (status, _) = self.client.get(&["status"], &[]).await.ok()?;
        facts::configuration_hash(&status)
    }

    /// Everything.
    ///
    /// # Errors
    /// Any [`SourceError`] but those of files.
    pub async fn fetch(&self) -> Result<Reading, SourceError> {
        let mut reading = self.read(self.facts().await?).await?;
        // Pages of two configurations must not be mixed, where the gateway tells one from the other.
        for _ in 1..MAX_TORN_READINGS {
            if reading.fingerprint.cheap.is_none() {
                return Ok(reading);
            }
            let hash = self.configuration_hash().await;
            if hash == reading.fingerprint.cheap {
                return Ok(reading);
            }
            reading = self.read(self.facts().await?).await?;
        }
        // It changes all the time: the next look reads it again.
        reading.fingerprint.cheap = None;
        Ok(reading)
    }

    async fn read(&self, facts: GatewayFacts) -> Result<Reading, SourceError> {
        let version = KongVersion::parse(&facts.version);
        let profile = RouterProfile {
            client_address: facts.client_address,
            ..RouterProfile::of(version, facts.router_flavor.as_deref())
        };
        let (workspaces, mut notes) = self.workspaces(&facts).await?;
        let has_groups = facts.is_enterprise();
        let listed = match self.lists(version, &workspaces, has_groups).await {
            // Whoever lets a proxy in front pass only this still tells everything by it.
            Err(SourceError::Status {
                status: 403..=405, ..
            }) if facts.database.as_deref() == Some("off") => self.whole().await?,
            listed => listed?,
        };
        notes.extend(listed.notes);
        Ok(Reading {
            entities: listed.entities,
            profile,
            notes,
            fingerprint: Fingerprint {
                cheap: facts.configuration_hash.clone(),
                contents: listed.contents,
            },
            facts: Some(facts),
        })
    }

    async fn lists(
        &self,
        version: Option<KongVersion>,
        workspaces: &[Option<String>],
        has_groups: bool,
    ) -> Result<Listed, SourceError> {
        let mut gathered = Gathered::new(&self.client.shown(&[]), mark_of(version));
        let mut allowance = Allowance::default();
        let within = |workspace: &Option<String>| workspace.as_deref().and_then(workspace::of_name);
        for collection in Collection::all(version) {
            gathered.begin();
            for workspace in workspaces {
                let mut path: Vec<_> = workspace.iter().map(String::as_str).collect();
                path.push(collection.path());
                let within = within(workspace);
                let take = |items| gathered.page(*collection, within.as_ref(), items);
                self.client.pages(&path, &mut allowance, take).await?;
            }
        }
        for workspace in workspaces {
            let base: Vec<_> = workspace.iter().map(String::as_str).collect();
            let within = within(workspace);
            if has_groups {
                groups::read(&self.client, &base, &mut gathered, &mut allowance).await?;
            }
            credentials::read(
                &self.client,
                &base,
                within.as_ref(),
                &mut gathered,
                &mut allowance,
            )
            .await;
        }
        Ok(gathered.finish())
    }

    /// The configuration of a DB-less gateway as one file: `GET /config`.
    async fn whole(&self) -> Result<Listed, SourceError> {
        let (answer, _) = self.client.get(&["config"], &[]).await?;
        let url = self.client.shown(&["config"]);
        let Some(Value::String(text)) = answer.get("config") else {
            let what = "the answer has no text `config`".to_owned();
            return Err(SourceError::Malformed { url, what });
        };
        let file = SourceFile {
            name: Arc::from(url.as_str()),
            bytes: text.clone().into_bytes(),
        };
        Ok(Listed {
            entities: declarative::read(&[file]).map_err(SourceError::Mistakes)?,
            notes: Vec::new(),
            contents: Uuid::new_v5(&Uuid::nil(), text.as_bytes()),
        })
    }

    /// Which workspaces to read; `None` is the address as it is.
    async fn workspaces(
        &self,
        facts: &GatewayFacts,
    ) -> Result<(Vec<Option<String>>, Vec<SnapshotWarning>), SourceError> {
        if !self.workspaces.is_empty() {
            let named = self.workspaces.iter().cloned().map(Some).collect();
            let note = SnapshotWarning {
                entity: "the gateway".to_owned(),
                text: "is read by the workspaces of gateway.workspaces alone; a request for a route of another is taken for one without a route"
                    .to_owned(),
            };
            return Ok((named, vec![note]));
        }
        if !facts.is_enterprise() || self.client.has_path() {
            return Ok((vec![None], Vec::new()));
        }
        let mut names = Vec::new();
        let mut allowance = Allowance::default();
        let listed = self.client.pages(&["workspaces"], &mut allowance, |items| {
            let name = |item: &Value| item.get("name").and_then(Value::as_str).map(str::to_owned);
            names.extend(items.iter().filter_map(name).map(Some));
            if names.len() > MAX_WORKSPACES {
                return Err(SourceError::TooLarge {
                    url: self.client.shown(&["workspaces"]),
                    limit: MAX_WORKSPACES,
                    unit: "workspaces",
                });
            }
            Ok(())
        });
        match listed.await {
            // Without a licence there is one workspace and no list of them.
            Err(SourceError::Status { status: 404, .. }) => Ok((vec![None], Vec::new())),
            Err(error) => Err(error),
            Ok(()) if names.is_empty() => Ok((vec![None], Vec::new())),
            Ok(()) => Ok((names, Vec::new())),
        }
    }
}
