//! Points in aarch64 functions. Built from the processor's and the kernel's manuals and tested on bytes; nobody has run it yet,
//! which is why such points are never used without the self-test.
//!
//! In: a function's bytes. Out: its [`Placement`]. The kernel simulates direct and indirect branches, `adr` and literal loads
//! (`arch/arm64/kernel/probes/decode-insn.c`) and single-steps the rest. A return probe takes the return address from the link
//! register, so it may sit only where nothing has saved, signed or changed that register yet; behind that, the function's one
//! `ret` gives the result.

use super::{Code, Leave, Placement, Point, Signature, Strategy, signature};
use crate::capture::symbols::TlsFunction;

/// Most instructions before the beginning's point.
const LINE_INSTRUCTIONS: usize = 32;
const INSTRUCTION_BYTES: usize = 4;
const LINK_REGISTER: u32 = 30;

/// An instruction as far as the placement needs to know it (Arm Architecture Reference Manual, C4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `b.cond`, `cbz`, `cbnz`, `tbz`, `tbnz`, so many bytes away.
    ConditionalBranch(i64),
    /// `b`.
    Branch(i64),
    /// `bl`.
    Call,
    /// `br`.
    IndirectBranch,
    /// `blr`.
    IndirectCall,
    /// `ret` of the link register, without authentication.
    Return,
    /// `adr`, `adrp` and literal loads of general registers: simulated, and they write the register.
    SimulatedWrite(u32),
    /// `nop`, `bti`: no effect, and stepped.
    Nothing,
    /// `stp` or `str` of general registers, pre-indexed or with an offset, to the stack.
    Store([u32; 2]),
    /// Anything that writes one general register and is understood no further.
    Write(u32),
    Unknown,
}

impl Kind {
    const fn of(word: u32) -> Self {
        let register = word & 0x1f;
        match word {
            _ if word & 0xff00_0010 == 0x5400_0000 || word & 0x7e00_0000 == 0x3400_0000 => {
                Self::ConditionalBranch(displacement(word >> 5 & 0x7_ffff, 19))
            }
            _ if word & 0x7e00_0000 == 0x3600_0000 => {
                Self::ConditionalBranch(displacement(word >> 5 & 0x3fff, 14))
            }
            _ if word & 0xfc00_0000 == 0x1400_0000 => Self::Branch(displacement(word & 0x3ff_ffff, 26)),
            _ if word & 0xfc00_0000 == 0x9400_0000 => Self::Call,
            _ if word & 0xffff_fc1f == 0xd61f_0000 => Self::IndirectBranch,
            _ if word & 0xffff_fc1f == 0xd63f_0000 => Self::IndirectCall,
            0xd65f_03c0 => Self::Return,
            _ if word & 0x1f00_0000 == 0x1000_0000 => Self::SimulatedWrite(register),
            // ldr (literal) of 32 and 64 bits, and ldrsw.
            _ if word & 0xff00_0000 == 0x1800_0000
                || word & 0xff00_0000 == 0x5800_0000
                || word & 0xff00_0000 == 0x9800_0000 =>
            {
                Self::SimulatedWrite(register)
            }
            // nop, bti, bti c, bti j, bti jc.
            0xd503_201f | 0xd503_241f | 0xd503_245f | 0xd503_249f | 0xd503_24df => Self::Nothing,
            // stp of 64-bit registers with sp as base, signed offset or pre-indexed.
            _ if word & 0xffc0_03e0 == 0xa900_03e0 || word & 0xffc0_03e0 == 0xa980_03e0 => {
                Self::Store([register, word >> 10 & 0x1f])
            }
            // str of a 64-bit register with sp as base, pre-indexed or unsigned offset.
            _ if word & 0xffe0_0fe0 == 0xf800_0fe0 || word & 0xffc0_03e0 == 0xf900_03e0 => {
                Self::Store([register, register])
            }
            // Data processing with an immediate, and of registers; loads of 64 or 32 bits at an unsigned offset.
            _ if word & 0x1c00_0000 == 0x1000_0000
                || word & 0x0e00_0000 == 0x0a00_0000
                || word & 0xbfc0_0000 == 0xb940_0000 =>
            {
                Self::Write(register)
            }
            _ => Self::Unknown,
        }
    }

    /// Whether the kernel simulates it.
    const fn is_simulated(self) -> bool {
        match self {
            Self::ConditionalBranch(_)
            | Self::Branch(_)
            | Self::Call
            | Self::IndirectBranch
            | Self::IndirectCall
            | Self::Return
            | Self::SimulatedWrite(_) => true,
            Self::Nothing | Self::Store(_) | Self::Write(_) | Self::Unknown => false,
        }
    }
}

/// A signed count of instructions in the low `bits`, as bytes.
#[expect(clippy::as_conversions, reason = "a widening; conversions are not const")]
const fn displacement(field: u32, bits: u32) -> i64 {
    let shift = 64 - bits;
    ((field as i64) << shift) >> shift << 2
}

/// A function's instructions with their positions.
struct Function {
    start: u64,
    words: Vec<u32>,
}

impl Function {
    fn new(bytes: &[u8], start: u64) -> Self {
        let (words, _rest) = bytes.as_chunks::<INSTRUCTION_BYTES>();
        Self {
            start,
            words: words.iter().map(|word| u32::from_le_bytes(*word)).collect(),
        }
    }

