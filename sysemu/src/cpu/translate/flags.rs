//! Instructions on RFLAGS as a whole, and on the flags that are no status.
//!
//! Those that may let an interrupt in go the slow way where one is pending: then the interpreter ends the block, and the loop takes it.

use super::block::Builder;
use super::layout;
use crate::cpu::flags::{AC, DF, ID, IF, IOPL, NT, TF};
use crate::cpu::tlb::{SUPERVISOR, SUPERVISOR_AC};
use dynasmrt::{DynasmApi, DynasmLabelApi, dynasm};
use iced_x86::{Instruction, Mnemonic};

impl Builder<'_> {
    /// Emits one of these; false where it is none, and nothing was emitted.
    pub(super) fn flags(&mut self, i: &Instruction, site: usize) -> bool {
        match i.mnemonic() {
            Mnemonic::Cld => self.direction(false),
            Mnemonic::Std => self.direction(true),
            Mnemonic::Pushfq => self.push_flags(site),
            _ if self.mode.user() => return false,
            Mnemonic::Stac => self.access_flag(true),
            Mnemonic::Clac => self.access_flag(false),
            Mnemonic::Cli => self.disable_interrupts(),
            // No interrupt is taken before the next instruction, which must follow in this block.
            Mnemonic::Sti if !self.is_last(site) => self.enable_interrupts(site),
            Mnemonic::Popfq => self.pop_flags(site),
            _ => return false,
        }
        true
    }

    fn direction(&mut self, set: bool) {
        self.code.lose_flags();
        let (bits, others) = (DF as i32, !(DF as i32));
        if set {
            dynasm!(self.code.ops; .arch x64; or DWORD [rbp + layout::RFLAGS], bits);
        } else {
            dynasm!(self.code.ops; .arch x64; and DWORD [rbp + layout::RFLAGS], others);
        }
    }

    /// `stac`, `clac`: from the next instruction on, another mode.
    fn access_flag(&mut self, set: bool) {
        self.code.lose_flags();
        let (class, bits) = if set {
            (SUPERVISOR_AC, AC as i32)
        } else {
            (SUPERVISOR, 0)
        };
        let others = !(AC as i32);
        dynasm!(self.code.ops; .arch x64
            ; and DWORD [rbp + layout::RFLAGS], others
            ; or DWORD [rbp + layout::RFLAGS], bits
            ; mov QWORD [rbp + layout::CLASS], class as i32);
        self.mode = self.mode.with_ac(set);
    }

    fn disable_interrupts(&mut self) {
        self.code.lose_flags();
        let others = !(IF as i32);
        dynasm!(self.code.ops; .arch x64; and DWORD [rbp + layout::RFLAGS], others);
    }

    fn enable_interrupts(&mut self, site: usize) {
        self.code.lose_flags();
        let access = self.detour();
        let slow = access.label();
        dynasm!(self.code.ops; .arch x64
            ; cmp BYTE [rbp + layout::PENDING], 0
            ; jne =>slow
            ; or DWORD [rbp + layout::RFLAGS], IF as i32);
        self.accessed(access, site);
    }

    fn push_flags(&mut self, site: usize) {
        let access = self.push_address();
        self.code.fold();
        dynasm!(self.code.ops; .arch x64
            ; mov r15d, eax
            ; shr r15d, 8
            ; and r15d, 0xd5
            ; push rax
            ; and eax, 1
            ; shl eax, 11
            ; or r15d, eax
            ; pop rax
            ; or r15, [rbp + layout::RFLAGS]
            ; mov [r11], r15
            ; lea r9, [r9 - 8]);
        self.accessed(access, site);
    }

    /// Quick where nothing but status and the interrupt flag changes.
    fn pop_flags(&mut self, site: usize) {
        const OTHERS: i32 = (TF | DF | IOPL | NT | AC | ID) as i32;
        const ENABLE: i32 = IF as i32;
        self.code.lose_flags();
        self.code.copy(super::registers::FIRST, 9);
        let access = self.look_up(8, false);
        let slow = access.label();
        dynasm!(self.code.ops; .arch x64
            ; mov r11, [r15 + r11]
            ; mov r15, r11
            ; xor r15, [rbp + layout::RFLAGS]
            ; test r15d, OTHERS
            ; jne =>slow
            ; test r11d, ENABLE
            ; je >off
            ; cmp BYTE [rbp + layout::PENDING], 0
            ; jne =>slow
            ; off:
            ; and r15d, ENABLE
            ; xor [rbp + layout::RFLAGS], r15d
            ; mov eax, r11d
            ; shl eax, 8
            ; and eax, 0xd500
            ; or eax, 0x200
            ; shr r11d, 11
            ; and r11d, 1
            ; or eax, r11d
            ; lea r9, [r9 + 8]);
        self.accessed(access, site);
    }
}
