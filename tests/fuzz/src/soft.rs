//! The software processor of the virtual machine: a sequence in user mode under page tables of ours, compared with the bare CPU's trace, after
//! every instruction or at the end, interpreted or translated. An exception goes through a real descriptor table to a handler that halts.

use crate::case::Layout;
use crate::differ::difference;
use crate::error::Error;
use crate::machine::{Fault, State};
use crate::native::{End, Trace};
use crate::places::{CODE, CODE_BYTES, REGIONS};
use crate::start::{general, set_general};
use fits_sysemu::bus::EmptyBus;
use fits_sysemu::cpu::cpuid::announces;
use fits_sysemu::cpu::state::{CS, DS, FS, GS, RIP, SS, Segment};
use fits_sysemu::cpu::{Processor, Stage, Stop, trap};
use fits_sysemu::memory::Ram;
use fits_tracer::step::Decoded;
use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, MemorySize, Mnemonic};
use std::rc::Rc;

/// Physical places: descriptor table of interrupts, segments, task state, handlers, kernel stack, page tables, code, data.
const IDT: u64 = 0x1000;
const GDT: u64 = 0x2000;
const TSS: u64 = 0x3000;
const HANDLERS: u64 = 0x4000;
const STACK_TOP: u64 = 0x7000;
const TABLES: u64 = 0x10000;
const CODE_AT: u64 = 0x10_0000;
const DATA_AT: u64 = 0x11_0000;
const RAM: u64 = 0x20_0000;
/// The same physical memory for the kernel, at a high address.
const KERNEL: u64 = 0xffff_8000_0000_0000;

const CODE_SELECTOR: u16 = 0x33;
const STACK_SELECTOR: u16 = 0x2b;
const STATUS: u64 = 0x8d5;

/// Whether an instruction belongs to those that the software processor announces and that mean the same in any machine.
#[must_use]
pub fn comparable(code: Code) -> bool {
    let known = code
        .cpuid_features()
        .iter()
        .all(|&feature| announces(feature));
    // What is virtual, or kept from user programs, depends on the machine; reserved NOPs on the maker.
    let own = matches!(
        code.mnemonic(),
        Mnemonic::Reservednop
            | Mnemonic::Cpuid
            | Mnemonic::Rdtsc
            | Mnemonic::Sgdt
            | Mnemonic::Sidt
            | Mnemonic::Sldt
            | Mnemonic::Str
            | Mnemonic::Smsw
            | Mnemonic::Lar
            | Mnemonic::Lsl
            | Mnemonic::Verr
            | Mnemonic::Verw
    );
    known && !own
}

/// The software processor, with everything that does not change from case to case.
#[derive(Debug)]
pub struct Soft {
    processor: Processor,
    next_table: u64,
    how: How,
    cases: usize,
}

/// A bit of MXCSR that only AMD processors have.
const MISALIGNED: u32 = 1 << 17;

/// How sequences are executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// By the interpreter, one instruction after the other.
    Step,
    /// By the interpreter, and compared at the end.
    Blocks,
    /// As native code, in blocks of one to eight instructions, and compared at the end.
    Translated,
}

