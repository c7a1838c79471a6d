//! `runscope` configurations from files in Kong's own declarative form, and from the environment's values.
//!
//! In: the bytes of files with a `plugins:` list (or `plugins` within `services`, `routes` and `consumers`, as Kong nests them).
//! Out: [`UnboundConfig`]s, or every mistake at once. Other plugins in the file are Kong's business and passed over, so a
//! gateway's own `kong.yml` will do. Deliberately absent: whether what they name exists (that is [`crate::plugin::PluginSet`]).

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::gateway::credentials::speaks_http;
use crate::gateway::document::{self, Mistakes, SourceFile};
use crate::gateway::entities::Reference;
use crate::gateway::fields::{Fields, Report};
use crate::plugin::UnboundConfig;
use crate::plugin::schema::{self, suggestion};

/// The plugin's name.
pub const NAME: &str = "runscope";

/// What the environment's configuration gives as its origin.
pub const ENVIRONMENT: &str = "environment";

/// Fields of a plugin in Kong's form, old ones included.
const PLUGIN_FIELDS: [&str; 20] = [
    "api",
    "api_id",
    "config",
    "consumer",
    "consumer_group",
    "consumer_id",
    "created_at",
    "enabled",
    "id",
    "instance_name",
    "name",
    "ordering",
    "protocols",
    "route",
    "route_id",
    "run_on",
    "service",
    "service_id",
    "tags",
    "updated_at",
];

/// Top-level keys that hold configurations.
const COLLECTIONS: [&str; 4] = ["plugins", "services", "routes", "consumers"];

/// The environment's values, as far as they are set.
#[derive(Clone, Copy, Debug, Default)]
pub struct EnvironmentValues<'a> {
    /// `KONGTAP_ACCESS_TOKEN`
    pub access_token: Option<&'a str>,
    /// `KONGTAP_BUCKET_KEY`
    pub bucket_key: Option<&'a str>,
    /// `KONGTAP_API_ENDPOINT`
    pub api_endpoint: Option<&'a str>,
    /// `KONGTAP_LOG_BODY`
    pub log_body: Option<&'a str>,
}

/// Reads configurations from files and the environment's values.
///
/// # Errors
/// Every mistake of every file, and scopes that are configured twice.
pub fn read(
    files: &[SourceFile],
    environment: EnvironmentValues<'_>,
) -> Result<Vec<UnboundConfig>, Mistakes> {
    let mut configs = Vec::new();
    let mut mistakes = Vec::new();
    for file in files {
        match document::parse(file) {
            Ok(value) => {
                let mut report = Report::new(&file.name);
                of_file(&value, &mut configs, &mut report);
                mistakes.extend(report.into_mistakes());
            }
            Err(mistake) => mistakes.push(mistake),
        }
    }
    mistakes.extend(twice(&configs));
    // After the files, so one of the same scope there comes first (docs/plugin-api.md).
    let mut report = Report::new(ENVIRONMENT);
    configs.extend(of_environment(environment, &mut report).map(|config| (config, String::new())));
    mistakes.extend(report.into_mistakes());
    if mistakes.is_empty() {
        Ok(configs.into_iter().map(|(config, _)| config).collect())
    } else {
        Err(Mistakes(mistakes))
    }
}

/// What `kongtap check-config` says of plugin files: how many configurations there are.
///
/// # Errors
/// As [`read`].
pub fn check(files: &[SourceFile], environment: EnvironmentValues<'_>) -> Result<usize, Mistakes> {
    read(files, environment).map(|configs| configs.len())
}

/// With each configuration goes its key path, for mistakes that only show when all are known.
type Found = (UnboundConfig, String);

#[derive(Clone, Default)]
struct Parents {
    service: Option<Reference>,
    route: Option<Reference>,
    consumer: Option<Reference>,
}

fn of_file(value: &Value, configs: &mut Vec<Found>, report: &mut Report) {
    if value.is_null() {
        return;
    }
    let Some(root) = Fields::of(value, String::new(), report) else {
        return;
    };
    for key in root.map.keys().filter(|key| !COLLECTIONS.contains(&key.as_str())) {
        let hint = suggestion(key, &COLLECTIONS);
        if hint.contains("did you mean") {
            report.wrong(key, format!("is an unknown key{hint}"));
        }
    }
    of_list(&root, &Parents::default(), configs, report);
    for service in root.objects("services", report) {
        let parents = Parents {
            service: own_reference(&service, "name", report),
            ..Parents::default()
        };
        of_list(&service, &parents, configs, report);
        of_routes(&service, configs, report);
    }
    of_routes(&root, configs, report);
    for consumer in root.objects("consumers", report) {
        let parents = Parents {
            consumer: own_reference(&consumer, "username", report),
            ..Parents::default()
        };
        of_list(&consumer, &parents, configs, report);
    }
}

fn of_routes(parent: &Fields<'_>, configs: &mut Vec<Found>, report: &mut Report) {
    for route in parent.objects("routes", report) {
        let parents = Parents {
            route: own_reference(&route, "name", report),
            ..Parents::default()
        };
        of_list(&route, &parents, configs, report);
    }
}

/// How an entity of the file is named by what is nested in it. Without plugins of ours it needs no name.
fn own_reference(entity: &Fields<'_>, name: &str, report: &mut Report) -> Option<Reference> {
    let text = |key: &str| entity.get(key).and_then(Value::as_str).map(str::to_owned);
    let found = text("id")
        .map(Reference::Id)
        .or_else(|| text(name).map(Reference::Name));
    let is_ours = |item: &Value| item.get("name").and_then(Value::as_str) == Some(NAME);
    let has_ours = entity
        .get("plugins")
        .and_then(Value::as_array)
        .is_some_and(|items| items.iter().any(is_ours));
    if found.is_none() && has_ours {
        let text =
            format!("needs a `{name}` or an `id`, so that its `{NAME}` plugin can be tied to the gateway's");
        report.wrong(&entity.path, text);
    }
    found
}

