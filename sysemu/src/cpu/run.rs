//! The loop: devices, interrupts, blocks.

use crate::bus::{Bus, EmptyBus};
use crate::cpu::block::{Blocks, LONGEST};
use crate::cpu::flags::{IF, RF, TF};
use crate::cpu::interrupt::Source;
use crate::cpu::op::Op;
use crate::cpu::state::{Cpu, RIP, Stop};
use crate::cpu::translate::Mode;
use crate::cpu::trap::{self, GP0, Trap};
use crate::memory::{Ram, RamImage};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// DR6: single step.
const STEP: u64 = 1 << 14;

/// How code is executed; what the guest sees is the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Decoded instructions, one by one.
    Interpreter,
    /// What is executed often becomes native code.
    #[default]
    Translated,
}

/// The processor and what it has decoded.
#[derive(Debug)]
pub struct Processor {
    /// Registers, memory, bus.
    pub cpu: Box<Cpu>,
    blocks: Blocks,
    stage: Stage,
    asked: Arc<AtomicBool>,
    /// Virtual time at which to stop.
    alarm: u64,
}

impl Processor {
    /// A processor after reset.
    ///
    /// # Errors
    /// When the host lacks AVX2, or refuses executable memory: a sentence.
    pub fn new(ram: Ram, bus: Box<dyn Bus>) -> Result<Self, String> {
        for (name, present) in [
            ("avx2", is_x86_feature_detected!("avx2")),
            ("bmi2", is_x86_feature_detected!("bmi2")),
            ("fma", is_x86_feature_detected!("fma")),
            ("adx", is_x86_feature_detected!("adx")),
            ("aes", is_x86_feature_detected!("aes")),
        ] {
            if !present {
                return Err(format!(
                    "the software processor needs a host with {name}: vector instructions of the guest run on the host"
                ));
            }
        }
        let blocks =
            Blocks::new().map_err(|error| format!("cannot map memory for stubs: {error}"))?;
        Ok(Processor {
            cpu: Cpu::new(ram, bus),
            blocks,
            stage: Stage::default(),
            asked: Arc::default(),
            alarm: u64::MAX,
        })
    }

    /// Chooses how code is executed from now on.
    pub fn set_stage(&mut self, stage: Stage) {
        self.stage = stage;
    }

    /// Code is translated when it has been interpreted that often (for tests: 0 translates everything).
    pub fn set_translation_threshold(&mut self, times: u32) {
        self.blocks.threshold = times;
    }

    /// Blocks that are decoded from now on have so many instructions at most, and 64 in any case.
    pub fn set_longest_block(&mut self, instructions: usize) {
        self.blocks.longest = instructions.clamp(1, LONGEST);
    }

    /// All decoded code is forgotten when it has become more than so many instructions.
    pub fn set_most_decoded(&mut self, instructions: usize) {
        self.blocks.most = instructions;
    }

    /// How many decoded instructions are kept.
    #[must_use]
    pub fn decoded(&self) -> usize {
        self.blocks.instructions()
    }

    /// How many blocks have been translated and are still known.
    #[must_use]
    pub fn translations(&self) -> usize {
        self.blocks.translated()
    }

