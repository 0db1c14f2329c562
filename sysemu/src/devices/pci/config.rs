//! The 256 bytes of a function's configuration space: values, which bits can be written, which are cleared by writing ones.
//!
//! PCI Local Bus Specification 3.0, chapter 6.

use serde::{Deserialize, Serialize};

/// Command register: the function answers at its ports.
pub const COMMAND_IO: u16 = 1;
/// Command register: the function answers at its memory.
pub const COMMAND_MEMORY: u16 = 2;
/// Command register: the function may read and write RAM.
pub const COMMAND_MASTER: u16 = 4;
/// Command register: the function does not drive its interrupt line.
pub const COMMAND_NO_INTERRUPT: u16 = 1 << 10;

/// Status register: the interrupt is pending.
const STATUS_INTERRUPT: u8 = 1 << 3;
/// Status register: there is a list of capabilities.
const STATUS_CAPABILITIES: u8 = 1 << 4;

const COMMAND: usize = 4;
const STATUS: usize = 6;
/// The first of six base address registers.
pub const BARS: usize = 0x10;
const CAPABILITIES: usize = 0x34;
/// Interrupt line: what firmware noted for the operating system.
pub const INTERRUPT_LINE: usize = 0x3c;
const INTERRUPT_PIN: usize = 0x3d;
/// Where registers of devices and capabilities may begin.
const DEVICE: usize = 0x40;

/// What a function is.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Vendor.
    pub vendor: u16,
    /// Device.
    pub device: u16,
    /// Vendor of the subsystem.
    pub subsystem_vendor: u16,
    /// Subsystem.
    pub subsystem: u16,
    /// Class, subclass and programming interface: 24 bits.
    pub class: u32,
    /// Revision.
    pub revision: u8,
}

/// What a base address register is for; sizes are powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bar {
    /// That many ports.
    Ports(u32),
    /// That many bytes of memory, below 4 GiB.
    Memory(u32),
}

/// The space of one function.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    bytes: Vec<u8>,
    /// Bits that software can set.
    writable: Vec<u8>,
    /// Bits that software clears by writing ones.
    clearable: Vec<u8>,
    bars: [Option<Bar>; 6],
    /// Where the last capability's pointer to the next one is.
    last_capability: u8,
    /// The first free byte for capabilities.
    free: u8,
}

impl Config {
    /// A space after power-on.
    #[must_use]
    pub fn new(identity: &Identity) -> Self {
        let mut config = Config {
            bytes: vec![0; 256],
            writable: vec![0; 256],
            clearable: vec![0; 256],
            bars: [None; 6],
            last_capability: CAPABILITIES as u8,
            free: DEVICE as u8,
        };
        config.put(0, &identity.vendor.to_le_bytes());
        config.put(2, &identity.device.to_le_bytes());
        config.put(8, &[identity.revision]);
        config.put(9, &identity.class.to_le_bytes()[..3]);
        config.put(0x2c, &identity.subsystem_vendor.to_le_bytes());
        config.put(0x2e, &identity.subsystem.to_le_bytes());
        config.allow(COMMAND, &[0x07, 0x05]);
        config.clearable[STATUS + 1] = 0xf9;
        // Cache line size, latency timer, interrupt line.
        config.allow(0x0c, &[0xff, 0xf8]);
        config.allow(INTERRUPT_LINE, &[0xff]);
        config
    }

    /// Adds a base address register; registers are naturally unset.
    #[must_use]
    pub fn with_bar(mut self, index: usize, bar: Bar) -> Self {
        let at = BARS + 4 * index;
        let (size, kind) = match bar {
            Bar::Ports(size) => (size.max(4), 1),
            Bar::Memory(size) => (size.max(16), 0),
        };
        self.put(at, &[kind]);
        self.allow(at, &(!(size - 1)).to_le_bytes());
        self.bars[index] = Some(bar);
        self
    }

    /// Has an interrupt pin: 1 is INTA.
    #[must_use]
    pub fn with_pin(mut self, pin: u8) -> Self {
        self.put(INTERRUPT_PIN, &[pin]);
        self
    }

    /// Is part of a device with several functions.
    #[must_use]
    pub fn multifunction(mut self) -> Self {
        self.put(0x0e, &[0x80]);
        self
    }

    /// Adds a capability: `body` is what follows the pointer to the next one. Its offset.
    ///
    /// # Panics
    /// When the space is full.
    pub fn add_capability(&mut self, identity: u8, body: &[u8]) -> usize {
        let at = usize::from(self.free);
        self.put(at, &[identity, 0]);
        self.put(at + 2, body);
        let pointer = usize::from(self.last_capability);
        self.put(pointer, &[at as u8]);
        self.bytes[STATUS] |= STATUS_CAPABILITIES;
        self.last_capability = at as u8 + 1;
        self.free = u8::try_from((at + 2 + body.len()).next_multiple_of(4)).expect("room");
        at
    }

