//! A user's device on the board: the adapter between what the board offers to devices and what a user's device is given.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::device::{Board, Fault, UserDevice};
use super::place::Placement;
use crate::board::pc::{Pc, Place};
use crate::cpu::Stop;
use crate::devices::device::{Context, Device, number, put};
use crate::devices::lines::Line;
use crate::devices::object::Object;
use crate::machine::Machine;
use crate::snapshot::{Component, decode, encode};

/// Where registers at ports begin in the one space of offsets that the board has for a device.
const PORTS: u64 = 1 << 48;

/// The device with what the board keeps for it.
#[derive(Debug)]
struct Attached {
    name: String,
    device: Box<dyn UserDevice>,
    line: Option<Line>,
    state: State,
    /// It was said that it has failed.
    reported: bool,
    declared: Vec<Fault>,
}

/// What is kept for it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    /// When each behaviour is woken.
    waits: BTreeMap<u32, u64>,
    /// The values of faults.
    faults: BTreeMap<String, u64>,
}

/// What it can do while it acts.
struct Reach<'a> {
    context: &'a mut Context,
    line: Option<Line>,
    waits: &'a mut BTreeMap<u32, u64>,
}

impl Board for Reach<'_> {
    fn now(&self) -> u64 {
        self.context.now
    }

    fn irq_assert(&mut self, level: bool) {
        if let Some(line) = self.line {
            self.context.lines.set(line, level);
        }
    }

    fn waitfor(&mut self, behaviour: u32, duration: u64) {
        let at = self.context.now.saturating_add(duration.max(1));
        self.waits.insert(behaviour, at);
    }

    fn read_memory(&mut self, address: u64, bytes: &mut [u8]) -> bool {
        self.context.dma.read(address, bytes)
    }

    fn write_memory(&mut self, address: u64, bytes: &[u8]) -> bool {
        let mut old = vec![0; bytes.len()];
        self.context.dma.read(address, &mut old) && self.context.dma.write(address, bytes)
    }

    fn reset_machine(&mut self) {
        self.context.stop = Some(Stop::Reset);
    }
}

/// Puts a device on the board of a machine, and switches it on.
///
/// # Errors
/// When its name or a place of it is taken, or is RAM: a sentence.
pub fn attach(
    machine: &mut Machine,
    placement: &Placement,
    device: Box<dyn UserDevice>,
) -> Result<(), String> {
    let name = &placement.name;
    let cpu = &mut machine.processor().cpu;
    let mut places = Vec::new();
    if let Some(range) = placement.memory.clone() {
        if range.start < cpu.ram.bytes() {
            return Err(format!(
                "device {name} cannot be at {:#x}: guest memory is there, up to {:#x}",
                range.start,
                cpu.ram.bytes()
            ));
        }
        places.push(Place::memory(range));
    }
    if let Some(range) = placement.ports.clone() {
        places.push(Place::ports(range, PORTS));
    }
    let now = cpu.now();
    let Some(board) = cpu.bus.as_any().downcast_mut::<Pc>() else {
        return Err(format!("device {name} needs the board of a PC"));
    };
    let line = placement.line.map(|number| board.connect(number));
    let attached = Attached {
        name: name.clone(),
        declared: device.faults(),
        device,
        line,
        state: State::default(),
        reported: false,
    };
    board
        .attach(name, Box::new(attached), places)
        .map_err(|error| error.to_string())?;
    board.act(now, name, |device, context| {
        let device: &mut dyn std::any::Any = device;
        if let Some(attached) = device.downcast_mut::<Attached>() {
            attached.act(context, |device, board| device.start(board));
        }
    });
    Ok(())
}

impl Attached {
    /// Lets the device act, unless it has failed; none where it has, now or before.
    fn act<R>(
        &mut self,
        context: &mut Context,
        act: impl FnOnce(&mut dyn UserDevice, &mut dyn Board) -> R,
    ) -> Option<R> {
        if self.device.failed().is_some() {
            self.fail(context);
            return None;
        }
        let mut reach = Reach {
            context,
            line: self.line,
            waits: &mut self.state.waits,
        };
        let result = act(&mut *self.device, &mut reach);
        if self.device.failed().is_some() {
            self.fail(context);
            return None;
        }
        Some(result)
    }

