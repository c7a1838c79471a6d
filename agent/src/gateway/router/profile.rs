//! Which of Kong's routers a gateway runs, and the rules of its version.
//!
//! In: the version and `router_flavor` that a gateway tells of itself, or nothing. Out: a [`RouterProfile`]. Where rules changed is
//! read off Kong's release tags (kong/core/router.lua, kong/router.lua, kong/router/*.lua), not its changelog: 2.3.2 already
//! normalises.

use std::net::IpAddr;

/// A gateway's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KongVersion {
    /// `3` of `3.9.1`.
    pub major: u32,
    /// `9` of `3.9.1`.
    pub minor: u32,
    /// `1` of `3.9.1`.
    pub patch: u32,
}

impl KongVersion {
    /// Reads `3.9.1`, `3.9.1.0-enterprise-edition`, `0.13.1rc1`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(|part| {
            let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().ok()
        });
        Some(Self {
            major: parts.next()??,
            minor: parts.next()??,
            patch: parts.next().flatten().unwrap_or(0),
        })
    }

    const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }
}

/// Kong's `router_flavor`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RouterFlavor {
    /// The only one before 3.0.
    Traditional,
    /// The default since 3.0.
    #[default]
    TraditionalCompatible,
    /// Routes may be expressions.
    Expressions,
}

/// Versions between which the `traditional` router changed what it decides; each is named by its first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Era {
    /// 0.13 and 0.14: hosts, paths and methods; routes in the order of `regex_priority` and age; `apis` are asked afterwards.
    V0_13,
    /// Server names.
    V1_0,
    /// Headers; entries sorted by how specific they are.
    V1_3,
    /// One entry a path; a regular expression is tried before an equal prefix.
    V1_5,
    /// Ports in hosts.
    V2_0,
    /// Server names are not asked of plain requests.
    V2_2,
    /// Prefixes and regular expressions are normalised; a header reduces before anything else.
    V2_4,
    /// `regex_priority` is for regular expressions only.
    V2_6,
    /// Regular expressions in headers.
    V2_8,
    /// `~` marks a regular expression, and routes are normalised before they get here.
    V3_0,
}

/// Versions between which the expression flavours changed what they decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum AtcEra {
    /// One expression a route, however many paths; header values are lower-cased whatever the expression says.
    V3_0,
    /// One expression for each length of prefix and one for the regular expressions.
    V3_3,
    /// An expression lower-cases header values itself.
    V3_6,
    /// Wildcards in server names; `sources` and `destinations` of HTTP routes.
    V3_7,
    /// Newer than the newest whose rules are known: an expression that is refused here may be understood there.
    Newer,
}

/// What of a client's address the gateway believes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ClientAddress {
    /// The connection's: it trusts nobody to name another.
    Peer,
    /// Perhaps another than the connection's, or it is not known.
    #[default]
    Unknown,
}

/// Everything about a gateway that the router depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterProfile {
    /// Which router.
    pub flavor: RouterFlavor,
    /// The version whose rules apply.
    pub version: KongVersion,
    /// Whose address `net.src.ip` is.
    pub client_address: ClientAddress,
}

/// The version that is assumed where a gateway does not tell its own.
const ASSUMED: KongVersion = KongVersion::new(3, 9, 0);
/// The first whose rules were not read.
const UNREAD: KongVersion = KongVersion::new(3, 11, 0);

impl RouterProfile {
    /// The profile of a gateway by what `GET /` says; a current default one where it says nothing.
    #[must_use]
    pub fn of(version: Option<KongVersion>, flavor: Option<&str>) -> Self {
        let version = version.unwrap_or(ASSUMED);
        let by_version = if version < KongVersion::new(3, 0, 0) {
            RouterFlavor::Traditional
        } else {
            RouterFlavor::TraditionalCompatible
        };
        Self {
            flavor: match flavor {
                Some("traditional") => RouterFlavor::Traditional,
                Some("traditional_compatible") => RouterFlavor::TraditionalCompatible,
                Some("expressions") => RouterFlavor::Expressions,
                Some(_) | None => by_version,
            },
            version,
            client_address: ClientAddress::Unknown,
        }
    }

    /// Whether a request's path is normalised: K@2.3.2 kong/router.lua on.
    pub(super) fn normalises_requests(&self) -> bool {
        self.version >= KongVersion::new(2, 3, 2)
    }

    pub(super) fn era(&self) -> Era {
        let from = [
            (KongVersion::new(3, 0, 0), Era::V3_0),
            (KongVersion::new(2, 8, 0), Era::V2_8),
            (KongVersion::new(2, 6, 0), Era::V2_6),
            (KongVersion::new(2, 4, 0), Era::V2_4),
            (KongVersion::new(2, 2, 1), Era::V2_2),
            (KongVersion::new(2, 0, 0), Era::V2_0),
            (KongVersion::new(1, 5, 0), Era::V1_5),
            (KongVersion::new(1, 3, 0), Era::V1_3),
            (KongVersion::new(1, 0, 0), Era::V1_0),
        ];
        let found = from.into_iter().find(|(first, _)| self.version >= *first);
        found.map_or(Era::V0_13, |(_, era)| era)
    }

    pub(super) fn atc_era(&self) -> AtcEra {
        let from = [
            (UNREAD, AtcEra::Newer),
            (KongVersion::new(3, 7, 0), AtcEra::V3_7),
            (KongVersion::new(3, 6, 0), AtcEra::V3_6),
            (KongVersion::new(3, 3, 0), AtcEra::V3_3),
        ];
        let found = from.into_iter().find(|(first, _)| self.version >= *first);
        found.map_or(AtcEra::V3_0, |(_, era)| era)
    }

    /// `address` as the gateway writes it, if it is certain which one it takes.
    pub(super) fn believes(&self, address: IpAddr) -> Option<IpAddr> {
        match self.client_address {
            ClientAddress::Peer => Some(address),
            ClientAddress::Unknown => None,
        }
    }
}

impl Default for RouterProfile {
    fn default() -> Self {
        Self::of(None, None)
    }
}

impl From<RouterFlavor> for RouterProfile {
    fn from(flavor: RouterFlavor) -> Self {
        Self {
            flavor,
            ..Self::default()
        }
    }
}
