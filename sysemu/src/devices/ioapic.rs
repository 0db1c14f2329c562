//! The I/O APIC (82093AA, version 0x20 with an EOI register): 24 pins, each with an entry that says which interrupt to send.

/// Pins.
pub const PINS: usize = 24;

const MASKED: u64 = 1 << 16;
const LEVEL: u64 = 1 << 15;
const REMOTE: u64 = 1 << 14;

/// A message to a local APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Vector.
    pub vector: u8,
    /// Delivery mode: 0 fixed, 1 lowest priority, 4 NMI, 7 external.
    pub mode: u8,
    /// Level-triggered.
    pub level: bool,
}

/// The chip.
#[derive(Clone, Debug)]
pub struct IoApic {
    select: u8,
    id: u32,
    entries: [u64; PINS],
    lines: [bool; PINS],
    out: Vec<Message>,
}

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

    /// Reads at an offset of its page.
    #[must_use]
    pub fn read(&self, offset: u64) -> u32 {
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

    /// Writes at an offset of its page.
    pub fn write(&mut self, offset: u64, value: u32) {
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
