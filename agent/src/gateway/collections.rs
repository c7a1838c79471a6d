//! Entities out of the lists of an Admin API, or of Konnect's copy of one.
//!
//! In: pages of JSON objects. Out: [`Entities`], and a hash of all that was read. A page is turned into entities at once, so that no
//! more than one is held as JSON. References are ids; one whose entity is missing (it was removed between two pages) stays as it
//! is. Deliberately absent: asking for the pages (but for those of `credentials`, which depend on the plugins).

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;

use crate::gateway::credentials::forms::CredentialForms;
use crate::gateway::entities::{Credential, Entities, Reference};
use crate::gateway::fields::{Fields, Report};
use crate::gateway::forms::{self, RegexMark};
use crate::gateway::router::KongVersion;
use crate::gateway::snapshot::SnapshotWarning;
use crate::gateway::source::SourceError;

pub mod credentials;
pub mod groups;

/// A list of entities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Collection {
    /// Services.
    Services,
    /// Routes.
    Routes,
    /// The APIs of 0.13.
    Apis,
    /// Consumers.
    Consumers,
    /// Plugins.
    Plugins,
}

impl Collection {
    /// The last part of its address.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::Routes => "routes",
            Self::Apis => "apis",
            Self::Consumers => "consumers",
            Self::Plugins => "plugins",
        }
    }

    /// What a gateway of a version has. `apis` went with 1.0; 0.13 was the first with services.
    #[must_use]
    pub fn all(version: Option<KongVersion>) -> &'static [Self] {
        match version {
            Some(version) if version.major == 0 && version.minor < 13 => {
                &[Self::Apis, Self::Consumers, Self::Plugins]
            }
            Some(version) if version.major == 0 && version.minor < 15 => &[
                Self::Services,
                Self::Routes,
                Self::Apis,
                Self::Consumers,
                Self::Plugins,
            ],
            Some(_) | None => &[Self::Services, Self::Routes, Self::Consumers, Self::Plugins],
        }
    }
}

/// How paths of a version's routes mark regular expressions.
#[must_use]
pub fn mark_of(version: Option<KongVersion>) -> RegexMark {
    if version.is_some_and(|version| version.major < 3) {
        RegexMark::AnyOddCharacter
    } else {
        RegexMark::Tilde
    }
}

/// What lists hold.
#[derive(Debug)]
pub struct Listed {
    /// The entities.
    pub entities: Entities,
    /// What of the gateway's configuration could not be read.
    pub notes: Vec<SnapshotWarning>,
    /// A hash of every object, in the order in which they came.
    pub contents: Uuid,
}

/// What was read so far.
#[derive(Debug)]
pub struct Gathered {
    entities: Entities,
    notes: Vec<SnapshotWarning>,
    contents: Uuid,
    mark: RegexMark,
    report: Report,
    credentials: CredentialForms,
    /// A page may repeat what the one before had; older workspaces share entities.
    seen: HashSet<(Collection, Arc<str>)>,
    /// The same of consumer groups.
    seen_groups: HashSet<Arc<str>>,
    /// Of how many the members were asked for.
    asked_groups: usize,
    /// How many came of the list that is being read.
    index: usize,
}

impl Gathered {
    /// Nothing yet; `origin` is what messages call the source.
    #[must_use]
    pub fn new(origin: &str, mark: RegexMark) -> Self {
        Self {
            entities: Entities::default(),
            notes: Vec::new(),
            contents: Uuid::nil(),
            mark,
            report: Report::new(origin),
            credentials: CredentialForms::default(),
            seen: HashSet::new(),
            seen_groups: HashSet::new(),
            asked_groups: 0,
            index: 0,
        }
    }

    /// A new list begins.
    pub const fn begin(&mut self) {
        self.index = 0;
    }

    /// Takes a page.
    ///
    /// # Errors
    /// Everything in it that cannot be understood.
    pub fn page(
        &mut self,
        collection: Collection,
        workspace: Option<&Arc<str>>,
        items: Vec<Value>,
    ) -> Result<(), SourceError> {
        for item in items {
            self.digest(&item);
            let path = format!("{}[{}]", collection.path(), self.index);
            self.index = self.index.saturating_add(1);
            if let Some(fields) = Fields::of(&item, path, &mut self.report) {
                self.entity(collection, workspace, &fields);
            }
        }
        self.checked()
    }

    /// That nothing of the last page was wrong.
    fn checked(&mut self) -> Result<(), SourceError> {
        let origin = self.report.origin().to_string();
        let fresh = Report::new(&origin);
        let report = std::mem::replace(&mut self.report, fresh);
        report.finish(()).map_err(|mistakes| SourceError::Malformed {
            url: origin,
            what: format!("an entity cannot be understood\n{mistakes}"),
        })
    }

    /// All that was read.
    #[must_use]
    pub fn finish(self) -> Listed {
        let mut entities = self.entities;
        let credentials = self.credentials.finish().into_iter().map(|form| Credential {
            kind: form.kind,
            identity: form.identity,
            consumer_id: id_of(&form.consumer),
            workspace: form.workspace,
        });
        entities.credentials = credentials.collect();
        Listed {
            entities,
            notes: self.notes,
            contents: self.contents,
        }
    }

    fn digest(&mut self, item: &Value) {
        let bytes = serde_json::to_vec(item).unwrap_or_default();
        self.contents = Uuid::new_v5(&self.contents, &bytes);
    }

    fn entity(&mut self, collection: Collection, workspace: Option<&Arc<str>>, fields: &Fields<'_>) {
        let report = &mut self.report;
        let id = |reference: Option<Reference>| reference.as_ref().map(id_of);
        let entities = &mut self.entities;
        let seen = &mut self.seen;
        let mut is_new = |id: &Arc<str>| seen.insert((collection, Arc::clone(id)));
        match collection {
            Collection::Services => {
                let service = forms::service(fields, report);
                if is_new(&service.id) {
                    entities.services.push(service);
                }
            }
            Collection::Routes => {
                let mut form = forms::route(fields, "", self.mark, report);
                form.route.service_id = id(form.service);
                form.route.workspace = workspace.cloned();
                if is_new(&form.route.id) {
                    entities.routes.push(form.route);
                }
            }
            Collection::Apis => {
                let api = forms::api(fields, report);
                if is_new(&api.id) {
                    entities.routes.push(api);
                }
            }
            Collection::Consumers => {
                let consumer = forms::consumer(fields, report);
                if is_new(&consumer.id) {
                    entities.consumers.push(consumer);
                }
            }
            Collection::Plugins => {
                let mut form = forms::plugin(fields, report);
                form.plugin.scope.service_id = id(form.service);
                form.plugin.scope.route_id = id(form.route);
                form.plugin.scope.consumer_id = id(form.consumer);
                form.plugin.scope.consumer_group_id = id(form.consumer_group);
                form.plugin.workspace = workspace.cloned();
                if form.plugin.id.as_ref().is_none_or(&mut is_new) {
                    entities.plugins.push(form.plugin);
                }
            }
        }
    }
}

fn id_of(reference: &Reference) -> Arc<str> {
    reference.text().to_ascii_lowercase().into()
}
