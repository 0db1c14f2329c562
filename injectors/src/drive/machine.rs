//! A live process with what driving it needs beside: decoded instructions, whole states, bytes of memory.

use std::cell::RefCell;
use std::rc::Rc;

use fits_tracer::backend::BackendError;
use fits_tracer::engine::Limits;
use fits_tracer::live::{Goal, Live, Stepped};
use fits_tracer::ptrace::XState;
use fits_tracer::step::{DecodeCache, Decoded, View};
use iced_x86::{InstructionInfoFactory, Register};

use super::state::State;

/// How many bytes an instruction has at most.
pub(crate) const LONGEST: usize = 15;

/// What was in memory: first address and bytes.
type Was = (u64, Vec<u8>);

/// See the module.
pub(crate) struct Machine {
    pub(crate) live: Live,
    pub(crate) factory: InstructionInfoFactory,
    cache: DecodeCache,
    blank: XState,
    /// Instructions that the thread in focus has retired.
    pub(crate) index: u64,
    /// What was where [`Machine::write`] has written, if anybody asks for that.
    account: Option<RefCell<Vec<Was>>>,
}

impl Machine {
    pub(crate) fn new(live: Live, index: u64) -> Self {
        Self {
            live,
            factory: InstructionInfoFactory::new(),
            cache: DecodeCache::default(),
            blank: XState::zeroed(),
            index,
            account: None,
        }
    }

    /// From now on it is kept what was where something is written.
    pub(super) fn keep_account(&mut self) {
        self.account = Some(RefCell::default());
    }

    /// First address and bytes, of what was written since the last time.
    pub(super) fn take_account(&self) -> Vec<Was> {
        self.account.as_ref().map_or(Vec::new(), RefCell::take)
    }

    pub(crate) fn state(&self) -> Result<State, BackendError> {
        Ok(State {
            registers: self.live.registers()?,
            xstate: self.live.xstate()?,
        })
    }

    /// The state, its x87, vector and mask registers only if they are asked for: reading them takes longer than all else.
    pub(crate) fn glance(&self, extended: bool) -> Result<State, BackendError> {
        if extended {
            return self.state();
        }
        Ok(State {
            registers: self.live.registers()?,
            xstate: self.blank.clone(),
        })
    }

    /// Makes `new` of `old`, the present state, and reads back whether it has become that.
    pub(crate) fn change_state(&mut self, old: &State, new: &State) -> Result<(), String> {
        let told = |error: fits_tracer::Error| match error {
            fits_tracer::Error::Ptrace { errno, .. } => {
                format!("the kernel refuses this content ({})", errno.desc())
            }
            other => other.to_string(),
        };
        if old.xstate != new.xstate {
            self.live.set_xstate(&new.xstate).map_err(told)?;
        }
        if old.registers != new.registers {
            self.live.set_registers(&new.registers).map_err(told)?;
        }
        let read = self.state().map_err(|error| error.to_string())?;
        match new.differences(&read)[..] {
            [] => Ok(()),
            ref names => Err(format!(
                "read back, {} did not have the wanted content",
                names.join(", ")
            )),
        }
    }

