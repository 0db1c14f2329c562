//! The function: 82371SB (PIIX3) IDE, in compatibility mode: command blocks at fixed ports and lines 14 and 15, bus masters behind base address register 4.
//!
//! As for every PCI device, offsets say the register block: 0 and 2 are the command blocks of the two channels, 1 and 3 their control blocks.

use serde::{Deserialize, Serialize};

use crate::devices::device::Context;
use crate::devices::ide::channel::{Channel, State};
use crate::devices::lines::{Line, Lines};
use crate::devices::medium::{Described, Medium, check, describe};
use crate::devices::object::Object;
use crate::devices::pci::config::COMMAND_MASTER;
use crate::devices::pci::{Bar, Config, Function, Identity};
use crate::snapshot::{Component, decode, encode};

/// The function.
#[derive(Debug)]
pub struct Ide {
    config: Config,
    /// Both channels.
    pub channels: [Channel; 2],
}

/// The ISA lines of the channels.
pub const LINES: [u8; 2] = [14, 15];
const BUS_MASTER: usize = 4;
/// Where the timing registers are; bit 15 of each switches its channel on.
const TIMING: usize = 0x40;

impl Ide {
    /// A function after power-on, with up to four disks: master and slave of the first channel, then of the second.
    #[must_use]
    pub fn new(lines: &mut Lines, disks: [Option<Box<dyn Medium>>; 4]) -> Self {
        let [first, second]: [Line; 2] = LINES.map(|line| lines.connect(line));
        let mut channels = [Channel::new(0, first), Channel::new(1, second)];
        for (index, disk) in disks.into_iter().enumerate() {
            channels[index / 2].media[index % 2] = disk;
        }
        Ide {
            config: config(),
            channels,
        }
    }
}

fn config() -> Config {
    let mut config = Config::new(&Identity {
        vendor: 0x8086,
        device: 0x7010,
        subsystem_vendor: 0,
        subsystem: 0,
        // Bus master, both channels in compatibility mode.
        class: 0x01_0180,
        revision: 0,
    })
    .with_bar(BUS_MASTER, Bar::Ports(16));
    config.put(TIMING, &[0, 0x80, 0, 0x80]);
    config.allow(TIMING, &[0xff, 0xf3, 0xff, 0xf3, 0xff]);
    config.set_command(COMMAND_MASTER);
    config
}

/// What is on the disks is not part of the state; which disks there are must be the same.
#[derive(Serialize, Deserialize)]
struct Saved {
    config: Config,
    channels: [State; 2],
    disks: [Option<Described>; 4],
}

impl Ide {
    fn disk(&self, index: usize) -> Option<&dyn Medium> {
        self.channels[index / 2].media[index % 2].as_deref()
    }
}

impl Component for Ide {
    fn save(&self) -> Vec<u8> {
        encode(&Saved {
            config: self.config.clone(),
            channels: self
                .channels
                .each_ref()
                .map(|channel| channel.state.clone()),
            disks: std::array::from_fn(|index| self.disk(index).map(describe)),
        })
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), String> {
        let saved: Saved = decode(bytes)?;
        for (index, disk) in saved.disks.into_iter().enumerate() {
            check(self.disk(index), disk)?;
        }
        self.config = saved.config;
        for (channel, state) in self.channels.iter_mut().zip(saved.channels) {
            channel.state = state;
        }
        Ok(())
    }
}

/// Task-file and bus-master registers of both channels, with the command that is under way.
impl Object for Ide {
    fn kind(&self) -> &'static str {
        "piix3-ide"
    }

    fn state(&self) -> serde_json::Value {
        let [first, second] = &self.channels;
        serde_json::json!({"channels": [first.state, second.state]})
    }

    fn set_state(&mut self, state: serde_json::Value) -> Result<(), String> {
        let [first, second] = [0, 1].map(|index| {
            serde_json::from_value::<State>(state["channels"][index].clone())
                .map_err(|error| error.to_string())
        });
        let states = [first?, second?];
        for (channel, state) in self.channels.iter_mut().zip(states) {
            channel.state = state;
        }
        Ok(())
    }
}

impl Function for Ide {
    fn config(&self) -> &Config {
        &self.config
    }

    fn config_mut(&mut self) -> &mut Config {
        &mut self.config
    }

    fn read(&mut self, context: &mut Context, bar: usize, offset: u64, data: &mut [u8]) {
        match bar {
            0 | 2 => self.channels[bar / 2].read(context, offset, data),
            1 | 3 => data.fill(self.channels[bar / 2].alternate_status()),
            _ => {
                for (at, byte) in (offset..).zip(data) {
                    *byte = self.channels[(at >> 3 & 1) as usize].read_master(at & 7);
                }
            }
        }
    }

    fn write(&mut self, context: &mut Context, bar: usize, offset: u64, data: &[u8]) {
        match bar {
            0 | 2 => self.channels[bar / 2].write(context, offset, data),
            1 | 3 => self.channels[bar / 2].write_control(context, data[0]),
            _ => {
                for (at, &value) in (offset..).zip(data) {
                    self.channels[(at >> 3 & 1) as usize].write_master(context, at & 7, value);
                }
            }
        }
    }

    fn next_event(&self) -> Option<u64> {
        self.channels.iter().filter_map(Channel::next_event).min()
    }

    fn advance(&mut self, context: &mut Context) {
        let enabled = self.config.command() & COMMAND_MASTER != 0;
        for channel in &mut self.channels {
            channel.advance(context, enabled);
        }
    }

    fn reset(&mut self, context: &mut Context) {
        for channel in &mut self.channels {
            channel.reset(context);
        }
    }

    fn object(&self) -> &dyn Object {
        self
    }

    fn object_mut(&mut self) -> &mut dyn Object {
        self
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
