//! Segments: descriptors, loading of segment registers, far jumps, calls and returns.

use crate::cpu::flags::{IOPL, NT, VM};
use crate::cpu::mmu::canonical;
use crate::cpu::state::{CS, CodeSize, Cpu, RSP, SS, Segment};
use crate::cpu::trap::{self, GP0, Trap};

/// An unpacked descriptor together with where it lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptor {
    pub(crate) segment: Segment,
    pub(crate) raw: u64,
    pub(crate) address: u64,
}

pub(crate) fn gp(selector: u16) -> Trap {
    Trap::code(trap::GP, selector & !3)
}

pub(crate) fn unpack(selector: u16, raw: u64) -> Segment {
    let attributes = (raw >> 40) as u16;
    let limit = (raw & 0xffff | raw >> 32 & 0xf_0000) as u32;
    Segment {
        selector,
        base: raw >> 16 & 0xff_ffff | raw >> 32 & 0xff00_0000,
        limit: if attributes & 0x8000 != 0 {
            limit << 12 | 0xfff
        } else {
            limit
        },
        // Limit bits 16 to 19 are not attributes.
        attributes: attributes & 0xf0ff,
    }
}

impl Cpu {
    /// Reads the descriptor of a selector; `vector` is raised where it lies outside of its table.
    pub(crate) fn descriptor(&mut self, selector: u16, vector: u8) -> Result<Descriptor, Trap> {
        let fault = Trap::code(vector, selector & !3);
        let (base, limit) = if selector & 4 != 0 {
            if !self.ldtr.present() || self.ldtr.selector & !3 == 0 {
                return Err(fault);
            }
            (self.ldtr.base, u64::from(self.ldtr.limit))
        } else {
            (self.gdtr.base, u64::from(self.gdtr.limit))
        };
        let offset = u64::from(selector & !7);
        if offset + 7 > limit {
            return Err(fault);
        }
        let address = base.wrapping_add(offset);
        let raw = self.read_system(address, 8)?;
        Ok(Descriptor {
            segment: unpack(selector, raw),
            raw,
            address,
        })
    }

    fn mark_accessed(&mut self, descriptor: &mut Descriptor) -> Result<(), Trap> {
        if descriptor.raw & 1 << 40 == 0 {
            descriptor.raw |= 1 << 40;
            descriptor.segment.attributes |= 1;
            self.write_system(descriptor.address + 4, 4, descriptor.raw >> 32)?;
        }
        Ok(())
    }

    /// Loads ES, SS, DS, FS or GS.
    pub(crate) fn load_segment(&mut self, register: usize, selector: u16) -> Result<(), Trap> {
        if !self.protected() || self.rflags & VM != 0 {
            self.seg[register].selector = selector;
            self.seg[register].base = u64::from(selector) << 4;
            self.update_mode();
            return Ok(());
        }
        if selector & !3 == 0 {
            let fine = register != SS
                || (self.code_size == CodeSize::Bits64
                    && self.cpl != 3
                    && selector as u8 & 3 == self.cpl);
            if !fine {
                return Err(GP0);
            }
            self.seg[register] = Segment {
                selector,
                base: 0,
                limit: 0,
                attributes: if register == SS {
                    u16::from(self.cpl) << 5 | 0x4000
                } else {
                    0
                },
            };
            self.update_mode();
            return Ok(());
        }
        let mut descriptor = self.descriptor(selector, trap::GP)?;
        let s = descriptor.segment;
        let rpl = selector as u8 & 3;
        let fault = gp(selector);
        if s.attributes & 0x10 == 0 {
            return Err(fault);
        }
        if register == SS {
            if rpl != self.cpl || s.is_code() || !s.second() || s.dpl() != self.cpl {
                return Err(fault);
            }
            if !s.present() {
                return Err(Trap::code(trap::SS, selector & !3));
            }
        } else {
            if s.is_code() && !s.second() {
                return Err(fault);
            }
            if !s.conforming() && (rpl > s.dpl() || self.cpl > s.dpl()) {
                return Err(fault);
            }
            if !s.present() {
                return Err(Trap::code(trap::NP, selector & !3));
            }
        }
        self.mark_accessed(&mut descriptor)?;
        self.seg[register] = descriptor.segment;
        self.update_mode();
        Ok(())
    }

    /// Checks a code segment for a far transfer without change of privilege (`ret` false) or for a return.
    fn code_segment(&mut self, selector: u16, rpl_is_new: bool) -> Result<Descriptor, Trap> {
        if selector & !3 == 0 {
            return Err(GP0);
        }
        let descriptor = self.descriptor(selector, trap::GP)?;
        let s = descriptor.segment;
        let rpl = selector as u8 & 3;
        let fault = gp(selector);
        if !s.is_code() || (s.long() && s.big() && self.long_mode()) {
            return Err(fault);
        }
        let privilege = if rpl_is_new {
            rpl >= self.cpl
                && if s.conforming() {
                    s.dpl() <= rpl
                } else {
                    s.dpl() == rpl
                }
        } else if s.conforming() {
            s.dpl() <= self.cpl
        } else {
            rpl <= self.cpl && s.dpl() == self.cpl
        };
        if !privilege {
            return Err(fault);
        }
        if !s.present() {
            return Err(Trap::code(trap::NP, selector & !3));
        }
        Ok(descriptor)
    }

