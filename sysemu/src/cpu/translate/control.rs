//! How blocks end: branches, calls, returns, and everything that the interpreter has to look at.

use super::block::{Builder, has_memory};
use super::layout;
use super::registers::{FIRST, Home, SECOND, home};
use crate::cpu::decode::condition;
use crate::cpu::mmu::canonical;
use dynasmrt::{DynasmApi, DynasmLabelApi, dynasm};
use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind};

impl Builder<'_> {
    /// Emits the last instruction of a block and the ways out.
    pub(super) fn end(&mut self, i: &Instruction, site: usize) {
        let near = i.op_count() > 0 && i.op_kind(0) == OpKind::NearBranch64;
        let target = if near { i.near_branch64() } else { 0 };
        let direct = near && canonical(target) && canonical(i.next_ip());
        match i.flow_control() {
            FlowControl::Next => self.fall_through(i, site),
            FlowControl::ConditionalBranch if direct && i.is_jcc_short_or_near() => {
                self.branch_if(i, target);
            }
            FlowControl::UnconditionalBranch if direct => {
                self.code.pack_flags();
                self.flush_vectors();
                self.leave_to(target, self.mode);
            }
            FlowControl::Call if direct => self.call(i, target, site),
            FlowControl::Return if i.mnemonic() == Mnemonic::Ret => self.ret(i, site),
            FlowControl::IndirectBranch if self.is_wide(i) => self.jump_indirectly(i, site),
            FlowControl::IndirectCall if self.is_wide(i) => self.call_indirectly(i, site),
            _ => {
                self.interpret(site);
                self.leave_anywhere();
            }
        }
    }

    /// The block ends because it is long enough, or with its page.
    fn fall_through(&mut self, i: &Instruction, site: usize) {
        self.straight(i, site);
        self.code.pack_flags();
        self.flush_vectors();
        self.leave_to(i.next_ip(), self.mode);
    }

    fn branch_if(&mut self, i: &Instruction, target: u64) {
        let Some(number) = condition(i.condition_code()) else {
            unreachable!("a conditional jump has a condition");
        };
        self.code.pack_flags();
        self.flush_vectors();
        self.code.both_flags();
        self.leave_if(number, target, self.mode);
        self.leave_to(i.next_ip(), self.mode);
    }

    /// An indirect branch of 64 bits, near.
    fn is_wide(&self, i: &Instruction) -> bool {
        matches!(i.mnemonic(), Mnemonic::Jmp | Mnemonic::Call)
            && !i.is_jmp_far_indirect()
            && !i.is_call_far_indirect()
            && match i.op0_kind() {
                OpKind::Register => i.op0_register().size() == 8,
                OpKind::Memory => i.memory_size().size() == 8,
                _ => false,
            }
    }

    /// Stores the address behind a call on the stack; nothing of the guest has changed where that is slow.
    fn push_return(&mut self, i: &Instruction) -> super::block::Access {
        self.code.lose_flags();
        dynasm!(self.code.ops; .arch x64; lea r11, [r9 - 8]);
        let access = self.look_up(8, true);
        if let Ok(small) = i32::try_from(i.next_ip() as i64) {
            dynasm!(self.code.ops; .arch x64; mov QWORD [r15 + r11], small);
        } else {
            self.code.fold();
            self.code.constant(SECOND, i.next_ip());
            dynasm!(self.code.ops; .arch x64; mov [r11], r15);
        }
        dynasm!(self.code.ops; .arch x64; lea r9, [r9 - 8]);
        access
    }

    fn call(&mut self, i: &Instruction, target: u64, site: usize) {
        if i.stack_pointer_increment() != -8 {
            self.interpret(site);
            self.leave_anywhere();
            return;
        }
        self.flush_vectors();
        let access = self.push_return(i);
        self.accessed(access, site);
        self.leave_to(target, self.mode);
    }

    /// The target of a return to the first scratch register, the stack pointer moved.
    fn ret(&mut self, i: &Instruction, site: usize) {
        let by = i.stack_pointer_increment();
        let pops = 8 + if i.op_count() == 1 {
            i.immediate16()
        } else {
            0
        } as i32;
        if by != pops {
            self.interpret(site);
            self.leave_anywhere();
            return;
        }
        self.flush_vectors();
        self.code.lose_flags();
        self.code.copy(FIRST, 9);
        let access = self.look_up(8, false);
        let slow = access.label();
        dynasm!(self.code.ops; .arch x64; mov r11, [r15 + r11]);
        self.canonical_or(slow);
        dynasm!(self.code.ops; .arch x64; lea r9, [r9 + by]);
        self.arrive(access, site);
    }

    /// Goes on at the address in the first scratch register; where the interpreter executed the branch, at what it left.
    fn arrive(&mut self, access: super::block::Access, site: usize) {
        self.leave_indirectly();
        self.accessed(access, site);
        self.leave_anywhere();
    }

    /// Goes the slow way where the first scratch register holds no canonical address.
    fn canonical_or(&mut self, slow: dynasmrt::DynamicLabel) {
        dynasm!(self.code.ops; .arch x64
            ; mov r15, r11
            ; shl r15, 16
            ; sar r15, 16
            ; cmp r15, r11
            ; jne =>slow);
    }

    /// The target of an indirect branch to the first scratch register.
    fn target(&mut self, i: &Instruction) -> super::block::Access {
        self.code.pack_flags();
        self.flush_vectors();
        if has_memory(i) {
            let access = self.access(i, 8, false);
            dynasm!(self.code.ops; .arch x64; mov r11, [r15 + r11]);
            return access;
        }
        self.code.lose_flags();
        let guest = i.op0_register().number() as u8;
        match home(guest) {
            Home::Host(host) => self.code.copy(FIRST, host),
            Home::Memory => self.code.load_guest(FIRST, guest),
        }
        self.detour()
    }

    fn jump_indirectly(&mut self, i: &Instruction, site: usize) {
        let access = self.target(i);
        self.canonical_or(access.label());
        self.arrive(access, site);
    }

    fn call_indirectly(&mut self, i: &Instruction, site: usize) {
        let access = self.target(i);
        let slow = access.label();
        self.canonical_or(slow);
        // The target waits in the context: a slow push overwrites it together with all else.
        dynasm!(self.code.ops; .arch x64; mov [rbp + layout::RIP], r11);
        dynasm!(self.code.ops; .arch x64; lea r11, [r9 - 8]);
        let push = self.push_return(i);
        dynasm!(self.code.ops; .arch x64; mov r11, [rbp + layout::RIP]);
        self.leave_indirectly();
        self.accessed(push, site);
        self.accessed(access, site);
        self.leave_anywhere();
    }
}
