//! Who may post and read through the API: bearer tokens, kept as hashes.
//!
//! In: tokens at start, an `Authorization` value per request. Out: yes or no. Deliberately absent: scopes and per-bucket
//! tokens; every token may use every bucket.

use std::fmt;

use sha2::{Digest as _, Sha256};
use thiserror::Error;

type Hash = [u8; 32];

/// The tokens that are accepted.
#[derive(Clone, Default)]
pub struct Tokens {
    hashes: Vec<Hash>,
}

/// Why a token cannot be used. Never holds the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadToken {
    /// Empty after trimming.
    #[error("a token is empty")]
    Empty,
    /// A character that an `Authorization` header cannot carry.
    #[error("a token holds a blank or a character that is not visible ASCII")]
    Character,
}

impl Tokens {
    /// Adds a token.
    ///
    /// # Errors
    /// When no client could ever present it.
    pub fn add(&mut self, token: &str) -> Result<(), BadToken> {
        let token = token.trim();
        if token.is_empty() {
            return Err(BadToken::Empty);
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BadToken::Character);
        }
        self.hashes.push(hash(token));
        Ok(())
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Whether an `Authorization` header's value presents a known token.
    ///
    /// Hashes of equal length are compared, all of them and to the end, so the time taken says nothing about a token.
    #[must_use]
    pub fn admits(&self, authorization: Option<&[u8]>) -> bool {
        let Some(presented) = authorization
            .and_then(|value| str::from_utf8(value).ok())
            .and_then(bearer)
        else {
            return false;
        };
        let presented = hash(presented);
        self.hashes
            .iter()
            .fold(false, |known, hash| equal(hash, &presented) | known)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens([redacted]; {})", self.hashes.len())
    }
}

/// RFC 6750 section 2.1; the scheme is case-insensitive (RFC 9110 section 11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn hash(token: &str) -> Hash {
    Sha256::digest(token.as_bytes()).into()
}

fn equal(one: &Hash, other: &Hash) -> bool {
    one.iter().zip(other).fold(0, |seen, (a, b)| seen | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::{BadToken, Tokens};

    #[test]
    fn only_a_known_bearer_token_is_admitted() {
        let mut tokens = Tokens::default();
        assert!(!tokens.admits(Some(b"Bearer ")), "no token is known yet");
        tokens.add("one").unwrap();
        tokens.add(" two\n").unwrap();
        for (authorization, admitted) in [
            (None, false),
            (Some("Bearer one"), true),
            (Some("bearer two"), true),
            (Some("Bearer  one "), true),
            (Some("Bearer three"), false),
            (Some("Bearer"), false),
            (Some("Bearer "), false),
            (Some("Basic one"), false),
            (Some("one"), false),
            (Some("Bearer on"), false),
            (Some("Bearer onee"), false),
        ] {
            assert_eq!(
                tokens.admits(authorization.map(str::as_bytes)),
                admitted,
                "{authorization:?}"
            );
        }
        assert!(!tokens.admits(Some(b"Bearer \xff")));
        assert!(!format!("{tokens:?}").contains("one"));
    }

    #[test]
    fn a_token_that_no_header_can_carry_is_refused() {
        let mut tokens = Tokens::default();
        assert_eq!(tokens.add("  "), Err(BadToken::Empty));
        assert_eq!(tokens.add("a b"), Err(BadToken::Character));
        assert_eq!(tokens.add("é"), Err(BadToken::Character));
        assert!(tokens.is_empty());
    }
}
