//! Register values by their iced-x86 names.

use iced_x86::Register;

use crate::ptrace::{Registers, XState};

/// The registers of a stopped thread.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// General registers and segments.
    pub registers: &'a Registers,
    /// x87, vector and mask registers, where they are needed.
    pub xstate: Option<&'a XState>,
}

impl View<'_> {
    /// The value that a register contributes to an address: base, index, or a segment's base.
    #[must_use]
    pub fn address_part(&self, register: Register) -> u64 {
        match register {
            Register::FS => self.registers.fs_base,
            Register::GS => self.registers.gs_base,
            _ => general(self.registers, register),
        }
    }

    /// Writes the register's value into `out`, as many bytes as there are. x87 registers are named relative to `top`.
    pub(super) fn copy(&self, register: Register, top: u8, out: &mut [u8]) {
        let mut value = [0; 64];
        if let Some(segment) = segment(self.registers, register) {
            value[..8].copy_from_slice(&segment.to_le_bytes());
        } else if let Some(xstate) = self.xstate.filter(|_| is_extended(register)) {
            extended(xstate, register, top, &mut value);
        } else {
            value[..8].copy_from_slice(&general(self.registers, register).to_le_bytes());
        }
        let length = out.len().min(value.len());
        out[..length].copy_from_slice(&value[..length]);
    }
}

/// Whether the register is part of the XSAVE area.
pub(super) fn is_extended(register: Register) -> bool {
    register.is_vector_register() || register.is_k() || register.is_st() || register.is_mm()
}

/// The top of the x87 stack.
pub(super) fn top(xstate: Option<&XState>) -> u8 {
    xstate.map_or(0, |state| (state.x87_status() >> 11 & 7) as u8)
}

fn extended(xstate: &XState, register: Register, top_before: u8, value: &mut [u8; 64]) {
    let number = register.number();
    if register.is_k() {
        value[..8].copy_from_slice(&xstate.k(number).to_le_bytes());
    } else if register.is_mm() {
        value[..8].copy_from_slice(&xstate.mm(number));
    } else if register.is_st() {
        // The physical register that the name meant when the instruction began, wherever the top is now.
        let physical = number + usize::from(top_before);
        let now = (physical + 8 - usize::from(top(Some(xstate)))) & 7;
        value[..10].copy_from_slice(&xstate.st(now));
    } else {
        *value = xstate.zmm(number);
    }
}

fn segment(regs: &Registers, register: Register) -> Option<u64> {
    Some(match register {
        Register::CS => regs.cs,
        Register::DS => regs.ds,
        Register::ES => regs.es,
        Register::FS => regs.fs,
        Register::GS => regs.gs,
        Register::SS => regs.ss,
        _ => return None,
    })
}

/// The value of a general register of any width; 0 for others (segments have base 0 in 64-bit code).
pub(super) fn general(regs: &Registers, register: Register) -> u64 {
    let full = match register.full_register() {
        Register::RAX => regs.rax,
        Register::RBX => regs.rbx,
        Register::RCX => regs.rcx,
        Register::RDX => regs.rdx,
        Register::RSI => regs.rsi,
        Register::RDI => regs.rdi,
        Register::RBP => regs.rbp,
        Register::RSP => regs.rsp,
        Register::R8 => regs.r8,
        Register::R9 => regs.r9,
        Register::R10 => regs.r10,
        Register::R11 => regs.r11,
        Register::R12 => regs.r12,
        Register::R13 => regs.r13,
        Register::R14 => regs.r14,
        Register::R15 => regs.r15,
        _ => return 0,
    };
    match register {
        Register::AH | Register::BH | Register::CH | Register::DH => full >> 8 & 0xff,
        _ => match register.size() {
            1 => full & 0xff,
            2 => full & 0xffff,
            4 => full & 0xffff_ffff,
            _ => full,
        },
    }
}
