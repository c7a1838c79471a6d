//! What an explanation rests on: the sources of `runscope` configurations, and what of the gateway's own is not evaluated.
//!
//! In: what each source holds. Out: an [`Account`], in the order in which sources count (docs/plugin-api.md). Deliberately absent:
//! reading them, which is `app::setup`'s.

use serde::Serialize;

use crate::gateway::snapshot::Snapshot;
use crate::plugin::file::ENVIRONMENT;
use crate::plugin::from_gateway::{self, FromGateway};

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The sources of `runscope` configurations, the first of which counts among equal scopes.
    pub sources: Vec<SourceAnswer>,
    /// What of the gateway's configuration is not evaluated, one sentence each.
    pub warnings: Vec<String>,
}

/// One source of `runscope` configurations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceAnswer {
    /// `store`, `files`, `environment` or `gateway`.
    pub source: &'static str,
    /// The files that it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// How many configurations it has, those included that do not apply.
    pub configurations: usize,
    /// What else there is to know: it could not be read, or is not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What the sources hold that kongtap's own configuration names.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    /// The store's file.
    pub store: &'a str,
    /// How many configurations it has.
    pub stored: usize,
    /// Why it may have others.
    pub store_note: Option<&'a str>,
    /// `plugins.files`.
    pub files: &'a [String],
    /// How many configurations they have.
    pub from_files: usize,
    /// How many the environment has: one or none.
    pub from_environment: usize,
    /// Whether the gateway's own are used.
    pub from_gateway: FromGateway,
}

/// The four sources, in the order in which they count.
#[must_use]
pub fn sources(held: Held<'_>, snapshot: &Snapshot) -> Vec<SourceAnswer> {
    let gateway = from_gateway::read(snapshot).len();
    let unused = match held.from_gateway {
        FromGateway::Show if gateway > 0 => Some("not used, as `plugins.from_gateway` is not set"),
        FromGateway::Show | FromGateway::Use => None,
    };
    vec![
        SourceAnswer {
            source: "store",
            files: vec![held.store.to_owned()],
            configurations: held.stored,
            note: held.store_note.map(str::to_owned),
        },
        SourceAnswer {
            source: "files",
            files: held.files.to_vec(),
            configurations: held.from_files,
            note: None,
        },
        SourceAnswer {
            source: ENVIRONMENT,
            files: Vec::new(),
            configurations: held.from_environment,
            note: None,
        },
        SourceAnswer {
            source: "gateway",
            files: Vec::new(),
            configurations: gateway,
            note: unused.map(str::to_owned),
        },
    ]
}
