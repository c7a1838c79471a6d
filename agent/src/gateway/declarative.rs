//! The gateway's entities from declarative files (`kong.yml`, decK dumps).
//!
//! In: the bytes of one or several files of `_format_version` 1.1, 2.1 or 3.0, YAML or JSON, flat or nested in any mix.
//! Out: [`Entities`], or every mistake at once. It is Kong's file: what kongtap does not need is passed over. Deliberately
//! absent: reading the files from disk (that is `source`), and plugin configurations' own fields.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use crate::gateway::credentials::forms::CredentialForms;
use crate::gateway::document::{self, Mistakes, SourceFile};
use crate::gateway::entities::{Credential, Entities, Reference};
use crate::gateway::fields::{Fields, Report, kind};
use crate::gateway::forms::{self, PluginForm, RegexMark, RouteForm};
use crate::gateway::router::RouterProfile;
use crate::gateway::snapshot::{Snapshot, SnapshotWarning};

#[cfg(test)]
mod tests;

/// The formats that are understood.
const FORMATS: [&str; 3] = ["1.1", "2.1", "3.0"];

/// Reads files into one set of entities. References may cross files.
///
/// # Errors
/// Every mistake of every file.
pub fn read(files: &[SourceFile]) -> Result<Entities, Mistakes> {
    let mut gathered = Gathered::default();
    let mut mistakes = Vec::new();
    for file in files {
        match document::parse(file) {
            Ok(value) => {
                let mut report = Report::new(&file.name);
                gathered.file(&value, &mut report);
                mistakes.extend(report.into_mistakes());
            }
            Err(mistake) => mistakes.push(mistake),
        }
    }
    // A broken file hides what others refer to: its absence is not reported once for each reference.
    let all_readable = mistakes.is_empty();
    let (entities, unresolved) = gathered.resolve();
    if all_readable {
        mistakes.extend(unresolved);
    }
    if mistakes.is_empty() {
        Ok(entities)
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
) -> Result<(Entities, Vec<SnapshotWarning>), Mistakes> {
    let entities = read(files)?;
    let (_, warnings) = Snapshot::build(entities.clone(), profile);
    Ok((entities, warnings))
}

/// Entities whose references are not resolved yet, each with the place that a mistake would name.
#[derive(Default)]
struct Gathered {
    entities: Entities,
    routes: Vec<(RouteForm, Origin)>,
    plugins: Vec<(PluginForm, Origin)>,
    credentials: CredentialForms,
    seen: HashSet<(&'static str, String)>,
}

struct Origin {
    file: Arc<str>,
    path: String,
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
        for fields in root.objects("services", report) {
            let service = forms::service(&fields, report);
            let id = Arc::clone(&service.id);
            self.unique("services", &id, service.name.as_deref(), &fields, report);
            self.entities.services.push(service);
            self.routes(&fields, Some(&id), mark, report);
            self.plugins(&fields, Parent::Service(&id), report);
        }
        self.routes(&root, None, mark, report);
        for fields in root.objects("consumers", report) {
            let consumer = forms::consumer(&fields, report);
            let id = Arc::clone(&consumer.id);
            self.unique("consumers", &id, consumer.username.as_deref(), &fields, report);
            self.entities.consumers.push(consumer);
            self.plugins(&fields, Parent::Consumer(&id), report);
            self.credentials.lists(&fields, Some(&id), report);
        }
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
            let id = Arc::clone(&form.route.id);
            self.unique("routes", &id, form.route.name.as_deref(), &fields, report);
            self.routes.push((form, origin(&fields, report)));
            self.plugins(&fields, Parent::Route(&id), report);
        }
    }

    fn plugins(&mut self, parent: &Fields<'_>, bound_to: Parent<'_>, report: &mut Report) {
        for fields in parent.objects("plugins", report) {
            let Some(mut form) = forms::plugin(&fields, report) else {
                continue;
            };
            let own = |id: &Arc<str>| Some(Reference::Id(id.to_string()));
            match bound_to {
                Parent::None => {}
                Parent::Service(id) => form.service = own(id),
                Parent::Route(id) => form.route = own(id),
                Parent::Consumer(id) => form.consumer = own(id),
            }
            self.plugins.push((form, origin(&fields, report)));
        }
    }

    fn unique(
        &mut self,
        kind: &'static str,
        id: &str,
        name: Option<&str>,
        fields: &Fields<'_>,
        report: &mut Report,
    ) {
        let id_is_new = self.seen.insert((kind, id.to_owned()));
        // A name's derived id is the id itself; only a name beside a given id can clash on its own.
        let name_is_new = name.is_none_or(|name| self.seen.insert((kind, format!("name {name}"))));
        if !name_is_new {
            let text = format!("`{}` is defined twice", name.unwrap_or_default());
            report.wrong(&fields.path, text);
        } else if !id_is_new && fields.get("id").is_some() {
            report.wrong(&fields.path_of("id"), format!("`{id}` is used twice"));
        }
    }

    fn resolve(self) -> (Entities, Vec<document::Mistake>) {
        let mut entities = self.entities;
        let mut mistakes = Vec::new();
        let services = Names::of(entities.services.iter().map(|s| (&s.id, s.name.as_ref())));
        let consumers = Names::of(entities.consumers.iter().map(|c| (&c.id, c.username.as_ref())));
        for (form, origin) in self.routes {
            let mut route = form.route;
            let mut wanted = Wanted(&origin, &mut mistakes);
            route.service_id = wanted.find(form.service.as_ref(), &services, "service");
            entities.routes.push(route);
        }
        let routes = Names::of(entities.routes.iter().map(|r| (&r.id, r.name.as_ref())));
        for (form, origin) in self.plugins {
            let mut plugin = form.plugin;
            let mut wanted = Wanted(&origin, &mut mistakes);
            plugin.scope.service_id = wanted.find(form.service.as_ref(), &services, "service");
            plugin.scope.route_id = wanted.find(form.route.as_ref(), &routes, "route");
            plugin.scope.consumer_id = wanted.find(form.consumer.as_ref(), &consumers, "consumer");
            entities.plugins.push(plugin);
        }
        // A credential of a consumer that another tool keeps is none of this file's mistakes.
        let of_consumer = |(kind, identity, reference)| {
            let consumer_id = consumers.find(&reference)?;
            Some(Credential {
                kind,
                identity,
                consumer_id,
            })
        };
        entities.credentials = self
            .credentials
            .finish()
            .into_iter()
            .filter_map(of_consumer)
            .collect();
        (entities, mistakes)
    }
}