    pub(crate) fn read(&self, address: u64, length: usize) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; length];
        let read = self.live.memory().read(address, &mut bytes);
        read.map(|()| bytes)
            .map_err(|_| format!("memory at {address:#x} is not mapped"))
    }

    /// Writes bytes, reads them back, and checks that their neighbours are as before.
    pub(crate) fn write(&self, address: u64, bytes: &[u8]) -> Result<(), String> {
        if let Some(account) = &self.account {
            let old = self.read(address, bytes.len())?;
            account.borrow_mut().push((address, old));
        }
        let around = Around::of(self, address, bytes.len());
        let written = self.live.memory().write(address, bytes);
        written.map_err(|_| {
            format!(
                "memory at {address:#x} cannot be written ({} bytes)",
                bytes.len()
            )
        })?;
        if self.read(address, bytes.len())? != bytes {
            return Err(format!(
                "read back, memory at {address:#x} did not have the wanted content"
            ));
        }
        if around != Around::of(self, address, bytes.len()) {
            return Err(format!("memory beside {address:#x} has changed too"));
        }
        Ok(())
    }

    /// The instruction that begins next, none if it cannot be fetched.
    pub(crate) fn decoded(&mut self) -> Result<Option<Rc<Decoded>>, BackendError> {
        let pc = self.live.registers()?.rip;
        self.decoded_at(pc)
    }

    /// The instruction at an address, none if it cannot be fetched.
    pub(super) fn decoded_at(&mut self, pc: u64) -> Result<Option<Rc<Decoded>>, BackendError> {
        let mut bytes = [0; LONGEST];
        let mut length = self.live.memory().read_some(pc, &mut bytes)?;
        if length == 0 {
            let memory = self.live.memory();
            let readable = |&length: &usize| memory.read(pc, &mut [0; LONGEST][..length]).is_ok();
            length = (1..=LONGEST).rev().find(readable).unwrap_or_default();
            if length == 0 {
                return Ok(None);
            }
            memory.read(pc, &mut bytes[..length])?;
        }
        if let Some(known) = self.cache.get(pc)
            && bytes[..length].starts_with(&known.bytes)
        {
            return Ok(Some(known));
        }
        let decoded = self.cache.decode(pc, &bytes[..length]);
        Ok(decoded.filter(|decoded| !decoded.instruction.is_invalid()))
    }

    /// Like [`Machine::step`], for what may take as long as it likes: the other threads run meanwhile, and limits end it.
    pub(crate) fn step_within(&mut self, limits: &Limits) -> Result<Stepped, BackendError> {
        match self.live.steps_to(&Goal::Steps(1), limits)? {
            Some(retired) => {
                self.index += retired;
                Ok(Stepped::Retired)
            }
            None => Ok(Stepped::Ended),
        }
    }

    pub(crate) fn step(&mut self) -> Result<Stepped, BackendError> {
        let stepped = self.live.step()?;
        if stepped == Stepped::Retired {
            self.index += 1;
        }
        Ok(stepped)
    }
}

/// What a register contributes to an address.
pub(crate) fn address_part(state: &State, register: Register) -> u64 {
    let view = View {
        registers: &state.registers,
        xstate: None,
    };
    view.address_part(register)
}

/// The memory beside a place.
#[derive(PartialEq)]
struct Around(Vec<Option<u8>>);

impl Around {
    const REACH: u64 = 16;

    fn of(machine: &Machine, address: u64, length: usize) -> Self {
        let before = (1..=Self::REACH).map(|distance| address.wrapping_sub(distance));
        let end = address.wrapping_add(length as u64);
        let after = (0..Self::REACH).map(|distance| end.wrapping_add(distance));
        let byte = |address| {
            let mut byte = [0];
            let read = machine.live.memory().read_some(address, &mut byte);
            (read.ok() == Some(1)).then_some(byte[0])
        };
        Self(before.chain(after).map(byte).collect())
    }
}

#[cfg(test)]
mod tests {
    use fits_tracer::engine::{EngineOptions, Limits};
    use fits_tracer::process::{Command, CpuPlan, Environment};

    use super::*;
    use crate::bits::Bits;
    use crate::drive::state::missing;
    use crate::fault::RegisterName;

    fn launch() -> Machine {
        let options = EngineOptions {
            environment: Environment::Controlled,
            cpus: CpuPlan::new(),
            limits: Limits::default(),
        };
        let live = Live::launch(&Command::new("true"), &options).expect("true starts");
        Machine::new(live, 0)
    }

    /// Flips one bit of a register, and flips it back: both ways that a bit can be changed.
    fn flip(machine: &mut Machine, register: RegisterName, bit: u32) -> Result<(), String> {
        let old = machine.state().map_err(|error| error.to_string())?;
        let mut new = old.clone();
        let mask = Bits::range(bit..=bit).up(register.offset());
        new.set(register.cell(), old.get(register.cell()) ^ mask);
        machine.change_state(&old, &new)?;
        machine.change_state(&new, &old)
    }

    /// What a space of registers is drawn from: the kernel lets a process have each of these bits, so that no draw makes an invalid fault.
    #[test]
    fn every_bit_that_can_be_drawn_can_be_changed() {
        let mut machine = launch();
        let mut refused = Vec::new();
        for register in RegisterName::all().filter(|&register| missing(register).is_none()) {
            for bit in register.changeable().iter() {
                if let Err(why) = flip(&mut machine, register, bit) {
                    refused.push(format!("{register}:{bit}: {why}"));
                }
            }
        }
        assert!(refused.is_empty(), "{}", refused.join("\n"));
    }
}
