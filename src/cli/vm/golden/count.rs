//! Every instruction of the guest's processor as a step event, by the same code that the ptrace backend uses.

use std::rc::Rc;

use fits_stats::client::StatsProcess;
use fits_stats::model::{Level, Privilege};
use fits_stats::protocol::{Event, Message};
use fits_sysemu::cpu::Cpu;
use fits_sysemu::cpu::state::{CS, CodeSize, DS, ES, FS, GS, RIP, RSP, SS};
use fits_tracer::ptrace::{Registers, XState};
use fits_tracer::step::{BlockTracker, DecodeCache, Decoded, Kind, Pending, View};

use crate::cli::CliError;

/// Events that are sent together.
const BATCH: usize = 1024;
/// Interrupted repetitions that are remembered.
const SUSPENDED: usize = 64;
/// The longest instruction.
const LONGEST: usize = 15;

/// An instruction or a call that goes on at the same place of the same stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    space: u64,
    rip: u64,
    rsp: u64,
}

impl Place {
    fn of(cpu: &Cpu) -> Self {
        Place {
            space: cpu.cr3,
            rip: cpu.ctx.regs[RIP],
            rsp: cpu.ctx.regs[RSP],
        }
    }
}

/// The instruction that is about to execute.
#[derive(Debug)]
struct Next {
    pending: Option<Pending>,
    place: Place,
    user: bool,
    rax: u64,
}

/// Counts what one processor does.
#[derive(Debug)]
pub(super) struct Counter<'a> {
    stats: &'a mut StatsProcess,
    level: Level,
    cache: DecodeCache,
    block: BlockTracker,
    events: Vec<Event>,
    next: Option<Next>,
    /// Where the last instruction leads, if nothing interrupts.
    expected: u64,
    /// Repetitions that a fault or an interrupt has stopped: they are one instruction, whenever they end.
    suspended: Vec<(Place, Pending)>,
    /// System calls that have not returned: where they will, and their numbers.
    calls: Vec<(Place, u64)>,
    xstate: XState,
    totals: Privilege,
}

impl<'a> Counter<'a> {
    pub(super) fn new(stats: &'a mut StatsProcess, level: Level) -> Self {
        Counter {
            stats,
            level,
            cache: DecodeCache::default(),
            block: BlockTracker::default(),
            events: Vec::new(),
            next: None,
            expected: 0,
            suspended: Vec::new(),
            calls: Vec::new(),
            xstate: XState::zeroed(),
            totals: Privilege::default(),
        }
    }

    /// The processor is about to execute the instruction at its instruction pointer.
    pub(super) fn before(&mut self, cpu: &Cpu) {
        let place = Place::of(cpu);
        if place.rip != self.expected {
            self.interrupted();
        }
        let user = cpu.cpl == 3;
        if user {
            self.returned(place, cpu.ctx.regs[0]);
        }
        let pending = match cpu.code_size {
            CodeSize::Bits64 => self.resumed(place).or_else(|| self.begin(cpu, place.rip)),
            _ => None,
        };
        self.next = Some(Next {
            pending,
            place,
            user,
            rax: cpu.ctx.regs[0],
        });
    }

    /// It has executed, or raised something instead.
    pub(super) fn after(&mut self, cpu: &Cpu, retired: bool) -> Result<(), CliError> {
        self.expected = cpu.ctx.regs[RIP];
        let Some(next) = self.next.take() else {
            return Ok(());
        };
        if !retired {
            self.interrupted();
            if let Some(pending) = next.pending
                && pending.decoded().kind == Kind::Repeat
            {
                self.suspended.truncate(SUSPENDED - 1);
                self.suspended.insert(0, (next.place, pending));
            }
            return Ok(());
        }
        match next.pending {
            Some(pending) => self.retired(cpu, pending, next.user, next.place, next.rax),
            None => self.totals.other += 1,
        }
        if self.events.len() >= BATCH {
            self.flush()?;
        }
        Ok(())
    }

    /// Sends what is left: the totals.
    pub(super) fn finish(mut self) -> Result<Privilege, CliError> {
        self.interrupted();
        for (_, number) in std::mem::take(&mut self.calls) {
            self.events.push(Event::Syscall {
                number,
                error: false,
            });
        }
        self.flush()?;
        Ok(self.totals)
    }

    fn flush(&mut self) -> Result<(), CliError> {
        let events = std::mem::take(&mut self.events);
        Ok(self.stats.send(&Message::Events(0, events))?)
    }

    /// A block ends where an interrupt or a fault comes between two instructions.
    fn interrupted(&mut self) {
        if let Some(block) = self.block.interrupted() {
            self.events.push(Event::Block(block));
        }
    }

