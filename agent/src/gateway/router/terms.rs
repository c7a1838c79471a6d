//! The conditions that both engines share, each of which answers yes, no or perhaps.

use crate::gateway::entities::Route;
use crate::gateway::snapshot::SnapshotWarning;

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    No,
    Perhaps,
    Yes,
}

impl Verdict {
    pub(super) const fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }

    pub(super) const fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Perhaps => Self::Perhaps,
            Self::Yes => Self::No,
        }
    }

    /// Both; the other is not asked when the first says no.
    pub(super) fn and(self, other: impl FnOnce() -> Self) -> Self {
        match (self, if self == Self::No { Self::No } else { other() }) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            (Self::Perhaps, _) | (_, Self::Perhaps) => Self::Perhaps,
        }
    }

    /// Either; the other is not asked when the first says yes.
    pub(super) fn or(self, other: impl FnOnce() -> Self) -> Self {
        self.not().and(|| other().not()).not()
    }

    /// Any of them.
    pub(super) fn any(verdicts: impl Iterator<Item = Self>) -> Self {
        let mut best = Self::No;
        for verdict in verdicts {
            match verdict {
                Self::Yes => return Self::Yes,
                Self::Perhaps => best = Self::Perhaps,
                Self::No => {}
            }
        }
        best
    }

    /// All of them.
    pub(super) fn all(verdicts: impl Iterator<Item = Self>) -> Self {
        Self::any(verdicts.map(Self::not)).not()
    }
}

/// Notes what is not evaluated, by the route's name.
pub(super) fn warn(route: &Route, what: &str, warnings: &mut Vec<SnapshotWarning>) {
    let kind = if route.api.is_some() { "api" } else { "route" };
    warnings.push(SnapshotWarning {
        entity: format!("{kind} {}", route.name.as_deref().unwrap_or(&route.id)),
        text: what.to_owned(),
    });
}

/// What is said of a route that asks for a server name.
pub(super) const ASKS_SERVER_NAME: &str = "asks for the server name of the TLS handshake, which is not seen: TLS requests that it may take have no known route";

/// What is said of a route that asks for a client's address which nobody can be certain of.
pub(super) const ASKS_CLIENT: &str = "asks for the client's address, which is not certain (the gateway trusts proxies, or does not say whom it trusts): requests that it may take have no known route";

/// What is said of a route that stays in and answers "perhaps".
pub(super) const UNKNOWN_FOR: &str = "requests that it may take have no known route";
