//! Points in x86-64 functions.
//!
//! In: a function's bytes. Out: its [`Placement`]. The code is followed in a straight line from the first instruction, and what
//! each register holds is kept as far as it can be told: an argument, an address in the frame, zero. An instruction that is not
//! understood makes what it writes unknown. The line ends where another path could join it, so that what is said of a point
//! holds for every call that reaches it.
//!
//! A return probe takes the return address from the top of the stack, so it can sit on any instruction before the stack pointer
//! moves, not only on the first: behind `endbr64`, or behind a test of an argument.

mod registers;

use std::collections::BTreeSet;

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, OpAccess, OpKind, Register,
};

use registers::{Registers, Value, slot};

use super::emulated::is_emulated;
use super::{Code, Count, Leave, Placement, Point, Signature, Strategy, signature};
use crate::capture::symbols::TlsFunction;

/// Most instructions from the first one on that are followed.
const LINE_INSTRUCTIONS: usize = 64;

/// Whether it can go on elsewhere than at the next instruction.
fn branches(instruction: &Instruction) -> bool {
    instruction.flow_control() != FlowControl::Next
}

/// The straight line from a function's first instruction.
struct Line<'a> {
    decoder: Decoder<'a>,
    info: InstructionInfoFactory,
    /// Addresses that branches of the same function lead to.
    targets: BTreeSet<u64>,
    start: u64,
    left: usize,
    registers: Registers,
}

impl<'a> Line<'a> {
    fn new(bytes: &'a [u8], start: u64) -> Self {
        Self {
            decoder: decoder(bytes, start),
            info: InstructionInfoFactory::new(),
            targets: targets(bytes, start),
            start,
            left: LINE_INSTRUCTIONS,
            registers: Registers::at_entry(),
        }
    }

    /// The next instruction, which `registers` are before; nothing where the line ends.
    fn next(&mut self) -> Option<Instruction> {
        self.left = self.left.checked_sub(1)?;
        if !self.decoder.can_decode() {
            return None;
        }
        let instruction = self.decoder.decode();
        let joined = instruction.ip() != self.start && self.targets.contains(&instruction.ip());
        (!instruction.is_invalid() && !joined).then_some(instruction)
    }

    fn step(&mut self, instruction: &Instruction) {
        self.registers.step(instruction, &mut self.info);
    }
}

fn decoder(bytes: &[u8], start: u64) -> Decoder<'_> {
    Decoder::with_ip(64, bytes, start, DecoderOptions::NONE)
}

fn targets(bytes: &[u8], start: u64) -> BTreeSet<u64> {
    decoder(bytes, start)
        .into_iter()
        .filter(|instruction| {
            matches!(
                instruction.flow_control(),
                FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
            ) && instruction.op0_kind() == OpKind::NearBranch64
        })
        .map(|branch| branch.near_branch64())
        .collect()
}

fn point(instruction: &Instruction, within_start: Option<u64>) -> Point {
    Point {
        offset: instruction.ip(),
        within: within_start.and_then(|start| instruction.ip().checked_sub(start)),
        instruction: name(instruction),
    }
}

fn name(instruction: &Instruction) -> String {
    format!("{:?}", instruction.mnemonic()).to_ascii_lowercase()
}

/// How to probe the function at `offset`; nothing if there is no code.
pub(super) fn place(code: &Code<'_>, function: TlsFunction, offset: u64) -> Option<Placement> {
    let bytes = code.function(function, offset)?;
    let wanted = signature(function);
    let first = Line::new(bytes, offset).next()?;
    let placement = |strategy, enter, leave, count| Placement {
        offset,
        first: name(&first),
        strategy,
        enter,
        leave,
        count,
        why: "",
    };
    if let Some((enter, count)) = beginning(bytes, offset, &wanted, |registers| match wanted.count {
        Count::Result => Some(Count::Result),
        Count::Argument4 | Count::Argument5 | Count::Local(_) => {
            registers.count(|value| value == Value::Argument(3))
        }
    }) {
        let leave = if wanted.returns {
            Leave::Return
        } else {
            Leave::Nothing
        };
        return Some(placement(
            Strategy::Entry,
            point(&enter, Some(offset)),
            leave,
            count,
        ));
    }
    let stepped = |why| Some(Placement::stepped(function, offset, name(&first), why));
    if !wanted.moves_bytes {
        return stepped("no emulated instruction before its arguments or the stack pointer move");
    }
    let Some(body) = Body::of(bytes, offset, &wanted) else {
        return stepped("no call that its arguments and the place of the count are handed to");
    };
    let inner = code.at(body.callee).and_then(|inner| {
        beginning(inner, body.callee, &wanted, |registers| {
            body.count.is_in(registers).then_some(())
        })
    });
    if let Some((enter, ())) = inner {
        return Some(placement(
            Strategy::Inner,
            point(&enter, None),
            Leave::Return,
            body.count,
        ));
    }
    if let Some((enter, out, count)) = body.own_points() {
        return Some(placement(Strategy::Placed, enter, Leave::At(out), count));
    }
    stepped("what it calls begins without an emulated instruction, and the result meets none")
}