    fn resumed(&mut self, place: Place) -> Option<Pending> {
        let found = self.suspended.iter().position(|(at, _)| *at == place)?;
        Some(self.suspended.remove(found).1)
    }

    /// Whether a system call returns to here.
    fn returned(&mut self, place: Place, result: u64) {
        let Some(found) = self.calls.iter().rposition(|(at, _)| *at == place) else {
            return;
        };
        let (_, number) = self.calls.remove(found);
        let error = (-4095..0).contains(&result.cast_signed());
        self.events.push(Event::Syscall { number, error });
    }

    /// Decodes, and takes the values that it will read.
    fn begin(&mut self, cpu: &Cpu, rip: u64) -> Option<Pending> {
        let decoded = self.decoded(cpu, rip)?;
        let registers = registers(cpu);
        let extended = self.level == Level::Full && decoded.extended_before();
        if extended {
            take_extended(cpu, &mut self.xstate);
        }
        let view = View {
            registers: &registers,
            xstate: extended.then_some(&self.xstate),
        };
        let mut pending = Pending::begin(decoded, self.level, view);
        let values: Vec<_> = pending.memory_before().collect();
        for value in values {
            let mut bytes = vec![0; value.bytes];
            // What lies in a device is not read twice: its value stays 0.
            if cpu.look(value.address, &mut bytes) {
                pending.set(value, &bytes);
            }
        }
        Some(pending)
    }

    fn decoded(&mut self, cpu: &Cpu, rip: u64) -> Option<Rc<Decoded>> {
        let mut bytes = [0; LONGEST];
        if let Some(known) = self.cache.get(rip) {
            let length = known.bytes.len();
            if cpu.look(rip, &mut bytes[..length]) && bytes[..length] == known.bytes[..] {
                return Some(known);
            }
        }
        let in_page = LONGEST.min(4096 - (rip & 0xfff) as usize);
        let length = [LONGEST, in_page]
            .into_iter()
            .find(|&length| cpu.look(rip, &mut bytes[..length]))?;
        let decoded = self.cache.decode(rip, &bytes[..length])?;
        (decoded.kind != Kind::Invalid).then_some(decoded)
    }

    fn retired(&mut self, cpu: &Cpu, mut pending: Pending, user: bool, place: Place, rax: u64) {
        let decoded = Rc::clone(pending.decoded());
        let values: Vec<_> = pending.memory_after().collect();
        for value in values {
            let mut bytes = vec![0; value.bytes];
            if cpu.look(value.address, &mut bytes) {
                pending.set(value, &bytes);
            }
        }
        let extended = self.level == Level::Full && decoded.extended_after();
        if extended {
            take_extended(cpu, &mut self.xstate);
        }
        let registers = registers(cpu);
        let step = pending.finish(View {
            registers: &registers,
            xstate: extended.then_some(&self.xstate),
        });
        self.events.push(Event::Step(Box::new(step)));
        if decoded.kind == Kind::Syscall && user {
            let returns = Place {
                rip: decoded.next(),
                ..place
            };
            self.calls.push((returns, rax));
        }
        if let Some(block) = self.block.retired(decoded.pc, decoded.facts.ends_block) {
            self.events.push(Event::Block(block));
        }
        if user {
            self.totals.user += 1;
        } else {
            self.totals.kernel += 1;
        }
    }
}

/// The general registers in the form of ptrace.
fn registers(cpu: &Cpu) -> Registers {
    let [
        rax,
        rcx,
        rdx,
        rbx,
        rsp,
        rbp,
        rsi,
        rdi,
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        _,
        rip,
        ..,
    ] = cpu.ctx.regs;
    let selector = |number: usize| cpu.seg[number].selector.into();
    Registers {
        r15,
        r14,
        r13,
        r12,
        rbp,
        rbx,
        r11,
        r10,
        r9,
        r8,
        rax,
        rcx,
        rdx,
        rsi,
        rdi,
        orig_rax: u64::MAX,
        rip,
        cs: selector(CS),
        eflags: cpu.rflags(),
        rsp,
        ss: selector(SS),
        fs_base: cpu.seg[FS].base,
        gs_base: cpu.seg[GS].base,
        ds: selector(DS),
        es: selector(ES),
        fs: selector(FS),
        gs: selector(GS),
    }
}

/// x87 and vector registers in the form of ptrace.
fn take_extended(cpu: &Cpu, xstate: &mut XState) {
    let legacy = &cpu.ctx.fx.0[..160];
    xstate.bytes_mut()[..160].copy_from_slice(legacy);
    // All components are in use.
    xstate.bytes_mut()[512] = 7;
    for (number, value) in cpu.ctx.ymm.iter().enumerate() {
        let mut wide = [0; 64];
        wide[..32].copy_from_slice(value);
        xstate.set_zmm(number, &wide);
    }
}
