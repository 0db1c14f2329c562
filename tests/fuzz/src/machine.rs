//! The child as a machine: its whole state in and out, and running it until something happens.

use crate::child::{Child, Shared};
use crate::error::Error;
use crate::places::{CODE, CODE_BYTES, NEAR};
use fits_dbt::layout::TSC_STEP;
use fits_stats::facts::is_rep;
use fits_tracer::ptrace::{Registers, Resume, Stop, Stopped, Waited, XState, wait_for};
use iced_x86::{Instruction, Mnemonic};

const BREAKPOINT: u8 = 0xcc;
/// The single-step flag.
pub const TRAP_FLAG: u64 = 1 << 8;

/// Everything of the guest that a program can see.
#[derive(Clone, Debug)]
pub struct State {
    /// General registers, flags, rip, segments.
    pub registers: Registers,
    /// x87, vector and mask registers.
    pub extended: XState,
    /// The data memory.
    pub memory: Vec<u8>,
}

/// Why the child is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// A single step or a breakpoint.
    Trap,
    /// A fault.
    Fault(Fault),
    /// It ran for seconds without stopping.
    Hang,
}

/// A signal that an instruction raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its number.
    pub signal: i32,
    /// `si_code`.
    pub code: i32,
    /// `si_addr`.
    pub address: u64,
}

/// The machine.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    stopped: Option<Stopped>,
}

impl Machine {
    /// Starts one.
    ///
    /// # Errors
    /// See [`Child::start`].
    pub fn start() -> Result<Self, Error> {
        let (child, stopped) = Child::start()?;
        Ok(Machine {
            child,
            stopped: Some(stopped),
        })
    }

    /// The memory that it shares with us.
    pub fn shared(&mut self) -> &mut Shared {
        &mut self.child.shared
    }

    fn stopped(&self) -> Result<&Stopped, Error> {
        self.stopped.as_ref().ok_or(Error::Ended)
    }

    /// The registers.
    ///
    /// # Errors
    /// When the child is gone.
    pub fn registers(&self) -> Result<Registers, Error> {
        Ok(self.stopped()?.registers()?)
    }

    /// Sets the registers.
    ///
    /// # Errors
    /// When the child is gone.
    pub fn set_registers(&self, registers: &Registers) -> Result<(), Error> {
        Ok(self.stopped()?.set_registers(registers)?)
    }

    /// The other registers.
    ///
    /// # Errors
    /// When the child is gone.
    pub fn extended(&self) -> Result<XState, Error> {
        Ok(self.stopped()?.xstate()?)
    }

    /// Sets the whole state.
    ///
    /// # Errors
    /// When the child is gone or the kernel refuses a value.
    pub fn load(&mut self, state: &State) -> Result<(), Error> {
        let stopped = self.stopped()?;
        stopped.set_registers(&state.registers)?;
        stopped.set_xstate(&state.extended)?;
        self.child.shared.memory.copy_from_slice(&state.memory);
        Ok(())
    }

    /// The whole state.
    ///
    /// # Errors
    /// When the child is gone.
    pub fn state(&self) -> Result<State, Error> {
        let stopped = self.stopped()?;
        Ok(State {
            registers: stopped.registers()?,
            extended: stopped.xstate()?,
            memory: self.child.shared.memory.to_vec(),
        })
    }

    /// Lets it run until it stops.
    ///
    /// # Errors
    /// [`Error::Ended`] when it ended instead.
    pub fn resume(&mut self, how: Resume) -> Result<Halt, Error> {
        let mut alarms = 0;
        loop {
            let stopped = self.stopped.take().ok_or(Error::Ended)?;
            stopped.resume(how, 0)?;
            let Waited::Stopped(stopped) = wait_for(self.child.pid)? else {
                return Err(Error::Ended);
            };
            let stop = stopped.stop();
            let stopped = self.stopped.insert(stopped);
            match stop {
                Stop::Trap => return Ok(Halt::Trap),
                Stop::Signal(libc::SIGVTALRM) if alarms < 2 => alarms += 1,
                Stop::Signal(libc::SIGVTALRM) => return Ok(Halt::Hang),
                Stop::Signal(signal) => {
                    let info = stopped.siginfo()?;
                    return Ok(Halt::Fault(Fault {
                        signal,
                        code: info.code(),
                        address: info.address(),
                    }));
                }
                _ => return Err(Error::Ended),
            }
        }
    }

