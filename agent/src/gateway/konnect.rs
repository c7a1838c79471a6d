//! The gateway's entities from a Konnect control plane, for data planes, which have no Admin API of their own.
//!
//! In: a region or address, the control plane's id, a token. Out: a [`Reading`] of the `core-entities` lists, which are those of an
//! Admin API [Konnect API v2, Control Planes Configuration]. Deliberately absent: what the data plane says of itself; its version
//! and router come from kongtap's own configuration, and nothing tells a change but reading.

use std::fmt;

use crate::gateway::collections::{Collection, Gathered, credentials, groups};
use crate::gateway::forms::RegexMark;
use crate::gateway::router::RouterProfile;
use crate::gateway::source::api_client::{Allowance, ApiClient, ApiOptions};
use crate::gateway::source::{ApiKind, Fingerprint, Reading, SourceError};

#[cfg(test)]
mod tests;

/// The lists that are read. A control plane has no APIs of 0.13.
const COLLECTIONS: [Collection; 4] = [
    Collection::Services,
    Collection::Routes,
    Collection::Consumers,
    Collection::Plugins,
];

/// A control plane.
#[derive(Debug)]
pub struct Konnect {
    client: ApiClient,
    control_plane_id: String,
    profile: RouterProfile,
}

impl fmt::Display for Konnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} control plane {}", self.client, self.control_plane_id)
    }
}

/// The address of a region's API.
#[must_use]
pub fn address_of(region: &str) -> String {
    format!("https://{region}.api.konghq.com")
}

impl Konnect {
    /// Sets up a client; asks nothing yet. `profile` is the data plane's router.
    ///
    /// # Errors
    /// Those of [`ApiClient::new`].
    pub fn new(
        options: ApiOptions,
        control_plane_id: String,
        profile: RouterProfile,
    ) -> Result<Self, SourceError> {
        Ok(Self {
            client: ApiClient::new(ApiKind::Konnect, options)?,
            control_plane_id,
            profile,
        })
    }

    /// Everything.
    ///
    /// # Errors
    /// Any [`SourceError`] of an API.
    pub async fn fetch(&self) -> Result<Reading, SourceError> {
        // A control plane writes regular expressions as Kong 3 does.
        let mut gathered = Gathered::new(&self.client.to_string(), RegexMark::Tilde);
        let mut allowance = Allowance::default();
        let base = ["v2", "control-planes", &self.control_plane_id, "core-entities"];
        for collection in COLLECTIONS {
            gathered.begin();
            let path = [&base[..], &[collection.path()]].concat();
            let take = |items| gathered.page(collection, None, items);
            self.client.pages(&path, &mut allowance, take).await?;
        }
        groups::read(&self.client, &base, &mut gathered, &mut allowance).await?;
        credentials::read(&self.client, &base, None, &mut gathered, &mut allowance).await;
        let listed = gathered.finish();
        Ok(Reading {
            entities: listed.entities,
            profile: self.profile,
            notes: listed.notes,
            facts: None,
            fingerprint: Fingerprint {
                cheap: None,
                contents: listed.contents,
            },
        })
    }
}
