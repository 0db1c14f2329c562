//! Delivery of exceptions and interrupts.

use crate::cpu::flags::{IF, NT, RF, TF, VM};
use crate::cpu::mmu::canonical;
use crate::cpu::segment::gp;
use crate::cpu::state::{CS, CodeSize, Cpu, RSP, SS, Segment, Stop};
use crate::cpu::trap::{self, Trap};

/// Where an event comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// An exception of the processor.
    Exception,
    /// A device.
    External,
    /// `int n`, `int3`, `into`: the gate's privilege counts.
    Software,
}

impl Cpu {
    /// Delivers the non-maskable interrupt that waits, if it can be delivered now.
    pub(crate) fn take_nmi(&mut self) -> bool {
        if !self.nmi || self.nmi_blocked || self.shadow {
            return false;
        }
        self.nmi = false;
        self.nmi_blocked = true;
        if let Err(trap) = self.deliver(trap::NMI, None, Source::External) {
            self.raise(trap);
        }
        self.block_limit = 0;
        true
    }

    /// Raises an exception; a fault while delivering becomes a double fault, and another one the end. The instruction pointer is already
    /// where the handler shall return to.
    pub(crate) fn raise(&mut self, trap: Trap) {
        let rip = self.rip();
        let mut current = trap;
        for _ in 0..8 {
            if current.is_stop() {
                return;
            }
            let vector = current.vector();
            if vector == trap::DB {
                self.dr[7] &= !(1 << 13);
                self.update_class();
            }
            match self.deliver(vector, current.error_code(), Source::Exception) {
                Ok(()) => return,
                Err(second) if second.is_stop() => return,
                Err(second) => {
                    if vector == trap::DF {
                        break;
                    }
                    current = combine(current, second);
                }
            }
        }
        self.stop_with(Stop::TripleFault { rip });
    }

    /// Delivers an event through the interrupt descriptor table.
    pub(crate) fn deliver(
        &mut self,
        vector: u8,
        code: Option<u16>,
        source: Source,
    ) -> Result<(), Trap> {
        self.block_limit = 0;
        self.halted = false;
        self.shadow = false;
        self.delivering = true;
        self.deliveries = self.deliveries.saturating_sub(1);
        if self.deliveries == 0 {
            self.stop_with(Stop::Deliveries);
        }
        let result = if !self.protected() {
            self.deliver_real(vector)
        } else if self.long_mode() {
            self.deliver_long(vector, code, source)
        } else {
            self.deliver_protected(vector, code, source)
        };
        self.delivering = false;
        // What goes wrong on behalf of an external event is marked so.
        result.map_err(|trap| match (source, trap.error_code()) {
            (Source::Software, _) | (_, None) => trap,
            (_, Some(_)) if trap.vector() == trap::PF || trap.is_stop() => trap,
            (_, Some(code)) => Trap::code(trap.vector(), code | 1),
        })
    }

    fn deliver_real(&mut self, vector: u8) -> Result<(), Trap> {
        let at = 4 * u64::from(vector);
        if at + 3 > u64::from(self.idtr.limit) {
            return Err(Trap::code(trap::GP, 0));
        }
        let entry = self.read_system(self.idtr.base + at, 4)?;
        let flags = self.rflags();
        let (cs, rip) = (u64::from(self.seg[CS].selector), self.rip());
        self.push::<u16>(flags)?;
        self.push::<u16>(cs)?;
        self.push::<u16>(rip)?;
        self.rflags &= !(IF | TF | crate::cpu::flags::AC);
        self.seg[CS].selector = (entry >> 16) as u16;
        self.seg[CS].base = (entry >> 16) << 4;
        self.update_mode();
        self.jump(entry & 0xffff);
        Ok(())
    }

    /// The code segment that a gate names, and the privilege of its handler.
    fn handler_segment(&mut self, selector: u16) -> Result<(Segment, u8), Trap> {
        if selector & !3 == 0 {
            return Err(Trap::code(trap::GP, 0));
        }
        let descriptor = self.descriptor(selector, trap::GP)?;
        let s = descriptor.segment;
        if !s.is_code() || s.dpl() > self.cpl {
            return Err(gp(selector));
        }
        if self.long_mode() && (!s.long() || s.big()) {
            return Err(gp(selector));
        }
        if !s.present() {
            return Err(Trap::code(trap::NP, selector & !3));
        }
        let cpl = if s.conforming() { self.cpl } else { s.dpl() };
        Ok((s, cpl))
    }

