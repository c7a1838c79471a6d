//! What is in force now, for the stages that do the work.
//!
//! In: the steps that the guard takes. Out: [`Shed`], read as often as one likes, and which exchange is left out. The decision is made once for an
//! exchange, after its legs and attempts are joined, so it is the same for all of them, and by a keyed hash of the gateway's request id, so nobody outside
//! can choose. Deliberately absent: locks, and who decides.

use std::hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use super::Resource;
use super::ladder::{Rate, Step};
use crate::correlate::JoinedExchange;

/// The steps in force. One instance, shared.
#[derive(Debug, Default)]
pub struct Levels {
    /// Each the index of its step in [`Step::ALL`].
    cpu: AtomicU8,
    memory: AtomicU8,
    /// Drawn anew at each start.
    key: RandomState,
    /// Bytes of bodies that messages do not have because of a step.
    cpu_body_bytes: AtomicU64,
    memory_body_bytes: AtomicU64,
}

/// What is left undone at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shed {
    /// Because CPU time is short.
    pub cpu: Step,
    /// Because memory is short.
    pub memory: Step,
}

impl Levels {
    /// What is in force.
    #[must_use]
    pub fn now(&self) -> Shed {
        let step = |index: &AtomicU8| {
            let index = usize::from(index.load(Ordering::Relaxed));
            Step::ALL.get(index).copied().unwrap_or_default()
        };
        Shed {
            cpu: step(&self.cpu),
            memory: step(&self.memory),
        }
    }

    /// `step` is in force from now on.
    pub fn set(&self, resource: Resource, step: Step) {
        let index = Step::ALL.iter().position(|other| *other == step);
        let index = index.and_then(|index| u8::try_from(index).ok()).unwrap_or(0);
        match resource {
            Resource::Cpu => self.cpu.store(index, Ordering::Relaxed),
            Resource::Memory => self.memory.store(index, Ordering::Relaxed),
        }
    }

    /// Where the exchange falls when exchanges are left out: by the gateway's request id, or where there is none by the connection and the
    /// moments of request and answer. A request that is pipelined shares the first with its neighbours, not both.
    #[must_use]
    pub fn hash(&self, joined: &JoinedExchange) -> u64 {
        let mut hasher = self.key.build_hasher();
        if let Some(id) = &joined.request_id {
            id.hash(&mut hasher);
            return hasher.finish();
        }
        let client = &joined.client;
        client.conn.id.tgid.hash(&mut hasher);
        client.conn.id.fd.hash(&mut hasher);
        client.conn.id.generation_ns.hash(&mut hasher);
        client.stream.hash(&mut hasher);
        if let Some(request) = &client.request {
            request.started.0.hash(&mut hasher);
            request.target.hash(&mut hasher);
        }
        if let Some(response) = &client.response {
            response.started.0.hash(&mut hasher);
            response.ended.0.hash(&mut hasher);
        }
        hasher.finish()
    }

    /// What the exchange is left out for under `shed`, if it is. Costs nothing while none is.
    #[must_use]
    pub fn leaves_out(&self, joined: &JoinedExchange, shed: Shed) -> Option<Resource> {
        if shed.rate().leaves_out() {
            shed.leaves_out(self.hash(joined))
        } else {
            None
        }
    }

    /// A message goes without so many bytes of its bodies.
    pub fn cut_bodies(&self, resource: Resource, bytes: u64) {
        self.body_bytes(resource).fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes of bodies that messages went without.
    #[must_use]
    pub fn cut_body_bytes(&self, resource: Resource) -> u64 {
        self.body_bytes(resource).load(Ordering::Relaxed)
    }

    const fn body_bytes(&self, resource: Resource) -> &AtomicU64 {
        match resource {
            Resource::Cpu => &self.cpu_body_bytes,
            Resource::Memory => &self.memory_body_bytes,
        }
    }
}

impl Shed {
    /// Most bytes of a body.
    #[must_use]
    pub fn body_bytes(self) -> usize {
        self.cpu.body_bytes().min(self.memory.body_bytes())
    }

    /// What bodies are cut for, if they are.
    #[must_use]
    pub fn cuts_bodies_for(self) -> Option<Resource> {
        let (cpu, memory) = (self.cpu.body_bytes(), self.memory.body_bytes());
        if cpu.min(memory) == usize::MAX {
            None
        } else if cpu <= memory {
            Some(Resource::Cpu)
        } else {
            Some(Resource::Memory)
        }
    }

    /// Which part of the exchanges is shipped.
    #[must_use]
    pub fn rate(self) -> Rate {
        self.cpu.rate().max(self.memory.rate())
    }

    /// What an exchange of this hash is left out for, if it is.
    #[must_use]
    pub fn leaves_out(self, hash: u64) -> Option<Resource> {
        if !self.cpu.rate().keeps(hash) {
            Some(Resource::Cpu)
        } else if !self.memory.rate().keeps(hash) {
            Some(Resource::Memory)
        } else {
            None
        }
    }
}
