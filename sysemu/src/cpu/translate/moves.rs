//! Instructions with operands of their own: addresses, the accumulator, the stack.

use super::assembler::encode;
use super::block::{Builder, has_memory};
use super::registers::{FIRST, Home, SECOND, home, is_high_byte, sized};
use dynasmrt::{DynasmApi, DynasmLabelApi, dynasm};
use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};

const RSP: u8 = 4;
/// Where the guest's accumulator, stack pointer and frame pointer are.
const HOST_RSP: u8 = 9;

impl Builder<'_> {
    /// Emits one of these; false where it is none, and nothing was emitted.
    pub(super) fn special(&mut self, i: &Instruction, site: usize) -> bool {
        use Mnemonic::*;
        match i.mnemonic() {
            Nop | Pause | Lfence | Mfence | Sfence | Endbr64 | Endbr32 | Prefetchnta
            | Prefetcht0 | Prefetcht1 | Prefetcht2 | Prefetchw => true,
            Lea => self.lea(i),
            Cwde | Cdqe | Cdq | Cqo => self.widen(i.mnemonic()),
            Mul | Imul | Div | Idiv => self.product(i, site),
            Cmpxchg => self.compare_exchange(i, site),
            Push => self.push(i, site),
            Pop => self.pop(i, site),
            Leave => self.leave_frame(i, site),
            _ => false,
        }
    }

    fn lea(&mut self, i: &Instruction) -> bool {
        let to = i.op0_register();
        let guest = to.full_register().number() as u8;
        if to.size() == 2 {
            return false;
        }
        let host = match home(guest) {
            Home::Host(host) => host,
            Home::Memory => FIRST,
        };
        self.offset(host, i);
        if to.size() == 4 {
            self.truncate(host);
        }
        if home(guest) == Home::Memory {
            self.code.store_guest(guest, host);
        }
        true
    }

    #[expect(
        clippy::useless_conversion,
        reason = "dynasm converts the numbers of registers"
    )]
    fn truncate(&mut self, host: u8) {
        dynasm!(self.code.ops; .arch x64; mov Rd(host), Rd(host));
    }

    fn widen(&mut self, mnemonic: Mnemonic) -> bool {
        match mnemonic {
            Mnemonic::Cwde => dynasm!(self.code.ops; .arch x64; movsx r8d, r8w),
            Mnemonic::Cdqe => dynasm!(self.code.ops; .arch x64; movsxd r8, r8d),
            // The sign to the lower half, without a shift, which would change flags.
            Mnemonic::Cdq => {
                dynasm!(self.code.ops; .arch x64; movsxd rdx, r8d; rorx rdx, rdx, 32; mov edx, edx);
            }
            _ => {
                self.code.lose_flags();
                dynasm!(self.code.ops; .arch x64; mov rdx, r8; sar rdx, 63);
            }
        }
        true
    }

    /// The operand of an instruction with one, as the host's; `Err` where it is in memory.
    fn single(&mut self, i: &Instruction, n: u32) -> Option<Register> {
        let register = i.op_register(n);
        if is_high_byte(register) {
            return None;
        }
        let number = register.full_register().number() as u8;
        Some(match home(number) {
            Home::Host(host) => sized(register, host),
            Home::Memory => {
                self.code.load_guest(SECOND, number);
                sized(register, SECOND)
            }
        })
    }

    /// `mul`, `imul`, `div`, `idiv` of the accumulator.
    fn product(&mut self, i: &Instruction, site: usize) -> bool {
        if i.op_count() != 1 {
            return false;
        }
        let memory = i.op0_kind() == OpKind::Memory;
        let size = if memory {
            i.memory_size().size()
        } else {
            i.op0_register().size()
        };
        let divides = matches!(i.mnemonic(), Mnemonic::Div | Mnemonic::Idiv);
        if size < 4 && divides || !memory && is_high_byte(i.op0_register()) {
            return false;
        }
        let mut copy = *i;
        copy.set_segment_prefix(Register::None);
        let access = if memory {
            let access = self.access(i, size, false);
            self.code.fold();
            copy.set_memory_base(Register::R11);
            copy.set_memory_index(Register::None);
            copy.set_memory_index_scale(1);
            copy.set_memory_displ_size(0);
            copy.set_memory_displacement64(0);
            Some(access)
        } else {
            if divides {
                self.code.lose_flags();
            }
            let Some(host) = self.single(i, 0) else {
                return false;
            };
            copy.set_op0_register(host);
            None
        };
        let access = if divides {
            Some(self.divisible(&copy, size, access))
        } else {
            access
        };
        let Some(bytes) = encode(&copy) else {
            unreachable!("operands of one-operand instructions can be renamed");
        };
        self.code.own_flags();
        dynasm!(self.code.ops; .arch x64; mov rax, r8);
        self.code.bytes(&bytes);
        dynasm!(self.code.ops; .arch x64; mov r8, rax);
        self.code.flags_are_own();
        if let Some(access) = access {
            self.accessed(access, site);
        }
        true
    }

    /// Goes the slow way where a division might fault: the quotient fits for certain where the upper half of the dividend is nothing but
    /// the extension of the lower one (then the divisor must be neither 0 nor -1), or, unsigned, smaller than the divisor.
    fn divisible(
        &mut self,
        copy: &Instruction,
        size: usize,
        access: Option<super::block::Access>,
    ) -> super::block::Access {
        let access = access.unwrap_or_else(|| self.detour());
        let slow = access.label();
        let divisor = if copy.op0_kind() == OpKind::Memory {
            if size == 8 {
                dynasm!(self.code.ops; .arch x64; mov r15, [r11]);
            } else {
                dynasm!(self.code.ops; .arch x64; mov r15d, [r11]);
            }
            SECOND
        } else {
            copy.op0_register().number() as u8
        };
        if copy.mnemonic() == Mnemonic::Div {
            self.below(size, divisor, slow);
        } else {
            self.extended(size, divisor, slow);
        }
        access
    }

    #[expect(
        clippy::useless_conversion,
        reason = "dynasm converts the numbers of registers"
    )]
    fn below(&mut self, size: usize, divisor: u8, slow: dynasmrt::DynamicLabel) {
        if size == 8 {
            dynasm!(self.code.ops; .arch x64; cmp rdx, Rq(divisor); jae =>slow);
        } else {
            dynasm!(self.code.ops; .arch x64; cmp edx, Rd(divisor); jae =>slow);
        }
    }

    #[expect(
        clippy::useless_conversion,
        reason = "dynasm converts the numbers of registers"
    )]
    fn extended(&mut self, size: usize, divisor: u8, slow: dynasmrt::DynamicLabel) {
        // The divisor plus 1 must be neither 1 nor 0, the accumulator's sign all of `rdx`. The packed flags are in `rax`: the
        // first scratch register may hold an address.
        if size == 8 {
            dynasm!(self.code.ops; .arch x64
                ; push r11
                ; lea r11, [Rq(divisor) + 1]
                ; cmp r11, 1
                ; jbe >bad
                ; mov r11, r8
                ; sar r11, 63
                ; cmp r11, rdx
                ; jne >bad
                ; pop r11
                ; jmp >good
                ; bad:
                ; pop r11
                ; jmp =>slow
                ; good:);
        } else {
            dynasm!(self.code.ops; .arch x64
                ; push r11
                ; lea r11d, [Rq(divisor) + 1]
                ; cmp r11d, 1
                ; jbe >bad
                ; mov r11d, r8d
                ; sar r11d, 31
                ; cmp r11d, edx
                ; jne >bad
                ; pop r11
                ; jmp >good
                ; bad:
                ; pop r11
                ; jmp =>slow
                ; good:);
        }
    }

    fn compare_exchange(&mut self, i: &Instruction, site: usize) -> bool {
        let source = i.op1_register();
        if !has_memory(i) || is_high_byte(source) {
            return false;
        }
        let mut copy = *i;
        copy.set_has_lock_prefix(false);
        copy.set_segment_prefix(Register::None);
        copy.set_memory_base(Register::R11);
        copy.set_memory_index(Register::None);
        copy.set_memory_index_scale(1);
        copy.set_memory_displ_size(0);
        copy.set_memory_displacement64(0);
        let access = self.access(i, i.memory_size().size(), true);
        self.code.fold();
        let Some(host) = self.single(i, 1) else {
            unreachable!("high bytes were refused");
        };
        copy.set_op1_register(host);
        let Some(bytes) = encode(&copy) else {
            unreachable!("operands of an exchange can be renamed");
        };
        dynasm!(self.code.ops; .arch x64; mov rax, r8);
        self.code.bytes(&bytes);
        dynasm!(self.code.ops; .arch x64; mov r8, rax);
        self.code.flags_are_own();
        self.accessed(access, site);
        true
    }

    /// The address of what will be pushed, to the first scratch register.
    pub(super) fn push_address(&mut self) -> super::block::Access {
        self.code.lose_flags();
        dynasm!(self.code.ops; .arch x64; lea r11, [r9 - 8]);
        self.look_up(8, true)
    }

    fn push(&mut self, i: &Instruction, site: usize) -> bool {
        if i.stack_pointer_increment() != -8 {
            return false;
        }
        match i.op0_kind() {
            OpKind::Register if i.op0_register().is_gpr() => {
                let access = self.push_address();
                let guest = i.op0_register().number() as u8;
                self.push_register(guest);
                self.accessed(access, site);
                true
            }
            OpKind::Memory | OpKind::Register => false,
            _ => {
                let value = i.immediate(0) as i64 as i32;
                let access = self.push_address();
                dynasm!(self.code.ops; .arch x64; mov QWORD [r15 + r11], value; sub r9, 8);
                self.accessed(access, site);
                true
            }
        }
    }

    #[expect(
        clippy::useless_conversion,
        reason = "dynasm converts the numbers of registers"
    )]
    fn push_register(&mut self, guest: u8) {
        let host = match home(guest) {
            Home::Host(host) => host,
            Home::Memory => {
                self.code.fold();
                self.code.load_guest(SECOND, guest);
                dynasm!(self.code.ops; .arch x64; mov [r11], r15; lea r9, [r9 - 8]);
                return;
            }
        };
        dynasm!(self.code.ops; .arch x64; mov [r15 + r11], Rq(host); lea r9, [r9 - 8]);
    }

    #[expect(
        clippy::useless_conversion,
        reason = "dynasm converts the numbers of registers"
    )]
    fn pop(&mut self, i: &Instruction, site: usize) -> bool {
        let register = i.op0_register();
        if i.op0_kind() != OpKind::Register || register.size() != 8 || !register.is_gpr() {
            return false;
        }
        let guest = register.number() as u8;
        self.code.lose_flags();
        self.code.copy(FIRST, HOST_RSP);
        let access = self.look_up(8, false);
        match home(guest) {
            Home::Host(host) => {
                dynasm!(self.code.ops; .arch x64; lea r9, [r9 + 8]; mov Rq(host), [r15 + r11]);
            }
            Home::Memory => {
                dynasm!(self.code.ops; .arch x64; lea r9, [r9 + 8]; mov r11, [r15 + r11]);
                self.code.store_guest(guest, FIRST);
            }
        }
        debug_assert!(guest != RSP || home(guest) == Home::Host(HOST_RSP));
        self.accessed(access, site);
        true
    }

    fn leave_frame(&mut self, i: &Instruction, site: usize) -> bool {
        if i.code() != Code::Leaveq {
            return false;
        }
        self.code.lose_flags();
        dynasm!(self.code.ops; .arch x64; mov r11, r10);
        let access = self.look_up(8, false);
        dynasm!(self.code.ops; .arch x64; lea r9, [r10 + 8]; mov r10, [r15 + r11]);
        self.accessed(access, site);
        true
    }
}