    /// Setting this ends [`Processor::run`] soon, from any thread.
    #[must_use]
    pub fn stopper(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.asked)
    }

    /// Lets somebody else's flag end [`Processor::run`].
    pub fn stop_when(&mut self, asked: Arc<AtomicBool>) {
        self.asked = asked;
    }

    /// Runs until something stops the machine, or `limit` instructions have retired in all.
    pub fn run(&mut self, limit: u64) -> Stop {
        let cpu = &mut self.cpu;
        let mut next_event = 0;
        loop {
            if let Some(stop) = cpu.stop.take() {
                return self.describe(stop);
            }
            if cpu.block_limit == 0 || cpu.now() >= next_event {
                if cpu.now() >= cpu.bus.next_event() {
                    let now = cpu.now();
                    cpu.bus.advance(now);
                    cpu.note_devices();
                    if !cpu.code.dirty.is_empty() {
                        self.blocks.invalidate(cpu);
                    }
                }
                if self.asked.load(Ordering::Relaxed) {
                    return Stop::Asked;
                }
                if let Some(stop) = cpu.bus.take_stop() {
                    return stop;
                }
                if cpu.now() >= self.alarm {
                    self.alarm = u64::MAX;
                    return Stop::Alarm;
                }
                next_event = cpu.bus.next_event().min(self.alarm);
                if cpu.take_machine_check() {
                    continue;
                }
                cpu.nmi |= cpu.bus.take_nmi();
                if cpu.take_nmi() {
                    continue;
                }
                cpu.pending = cpu.bus.interrupt_pending();
                cpu.block_limit = 1;
            }
            if cpu.pending && cpu.rflags & IF != 0 && !cpu.shadow {
                let now = cpu.now();
                if let Some(vector) = cpu.bus.acknowledge(now) {
                    interrupt(cpu, vector);
                }
                cpu.block_limit = 0;
                continue;
            }
            if cpu.halted {
                if cpu.rflags & IF == 0 {
                    return Stop::Halted;
                }
                if next_event == u64::MAX {
                    return Stop::Halted;
                }
                if self.asked.load(Ordering::Relaxed) {
                    return Stop::Asked;
                }
                cpu.bus.idle();
                cpu.idle += next_event.saturating_sub(cpu.now());
                cpu.block_limit = 0;
                continue;
            }
            if cpu.retired >= limit {
                return Stop::Limit;
            }
            let budget = (limit - cpu.retired).min(next_event - cpu.now().min(next_event));
            let translated = self.stage == Stage::Translated;
            execute(cpu, &mut self.blocks, budget.max(1), translated);
        }
    }

    /// Executes one instruction, or what it raises, and nothing else. [`Processor::run`] with the number of instructions that have retired
    /// is what brings the processor there: it does everything that comes before the next one.
    pub fn attempt(&mut self) {
        execute(&mut self.cpu, &mut self.blocks, 1, false);
    }

    /// Adds the bytes of the instruction to a stop because of it.
    fn describe(&mut self, stop: Stop) -> Stop {
        let Stop::Unimplemented { what, .. } = stop else {
            return stop;
        };
        let rip = self.cpu.rip();
        let mut bytes = Vec::new();
        for offset in 0..15 {
            let linear = self.cpu.linear_rip().wrapping_add(offset);
            match self.cpu.fetch_physical(linear) {
                Ok(physical) if self.cpu.ram.contains(physical, 1) => {
                    bytes.push(self.cpu.ram.read::<u8>(physical));
                }
                _ => break,
            }
        }
        Stop::Unimplemented { rip, bytes, what }
    }
}

/// Executes at most `budget` instructions, one by one where debugging asks for it.
#[inline(always)]
fn execute(cpu: &mut Cpu, blocks: &mut Blocks, budget: u64, translated: bool) {
    let stepping = cpu.rflags & (TF | RF) != 0 || cpu.dr[7] & 0xff != 0;
    if stepping || cpu.shadow {
        cpu.shadow = false;
        step(cpu, blocks, stepping);
    } else {
        advance(cpu, blocks, budget, translated);
    }
    if !cpu.code.dirty.is_empty() {
        blocks.invalidate(cpu);
    }
}

fn interrupt(cpu: &mut Cpu, vector: u8) {
    if let Err(trap) = cpu.deliver(vector, None, Source::External) {
        cpu.raise(trap);
    }
}

/// Finds the block to execute.
#[inline(always)]
fn locate(cpu: &mut Cpu, blocks: &mut Blocks) -> Result<(u32, u64), Trap> {
    let linear = cpu.linear_rip();
    if cpu.segmented && cpu.rip() > u64::from(cpu.seg[crate::cpu::state::CS].limit) {
        return Err(GP0);
    }
    cpu.check_breakpoint(linear)?;
    let physical = cpu.fetch_physical(linear)?;
    Ok((blocks.find(cpu, linear, physical)?, physical))
}