    /// Runs freely onto a breakpoint: after it the kernel knows that any trap flag that it finds is its own.
    ///
    /// # Errors
    /// When the child ended.
    pub fn settle(&mut self) -> Result<(), Error> {
        let mut registers = self.registers()?;
        self.child.shared.zone[0] = BREAKPOINT;
        registers.rip = NEAR;
        self.set_registers(&registers)?;
        self.resume(Resume::Continue)?;
        Ok(())
    }

    /// Executes the guest's instruction at its own address, natively. `instruction` is what stands there, if it can be decoded. The
    /// time-stamp counter is virtual.
    ///
    /// # Errors
    /// When the child ended.
    pub fn step(
        &mut self,
        instruction: Option<&Instruction>,
        tsc: &mut u64,
    ) -> Result<Halt, Error> {
        let Some(instruction) = instruction else {
            return self.resume(Resume::Step);
        };
        let pops_flags = matches!(
            instruction.mnemonic(),
            Mnemonic::Popf | Mnemonic::Popfd | Mnemonic::Popfq
        );
        if instruction.is_vsib() {
            return self.step_until_past(instruction.ip());
        }
        if is_rep(instruction) || pops_flags {
            return self.step_to_breakpoint(instruction);
        }
        let halt = self.resume(Resume::Step)?;
        if halt == Halt::Trap {
            self.correct(instruction, tsc)?;
        }
        Ok(halt)
    }

    /// A single step would stop after each iteration, and would confuse the kernel about who set the trap flag that `popf` clears; a
    /// breakpoint behind the instruction does not.
    fn step_to_breakpoint(&mut self, instruction: &Instruction) -> Result<Halt, Error> {
        let behind = instruction.next_ip().wrapping_sub(CODE);
        let registers = self.registers()?;
        let sees_code = [registers.rsi, registers.rdi]
            .into_iter()
            .any(|at| at.wrapping_sub(CODE) < CODE_BYTES);
        if behind >= CODE_BYTES || sees_code {
            return self.step_until_past(instruction.ip());
        }
        let place = behind as usize;
        let original = std::mem::replace(&mut self.child.shared.code[place], BREAKPOINT);
        let halt = self.run_to(instruction.next_ip() + 1);
        self.child.shared.code[place] = original;
        halt
    }

    /// Runs onto the breakpoint before `behind`, and points rip at it. The kernel at times takes the trap flag for the guest's own:
    /// then it is cleared.
    fn run_to(&mut self, behind: u64) -> Result<Halt, Error> {
        loop {
            let halt = self.resume(Resume::Continue)?;
            if halt != Halt::Trap {
                return Ok(halt);
            }
            let mut registers = self.registers()?;
            let reached = registers.rip == behind;
            registers.rip -= u64::from(reached);
            registers.eflags &= !TRAP_FLAG;
            self.set_registers(&registers)?;
            if reached {
                return Ok(halt);
            }
        }
    }

    /// Single steps until the instruction is over: there is one for each iteration, and for each element of a gather or scatter.
    fn step_until_past(&mut self, pc: u64) -> Result<Halt, Error> {
        loop {
            let halt = self.resume(Resume::Step)?;
            if halt != Halt::Trap || self.registers()?.rip != pc {
                return Ok(halt);
            }
        }
    }

    /// Undoes what single-stepping shows to the guest, and makes the time-stamp counter virtual.
    fn correct(&mut self, instruction: &Instruction, tsc: &mut u64) -> Result<(), Error> {
        const TRAP_FLAG_BYTE: u64 = 1;
        match instruction.mnemonic() {
            Mnemonic::Pushf | Mnemonic::Pushfd | Mnemonic::Pushfq => {
                let at = self.registers()?.rsp.wrapping_add(TRAP_FLAG_BYTE);
                if let Some((offset, _)) = crate::places::find(at) {
                    self.child.shared.memory[offset] &= !1;
                }
            }
            Mnemonic::Rdtsc => {
                let mut registers = self.registers()?;
                registers.rax = *tsc & 0xffff_ffff;
                registers.rdx = *tsc >> 32;
                self.set_registers(&registers)?;
                *tsc = tsc.wrapping_add(TSC_STEP as u64);
            }
            _ => {}
        }
        Ok(())
    }
}
