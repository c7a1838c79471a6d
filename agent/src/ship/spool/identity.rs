//! What a destination is called on disk: a keyed hash of its URL and its token, so that neither stands there.
//!
//! In: the spool's directory, destinations. Out: names. The key is random and stays in the directory (mode 0600); without it the names
//! say nothing of a token, and whoever can read it can read the messages too. The URL is in the hash, not in a file, because it
//! holds the bucket's key; only the endpoint's origin is written down, for people.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};

use crate::plugin::Destination;
use crate::ship::spool::error::SpoolError;

pub(super) const KEY_NAME: &str = "key";
pub(super) const ENDPOINT_NAME: &str = "endpoint";
const KEY_BYTES: usize = 32;

/// Bytes of a hash that are kept.
const IDENTITY_BYTES: usize = 16;

/// Bytes of an endpoint's text that are read.
const ENDPOINT_LIMIT_BYTES: u64 = 512;

/// Who a destination is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Identity([u8; IDENTITY_BYTES]);

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Identity {
    /// A directory's name, if it is one of ours.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        let mut bytes = [0; IDENTITY_BYTES];
        if name.len() != 2 * IDENTITY_BYTES
            || !name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        {
            return None;
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(name.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

/// The spool's key.
pub(super) struct Key {
    bytes: [u8; KEY_BYTES],
    key: hmac::Key,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Key {
    /// The key of a directory, made when there is none. What one cannot be read is replaced: then nothing that waits belongs to
    /// anybody any more.
    pub(super) fn load(directory: &Path) -> Result<Self, SpoolError> {
        let path = directory.join(KEY_NAME);
        let mut bytes = [0; KEY_BYTES];
        match File::open(&path).and_then(|mut file| file.read_exact(&mut bytes)) {
            Ok(()) => return Ok(Self::of(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                tracing::warn!(path = %path.display(), "The spool's key is cut; what waits in it belongs to nobody now.");
            }
            Err(error) => return Err(SpoolError::disk("read", &path)(error)),
        }
        SystemRandom::new().fill(&mut bytes).map_err(|_unspecified| {
            SpoolError::disk("draw a key for", &path)(io::Error::other("the system gives no randomness"))
        })?;
        let key = Self::of(bytes);
        key.store(directory)?;
        Ok(key)
    }

    /// Writes the key where it is missing.
    pub(super) fn store(&self, directory: &Path) -> Result<(), SpoolError> {
        let path = directory.join(KEY_NAME);
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&path)?;
            file.write_all(&self.bytes)?;
            file.sync_all()?;
            File::open(directory)?.sync_all()
        };
        write().map_err(SpoolError::disk("write", &path))
    }

    fn of(bytes: [u8; KEY_BYTES]) -> Self {
        Self {
            bytes,
            key: hmac::Key::new(hmac::HMAC_SHA256, &bytes),
        }
    }

    pub(super) fn identity(&self, destination: &Destination) -> Identity {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(destination.url.as_str().as_bytes());
        // No URL has this byte, so nothing can move from one part to the other.
        context.update(&[0]);
        context.update(destination.access_token.expose().as_bytes());
        let tag = context.sign();
        let mut bytes = [0; IDENTITY_BYTES];
        for (to, from) in bytes.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        Identity(bytes)
    }
}

/// Scheme, host and port, which is all that is written down of a URL.
pub(super) fn endpoint(destination: &Destination) -> String {
    destination.url.origin().ascii_serialization()
}

/// Makes a destination's directory, if it is not there, and notes the endpoint in it.
pub(super) fn make_directory(directory: &Path, endpoint: &str) -> Result<(), SpoolError> {
    make_private(directory)?;
    let path = directory.join(ENDPOINT_NAME);
    if path.exists() {
        return Ok(());
    }
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(endpoint.as_bytes()))
        .map_err(SpoolError::disk("write", &path))
}

/// A directory, and those above it, for the agent's own eyes.
pub(super) fn make_private(directory: &Path) -> Result<(), SpoolError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(SpoolError::disk("make the directory", directory))
}

/// The endpoint that was noted; empty where none was.
pub(super) fn noted_endpoint(directory: &Path) -> String {
    let mut text = String::new();
    let read = File::open(directory.join(ENDPOINT_NAME))
        .and_then(|file| file.take(ENDPOINT_LIMIT_BYTES).read_to_string(&mut text));
    match read {
        Ok(_) => text.chars().filter(|c| !c.is_control()).collect(),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::{Identity, Key};
    use crate::message::tests::config;
    use crate::plugin::Destination;
    use crate::telemetry::secret::Secret;

    fn destination(url: &str, token: &str) -> Destination {
        Destination {
            access_token: Secret::new(token),
            ..Destination::clone(&config(true, url).destination)
        }
    }

    #[test]
    fn a_name_is_that_of_url_and_token_under_this_key_alone() {
        let [here, there] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let key = Key::load(here.path()).unwrap();
        let name = |key: &Key, url: &str, token: &str| key.identity(&destination(url, token)).to_string();
        let first = name(&key, "http://h/a", "token-1");
        assert_eq!(first.len(), 32);
        assert_eq!(
            name(&Key::load(here.path()).unwrap(), "http://h/a", "token-1"),
            first
        );
        for (url, token) in [
            ("http://h/b", "token-1"),
            ("http://h/a", "token-2"),
            ("http://h/at", "oken-1"),
        ] {
            assert_ne!(name(&key, url, token), first, "{url} {token}");
        }
        assert_ne!(
            name(&Key::load(there.path()).unwrap(), "http://h/a", "token-1"),
            first
        );
        let metadata = fs::metadata(here.path().join("key")).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        assert_eq!(format!("{key:?}"), "[redacted]");
        let mut other = destination("http://h/a", "token-1");
        other.timeout_ms += 1;
        assert_eq!(
            key.identity(&other).to_string(),
            first,
            "how it is posted does not count"
        );
    }

    #[test]
    fn a_key_that_is_cut_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let key = Key::load(directory.path()).unwrap();
        fs::write(directory.path().join("key"), "short").unwrap();
        let other = Key::load(directory.path()).unwrap();
        let destination = destination("http://h/a", "t");
        assert_ne!(key.identity(&destination), other.identity(&destination));
        assert_eq!(
            Key::load(directory.path()).unwrap().identity(&destination),
            other.identity(&destination)
        );
    }

    #[test]
    fn an_endpoints_text_is_cut() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(super::noted_endpoint(directory.path()), "");
        fs::write(directory.path().join("endpoint"), "h\n".repeat(4000)).unwrap();
        assert_eq!(super::noted_endpoint(directory.path()), "h".repeat(256));
    }

    #[test]
    fn only_its_own_names_are_read() {
        let name = "00ff10203040506070809000aabbccdd";
        assert_eq!(Identity::of_name(name).unwrap().to_string(), name);
        for other in [
            "",
            "key",
            "00FF10203040506070809000aabbccdd",
            "00ff1020304050607080",
            "+0ff10203040506070809000aabbccdd",
        ] {
            assert_eq!(Identity::of_name(other), None, "{other}");
        }
    }
}
