//! Where in a function a uprobe costs least: on an instruction that the kernel emulates instead of single-stepping.
//!
//! In: machine code, and where its functions begin. Out: for each function the points to probe, what is known there, and why
//! these. Pure: bytes in, [`Placement`]s out, and any bytes give an answer. Deliberately absent: reading files, attaching, and
//! proving that the points are right (`tls::self_test`).

pub mod aarch64;
pub mod emulated;
pub mod libc;
pub mod x86;

use std::collections::BTreeMap;
use std::fmt;

use kongtap_common::tls as cookie;

use super::symbols::{FileOffset, TlsFunction};

/// Most bytes of a function that are looked at. The longest probed one has about 2 KiB.
pub const FUNCTION_MAX_BYTES: usize = 8 * 1024;

/// A processor whose code can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// x86-64.
    X86_64,
    /// 64-bit Arm, little endian.
    Aarch64,
}

/// A file's executable bytes.
#[derive(Clone, Debug)]
pub struct Code<'a> {
    /// For which processor.
    pub machine: Machine,
    /// Loaded parts: offset in the file, bytes.
    pub segments: Vec<(u64, &'a [u8])>,
    /// How long the functions are, where the file says so.
    pub sizes: BTreeMap<TlsFunction, u64>,
}

impl<'a> Code<'a> {
    /// The bytes from `offset` on, at most [`FUNCTION_MAX_BYTES`].
    fn at(&self, offset: u64) -> Option<&'a [u8]> {
        self.segments.iter().find_map(|(start, bytes)| {
            let within = usize::try_from(offset.checked_sub(*start)?).ok()?;
            let rest = bytes.get(within..).filter(|rest| !rest.is_empty())?;
            rest.get(..rest.len().min(FUNCTION_MAX_BYTES))
        })
    }

    /// The bytes of a function.
    fn function(&self, function: TlsFunction, offset: u64) -> Option<&'a [u8]> {
        let bytes = self.at(offset)?;
        match self.sizes.get(&function).copied().map(usize::try_from) {
            Some(Ok(size)) if size > 0 => bytes.get(..bytes.len().min(size)),
            _ => Some(bytes),
        }
    }
}

/// An instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// Its position in the file, which is what a uprobe is placed by.
    pub offset: u64,
    /// How many bytes it lies behind the function's first instruction; none if it lies in another function.
    pub within: Option<u64>,
    /// Its name, such as `push`.
    pub instruction: String,
}

/// Where a call's byte count is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// It is the result.
    Result,
    /// The fourth argument points to it.
    Argument4,
    /// The fifth does.
    Argument5,
    /// So many bytes above the stack pointer at the point where the result is known.
    Local(u16),
}

impl Count {
    /// As the probes' cookies have it.
    #[must_use]
    pub const fn cookie(self) -> u64 {
        match self {
            Self::Result => cookie::COUNT_RESULT,
            Self::Argument4 => cookie::COUNT_ARGUMENT_4,
            Self::Argument5 => cookie::COUNT_ARGUMENT_5,
            Self::Local(displacement) => cookie::count_local(displacement),
        }
    }
}

/// How the end of a call is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leave {
    /// It is of no interest.
    Nothing,
    /// By a return probe at the same point as the entry.
    Return,
    /// By a probe on this instruction, where the result is known.
    At(Point),
}

/// Which way was taken, the cheapest certain one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strategy {
    /// Beginning and return at the function's first emulated instruction.
    Entry,
    /// Beginning and return of the function that it calls: the public function and its `_ex` form share it.
    Inner,
    /// Beginning and result on two instructions of the function itself.
    Placed,
    /// Nothing to do: the probe of this function sees its calls.
    Shared(TlsFunction),
    /// On the first instruction, which is single-stepped.
    Stepped,
}

impl Strategy {
    /// Whether it rests on more than the function's own arguments and result, and so needs a proof.
    #[must_use]
    pub const fn needs_proof(self) -> bool {
        match self {
            Self::Inner | Self::Placed | Self::Shared(_) => true,
            Self::Entry | Self::Stepped => false,
        }
    }
}

/// How one function is probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The function's position in the file.
    pub offset: u64,
    /// The function's first instruction, by name.
    pub first: String,
    /// Which way was taken.
    pub strategy: Strategy,
    /// Where the beginning of a call is seen, with the arguments where they were.
    pub enter: Point,
    /// Where its end is.
    pub leave: Leave,
    /// Where its byte count is.
    pub count: Count,
    /// Why not a cheaper way.
    pub why: &'static str,
}

impl Placement {
    /// Whether the kernel emulates the instruction that a call passes.
    #[must_use]
    pub fn is_cheap(&self) -> bool {
        self.strategy != Strategy::Stepped
    }