#[derive(Clone, Copy)]
enum Parent<'a> {
    None,
    Service(&'a Arc<str>),
    Route(&'a Arc<str>),
    Consumer(&'a Arc<str>),
}

/// Ids by id and by name.
struct Names(HashMap<(bool, Arc<str>), Arc<str>>);

impl Names {
    fn of<'a>(entities: impl Iterator<Item = (&'a Arc<str>, Option<&'a Arc<str>>)>) -> Self {
        let mut map = HashMap::new();
        for (id, name) in entities {
            map.insert((true, Arc::clone(id)), Arc::clone(id));
            if let Some(name) = name {
                map.insert((false, Arc::clone(name)), Arc::clone(id));
            }
        }
        Self(map)
    }

    fn find(&self, reference: &Reference) -> Option<Arc<str>> {
        let text: Arc<str> = Arc::from(reference.text());
        let by_id = || self.0.get(&(true, Arc::from(text.to_ascii_lowercase())));
        let by_name = || self.0.get(&(false, Arc::clone(&text)));
        match reference {
            Reference::Id(_) => by_id(),
            Reference::Name(_) => by_name(),
            Reference::Any(_) => by_id().or_else(by_name),
        }
        .cloned()
    }
}

struct Wanted<'a>(&'a Origin, &'a mut Vec<document::Mistake>);

impl Wanted<'_> {
    fn find(&mut self, reference: Option<&Reference>, names: &Names, kind: &str) -> Option<Arc<str>> {
        let reference = reference?;
        let found = names.find(reference);
        if found.is_none() {
            self.1.push(document::Mistake {
                origin: Arc::clone(&self.0.file),
                place: document::Place::Path(format!("{}.{kind}", self.0.path)),
                text: format!("there is no {kind} `{}`", reference.text()),
            });
        }
        found
    }
}

fn origin(fields: &Fields<'_>, report: &Report) -> Origin {
    Origin {
        file: Arc::clone(report.origin()),
        path: fields.path.clone(),
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
