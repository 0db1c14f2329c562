//! The serial port: vm-superio's 16550, with input from a source that may be empty. Offsets are those of its registers.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vm_superio::serial::{NoEvents, SerialState};
use vm_superio::{Serial, Trigger};

use crate::devices::device::{Context, Device, read_bytes, write_bytes};
use crate::devices::lines::Line;
use crate::devices::object::Object;
use crate::snapshot::{Component, decode, encode};

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
struct Flag(Arc<AtomicBool>);

impl Trigger for Flag {
    type E = std::convert::Infallible;
    fn trigger(&self) -> Result<(), Self::E> {
        self.0.store(true, Ordering::Relaxed);
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
    line: Option<Line>,
    /// When it next looks for input.
    look_at: Option<u64>,
}

/// The port between two instructions, with what was typed and not read yet.
#[derive(Serialize, Deserialize)]
struct Saved {
    registers: [u8; 9],
    queue: Vec<u8>,
    interrupt: bool,
    waiting: Vec<u8>,
    look_at: Option<u64>,
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
            look_at: (!matches!(input, Input::None)).then_some(PERIOD),
            input,
            waiting: Vec::new(),
            failed: false,
            line: None,
        }
    }

    /// The same, connected to an interrupt line.
    #[must_use]
    pub fn wired(self, line: Line) -> Self {
        Console {
            line: Some(line),
            ..self
        }
    }

    fn interrupt(&mut self, context: &mut Context) {
        if let (true, Some(line)) = (self.flag.0.swap(false, Ordering::Relaxed), self.line) {
            context.lines.pulse(line);
        }
    }

    /// Whether output could not be written.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// When it should look for input after `now`.
    fn next_look(&self, now: u64) -> Option<u64> {
        let more = match &self.input {
            Input::None => false,
            Input::Fixed(bytes) => !bytes.is_empty(),
            Input::Live(_) => true,
        };
        (more || !self.waiting.is_empty()).then(|| (now / PERIOD + 1) * PERIOD)
    }

    /// What was typed and has not reached the port's queue.
    fn unread(&self) -> Vec<u8> {
        let mut unread = self.waiting.clone();
        if let Input::Fixed(bytes) = &self.input {
            unread.extend_from_slice(bytes);
        }
        unread
    }

    fn look(&mut self) {
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
}

impl Device for Console {
    fn read(&mut self, context: &mut Context, offset: u64, data: &mut [u8]) {
        read_bytes(offset, data, |at| self.serial.read(at as u8));
        self.interrupt(context);
    }

    fn write(&mut self, context: &mut Context, offset: u64, data: &[u8]) {
        write_bytes(offset, data, |at, value| {
            if self.serial.write(at as u8, value).is_err() {
                self.failed = true;
            }
        });
        self.interrupt(context);
    }

    fn next_event(&self) -> Option<u64> {
        self.look_at
    }

    fn advance(&mut self, context: &mut Context) {
        self.look();
        self.look_at = self.next_look(context.now);
        self.interrupt(context);
    }

    fn reset(&mut self, _: &mut Context) {
        for (register, value) in [(3, 0), (1, 0), (4, 0)] {
            // Switching interrupts off prints nothing.
            let _ = self.serial.write(register, value);
        }
    }

    fn flush(&mut self) {
        if self.serial.writer_mut().flush().is_err() {
            self.failed = true;
        }
    }

    fn object(&mut self) -> Option<&mut dyn Object> {
        Some(self)
    }

    fn wait(&mut self, limit: Duration) -> bool {
        let Input::Live(source) = &self.input else {
            return false;
        };
        match source.recv_timeout(limit) {
            Ok(bytes) => self.waiting.extend(bytes),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.input = Input::None,
        }
        true
    }
}

/// The registers of the port by name.
#[derive(Serialize, Deserialize)]
#[serde(remote = "SerialState")]
struct Named {
    baud_divisor_low: u8,
    baud_divisor_high: u8,
    interrupt_enable: u8,
    interrupt_identification: u8,
    line_control: u8,
    line_status: u8,
    modem_control: u8,
    modem_status: u8,
    scratch: u8,
    in_buffer: Vec<u8>,
}

impl Object for Console {
    fn kind(&self) -> &'static str {
        "isa-serial"
    }

    fn state(&self) -> serde_json::Value {
        Named::serialize(&self.serial.state(), serde_json::value::Serializer).unwrap_or_default()
    }

    fn set_state(&mut self, state: serde_json::Value) -> Result<(), String> {
        let state = Named::deserialize(state).map_err(|error| error.to_string())?;
        self.set_registers(&state)
    }

    fn inputs(&self) -> Vec<(String, usize)> {
        vec![("irq".into(), 1)]
    }

    fn drive(&mut self, context: &mut Context, _: &str, _: usize, level: bool) {
        if let Some(line) = self.line {
            context.lines.set(line, level);
        }
    }
}

impl Console {
    /// Gives the port other registers; nothing changes where those cannot be.
    fn set_registers(&mut self, state: &SerialState) -> Result<(), String> {
        let discarded: Box<dyn Write> = Box::new(std::io::sink());
        let mut serial = Serial::from_state(state, self.flag.clone(), NoEvents, discarded)
            .map_err(|error| error.to_string())?;
        std::mem::swap(serial.writer_mut(), self.serial.writer_mut());
        self.serial = serial;
        Ok(())
    }
}

impl Component for Console {
    fn save(&self) -> Vec<u8> {
        let state = self.serial.state();
        encode(&Saved {
            registers: [
                state.baud_divisor_low,
                state.baud_divisor_high,
                state.interrupt_enable,
                state.interrupt_identification,
                state.line_control,
                state.line_status,
                state.modem_control,
                state.modem_status,
                state.scratch,
            ],
            queue: state.in_buffer,
            interrupt: self.flag.0.load(Ordering::Relaxed),
            waiting: self.unread(),
            look_at: self.look_at,
        })
    }

    /// What this console has to type comes after what was not read yet.
    fn load(&mut self, bytes: &[u8]) -> Result<(), String> {
        let saved: Saved = decode(bytes)?;
        let [
            baud_divisor_low,
            baud_divisor_high,
            interrupt_enable,
            interrupt_identification,
            line_control,
            line_status,
            modem_control,
            modem_status,
            scratch,
        ] = saved.registers;
        self.set_registers(&SerialState {
            baud_divisor_low,
            baud_divisor_high,
            interrupt_enable,
            interrupt_identification,
            line_control,
            line_status,
            modem_control,
            modem_status,
            scratch,
            in_buffer: saved.queue,
        })?;
        self.flag.0.store(saved.interrupt, Ordering::Relaxed);
        self.waiting = saved.waiting;
        // Nothing was to come, and now there is.
        let more = matches!(&self.input, Input::Fixed(bytes) if !bytes.is_empty())
            || matches!(self.input, Input::Live(_));
        self.look_at = saved.look_at.or(more.then_some(0));
        Ok(())
    }
}
