//! The steps by which the agent does less, and what each leaves undone.
//!
//! Body bytes go first: they are most of what is copied, parsed and sent, and a message without them still tells what happened. Then whole
//! exchanges are left out, half of those that are left with each step, so that the ones that are shipped stay complete and can be counted up again.

/// How far the agent has gone. What a step leaves out, the later ones leave out too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Nothing is left out.
    #[default]
    Everything,
    /// Bodies are cut at 64 KiB.
    Bodies64KiB,
    /// Bodies are cut at 8 KiB.
    Bodies8KiB,
    /// No bodies.
    NoBodies,
    /// The queue holds half of its bytes.
    HalfQueue,
    /// One exchange in two is shipped.
    OneIn2,
    /// One exchange in four.
    OneIn4,
    /// One exchange in eight.
    OneIn8,
    /// One exchange in sixteen.
    OneIn16,
    /// One exchange in thirty-two.
    OneIn32,
    /// One exchange in sixty-four.
    OneIn64,
}

/// The steps when CPU time is short.
pub const CPU: [Step; 10] = [
    Step::Everything,
    Step::Bodies64KiB,
    Step::Bodies8KiB,
    Step::NoBodies,
    Step::OneIn2,
    Step::OneIn4,
    Step::OneIn8,
    Step::OneIn16,
    Step::OneIn32,
    Step::OneIn64,
];

/// The steps when memory is short: what is held goes first.
pub const MEMORY: [Step; 9] = [
    Step::Everything,
    Step::NoBodies,
    Step::HalfQueue,
    Step::OneIn2,
    Step::OneIn4,
    Step::OneIn8,
    Step::OneIn16,
    Step::OneIn32,
    Step::OneIn64,
];

impl Step {
    /// Every step.
    pub const ALL: [Self; 11] = [
        Self::Everything,
        Self::Bodies64KiB,
        Self::Bodies8KiB,
        Self::NoBodies,
        Self::HalfQueue,
        Self::OneIn2,
        Self::OneIn4,
        Self::OneIn8,
        Self::OneIn16,
        Self::OneIn32,
        Self::OneIn64,
    ];

    /// Its name in `/status` and the log.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Everything => "everything",
            Self::Bodies64KiB => "bodies_64_kib",
            Self::Bodies8KiB => "bodies_8_kib",
            Self::NoBodies => "no_bodies",
            Self::HalfQueue => "half_queue",
            Self::OneIn2 => "one_in_2",
            Self::OneIn4 => "one_in_4",
            Self::OneIn8 => "one_in_8",
            Self::OneIn16 => "one_in_16",
            Self::OneIn32 => "one_in_32",
            Self::OneIn64 => "one_in_64",
        }
    }

    /// Most bytes of a body.
    #[must_use]
    pub const fn body_bytes(self) -> usize {
        match self {
            Self::Everything => usize::MAX,
            Self::Bodies64KiB => 64 << 10,
            Self::Bodies8KiB => 8 << 10,
            Self::NoBodies
            | Self::HalfQueue
            | Self::OneIn2
            | Self::OneIn4
            | Self::OneIn8
            | Self::OneIn16
            | Self::OneIn32
            | Self::OneIn64 => 0,
        }
    }

    /// Which part of the exchanges is shipped.
    #[must_use]
    pub const fn rate(self) -> Rate {
        Rate(match self {
            Self::Everything | Self::Bodies64KiB | Self::Bodies8KiB | Self::NoBodies | Self::HalfQueue => 0,
            Self::OneIn2 => 1,
            Self::OneIn4 => 2,
            Self::OneIn8 => 3,
            Self::OneIn16 => 4,
            Self::OneIn32 => 5,
            Self::OneIn64 => 6,
        })
    }

    /// Whether the queue's bytes are halved. (On the CPU's ladder nobody asks.)
    #[must_use]
    pub fn halves_the_queue(self) -> bool {
        self >= Self::HalfQueue
    }
}

/// One exchange in two to the power of this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rate(u32);

impl Rate {
    /// Whether an exchange of this hash is among those that are shipped. One that is at some rate is so at every higher one.
    #[must_use]
    pub const fn keeps(self, hash: u64) -> bool {
        self.0 == 0 || hash.leading_zeros() >= self.0
    }

    /// Whether any exchange is left out.
    #[must_use]
    pub const fn leaves_out(self) -> bool {
        self.0 > 0
    }

    /// The part that is shipped, from 0 to 1.
    #[must_use]
    pub fn part(self) -> f64 {
        1.0 / f64::from(1_u32 << self.0)
    }
}
