//! Lists, a page at a time.
//!
//! In: a call with `size` and `offset`, and filters. Out: a page in the dialect's form. Pages are in the order of ids and an
//! offset is the last id, so a list that changes between two pages neither repeats nor skips what stays.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::dialect::{Dialect, Refusal};
use super::{Call, Found, World, is_below};
use crate::plugin::file::NAME;
use crate::plugin::stored::StoredPlugin;

/// Configurations on a page when nothing is said.
const PAGE: usize = 100;
/// The most on a page [Kong 3.9 kong/api/endpoints.lua].
const LARGEST_PAGE: usize = 1000;

/// The page that a call asks for.
pub(super) fn page(call: &Call, world: &World<'_>, parent: Option<&Found>) -> Result<Value, Refusal> {
    let of = |name: &str| {
        call.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    };
    let size = match of("size") {
        None => PAGE,
        Some(text) => size(text, world.dialect)?,
    };
    let after = of("offset").map(|text| decode(text)).transpose()?;
    let mut plugins: Vec<&StoredPlugin> = world
        .plugins
        .iter()
        .filter(|plugin| parent.is_none_or(|parent| is_below(plugin, parent, world.snapshot)))
        .collect();
    for (name, value) in &call.query {
        if name == "size" || name == "offset" {
            continue;
        }
        filter(&mut plugins, name, value, world)?;
    }
    let total = plugins.len();
    plugins.sort_by(|one, other| one.id.cmp(&other.id));
    plugins.retain(|plugin| after.as_ref().is_none_or(|after| plugin.id > *after));
    let has_more = plugins.len() > size;
    plugins.truncate(size);
    let last = plugins.last().map(|plugin| encode(&plugin.id));
    let offset = last.filter(|_| has_more);
    let data: Vec<Value> = plugins
        .into_iter()
        .map(|plugin| world.dialect.entity(plugin, world.snapshot, call.tokens))
        .collect();
    let path = parent.map_or_else(
        || "/plugins".to_owned(),
        |parent| format!("/{}/{}/plugins", parent.kind.collection(), parent.id),
    );
    Ok(match world.dialect {
        Dialect::Old => old(call, data, total, offset, size),
        Dialect::Current => {
            // Below a parent Kong drops `size` [Kong 3.9 kong/api/endpoints.lua].
            let size = of("size").filter(|_| parent.is_none());
            current(data, offset, &path, size.map(String::as_str), of("tags"))
        }
    })
}

fn old(call: &Call, data: Vec<Value>, total: usize, offset: Option<String>, size: usize) -> Value {
    let mut page = json!({"data": data, "total": total});
    if let (Some(offset), Value::Object(page)) = (offset, &mut page) {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in &call.query {
            if name != "size" && name != "offset" {
                query.append_pair(name, value);
            }
        }
        query.append_pair("size", &size.to_string());
        let next = query.append_pair("offset", &offset).finish();
        page.insert(
            "next".to_owned(),
            Value::from(format!("{}{}?{next}", call.base, call.path)),
        );
        page.insert("offset".to_owned(), Value::from(offset));
    }
    page
}

fn current(
    data: Vec<Value>,
    offset: Option<String>,
    path: &str,
    size: Option<&str>,
    tags: Option<&String>,
) -> Value {
    let mut page = Map::from_iter([("data".to_owned(), Value::from(data))]);
    let mut next = Value::Null;
    if let Some(offset) = offset {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("offset", &offset);
        if let Some(tags) = tags {
            query.append_pair("tags", tags);
        }
        if let Some(size) = size {
            query.append_pair("size", size);
        }
        next = Value::from(format!("{path}?{}", query.finish()));
        page.insert("offset".to_owned(), Value::from(offset));
    }
    page.insert("next".to_owned(), next);
    Value::Object(page)
}

fn size(text: &str, dialect: Dialect) -> Result<usize, Refusal> {
    match (text.parse::<usize>(), dialect) {
        (Ok(size), _) if (1..=LARGEST_PAGE).contains(&size) => Ok(size),
        // What is no number counted as nothing said [Kong 0.13.1 kong/api/crud_helpers.lua].
        (Ok(size), Dialect::Old) if size > LARGEST_PAGE => Ok(LARGEST_PAGE),
        (_, Dialect::Old) => Ok(PAGE),
        (Err(_), Dialect::Current) if text.parse::<f64>().is_err() => {
            Err(Refusal::BadSize("size must be a number"))
        }
        (_, Dialect::Current) => Err(Refusal::BadSize("size must be an integer between 1 and 1000")),
    }
}

/// An offset is opaque to clients; like Kong's it is the primary key in base64.
fn encode(id: &str) -> String {
    STANDARD.encode(json!([id]).to_string())
}

fn decode(text: &str) -> Result<String, Refusal> {
    let bad = || Refusal::BadOffset(text.to_owned());
    let bytes = STANDARD.decode(text).map_err(|_error| bad())?;
    let keys: Vec<String> = serde_json::from_slice(&bytes).map_err(|_error| bad())?;
    keys.into_iter().next().ok_or_else(bad)
}

/// Filters by query: every field in 0.13, only tags since 1.0.
fn filter(
    plugins: &mut Vec<&StoredPlugin>,
    name: &str,
    value: &str,
    world: &World<'_>,
) -> Result<(), Refusal> {
    match world.dialect {
        Dialect::Old => {
            if !Dialect::Old.is_filter(name) {
                return Err(Refusal::UnknownFilter(name.to_owned()));
            }
            let is_so = |plugin: &&StoredPlugin| match name {
                "name" => value == NAME,
                other => {
                    let shown = Dialect::Old.scope_field(plugin, other, world.snapshot);
                    shown.is_some_and(|shown| shown.eq_ignore_ascii_case(value))
                }
            };
            plugins.retain(is_so);
        }
        Dialect::Current => {
            if name == "tags" {
                let has = |plugin: &&StoredPlugin, tag: &str| {
                    let mut tags = plugin.tags.iter().flatten();
                    tags.any(|own| own == tag)
                };
                plugins.retain(|plugin| {
                    if value.contains(',') {
                        value.split(',').all(|tag| has(plugin, tag))
                    } else {
                        value.split('/').any(|tag| has(plugin, tag))
                    }
                });
            }
        }
    }
    Ok(())
}