    /// Sets bytes, whether software could or not.
    pub fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Lets software set these bits.
    pub fn allow(&mut self, at: usize, bits: &[u8]) {
        self.writable[at..at + bits.len()].copy_from_slice(bits);
    }

    /// Bytes.
    #[must_use]
    pub fn get(&self, at: usize, length: usize) -> &[u8] {
        &self.bytes[at..at + length]
    }

    /// A byte.
    #[must_use]
    pub fn byte(&self, at: usize) -> u8 {
        self.bytes[at]
    }

    /// The command register.
    #[must_use]
    pub fn command(&self) -> u16 {
        u16::from_le_bytes([self.bytes[COMMAND], self.bytes[COMMAND + 1]])
    }

    /// Sets it.
    pub fn set_command(&mut self, value: u16) {
        self.put(COMMAND, &value.to_le_bytes());
    }

    /// The interrupt pin; 0 is none.
    #[must_use]
    pub fn pin(&self) -> u8 {
        self.bytes[INTERRUPT_PIN]
    }

    /// Shows a pending interrupt in the status register; whether the line is to be driven.
    pub fn set_interrupt(&mut self, pending: bool) -> bool {
        self.bytes[STATUS] =
            self.bytes[STATUS] & !STATUS_INTERRUPT | if pending { STATUS_INTERRUPT } else { 0 };
        pending && self.command() & COMMAND_NO_INTERRUPT == 0
    }

    /// Whether the interrupt is pending, as the status register shows it.
    #[must_use]
    pub fn interrupt(&self) -> bool {
        self.bytes[STATUS] & STATUS_INTERRUPT != 0
    }

    /// Software reads.
    pub fn read(&self, at: usize, data: &mut [u8]) {
        for (index, byte) in data.iter_mut().enumerate() {
            *byte = self.bytes.get(at + index).copied().unwrap_or(0xff);
        }
    }

    /// Software writes.
    pub fn write(&mut self, at: usize, data: &[u8]) {
        for (at, &value) in (at..self.bytes.len()).zip(data) {
            let writable = self.writable[at];
            let kept = self.bytes[at] & !writable & !(self.clearable[at] & value);
            self.bytes[at] = kept | value & writable;
        }
    }

    /// A base address register and its address.
    #[must_use]
    pub fn bar(&self, index: usize) -> Option<(Bar, u64)> {
        let bar = self.bars[index]?;
        let at = BARS + 4 * index;
        let mut value = [0; 4];
        value.copy_from_slice(&self.bytes[at..at + 4]);
        let flags = match bar {
            Bar::Ports(_) => 3,
            Bar::Memory(_) => 0xf,
        };
        Some((bar, u64::from(u32::from_le_bytes(value) & !flags)))
    }

    /// Sets a base address, as firmware does.
    pub fn set_bar(&mut self, index: usize, address: u32) {
        self.write(BARS + 4 * index, &address.to_le_bytes());
    }

    /// The base address registers that are used.
    pub fn bars(&self) -> impl Iterator<Item = (usize, Bar, u64)> + '_ {
        (0..6).filter_map(|index| self.bar(index).map(|(bar, address)| (index, bar, address)))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const IDENTITY: Identity = Identity {
        vendor: 0x1af4,
        device: 0x1042,
        subsystem_vendor: 0x1af4,
        subsystem: 2,
        class: 0x01_0000,
        revision: 1,
    };

    fn word(config: &Config, at: usize) -> u32 {
        let mut data = [0; 4];
        config.read(at, &mut data);
        u32::from_le_bytes(data)
    }

    #[test]
    fn base_addresses_tell_their_size() {
        let mut config = Config::new(&IDENTITY)
            .with_bar(0, Bar::Ports(0x20))
            .with_bar(4, Bar::Memory(0x4000));
        assert_eq!(word(&config, 0), 0x1042_1af4);
        config.write(0x10, &[0xff; 4]);
        assert_eq!(word(&config, 0x10), 0xffff_ffe1);
        config.write(0x20, &[0xff; 4]);
        assert_eq!(word(&config, 0x20), 0xffff_c000);
        config.write(0x14, &[0xff; 4]);
        assert_eq!(word(&config, 0x14), 0, "no such register");
        config.write(0x10, &0xc040_u32.to_le_bytes());
        assert_eq!(config.bar(0), Some((Bar::Ports(0x20), 0xc040)));
    }

    #[test]
    fn capabilities_make_a_list() {
        let mut config = Config::new(&IDENTITY);
        let one = config.add_capability(9, &[16, 1]);
        let two = config.add_capability(9, &[16, 2]);
        assert_eq!(usize::from(config.byte(0x34)), one);
        assert_eq!(usize::from(config.byte(one + 1)), two);
        assert_eq!(config.byte(two + 1), 0);
        assert_eq!(config.byte(6), STATUS_CAPABILITIES);
        config.write(6, &[0xff, 0xff]);
        assert_eq!(config.byte(6), STATUS_CAPABILITIES, "it can't be written");
    }
}