/// Executes a block, or native code and what it goes on to; at most `budget` instructions.
#[inline(always)]
fn advance(cpu: &mut Cpu, blocks: &mut Blocks, budget: u64, translated: bool) {
    let (number, physical) = match locate(cpu, blocks) {
        Ok(found) => found,
        Err(trap) => return cpu.raise(trap),
    };
    if translated
        && budget >= blocks.get(number).ops.len() as u64
        && let Some(mode) = Mode::of(cpu)
        && let Some(translation) = blocks.translation(cpu, number, physical, mode)
    {
        return blocks.run(cpu, translation, budget);
    }
    interpret(cpu, &blocks.get(number).ops, budget as usize);
}

/// Executes a block, at most `budget` instructions of it.
#[inline(always)]
fn interpret(cpu: &mut Cpu, ops: &[Op], budget: usize) {
    cpu.block_limit = budget.min(ops.len());
    for (index, op) in ops.iter().enumerate() {
        if index >= cpu.block_limit {
            break;
        }
        let rip = cpu.ctx.regs[RIP];
        cpu.ctx.regs[RIP] = rip.wrapping_add(u64::from(op.len));
        match (op.run)(cpu, op) {
            Ok(()) => cpu.retired += 1,
            Err(trap) => {
                cpu.ctx.regs[RIP] = rip;
                cpu.block_limit = 0;
                cpu.raise(trap);
                break;
            }
        }
    }
}

/// Executes one instruction with everything that debugging asks for.
fn step(cpu: &mut Cpu, blocks: &mut Blocks, debugging: bool) {
    let number = match locate(cpu, blocks) {
        Ok((number, _)) => number,
        Err(trap) => return cpu.raise(trap),
    };
    cpu.block_limit = 1;
    if debugging && cpu.rflags & RF == 0 {
        let hit = cpu.instruction_breakpoints();
        if hit != 0 {
            cpu.dr[6] = cpu.dr[6] & !0xf | hit;
            cpu.raise(Trap::plain(trap::DB));
            return;
        }
    }
    cpu.pending_debug = if cpu.rflags & TF != 0 { STEP } else { 0 };
    let resume = cpu.rflags & RF;
    let op = &blocks.get(number).ops[0];
    let rip = cpu.ctx.regs[RIP];
    cpu.ctx.regs[RIP] = rip.wrapping_add(u64::from(op.len));
    match (op.run)(cpu, op) {
        Ok(()) => {
            cpu.retired += 1;
            // What IRET has just set is for the next instruction.
            if resume != 0 && !is_return(op) {
                cpu.rflags &= !RF;
            }
            let pending = std::mem::take(&mut cpu.pending_debug);
            if pending != 0 {
                cpu.dr[6] = cpu.dr[6] & !0xf | pending;
                cpu.raise(Trap::plain(trap::DB));
            }
        }
        Err(trap) => {
            cpu.pending_debug = 0;
            cpu.ctx.regs[RIP] = rip;
            cpu.raise(trap);
        }
    }
    cpu.block_limit = 0;
}

fn is_return(op: &crate::cpu::op::Op) -> bool {
    std::ptr::fn_addr_eq(
        op.run,
        crate::cpu::ops::system::iret as crate::cpu::op::Handler,
    )
}

impl Processor {
    /// Writes physical memory from outside (a loader, a test): code that was decoded there is forgotten.
    ///
    /// # Errors
    /// When it is not all RAM: a sentence.
    pub fn write_physical(&mut self, address: u64, bytes: &[u8]) -> Result<(), String> {
        if !self.cpu.ram.contains(address, bytes.len() as u64) {
            return Err(format!(
                "{} bytes at physical address {address:#x} do not fit into guest memory",
                bytes.len()
            ));
        }
        let mut at = address;
        for piece in pieces(address, bytes) {
            self.cpu
                .ram
                .slice_mut(at, piece.len())
                .copy_from_slice(piece);
            self.cpu.note_write(at, piece.len() as u64);
            at += piece.len() as u64;
        }
        self.blocks.invalidate(&mut self.cpu);
        Ok(())
    }

    /// Nobody looks at memory, code or time any more, and no cell is stuck.
    pub fn forget_watchers(&mut self) {
        self.alarm = u64::MAX;
        self.cpu.deliveries = u64::MAX;
        let watched = std::mem::take(&mut self.cpu.breakpoints).any();
        self.cpu.forget_watches();
        if watched {
            self.blocks.clear(&mut self.cpu);
        }
    }

