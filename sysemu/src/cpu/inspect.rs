//! The processor seen from outside, while it stands between two instructions: every register by its name, addresses translated without a
//! trace, TLB entries. What is set is set as it is, without the checks that an instruction would make: that is what faults are.

use crate::cpu::mmu::{Access, PHYSICAL_BITS, Who};
use crate::cpu::state::{Cpu, RIP, Stop};

/// A register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Register {
    /// rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 … r15.
    General(u8),
    /// rip.
    InstructionPointer,
    /// rflags, status flags included.
    Flags,
    /// cr0, cr2, cr3, cr4, cr8.
    Control(u8),
    /// dr0 … dr3, dr6, dr7.
    Debug(u8),
    /// Base of es, cs, ss, ds, fs, gs.
    SegmentBase(u8),
    /// Selector of es, cs, ss, ds, fs, gs; the hidden part stays.
    Selector(u8),
    /// Base of the global descriptor table.
    GdtBase,
    /// Base of the interrupt descriptor table.
    IdtBase,
    /// Base of the task-state segment.
    TaskBase,
    /// xcr0.
    Xcr0,
    /// mxcsr.
    Mxcsr,
    /// ymm0 … ymm15; xmm is the lower half.
    Vector(u8),
    /// st0 … st7: 80 bits.
    Stack(u8),
    /// A model-specific register.
    Model(u32),
}

/// The value of a register, least significant byte first.
pub type Value = [u8; 32];

fn wide(value: u64) -> Value {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&value.to_le_bytes());
    bytes
}

fn narrow(value: &Value) -> u64 {
    value[..8]
        .iter()
        .rev()
        .fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}

/// A step of a translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageEntry {
    /// Its level: 1 is a page table, 4 the root.
    pub level: u8,
    /// Where it lies.
    pub physical: u64,
    /// What it holds.
    pub value: u64,
}

impl Cpu {
    /// Reads a register; none where there is none of that number.
    #[must_use]
    pub fn register(&mut self, register: Register) -> Option<Value> {
        let context = &self.ctx;
        Some(wide(match register {
            Register::General(number @ 0..16) => context.regs[usize::from(number)],
            Register::InstructionPointer => self.rip(),
            Register::Flags => self.rflags(),
            Register::Control(0) => self.cr0,
            Register::Control(2) => self.cr2,
            Register::Control(3) => self.cr3,
            Register::Control(4) => self.cr4,
            Register::Control(8) => self.bus.task_priority().into(),
            Register::Debug(number @ (0..=3 | 6 | 7)) => self.dr[usize::from(number)],
            Register::SegmentBase(number @ 0..6) => self.seg[usize::from(number)].base,
            Register::Selector(number @ 0..6) => self.seg[usize::from(number)].selector.into(),
            Register::GdtBase => self.gdtr.base,
            Register::IdtBase => self.idtr.base,
            Register::TaskBase => self.tr.base,
            Register::Xcr0 => self.xcr0,
            Register::Mxcsr => context.mxcsr.into(),
            Register::Vector(number @ 0..16) => return Some(context.ymm[usize::from(number)]),
            Register::Stack(number @ 0..8) => {
                let mut bytes = [0; 32];
                let at = 32 + 16 * usize::from(number);
                bytes[..10].copy_from_slice(&context.fx.0[at..at + 10]);
                return Some(bytes);
            }
            Register::Model(number) => self.read_msr(number).ok()?,
            _ => return None,
        }))
    }

    /// Sets a register. What a register can't hold (reserved bits of rflags, of the APIC's base) stays as it was, so a caller that wants
    /// to know reads it back.
    ///
    /// # Errors
    /// When there is no such register: a sentence.
    pub fn set_register(&mut self, register: Register, value: &Value) -> Result<(), String> {
        let number = narrow(value);
        match register {
            Register::General(index @ 0..16) => self.ctx.regs[usize::from(index)] = number,
            Register::InstructionPointer => self.ctx.regs[RIP] = number,
            Register::Flags => self.set_rflags(number),
            Register::Control(0) => self.cr0 = number & 0xffff_ffff | 1 << 4,
            Register::Control(2) => self.cr2 = number,
            Register::Control(3) => self.cr3 = number & ((1 << PHYSICAL_BITS) - 1),
            Register::Control(4) => self.cr4 = number & 0xffff_ffff,
            Register::Control(8) => self.bus.set_task_priority(number as u8 & 15),
            Register::Debug(index @ (0..=3 | 6 | 7)) => {
                let index = usize::from(index);
                if self.set_dr(index, number).is_err() {
                    let kept = self.dr[index] & 0xffff_ffff_0000_0000;
                    self.dr[index] = kept | number & 0xffff_ffff;
                }
            }
            Register::SegmentBase(index @ 0..6) => self.seg[usize::from(index)].base = number,
            Register::Selector(index @ 0..6) => {
                self.seg[usize::from(index)].selector = number as u16;
            }
            Register::GdtBase => self.gdtr.base = number,
            Register::IdtBase => self.idtr.base = number,
            Register::TaskBase => self.tr.base = number,
            Register::Xcr0 => self.xcr0 = number & 7 | 1,
            Register::Mxcsr => self.ctx.mxcsr = number as u32 & 0xffff,
            Register::Vector(index @ 0..16) => self.ctx.ymm[usize::from(index)] = *value,
            Register::Stack(index @ 0..8) => {
                let at = 32 + 16 * usize::from(index);
                self.ctx.fx.0[at..at + 10].copy_from_slice(&value[..10]);
            }
            Register::Model(index) => return self.set_model_register(index, number),
            _ => return Err(format!("the processor has no register {register:?}")),
        }
        self.tlb.flush(true);
        self.update_mode();
        Ok(())
    }

