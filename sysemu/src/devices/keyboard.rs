//! The i8042 keyboard controller, without keyboard or mouse: it answers its self-tests, and resets the machine.
//!
//! | offset | register |
//! |---|---|
//! | 0 | data (port 0x60) |
//! | 1 | status and command (port 0x64) |

use serde::{Deserialize, Serialize};

use crate::cpu::Stop;
use crate::devices::device::{Context, Device, read_bytes, write_bytes};
use crate::devices::object::{Object, Registers};
use crate::snapshot::State;

/// The controller.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Keyboard {
    command_byte: u8,
    awaited: u8,
    output: Option<u8>,
    output_port: u8,
}

impl State for Keyboard {}

impl Default for Keyboard {
    fn default() -> Self {
        Keyboard {
            command_byte: 0x30,
            awaited: 0,
            output: None,
            output_port: 3,
        }
    }
}

impl Keyboard {
    /// Port 0x60.
    pub fn read_data(&mut self) -> u8 {
        self.output.take().unwrap_or(0)
    }

    /// Port 0x64: system flag, unlocked, output full.
    #[must_use]
    pub fn status(&self) -> u8 {
        0x14 | u8::from(self.output.is_some())
    }

    /// Port 0x64: true where the machine is to be reset.
    pub fn command(&mut self, value: u8) -> bool {
        self.awaited = 0;
        match value {
            0x20 => self.output = Some(self.command_byte),
            0x60 | 0xd1 | 0xd2 | 0xd3 | 0xd4 => self.awaited = value,
            0xa7 => self.command_byte |= 0x20,
            0xa8 => self.command_byte &= !0x20,
            // The auxiliary and the keyboard interface: nothing there answers.
            0xa9 => self.output = Some(1),
            0xaa => self.output = Some(0x55),
            0xab => self.output = Some(1),
            0xad => self.command_byte |= 0x10,
            0xae => self.command_byte &= !0x10,
            0xd0 => self.output = Some(self.output_port),
            0xf0..=0xff => return value & 1 == 0,
            _ => {}
        }
        false
    }

    /// Port 0x60: true where the machine is to be reset.
    pub fn write_data(&mut self, value: u8) -> bool {
        match std::mem::take(&mut self.awaited) {
            0x60 => self.command_byte = value,
            0xd1 => {
                self.output_port = value;
                return value & 1 == 0;
            }
            0xd2 | 0xd3 => self.output = Some(value),
            _ => {}
        }
        false
    }
}

impl Registers for Keyboard {
    const KIND: &'static str = "i8042";
}

impl Device for Keyboard {
    fn read(&mut self, _: &mut Context, offset: u64, data: &mut [u8]) {
        read_bytes(offset, data, |at| match at {
            0 => self.read_data(),
            _ => self.status(),
        });
    }

    fn write(&mut self, context: &mut Context, offset: u64, data: &[u8]) {
        write_bytes(offset, data, |at, value| {
            let reset = match at {
                0 => self.write_data(value),
                _ => self.command(value),
            };
            if reset {
                context.stop = Some(Stop::Reset);
            }
        });
    }

    fn reset(&mut self, _: &mut Context) {
        *self = Keyboard::default();
    }

    fn object(&mut self) -> Option<&mut dyn Object> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::device::tests::{bench, read, write};

    #[test]
    fn it_answers_its_self_test_and_resets_the_machine() {
        let (_ram, mut context) = bench();
        let mut keyboard = Keyboard::default();
        write(&mut keyboard, &mut context, 1, 1, 0xaa);
        assert_eq!(read(&mut keyboard, &mut context, 1, 1) & 1, 1);
        assert_eq!(read(&mut keyboard, &mut context, 0, 1), 0x55);
        assert_eq!(read(&mut keyboard, &mut context, 1, 1) & 1, 0);
        write(&mut keyboard, &mut context, 1, 1, 0xfe);
        assert_eq!(context.stop, Some(Stop::Reset));
    }
}
