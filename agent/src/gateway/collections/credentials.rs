//! Credentials of consumers, from the lists of an Admin API or of Konnect's copy of one.
//!
//! In: an API, and the plugins that were read from it. Out: the credentials that those ask for, and the kinds of which a list could
//! not be read. That is no failure: many may see routes and not credentials; whom they name is then unknown. Deliberately absent:
//! keeping them (`credentials::store`).

use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;

use crate::gateway::collections::Gathered;
use crate::gateway::credentials::forms::ApiList;
use crate::gateway::fields::{Fields, Report};
use crate::gateway::snapshot::SnapshotWarning;
use crate::gateway::source::api_client::{Allowance, ApiClient};
use crate::gateway::source::{SourceError, chain};

/// Reads the credentials that the plugins of a workspace ask for. `base` is the address of its lists.
pub async fn read(
    client: &ApiClient,
    base: &[&str],
    workspace: Option<&Arc<str>>,
    gathered: &mut Gathered,
    allowance: &mut Allowance,
) {
    for list in gathered.wanted(workspace) {
        let path = [base, &[list.path()]].concat();
        let take = |items| {
            gathered.credentials(list, workspace, items);
            Ok(())
        };
        if let Err(error) = client.pages(&path, allowance, take).await {
            gathered.unread(list, &path.join("/"), &error);
        }
    }
}

impl Gathered {
    fn wanted(&self, workspace: Option<&Arc<str>>) -> Vec<ApiList> {
        let is_wanted = |list: &ApiList| {
            self.entities.plugins.iter().any(|plugin| {
                plugin.enabled && plugin.name == list.plugin() && plugin.workspace.as_ref() == workspace
            })
        };
        ApiList::all().filter(is_wanted).collect()
    }

    fn credentials(&mut self, list: ApiList, workspace: Option<&Arc<str>>, items: Vec<Value>) {
        self.credentials.workspace = workspace.cloned();
        // One that is not understood is the gateway's business.
        let mut report = Report::new(list.path());
        for item in items {
            self.digest(&item);
            if let Some(fields) = Fields::of(&item, String::new(), &mut report) {
                self.credentials.item(list, &fields, &mut report);
            }
        }
    }

    fn unread(&mut self, list: ApiList, path: &str, error: &SourceError) {
        self.contents = Uuid::new_v5(&self.contents, path.as_bytes());
        let is_first = self.entities.unread_credentials.insert(list.kind());
        // The advice that goes with a status is about lists that must be there.
        let why = if let SourceError::Status { url, status, .. } = error {
            format!("{url}: answered {status}")
        } else {
            chain(error)
        };
        // Workspaces are read alike, and there may be many.
        if is_first {
            self.notes.push(SnapshotWarning {
                entity: format!("plugin {}", list.plugin()),
                text: format!("has credentials that cannot be read ({why}): whom they name is known from upstream requests alone"),
            });
        }
    }
}
