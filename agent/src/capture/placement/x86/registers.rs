//! What is known of the registers while a function is followed, instruction by instruction.

use iced_x86::{Code as Opcode, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};

use crate::capture::placement::Count;

/// What is known of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// The argument of this number, counted from zero; an `int` one may be widened.
    Argument(u8),
    /// An address so many bytes from where the return address lies.
    Frame(i64),
    /// Zero.
    Zero,
    Unknown,
}

/// What is known of all of them.
#[derive(Clone, Debug)]
pub(super) struct Registers([Value; 16]);

impl Registers {
    /// At a function's first instruction (System V ABI for x86-64, 3.2.3).
    pub(super) fn at_entry() -> Self {
        let mut registers = Self([Value::Unknown; 16]);
        for (register, number) in [
            (Register::RDI, 0),
            (Register::RSI, 1),
            (Register::RDX, 2),
            (Register::RCX, 3),
            (Register::R8, 4),
        ] {
            registers.set(register, Value::Argument(number));
        }
        registers.set(Register::RSP, Value::Frame(0));
        registers
    }

    pub(super) fn get(&self, register: Register) -> Value {
        slot(register)
            .and_then(|slot| self.0.get(slot))
            .copied()
            .unwrap_or(Value::Unknown)
    }

    fn set(&mut self, register: Register, value: Value) {
        if let Some(known) = slot(register).and_then(|slot| self.0.get_mut(slot)) {
            *known = value;
        }
    }

    pub(super) fn holds_arguments(&self, count: u8) -> bool {
        [Register::RDI, Register::RSI, Register::RDX]
            .into_iter()
            .zip(0..count)
            .all(|(register, number)| self.get(register) == Value::Argument(number))
    }

    pub(super) fn stack_is_untouched(&self) -> bool {
        self.get(Register::RSP) == Value::Frame(0)
    }

    /// Which argument, if any, will point to the count for a function that is begun here.
    pub(super) fn count(&self, wanted: impl Fn(Value) -> bool) -> Option<Count> {
        let (fourth, fifth) = (self.get(Register::RCX), self.get(Register::R8));
        match (wanted(fourth), wanted(fifth)) {
            (true, false) => Some(Count::Argument4),
            // The flags of OpenSSL 3.4's `ssl_write_internal` stand before it (ssl/ssl_lib.c).
            (false, true) if fourth == Value::Zero => Some(Count::Argument5),
            _ => None,
        }
    }

    /// A call keeps the stack pointer and, of what is tracked, rbx, rbp and r12 to r15.
    pub(super) fn forget_after_call(&mut self) {
        for register in [
            Register::RAX,
            Register::RCX,
            Register::RDX,
            Register::RSI,
            Register::RDI,
            Register::R8,
            Register::R9,
            Register::R10,
            Register::R11,
        ] {
            self.set(register, Value::Unknown);
        }
    }

    pub(super) fn step(&mut self, instruction: &Instruction, info: &mut InstructionInfoFactory) {
        let after = self.known_effect(instruction);
        for used in info.info(instruction).used_registers() {
            match used.access() {
                OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite => {
                    self.set(used.register(), Value::Unknown);
                }
                OpAccess::None | OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess => {}
            }
        }
        if let Some((register, value)) = after {
            self.set(register, value);
        }
    }

    /// What the instruction makes of one register, where that is understood. `pop` makes two unknown or moved, and is seen by
    /// its effect on the stack pointer; its other register is unknown already.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a few of the processor's thousands of instructions"
    )]
    fn known_effect(&self, instruction: &Instruction) -> Option<(Register, Value)> {
        let target = instruction.op0_register();
        let to_target = |value| Some((target, value));
        match instruction.mnemonic() {
            Mnemonic::Push | Mnemonic::Pop if target.is_gpr64() && target != Register::RSP => {
                let moved = i64::from(instruction.stack_pointer_increment());
                Some((Register::RSP, self.get(Register::RSP).moved(Some(moved))))
            }
            Mnemonic::Sub | Mnemonic::Add if target.is_gpr64() && is_immediate(instruction) => {
                let amount = instruction.immediate(1).cast_signed();
                let by = match instruction.mnemonic() {
                    Mnemonic::Sub => amount.checked_neg(),
                    _ => Some(amount),
                };
                to_target(self.get(target).moved(by))
            }
            Mnemonic::Lea if target.is_gpr64() && instruction.memory_index() == Register::None => {
                let base = instruction.memory_base();
                let displacement = instruction.memory_displacement64().cast_signed();
                to_target(match base.is_gpr64() {
                    true => self.get(base).moved(Some(displacement)),
                    false => Value::Unknown,
                })
            }
            Mnemonic::Mov if is_register_pair(instruction) && target.is_gpr64() => {
                to_target(self.get(instruction.op1_register()))
            }
            Mnemonic::Movsxd
                if instruction.code() == Opcode::Movsxd_r64_rm32 && is_register_pair(instruction) =>
            {
                to_target(self.get(instruction.op1_register()).widened())
            }
            Mnemonic::Mov if is_register_pair(instruction) && target.is_gpr32() => {
                to_target(self.get(instruction.op1_register()).widened())
            }
            Mnemonic::Xor if is_register_pair(instruction) && target == instruction.op1_register() => {
                // Of 32 bits or more: then the upper half is zero too.
                (target.is_gpr32() || target.is_gpr64()).then_some((target, Value::Zero))
            }
            _ => None,
        }
    }
}

impl Value {
    /// The address plus `by`.
    fn moved(self, by: Option<i64>) -> Self {
        match (self, by) {
            (Self::Frame(at), Some(by)) => at.checked_add(by).map_or(Self::Unknown, Self::Frame),
            _ => Self::Unknown,
        }
    }

    /// What a move of 32 bits makes of it. Only the length is a number of that size; an address would be cut.
    const fn widened(self) -> Self {
        match self {
            Self::Argument(2) => self,
            Self::Argument(_) | Self::Frame(_) | Self::Zero | Self::Unknown => Self::Unknown,
        }
    }
}

pub(super) fn slot(register: Register) -> Option<usize> {
    let full = register.full_register();
    full.is_gpr64().then(|| full.number())
}

fn is_register_pair(instruction: &Instruction) -> bool {
    instruction.op0_kind() == OpKind::Register && instruction.op1_kind() == OpKind::Register
}

fn is_immediate(instruction: &Instruction) -> bool {
    instruction.op_count() == 2
        && instruction.op0_kind() == OpKind::Register
        && matches!(
            instruction.op1_kind(),
            OpKind::Immediate8to64 | OpKind::Immediate32to64
        )
}