    fn deliver_long(&mut self, vector: u8, code: Option<u16>, source: Source) -> Result<(), Trap> {
        let fault = Trap::code(trap::GP, u16::from(vector) << 3 | 2);
        let at = 16 * u64::from(vector);
        if at + 15 > u64::from(self.idtr.limit) {
            return Err(fault);
        }
        let low = self.read_system(self.idtr.base.wrapping_add(at), 8)?;
        let high = self.read_system(self.idtr.base.wrapping_add(at + 8), 8)?;
        let kind = low >> 40 & 0x1f;
        if kind != 0xe && kind != 0xf {
            return Err(fault);
        }
        if source == Source::Software && (low >> 45 & 3) < u64::from(self.cpl) {
            return Err(fault);
        }
        if low & 1 << 47 == 0 {
            return Err(Trap::code(trap::NP, u16::from(vector) << 3 | 2));
        }
        let target = low & 0xffff | low >> 32 & 0xffff_0000 | high << 32;
        let (segment, cpl) = self.handler_segment((low >> 16) as u16)?;
        if !canonical(target) {
            return Err(Trap::code(trap::GP, 0));
        }
        let ist = low >> 32 & 7;
        let slot = if ist != 0 {
            Some(0x24 + 8 * (ist - 1))
        } else if cpl < self.cpl {
            Some(4 + 8 * u64::from(cpl))
        } else {
            None
        };
        let top = match slot {
            Some(offset) => {
                if offset + 7 > u64::from(self.tr.limit) {
                    return Err(Trap::code(trap::TS, self.tr.selector & !3));
                }
                self.read_system(self.tr.base.wrapping_add(offset), 8)?
            }
            None => self.ctx.regs[RSP],
        };
        if !canonical(top) {
            return Err(Trap::code(trap::SS, 0));
        }
        let mut flags = self.rflags();
        if source == Source::Exception && vector != trap::DB {
            // The handler returns to the instruction, whose breakpoint must not be hit again.
            flags |= if is_fault(vector) { RF } else { 0 };
        }
        let frame = [
            code.map_or(0, u64::from),
            self.rip(),
            u64::from(self.seg[CS].selector),
            flags,
            self.ctx.regs[RSP],
            u64::from(self.seg[SS].selector),
        ];
        let words = if code.is_some() {
            &frame[..]
        } else {
            &frame[1..]
        };
        let mut at = top & !15;
        let who = crate::cpu::mmu::Who {
            user: cpl == 3,
            ac: false,
        };
        for &word in words.iter().rev() {
            at = at.wrapping_sub(8);
            if !canonical(at) {
                return Err(Trap::code(trap::SS, 0));
            }
            self.write_as(at, 8, word, who)?;
        }
        if cpl != self.cpl {
            self.seg[SS] = Segment {
                selector: u16::from(cpl),
                base: 0,
                limit: 0,
                attributes: u16::from(cpl) << 5 | 0x4000,
            };
        }
        self.ctx.regs[RSP] = at;
        self.enter_handler(segment, cpl, target, kind == 0xe);
        Ok(())
    }

    fn enter_handler(&mut self, mut segment: Segment, cpl: u8, target: u64, disable: bool) {
        segment.selector = segment.selector & !3 | u16::from(cpl);
        self.seg[CS] = segment;
        self.cpl = cpl;
        self.rflags &= !(TF | NT | RF | VM);
        if disable {
            self.rflags &= !IF;
        }
        self.update_mode();
        self.jump(target);
    }

