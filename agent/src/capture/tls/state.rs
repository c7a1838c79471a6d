//! How a worker's TLS is captured, as `/status` and the log say it.

use crate::capture::placement::Placement;
use crate::capture::symbols::TlsFunction;

/// How a worker's TLS is captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsState {
    /// By its OpenSSL calls.
    Calls(TlsCalls),
    /// It was not asked for.
    Off,
    /// The process has no TLS library.
    NoLibrary,
    /// The process has one that cannot be used, and why.
    Unusable(String),
}

/// Probes on the functions of a library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsCalls {
    /// Which library: its version or path.
    pub library: String,
    /// The functions that are probed, and where.
    pub probed: Vec<(TlsFunction, Placement)>,
    /// What vouches for the places.
    pub proof: Proof,
}

/// What vouches for the places of a library's probes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// They are the functions' first instructions, which need none.
    NotNeeded,
    /// A child of ours used the library, and what its probes saw was exactly what it did.
    SelfTest,
    /// The self-test was not possible, and why; what needs a proof is probed on first instructions.
    None(String),
    /// The self-test found other bytes than it should, or a call did later: everything is probed on first instructions.
    Refuted(String),
}

impl TlsState {
    /// In words.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Calls(calls) => calls.describe(),
            Self::Off => "off".to_owned(),
            Self::NoLibrary => "none (no TLS library)".to_owned(),
            Self::Unusable(why) => format!("absent ({why})"),
        }
    }
}

impl TlsCalls {
    fn describe(&self) -> String {
        let cheap = self
            .probed
            .iter()
            .filter(|(_, placement)| placement.is_cheap())
            .count();
        let dear = self.probed.len().saturating_sub(cheap);
        let mut text = format!("calls ({}, {cheap} functions placed", self.library);
        if dear > 0 {
            text.push_str(&format!(", {dear} single-stepped"));
        }
        text.push_str(&match &self.proof {
            Proof::NotNeeded => ")".to_owned(),
            Proof::SelfTest => ", self-test passed)".to_owned(),
            Proof::None(why) => format!(", no self-test: {why})"),
            Proof::Refuted(why) => format!(", self-test failed: {why})"),
        });
        text
    }
}
