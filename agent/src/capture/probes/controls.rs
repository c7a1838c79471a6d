//! What user space tells the probes while they run: how much of a message it wants, and what it wants nothing of. And what
//! it asks them: which connections there are, so that one whose end was lost does not stay for ever.

use std::collections::BTreeSet;
use std::os::fd::AsFd as _;

use aya::maps::{Array, HashMap, Map, MapData, MapError};
use kongtap_common::budget::{Budget, CONN_WORDS, SkipKey};
use kongtap_common::record::{ConnId, DIRECTION_EGRESS, DIRECTION_INGRESS};

use super::{CaptureError, Probes};
use crate::capture::event::{Direction, Skip};

/// Steps of one look at the connections: a walk over a table that changes may come by the same entry twice.
const MOST_STEPS: usize = 1 << 18;

/// A handle to the probes. It works from any thread; when they are gone it does nothing.
pub struct Controls {
    budget: Array<MapData, Budget>,
    skips: HashMap<MapData, SkipKey, u64>,
    conns: HashMap<MapData, u64, [u64; CONN_WORDS]>,
    last: Budget,
}

impl std::fmt::Debug for Controls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controls")
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

impl Controls {
    /// Wants so much of each message from now on.
    ///
    /// # Errors
    /// [`CaptureError::Map`].
    pub fn set_budget(&mut self, budget: Budget) -> Result<(), CaptureError> {
        if budget != self.last {
            let failed = |source| CaptureError::Map {
                map: "BUDGET",
                source,
            };
            self.budget.set(0, budget, 0).map_err(failed)?;
            self.last = budget;
        }
        Ok(())
    }

    /// Wants nothing of some bytes.
    ///
    /// # Errors
    /// [`CaptureError::Map`].
    pub fn skip(&mut self, skip: Skip) -> Result<(), CaptureError> {
        let direction = u64::from(match skip.direction {
            Direction::Ingress => DIRECTION_INGRESS,
            Direction::Egress => DIRECTION_EGRESS,
        });
        let key = SkipKey {
            conn: skip.conn,
            direction,
        };
        let failed = |source| CaptureError::Map {
            map: "SKIPS_ASKED",
            source,
        };
        self.skips.insert(key, skip.until, 0).map_err(failed)
    }

    /// The connections that the probes know now. One that began or ended meanwhile may be among them or not.
    ///
    /// # Errors
    /// [`CaptureError::Map`].
    pub fn live(&self) -> Result<BTreeSet<ConnId>, CaptureError> {
        let failed = |source| CaptureError::Map { map: "CONNS", source };
        let mut names = BTreeSet::new();
        for entry in self.conns.iter().take(MOST_STEPS) {
            let (_sock, [first, generation_ns, ..]) = entry.map_err(failed)?;
            let [t0, t1, t2, t3, f0, f1, f2, f3] = first.to_ne_bytes();
            names.insert(ConnId {
                tgid: u32::from_ne_bytes([t0, t1, t2, t3]),
                fd: i32::from_ne_bytes([f0, f1, f2, f3]),
                generation_ns,
            });
        }
        Ok(names)
    }
}

impl Probes {
    /// A handle for whoever reads what they bring.
    ///
    /// # Errors
    /// [`CaptureError::Map`].
    pub fn controls(&self) -> Result<Controls, CaptureError> {
        let failed = |map| move |source| CaptureError::Map { map, source };
        let of_skips = Map::LruHashMap(self.shared("SKIPS_ASKED")?);
        Ok(Controls {
            budget: Array::try_from(Map::Array(self.shared("BUDGET")?)).map_err(failed("BUDGET"))?,
            skips: HashMap::try_from(of_skips).map_err(failed("SKIPS_ASKED"))?,
            conns: HashMap::try_from(Map::HashMap(self.shared("CONNS")?)).map_err(failed("CONNS"))?,
            last: Budget::default(),
        })
    }

    /// The map `name` by a descriptor of its own.
    fn shared(&self, name: &'static str) -> Result<MapData, CaptureError> {
        let failed = |source| CaptureError::Map { map: name, source };
        let Some(Map::Array(data) | Map::HashMap(data) | Map::LruHashMap(data)) = self.ebpf.map(name) else {
            return Err(CaptureError::Missing(name));
        };
        let fd = data.fd().as_fd().try_clone_to_owned();
        MapData::from_fd(fd.map_err(|error| failed(MapError::IoError(error)))?).map_err(failed)
    }
}
