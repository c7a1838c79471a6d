//! Keeps the agent within its share of the host: the closed loop around its CPU time and its memory.
//!
//! In: what the agent has used, about twice a second ([`Sample`]). Out: how much of its work is left undone ([`levels::Shed`]), one
//! [`Step`] for each of the two, and every change of them. `ladder` has the steps, `controller` decides when to take one, `meter` measures, `levels` is
//! what the other stages read. Without IO and clocks, so that a simulated day takes milliseconds. Deliberately absent: where the figures come
//! from (`app/guard`), and what a step does, which is the business of whoever reads the levels.

pub mod controller;
pub mod ladder;
pub mod levels;
pub mod meter;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use self::controller::{Change, Controller, Tuning};
use self::ladder::{CPU, MEMORY, Step};
use self::meter::Meter;

/// What the agent may use before it sheds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GuardLimits {
    /// Cores.
    pub cpu: f64,
    /// Resident memory, bytes.
    pub memory_bytes: u64,
}

/// One of the two things that are guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// CPU time.
    Cpu,
    /// Resident memory.
    Memory,
}

impl Resource {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Cpu, Self::Memory];

    /// Its name in `/status`, metrics and the log.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
        }
    }
}

/// What the agent has used.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When.
    pub now: Instant,
    /// CPU time of all threads since the start.
    pub cpu: Duration,
    /// Resident memory, bytes.
    pub resident_bytes: u64,
}

/// A step was taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Taken {
    /// On account of what.
    pub resource: Resource,
    /// From where to where.
    pub change: Change,
}

/// How the agent stands to its limits.
#[derive(Debug)]
pub struct Guard {
    limits: GuardLimits,
    meter: Meter,
    cpu: Controller,
    memory: Controller,
    resident_bytes: u64,
}

/// How far one of the two has gone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// The step in force.
    pub step: Step,
    /// Its place on the ladder; 0: nothing is shed.
    pub index: usize,
    /// When it was taken; `None`: it has been in force since the start.
    pub since: Option<Instant>,
    /// Steps taken upwards.
    pub climbs: u64,
    /// Steps taken downwards.
    pub descents: u64,
    /// The limit is passed, and there is no further step.
    pub is_exhausted: bool,
}

impl Guard {
    /// Nothing is shed yet.
    #[must_use]
    pub fn new(limits: GuardLimits) -> Self {
        Self {
            limits,
            meter: Meter::default(),
            cpu: Controller::new(&CPU, Tuning::CPU),
            memory: Controller::new(&MEMORY, Tuning::MEMORY),
            resident_bytes: 0,
        }
    }

    /// Takes a sample; answers the steps that it leads to.
    pub fn observe(&mut self, sample: Sample) -> impl Iterator<Item = Taken> + use<> {
        self.resident_bytes = sample.resident_bytes;
        self.meter.push(sample.now, sample.cpu);
        let cpu = self
            .meter
            .share_of_window()
            .and_then(|share| self.cpu.observe(sample.now, share / self.limits.cpu));
        if cpu.is_some() {
            // What was used before says nothing about the new step.
            self.meter.restart();
            self.meter.push(sample.now, sample.cpu);
        }
        let memory = self.memory.observe(sample.now, self.memory_load());
        let taken = |resource| move |change| Taken { resource, change };
        let cpu = cpu.map(taken(Resource::Cpu));
        cpu.into_iter().chain(memory.map(taken(Resource::Memory)))
    }

    /// Whether so much memory is resident that it is time to give back what is free.
    #[must_use]
    pub fn wants_memory_back(&self) -> bool {
        self.memory_load() > Tuning::MEMORY.up || self.memory.standing().index > 0
    }

    /// Cores in use, as newly measured.
    #[must_use]
    pub const fn cpu_share(&self) -> f64 {
        self.meter.share()
    }

    /// Resident memory as newly measured, bytes.
    #[must_use]
    pub const fn resident_bytes(&self) -> u64 {
        self.resident_bytes
    }

    /// How far `resource` has gone.
    #[must_use]
    pub fn standing(&self, resource: Resource) -> Standing {
        match resource {
            Resource::Cpu => self.cpu.standing(),
            Resource::Memory => self.memory.standing(),
        }
    }

    fn memory_load(&self) -> f64 {
        let thousandths = self.resident_bytes.saturating_mul(1000) / self.limits.memory_bytes.max(1);
        f64::from(u32::try_from(thousandths).unwrap_or(u32::MAX)) / 1000.0
    }
}
