//! Whose credential a request shows, without keeping any.
//!
//! In: [`Credential`]s of one reading. Out: the [`Consumer`] of one that a request shows. What is kept is a keyed hash (HMAC-SHA-256,
//! cut to 128 bits) under a key that is drawn for each reading and never leaves it, so that neither memory nor a dump of it
//! holds a credential. One look-up costs one hash, however many consumers there are.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;

use crate::gateway::entities::{Consumer, Credential, CredentialKind};
use crate::gateway::workspace;

/// The most credentials that are kept of one reading: 48 MiB of table or so. What comes later counts as not read.
pub const MAX_CREDENTIALS: usize = 1_000_000;

/// Bytes of a hash that are kept.
const KEPT_BYTES: usize = 16;

type Hash = [u8; KEPT_BYTES];

/// Credentials by their hashes.
#[derive(Default)]
pub struct Store {
    /// `None`: the system gave no randomness, and nothing was read.
    key: Option<hmac::Key>,
    consumers: HashMap<Hash, Arc<Consumer>>,
    unread: BTreeSet<CredentialKind>,
}

/// Whose a credential is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner<'a> {
    /// This Consumer's.
    Consumer(&'a Arc<Consumer>),
    /// Nobody's: the gateway has no such credential.
    Stranger,
    /// Not all credentials of this kind could be read.
    Unread,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("credentials", &self.consumers.len())
            .field("unread", &self.unread)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Hashes credentials; those of consumers that `consumer_of` does not know are passed over, as the gateway would.
    pub(in crate::gateway) fn of<'a>(
        credentials: Vec<Credential>,
        unread: BTreeSet<CredentialKind>,
        consumer_of: impl Fn(&str) -> Option<&'a Arc<Consumer>>,
    ) -> Self {
        let mut store = Self {
            key: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok(),
            consumers: HashMap::new(),
            unread,
        };
        for credential in credentials {
            let workspace = credential.workspace.as_deref();
            let hash = store.hash(
                credential.kind,
                workspace,
                credential.identity.expose().as_bytes(),
            );
            let is_full = store.consumers.len() >= MAX_CREDENTIALS;
            match (hash, consumer_of(&credential.consumer_id)) {
                (Some(hash), Some(consumer)) if !is_full => {
                    store.consumers.insert(hash, Arc::clone(consumer));
                }
                (_, None) => {}
                (Some(_) | None, Some(_)) => {
                    store.unread.insert(credential.kind);
                }
            }
        }
        store
    }

    /// Whose `identity` is in a workspace.
    #[must_use]
    pub fn owner(&self, kind: CredentialKind, workspace: Option<&str>, identity: &[u8]) -> Owner<'_> {
        let found = self
            .hash(kind, workspace, identity)
            .and_then(|hash| self.consumers.get(&hash));
        match found {
            Some(consumer) => Owner::Consumer(consumer),
            None if self.unread.contains(&kind) || self.key.is_none() => Owner::Unread,
            None => Owner::Stranger,
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.consumers.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.consumers.is_empty()
    }

    fn hash(&self, kind: CredentialKind, workspace: Option<&str>, identity: &[u8]) -> Option<Hash> {
        let domain: &[u8] = match kind {
            CredentialKind::Key => b"key\0",
            CredentialKind::EncryptedKey => b"key-enc\0",
            CredentialKind::Basic => b"basic\0",
            CredentialKind::Jwt => b"jwt\0",
            CredentialKind::Hmac => b"hmac\0",
            CredentialKind::Token => b"token\0",
        };
        let mut context = hmac::Context::with_key(self.key.as_ref()?);
        context.update(domain);
        // With its length, so that no name can run into the identity.
        let name = workspace.unwrap_or(workspace::DEFAULT);
        context.update(&name.len().to_be_bytes());
        context.update(name.as_bytes());
        context.update(identity);
        let tag = context.sign();
        tag.as_ref().first_chunk::<KEPT_BYTES>().copied()
    }
}
