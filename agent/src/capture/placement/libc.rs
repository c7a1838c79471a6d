//! Where in one of libc's system call functions a probe sees arguments and result together.
//!
//! In: a function's machine code and the call that it is expected to make. Out: a [`Placement`]. Pure.
//!
//! glibc looks at a call's result right behind it: `syscall; cmp $-4096,%rax; ja …`. At that jump, which the kernel emulates,
//! `rax` is the result and the other registers still hold the call's arguments: one cheap probe a call. Every such
//! instruction of the function needs one (glibc has two, with and without threads). A function that leaves the call to
//! another one (musl, glibc from 2.41 on), and every function of other processors, where the result takes the place of an
//! argument, is probed at entry and return.

use std::collections::BTreeSet;

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess,
    OpKind, Register,
};

use super::emulated::is_emulated;

/// Where a function's probes go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Behind each of its system calls: distances from the function's start.
    Behind(Vec<u64>),
    /// At entry and return.
    EntryAndReturn,
    /// Nowhere: it only passes on to another function that is probed.
    Forwards,
}

/// A function as its file has it.
#[derive(Clone, Copy, Debug)]
pub struct Function<'a> {
    /// Its machine code.
    pub code: &'a [u8],
    /// Its virtual address in the file.
    pub address: u64,
    /// The system call that it makes.
    pub number: i64,
}

/// Processors whose code is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processor {
    /// x86-64.
    X86_64,
    /// 64-bit ARM.
    Aarch64,
}

/// Places the probes of `function`; `probed` are the addresses of all functions that are to be probed.
#[must_use]
pub fn place(processor: Processor, function: &Function<'_>, probed: &BTreeSet<u64>) -> Placement {
    let targets = match processor {
        Processor::X86_64 => {
            let code = decode(function);
            match behind_calls(&code, function) {
                Some(points) if !points.is_empty() => return Placement::Behind(points),
                Some(_) => direct_targets(&code),
                // There is a call, so nothing is left to others.
                None => return Placement::EntryAndReturn,
            }
        }
        Processor::Aarch64 => aarch64_targets(function),
    };
    let passes_on = targets
        .iter()
        .any(|target| *target != function.address && probed.contains(target));
    if passes_on {
        Placement::Forwards
    } else {
        Placement::EntryAndReturn
    }
}

fn decode(function: &Function<'_>) -> Vec<Instruction> {
    Decoder::with_ip(64, function.code, function.address, DecoderOptions::NONE)
        .into_iter()
        .collect()
}

/// The points behind the function's calls; none where one of them is not as expected.
fn behind_calls(code: &[Instruction], function: &Function<'_>) -> Option<Vec<u64>> {
    let targets: BTreeSet<u64> = direct_targets(code).into_iter().collect();
    let mut points = Vec::new();
    for (index, instruction) in code.iter().enumerate() {
        if instruction.code() != Code::Syscall {
            continue;
        }
        match number_before(code.get(..index)?) {
            Some(other) if other != function.number => continue,
            Some(_) => {}
            None => return None,
        }
        let compare = code.get(index + 1)?;
        let jump = code.get(index + 2)?;
        // Who jumps into the middle has made another call, or none.
        let is_jumped_at = targets.contains(&compare.ip()) || targets.contains(&jump.ip());
        if !compares_with_errors(compare) || !jumps_on_errors(jump) || is_jumped_at {
            return None;
        }
        points.push(jump.ip().checked_sub(function.address)?);
    }
    Some(points)
}

/// The constant that was last put into `rax`, which is where a call's number goes.
fn number_before(code: &[Instruction]) -> Option<i64> {
    let mut info = InstructionInfoFactory::new();
    let setter = code.iter().rev().find(|instruction| {
        info.info(instruction).used_registers().iter().any(|used| {
            used.register().full_register() == Register::RAX
                && matches!(
                    used.access(),
                    OpAccess::Write | OpAccess::ReadWrite | OpAccess::CondWrite | OpAccess::ReadCondWrite
                )
        })
    })?;
    let to_eax = setter.op0_kind() == OpKind::Register && setter.op0_register() == Register::EAX;
    let is = |mnemonic| to_eax && setter.mnemonic() == mnemonic;
    if is(Mnemonic::Mov) && setter.op1_kind() == OpKind::Immediate32 {
        Some(i64::from(setter.immediate32()))
    } else {
        (is(Mnemonic::Xor) && setter.op1_register() == Register::EAX).then_some(0)
    }
}

/// `cmp $-4095,%rax` or `cmp $-4096,%rax`: results between -4095 and -1 are errors.
fn compares_with_errors(instruction: &Instruction) -> bool {
    matches!(
        instruction.code(),
        Code::Cmp_RAX_imm32 | Code::Cmp_rm64_imm32 | Code::Cmp_rm64_imm8
    ) && instruction.op0_register() == Register::RAX
        && (-4096..=-4095).contains(&instruction.immediate(1).cast_signed())
}

fn jumps_on_errors(instruction: &Instruction) -> bool {
    matches!(instruction.mnemonic(), Mnemonic::Ja | Mnemonic::Jae) && is_emulated(instruction)
}

/// Where direct jumps and calls lead.
fn direct_targets(code: &[Instruction]) -> Vec<u64> {
    code.iter()
        .filter(|instruction| {
            matches!(
                instruction.flow_control(),
                FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch | FlowControl::Call
            ) && instruction.op0_kind() == OpKind::NearBranch64
        })
        .map(Instruction::near_branch_target)
        .collect()
}

/// Where `b` and `bl` lead (C6.2.26 and C6.2.33 of the Arm Architecture Reference Manual): 26 bits, in words.
fn aarch64_targets(function: &Function<'_>) -> Vec<u64> {
    const OPCODE_MASK: u32 = 0x7c00_0000;
    const BRANCH: u32 = 0x1400_0000;
    let words = function.code.as_chunks::<4>().0;
    (function.address..)
        .step_by(4)
        .zip(words)
        .filter_map(|(at, word)| {
            let word = u32::from_le_bytes(*word);
            // The sign is the uppermost of the 26 bits; the two bits that fall off make bytes of words.
            let distance = i64::from((word << 6).cast_signed() >> 4);
            (word & OPCODE_MASK == BRANCH).then(|| at.wrapping_add_signed(distance))
        })
        .collect()
}

#[cfg(test)]
mod tests;