    fn check_target(&self, s: Segment, target: u64) -> Result<(), Trap> {
        let fine = if self.long_mode() && s.long() {
            canonical(target)
        } else {
            target <= u64::from(s.limit)
        };
        if fine { Ok(()) } else { Err(GP0) }
    }

    fn set_cs(&mut self, mut descriptor: Descriptor, cpl: u8) -> Result<(), Trap> {
        self.mark_accessed(&mut descriptor)?;
        let mut segment = descriptor.segment;
        segment.selector = segment.selector & !3 | u16::from(cpl);
        self.seg[CS] = segment;
        self.cpl = cpl;
        self.update_mode();
        Ok(())
    }

    /// `jmp far`, and `call far` where `size` is the size of a pushed word.
    pub(crate) fn far_transfer(
        &mut self,
        selector: u16,
        target: u64,
        size: Option<u8>,
    ) -> Result<(), Trap> {
        if !self.protected() {
            if let Some(size) = size {
                self.push_far(size)?;
            }
            self.seg[CS].selector = selector;
            self.seg[CS].base = u64::from(selector) << 4;
            self.update_mode();
            self.jump(target);
            return Ok(());
        }
        if selector & !3 == 0 {
            return Err(GP0);
        }
        let descriptor = self.descriptor(selector, trap::GP)?;
        if descriptor.segment.attributes & 0x10 == 0 {
            return Err(self.unimplemented("a far transfer through a gate or task segment"));
        }
        let descriptor = self.code_segment(selector, false)?;
        let target = if descriptor.segment.long() && self.long_mode() {
            target
        } else {
            target & 0xffff_ffff
        };
        self.check_target(descriptor.segment, target)?;
        if let Some(size) = size {
            self.push_far(size)?;
        }
        let cpl = self.cpl;
        self.set_cs(descriptor, cpl)?;
        self.jump(target);
        Ok(())
    }

    fn push_far(&mut self, size: u8) -> Result<(), Trap> {
        let before = self.ctx.regs[RSP];
        let (cs, rip) = (u64::from(self.seg[CS].selector), self.rip());
        self.push_sized(size, cs)?;
        self.push_sized(size, rip)
            .inspect_err(|_| self.ctx.regs[RSP] = before)
    }

    pub(crate) fn push_sized(&mut self, size: u8, value: u64) -> Result<(), Trap> {
        match size {
            2 => self.push::<u16>(value),
            4 => self.push::<u32>(value),
            _ => self.push::<u64>(value),
        }
    }

    pub(crate) fn peek_sized(&mut self, size: u8, index: u64) -> Result<u64, Trap> {
        let offset = index * u64::from(size);
        match size {
            2 => self.peek::<u16>(offset),
            4 => self.peek::<u32>(offset),
            _ => self.peek::<u64>(offset),
        }
    }

    /// `retf`: `extra` bytes are dropped from the stack.
    pub(crate) fn far_return(&mut self, size: u8, extra: u64) -> Result<(), Trap> {
        let target = self.peek_sized(size, 0)?;
        let selector = self.peek_sized(size, 1)? as u16;
        if !self.protected() {
            self.add_sp(2 * u64::from(size) + extra);
            self.seg[CS].selector = selector;
            self.seg[CS].base = u64::from(selector) << 4;
            self.update_mode();
            self.jump(target);
            return Ok(());
        }
        let descriptor = self.code_segment(selector, true)?;
        self.check_target(descriptor.segment, target)?;
        let rpl = selector as u8 & 3;
        if rpl == self.cpl {
            self.set_cs(descriptor, rpl)?;
            self.add_sp(2 * u64::from(size) + extra);
            self.jump(target);
            return Ok(());
        }
        let words = extra / u64::from(size);
        let sp = self.peek_sized(size, 2 + words)?;
        let ss = self.peek_sized(size, 3 + words)? as u16;
        self.leave_to(descriptor, rpl, target, sp.wrapping_add(extra), ss)
    }