fn of_list(parent: &Fields<'_>, parents: &Parents, configs: &mut Vec<Found>, report: &mut Report) {
    for fields in parent.objects("plugins", report) {
        match fields.string("name", report) {
            Some(NAME) => {
                let path = fields.path.clone();
                configs.extend(config(&fields, parents, report).map(|config| (config, path)));
            }
            Some(_) => {}
            None if fields.get("name").is_none() => report.wrong(&fields.path_of("name"), "name is required"),
            None => {}
        }
    }
}

fn config(fields: &Fields<'_>, parents: &Parents, report: &mut Report) -> Option<UnboundConfig> {
    for name in fields
        .map
        .keys()
        .filter(|name| !PLUGIN_FIELDS.contains(&name.as_str()))
    {
        let text = format!("is an unknown field{}", suggestion(name, &PLUGIN_FIELDS));
        report.wrong(&fields.path_of(name), text);
    }
    if fields.get("consumer_group").is_some() {
        let text = "consumer groups are not supported; name a `consumer`";
        report.wrong(&fields.path_of("consumer_group"), text);
    }
    if !speaks_http(&fields.strings("protocols", report)) {
        report.wrong(
            &fields.path_of("protocols"),
            "none of them is HTTP, so this would never apply",
        );
    }
    let mut parent = |name: &str, nested: Option<&Reference>| {
        let old = format!("{name}_id");
        let written = fields.reference(name, report);
        let by_id = fields.string(&old, report).map(|id| Reference::Id(id.to_owned()));
        if nested.is_some() && (written.is_some() || by_id.is_some()) {
            let text = format!("is given by the {name} that this stands in; leave it out");
            report.wrong(&fields.path_of(name), text);
        }
        nested.cloned().or(written).or(by_id)
    };
    let service = parent("service", parents.service.as_ref());
    let route = parent("route", parents.route.as_ref());
    let consumer = parent("consumer", parents.consumer.as_ref());
    // Of 0.13: a route that is its own service.
    let api = parent("api", None);
    if api.is_some() && (service.is_some() || route.is_some()) {
        report.wrong(&fields.path_of("api"), "cannot stand beside a route or a service");
    }
    let enabled = fields.boolean("enabled", report).unwrap_or(true);
    let settings = schema::settings(fields.get("config"), fields.path_of("config"), report)?;
    Some(UnboundConfig {
        origin: format!("{}: {}", report.origin(), fields.path),
        service,
        route: route.or(api),
        consumer,
        enabled,
        log_body: settings.log_body,
        destination: settings.destination,
    })
}

/// One global configuration, when a token or a bucket is given.
fn of_environment(values: EnvironmentValues<'_>, report: &mut Report) -> Option<UnboundConfig> {
    let given = [
        ("access_token", "KONGTAP_ACCESS_TOKEN", values.access_token),
        ("bucket_key", "KONGTAP_BUCKET_KEY", values.bucket_key),
        ("api_endpoint", "KONGTAP_API_ENDPOINT", values.api_endpoint),
        ("log_body", "KONGTAP_LOG_BODY", values.log_body),
    ];
    let given = given
        .map(|(field, variable, value)| (field, variable, value.filter(|value| !value.trim().is_empty())));
    if given.iter().take(2).all(|(_, _, value)| value.is_none()) {
        return None;
    }
    let set = given
        .iter()
        .filter_map(|(field, _, value)| Some(((*field).to_owned(), Value::from((*value)?))));
    let config = Value::Object(set.collect::<Map<_, _>>());
    // Mistakes name the variable rather than the field that it stands for.
    let mut own = Report::new(ENVIRONMENT);
    let settings = schema::settings(Some(&config), String::new(), &mut own);
    for mistake in own.into_mistakes() {
        let variable = given
            .iter()
            .find(|(field, _, _)| mistake.place == document::Place::Path((*field).to_owned()));
        report.wrong(variable.map_or("", |(_, variable, _)| variable), mistake.text);
    }
    let settings = settings?;
    Some(UnboundConfig {
        origin: ENVIRONMENT.to_owned(),
        service: None,
        route: None,
        consumer: None,
        enabled: true,
        log_body: settings.log_body,
        destination: settings.destination,
    })
}

/// Scopes that are written twice in the same words.
fn twice(configs: &[Found]) -> Vec<document::Mistake> {
    let key = |config: &UnboundConfig| {
        let text = |reference: &Option<Reference>| reference.as_ref().map(|it| it.text().to_owned());
        (text(&config.service), text(&config.route), text(&config.consumer))
    };
    let mut first = HashMap::new();
    let mut mistakes = Vec::new();
    for (config, path) in configs {
        let earlier = first.entry(key(config)).or_insert_with(|| config.origin.clone());
        if *earlier != config.origin {
            let file = config
                .origin
                .strip_suffix(path.as_str())
                .unwrap_or(&config.origin);
            let file = file.strip_suffix(": ").unwrap_or(file);
            let mut report = Report::new(file);
            report.wrong(
                path,
                format!("has the same scope as {earlier}; one of them must go"),
            );
            mistakes.extend(report.into_mistakes());
        }
    }
    mistakes
}