    fn deliver_protected(
        &mut self,
        vector: u8,
        code: Option<u16>,
        source: Source,
    ) -> Result<(), Trap> {
        let fault = Trap::code(trap::GP, u16::from(vector) << 3 | 2);
        let at = 8 * u64::from(vector);
        if at + 7 > u64::from(self.idtr.limit) {
            return Err(fault);
        }
        let gate = self.read_system(self.idtr.base.wrapping_add(at), 8)?;
        let kind = gate >> 40 & 0x1f;
        if kind == 5 {
            return Err(self.unimplemented("a task gate"));
        }
        if !matches!(kind, 6 | 7 | 0xe | 0xf) {
            return Err(fault);
        }
        if source == Source::Software && (gate >> 45 & 3) < u64::from(self.cpl) {
            return Err(fault);
        }
        if gate & 1 << 47 == 0 {
            return Err(Trap::code(trap::NP, u16::from(vector) << 3 | 2));
        }
        let wide = kind & 8 != 0;
        let size = if wide { 4 } else { 2 };
        let high = if wide { gate >> 32 & 0xffff_0000 } else { 0 };
        let target = gate & 0xffff | high;
        let (segment, cpl) = self.handler_segment((gate >> 16) as u16)?;
        if target > u64::from(segment.limit) {
            return Err(Trap::code(trap::GP, 0));
        }
        let mut flags = self.rflags();
        if source == Source::Exception && is_fault(vector) && vector != trap::DB {
            flags |= RF;
        }
        let (old_sp, old_ss) = (self.ctx.regs[RSP], self.seg[SS]);
        let old_cpl = self.cpl;
        let (cs, rip) = (u64::from(self.seg[CS].selector), self.rip());
        let result = (|| {
            if cpl < old_cpl {
                let (stack, top) = self.inner_stack(cpl)?;
                self.seg[SS] = stack;
                self.cpl = cpl;
                self.update_mode();
                self.set_sp(top);
                self.push_sized(size, u64::from(old_ss.selector))?;
                self.push_sized(size, old_sp)?;
            }
            self.push_sized(size, flags)?;
            self.push_sized(size, cs)?;
            self.push_sized(size, rip)?;
            match code {
                Some(code) => self.push_sized(size, code.into()),
                None => Ok(()),
            }
        })();
        if result.is_err() {
            self.seg[SS] = old_ss;
            self.cpl = old_cpl;
            self.ctx.regs[RSP] = old_sp;
            self.update_mode();
            return result;
        }
        self.enter_handler(segment, cpl, target, kind & 1 == 0);
        Ok(())
    }

    /// Stack of a more privileged level, from the task-state segment.
    fn inner_stack(&mut self, cpl: u8) -> Result<(Segment, u64), Trap> {
        let fault = Trap::code(trap::TS, self.tr.selector & !3);
        let wide = self.tr.kind() & 8 != 0;
        let (offset, size) = if wide {
            (4 + 8 * u64::from(cpl), 4)
        } else {
            (2 + 4 * u64::from(cpl), 2)
        };
        if offset + 2 * size > u64::from(self.tr.limit) + 1 {
            return Err(fault);
        }
        let top = self.read_system(self.tr.base + offset, size as u8)?;
        let selector = self.read_system(self.tr.base + offset + size, 2)? as u16;
        let bad = Trap::code(trap::TS, selector & !3);
        if selector & !3 == 0 {
            return Err(bad);
        }
        let s = self.descriptor(selector, trap::TS)?.segment;
        let right = s.attributes & 0x10 != 0 && !s.is_code() && s.second();
        if selector as u8 & 3 != cpl || s.dpl() != cpl || !right {
            return Err(bad);
        }
        if !s.present() {
            return Err(Trap::code(trap::SS, selector & !3));
        }
        Ok((s, top))
    }

    /// Stops because of something that this processor lacks.
    pub(crate) fn unimplemented(&mut self, what: &str) -> Trap {
        let rip = self.rip();
        self.stop_with(Stop::Unimplemented {
            rip,
            bytes: Vec::new(),
            what: what.to_owned(),
        })
    }

    /// The instruction pointer as a linear address.
    pub(crate) fn linear_rip(&self) -> u64 {
        let linear = self.rip().wrapping_add(self.lin[CS]);
        if self.code_size == CodeSize::Bits64 {
            linear
        } else {
            linear & 0xffff_ffff
        }
    }
}

fn is_fault(vector: u8) -> bool {
    !matches!(vector, trap::BP | trap::OF | trap::DF)
}

/// What a second exception during the delivery of a first one amounts to.
fn combine(first: Trap, second: Trap) -> Trap {
    let contributory =
        |vector| matches!(vector, trap::DE | trap::TS | trap::NP | trap::SS | trap::GP);
    let (a, b) = (first.vector(), second.vector());
    let double =
        contributory(a) && contributory(b) || a == trap::PF && (contributory(b) || b == trap::PF);
    if double {
        Trap::code(trap::DF, 0)
    } else {
        second
    }
}
