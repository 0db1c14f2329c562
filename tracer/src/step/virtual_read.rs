//! Instructions that must not execute as they are: those that read what is virtual in a controlled run.

use iced_x86::{OpKind, Register};

use super::decoded::{Decoded, Kind};
use super::values::View;
use crate::process::{VirtualTsc, virtual_cpuid};
use crate::ptrace::Registers;

/// The registers after an instruction that reads the time-stamp counter or tells processors apart, or that loads `ss` with what it holds (no
/// trap would come after a step over that). `None`: it is to be executed.
pub fn virtual_read(
    decoded: &Decoded,
    before: &Registers,
    controlled: bool,
    tsc: &mut VirtualTsc,
) -> Option<Registers> {
    let mut after = *before;
    match decoded.kind {
        Kind::Rdtsc | Kind::Rdtscp if controlled => {
            let value = tsc.read();
            after.rax = value & 0xffff_ffff;
            after.rdx = value >> 32;
            if decoded.kind == Kind::Rdtscp {
                after.rcx = 0;
            }
        }
        Kind::Cpuid if controlled => {
            let answer = virtual_cpuid(before.rax as u32, before.rcx as u32);
            [after.rax, after.rbx, after.rcx, after.rdx] = answer.map(u64::from);
        }
        Kind::Rdpid if controlled => {
            set_general(&mut after, decoded.instruction.op0_register(), 0);
        }
        Kind::LoadStackSegment if loads_same(decoded, before) => {}
        _ => return None,
    }
    after.rip = decoded.next();
    after.orig_rax = u64::MAX;
    Some(after)
}

/// `mov ss, reg` with the selector that `ss` has.
fn loads_same(decoded: &Decoded, registers: &Registers) -> bool {
    let instruction = &decoded.instruction;
    instruction.op1_kind() == OpKind::Register && {
        let view = View {
            registers,
            xstate: None,
        };
        view.address_part(instruction.op1_register()) & 0xffff == registers.ss
    }
}

fn set_general(registers: &mut Registers, register: Register, value: u64) {
    use Register as R;
    let place = match register.full_register() {
        R::RAX => &mut registers.rax,
        R::RBX => &mut registers.rbx,
        R::RCX => &mut registers.rcx,
        R::RDX => &mut registers.rdx,
        R::RSI => &mut registers.rsi,
        R::RDI => &mut registers.rdi,
        R::RBP => &mut registers.rbp,
        R::RSP => &mut registers.rsp,
        R::R8 => &mut registers.r8,
        R::R9 => &mut registers.r9,
        R::R10 => &mut registers.r10,
        R::R11 => &mut registers.r11,
        R::R12 => &mut registers.r12,
        R::R13 => &mut registers.r13,
        R::R14 => &mut registers.r14,
        R::R15 => &mut registers.r15,
        _ => return,
    };
    *place = value;
}
