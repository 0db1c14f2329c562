//! The I/O APIC (82093AA, version 0x20 with an EOI register): 24 pins, each with an entry that says which interrupt to send.
//!
//! Offsets are those of its page.

use serde::{Deserialize, Serialize};

use crate::devices::device::{Context, Device, number, put};
use crate::devices::object::{Object, Registers};
use crate::snapshot::State;

/// Pins.
pub const PINS: usize = 24;

const MASKED: u64 = 1 << 16;
const LEVEL: u64 = 1 << 15;
const REMOTE: u64 = 1 << 14;

/// A message to a local APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Vector.
    pub vector: u8,
    /// Delivery mode: 0 fixed, 1 lowest priority, 4 NMI, 7 external.
    pub mode: u8,
    /// Level-triggered.
    pub level: bool,
}

/// The chip.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IoApic {
    select: u8,
    id: u32,
    entries: [u64; PINS],
    lines: [bool; PINS],
    out: Vec<Message>,
}

impl State for IoApic {}

impl Default for IoApic {
    fn default() -> Self {
        IoApic {
            select: 0,
            id: 0,
            entries: [MASKED; PINS],
            lines: [false; PINS],
            out: Vec::new(),
        }
    }
}

impl IoApic {
    /// Drives a pin; true is the active level of a device (polarity is not modelled apart from that).
    pub fn set_line(&mut self, pin: usize, active: bool) {
        let rose = active && !self.lines[pin];
        self.lines[pin] = active;
        if self.entries[pin] & LEVEL != 0 {
            self.service_level(pin);
        } else if rose && self.entries[pin] & MASKED == 0 {
            self.send(pin);
        }
    }

    fn service_level(&mut self, pin: usize) {
        let entry = self.entries[pin];
        if self.lines[pin] && entry & (MASKED | REMOTE) == 0 {
            self.entries[pin] |= REMOTE;
            self.send(pin);
        }
    }

    fn send(&mut self, pin: usize) {
        let entry = self.entries[pin];
        self.out.push(Message {
            vector: entry as u8,
            mode: (entry >> 8 & 7) as u8,
            level: entry & LEVEL != 0,
        });
    }

    /// Messages that wait to be delivered.
    pub fn take_messages(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.out)
    }

    /// Whether pin 0 passes the old controllers' output through.
    #[must_use]
    pub fn passes_external(&self) -> bool {
        self.entries[0] & MASKED == 0 && self.entries[0] >> 8 & 7 == 7
    }

    /// A processor has finished with a level-triggered vector.
    pub fn end(&mut self, vector: u8) {
        for pin in 0..PINS {
            if self.entries[pin] & LEVEL != 0 && self.entries[pin] as u8 == vector {
                self.entries[pin] &= !REMOTE;
                self.service_level(pin);
            }
        }
    }

    fn register(&self, offset: u64) -> u32 {
        match offset {
            0 => self.select.into(),
            0x10 => match self.select {
                0 | 2 => self.id,
                1 => 0x20 | (PINS as u32 - 1) << 16,
                index @ 0x10..=0x3f => {
                    let entry = self.entries[usize::from(index - 0x10) / 2];
                    (entry >> (32 * (index & 1))) as u32
                }
                _ => 0,
            },
            _ => 0,
        }
    }

    fn set_register(&mut self, offset: u64, value: u32) {
        match (offset, self.select) {
            (0, _) => self.select = value as u8,
            (0x10, 0) => self.id = value & 0x0f00_0000,
            (0x10, index @ 0x10..=0x3f) => self.write_entry(index, value),
            (0x40, _) => self.end(value as u8),
            _ => {}
        }
    }

    fn write_entry(&mut self, index: u8, value: u32) {
        let pin = usize::from(index - 0x10) / 2;
        let old = self.entries[pin];
        let writable = !(REMOTE | 1 << 12);
        let new = if index & 1 == 0 {
            old & !0xffff_ffff | u64::from(value)
        } else {
            old & 0xffff_ffff | u64::from(value) << 32
        };
        let mut entry = new & writable | old & !writable;
        if entry & LEVEL == 0 {
            entry &= !REMOTE;
        }
        self.entries[pin] = entry & 0xff00_0000_0001_ffff;
        if entry & LEVEL != 0 {
            self.service_level(pin);
        }
    }
}

impl Registers for IoApic {
    const KIND: &'static str = "ioapic";

    const INPUTS: &'static [(&'static str, usize)] = &[("", PINS)];

    fn drive(&mut self, _: &mut Context, _: &str, number: usize, level: bool) {
        self.set_line(number, level);
    }
}

impl Device for IoApic {
    fn read(&mut self, _: &mut Context, offset: u64, data: &mut [u8]) {
        put(data, self.register(offset).into());
    }

    fn write(&mut self, _: &mut Context, offset: u64, data: &[u8]) {
        self.set_register(offset, number(data) as u32);
    }

    fn reset(&mut self, _: &mut Context) {
        *self = IoApic {
            lines: self.lines,
            ..IoApic::default()
        };
    }

    fn object(&mut self) -> Option<&mut dyn Object> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(chip: &mut IoApic, pin: u64, entry: u64) {
        for half in 0..2 {
            chip.set_register(0, (0x10 + 2 * pin + half) as u32);
            chip.set_register(0x10, (entry >> (32 * half)) as u32);
        }
    }

    #[test]
    fn an_edge_sends_once_and_a_level_again_after_its_end() {
        let mut chip = IoApic::default();
        program(&mut chip, 4, 0x34);
        program(&mut chip, 16, 0x50 | LEVEL);
        chip.set_line(4, true);
        chip.set_line(4, true);
        chip.set_line(16, true);
        let vectors = |chip: &mut IoApic| {
            chip.take_messages()
                .iter()
                .map(|m| m.vector)
                .collect::<Vec<_>>()
        };
        assert_eq!(vectors(&mut chip), [0x34, 0x50]);
        chip.end(0x50);
        assert_eq!(vectors(&mut chip), [0x50], "the line is still active");
        chip.set_line(16, false);
        chip.end(0x50);
        assert_eq!(vectors(&mut chip), [0_u8; 0]);
    }

    #[test]
    fn a_masked_level_is_sent_when_it_is_unmasked() {
        let mut chip = IoApic::default();
        chip.set_line(16, true);
        assert!(chip.take_messages().is_empty());
        program(&mut chip, 16, 0x50 | LEVEL);
        assert_eq!(chip.take_messages().len(), 1);
        chip.set_register(0, 0x30);
        assert_eq!(chip.register(0x10) & REMOTE as u32, REMOTE as u32);
    }
}
