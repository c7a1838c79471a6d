//! What the inspector runs with, checked.
//!
//! In: what the command line and the environment say. Out: a [`Config`] in which every value is usable, or one line on what
//! to write instead. Deliberately absent: a configuration file; ten options do not need one.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::store::Retention;
use crate::token::{BadToken, Tokens};

/// Messages kept when nothing else is said.
pub const DEFAULT_MESSAGES: u64 = 100_000;
/// Bytes of message text kept in memory when nothing else is said.
pub const DEFAULT_MEMORY_BYTES: u64 = 256 << 20;
/// Bytes of message text kept in a file when nothing else is said.
pub const DEFAULT_FILE_BYTES: u64 = 4 << 30;
/// The largest token file read.
const TOKEN_FILE_BYTES: u64 = 1 << 20;

/// Everything that a running inspector needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Names, besides loopback's and the listening address, under which browsers may open the pages.
    pub hosts: Vec<String>,
    /// Who may use the API.
    pub tokens: Tokens,
    /// The store's file; in memory when there is none.
    pub store: Option<PathBuf>,
    /// How much is kept.
    pub retention: Retention,
    /// Bounds on what is received.
    pub limits: Limits,
}

/// Bounds on what clients may use up at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest post in bytes.
    pub post_bytes: usize,
    /// Bytes of posts in memory at once, read or waiting for their commit; over that, clients are told to come again.
    pub receiving_bytes: usize,
    /// Messages in one post.
    pub post_messages: usize,
    /// Connections open at once; further ones wait to be accepted.
    pub connections: usize,
    /// Pages that follow the traffic at once.
    pub followers: usize,
    /// Queries at once; further ones wait.
    pub queries: usize,
    /// How long a client may take to send a post.
    pub post_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            post_bytes: 16 << 20,
            receiving_bytes: 64 << 20,
            post_messages: 1_000,
            connections: 1_024,
            followers: 64,
            queries: 4,
            post_time: Duration::from_secs(30),
        }
    }
}

/// What was asked for, as text.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// `--listen`.
    pub listen: String,
    /// `--allow-remote`.
    pub allow_remote: bool,
    /// `--host`.
    pub hosts: Vec<String>,
    /// `--token` and the environment.
    pub tokens: Vec<String>,
    /// `--token-file`.
    pub token_files: Vec<PathBuf>,
    /// `--store`.
    pub store: Option<PathBuf>,
    /// `--max-messages`.
    pub max_messages: Option<u64>,
    /// `--max-bytes`.
    pub max_bytes: Option<String>,
    /// `--max-age`.
    pub max_age: Option<String>,
}

/// A value that cannot be used. One line: what is wrong, and what to write instead.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// `--listen` is not an address.
    #[error("--listen `{0}` is not an address; write ADDRESS:PORT, as in 127.0.0.1:8012 or [::1]:8012")]
    Listen(String),
    /// `--listen` is not loopback and nobody said that this is meant.
    #[error(
        "--listen {0} can be reached from other machines, and the pages have no log-in: anyone who reaches them sees all \
         captured traffic. Listen on 127.0.0.1 behind a proxy that asks who is there, or add --allow-remote"
    )]
    Remote(SocketAddr),
    /// `--host` is not a host name.
    #[error("--host `{0}` is not a host name; write it without scheme, port and path")]
    Host(String),
    /// There is no token.
    #[error(
        "no token: clients need one to post; give --token-file PATH, KONGTAP_INSPECTOR_TOKEN or --token TOKEN"
    )]
    NoToken,
    /// A token cannot be used.
    #[error("{place}: {problem}; a token is visible ASCII without blanks")]
    Token {
        /// Where it was given.
        place: String,
        /// What is wrong with it.
        problem: BadToken,
    },
    /// A token file cannot be read.
    #[error("--token-file `{path}`: {problem}")]
    TokenFile {
        /// Which.
        path: PathBuf,
        /// What the system said.
        problem: String,
    },
    /// A size is not one.
    #[error("--max-bytes `{0}` is not a size; write a number of bytes, or one with K, M or G as in 512M")]
    Bytes(String),
    /// An age is not one.
    #[error("--max-age `{0}` is not an age; write a number with s, m, h or d as in 36h or 7d")]
    Age(String),
    /// Nothing could be kept.
    #[error("{0} is 0: nothing would be kept; leave it out for the default")]
    Zero(&'static str),
}

