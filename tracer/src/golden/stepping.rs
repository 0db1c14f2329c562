//! From one instruction to the next.

use std::rc::Rc;

use fits_stats::protocol::{Event, Level};

use super::session::Session;
use super::thread::{Call, Thread};
use crate::backend::BackendError;
use crate::calls_made::CallMade;
use crate::ptrace::{self, Memory, Registers, Resume, Stopped};
use crate::step::{Decoded, Kind, Pending, View, virtual_read};

pub(super) const TRAP_FLAG: u64 = 1 << 8;

/// How many bytes an instruction has at most.
const LONGEST: usize = 15;

/// What a retired instruction leaves to be reported.
pub(super) struct Retired {
    pub(super) pending: Pending,
    /// It was this system call, with this result.
    pub(super) call: Option<(u64, i64)>,
}

impl Retired {
    pub(super) fn plain(pending: Pending) -> Self {
        Self {
            pending,
            call: None,
        }
    }
}

impl Session<'_> {
    /// `SIGTRAP`: an instruction has executed, or a handler was entered, or it is the program's own.
    pub(super) fn on_trap(
        &mut self,
        thread: &mut Thread,
        stopped: Stopped,
    ) -> Result<(), BackendError> {
        let mut registers = stopped.registers()?;
        if std::mem::take(&mut thread.delivering) {
            let handler_entered = stopped.siginfo()?.code() == libc::SIGTRAP;
            if handler_entered {
                self.on_handler(thread, &stopped, &registers)?;
                return self.advance(thread, stopped, registers, None);
            }
        }
        let Some(pending) = &thread.pending else {
            self.warn(&format!(
                "an instruction before {:#x} could not be read and is not counted",
                registers.rip
            ));
            return self.advance(thread, stopped, registers, None);
        };
        let (pc, kind) = (pending.decoded().pc, pending.decoded().kind);
        if registers.rip == pc {
            let info = stopped.siginfo()?;
            if info.code() <= 0 {
                return self.on_signal(thread, stopped, libc::SIGTRAP);
            }
            if kind == Kind::Repeat {
                return Ok(stopped.resume(Resume::Step, 0)?);
            }
        }
        let guest_steps = pending.registers().eflags & TRAP_FLAG != 0;
        if thread.call.is_some() {
            return self.on_stepped_call(thread, stopped, registers);
        }
        if kind == Kind::PushFlags && !guest_steps {
            clear_pushed_trap_flag(&thread.memory, registers.rsp)?;
        }
        let trapped = kind == Kind::Breakpoint || guest_steps;
        if kind == Kind::PopFlags && registers.eflags & TRAP_FLAG == 0 {
            // Stepping on from here, the kernel would take the trap flag of our step for the program's own. Resuming without a step
            // forgets it; the interrupt asked for before makes that resumption end before any instruction.
            let retired = thread.pending.take().map(Retired::plain);
            self.report(thread, &stopped, &registers, retired)?;
            ptrace::interrupt(thread.tid)?;
            thread.delivering = trapped;
            let signal = if trapped { libc::SIGTRAP } else { 0 };
            return Ok(stopped.resume(Resume::Continue, signal)?);
        }
        if trapped {
            let retired = thread.pending.take().map(Retired::plain);
            self.report(thread, &stopped, &registers, retired)?;
            return self.deliver(thread, stopped, libc::SIGTRAP);
        }
        // A processor's own idea of when a repeated instruction is over may leave rip at it with the counter at 0.
        registers.orig_rax = u64::MAX;
        let retired = thread.pending.take().map(Retired::plain);
        self.advance(thread, stopped, registers, retired)
    }

    /// Reports what has retired and lets the thread execute the instruction at `registers.rip`.
    pub(super) fn advance(
        &mut self,
        thread: &mut Thread,
        stopped: Stopped,
        mut registers: Registers,
        mut retired: Option<Retired>,
    ) -> Result<(), BackendError> {
        loop {
            let pending = self.turn(thread, &stopped, &registers, retired.take())?;
            let Some(pending) = pending else {
                thread.pending = None;
                return Ok(stopped.resume(Resume::Step, 0)?);
            };
            let decoded = Rc::clone(pending.decoded());
            if let Some(call) = self.emulate(thread, &stopped, &decoded, &mut registers)? {
                retired = Some(Retired { pending, call });
                continue;
            }
            thread.pending = Some(pending);
            thread.call = (decoded.kind == Kind::Syscall).then_some(Call::ENTERING);
            return Ok(stopped.resume(thread.how(), 0)?);
        }
    }

    /// Reports without going on.
    pub(super) fn report(
        &mut self,
        thread: &mut Thread,
        stopped: &Stopped,
        registers: &Registers,
        retired: Option<Retired>,
    ) -> Result<(), BackendError> {
        let Some(mut retired) = retired else {
            return Ok(());
        };
        if self.options.level == Level::Full && retired.pending.decoded().extended_after() {
            stopped.read_xstate(&mut thread.xstate)?;
        }
        let values: Vec<_> = retired.pending.memory_after().collect();
        for value in values {
            let mut bytes = vec![0; value.bytes];
            if thread.memory.read(value.address, &mut bytes).is_ok() {
                retired.pending.set(value, &bytes);
            }
        }
        self.finish(thread, registers, retired)
    }

    /// One turn at a stop: the values that the last instruction left and those that the next one will read, in as few system calls as
    /// possible. `None`: there is no instruction to be read.
    fn turn(
        &mut self,
        thread: &mut Thread,
        stopped: &Stopped,
        registers: &Registers,
        retired: Option<Retired>,
    ) -> Result<Option<Pending>, BackendError> {
        let level = self.options.level;
        let guess = self.cache.get(registers.rip);
        let after = retired
            .as_ref()
            .is_some_and(|it| it.pending.decoded().extended_after());
        let before = guess.as_ref().is_some_and(|it| it.extended_before());
        let extended = level == Level::Full && (after || before);
        if extended {
            stopped.read_xstate(&mut thread.xstate)?;
        }
        let view = View {
            registers,
            xstate: extended.then_some(&thread.xstate),
        };
        let mut next = guess.map(|decoded| Pending::begin(decoded, level, view));
        let (retired, fresh) = self.collect(&thread.memory, retired, &mut next);
        if let Some(retired) = retired {
            self.finish(thread, registers, retired)?;
        }
        if fresh {
            return Ok(next);
        }
        let mut bytes = [0; LONGEST];
        let length = read_code(&thread.memory, registers.rip, &mut bytes)?;
        let Some(decoded) = self.cache.decode(registers.rip, &bytes[..length]) else {
            return Ok(None);
        };
        if level == Level::Full && decoded.extended_before() && !extended {
            stopped.read_xstate(&mut thread.xstate)?;
        }
        let view = View {
            registers,
            xstate: Some(&thread.xstate),
        };
        let mut next = Some(Pending::begin(decoded, level, view));
        self.collect(&thread.memory, None, &mut next);
        Ok(next)
    }

    /// Reads, in one system call if it can be, the values that `retired` left in memory, the code bytes of `next` and the values that it
    /// will read. Whether the code bytes are those that `next` was decoded from.
    fn collect(
        &mut self,
        memory: &Memory,
        mut retired: Option<Retired>,
        next: &mut Option<Pending>,
    ) -> (Option<Retired>, bool) {
        let after: Vec<_> = retired
            .iter()
            .flat_map(|retired| retired.pending.memory_after())
            .collect();
        let before: Vec<_> = next.iter().flat_map(Pending::memory_before).collect();
        let code = next
            .iter()
            .map(|next| (next.decoded().pc, next.decoded().bytes.len()));
        self.requests.clear();
        self.requests.extend(code);
        self.requests.extend(
            after
                .iter()
                .chain(&before)
                .map(|value| (value.address, value.bytes)),
        );
        let total = self.requests.iter().map(|request| request.1).sum();
        self.buffer.clear();
        self.buffer.resize(total, 0);
        if !memory.gather(&self.requests, &mut self.buffer) {
            memory.gather_singly(&self.requests, &mut self.buffer);
        }
        let mut rest = self.buffer.as_slice();
        let mut same = false;
        if let Some(next) = next {
            let code = split(&mut rest, next.decoded().bytes.len());
            same = code == next.decoded().bytes;
        }
        for value in after {
            let bytes = split(&mut rest, value.bytes);
            if let Some(retired) = &mut retired {
                retired.pending.set(value, bytes);
            }
        }
        for value in before {
            let bytes = split(&mut rest, value.bytes);
            if let Some(next) = next {
                next.set(value, bytes);
            }
        }
        (retired, same)
    }

    /// The instruction has retired and all its values are there.
    fn finish(
        &mut self,
        thread: &mut Thread,
        registers: &Registers,
        retired: Retired,
    ) -> Result<(), BackendError> {
        let decoded = Rc::clone(retired.pending.decoded());
        if decoded.kind == Kind::Invalid {
            self.warn(&format!(
                "the unknown instruction at {:#x} was executed and is not counted",
                decoded.pc
            ));
            return Ok(());
        }
        let view = View {
            registers,
            xstate: Some(&thread.xstate),
        };
        let step = retired.pending.finish(view);
        self.options.progress.add(1);
        self.emit(thread, Event::Step(Box::new(step)))?;
        if let Some((number, result)) = retired.call {
            let call = CallMade {
                thread: thread.number,
                pc: decoded.pc,
                number,
                result,
            };
            self.options.note_call(call);
            let error = call.is_error();
            self.emit(thread, Event::Syscall { number, error })?;
        }
        if let Some(block) = thread.block.retired(decoded.pc, decoded.facts.ends_block) {
            self.emit(thread, Event::Block(block))?;
        }
        Ok(())
    }

    /// Executes what must not execute natively. `None`: nothing of the kind; otherwise what to report of it as a system call.
    #[expect(
        clippy::option_option,
        reason = "emulated or not, a system call or not"
    )]
    fn emulate(
        &mut self,
        thread: &mut Thread,
        stopped: &Stopped,
        decoded: &Decoded,
        registers: &mut Registers,
    ) -> Result<Option<Option<(u64, i64)>>, BackendError> {
        let controlled = self.options.environment.is_controlled();
        let mut call = None;
        if let Some(after) = virtual_read(decoded, registers, controlled, &mut thread.tsc) {
            *registers = after;
        } else if decoded.kind == Kind::Syscall
            && controlled
            && registers.rax == libc::SYS_rseq as u64
        {
            let answer = -i64::from(libc::ENOSYS);
            registers.rax = answer.cast_unsigned();
            registers.rcx = decoded.next();
            registers.r11 = registers.eflags;
            registers.rip = decoded.next();
            registers.orig_rax = u64::MAX;
            call = Some((libc::SYS_rseq as u64, answer));
        } else {
            return Ok(None);
        }
        stopped.set_registers(registers)?;
        Ok(Some(call))
    }
}

/// `pushf` under a single step pushes the trap flag of the step.
fn clear_pushed_trap_flag(memory: &Memory, rsp: u64) -> Result<(), BackendError> {
    let mut byte = [0];
    memory.read(rsp + 1, &mut byte)?;
    Ok(memory.write(rsp + 1, &[byte[0] & !1])?)
}

fn read_code(memory: &Memory, pc: u64, bytes: &mut [u8; LONGEST]) -> Result<usize, BackendError> {
    let read = memory.read_some(pc, bytes)?;
    if read > 0 {
        return Ok(read);
    }
    // Execute-only memory.
    let readable = (1..=LONGEST)
        .rev()
        .find(|&length| memory.read(pc, &mut bytes[..length]).is_ok());
    Ok(readable.unwrap_or_default())
}

fn split<'a>(rest: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (first, others) = rest.split_at(length);
    *rest = others;
    first
}
