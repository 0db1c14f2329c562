//! What runs the machine between two looks at clients: the processor alone, or somebody who carries faults out meanwhile.

use serde_json::Value;

use crate::cpu::Stop;
use crate::machine::Machine;

/// Runs a machine, and does to it what it likes.
pub trait Carrier: std::fmt::Debug {
    /// Runs until that virtual time ([`Stop::Alarm`]), until so many instructions have retired in all, or until the machine stops.
    fn run(&mut self, machine: &mut Machine, until: u64, limit: u64) -> Stop;

    /// The machine was taken to another state, or was reset.
    fn moved(&mut self, machine: &mut Machine);

    /// A client wants a fault, in words.
    ///
    /// # Errors
    /// When it can't be had: a sentence.
    fn inject(&mut self, fault: &str) -> Result<(), String>;

    /// What was done so far.
    fn injected(&self) -> Vec<Value>;
}

/// The processor alone.
#[derive(Debug)]
pub struct Plain;

impl Carrier for Plain {
    fn run(&mut self, machine: &mut Machine, until: u64, limit: u64) -> Stop {
        machine.processor().set_alarm(until);
        machine.processor().run(limit)
    }

    fn moved(&mut self, _: &mut Machine) {}

    fn inject(&mut self, _: &str) -> Result<(), String> {
        Err("nobody carries faults out in this machine".into())
    }

    fn injected(&self) -> Vec<Value> {
        Vec::new()
    }
}
