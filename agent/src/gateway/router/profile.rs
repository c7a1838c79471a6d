//! Which of Kong's routers a gateway runs, and its rules for paths.
//!
//! In: the version and `router_flavor` that a gateway tells of itself, or nothing. Out: a [`RouterProfile`].

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
    /// Routes may be expressions, which are not evaluated here.
    Expressions,
}

/// What is normalised before paths are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathRules {
    /// The request's path: since 2.3.3.
    pub normalise_request: bool,
    /// The routes' prefixes: since 2.4.
    pub normalise_routes: bool,
}

/// Everything about a gateway that the router depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterProfile {
    /// Which router.
    pub flavor: RouterFlavor,
    /// Its path rules.
    pub paths: PathRules,
}

impl RouterProfile {
    /// The profile of a gateway by what `GET /` says; a current default one where it says nothing.
    #[must_use]
    pub fn of(version: Option<KongVersion>, flavor: Option<&str>) -> Self {
        let current = KongVersion::new(3, 0, 0);
        let version = version.unwrap_or(current);
        let by_version = if version < current {
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
            paths: PathRules {
                normalise_request: version >= KongVersion::new(2, 3, 3),
                normalise_routes: version >= KongVersion::new(2, 4, 0),
            },
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
