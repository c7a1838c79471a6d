//! Which x86-64 instructions the kernel's uprobes emulate. Every other one is single-stepped out of line, which costs a
//! second trap: 12 to 35 µs instead of 0.7 in a virtual machine.
//!
//! The rules are those of `branch_setup_xol_ops` and `push_setup_xol_ops` in the kernel's `arch/x86/kernel/uprobes.c`, as
//! far as every kernel from 5.8 on has them.

use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind};

/// Whether a uprobe on `instruction` is emulated on every kernel that kongtap runs on.
#[must_use]
pub fn is_emulated(instruction: &Instruction) -> bool {
    match instruction.flow_control() {
        // With the operand size prefix the kernel declines.
        FlowControl::ConditionalBranch => instruction.is_jcc_short_or_near() && is_near64(instruction),
        FlowControl::UnconditionalBranch | FlowControl::Call => is_near64(instruction),
        FlowControl::Next => is_push_of_register(instruction) || is_single_byte_nop(instruction),
        FlowControl::Return
        | FlowControl::IndirectBranch
        | FlowControl::IndirectCall
        | FlowControl::Interrupt
        | FlowControl::XbeginXabortXend
        | FlowControl::Exception => false,
    }
}

fn is_push_of_register(instruction: &Instruction) -> bool {
    instruction.mnemonic() == Mnemonic::Push
        && instruction.op0_kind() == OpKind::Register
        && instruction.op0_register().is_gpr64()
}

fn is_single_byte_nop(instruction: &Instruction) -> bool {
    instruction.mnemonic() == Mnemonic::Nop && instruction.len() == 1
}

/// A direct branch to a 64-bit address, with no operand size prefix.
fn is_near64(instruction: &Instruction) -> bool {
    instruction.op0_kind() == OpKind::NearBranch64
}

#[cfg(test)]
mod tests {
    use iced_x86::{Decoder, DecoderOptions};

    use super::is_emulated;

    #[test]
    fn the_kernels_table() {
        for (code, expected) in [
            (&[0x55_u8][..], true),               // push rbp
            (&[0x41, 0x54], true),                // push r12
            (&[0x90], true),                      // nop
            (&[0x78, 0x05], true),                // js short
            (&[0x0f, 0x8e, 0x10, 0, 0, 0], true), // jle near
            (&[0xeb, 0x05], true),                // jmp short
            (&[0xe9, 0x10, 0, 0, 0], true),       // jmp near
            (&[0xe8, 0x10, 0, 0, 0], true),       // call
            (&[0xf3, 0x0f, 0x1e, 0xfa], false),   // endbr64
            (&[0x0f, 0x1f, 0x40, 0x00], false),   // nop of four bytes: only newer kernels
            (&[0x48, 0x83, 0xec, 0x18], false),   // sub rsp
            (&[0x89, 0xf8], false),               // mov
            (&[0x85, 0xd2], false),               // test
            (&[0xff, 0x25, 0, 0, 0, 0], false),   // jmp through memory
            (&[0xff, 0xd0], false),               // call through a register
            (&[0x6a, 0x01], false),               // push of a constant
            (&[0xe3, 0x05], false),               // jrcxz
            (&[0xc3], false),                     // ret
        ] {
            let instruction = Decoder::with_ip(64, code, 0x1000, DecoderOptions::NONE).decode();
            assert_eq!(is_emulated(&instruction), expected, "{code:x?}");
        }
    }
}
