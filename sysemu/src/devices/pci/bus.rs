//! The PCI bus: the address of configuration accesses, and which addresses the functions answer at.
//!
//! | offset | register |
//! |---|---|
//! | 0 | address (port 0xcf8) |
//! | 1, as a byte | reset control (port 0xcf9) |
//! | 4 | data (port 0xcfc) |
//!
//! The board has the functions; the bus says which one is meant.

use std::ops::Range;

use crate::cpu::Stop;
use crate::devices::device::{Context, Device, number, put};
use crate::devices::object::Object;
use crate::devices::pci::config::{COMMAND_IO, COMMAND_MEMORY};
use crate::devices::pci::{Bar, Config, PciDevice};
use crate::snapshot::{Component, decode, encode};

/// The bus.
#[derive(Clone, Debug, Default)]
pub struct PciBus {
    address: u32,
    /// Device and function number (device × 8 + function) of each, and its number on the board.
    functions: Vec<(u8, usize)>,
    /// What firmware has given out.
    given: [u32; 2],
}

/// Where firmware begins to give addresses.
const PORTS: u32 = 0xc000;
const MEMORY: u32 = 0xfe00_0000;

/// Which functions there are is the machine's, not its state's.
impl Component for PciBus {
    fn save(&self) -> Vec<u8> {
        encode(&self.address)
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.address = decode(bytes)?;
        Ok(())
    }
}

/// Addresses that a function answers at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Ports, not memory.
    pub ports: bool,
    /// Which.
    pub range: Range<u64>,
    /// The offset of the first one, for [`PciDevice`].
    pub offset: u64,
}

/// A configuration access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To the address register.
    Address,
    /// To the reset control register.
    Reset,
    /// To a function, given by its number on the board, at an offset of its space.
    Function(usize, usize),
    /// To nobody.
    None,
}

impl PciBus {
    /// Adds a function, and gives it addresses, as firmware does.
    pub fn add(&mut self, number: u8, on_board: usize, config: &mut Config) {
        self.functions.push((number, on_board));
        let bars: Vec<_> = config.bars().collect();
        let mut command = config.command();
        for (index, bar, _) in bars {
            let (kind, start, size, enable) = match bar {
                Bar::Ports(size) => (0, PORTS, size, COMMAND_IO),
                Bar::Memory(size) => (1, MEMORY, size.max(0x1000), COMMAND_MEMORY),
            };
            let address = (start + self.given[kind]).next_multiple_of(size);
            self.given[kind] = address + size - start;
            config.set_bar(index, address);
            command |= enable;
        }
        config.set_command(command);
    }

    /// Device and function number of each function, and its number on the board.
    #[must_use]
    pub fn functions(&self) -> &[(u8, usize)] {
        &self.functions
    }

    /// The first device number from `from` on that is free.
    #[must_use]
    pub fn free_device(&self, from: u8) -> Option<u8> {
        (from..32).find(|device| {
            self.functions
                .iter()
                .all(|(number, _)| number >> 3 != *device)
        })
    }

    /// What an access at an offset of the bus's own registers is about.
    #[must_use]
    pub fn access(&self, offset: u64, length: usize) -> Access {
        match (offset, length) {
            (0, 4) => Access::Address,
            (1, 1) => Access::Reset,
            (4..8, _) if self.address & 1 << 31 != 0 && self.address & 0x00ff_0000 == 0 => {
                let number = (self.address >> 8) as u8;
                let at = (self.address & 0xfc) as usize + (offset & 3) as usize;
                self.functions
                    .iter()
                    .find(|(of, _)| *of == number)
                    .map_or(Access::None, |(_, on_board)| {
                        Access::Function(*on_board, at)
                    })
            }
            _ => Access::None,
        }
    }
}

impl Object for PciBus {
    fn kind(&self) -> &'static str {
        "i440FX-pcihost"
    }

    fn state(&self) -> serde_json::Value {
        serde_json::json!({"address": self.address})
    }

    fn set_state(&mut self, state: serde_json::Value) -> Result<(), String> {
        self.address =
            serde_json::from_value(state["address"].clone()).map_err(|error| error.to_string())?;
        Ok(())
    }
}

/// What needs no function.
impl Device for PciBus {
    fn read(&mut self, _: &mut Context, offset: u64, data: &mut [u8]) {
        match self.access(offset, data.len()) {
            Access::Address => put(data, self.address.into()),
            _ => data.fill(0xff),
        }
    }

    fn write(&mut self, context: &mut Context, offset: u64, data: &[u8]) {
        const RESET: u64 = 4;
        match self.access(offset, data.len()) {
            Access::Address => self.address = number(data) as u32 & 0x80ff_fffc,
            Access::Reset if number(data) & RESET != 0 => context.stop = Some(Stop::Reset),
            _ => {}
        }
    }

    fn reset(&mut self, _: &mut Context) {
        self.address = 0;
    }

    fn object(&mut self) -> Option<&mut dyn Object> {
        Some(self)
    }
}

/// The addresses that a function answers at now.
#[must_use]
pub fn windows(config: &Config) -> Vec<Window> {
    let command = config.command();
    config
        .bars()
        .filter_map(|(index, bar, address)| {
            let (ports, size, enable) = match bar {
                Bar::Ports(size) => (true, size, COMMAND_IO),
                Bar::Memory(size) => (false, size, COMMAND_MEMORY),
            };
            (command & enable != 0 && address != 0).then(|| Window {
                ports,
                range: address..address + u64::from(size),
                offset: PciDevice::bar(index),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::device::tests::{bench, write};
    use crate::devices::pci::config::tests::IDENTITY;

    fn set_address(bus: &mut PciBus, value: u64) {
        let (_ram, mut context) = bench();
        write(bus, &mut context, 0, 4, value);
    }

    #[test]
    fn functions_are_found_by_number_and_get_addresses() {
        let mut bus = PciBus::default();
        let mut config = Config::new(&IDENTITY)
            .with_bar(0, Bar::Memory(0x4000))
            .with_bar(4, Bar::Ports(16));
        bus.add(0x18, 7, &mut config);
        assert_eq!(bus.access(4, 4), Access::None, "no address was set");
        set_address(&mut bus, 0x8000_1810);
        assert_eq!(bus.access(4, 4), Access::Function(7, 0x10));
        assert_eq!(bus.access(6, 2), Access::Function(7, 0x12));
        set_address(&mut bus, 0x8000_1900);
        assert_eq!(bus.access(4, 4), Access::None, "no such function");
        set_address(&mut bus, 0x8001_1800);
        assert_eq!(bus.access(4, 4), Access::None, "no such bus");
        let windows = windows(&config);
        assert_eq!(windows[0].range, 0xfe00_0000..0xfe00_4000);
        assert_eq!(
            windows[1],
            Window {
                ports: true,
                range: 0xc000..0xc010,
                offset: PciDevice::bar(4),
            }
        );
        assert_eq!(bus.free_device(3), Some(4));
    }

    #[test]
    fn what_is_switched_off_does_not_answer() {
        let mut bus = PciBus::default();
        let mut config = Config::new(&IDENTITY).with_bar(4, Bar::Ports(16));
        bus.add(0, 0, &mut config);
        config.set_command(COMMAND_MEMORY);
        assert!(windows(&config).is_empty());
    }
}
