//! The gateway's entities from declarative files (`kong.yml`, decK dumps).
//!
//! In: the bytes of one or several files of `_format_version` 1.1, 2.1 or 3.0, YAML or JSON, flat or nested in any mix.
//! Out: [`Entities`], or every mistake at once. It is Kong's file: what kongtap does not need is passed over. What only decK knows
//! (placeholders, defaults, workspaces) is in `deck`. Deliberately absent: reading the files from disk (that is `source`), and
//! plugin configurations' own fields.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use crate::gateway::credentials::forms::CredentialForms;
use crate::gateway::document::{self, Mistakes, SourceFile};
use crate::gateway::entities::{Credential, CredentialKind, Entities, Reference};
use crate::gateway::fields::{Fields, Report, kind};
use crate::gateway::forms::{self, PluginForm, RegexMark, RouteForm};
use crate::gateway::groups::Membership;
use crate::gateway::ids;
use crate::gateway::router::RouterProfile;
use crate::gateway::snapshot::{Snapshot, SnapshotWarning};
use crate::gateway::workspace;

mod deck;
mod members;

use self::members::MemberForms;

#[cfg(test)]
mod tests;

/// The formats that are understood.
const FORMATS: [&str; 3] = ["1.1", "2.1", "3.0"];

/// Where a placeholder finds its value: the environment, or nothing.
pub type Lookup = fn(&str) -> Option<String>;

/// What files hold.
#[derive(Debug, Default)]
pub struct Declared {
    /// The entities.
    pub entities: Entities,
    /// What of the gateway's configuration is not in the files.
    pub notes: Vec<SnapshotWarning>,
}

/// Reads files into one set of entities. References may cross files. No placeholder has a value.
///
/// # Errors
/// Every mistake of every file.
pub fn read(files: &[SourceFile]) -> Result<Entities, Mistakes> {
    read_with(files, |_| None).map(|declared| declared.entities)
}

/// The same, with values for decK's placeholders.
///
/// # Errors
/// Every mistake of every file.
pub fn read_with(files: &[SourceFile], lookup: Lookup) -> Result<Declared, Mistakes> {
    let mut gathered = Gathered::default();
    let mut mistakes = Vec::new();
    for file in files {
        match deck::parse(file, lookup) {
            Ok(mut value) => {
                let mut report = Report::new(&file.name);
                let left_out = deck::prepare(&mut value, &mut report);
                if !left_out.is_empty() {
                    // Whose credential is not here may be elsewhere.
                    gathered.entities.unread_credentials.extend(CredentialKind::ALL);
                }
                gathered.notes.extend(left_out);
                gathered.file(&value, &mut report);
                mistakes.extend(report.into_mistakes());
            }
            Err(found) => mistakes.extend(found.0),
        }
    }
    // A broken file hides what others refer to: its absence is not reported once for each reference.
    let all_readable = mistakes.is_empty();
    let (declared, unresolved) = gathered.resolve();
    if all_readable {
        mistakes.extend(unresolved);
    }
    if mistakes.is_empty() {
        Ok(declared)
    } else {
        Err(Mistakes(mistakes))
    }
}

/// What `kongtap check-config` says of gateway files.
///
/// # Errors
/// Every mistake of every file.
pub fn check(
    files: &[SourceFile],
    profile: &RouterProfile,
    lookup: Lookup,
) -> Result<(Entities, Vec<SnapshotWarning>), Mistakes> {
    let Declared { entities, notes } = read_with(files, lookup)?;
    let (_, warnings) = Snapshot::build(entities.clone(), profile);
    Ok((entities, notes.into_iter().chain(warnings).collect()))
}

/// Entities whose references are not resolved yet, each with the place that a mistake would name.
#[derive(Default)]
struct Gathered {
    entities: Entities,
    notes: Vec<SnapshotWarning>,
    routes: Vec<(RouteForm, Origin)>,
    plugins: Vec<(PluginForm, Origin)>,
    credentials: CredentialForms,
    groups: MemberForms,
    known: HashMap<Known, Arc<str>>,
    /// Of the file that is being read.
    workspace: Option<Arc<str>>,
}