/// The first emulated instruction before the arguments are gone, and what `known` says there. If the return is wanted, only one
/// before the stack pointer moves. Not past the first branch.
fn beginning<T>(
    bytes: &[u8],
    start: u64,
    wanted: &Signature,
    known: impl Fn(&Registers) -> Option<T>,
) -> Option<(Instruction, T)> {
    let mut line = Line::new(bytes, start);
    while let Some(instruction) = line.next() {
        let registers = &line.registers;
        if !registers.holds_arguments(wanted.arguments) || (wanted.returns && !registers.stack_is_untouched())
        {
            return None;
        }
        if let Some(known) = known(registers).filter(|_| is_emulated(&instruction)) {
            return Some((instruction, known));
        }
        if branches(&instruction) {
            return None;
        }
        line.step(&instruction);
    }
    None
}

impl Count {
    /// Whether the argument that points to it is where it is handed over.
    fn is_in(self, registers: &Registers) -> bool {
        match self {
            Self::Argument4 => registers.get(Register::RCX) == Value::Argument(3),
            Self::Argument5 => registers.get(Register::R8) == Value::Argument(4),
            Self::Result | Self::Local(_) => false,
        }
    }
}

/// What a function that leaves its work to another one does before and after.
struct Body {
    /// The other one's position.
    callee: u64,
    /// Which of its arguments points to the count.
    count: Count,
    /// An emulated instruction before, with the arguments where they were.
    enter: Option<Point>,
    /// An emulated branch after it, where the register for results still has its result, and how far above the stack pointer
    /// the count is there.
    settled: Option<(Point, u16)>,
}

impl Body {
    /// Where its calls begin and where their results are known, both in itself.
    fn own_points(self) -> Option<(Point, Point, Count)> {
        let (settled, displacement) = self.settled?;
        Some((self.enter?, settled, Count::Local(displacement)))
    }

    fn of(bytes: &[u8], start: u64, signature: &Signature) -> Option<Self> {
        let has_count = signature.count != Count::Result;
        let wanted = |value| match value {
            Value::Frame(_) => !has_count,
            Value::Argument(3) => has_count,
            Value::Argument(_) | Value::Zero | Value::Unknown => false,
        };
        let mut line = Line::new(bytes, start);
        let (mut enter, mut is_past_branch) = (None, false);
        loop {
            let instruction = line.next()?;
            if enter.is_none()
                && !is_past_branch
                && is_emulated(&instruction)
                && line.registers.holds_arguments(signature.arguments)
            {
                enter = Some(point(&instruction, Some(start)));
            }
            match instruction.flow_control() {
                FlowControl::Next => line.step(&instruction),
                FlowControl::ConditionalBranch => is_past_branch = true,
                FlowControl::Call | FlowControl::UnconditionalBranch
                    if instruction.op0_kind() == OpKind::NearBranch64
                        && line.registers.holds_arguments(3) =>
                {
                    let count = line.registers.count(wanted)?;
                    let settled = match (instruction.flow_control(), count) {
                        (FlowControl::Call, Count::Argument4) => settled(&mut line, Register::RCX, start),
                        (FlowControl::Call, Count::Argument5) => settled(&mut line, Register::R8, start),
                        _ => None,
                    };
                    return Some(Self {
                        callee: instruction.near_branch64(),
                        count,
                        enter,
                        settled,
                    });
                }
                FlowControl::Call
                | FlowControl::UnconditionalBranch
                | FlowControl::Return
                | FlowControl::IndirectBranch
                | FlowControl::IndirectCall
                | FlowControl::Interrupt
                | FlowControl::XbeginXabortXend
                | FlowControl::Exception => return None,
            }
        }
    }
}

/// The first branch after a call, if it is reached with the result in its register. `pointer` held the count's address at the
/// call. The stack pointer is the same before and after.
fn settled(line: &mut Line<'_>, pointer: Register, start: u64) -> Option<(Point, u16)> {
    let Value::Frame(count) = line.registers.get(pointer) else {
        return None;
    };
    line.registers.forget_after_call();
    loop {
        let instruction = line.next()?;
        if instruction.flow_control() == FlowControl::ConditionalBranch {
            let Value::Frame(stack) = line.registers.get(Register::RSP) else {
                return None;
            };
            let displacement = u16::try_from(count.checked_sub(stack)?).ok()?;
            return is_emulated(&instruction).then(|| (point(&instruction, Some(start)), displacement));
        }
        if branches(&instruction)
            || line
                .info
                .info(&instruction)
                .used_registers()
                .iter()
                .any(writes_result)
        {
            return None;
        }
        line.step(&instruction);
    }
}

fn writes_result(used: &iced_x86::UsedRegister) -> bool {
    slot(used.register()) == slot(Register::RAX)
        && !matches!(
            used.access(),
            OpAccess::None | OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess
        )
}

/// Points in the function itself, where [`place`] would choose those of the function within.
#[cfg(test)]
pub fn place_in_itself(code: &Code<'_>, function: TlsFunction, known: &Placement) -> Option<Placement> {
    let bytes = code.function(function, known.offset)?;
    let (enter, out, count) = Body::of(bytes, known.offset, &signature(function))?.own_points()?;
    Some(Placement {
        strategy: Strategy::Placed,
        enter,
        leave: Leave::At(out),
        count,
        ..known.clone()
    })
}

#[cfg(test)]
mod tests;
