//! Exit codes. They are printed by `kongtap --help` and are an interface: numbers do not change.

use std::process::ExitCode;

/// Why the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// As asked.
    Ok,
    /// It failed while running.
    Failed,
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
            Exit::Configuration => 64,
            Exit::Unavailable => 69,
            Exit::NoPrivilege => 77,
        })
    }
}
