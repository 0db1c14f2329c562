//! The plainest engine: every instruction is stepped, and looked at for landmarks. Slow, and short enough to be right; what other engines find is
//! compared with it.

use std::collections::HashMap;

use fits_stats::facts::{Facts, access_bytes, reads, writes};
use fits_tracer::backend::BackendError;
use fits_tracer::engine::{Access, End, Engine, EngineOptions, Found, Landmark, Moment, Reached};
use fits_tracer::live::{Live, Stepped};
use fits_tracer::process::Command;
use fits_tracer::ptrace::Registers;
use fits_tracer::step::View;
use iced_x86::{Decoder, DecoderOptions, Instruction, InstructionInfoFactory, Mnemonic};

/// See the module. Programs with one thread only.
pub(crate) struct Stepper;

impl Engine for Stepper {
    fn name(&self) -> &'static str {
        "steps"
    }

    fn count(&mut self, command: &Command, options: &EngineOptions) -> Result<End, BackendError> {
        let mut live = Live::launch(command, options)?;
        let mut instructions = 0;
        while live.step()? == Stepped::Retired {
            instructions += 1;
        }
        let mut end = live.finish(&options.limits)?;
        // The call that ended it.
        end.instructions = vec![instructions + 1];
        Ok(end)
    }

    fn locate(
        &mut self,
        command: &Command,
        options: &EngineOptions,
        landmarks: &[Landmark],
    ) -> Result<Vec<Option<Found>>, BackendError> {
        let mut live = Live::launch(command, options)?;
        let mut found = vec![None; landmarks.len()];
        let mut left: Vec<u64> = landmarks.iter().map(count_of).collect();
        let mut arrivals: HashMap<u64, u64> = HashMap::new();
        let mut index = 0;
        loop {
            let at = At::now(&live, index)?;
            let arrivals = arrivals.entry(at.registers.rip).or_default();
            *arrivals += 1;
            for (number, landmark) in landmarks.iter().enumerate() {
                if found[number].is_some() || !at.is(landmark) {
                    continue;
                }
                left[number] -= 1;
                if left[number] == 0 {
                    found[number] = Some(Found {
                        moment: Moment { thread: 0, index },
                        pc: at.registers.rip,
                        arrivals: *arrivals,
                    });
                }
            }
            if found.iter().all(Option::is_some) || live.step()? != Stepped::Retired {
                return Ok(found);
            }
            index += 1;
        }
    }

    fn reach(
        &mut self,
        command: &Command,
        options: &EngineOptions,
        moment: Moment,
    ) -> Result<Reached, BackendError> {
        let mut live = Live::launch(command, options)?;
        for _ in 0..moment.index {
            if live.step()? != Stepped::Retired {
                return Ok(Reached::Ended(live.finish(&options.limits)?));
            }
        }
        Ok(Reached::At(Box::new(live)))
    }
}

fn count_of(landmark: &Landmark) -> u64 {
    match landmark {
        Landmark::Index(_) => 1,
        Landmark::Arrival { count, .. }
        | Landmark::Access { count, .. }
        | Landmark::Call { count, .. } => *count,
    }
}

/// What stands before an instruction.
struct At {
    index: u64,
    registers: Registers,
    instruction: Instruction,
}

impl At {
    fn now(live: &Live, index: u64) -> Result<Self, BackendError> {
        let registers = live.registers()?;
        let mut bytes = [0; 15];
        let length = live.memory().read_some(registers.rip, &mut bytes)?;
        let code = &bytes[..length];
        let instruction = Decoder::with_ip(64, code, registers.rip, DecoderOptions::NONE).decode();
        Ok(Self {
            index,
            registers,
            instruction,
        })
    }

    fn is(&self, landmark: &Landmark) -> bool {
        match *landmark {
            Landmark::Index(moment) => moment.index == self.index,
            Landmark::Arrival { address, .. } => address == self.registers.rip,
            Landmark::Call { number, .. } => {
                self.instruction.mnemonic() == Mnemonic::Syscall && self.registers.rax == number
            }
            Landmark::Access {
                address,
                bytes,
                access,
                ..
            } => self.accesses(address, bytes.into(), access),
        }
    }

    fn accesses(&self, address: u64, bytes: u64, access: Access) -> bool {
        let facts = Facts::new(&self.instruction, &mut InstructionInfoFactory::new());
        let view = View {
            registers: &self.registers,
            xstate: None,
        };
        facts.memory.iter().any(|used| {
            let start = used.virtual_address(0, |register, _, _| Some(view.address_part(register)));
            let start = start.unwrap_or_default();
            let count = if facts.rep { self.registers.rcx } else { 1 };
            let length = count * access_bytes(&self.instruction, used) as u64;
            let fits = match access {
                Access::Read => reads(used.access()),
                Access::Write => writes(used.access()),
            };
            fits && start < address + bytes && address < start + length
        })
    }
}