impl Config {
    /// Checks what was asked for.
    ///
    /// # Errors
    /// The first wish that cannot be granted.
    pub fn new(wishes: Wishes) -> Result<Self, ConfigError> {
        let listen: SocketAddr = wishes
            .listen
            .parse()
            .map_err(|_not_an_address| ConfigError::Listen(wishes.listen.clone()))?;
        if !listen.ip().to_canonical().is_loopback() && !wishes.allow_remote {
            return Err(ConfigError::Remote(listen));
        }
        for host in &wishes.hosts {
            if !is_host_name(host) {
                return Err(ConfigError::Host(host.clone()));
            }
        }
        let default_bytes = match wishes.store {
            Some(_) => DEFAULT_FILE_BYTES,
            None => DEFAULT_MEMORY_BYTES,
        };
        let retention = Retention {
            messages: not_zero(wishes.max_messages.unwrap_or(DEFAULT_MESSAGES), "--max-messages")?,
            bytes: match &wishes.max_bytes {
                None => default_bytes,
                Some(text) => not_zero(
                    size(text).ok_or_else(|| ConfigError::Bytes(text.clone()))?,
                    "--max-bytes",
                )?,
            },
            age: match &wishes.max_age {
                None => None,
                Some(text) => {
                    let seconds = age(text).ok_or_else(|| ConfigError::Age(text.clone()))?;
                    Some(Duration::from_secs(not_zero(seconds, "--max-age")?))
                }
            },
        };
        Ok(Self {
            listen,
            hosts: wishes
                .hosts
                .iter()
                .map(|host| host.to_ascii_lowercase())
                .collect(),
            tokens: tokens(&wishes)?,
            store: wishes.store,
            retention,
            limits: Limits::default(),
        })
    }
}

fn tokens(wishes: &Wishes) -> Result<Tokens, ConfigError> {
    let mut tokens = Tokens::default();
    for token in &wishes.tokens {
        tokens.add(token).map_err(|problem| ConfigError::Token {
            place: "--token or KONGTAP_INSPECTOR_TOKEN".to_owned(),
            problem,
        })?;
    }
    for path in &wishes.token_files {
        let unreadable = |problem: String| ConfigError::TokenFile {
            path: path.clone(),
            problem,
        };
        let length = path
            .metadata()
            .map_err(|error| unreadable(error.to_string()))?
            .len();
        if length > TOKEN_FILE_BYTES {
            return Err(unreadable("too large; write one token a line".to_owned()));
        }
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            tokens.add(line).map_err(|problem| ConfigError::Token {
                place: format!("--token-file `{}` line {}", path.display(), index + 1),
                problem,
            })?;
        }
    }
    if tokens.is_empty() {
        return Err(ConfigError::NoToken);
    }
    Ok(tokens)
}