/// By what an entity can be found, within its workspace. Leads to its id.
#[derive(PartialEq, Eq, Hash)]
struct Known {
    kind: &'static str,
    workspace: Option<Arc<str>>,
    by: By,
}

#[derive(PartialEq, Eq, Hash)]
enum By {
    Id(Arc<str>),
    Name(Arc<str>),
}

struct Origin {
    file: Arc<str>,
    path: String,
    workspace: Option<Arc<str>>,
}

impl Gathered {
    fn file(&mut self, value: &Value, report: &mut Report) {
        if value.is_null() {
            report.wrong("", "is empty; it needs at least `_format_version: \"3.0\"`");
            return;
        }
        let Some(root) = Fields::of(value, String::new(), report) else {
            return;
        };
        let mark = format(&root, report);
        self.workspace = root.string("_workspace", report).and_then(workspace::of_name);
        self.credentials.workspace.clone_from(&self.workspace);
        for fields in root.objects("services", report) {
            let mut service = forms::service(&fields, report);
            service.id = self.id_in_workspace("services", service.id, &fields);
            let id = Arc::clone(&service.id);
            self.unique("services", &id, service.name.as_ref(), &fields, report);
            self.entities.services.push(service);
            self.routes(&fields, Some(&id), mark, report);
            self.plugins(&fields, Parent::Service(&id), report);
        }
        self.routes(&root, None, mark, report);
        for fields in root.objects("consumers", report) {
            let mut consumer = forms::consumer(&fields, report);
            consumer.id = self.id_in_workspace("consumers", consumer.id, &fields);
            let id = Arc::clone(&consumer.id);
            self.unique("consumers", &id, consumer.username.as_ref(), &fields, report);
            self.entities.consumers.push(consumer);
            self.plugins(&fields, Parent::Consumer(&id), report);
            self.credentials.lists(&fields, Some(&id), report);
            self.groups
                .of_consumer(&fields, &id, self.workspace.as_ref(), report);
        }
        for fields in root.objects("consumer_groups", report) {
            let mut group = forms::consumer_group(&fields, report);
            group.id = self.id_in_workspace("consumer_groups", group.id, &fields);
            let id = Arc::clone(&group.id);
            self.unique("consumer_groups", &id, group.name.as_ref(), &fields, report);
            self.entities.consumer_groups.groups.push(group);
            self.plugins(&fields, Parent::ConsumerGroup(&id), report);
            self.groups
                .of_group(&fields, &id, self.workspace.as_ref(), report);
        }
        self.groups.apart(&root, self.workspace.as_ref(), report);
        let has_groups = ["consumer_groups", "consumer_group_consumers"].map(|key| root.get(key).is_some());
        self.entities.consumer_groups.exist |= has_groups.contains(&true);
        self.credentials.lists(&root, None, report);
        self.plugins(&root, Parent::None, report);
    }

    fn routes(
        &mut self,
        parent: &Fields<'_>,
        service: Option<&Arc<str>>,
        mark: RegexMark,
        report: &mut Report,
    ) {
        for fields in parent.objects("routes", report) {
            let within = service.map_or("", |id| &**id);
            let mut form = forms::route(&fields, within, mark, report);
            if let Some(id) = service {
                form.service = Some(Reference::Id(id.to_string()));
            }
            form.route.workspace.clone_from(&self.workspace);
            form.route.id = self.id_in_workspace("routes", form.route.id, &fields);
            let id = Arc::clone(&form.route.id);
            self.unique("routes", &id, form.route.name.as_ref(), &fields, report);
            self.routes.push((form, self.origin(&fields, report)));
            self.plugins(&fields, Parent::Route(&id), report);
        }
    }