    /// As WRMSR, and the machine-check banks as the hardware itself sets them.
    fn set_model_register(&mut self, number: u32, value: u64) -> Result<(), String> {
        match number {
            0x400..=0x427 => {
                let at = number as usize - 0x400;
                self.msr.mc_banks[at / 4][at % 4] = value;
            }
            // Long mode can't be left by this register alone, and nothing else of it is reserved here.
            0xc000_0080 => self.efer = value & 0xd01,
            _ => {
                // A value that WRMSR refuses can't be in the register.
                let refused = self.write_msr(number, value).is_err();
                if refused && self.read_msr(number).is_err() {
                    return Err(format!("the processor has no MSR {number:#x}"));
                }
            }
        }
        self.tlb.flush(true);
        self.update_mode();
        Ok(())
    }

    /// Reads memory at a linear address as the processor would now, without leaving a trace: false where it is not mapped, or is no RAM.
    #[must_use]
    pub fn look(&self, linear: u64, bytes: &mut [u8]) -> bool {
        let mut done = 0;
        while done < bytes.len() {
            let at = linear.wrapping_add(done as u64);
            let length = (4096 - (at & 0xfff) as usize).min(bytes.len() - done);
            let (_, physical) = self.walk(self.cr3, at);
            let Some(physical) = physical.filter(|&start| self.ram.contains(start, length as u64))
            else {
                return false;
            };
            bytes[done..done + length].copy_from_slice(self.ram.slice(physical, length));
            done += length;
        }
        true
    }

    /// The entries that a translation of `linear` goes through, from the root on, with the physical address at its end; none there where
    /// the page is not mapped. `root` is a value of CR3. Nothing is changed. Without paging there are no entries.
    #[must_use]
    pub fn walk(&self, root: u64, linear: u64) -> (Vec<PageEntry>, Option<u64>) {
        let mut entries = Vec::new();
        if self.cr0 & 1 << 31 == 0 {
            return (entries, Some(linear));
        }
        let wide = self.cr4 & 1 << 5 != 0;
        let levels: u8 = match (self.long_mode(), wide) {
            (true, _) => 4,
            (false, true) => 3,
            (false, false) => 2,
        };
        let bits: u32 = if wide { 9 } else { 10 };
        let mask = (1_u64 << PHYSICAL_BITS) - 1;
        let mut table = root & mask & if levels == 3 { !0x1f } else { !0xfff };
        for level in (1..=levels).rev() {
            let shift = 12 + bits * u32::from(level - 1);
            let index = linear >> shift & ((1 << bits) - 1);
            let physical = table + index * if wide { 8 } else { 4 };
            if !self.ram.contains(physical, 8) {
                return (entries, None);
            }
            let value = match wide {
                true => self.ram.read::<u64>(physical),
                false => self.ram.read::<u32>(physical).into(),
            };
            entries.push(PageEntry {
                level,
                physical,
                value,
            });
            if value & 1 == 0 {
                return (entries, None);
            }
            let large = level > 1 && value & 0x80 != 0 && level < levels.max(3);
            if large || level == 1 {
                let within = (1_u64 << shift) - 1;
                return (entries, Some(value & mask & !within | linear & within));
            }
            table = value & mask & !0xfff;
        }
        (entries, None)
    }

    /// Makes the TLB hold another physical page for the page of `linear` than the page tables say, until it is flushed. Returns the
    /// page that it held, and how many entries (reading, writing, fetching, by privilege) were changed.
    ///
    /// # Errors
    /// When the page is not mapped or not RAM, or the other one is not RAM: a sentence; nothing has happened.
    pub fn redirect_tlb(&mut self, linear: u64, change: u64) -> Result<(u64, usize), String> {
        let (_, physical) = self.walk(self.cr3, linear);
        let page = physical.ok_or_else(|| format!("address {linear:#x} is not mapped"))? & !0xfff;
        let other = page ^ change & !0xfff;
        for address in [page, other] {
            if !self.ram.contains(address, 4096) {
                return Err(format!("physical page {address:#x} is not RAM"));
            }
        }
        // All that the current privilege may do with the page is in the TLB afterwards, if it was not before.
        let who = self.who();
        let cr2 = self.cr2;
        if let Ok(found) = self.translate(linear, Access::Read, who) {
            let class = Cpu::class_of(who);
            for write in [false, true] {
                if (found.writable_now || !write)
                    && let Some(lines) = self.watched_lines(found.physical, write)
                {
                    self.tlb
                        .fill_data(class, write, linear, found.physical, found.kind, lines);
                }
            }
        }
        let user = Who {
            user: self.cpl == 3,
            ac: false,
        };
        if let Ok(found) = self.translate(linear, Access::Fetch, user) {
            self.tlb
                .fill_fetch(user.user, linear, found.physical, found.kind);
        }
        self.cr2 = cr2;
        let reads = self.watched_lines(other, false).unwrap_or_default();
        let writes = self.watched_lines(other, true);
        let changed = self.tlb.redirect(linear, other, reads, writes);
        Ok((page, changed))
    }

    /// Goes on behind the next instruction, which has so many bytes; it counts as retired.
    pub fn skip_instruction(&mut self, bytes: u64) {
        self.ctx.regs[RIP] = self.ctx.regs[RIP].wrapping_add(bytes);
        self.retired += 1;
        self.shadow = false;
    }

    /// Ends the next run before its first instruction, for that reason.
    pub fn end_with(&mut self, stop: Stop) {
        self.stop_with(stop);
    }

    /// Forgets what the TLB holds of the page of `linear`.
    pub fn forget_translation(&mut self, linear: u64) {
        self.tlb.flush_page(linear);
    }
}