    /// The end of a return to less privilege: code, stack, and data segments that are out of reach now.
    fn leave_to(
        &mut self,
        code: Descriptor,
        cpl: u8,
        target: u64,
        sp: u64,
        ss: u16,
    ) -> Result<(), Trap> {
        let to_long = self.long_mode() && code.segment.long();
        let stack = self.return_stack(ss, cpl, to_long)?;
        self.set_cs(code, cpl)?;
        self.seg[SS] = stack;
        self.update_mode();
        self.set_sp(sp);
        for register in [0, 3, 4, 5] {
            let s = self.seg[register];
            if !s.conforming() && s.dpl() < cpl && s.selector & !3 != 0 {
                self.seg[register] = Segment::default();
            }
        }
        self.update_mode();
        self.jump(target);
        Ok(())
    }

    /// The stack segment that a return to `cpl` loads.
    fn return_stack(&mut self, ss: u16, cpl: u8, to_long: bool) -> Result<Segment, Trap> {
        if ss & !3 == 0 {
            if !to_long || cpl == 3 {
                return Err(GP0);
            }
            return Ok(Segment {
                selector: ss,
                base: 0,
                limit: 0,
                attributes: u16::from(cpl) << 5 | 0x4000,
            });
        }
        let mut descriptor = self.descriptor(ss, trap::GP)?;
        let s = descriptor.segment;
        let right = s.attributes & 0x10 != 0 && !s.is_code() && s.second();
        if ss as u8 & 3 != cpl || !right || s.dpl() != cpl {
            return Err(gp(ss));
        }
        if !s.present() {
            return Err(Trap::code(trap::SS, ss & !3));
        }
        self.mark_accessed(&mut descriptor)?;
        Ok(descriptor.segment)
    }

    /// `iret`.
    pub(crate) fn interrupt_return(&mut self, size: u8) -> Result<(), Trap> {
        let target = self.peek_sized(size, 0)?;
        let selector = self.peek_sized(size, 1)? as u16;
        let flags = self.peek_sized(size, 2)?;
        if !self.protected() {
            self.add_sp(3 * u64::from(size));
            self.seg[CS].selector = selector;
            self.seg[CS].base = u64::from(selector) << 4;
            self.update_mode();
            self.jump(target);
            self.return_flags(flags, size, 0);
            return Ok(());
        }
        if self.rflags & NT != 0 {
            if self.long_mode() {
                return Err(GP0);
            }
            return Err(self.unimplemented("a return to another task"));
        }
        if flags & VM != 0 && self.cpl == 0 && !self.long_mode() {
            return Err(self.unimplemented("virtual-8086 mode"));
        }
        let old = self.cpl;
        let code = self.code_segment(selector, true)?;
        self.check_target(code.segment, target)?;
        let rpl = selector as u8 & 3;
        if rpl == old && self.code_size != CodeSize::Bits64 {
            self.set_cs(code, rpl)?;
            self.add_sp(3 * u64::from(size));
            self.jump(target);
        } else {
            let sp = self.peek_sized(size, 3)?;
            let ss = self.peek_sized(size, 4)? as u16;
            self.leave_to(code, rpl, target, sp, ss)?;
        }
        self.return_flags(flags, size, old);
        Ok(())
    }

    fn return_flags(&mut self, value: u64, size: u8, old_cpl: u8) {
        use crate::cpu::flags::{CHANGEABLE, IF};
        let mut may = CHANGEABLE;
        if self.protected() {
            if old_cpl != 0 {
                may &= !IOPL;
            }
            if u64::from(old_cpl) > (self.rflags & IOPL) >> 12 {
                may &= !IF;
            }
        }
        if size == 2 {
            may &= 0xffff;
        }
        let old = self.rflags();
        self.set_rflags((old & !may) | (value & may));
        self.block_limit = 0;
    }

    /// `lldt` and `ltr`: system descriptors, of 16 bytes in long mode.
    pub(crate) fn load_system(&mut self, selector: u16, task: bool) -> Result<(), Trap> {
        if self.cpl != 0 {
            return Err(GP0);
        }
        if selector & !3 == 0 && !task {
            self.ldtr = Segment {
                selector,
                ..Segment::default()
            };
            return Ok(());
        }
        if selector & !3 == 0 || selector & 4 != 0 {
            return Err(gp(selector));
        }
        let descriptor = self.descriptor(selector, trap::GP)?;
        let mut s = descriptor.segment;
        let kind = s.kind();
        let fine = if task {
            kind == 9 || (kind == 1 && !self.long_mode())
        } else {
            kind == 2
        };
        if !fine {
            return Err(gp(selector));
        }
        if !s.present() {
            return Err(Trap::code(trap::NP, selector & !3));
        }
        if self.long_mode() {
            let high = self.read_system(descriptor.address + 8, 8)?;
            s.base |= high << 32;
            if !canonical(s.base) {
                return Err(gp(selector));
            }
        }
        if task {
            s.attributes |= 2;
            self.write_system(descriptor.address + 4, 4, (descriptor.raw >> 32) | 1 << 9)?;
            self.tr = s;
        } else {
            self.ldtr = s;
        }
        Ok(())
    }
}