    /// It drives nothing and waits for nothing any more.
    fn fail(&mut self, context: &mut Context) {
        self.state.waits.clear();
        if let Some(line) = self.line {
            context.lines.set(line, false);
        }
        let reason = self.device.failed().unwrap_or_default();
        if !std::mem::replace(&mut self.reported, true) {
            eprintln!(
                "fits: device {} has failed and reads all ones from now on: {reason}",
                self.name
            );
        }
    }
}

impl Device for Attached {
    fn read(&mut self, context: &mut Context, offset: u64, data: &mut [u8]) {
        let size = data.len() as u8;
        let value = self.act(context, |device, board| {
            if offset >= PORTS {
                device.port_in(board, offset - PORTS, size)
            } else {
                device.load(board, offset, size)
            }
        });
        put(data, value.unwrap_or(u64::MAX));
    }

    fn write(&mut self, context: &mut Context, offset: u64, data: &[u8]) {
        let (size, value) = (data.len() as u8, number(data));
        self.act(context, |device, board| {
            if offset >= PORTS {
                device.port_out(board, offset - PORTS, size, value);
            } else {
                device.store(board, offset, size, value);
            }
        });
    }

    fn next_event(&self) -> Option<u64> {
        self.state.waits.values().min().copied()
    }

    fn advance(&mut self, context: &mut Context) {
        let now = context.now;
        let mut due: Vec<(u64, u32)> = self
            .state
            .waits
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(&behaviour, &at)| (at, behaviour))
            .collect();
        due.sort_unstable();
        for (at, behaviour) in due {
            // Another behaviour may have had it wait for something else.
            if self.state.waits.get(&behaviour) == Some(&at) {
                self.state.waits.remove(&behaviour);
                self.act(context, |device, board| device.wake(board, behaviour));
            }
        }
    }

    /// Faults stay: they are the hardware's.
    fn reset(&mut self, context: &mut Context) {
        self.state.waits.clear();
        if let Some(line) = self.line {
            context.lines.set(line, false);
        }
        self.act(context, |device, board| device.reset(board));
    }

    fn object(&mut self) -> Option<&mut dyn Object> {
        Some(self)
    }
}

impl Component for Attached {
    fn save(&self) -> Vec<u8> {
        encode(&(
            &self.state,
            self.device.failed().is_some(),
            self.device.save(),
        ))
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), String> {
        let (state, failed, own): (State, bool, Vec<u8>) = decode(bytes)?;
        if failed {
            return Err(format!("device {} had failed", self.name));
        }
        self.device.restore(&own)?;
        self.state = state;
        Ok(())
    }
}

/// Faults are properties: `faults.NAME` is the value of a fault, 0 where it is off.
impl Object for Attached {
    fn kind(&self) -> &'static str {
        "user-device"
    }

    fn state(&self) -> Value {
        let value = |fault: &Fault| self.state.faults.get(&fault.name).copied().unwrap_or(0);
        let faults: Map<String, Value> = self
            .declared
            .iter()
            .map(|fault| (fault.name.clone(), value(fault).into()))
            .collect();
        let texts: Map<String, Value> = self
            .declared
            .iter()
            .map(|fault| (fault.name.clone(), fault.text.clone().into()))
            .collect();
        json!({
            "description": self.device.kind(),
            "failed": self.device.failed().is_some(),
            "failure": self.device.failed().unwrap_or_default(),
            "faults": faults,
            "fault-help": texts,
        })
    }

    fn set_state(&mut self, _: Value) -> Result<(), String> {
        Err("only faults can be set".into())
    }

    fn set(&mut self, context: &mut Context, state: Value) -> Result<(), String> {
        for fault in self.declared.clone() {
            let old = self.state.faults.get(&fault.name).copied().unwrap_or(0);
            let new = state["faults"][&fault.name].as_u64().unwrap_or(old);
            if new == old {
                continue;
            }
            let done = self.act(context, |device, board| {
                device.inject(board, &fault.name, new)
            });
            done.unwrap_or_else(|| Err("the device has failed".into()))?;
            self.state.faults.insert(fault.name, new);
            return Ok(());
        }
        if state == self.state() {
            Ok(())
        } else {
            self.set_state(state)
        }
    }

    fn inputs(&self) -> Vec<(String, usize)> {
        self.line.map(|_| ("irq".into(), 1)).into_iter().collect()
    }

    fn drive(&mut self, context: &mut Context, _: &str, _: usize, level: bool) {
        if let Some(line) = self.line {
            context.lines.set(line, level);
        }
    }
}