    fn plugins(&mut self, parent: &Fields<'_>, bound_to: Parent<'_>, report: &mut Report) {
        for fields in parent.objects("plugins", report) {
            let mut form = forms::plugin(&fields, report);
            let own = |id: &Arc<str>| Some(Reference::Id(id.to_string()));
            match bound_to {
                Parent::None => {}
                Parent::Service(id) => form.service = own(id),
                Parent::Route(id) => form.route = own(id),
                Parent::Consumer(id) => form.consumer = own(id),
                Parent::ConsumerGroup(id) => form.consumer_group = own(id),
            }
            form.plugin.workspace.clone_from(&self.workspace);
            self.plugins.push((form, self.origin(&fields, report)));
        }
    }

    fn origin(&self, fields: &Fields<'_>, report: &Report) -> Origin {
        Origin {
            file: Arc::clone(report.origin()),
            path: fields.path.clone(),
            workspace: self.workspace.clone(),
        }
    }

    /// The id of an entity; a derived one is made again for its workspace, as names come again in each.
    fn id_in_workspace(&self, kind: &str, id: Arc<str>, fields: &Fields<'_>) -> Arc<str> {
        match &self.workspace {
            Some(workspace) if fields.get("id").is_none() => ids::of_content(kind, workspace, &id),
            Some(_) | None => id,
        }
    }

    fn unique(
        &mut self,
        kind: &'static str,
        id: &Arc<str>,
        name: Option<&Arc<str>>,
        fields: &Fields<'_>,
        report: &mut Report,
    ) {
        let mut is_new = |by: By| {
            let workspace = self.workspace.clone();
            let known = Known { kind, workspace, by };
            self.known.insert(known, Arc::clone(id)).is_none()
        };
        let id_is_new = is_new(By::Id(Arc::clone(id)));
        // A name's derived id is the id itself; only a name beside a given id can clash on its own.
        if let Some(name) = name.filter(|name| !is_new(By::Name(Arc::clone(name)))) {
            report.wrong(&fields.path, format!("`{name}` is defined twice"));
        } else if !id_is_new && fields.get("id").is_some() {
            report.wrong(&fields.path_of("id"), format!("`{id}` is used twice"));
        }
    }

    fn resolve(self) -> (Declared, Vec<document::Mistake>) {
        let mut entities = self.entities;
        let mut mistakes = Vec::new();
        for (form, origin) in self.routes {
            let mut route = form.route;
            let mut wanted = Wanted(&origin, &self.known, &mut mistakes);
            route.service_id = wanted.find(form.service.as_ref(), "services", "service");
            entities.routes.push(route);
        }
        for (form, origin) in self.plugins {
            let mut plugin = form.plugin;
            let mut wanted = Wanted(&origin, &self.known, &mut mistakes);
            plugin.scope.service_id = wanted.find(form.service.as_ref(), "services", "service");
            plugin.scope.route_id = wanted.find(form.route.as_ref(), "routes", "route");
            plugin.scope.consumer_id = wanted.find(form.consumer.as_ref(), "consumers", "consumer");
            plugin.scope.consumer_group_id =
                wanted.find(form.consumer_group.as_ref(), "consumer_groups", "consumer_group");
            entities.plugins.push(plugin);
        }
        for (form, origin) in self.groups.finish() {
            let mut wanted = Wanted(&origin, &self.known, &mut mistakes);
            let is_there =
                |kind, reference| find(&self.known, origin.workspace.as_ref(), kind, reference).is_some();
            // A file that holds only what is tagged may name a group, or a group in it a consumer, that stands elsewhere.
            let is_whole = is_there("consumer_groups", &form.group) && is_there("consumers", &form.consumer);
            if !is_whole && !self.notes.is_empty() {
                entities.consumer_groups.is_partial = true;
                continue;
            }
            let at = |field: &str| form.place_of(&origin.path, field);
            let path = at("consumer_group");
            let group_id = wanted.find_at(&form.group, "consumer_groups", "consumer_group", path);
            let path = at("consumer");
            let consumer_id = wanted.find_at(&form.consumer, "consumers", "consumer", path);
            let member = group_id
                .zip(consumer_id)
                .map(|(group_id, consumer_id)| Membership {
                    group_id,
                    consumer_id,
                });
            entities.consumer_groups.members.extend(member);
        }
        let asks_for_tokens = entities.plugins.iter().any(|plugin| plugin.name == "oauth2");
        if asks_for_tokens && !self.credentials.has_tokens() {
            // They are made while the gateway runs; decK does not dump them.
            entities.unread_credentials.insert(CredentialKind::Token);
        }
        for form in self.credentials.finish() {
            if deck::is_unset(form.identity.expose()) {
                entities.unread_credentials.insert(form.kind);
                continue;
            }
            // A credential of a consumer that another tool keeps is none of this file's mistakes.
            let owner = find(&self.known, form.workspace.as_ref(), "consumers", &form.consumer);
            entities.credentials.extend(owner.map(|consumer_id| Credential {
                kind: form.kind,
                identity: form.identity,
                consumer_id,
                workspace: form.workspace,
            }));
        }
        let notes = self.notes;
        (Declared { entities, notes }, mistakes)
    }
}