    fn instructions(&self) -> impl Iterator<Item = (u64, Kind)> + '_ {
        (self.start..)
            .step_by(INSTRUCTION_BYTES)
            .zip(&self.words)
            .map(|(at, word)| (at, Kind::of(*word)))
    }

    fn end(&self) -> u64 {
        let bytes = self.words.len().saturating_mul(INSTRUCTION_BYTES);
        self.start
            .saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX))
    }

    fn is_within(&self, at: u64) -> bool {
        (self.start..self.end()).contains(&at)
    }

    /// Where its branches lead.
    fn targets(&self) -> impl Iterator<Item = u64> + '_ {
        self.instructions().filter_map(|(at, kind)| match kind {
            Kind::ConditionalBranch(by) | Kind::Branch(by) => at.checked_add_signed(by),
            Kind::Call
            | Kind::IndirectBranch
            | Kind::IndirectCall
            | Kind::Return
            | Kind::SimulatedWrite(_)
            | Kind::Nothing
            | Kind::Store(_)
            | Kind::Write(_)
            | Kind::Unknown => None,
        })
    }

    /// The first simulated instruction with the first `arguments` registers as they were, and whether the link register is still
    /// as the caller left it.
    fn beginning(&self, arguments: u32) -> Option<(u64, Kind, LinkRegister)> {
        let mut link = LinkRegister::Untouched;
        for (at, kind) in self.instructions().take(LINE_INSTRUCTIONS) {
            if at != self.start && self.targets().any(|target| target == at) {
                return None;
            }
            if kind.is_simulated() {
                return Some((at, kind, link));
            }
            match kind {
                // `paciasp` is among the unknown.
                Kind::Unknown => link = LinkRegister::Moved,
                Kind::Store(registers) if registers.contains(&LINK_REGISTER) => link = LinkRegister::Moved,
                Kind::Write(LINK_REGISTER) => link = LinkRegister::Moved,
                Kind::Write(register) if register < arguments => return None,
                Kind::Store(_) | Kind::Write(_) | Kind::Nothing => {}
                // Simulated: answered above.
                Kind::ConditionalBranch(_)
                | Kind::Branch(_)
                | Kind::Call
                | Kind::IndirectBranch
                | Kind::IndirectCall
                | Kind::Return
                | Kind::SimulatedWrite(_) => {}
            }
            if kind == Kind::Unknown && !self.is_prologue(at) {
                return None;
            }
        }
        None
    }

    /// Whether the instruction there is one that prologues have, and that touches no argument: `paciasp`.
    fn is_prologue(&self, at: u64) -> bool {
        const PACIASP: u32 = 0xd503_233f;
        let index = at.checked_sub(self.start).map(usize::try_from);
        let Some(Ok(bytes)) = index else { return false };
        self.words.get(bytes / INSTRUCTION_BYTES) == Some(&PACIASP)
    }

    /// Its only `ret`, if it ends in no other way.
    fn only_return(&self) -> Option<u64> {
        let mut found = None;
        for (at, kind) in self.instructions() {
            match kind {
                Kind::Return if found.is_some() => return None,
                Kind::Return => found = Some(at),
                Kind::IndirectBranch => return None,
                Kind::Branch(by) if !at.checked_add_signed(by).is_some_and(|to| self.is_within(to)) => {
                    return None;
                }
                Kind::Branch(_)
                | Kind::ConditionalBranch(_)
                | Kind::Call
                | Kind::IndirectCall
                | Kind::SimulatedWrite(_)
                | Kind::Nothing
                | Kind::Store(_)
                | Kind::Write(_)
                | Kind::Unknown => {}
            }
        }
        found
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinkRegister {
    Untouched,
    Moved,
}

/// How to probe the function at `offset`; nothing if there is no code.
pub(super) fn place(code: &Code<'_>, function: TlsFunction, offset: u64) -> Option<Placement> {
    let bytes = code.function(function, offset)?;
    // Its end must be known: the only `ret` of what follows would be another function's.
    let has_end = code.sizes.get(&function).is_some_and(|size| *size > 0);
    let body = Function::new(bytes, offset);
    let first = Kind::of(*body.words.first()?);
    let wanted: Signature = signature(function);
    let stepped = |why| Some(Placement::stepped(function, offset, name(first).to_owned(), why));
    let Some((at, kind, link)) = body.beginning(u32::from(wanted.arguments)) else {
        return stepped("no simulated instruction before its arguments are gone");
    };
    let point = |at: u64, kind| Point {
        offset: at,
        within: at.checked_sub(offset),
        instruction: name(kind).to_owned(),
    };
    let (strategy, leave) = if !wanted.returns {
        (Strategy::Entry, Leave::Nothing)
    } else if link == LinkRegister::Untouched {
        (Strategy::Entry, Leave::Return)
    } else {
        match body.only_return().filter(|_| has_end) {
            Some(end) => (Strategy::Placed, Leave::At(point(end, Kind::Return))),
            None => {
                return stepped(
                    "the link register moves before a simulated instruction, and it has not one return",
                );
            }
        }
    };
    Some(Placement {
        offset,
        first: name(first).to_owned(),
        strategy,
        enter: point(at, kind),
        leave,
        count: wanted.count,
        why: "",
    })
}

const fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::ConditionalBranch(_) => "b.cond",
        Kind::Branch(_) => "b",
        Kind::Call => "bl",
        Kind::IndirectBranch => "br",
        Kind::IndirectCall => "blr",
        Kind::Return => "ret",
        Kind::SimulatedWrite(_) => "adr",
        Kind::Nothing => "nop",
        Kind::Store(_) => "stp",
        Kind::Write(_) | Kind::Unknown => "stepped instruction",
    }
}

#[cfg(test)]
mod tests;
