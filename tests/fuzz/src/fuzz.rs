//! Case after case.

use crate::case::{Case, item};
use crate::codes::Codes;
use crate::error::Error;
use crate::machine::{Halt, Machine, State};
use crate::native::{self, End};
use crate::random::Random;
use crate::report::listing;
use crate::rows::Expected;
use crate::runtime::{self, Mismatch, Mode};
use crate::soft::Soft;
use crate::start::{self, Roles};
use fits_stats::protocol::Level;
use iced_x86::Code;

/// What the cases so far amount to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Sequences.
    pub cases: u64,
    /// Instructions that retired on the bare CPU.
    pub instructions: u64,
    /// Sequences that ended by a fault.
    pub faults: u64,
    /// Translated runs that were compared.
    pub runs: u64,
    /// Sequences that differed.
    pub differences: u64,
}

/// A machine and what to feed it.
#[derive(Debug)]
pub struct Fuzzer {
    machine: Machine,
    codes: Codes,
    base: State,
    /// By number of the encoding: it has retired.
    retired: Vec<bool>,
    /// What has been done.
    pub totals: Totals,
}

impl Fuzzer {
    /// Starts a child, and finds out which instructions this CPU has.
    ///
    /// # Errors
    /// When the kernel refuses what the child needs.
    pub fn start() -> Result<Self, Error> {
        Fuzzer::start_with(|_| true)
    }

    /// Starts a child, and finds out which of the `wanted` instructions this CPU has.
    ///
    /// # Errors
    /// When the kernel refuses what the child needs.
    pub fn start_with(wanted: impl Fn(Code) -> bool) -> Result<Self, Error> {
        let mut machine = Machine::start()?;
        let base = machine.state()?;
        let mut failure = None;
        let codes = Codes::new(|code| {
            wanted(code)
                && match is_supported(&mut machine, code, &base) {
                    Ok(supported) => supported,
                    Err(error) => {
                        failure.get_or_insert(error);
                        false
                    }
                }
        });
        machine.settle()?;
        match failure {
            Some(error) => Err(error),
            None => Ok(Fuzzer {
                machine,
                codes,
                base,
                retired: vec![false; Code::values().len()],
                totals: Totals::default(),
            }),
        }
    }

    /// How many instruction encodings are tried.
    #[must_use]
    pub fn encodings(&self) -> usize {
        self.codes.len()
    }

    /// How many encodings have retired at least once.
    #[must_use]
    pub fn retired(&self) -> usize {
        self.retired.iter().filter(|&&retired| retired).count()
    }

    /// The case of that seed.
    #[must_use]
    pub fn make(&self, seed: u64) -> Case {
        Case::new(seed, &self.codes, &self.base)
    }

    /// Runs the case of that seed on the bare CPU and on the software processor: the first difference as text.
    ///
    /// # Errors
    /// When the child can't be replaced, or the software processor can't be set up.
    pub fn check_soft(&mut self, soft: &mut Soft, seed: u64) -> Result<Option<String>, Error> {
        let case = self.make(seed);
        let layout = case.layout();
        self.totals.cases += 1;
        let trace = match native::run(&mut self.machine, &layout) {
            Ok(trace) => trace,
            Err(_) => {
                self.machine = Machine::start()?;
                return Ok(None);
            }
        };
        self.totals.instructions += trace.steps.len() as u64;
        for step in &trace.steps {
            self.retired[step.instruction.code() as usize] = true;
        }
        self.totals.faults += u64::from(matches!(&trace.end, End::Fault(..)));
        let found = soft.compare(&layout, &trace)?;
        self.totals.differences += u64::from(found.is_some());
        Ok(found.map(|found| format!("seed {seed}: {found}\n{}", listing(&layout))))
    }

    /// Runs the case of that seed.
    ///
    /// # Errors
    /// When the child can't go on and can't be replaced.
    pub fn check(&mut self, seed: u64) -> Result<Option<(Case, Mismatch)>, Error> {
        let case = self.make(seed);
        let mismatch = self.run(&case)?;
        self.totals.cases += 1;
        self.totals.differences += u64::from(mismatch.is_some());
        Ok(mismatch.map(|mismatch| (case, mismatch)))
    }

    /// Runs a case: the first difference, if there is one.
    ///
    /// # Errors
    /// When the child can't go on and can't be replaced.
    pub fn run(&mut self, case: &Case) -> Result<Option<Mismatch>, Error> {
        let layout = case.layout();
        let trace = match native::run(&mut self.machine, &layout) {
            Ok(trace) => trace,
            Err(error) => {
                self.machine = Machine::start()?;
                eprintln!(
                    "seed {:#x}: the bare CPU's child ended ({error})",
                    case.seed
                );
                return Ok(None);
            }
        };
        self.totals.instructions += trace.steps.len() as u64;
        for step in &trace.steps {
            self.retired[step.instruction.code() as usize] = true;
        }
        let end = layout.addresses[layout.addresses.len() - 1];
        let faulted = matches!(&trace.end, End::Fault(_, state) if state.registers.rip != end);
        self.totals.faults += u64::from(faulted);
        let expected = Expected::new(&trace);
        let whole = if case.seed & 6 == 0 {
            Mode::Whole
        } else {
            Mode::Linked
        };
        for (level, mode) in [
            (Level::Counts, Mode::Single),
            (Level::Full, Mode::Single),
            (Level::Counts, whole),
            (Level::Full, whole),
        ] {
            self.totals.runs += 1;
            let machine = &mut self.machine;
            let found = runtime::run(machine, case, &layout, (&trace, &expected), level, mode)?;
            if let Some(mismatch) = found {
                if self.machine.registers().is_err() {
                    self.machine = Machine::start()?;
                }
                return Ok(Some(mismatch));
            }
        }
        Ok(None)
    }
}

/// Whether this CPU executes instructions of that code at all.
fn is_supported(machine: &mut Machine, code: Code, base: &State) -> Result<bool, Error> {
    const TRIES: u64 = 6;
    for seed in 0..TRIES {
        let random = &mut Random::new(seed);
        let roles = Roles::new(random);
        let Some(item) = item(random, code, &roles, 0, 1) else {
            continue;
        };
        let case = Case {
            seed,
            items: vec![item],
            offset: 64,
            words: Vec::new(),
            start: start::state(random, &roles, base),
            far: false,
            cursor: 0,
        };
        let layout = case.layout();
        machine.shared().code.copy_from_slice(&layout.code);
        machine.load(&layout.start)?;
        let halt = machine.resume(fits_tracer::ptrace::Resume::Step)?;
        if !matches!(halt, Halt::Fault(fault) if fault.signal == libc::SIGILL) {
            return Ok(true);
        }
    }
    Ok(false)
}
