//! The serial port: vm-superio's 16550, with its interrupt as a flag that the board looks at, and input from a source that may be empty.

use std::cell::Cell;
use std::io::Write;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use vm_superio::serial::NoEvents;
use vm_superio::{Serial, Trigger};

/// Where what the guest reads comes from.
#[derive(Debug)]
pub enum Input {
    /// Nowhere.
    None,
    /// All of it is known beforehand: the run repeats exactly.
    Fixed(Vec<u8>),
    /// It comes while the machine runs, from a thread.
    Live(Receiver<Vec<u8>>),
}

/// The interrupt output.
#[derive(Clone, Debug, Default)]
struct Flag(Rc<Cell<bool>>);

impl Trigger for Flag {
    type E = std::convert::Infallible;
    fn trigger(&self) -> Result<(), Self::E> {
        self.0.set(true);
        Ok(())
    }
}

/// The port with its input.
pub struct Console {
    serial: Serial<Flag, NoEvents, Box<dyn Write>>,
    flag: Flag,
    input: Input,
    /// Taken from the source, not yet in the port's queue.
    waiting: Vec<u8>,
    failed: bool,
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console")
            .field("input", &self.input)
            .finish_non_exhaustive()
    }
}

/// How often input is looked for, in virtual time: faster than anybody types, slower than the guest empties the queue.
const PERIOD: u64 = 1_000_000;

impl Console {
    /// A port that writes to `output`.
    #[must_use]
    pub fn new(output: Box<dyn Write>, input: Input) -> Self {
        let flag = Flag::default();
        Console {
            serial: Serial::new(flag.clone(), output),
            flag,
            input,
            waiting: Vec::new(),
            failed: false,
        }
    }

    /// Whether the interrupt was raised since the last time.
    pub fn take_interrupt(&mut self) -> bool {
        self.flag.0.replace(false)
    }

    /// Reads a register.
    pub fn read(&mut self, offset: u8) -> u8 {
        self.serial.read(offset)
    }

    /// Writes a register; what it prints may fail to be written.
    pub fn write(&mut self, offset: u8, value: u8) {
        if self.serial.write(offset, value).is_err() {
            self.failed = true;
        }
    }

    /// Whether output could not be written.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// When it next looks for input.
    #[must_use]
    pub fn next_event(&self, now: u64) -> Option<u64> {
        let more = match &self.input {
            Input::None => false,
            Input::Fixed(bytes) => !bytes.is_empty(),
            Input::Live(_) => true,
        };
        (more || !self.waiting.is_empty()).then(|| (now / PERIOD + 1) * PERIOD)
    }

    /// Looks for input.
    pub fn advance(&mut self) {
        if self.waiting.is_empty() {
            match &mut self.input {
                Input::None => {}
                Input::Fixed(bytes) => self.waiting = std::mem::take(bytes),
                Input::Live(source) => match source.try_recv() {
                    Ok(bytes) => self.waiting = bytes,
                    Err(TryRecvError::Empty) => {}
                    Err(TryRecvError::Disconnected) => self.input = Input::None,
                },
            }
        }
        self.feed();
    }

    /// The machine has nothing to do: waits a little for live input rather than let virtual time race.
    pub fn idle(&mut self) {
        let Input::Live(source) = &self.input else {
            return;
        };
        match source.recv_timeout(Duration::from_millis(1)) {
            Ok(bytes) => self.waiting.extend(bytes),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.input = Input::None,
        }
    }

    /// The guest must have switched its receiver on, or the bytes would be lost in its probing of the port.
    fn feed(&mut self) {
        const RECEIVE_INTERRUPT: u8 = 1;
        if self.waiting.is_empty() || self.serial.state().interrupt_enable & RECEIVE_INTERRUPT == 0
        {
            return;
        }
        // As many as a 16550 has room for.
        const FIFO: usize = 16;
        let room = FIFO.min(self.serial.fifo_capacity().saturating_sub(48));
        let count = room.min(self.waiting.len());
        if count == 0 {
            return;
        }
        let bytes: Vec<u8> = self.waiting.drain(..count).collect();
        if self.serial.enqueue_raw_bytes(&bytes).is_err() {
            self.failed = true;
        }
    }

    /// Writes out what is buffered.
    pub fn flush(&mut self) {
        if self.serial.writer_mut().flush().is_err() {
            self.failed = true;
        }
    }
}
