//! Credentials in Kong's own forms, which declarative files and the Admin API share.
//!
//! In: [`Fields`] of a consumer, of a file, or of a page of the Admin API. Out: `CredentialForm`s, whose Consumers are resolved once
//! all are known. Passwords and signing secrets are passed over. A list that is not understood is the gateway's business.

use crate::gateway::entities::{CredentialKind, Reference};
use crate::gateway::fields::{Fields, Report};
use crate::telemetry::secret::Secret;

/// What one kind of credential is called.
#[derive(Clone, Copy, Debug)]
pub struct Collection {
    /// The kind.
    pub kind: CredentialKind,
    /// The plugin that asks for it.
    pub plugin: &'static str,
    /// Its list in declarative files.
    pub list: &'static str,
    /// Its list in the Admin API.
    pub path: &'static str,
    /// The field that names it in a request.
    pub identity: &'static str,
}

/// The kinds that say whose a request is. Tokens of `oauth2` are found by way of their credential.
pub const COLLECTIONS: [Collection; 5] = [
    Collection {
        kind: CredentialKind::Key,
        plugin: "key-auth",
        list: "keyauth_credentials",
        path: "key-auths",
        identity: "key",
    },
    Collection {
        kind: CredentialKind::EncryptedKey,
        plugin: "key-auth-enc",
        list: "keyauth_enc_credentials",
        path: "key-auths-enc",
        identity: "key",
    },
    Collection {
        kind: CredentialKind::Basic,
        plugin: "basic-auth",
        list: "basicauth_credentials",
        path: "basic-auths",
        identity: "username",
    },
    Collection {
        kind: CredentialKind::Jwt,
        plugin: "jwt",
        list: "jwt_secrets",
        path: "jwts",
        identity: "key",
    },
    Collection {
        kind: CredentialKind::Hmac,
        plugin: "hmac-auth",
        list: "hmacauth_credentials",
        path: "hmac-auths",
        identity: "username",
    },
];

/// The applications of `oauth2`, and their tokens: lists in files, paths of the Admin API.
pub const APPLICATIONS: (&str, &str) = ("oauth2_credentials", "oauth2");
/// See [`APPLICATIONS`].
pub const TOKENS: (&str, &str) = ("oauth2_tokens", "oauth2_tokens");

/// Credentials as they are written, with how they name their consumers.
#[derive(Debug, Default)]
pub struct CredentialForms {
    /// Each with its consumer.
    pub credentials: Vec<(CredentialKind, Secret, Reference)>,
    /// Applications: how they may be named, and their consumers.
    applications: Vec<([Option<String>; 2], Reference)>,
    /// Tokens, with the applications that they name.
    tokens: Vec<(Secret, String)>,
}

impl CredentialForms {
    /// All lists of one object: a consumer, which owns them, or a whole file.
    pub fn lists(&mut self, parent: &Fields<'_>, owner: Option<&str>, report: &mut Report) {
        for collection in &COLLECTIONS {
            for fields in parent.objects(collection.list, report) {
                self.credential(collection, &fields, owner, report);
            }
        }
        for fields in parent.objects(APPLICATIONS.0, report) {
            self.application(&fields, owner, report);
        }
        for fields in parent.objects(TOKENS.0, report) {
            self.token(&fields, None, report);
        }
    }

    /// One credential. Without a consumer it is nobody's, and passed over.
    pub fn credential(
        &mut self,
        collection: &Collection,
        fields: &Fields<'_>,
        owner: Option<&str>,
        report: &mut Report,
    ) {
        let identity = fields.string(collection.identity, report);
        if let (Some(identity), Some(consumer)) = (identity, consumer(fields, owner, report)) {
            self.credentials
                .push((collection.kind, Secret::new(identity), consumer));
        }
    }

    /// One application of `oauth2`, and the tokens that stand within it.
    pub fn application(&mut self, fields: &Fields<'_>, owner: Option<&str>, report: &mut Report) {
        let names = ["id", "client_id"].map(|name| fields.string(name, report).map(str::to_owned));
        let Some(consumer) = consumer(fields, owner, report) else {
            return;
        };
        for token in fields.objects(TOKENS.0, report) {
            if let Some(text) = token.string("access_token", report) {
                self.credentials
                    .push((CredentialKind::Token, Secret::new(text), consumer.clone()));
            }
        }
        self.applications.push((names, consumer));
    }

    /// One token; `credential` is its application, or before 1.0 `credential_id`.
    pub fn token(&mut self, fields: &Fields<'_>, application: Option<&str>, report: &mut Report) {
        let named = fields.reference("credential", report);
        let old = fields.string("credential_id", report).map(str::to_owned);
        let application = application
            .map(str::to_owned)
            .or_else(|| named.map(|reference| reference.text().to_owned()))
            .or(old);
        if let (Some(text), Some(application)) = (fields.string("access_token", report), application) {
            self.tokens.push((Secret::new(text), application));
        }
    }

    /// Everything, tokens with the consumers of their applications.
    #[must_use]
    pub fn finish(self) -> Vec<(CredentialKind, Secret, Reference)> {
        let mut all = self.credentials;
        let owners: std::collections::HashMap<&str, &Reference> = self
            .applications
            .iter()
            .flat_map(|(names, consumer)| names.iter().flatten().map(move |name| (name.as_str(), consumer)))
            .collect();
        for (token, application) in self.tokens {
            if let Some(consumer) = owners.get(application.as_str()) {
                all.push((CredentialKind::Token, token, (*consumer).clone()));
            }
        }
        all
    }
}

fn consumer(fields: &Fields<'_>, owner: Option<&str>, report: &mut Report) -> Option<Reference> {
    if let Some(owner) = owner {
        return Some(Reference::Id(owner.to_owned()));
    }
    if let Some(reference) = fields.reference("consumer", report) {
        return Some(reference);
    }
    let old = fields.string("consumer_id", report);
    old.map(|id| Reference::Id(id.to_owned()))
}
