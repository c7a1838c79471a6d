//! Workspaces of Kong Enterprise.
//!
//! Every entity is in one, and a plugin works in its own only; requests are routed among the routes of all of them. The default
//! workspace is written `None` here, like the only one that a gateway without workspaces has.

use std::sync::Arc;

/// The workspace that is always there.
pub const DEFAULT: &str = "default";

/// A workspace by its name.
#[must_use]
pub fn of_name(name: &str) -> Option<Arc<str>> {
    (name != DEFAULT).then(|| Arc::from(name))
}