impl Soft {
    /// Sets it up.
    ///
    /// # Errors
    /// When the host has not what it needs.
    pub fn new(how: How) -> Result<Self, Error> {
        let ram = Ram::new(RAM).map_err(Error::Soft)?;
        let mut processor = Processor::new(ram, Box::new(EmptyBus)).map_err(Error::Soft)?;
        processor.set_stage(match how {
            How::Translated => Stage::Translated,
            How::Step | How::Blocks => Stage::Interpreter,
        });
        processor.set_translation_threshold(0);
        let mut soft = Soft {
            processor,
            next_table: TABLES + 0x1000,
            how,
            cases: 0,
        };
        soft.kernel()?;
        soft.map(KERNEL, 0, RAM, 3)?;
        soft.map(CODE, CODE_AT, CODE_BYTES, 5)?;
        for region in REGIONS {
            let rights = if region.writable { 7 } else { 5 };
            soft.map(
                region.address,
                DATA_AT + region.offset,
                region.bytes,
                rights | 1 << 63,
            )?;
        }
        Ok(soft)
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Error> {
        self.processor
            .write_physical(address, bytes)
            .map_err(Error::Soft)
    }

    fn kernel(&mut self) -> Result<(), Error> {
        for vector in 0..256_u64 {
            let target = KERNEL + HANDLERS + 16 * vector;
            let low = target & 0xffff | 0x10 << 16 | 0x8e00 << 32 | (target >> 16 & 0xffff) << 48;
            self.write(IDT + 16 * vector, &low.to_le_bytes())?;
            self.write(IDT + 16 * vector + 8, &(target >> 32).to_le_bytes())?;
            self.write(HANDLERS + 16 * vector, &[0xf4])?;
        }
        self.write(GDT + 0x10, &0x00af_9b00_0000_ffff_u64.to_le_bytes())?;
        self.write(TSS + 4, &(KERNEL + STACK_TOP).to_le_bytes())?;
        let cpu = &mut self.processor.cpu;
        cpu.idtr.base = KERNEL + IDT;
        cpu.idtr.limit = 0xfff;
        cpu.gdtr.base = KERNEL + GDT;
        cpu.gdtr.limit = 0x7f;
        cpu.tr.base = KERNEL + TSS;
        cpu.tr.limit = 0x67;
        cpu.cr0 = 0x8005_0033;
        cpu.cr3 = TABLES;
        // PAE, OSFXSR, OSXMMEXCPT, UMIP, FSGSBASE, OSXSAVE, SMEP, SMAP.
        cpu.cr4 = 0x20 | 3 << 9 | 1 << 11 | 1 << 16 | 1 << 18 | 1 << 20 | 1 << 21;
        cpu.efer = 0xd01;
        cpu.xcr0 = 7;
        Ok(())
    }

    fn map(&mut self, linear: u64, physical: u64, bytes: u64, rights: u64) -> Result<(), Error> {
        for page in 0..bytes / 4096 {
            let at = linear + 4096 * page;
            let mut table = TABLES;
            for shift in [39, 30, 21] {
                let slot = table + 8 * (at >> shift & 511);
                let mut entry = self.processor.cpu.ram.read::<u64>(slot);
                if entry == 0 {
                    entry = self.next_table | 7;
                    self.next_table += 4096;
                    self.write(slot, &entry.to_le_bytes())?;
                }
                table = entry & !0xfff;
            }
            let entry = (physical + 4096 * page) | rights;
            self.write(table + 8 * (at >> 12 & 511), &entry.to_le_bytes())?;
        }
        Ok(())
    }

    /// Sets the state of a case.
    fn load(&mut self, state: &State) -> Result<(), Error> {
        self.write(DATA_AT, &state.memory)?;
        let cpu = &mut self.processor.cpu;
        let user = |selector, attributes| Segment {
            selector,
            base: 0,
            limit: u32::MAX,
            attributes,
        };
        cpu.seg = [Segment::default(); 6];
        cpu.seg[CS] = user(CODE_SELECTOR, 0xa0fb);
        cpu.seg[SS] = user(STACK_SELECTOR, 0xc0f3);
        cpu.seg[DS] = Segment::default();
        cpu.seg[FS].base = state.registers.fs_base;
        cpu.seg[GS].base = state.registers.gs_base;
        cpu.cpl = 3;
        cpu.halted = false;
        cpu.ctx.regs[..16].copy_from_slice(&general(&state.registers));
        cpu.ctx.regs[RIP] = state.registers.rip;
        cpu.set_rflags(state.registers.eflags & (STATUS | 1 << 10) | 0x202);
        let x = &state.extended;
        cpu.ctx.fx.0[..160].copy_from_slice(&x.bytes()[..160]);
        cpu.ctx.fx.0[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
        cpu.ctx.mxcsr = x.mxcsr();
        for (number, ymm) in cpu.ctx.ymm.iter_mut().enumerate() {
            ymm.copy_from_slice(&x.zmm(number)[..32]);
        }
        self.processor.refresh();
        Ok(())
    }

    /// How many blocks are translated now.
    #[must_use]
    pub fn translations(&self) -> usize {
        self.processor.translations()
    }

    /// The state now, in terms of the bare CPU's, from which what is not modelled is taken.
    fn state(&self, like: &State) -> State {
        let cpu = &self.processor.cpu;
        let mut state = like.clone();
        let mut values = [0; 16];
        values.copy_from_slice(&cpu.ctx.regs[..16]);
        set_general(&mut state.registers, &values);
        state.registers.rip = cpu.ctx.regs[RIP];
        state.registers.eflags = cpu.rflags();
        state.registers.fs_base = cpu.seg[FS].base;
        state.registers.gs_base = cpu.seg[GS].base;
        self.extended(&mut state);
        state.memory = cpu.ram.slice(DATA_AT, like.memory.len()).to_vec();
        state
    }

    fn extended(&self, state: &mut State) {
        let ctx = &self.processor.cpu.ctx;
        for (number, ymm) in ctx.ymm.iter().enumerate() {
            let mut value = state.extended.zmm(number);
            value[..32].copy_from_slice(ymm);
            state.extended.set_zmm(number, &value);
        }
        let bytes = state.extended.bytes_mut();
        bytes[..6].copy_from_slice(&ctx.fx.0[..6]);
        bytes[32..160].copy_from_slice(&ctx.fx.0[32..160]);
        state.extended.set_mxcsr(ctx.mxcsr);
    }

    /// Executes the sequence of `layout`: the first difference from the bare CPU's trace.
    ///
    /// # Errors
    /// When memory can't be written.
    pub fn compare(&mut self, layout: &Layout, trace: &Trace) -> Result<Option<String>, Error> {
        self.cases += 1;
        if self.how == How::Translated {
            // A block is only entered as native code if all of it may execute, so it must end with the sequence now and then.
            self.processor.set_longest_block(1 + self.cases % 8);
        }
        self.write(CODE_AT, &layout.code)?;
        self.load(&trace.states[0])?;
        let last = trace
            .steps
            .iter()
            .zip(&trace.states[1..])
            .position(|(step, after)| {
                let start = step.instruction.ip().wrapping_sub(CODE) as usize;
                // A jump into an instruction may find one that is not announced.
                !comparable(step.instruction.code())
                    || after.extended.mxcsr() & MISALIGNED != 0
                    || odd_branch(&step.instruction, &layout.code[start..])
            })
            .unwrap_or(trace.steps.len());
        let cut = last < trace.steps.len();
        let mut index = 0;
        while index < last {
            let count = if self.how == How::Step {
                1
            } else {
                last - index
            };
            if let Some(found) = self.advance(trace, index, count) {
                let steps = &trace.steps[index..index + count];
                return Ok((!self.traps_itself(steps)).then_some(found));
            }
            index += count;
        }
        let End::Fault(fault, native) = &trace.end else {
            return Ok(None);
        };
        if cut {
            return Ok(None);
        }
        let at = native.registers.rip;
        let rest = layout
            .code
            .get(at.wrapping_sub(CODE) as usize..)
            .unwrap_or(&[]);
        let instruction = Decoder::with_ip(64, rest, at, DecoderOptions::NONE).decode();
        if odd_branch(&instruction, rest)
            || !instruction.is_invalid() && !comparable(instruction.code())
        {
            return Ok(None);
        }
        let name = format!(
            "{at:#x} {instruction} ({:?}) at the fault",
            instruction.code()
        );
        let stop = self.processor.run(self.processor.cpu.retired + 1);
        let allowed = is_exact_underflow(*fault, native) || is_masked_store(&instruction);
        if stop == Stop::Limit && allowed {
            return Ok(None);
        }
        if instruction.mnemonic() == Mnemonic::Call && self.exception() == u64::from(trap::GP) {
            // AMD processors push the return address first, and fault there; those of Intel, as the software processor, look at the target.
            return Ok(None);
        }
        if stop != Stop::Halted {
            return Ok(Some(format!(
                "{name}: {fault:?} natively, {stop:?} in software"
            )));
        }
        let mut fault = *fault;
        if is_masked_store(&instruction) || is_state(&instruction) {
            // Which byte of the operand the fault names is the processor's choice.
            let named = self.processor.cpu.cr2;
            if named.wrapping_sub(fault.address).wrapping_add(512) < 1024 {
                fault.address = named;
            }
        }
        Ok(self
            .compare_fault(fault, native, &instruction)
            .map(|found| format!("{name}: {found}")))
    }

    /// Whether the sequence has popped a trap flag: under single steps the bare CPU's kernel cannot always tell whose it is.
    fn traps_itself(&self, steps: &[Rc<Decoded>]) -> bool {
        let pops = |step: &Rc<Decoded>| {
            matches!(
                step.instruction.mnemonic(),
                Mnemonic::Popf | Mnemonic::Popfq
            )
        };
        self.exception() == u64::from(trap::DB) && steps.iter().any(pops)
    }

    /// The exception in whose handler the processor has halted.
    fn exception(&self) -> u64 {
        (self.processor.cpu.ctx.regs[RIP].wrapping_sub(KERNEL + HANDLERS)) / 16
    }

    /// Executes `count` instructions and compares.
    fn advance(&mut self, trace: &Trace, index: usize, count: usize) -> Option<String> {
        let instruction = &trace.steps[index + count - 1].instruction;
        let expected = &trace.states[index + count];
        let stop = self
            .processor
            .run(self.processor.cpu.retired + count as u64);
        let name = format!(
            "{:#x} {instruction} ({:?})",
            instruction.ip(),
            instruction.code()
        );
        if stop != Stop::Limit {
            let vector = self.exception();
            return Some(format!(
                "{name}: retired natively, {stop:?} (exception {vector}) in software"
            ));
        }
        let mut got = self.state(expected);
        let at_end = index + count == trace.steps.len();
        if let Some((offset, length)) = trace.ignored.filter(|_| at_end) {
            // Of FXSAVE also the mask of MXCSR, in which AMD processors have a bit more.
            let length = if matches!(
                instruction.mnemonic(),
                Mnemonic::Fxsave | Mnemonic::Fxsave64
            ) {
                (length + 8).min(expected.memory.len() - offset)
            } else {
                length
            };
            got.memory[offset..offset + length]
                .copy_from_slice(&expected.memory[offset..offset + length]);
        }
        difference(expected, &got).map(|found| {
            let found = found.replace("translated", "in software");
            format!("{name}: {found}")
        })
    }

    /// Exception number, address and state of a fault.
    fn compare_fault(
        &mut self,
        fault: Fault,
        native: &State,
        instruction: &Instruction,
    ) -> Option<String> {
        let cpu = &self.processor.cpu;
        let vector = ((cpu.ctx.regs[RIP] - 1 - KERNEL - HANDLERS) / 16) as u8;
        let expected = vectors(fault);
        if !expected.contains(&vector) {
            return Some(format!(
                "{fault:?} natively, exception {vector} in software"
            ));
        }
        if vector == trap::PF && cpu.cr2 != fault.address {
            return Some(format!(
                "{fault:?} natively, page fault at {:#x} in software",
                cpu.cr2
            ));
        }
        let frame = STACK_TOP - 40;
        let word = |index: u64| cpu.ram.read::<u64>(frame + 8 * index);
        let (rip, flags, rsp) = (word(0), word(2), word(3));
        let mut got = self.state(native);
        got.registers.rip = rip;
        got.registers.eflags = flags;
        got.registers.rsp = rsp;
        if vector == trap::XM {
            // Flags of the result that come together with an unmasked exception (see `is_exact_underflow`), and those of later steps of a dot
            // product: a processor ends with the step that raises it.
            const OF_RESULT: u32 = 0x38;
            const OF_SUMS: u32 = 0x3f;
            let of_result = if is_dot_product(instruction) {
                OF_SUMS
            } else {
                OF_RESULT
            };
            let mixed = got.extended.mxcsr() & !of_result | native.extended.mxcsr() & of_result;
            got.extended.set_mxcsr(mixed);
        }
        if (0..instruction.op_count()).any(|n| instruction.op_register(n).is_mm()) {
            // AMD processors begin to use MMX registers before memory faults.
            got.extended = native.extended.clone();
        }
        difference(native, &got).map(|found| found.replace("translated", "in software"))
    }
}

/// The processor's state, or that of the x87 unit, in memory.
fn is_state(instruction: &Instruction) -> bool {
    matches!(
        instruction.memory_size(),
        MemorySize::FpuEnv14
            | MemorySize::FpuEnv28
            | MemorySize::FpuState94
            | MemorySize::FpuState108
            | MemorySize::Fxsave_512Byte
            | MemorySize::Fxsave64_512Byte
    )
}

/// Whether a byte-masked store with an empty mask faults is the processor's choice.
fn is_masked_store(instruction: &Instruction) -> bool {
    matches!(
        instruction.mnemonic(),
        Mnemonic::Maskmovdqu | Mnemonic::Vmaskmovdqu | Mnemonic::Maskmovq
    )
}

fn is_dot_product(instruction: &Instruction) -> bool {
    matches!(
        instruction.mnemonic(),
        Mnemonic::Dpps | Mnemonic::Dppd | Mnemonic::Vdpps | Mnemonic::Vdppd
    )
}

/// An unmasked underflow is raised for a tiny result even if it is exact; the software processor, which runs with everything masked,
/// does not see those: a known difference (docs/design/software-processor.md).
fn is_exact_underflow(fault: Fault, native: &State) -> bool {
    const MASK: u32 = 1 << 11;
    fault.signal == libc::SIGFPE && native.extended.mxcsr() & MASK == 0
}

/// A near branch with an operand size of 16 bits: AMD processors obey the prefix, those of Intel, as the software processor, ignore it.
fn odd_branch(instruction: &Instruction, bytes: &[u8]) -> bool {
    let branch = instruction.flow_control() != FlowControl::Next;
    let prefixes = bytes.iter().take_while(|byte| {
        matches!(
            **byte,
            0x66 | 0x67 | 0xf2 | 0xf3 | 0x2e | 0x36 | 0x3e | 0x26 | 0x64 | 0x65 | 0x40..=0x4f
        )
    });
    // Repeat prefixes change the condition of `loope` and `loopne` there.
    branch
        && prefixes
            .into_iter()
            .any(|&byte| matches!(byte, 0x66 | 0xf2 | 0xf3))
}

/// The exceptions that Linux makes this signal of.
fn vectors(fault: Fault) -> &'static [u8] {
    const KERNEL_CODE: i32 = 0x80;
    match (fault.signal, fault.code) {
        (libc::SIGSEGV, KERNEL_CODE) => &[trap::GP, trap::SS],
        (libc::SIGSEGV, _) => &[trap::PF, trap::BR],
        (libc::SIGBUS, KERNEL_CODE) => &[trap::SS],
        (libc::SIGBUS, _) => &[trap::AC, trap::PF],
        (libc::SIGILL, _) => &[trap::UD],
        (libc::SIGFPE, 1) => &[trap::DE],
        (libc::SIGFPE, _) => &[trap::MF, trap::XM],
        _ => &[],
    }
}
