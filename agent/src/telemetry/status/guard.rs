//! How the agent stands to its own limits, as `/status` shows it.

use serde::Serialize;

use super::Counts;
use crate::guard::ladder::Step;

/// Both that are guarded.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct GuardStatus {
    /// CPU time.
    pub cpu: CpuStatus,
    /// Memory.
    pub memory: MemoryStatus,
}

/// CPU time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CpuStatus {
    /// `limits.cpu`, cores.
    pub limit: f64,
    /// Cores in use over the last two seconds.
    pub share: f64,
    /// How far it has gone.
    #[serde(flatten)]
    pub ladder: LadderStatus,
}

/// Memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MemoryStatus {
    /// `limits.memory_bytes`.
    pub limit_bytes: u64,
    /// Resident memory.
    pub resident_bytes: u64,
    /// Bytes of it that are counted, by who holds them: `capture`, `connections`, `joins`, `queue`.
    pub held_bytes: Counts,
    /// How far it has gone.
    #[serde(flatten)]
    pub ladder: LadderStatus,
}

/// A place on one of the two ladders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LadderStatus {
    /// The step in force.
    pub step: &'static str,
    /// Its number; 0: nothing is shed.
    pub index: u64,
    /// Since when, if it was not from the start.
    pub since_unix_ms: Option<u64>,
    /// Steps up.
    pub climbs: u64,
    /// Steps down.
    pub descents: u64,
    /// Bytes of bodies that messages went without.
    pub cut_body_bytes: u64,
    /// Whether the limit is passed although there is no further step.
    pub is_exhausted: bool,
}

impl Default for LadderStatus {
    fn default() -> Self {
        Self {
            step: Step::Everything.label(),
            index: 0,
            since_unix_ms: None,
            climbs: 0,
            descents: 0,
            cut_body_bytes: 0,
            is_exhausted: false,
        }
    }
}

impl GuardStatus {
    /// What needs attention, one sentence each.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        let named = [
            ("limits.cpu", self.cpu.ladder),
            ("limits.memory_bytes", self.memory.ladder),
        ];
        named.into_iter().filter_map(|(limit, ladder)| {
            let step = ladder.step;
            if ladder.is_exhausted {
                Some(format!(
                    "the agent takes more than {limit} although it sheds all that it may ({step})"
                ))
            } else if ladder.index > 0 {
                Some(format!(
                    "the agent has come to {limit} and sheds ({step}): docs/delivery.md"
                ))
            } else {
                None
            }
        })
    }
}