fn is_host_name(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok()
        || (!host.is_empty()
            && host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')))
}

const fn not_zero(value: u64, option: &'static str) -> Result<u64, ConfigError> {
    if value == 0 {
        Err(ConfigError::Zero(option))
    } else {
        Ok(value)
    }
}

fn size(text: &str) -> Option<u64> {
    scaled(
        text,
        &[
            ("GiB", 1 << 30),
            ("MiB", 1 << 20),
            ("KiB", 1 << 10),
            ("G", 1 << 30),
            ("M", 1 << 20),
            ("K", 1 << 10),
            ("", 1),
        ],
    )
}

fn age(text: &str) -> Option<u64> {
    scaled(text, &[("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)])
}

/// A whole number with one of these units, the longer ones first.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    units.iter().find_map(|(unit, factor)| {
        let number = text.strip_suffix(unit)?.trim_end();
        number.parse::<u64>().ok()?.checked_mul(*factor)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Config, ConfigError, Wishes, age, size};

    fn wishes() -> Wishes {
        Wishes {
            listen: "127.0.0.1:0".to_owned(),
            tokens: vec!["t".to_owned()],
            ..Wishes::default()
        }
    }

    fn problem(wishes: Wishes) -> String {
        Config::new(wishes).unwrap_err().to_string()
    }

    #[test]
    fn sizes_and_ages() {
        for (text, expected) in [
            ("0", Some(0)),
            ("512M", Some(512 << 20)),
            ("2 GiB", Some(2 << 30)),
            ("1K", Some(1024)),
            ("M", None),
            ("-1", None),
            ("1.5G", None),
            ("99999999999999G", None),
        ] {
            assert_eq!(size(text), expected, "{text}");
        }
        for (text, expected) in [
            ("36h", Some(129_600)),
            ("7d", Some(604_800)),
            ("90", None),
            ("s", None),
        ] {
            assert_eq!(age(text), expected, "{text}");
        }
    }

    #[test]
    fn each_mistake_is_told_with_what_to_write() {
        assert!(
            problem(Wishes {
                listen: "localhost".into(),
                ..wishes()
            })
            .contains("127.0.0.1:8012")
        );
        for listen in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "[::ffff:192.0.2.1]:1"] {
            assert!(
                problem(Wishes {
                    listen: listen.into(),
                    ..wishes()
                })
                .contains("--allow-remote"),
                "{listen}"
            );
        }
        assert!(
            problem(Wishes {
                tokens: vec![],
                ..wishes()
            })
            .contains("--token-file")
        );
        assert!(
            problem(Wishes {
                tokens: vec!["a b".into()],
                ..wishes()
            })
            .contains("visible ASCII")
        );
        assert!(
            problem(Wishes {
                token_files: vec!["/nonexistent".into()],
                ..wishes()
            })
            .contains("/nonexistent")
        );
        assert!(
            problem(Wishes {
                hosts: vec!["http://x".into()],
                ..wishes()
            })
            .contains("without scheme")
        );
        assert!(
            problem(Wishes {
                max_messages: Some(0),
                ..wishes()
            })
            .contains("--max-messages")
        );
        assert!(
            problem(Wishes {
                max_bytes: Some("lots".into()),
                ..wishes()
            })
            .contains("512M")
        );
        assert!(
            problem(Wishes {
                max_age: Some("old".into()),
                ..wishes()
            })
            .contains("7d")
        );
    }

    #[test]
    fn tokens_come_from_a_file_too_and_never_show() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        std::fs::write(&path, "# for the agents\n\nfirst\r\n  second  \n").unwrap();
        let config = Config::new(Wishes {
            tokens: vec![],
            token_files: vec![path.clone()],
            max_age: Some("1h".into()),
            listen: "[::1]:0".into(),
            ..wishes()
        })
        .unwrap();
        assert!(config.tokens.admits(Some(b"Bearer second")));
        assert_eq!(config.retention.age, Some(Duration::from_secs(3_600)));
        assert!(!format!("{config:?}").contains("second"));

        std::fs::write(&path, "good\nnot good\n").unwrap();
        let error = Config::new(Wishes {
            token_files: vec![path],
            ..wishes()
        })
        .unwrap_err();
        assert!(matches!(&error, ConfigError::Token { place, .. } if place.ends_with("line 2")));
        assert!(!error.to_string().contains("not good"));
    }

    #[test]
    fn remote_listening_has_to_be_asked_for() {
        let config = Config::new(Wishes {
            listen: "0.0.0.0:0".into(),
            allow_remote: true,
            hosts: vec!["Inspector.example".into()],
            ..wishes()
        })
        .unwrap();
        assert_eq!(config.hosts, ["inspector.example"]);
    }
}
