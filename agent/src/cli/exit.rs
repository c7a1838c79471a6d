//! Exit codes. They are printed by `kongtap --help` and are an interface: numbers do not change.

use std::process::ExitCode;

/// Why the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// As asked.
    Ok,
    /// It failed while running.
    Failed,
    /// The command line is wrong, which the parser mostly says by itself.
    Usage,
    /// `explain`: no configuration applies, so nothing would be shipped.
    NothingApplies,
    /// `explain`: it depends on what is not known.
    NotKnown,
    /// The configuration is wrong.
    Configuration,
    /// There is nothing to watch, or this kernel cannot do it.
    Unavailable,
    /// Privileges are missing.
    NoPrivilege,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Ok => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::NothingApplies => 3,
            Exit::NotKnown => 4,
            Exit::Configuration => 64,
            Exit::Unavailable => 69,
            Exit::NoPrivilege => 77,
        })
    }
}
