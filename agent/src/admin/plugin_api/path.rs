//! What a path names.
//!
//! In: the path of a request target. Out: a [`Target`]. A slash at the end counts for nothing, as with Kong.

use super::Kind;
use super::dialect::Dialect;
use super::draft::KINDS;

/// What a call is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// All configurations, or those below an entity.
    Collection(Option<Parent>),
    /// One of them, by its id or name.
    Item(Option<Parent>, String),
    /// Which plugins there are.
    Enabled,
    /// The fields of a plugin.
    Schema(SchemaForm, String),
}

/// An entity as a path names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Which kind.
    pub kind: Kind,
    /// Its id or name.
    pub key: String,
}

/// How much of a schema is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaForm {
    /// The plugin's own fields: `/plugins/schema/{name}`.
    Config,
    /// The whole entity's: `/schemas/plugins/{name}` (since Kong 1.0).
    Entity,
}

/// Reads a path.
#[must_use]
pub fn parse(path: &str, dialect: Dialect) -> Option<Target> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let steps: Vec<String> = path.strip_prefix('/')?.split('/').map(unescape).collect();
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    if steps.iter().any(|step| step.is_empty()) {
        return None;
    }
    let current = dialect == Dialect::Current;
    match steps.as_slice() {
        ["plugins"] => Some(Target::Collection(None)),
        ["plugins", "enabled"] => Some(Target::Enabled),
        ["plugins", "schema", name] => Some(Target::Schema(SchemaForm::Config, (*name).to_owned())),
        ["schemas", "plugins", name] if current => {
            Some(Target::Schema(SchemaForm::Entity, (*name).to_owned()))
        }
        ["plugins", key] => Some(Target::Item(None, (*key).to_owned())),
        [collection, key, "plugins"] => {
            let parent = parent(collection, key, dialect)?;
            Some(Target::Collection(Some(parent)))
        }
        [collection, key, "plugins", plugin] => {
            let parent = parent(collection, key, dialect)?;
            // In 0.13 only APIs and Consumers had their plugins' own paths.
            let has_items = current || matches!(parent.kind, Kind::Api | Kind::Consumer);
            has_items.then(|| Target::Item(Some(parent), (*plugin).to_owned()))
        }
        _ => None,
    }
}

fn parent(collection: &str, key: &str, dialect: Dialect) -> Option<Parent> {
    let kind = KINDS.into_iter().find(|kind| kind.collection() == collection)?;
    let exists = match kind {
        Kind::Service | Kind::Route | Kind::Consumer => true,
        // APIs ended with Kong 1.0.
        Kind::Api => dialect == Dialect::Old,
        Kind::ConsumerGroup => dialect == Dialect::Current,
    };
    let key = key.to_owned();
    exists.then_some(Parent { kind, key })
}

/// Percent-decodes a step (RFC 3986 section 2.1); what is not UTF-8 then names nothing.
fn unescape(step: &str) -> String {
    // The form decoder does it, but for the plus sign, which stands for itself in a path.
    let pair = step.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    let mut decoded = url::form_urlencoded::parse(pair.as_bytes());
    decoded
        .next()
        .map_or_else(String::new, |(key, _)| key.into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::super::dialect::Dialect;
    use super::{Parent, SchemaForm, Target, parse};

    #[test]
    fn paths_name_what_kong_has_there() {
        let parent = |kind, key: &str| Parent {
            kind,
            key: key.to_owned(),
        };
        for (path, old, current) in [
            ("/plugins", Some(Target::Collection(None)), true),
            ("/plugins/", Some(Target::Collection(None)), true),
            ("/plugins/x", Some(Target::Item(None, "x".into())), true),
            ("/plugins/enabled", Some(Target::Enabled), true),
            (
                "/plugins/schema/runscope",
                Some(Target::Schema(SchemaForm::Config, "runscope".into())),
                true,
            ),
            (
                "/services/a%20b%2fc+d/plugins/",
                Some(Target::Collection(Some(parent(Kind::Service, "a b/c+d")))),
                true,
            ),
            (
                "/consumers/al/plugins/x",
                Some(Target::Item(Some(parent(Kind::Consumer, "al")), "x".into())),
                true,
            ),
            ("/services/a/plugins/x", None, true),
            ("/schemas/plugins/runscope", None, true),
            (
                "/apis/a/plugins",
                Some(Target::Collection(Some(parent(Kind::Api, "a")))),
                false,
            ),
            ("/services", None, false),
            ("/services//plugins", None, false),
            ("/plugins/x/y", None, false),
            ("/upstreams/a/plugins", None, false),
            ("plugins", None, false),
            ("/", None, false),
        ] {
            assert_eq!(parse(path, Dialect::Old), old, "{path}");
            assert_eq!(parse(path, Dialect::Current).is_some(), current, "{path}");
        }
    }
}