#[derive(Clone, Copy)]
enum Parent<'a> {
    None,
    Service(&'a Arc<str>),
    Route(&'a Arc<str>),
    Consumer(&'a Arc<str>),
    ConsumerGroup(&'a Arc<str>),
}

struct Wanted<'a>(
    &'a Origin,
    &'a HashMap<Known, Arc<str>>,
    &'a mut Vec<document::Mistake>,
);

impl Wanted<'_> {
    fn find(&mut self, reference: Option<&Reference>, kind: &'static str, field: &str) -> Option<Arc<str>> {
        let path = format!("{}.{field}", self.0.path);
        self.find_at(reference?, kind, field, path)
    }

    /// The same for a name that stands at `path`.
    fn find_at(
        &mut self,
        reference: &Reference,
        kind: &'static str,
        field: &str,
        path: String,
    ) -> Option<Arc<str>> {
        let found = find(self.1, self.0.workspace.as_ref(), kind, reference);
        if found.is_none() {
            let text = reference.text();
            self.2.push(document::Mistake {
                origin: Arc::clone(&self.0.file),
                place: document::Place::Path(path),
                text: format!("there is no {field} `{text}`"),
            });
        }
        found
    }
}

/// The id of what a reference of a workspace names.
fn find(
    known: &HashMap<Known, Arc<str>>,
    workspace: Option<&Arc<str>>,
    kind: &'static str,
    reference: &Reference,
) -> Option<Arc<str>> {
    let get = |by: By| {
        let workspace = workspace.cloned();
        known.get(&Known { kind, workspace, by }).cloned()
    };
    let text = reference.text();
    let by_id = || get(By::Id(Arc::from(text.to_ascii_lowercase())));
    let by_name = || get(By::Name(Arc::from(text)));
    match reference {
        Reference::Id(_) => by_id(),
        Reference::Name(_) => by_name(),
        Reference::Any(_) => by_id().or_else(by_name),
    }
}

/// The file's format, as the way it marks regular expressions.
fn format(root: &Fields<'_>, report: &mut Report) -> RegexMark {
    let version = match root.get("_format_version") {
        Some(Value::String(text)) => text.clone(),
        // Unquoted in YAML, `3.0` is a number.
        Some(Value::Number(number)) => format!("{:.1}", number.as_f64().unwrap_or_default()),
        Some(other) => {
            let text = format!("must be \"1.1\", \"2.1\" or \"3.0\", not {}", kind(other));
            report.wrong("_format_version", text);
            return RegexMark::Tilde;
        }
        None => {
            report.wrong("_format_version", "is required: \"1.1\", \"2.1\" or \"3.0\"");
            return RegexMark::Tilde;
        }
    };
    if !FORMATS.contains(&version.as_str()) {
        let text = format!("`{version}` is not known here; \"1.1\", \"2.1\" and \"3.0\" are");
        report.wrong("_format_version", text);
    }
    if version == "3.0" {
        RegexMark::Tilde
    } else {
        RegexMark::AnyOddCharacter
    }
}
