//! A PCI function, and the adapter that makes a device of it.

use std::any::Any;
use std::fmt::Debug;
use std::time::Duration;

use serde_json::{Value, json};

use crate::devices::device::{Context, Device, number};
use crate::devices::object::Object;
use crate::devices::pci::Config;
use crate::snapshot::Component;

/// A function: a device whose registers lie behind base address registers. The rules of [`Device`] hold.
pub trait Function: Component + Any + Debug {
    /// Its configuration space.
    fn config(&self) -> &Config;

    /// The same, to be changed.
    fn config_mut(&mut self) -> &mut Config;

    /// Reads at an offset behind a base address register.
    fn read(&mut self, context: &mut Context, bar: usize, offset: u64, data: &mut [u8]);

    /// Writes.
    fn write(&mut self, context: &mut Context, bar: usize, offset: u64, data: &[u8]);

    /// Software reads configuration space: what has to be looked up is put there.
    fn before_config_read(&mut self, _context: &mut Context, _at: usize) {}

    /// Software has written configuration space.
    fn configured(&mut self, _context: &mut Context, _at: usize, _length: usize) {}

    /// As for a device.
    fn next_event(&self) -> Option<u64> {
        None
    }

    /// As for a device.
    fn advance(&mut self, _context: &mut Context) {}

    /// As for a device; base addresses are kept, since there is no firmware to set them again.
    fn reset(&mut self, context: &mut Context);

    /// As for a device.
    fn flush(&mut self) {}

    /// As for a device.
    fn wait(&mut self, _limit: Duration) -> bool {
        false
    }

    /// What it shows of itself, besides its configuration space.
    fn object(&self) -> &dyn Object;

    /// The same, to be changed.
    fn object_mut(&mut self) -> &mut dyn Object;
}

/// A function as a device: what lies behind base address register `n` begins at offset `PciDevice::bar(n)`.
#[derive(Debug)]
pub struct PciDevice {
    /// The function.
    pub function: Box<dyn Function>,
    /// Device and function number on the bus: device × 8 + function.
    pub number: u8,
}

const BAR_SHIFT: u32 = 32;

impl PciDevice {
    /// Where a base address register's registers begin.
    #[must_use]
    pub const fn bar(index: usize) -> u64 {
        (index as u64) << BAR_SHIFT
    }
}

fn split(offset: u64) -> (usize, u64) {
    ((offset >> BAR_SHIFT) as usize, offset & 0xffff_ffff)
}

impl Component for PciDevice {
    fn version(&self) -> u32 {
        self.function.version()
    }

    fn save(&self) -> Vec<u8> {
        self.function.save()
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.function.load(bytes)
    }
}

impl Device for PciDevice {
    fn read(&mut self, context: &mut Context, offset: u64, data: &mut [u8]) {
        let (bar, offset) = split(offset);
        self.function.read(context, bar, offset, data);
    }

    fn write(&mut self, context: &mut Context, offset: u64, data: &[u8]) {
        let (bar, offset) = split(offset);
        self.function.write(context, bar, offset, data);
    }

    fn next_event(&self) -> Option<u64> {
        self.function.next_event()
    }

    fn advance(&mut self, context: &mut Context) {
        self.function.advance(context);
    }

    fn reset(&mut self, context: &mut Context) {
        self.function.reset(context);
    }

    fn flush(&mut self) {
        self.function.flush();
    }

    fn wait(&mut self, limit: Duration) -> bool {
        self.function.wait(limit)
    }

    fn object(&mut self) -> Option<&mut dyn Object> {
        Some(self)
    }
}

/// What it shows of itself are the function's own registers, and what its configuration space says.
impl Object for PciDevice {
    fn kind(&self) -> &'static str {
        self.function.object().kind()
    }

    fn state(&self) -> Value {
        let mut state = self.function.object().state();
        state[SPACE] = self.space();
        state
    }

    fn set_state(&mut self, state: Value) -> Result<(), String> {
        self.check_space(&state)?;
        self.function.object_mut().set_state(state)
    }

    fn set(&mut self, context: &mut Context, state: Value) -> Result<(), String> {
        self.check_space(&state)?;
        self.function.object_mut().set(context, state)
    }

    fn inputs(&self) -> Vec<(String, usize)> {
        self.function.object().inputs()
    }

    fn drive(&mut self, context: &mut Context, group: &str, number: usize, level: bool) {
        self.function
            .object_mut()
            .drive(context, group, number, level);
    }
}

/// The property that holds the configuration space.
const SPACE: &str = "pci";

impl PciDevice {
    /// The fields of the configuration space.
    fn space(&self) -> Value {
        let config = self.function.config();
        let number = |at, length| number(config.get(at, length));
        let bars = (0..6).map(|index| config.bar(index).map_or(0, |(_, address)| address));
        json!({
            "address": format!("{:02x}.{}", self.number >> 3, self.number & 7),
            "vendor": number(0, 2),
            "device": number(2, 2),
            "command": number(4, 2),
            "status": number(6, 2),
            "revision": number(8, 1),
            "class": number(9, 3),
            "subsystem_vendor": number(0x2c, 2),
            "subsystem": number(0x2e, 2),
            "bars": bars.collect::<Vec<_>>(),
            "interrupt_line": number(0x3c, 1),
            "interrupt_pin": number(0x3d, 1),
        })
    }

    fn check_space(&self, state: &Value) -> Result<(), String> {
        if state[SPACE] == self.space() {
            return Ok(());
        }
        Err("configuration space is written at ports 0xcf8 and 0xcfc".into())
    }
}
