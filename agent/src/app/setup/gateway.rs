//! Where the gateway's configuration comes from, and what kongtap's own says of the gateway.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::config::{Config, Flavor, GatewayConfig, KonnectConfig, SecretSource};
use crate::gateway::admin_api::AdminApi;
use crate::gateway::admin_api::facts::GatewayFacts;
use crate::gateway::konnect::{self, Konnect};
use crate::gateway::ports::PortMap;
use crate::gateway::router::{KongVersion, RouterProfile};
use crate::gateway::source::api_client::{ApiOptions, ApiTls, Credential, SecretAt, Trust};
use crate::gateway::source::{FileSource, Pace, Source, SourceError, chain};

/// How long the Admin API, or Konnect, may take for one answer.
const API_TIMEOUT: Duration = Duration::from_secs(10);

/// The source that the configuration names; files win over an Admin API.
///
/// # Errors
/// The API's address is none, or a certificate cannot be used.
pub fn source(config: &Config) -> Result<Option<Source>, SourceError> {
    let gateway = &config.gateway;
    if !gateway.files.is_empty() {
        let files = FileSource {
            paths: gateway.files.clone(),
            profile: profile(config),
            lookup: environment,
        };
        return Ok(Some(Source::Files(files)));
    }
    if let Some(konnect) = &gateway.konnect {
        let id = konnect.control_plane_id.clone();
        let konnect = Konnect::new(konnect_options(konnect), id, profile(config))?;
        return Ok(Some(Source::Konnect(konnect)));
    }
    let Some(url) = &gateway.admin_url else {
        return Ok(None);
    };
    let api = AdminApi::new(admin_options(gateway, url), gateway.workspaces.clone())?;
    Ok(Some(Source::AdminApi(api)))
}

fn admin_options(gateway: &GatewayConfig, url: &str) -> ApiOptions {
    let token = gateway.admin_token.clone().map(SecretAt::Text);
    let token = token.or_else(|| gateway.admin_token_file.clone().map(SecretAt::File));
    let mut headers: Vec<_> = token
        .map(|value| ("kong-admin-token".to_owned(), Credential { prefix: "", value }))
        .into_iter()
        .collect();
    for (name, source) in &gateway.admin_headers {
        let value = match source {
            SecretSource::Text(secret) => SecretAt::Text(secret.clone()),
            SecretSource::File(path) => SecretAt::File(path.clone()),
            // A mistake, reported by the configuration's check.
            SecretSource::Environment(_) => continue,
        };
        headers.push((name.clone(), Credential { prefix: "", value }));
    }
    let trust = match &gateway.admin_ca {
        Some(path) => Trust::Only(path.clone()),
        None if gateway.admin_tls_verify => Trust::Host,
        None => Trust::Anybody,
    };
    let identity = gateway.admin_client_cert.clone();
    ApiOptions {
        url: url.to_owned(),
        headers,
        timeout: API_TIMEOUT,
        tls: ApiTls {
            trust,
            identity: identity.zip(gateway.admin_client_key.clone()),
        },
    }
}

fn konnect_options(konnect: &KonnectConfig) -> ApiOptions {
    let token = konnect.token.clone().map(SecretAt::Text);
    let token = token.or_else(|| konnect.token_file.clone().map(SecretAt::File));
    let bearer = token.map(|value| Credential {
        prefix: "Bearer ",
        value,
    });
    let region = konnect.region.as_deref().unwrap_or_default();
    let address = konnect.address.clone();
    ApiOptions {
        url: address.unwrap_or_else(|| konnect::address_of(region)),
        headers: bearer
            .into_iter()
            .map(|token| ("authorization".to_owned(), token))
            .collect(),
        timeout: API_TIMEOUT,
        tls: ApiTls::default(),
    }
}

/// Where decK's placeholders find their values.
pub(super) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// How often the source is looked at.
#[must_use]
pub const fn pace(config: &Config) -> Pace {
    Pace {
        interval: Duration::from_secs(config.gateway.refresh_seconds),
        full: Duration::from_secs(config.gateway.full_refresh_seconds),
    }
}

/// The mapped ports that kongtap's own configuration names.
#[must_use]
pub fn ports(config: &Config) -> PortMap {
    // What is none was refused by the configuration's check.
    PortMap::parse(config.gateway.port_maps.iter().map(String::as_str)).unwrap_or_default()
}

pub(super) fn profile(config: &Config) -> RouterProfile {
    let flavor = match config.gateway.router_flavor {
        Flavor::Auto => None,
        Flavor::Traditional => Some("traditional"),
        Flavor::TraditionalCompatible => Some("traditional_compatible"),
        Flavor::Expressions => Some("expressions"),
    };
    let version = config.gateway.version.as_deref().and_then(KongVersion::parse);
    RouterProfile::of(version, flavor)
}

pub(super) async fn facts(api: &AdminApi) -> Option<GatewayFacts> {
    match api.facts().await {
        Ok(facts) => Some(facts),
        Err(error) => {
            tracing::warn!(
                error = chain(&error),
                "The Admin API does not answer; going on, and trying again."
            );
            None
        }
    }
}

/// Ports of the gateway's Admin and Status API.
#[must_use]
pub fn api_ports(facts: Option<&GatewayFacts>) -> BTreeSet<u16> {
    facts
        .into_iter()
        .flat_map(|facts| facts.admin_listeners.iter().chain(&facts.status_listeners))
        .filter_map(|listener| listener.port)
        .collect()
}

#[cfg(test)]
mod tests;
