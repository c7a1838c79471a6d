//! Credentials in Kong's own forms, which declarative files and the Admin API share.
//!
//! In: [`Fields`] of a consumer, of a file, or of a page of the Admin API. Out: `CredentialForm`s, whose Consumers are resolved once
//! all are known. Passwords and signing secrets are passed over. A list that is not understood is the gateway's business.

use std::collections::HashMap;
use std::sync::Arc;

use crate::gateway::entities::{CredentialKind, Reference};
use crate::gateway::fields::{Fields, Report};
use crate::telemetry::secret::Secret;

/// What one kind of credential is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialList {
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
pub const LISTS: [CredentialList; 5] = [
    CredentialList {
        kind: CredentialKind::Key,
        plugin: "key-auth",
        list: "keyauth_credentials",
        path: "key-auths",
        identity: "key",
    },
    CredentialList {
        kind: CredentialKind::EncryptedKey,
        plugin: "key-auth-enc",
        list: "keyauth_enc_credentials",
        path: "key-auths-enc",
        identity: "key",
    },
    CredentialList {
        kind: CredentialKind::Basic,
        plugin: "basic-auth",
        list: "basicauth_credentials",
        path: "basic-auths",
        identity: "username",
    },
    CredentialList {
        kind: CredentialKind::Jwt,
        plugin: "jwt",
        list: "jwt_secrets",
        path: "jwts",
        identity: "key",
    },
    CredentialList {
        kind: CredentialKind::Hmac,
        plugin: "hmac-auth",
        list: "hmacauth_credentials",
        path: "hmac-auths",
        identity: "username",
    },
];

/// The applications of `oauth2`, and their tokens: lists in files, paths of the Admin API.
const APPLICATIONS: (&str, &str) = ("oauth2_credentials", "oauth2");
/// See [`APPLICATIONS`].
const TOKENS: (&str, &str) = ("oauth2_tokens", "oauth2_tokens");

/// A list of the Admin API that says whose credentials are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiList {
    /// Of one kind of credential.
    Of(&'static CredentialList),
    /// The applications of `oauth2`.
    Applications,
    /// Their tokens.
    Tokens,
}

impl ApiList {
    /// All that there are.
    pub fn all() -> impl Iterator<Item = Self> {
        LISTS
            .iter()
            .map(Self::Of)
            .chain([Self::Applications, Self::Tokens])
    }

    /// The last part of its address.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Of(list) => list.path,
            Self::Applications => APPLICATIONS.1,
            Self::Tokens => TOKENS.1,
        }
    }

    /// The plugin that asks for what is in it.
    #[must_use]
    pub const fn plugin(self) -> &'static str {
        match self {
            Self::Of(list) => list.plugin,
            Self::Applications | Self::Tokens => "oauth2",
        }
    }

    /// What cannot be said without it.
    #[must_use]
    pub const fn kind(self) -> CredentialKind {
        match self {
            Self::Of(list) => list.kind,
            Self::Applications | Self::Tokens => CredentialKind::Token,
        }
    }
}

/// A credential as it is written.
#[derive(Debug)]
pub struct CredentialForm {
    /// What it is.
    pub kind: CredentialKind,
    /// What a request shows.
    pub identity: Secret,
    /// How it names its consumer.
    pub consumer: Reference,
    /// Its workspace.
    pub workspace: Option<Arc<str>>,
}

/// An entity within its workspace.
type Within = (Option<Arc<str>>, String);

/// Credentials as they are written, with how they name their consumers.
#[derive(Debug, Default)]
pub struct CredentialForms {
    /// The workspace of what is being read.
    pub workspace: Option<Arc<str>>,
    credentials: Vec<CredentialForm>,
    /// The consumers of applications, by what names those.
    applications: HashMap<Within, Reference>,
    /// Tokens, with the applications that they name.
    tokens: Vec<(Secret, Within)>,
}

impl CredentialForms {
    /// All lists of one object: a consumer, which owns them, or a whole file.
    pub fn lists(&mut self, parent: &Fields<'_>, owner: Option<&str>, report: &mut Report) {
        for list in &LISTS {
            for fields in parent.objects(list.list, report) {
                self.credential(list, &fields, owner, report);
            }
        }
        for fields in parent.objects(APPLICATIONS.0, report) {
            self.application(&fields, owner, report);
        }
        for fields in parent.objects(TOKENS.0, report) {
            self.token(&fields, report);
        }
    }

    /// One item of a list of the Admin API.
    pub fn item(&mut self, list: ApiList, fields: &Fields<'_>, report: &mut Report) {
        match list {
            ApiList::Of(list) => self.credential(list, fields, None, report),
            ApiList::Applications => self.application(fields, None, report),
            ApiList::Tokens => self.token(fields, report),
        }
    }

    /// One credential. Without a consumer it is nobody's, and passed over.
    fn credential(
        &mut self,
        list: &CredentialList,
        fields: &Fields<'_>,
        owner: Option<&str>,
        report: &mut Report,
    ) {
        let identity = fields.string(list.identity, report);
        if let (Some(identity), Some(consumer)) = (identity, consumer(fields, owner, report)) {
            self.push(list.kind, Secret::new(identity), consumer);
        }
    }

    /// One application of `oauth2`, and the tokens that stand within it.
    fn application(&mut self, fields: &Fields<'_>, owner: Option<&str>, report: &mut Report) {
        let names = ["id", "client_id"].map(|name| fields.string(name, report));
        let Some(consumer) = consumer(fields, owner, report) else {
            return;
        };
        for token in fields.objects(TOKENS.0, report) {
            if let Some(text) = token.string("access_token", report) {
                self.push(CredentialKind::Token, Secret::new(text), consumer.clone());
            }
        }
        for name in names.into_iter().flatten() {
            let application = (self.workspace.clone(), name.to_owned());
            self.applications.insert(application, consumer.clone());
        }
    }

    /// One token; `credential` is its application, or before 1.0 `credential_id`.
    fn token(&mut self, fields: &Fields<'_>, report: &mut Report) {
        let named = fields.reference("credential", report);
        let old = fields.string("credential_id", report).map(str::to_owned);
        let application = named.map(|reference| reference.text().to_owned()).or(old);
        if let (Some(text), Some(application)) = (fields.string("access_token", report), application) {
            let application = (self.workspace.clone(), application);
            self.tokens.push((Secret::new(text), application));
        }
    }

    fn push(&mut self, kind: CredentialKind, identity: Secret, consumer: Reference) {
        let workspace = self.workspace.clone();
        self.credentials.push(CredentialForm {
            kind,
            identity,
            consumer,
            workspace,
        });
    }

    /// Whether there is any token of `oauth2`.
    #[must_use]
    pub fn has_tokens(&self) -> bool {
        let is_token = |form: &CredentialForm| form.kind == CredentialKind::Token;
        !self.tokens.is_empty() || self.credentials.iter().any(is_token)
    }

    /// Everything, tokens with the consumers of their applications.
    #[must_use]
    pub fn finish(self) -> Vec<CredentialForm> {
        let mut all = self.credentials;
        for (identity, application) in self.tokens {
            let consumer = self.applications.get(&application).cloned();
            all.extend(consumer.map(|consumer| CredentialForm {
                kind: CredentialKind::Token,
                identity,
                consumer,
                workspace: application.0,
            }));
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
