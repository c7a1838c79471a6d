//! Credentials of consumers from the Admin API.
//!
//! In: the gateway's plugins. Out: the credentials of those that ask for any, and the kinds that could not be read. Not being allowed
//! to see them (401, 403, 404) is no failure: whom they name is then unknown. Deliberately absent: keeping them.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{AdminApi, Items, each};
use crate::gateway::credentials::forms::{APPLICATIONS, COLLECTIONS, CredentialForms, TOKENS};
use crate::gateway::entities::{Credential, CredentialKind, Reference};
use crate::gateway::fields::Report;
use crate::gateway::source::{SourceError, chain};

#[cfg(test)]
mod tests;

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    pub(super) entities: Vec<Credential>,
    /// Changes when any of it does.
    pub(super) digest: Uuid,
}

impl AdminApi {
    /// The credentials that some enabled plugin asks for.
    pub(super) async fn credentials(
        &self,
        plugins: &Items,
        budget: &mut usize,
    ) -> (Credentials, BTreeSet<CredentialKind>) {
        let is_used = |name: &str| {
            plugins.iter().any(|plugin| {
                let field = |field: &str| plugin.get(field);
                field("name").and_then(serde_json::Value::as_str) == Some(name)
                    && field("enabled").and_then(serde_json::Value::as_bool) != Some(false)
            })
        };
        let mut forms = CredentialForms::default();
        let mut unread = BTreeSet::new();
        let mut digest = Uuid::NAMESPACE_OID;
        let mut report = Report::new("credentials");
        for collection in COLLECTIONS.iter().filter(|collection| is_used(collection.plugin)) {
            let items = self.items(collection.path, budget, &mut digest).await;
            let Some(items) = items else {
                unread.insert(collection.kind);
                continue;
            };
            each(collection.path, &items, &mut report, |fields, report| {
                forms.credential(collection, fields, None, report);
            });
        }
        if is_used("oauth2") {
            let applications = self.items(APPLICATIONS.1, budget, &mut digest).await;
            let tokens = self.items(TOKENS.1, budget, &mut digest).await;
            if applications.is_none() || tokens.is_none() {
                unread.insert(CredentialKind::Token);
            }
            each(
                APPLICATIONS.1,
                &applications.unwrap_or_default(),
                &mut report,
                |fields, report| {
                    forms.application(fields, None, report);
                },
            );
            each(
                TOKENS.1,
                &tokens.unwrap_or_default(),
                &mut report,
                |fields, report| {
                    forms.token(fields, None, report);
                },
            );
        }
        let of = |(kind, identity, consumer): (_, _, Reference)| Credential {
            kind,
            identity,
            consumer_id: consumer.text().to_ascii_lowercase().into(),
        };
        let entities = forms.finish().into_iter().map(of).collect();
        (Credentials { entities, digest }, unread)
    }

    /// A list, or nothing when it cannot be had.
    async fn items(&self, path: &str, budget: &mut usize, digest: &mut Uuid) -> Option<Items> {
        let read: Result<Items, SourceError> = self.collection(path, budget).await;
        match read {
            Ok(items) => {
                let text = serde_json::to_vec(&items).unwrap_or_default();
                *digest = Uuid::new_v5(digest, &text);
                Some(items)
            }
            Err(error) => {
                tracing::debug!(
                    list = path,
                    error = chain(&error),
                    "Credentials cannot be read; whom they name is unknown."
                );
                None
            }
        }
    }
}