    /// Probes on the first instruction, whatever it is: always right, and dear where the kernel must single-step it.
    #[must_use]
    pub fn stepped(function: TlsFunction, offset: u64, first: String, why: &'static str) -> Self {
        Self {
            offset,
            strategy: Strategy::Stepped,
            enter: Point {
                offset,
                within: Some(0),
                instruction: first.clone(),
            },
            first,
            leave: if signature(function).returns {
                Leave::Return
            } else {
                Leave::Nothing
            },
            count: signature(function).count,
            why,
        }
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |f: &mut fmt::Formatter<'_>, point: &Point| match point.within {
            Some(within) => write!(f, "{} +{within:#x}", point.instruction),
            None => write!(f, "{} at {:#x}", point.instruction, point.offset),
        };
        match (self.strategy, &self.leave) {
            (Strategy::Shared(function), _) => write!(f, "seen by the probe of {}", function.symbol()),
            (strategy, leave) => {
                at(f, &self.enter)?;
                match leave {
                    Leave::Nothing => {}
                    Leave::Return => write!(f, ", and return")?,
                    Leave::At(point) => {
                        write!(f, ", and ")?;
                        at(f, point)?;
                    }
                }
                write!(
                    f,
                    " ({})",
                    match strategy {
                        Strategy::Inner => "of the function within",
                        Strategy::Placed => "placed",
                        Strategy::Stepped => "single-stepped",
                        Strategy::Entry | Strategy::Shared(_) => "emulated",
                    }
                )
            }
        }?;
        if self.why.is_empty() {
            return Ok(());
        }
        write!(f, ": {}", self.why)
    }
}

/// What must be known of a function at its points.
#[derive(Clone, Copy, Debug)]
struct Signature {
    /// Arguments that the probe reads, counted from the first.
    arguments: u8,
    /// Whether its end matters.
    returns: bool,
    /// Where its count is by its declaration.
    count: Count,
    /// Whether a function that it calls does its work.
    moves_bytes: bool,
}

const fn signature(function: TlsFunction) -> Signature {
    let (arguments, returns, count, moves_bytes) = match function {
        TlsFunction::Read | TlsFunction::Write => (3, true, Count::Result, true),
        TlsFunction::ReadEx | TlsFunction::WriteEx => (4, true, Count::Argument4, true),
        TlsFunction::SetFd | TlsFunction::SetRfd | TlsFunction::SetWfd => (2, false, Count::Result, false),
        TlsFunction::DoHandshake | TlsFunction::Accept | TlsFunction::Connect | TlsFunction::Shutdown => {
            (1, true, Count::Result, false)
        }
        TlsFunction::Free => (1, false, Count::Result, false),
    };
    Signature {
        arguments,
        returns,
        count,
        moves_bytes,
    }
}

/// How to probe each of `functions`.
#[must_use]
pub fn place(
    code: &Code<'_>,
    functions: &BTreeMap<TlsFunction, FileOffset>,
) -> BTreeMap<TlsFunction, Placement> {
    let mut placements: BTreeMap<TlsFunction, Placement> = functions
        .iter()
        .filter_map(|(function, offset)| {
            let placement = match code.machine {
                Machine::X86_64 => x86::place(code, *function, offset.0),
                Machine::Aarch64 => aarch64::place(code, *function, offset.0),
            };
            Some((*function, placement?))
        })
        .collect();
    share(&mut placements);
    placements
}

/// Entry and return probes on the first instructions, for comparison and for where nothing else is certain.
#[must_use]
pub fn stepped(
    placements: &BTreeMap<TlsFunction, Placement>,
    why: &'static str,
) -> BTreeMap<TlsFunction, Placement> {
    let at_first = |(function, placement): (&TlsFunction, &Placement)| {
        let first = placement.first.clone();
        (
            *function,
            Placement::stepped(*function, placement.offset, first, why),
        )
    };
    placements.iter().map(at_first).collect()
}

/// Where two functions call the same one, one probe there sees both.
fn share(placements: &mut BTreeMap<TlsFunction, Placement>) {
    for (plain, ex) in [
        (TlsFunction::Read, TlsFunction::ReadEx),
        (TlsFunction::Write, TlsFunction::WriteEx),
    ] {
        let Some(of_plain) = placements.get(&plain).cloned() else {
            continue;
        };
        if let Some(of_ex) = placements.get_mut(&ex)
            && of_plain.strategy == Strategy::Inner
            && of_ex.strategy == Strategy::Inner
            && (of_plain.enter.offset, of_plain.count) == (of_ex.enter.offset, of_ex.count)
        {
            of_ex.strategy = Strategy::Shared(plain);
        }
    }
}
