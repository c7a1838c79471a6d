//! Consumer groups and who is in them, from an Admin API or Konnect's copy of one.
//!
//! In: an API. Out: groups and memberships. A gateway without groups answers 404. Lists that may not be seen are no failure: what
//! depends on them is then unknown. Sources: Kong Enterprise's and Konnect's Admin API, Consumer Groups: the members of a group are
//! one list `consumers` before 3.5, and pages of `data` from then on. Deliberately absent: the older overrides of rate limits that
//! groups have (`consumer_group_plugins`).

use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;

use crate::gateway::collections::{Gathered, id_of};
use crate::gateway::entities::Reference;
use crate::gateway::fields::{Fields, Report};
use crate::gateway::forms;
use crate::gateway::groups::Membership;
use crate::gateway::snapshot::SnapshotWarning;
use crate::gateway::source::SourceError;
use crate::gateway::source::api_client::{Allowance, ApiClient};

/// Where groups are listed.
const PATH: &str = "consumer_groups";
/// The most groups whose members are asked for in one reading; each takes a request of its own.
pub const MAX_GROUPS: usize = 2_000;

/// Reads the groups of a workspace. `base` is the address of its lists.
///
/// # Errors
/// What keeps any other list from being read, but for a refusal.
pub async fn read(
    client: &ApiClient,
    base: &[&str],
    gathered: &mut Gathered,
    allowance: &mut Allowance,
) -> Result<(), SourceError> {
    let path = [base, &[PATH]].concat();
    let mut ids = Vec::new();
    let take = |items| {
        ids.extend(gathered.groups(items)?);
        Ok(())
    };
    match client.pages(&path, allowance, take).await {
        Ok(()) => {}
        Err(SourceError::Status { status: 404, .. }) => return Ok(()),
        Err(error) => return gathered.unread_groups(error),
    }
    gathered.entities.consumer_groups.exist = true;
    for id in ids {
        gathered.asked_groups = gathered.asked_groups.saturating_add(1);
        if gathered.asked_groups > MAX_GROUPS {
            gathered.unread_members(&format!("there are more than {MAX_GROUPS}"));
            return Ok(());
        }
        let path = [&path[..], &[&id, "consumers"]].concat();
        let take = |items| {
            gathered.members(&id, items);
            Ok(())
        };
        let pages = client.pages_of(&path, &["data", "consumers"], Ok(()), allowance, take);
        match pages.await {
            // The group was removed since.
            Ok(()) | Err(SourceError::Status { status: 404, .. }) => {}
            Err(error) => gathered.unread_groups(error)?,
        }
    }
    Ok(())
}

impl Gathered {
    /// Takes a page of groups; gives their ids.
    fn groups(&mut self, items: Vec<Value>) -> Result<Vec<Arc<str>>, SourceError> {
        let mut ids = Vec::new();
        for item in items {
            self.digest(&item);
            if let Some(fields) = Fields::of(&item, PATH.to_owned(), &mut self.report) {
                let group = forms::consumer_group(&fields, &mut self.report);
                let groups = &mut self.entities.consumer_groups.groups;
                if self.seen_groups.insert(Arc::clone(&group.id)) {
                    ids.push(Arc::clone(&group.id));
                    groups.push(group);
                }
            }
        }
        self.checked()?;
        Ok(ids)
    }

    fn members(&mut self, group_id: &Arc<str>, items: Vec<Value>) {
        self.contents = Uuid::new_v5(&self.contents, group_id.as_bytes());
        // A member that is not understood is in no list of consumers either.
        let mut report = Report::new(PATH);
        for item in items {
            self.digest(&item);
            let fields = Fields::of(&item, String::new(), &mut report);
            let id = fields.and_then(|fields| fields.string("id", &mut report));
            let consumer_id = id.map(|id| id_of(&Reference::Id(id.to_owned())));
            let member = consumer_id.map(|consumer_id| Membership {
                group_id: Arc::clone(group_id),
                consumer_id,
            });
            self.entities.consumer_groups.members.extend(member);
        }
    }

    /// A refusal is noted; whatever else it is fails the reading, so that the last one stays.
    fn unread_groups(&mut self, error: SourceError) -> Result<(), SourceError> {
        if let SourceError::Status {
            url,
            status: status @ (401 | 403 | 405),
            ..
        } = &error
        {
            self.contents = Uuid::new_v5(&self.contents, url.as_bytes());
            self.unread_members(&format!("{url}: answered {status}"));
            return Ok(());
        }
        Err(error)
    }

    fn unread_members(&mut self, why: &str) {
        let groups = &mut self.entities.consumer_groups;
        // Groups are read alike, and there may be many.
        if !groups.is_partial {
            self.notes.push(SnapshotWarning {
                entity: "consumer groups".to_owned(),
                text: format!(
                    "cannot all be read ({why}): who is in one is not known, nor whether a configuration that is bound to one applies"
                ),
            });
        }
        groups.is_partial = true;
    }
}
