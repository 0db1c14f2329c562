//! The interface of a device that a user writes, and of the board to it.

use std::fmt::Debug;

/// What a device can do to the machine while one of its functions runs.
pub trait Board {
    /// Virtual nanoseconds since power-on.
    fn now(&self) -> u64;

    /// Drives the device's interrupt line; nothing where it has none.
    fn irq_assert(&mut self, level: bool);

    /// Has [`UserDevice::wake`] called for a behaviour in that many nanoseconds, at least one. A behaviour waits for one time: this replaces
    /// what it waited for.
    fn waitfor(&mut self, behaviour: u32, duration: u64);

    /// Reads guest memory; false where that is not all RAM.
    fn read_memory(&mut self, address: u64, bytes: &mut [u8]) -> bool;

    /// Writes guest memory; false, and nothing has changed, where that is not all RAM.
    fn write_memory(&mut self, address: u64, bytes: &[u8]) -> bool;

    /// Pulls the machine's reset line.
    fn reset_machine(&mut self);
}

/// A fault that a device can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its name, a property of the device below `faults`.
    pub name: String,
    /// What it does, and what its value means.
    pub text: String,
}

/// A device.
///
/// 1. It knows its registers by offset, those in memory and those at ports, each from 0.
/// 2. Accesses have 1, 2, 4 or 8 bytes (ports: 1, 2 or 4) and lie inside what the device was given.
/// 3. It acts by itself in behaviours, which it numbers as it likes: each waits for a time of its own, so they run in parallel.
/// 4. What it will do depends on its state, on the accesses and on the time alone, so that a run repeats.
/// 5. Faults are part of it: it declares them, and switches them on and off by value, where 0 is off.
pub trait UserDevice: Debug {
    /// What it is, for people.
    fn kind(&self) -> String {
        "user-device".into()
    }

    /// The machine is switched on.
    fn start(&mut self, _board: &mut dyn Board) {}

    /// Reads a register in memory.
    fn load(&mut self, _board: &mut dyn Board, _offset: u64, _size: u8) -> u64 {
        u64::MAX
    }

    /// Writes a register in memory.
    fn store(&mut self, _board: &mut dyn Board, _offset: u64, _size: u8, _value: u64) {}

    /// Reads a port.
    fn port_in(&mut self, _board: &mut dyn Board, _offset: u64, _size: u8) -> u64 {
        u64::MAX
    }

    /// Writes a port.
    fn port_out(&mut self, _board: &mut dyn Board, _offset: u64, _size: u8, _value: u64) {}

    /// A behaviour has waited.
    fn wake(&mut self, _board: &mut dyn Board, _behaviour: u32) {}

    /// The reset line; what behaviours wait for is forgotten before.
    fn reset(&mut self, board: &mut dyn Board) {
        self.start(board);
    }

    /// The faults that it can have.
    fn faults(&self) -> Vec<Fault> {
        Vec::new()
    }

    /// Gives a declared fault a value.
    ///
    /// # Errors
    /// A value that it cannot have: a fragment of a sentence.
    fn inject(&mut self, _board: &mut dyn Board, _fault: &str, _value: u64) -> Result<(), String> {
        Ok(())
    }

    /// Its state, for a snapshot.
    fn save(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Takes a state over.
    ///
    /// # Errors
    /// When the bytes are no such state: a fragment of a sentence.
    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        if bytes.is_empty() {
            Ok(())
        } else {
            Err("this device has no state".into())
        }
    }

    /// Why it does not work any more; it then reads all ones and is never called again.
    fn failed(&self) -> Option<String> {
        None
    }
}