    /// Makes memory a copy of an image, and forgets code that was decoded of what changes. Where memory is a copy of it already, that is only what
    /// was written since.
    ///
    /// # Errors
    /// When the image has another size, or the host refuses: a sentence.
    pub fn adopt_memory(&mut self, image: &RamImage) -> Result<(), String> {
        if !self.cpu.ram.is_copy_of(image) {
            self.cpu.ram.adopt(image)?;
            self.blocks.clear(&mut self.cpu);
            return Ok(());
        }
        for (start, length) in self.cpu.ram.rewind()? {
            for page in (start..start + length).step_by(4096) {
                self.cpu.note_write(page, 4096);
            }
        }
        self.blocks.invalidate(&mut self.cpu);
        Ok(())
    }

    /// The machine stops when so many exceptions and interrupts have been delivered from now on: a guest can do nothing else for ever without
    /// retiring an instruction. `u64::MAX` is never.
    pub fn limit_deliveries(&mut self, count: u64) {
        self.cpu.deliveries = count;
    }

    /// How many are left.
    #[must_use]
    pub fn deliveries_left(&self) -> u64 {
        self.cpu.deliveries
    }

    /// The machine stops when its virtual time has come to `at` nanoseconds; once, `u64::MAX` is never.
    pub fn set_alarm(&mut self, at: u64) {
        self.alarm = at;
    }

    /// Linear addresses before whose instructions the machine stops; an instruction that was stopped at goes on at the next run.
    pub fn set_breakpoints(&mut self, addresses: &[u64]) {
        if self.cpu.set_breakpoints(addresses) {
            self.blocks.clear(&mut self.cpu);
        }
    }

    /// Stops after each system call instruction, and after each load of CR3.
    pub fn stop_at(&mut self, system_calls: bool, address_spaces: bool) {
        self.cpu.breakpoints.system_calls = system_calls;
        self.cpu.breakpoints.address_spaces = address_spaces;
    }

    /// Reads 1, 2, 4 or 8 aligned bytes of physical memory, or of a device, from outside: 0 where nobody answers.
    pub fn read_outside(&mut self, address: u64, size: u8) -> u64 {
        let cpu = &mut self.cpu;
        if !cpu.ram.contains(address, size.into()) && !cpu.bus.answers(address) {
            return 0;
        }
        let value = cpu.read_physical(address, size);
        cpu.note_devices();
        self.blocks.invalidate(&mut self.cpu);
        value
    }

    /// Writes them: nothing happens where nobody answers.
    pub fn write_outside(&mut self, address: u64, size: u8, value: u64) {
        self.cpu.write_physical(address, size, value);
        self.cpu.note_devices();
        self.blocks.invalidate(&mut self.cpu);
    }

    /// A non-maskable interrupt: delivered before the next instruction, or after the handler of the one before.
    pub fn inject_nmi(&mut self) {
        self.cpu.nmi = true;
        self.cpu.block_limit = 0;
    }

    /// The reset line: registers and devices are as after power-on; memory and the virtual time stay.
    ///
    /// # Errors
    /// When the host refuses memory: a sentence.
    pub fn reset(&mut self) -> Result<(), String> {
        let mut state = Cpu::new(Ram::new(1 << 20)?, Box::new(EmptyBus)).state();
        state.retired = self.cpu.retired;
        state.idle = self.cpu.idle;
        let now = self.cpu.now();
        self.cpu.bus.reset(now);
        self.cpu.set_state(&state)?;
        self.blocks.clear(&mut self.cpu);
        Ok(())
    }

    /// To be called after segments, privilege or control registers were set from outside.
    pub fn refresh(&mut self) {
        self.cpu.tlb.flush(true);
        self.cpu.update_mode();
    }
}

/// The bytes in pieces that do not cross pages.
fn pieces(address: u64, bytes: &[u8]) -> Vec<&[u8]> {
    let first = (4096 - (address & 0xfff) as usize).min(bytes.len());
    let (head, tail) = bytes.split_at(first);
    std::iter::once(head).chain(tail.chunks(4096)).collect()
}
