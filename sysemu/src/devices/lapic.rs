//! The local APIC: priorities, acceptance, end of interrupt, and its timer.
//!
//! Offsets are those of its page.

use serde::{Deserialize, Serialize};

use crate::cpu::cpuid::CRYSTAL_HZ;
use crate::devices::device::{Context, Device, number, put};
use crate::devices::ioapic::Message;
use crate::devices::object::{Object, Registers};
use crate::snapshot::State;

const MASKED: u32 = 1 << 16;
/// Nanoseconds of a crystal tick.
const TICK: u64 = 1_000_000_000 / CRYSTAL_HZ as u64;

/// 256 bits.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Bits([u32; 8]);

impl Bits {
    fn set(&mut self, vector: u8, on: bool) {
        let word = &mut self.0[usize::from(vector >> 5)];
        let bit = 1 << (vector & 31);
        if on {
            *word |= bit;
        } else {
            *word &= !bit;
        }
    }
    fn get(&self, vector: u8) -> bool {
        self.0[usize::from(vector >> 5)] >> (vector & 31) & 1 != 0
    }
    fn highest(&self) -> Option<u8> {
        (0..8)
            .rev()
            .find(|&word| self.0[word] != 0)
            .map(|word| (32 * word as u32 + 31 - self.0[word].leading_zeros()) as u8)
    }
}

/// The chip.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Lapic {
    /// The base-address register: address and the global enable.
    base: u64,
    id: u32,
    priority: u32,
    logical: u32,
    format: u32,
    spurious: u32,
    error: u32,
    command: [u32; 2],
    /// Thermal, timer … in the order of their addresses: 0x320, 0x330, 0x340, 0x350, 0x360, 0x370, and 0x2f0 (not present).
    lvt: [u32; 6],
    initial: u32,
    divide: u32,
    /// When the timer was started; none where it does not run.
    started: Option<u64>,
    requests: Bits,
    in_service: Bits,
    level: Bits,
    ended: Vec<u8>,
    nmi: bool,
}

const TIMER: usize = 0;
const LINT0: usize = 3;
const ERROR: usize = 5;

impl State for Lapic {}

impl Default for Lapic {
    fn default() -> Self {
        Lapic {
            // Enabled, bootstrap processor.
            base: 0xfee0_0900,
            id: 0,
            priority: 0,
            logical: 0,
            format: u32::MAX,
            spurious: 0xff,
            error: 0,
            command: [0; 2],
            lvt: [MASKED; 6],
            initial: 0,
            divide: 0,
            started: None,
            requests: Bits::default(),
            in_service: Bits::default(),
            level: Bits::default(),
            ended: Vec::new(),
            nmi: false,
        }
    }
}

impl Lapic {
    /// The base-address register.
    #[must_use]
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Sets it; false where that is not possible (another page, or x2APIC mode, which is not announced).
    pub fn set_base(&mut self, value: u64) -> bool {
        if value & 0xffff_f000 != 0xfee0_0000 || value & !0xffff_f900 != 0 {
            return false;
        }
        self.base = value & !0x100 | 0x100;
        true
    }

    /// Globally enabled.
    #[must_use]
    pub fn enabled(&self) -> bool {
        self.base & 1 << 11 != 0
    }

    fn software_enabled(&self) -> bool {
        self.spurious & 0x100 != 0
    }

    /// Whether the old controllers' output reaches the processor.
    #[must_use]
    pub fn passes_external(&self) -> bool {
        !self.enabled() || self.lvt[LINT0] & MASKED == 0 && self.lvt[LINT0] >> 8 & 7 == 7
    }

    /// CR8.
    #[must_use]
    pub fn task_priority(&self) -> u8 {
        (self.priority >> 4) as u8
    }

    /// Sets it through CR8.
    pub fn set_task_priority(&mut self, value: u8) {
        self.priority = u32::from(value) << 4;
    }

    fn processor_priority(&self) -> u32 {
        let service = self.in_service.highest().map_or(0, u32::from);
        if self.priority >> 4 >= service >> 4 {
            self.priority
        } else {
            service & 0xf0
        }
    }

    /// Accepts a message.
    pub fn accept(&mut self, message: Message) {
        match message.mode {
            0 | 1 if message.vector >= 16 && self.software_enabled() => {
                self.requests.set(message.vector, true);
                self.level.set(message.vector, message.level);
            }
            0 | 1 if message.vector < 16 => self.error |= 1 << 6,
            4 => self.nmi = true,
            _ => {}
        }
    }

    /// The interrupt that would be delivered now.
    #[must_use]
    pub fn pending(&self) -> Option<u8> {
        if !self.enabled() {
            return None;
        }
        self.requests
            .highest()
            .filter(|&vector| u32::from(vector) >> 4 > self.processor_priority() >> 4)
    }

    /// Takes it.
    pub fn acknowledge(&mut self) -> Option<u8> {
        let vector = self.pending()?;
        self.requests.set(vector, false);
        self.in_service.set(vector, true);
        Some(vector)
    }

    /// Level-triggered vectors that were finished since the last time.
    pub fn take_ended(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.ended)
    }

    fn end(&mut self) {
        if let Some(vector) = self.in_service.highest() {
            self.in_service.set(vector, false);
            if self.level.get(vector) {
                self.ended.push(vector);
            }
        }
    }

    fn divisor(&self) -> u64 {
        let code = self.divide & 3 | self.divide >> 1 & 4;
        1 << ((code + 1) & 7)
    }

    fn period(&self) -> u64 {
        u64::from(self.initial) * self.divisor() * TICK
    }

    fn periodic(&self) -> bool {
        self.lvt[TIMER] >> 17 & 3 == 1
    }

    fn current(&self, now: u64) -> u32 {
        let Some(started) = self.started else {
            return 0;
        };
        let elapsed = (now - started) / (TICK * self.divisor());
        let initial = u64::from(self.initial);
        if self.periodic() && initial != 0 {
            (initial - elapsed % initial) as u32
        } else {
            initial.saturating_sub(elapsed) as u32
        }
    }

    fn expiry(&self) -> Option<u64> {
        self.started.map(|started| started + self.period())
    }

    fn expire(&mut self, now: u64) {
        let Some(at) = self.expiry().filter(|&at| at <= now) else {
            return;
        };
        self.started = self.periodic().then_some(if self.period() == 0 {
            now
        } else {
            at + (now - at) / self.period() * self.period()
        });
        let entry = self.lvt[TIMER];
        if entry & MASKED == 0 {
            self.accept(Message {
                vector: entry as u8,
                mode: 0,
                level: false,
            });
        }
    }

    fn register(&self, now: u64, offset: u64) -> u32 {
        let word = (offset >> 4 & 7) as usize;
        match offset & 0xff0 {
            0x20 => self.id,
            // 6 entries, no suppression of end-of-interrupt messages.
            0x30 => 0x0005_0014,
            0x80 => self.priority,
            0x90 | 0xa0 => self.processor_priority(),
            0xd0 => self.logical,
            0xe0 => self.format,
            0xf0 => self.spurious,
            0x100..=0x170 => self.in_service.0[word],
            0x180..=0x1f0 => self.level.0[word],
            0x200..=0x270 => self.requests.0[word],
            0x280 => self.error,
            0x300 => self.command[0],
            0x310 => self.command[1],
            0x320..=0x370 => self.lvt[((offset >> 4 & 0xff) - 0x32) as usize],
            0x380 => self.initial,
            0x390 => self.current(now),
            0x3e0 => self.divide,
            _ => 0,
        }
    }

    /// As firmware leaves it: enabled, and what the old controllers say is passed on.
    #[must_use]
    pub fn after_firmware() -> Self {
        let mut chip = Lapic::default();
        for (offset, value) in [(0xf0, 0x1ff), (0x350, 0x700), (0x360, 0x400)] {
            chip.set_register(0, offset, value);
        }
        chip
    }

    fn set_register(&mut self, now: u64, offset: u64, value: u32) {
        match offset & 0xff0 {
            0x20 => self.id = value & 0xff00_0000,
            0x80 => self.priority = value & 0xff,
            0xb0 => self.end(),
            0xd0 => self.logical = value & 0xff00_0000,
            0xe0 => self.format = value | 0x0fff_ffff,
            0xf0 => {
                self.spurious = value & 0x1ff;
                if !self.software_enabled() {
                    self.lvt.iter_mut().for_each(|entry| *entry |= MASKED);
                }
            }
            0x280 => self.error = 0,
            0x300 => self.send(value),
            0x310 => self.command[1] = value & 0xff00_0000,
            0x320..=0x370 => {
                let index = ((offset >> 4 & 0xff) - 0x32) as usize;
                let allowed = match index {
                    TIMER => 0x7_00ff,
                    ERROR => 0x1_00ff,
                    3 | 4 => 0x1_a7ff,
                    _ => 0x1_07ff,
                };
                self.lvt[index] = value & allowed;
                if !self.software_enabled() {
                    self.lvt[index] |= MASKED;
                }
            }
            0x380 => {
                self.initial = value;
                self.started = (value != 0).then_some(now);
            }
            0x3e0 => self.divide = value & 0xb,
            _ => {}
        }
    }

    /// Interprocessor interrupts: there is one processor, so only those to itself arrive.
    fn send(&mut self, value: u32) {
        self.command[0] = value & !(1 << 12);
        let to_self = match value >> 18 & 3 {
            0 => {
                let destination = (self.command[1] >> 24) as u8;
                if value & 1 << 11 == 0 {
                    destination == (self.id >> 24) as u8 || destination == 0xff
                } else {
                    u32::from(destination) & self.logical >> 24 != 0
                }
            }
            1 | 2 => true,
            _ => false,
        };
        if to_self {
            self.accept(Message {
                vector: value as u8,
                mode: (value >> 8 & 7) as u8,
                level: false,
            });
        }
    }

    /// A non-maskable interrupt has arrived.
    pub fn take_nmi(&mut self) -> bool {
        std::mem::take(&mut self.nmi)
    }
}

impl Registers for Lapic {
    const KIND: &'static str = "apic";

    const INPUTS: &'static [(&'static str, usize)] = &[("nmi", 1)];

    fn drive(&mut self, _: &mut Context, _: &str, _: usize, level: bool) {
        self.nmi |= level;
    }
}

impl Device for Lapic {
    fn read(&mut self, context: &mut Context, offset: u64, data: &mut [u8]) {
        put(data, self.register(context.now, offset).into());
    }

    fn write(&mut self, context: &mut Context, offset: u64, data: &[u8]) {
        self.set_register(context.now, offset, number(data) as u32);
    }

    fn next_event(&self) -> Option<u64> {
        self.expiry()
    }

    fn advance(&mut self, context: &mut Context) {
        self.expire(context.now);
    }

    fn reset(&mut self, _: &mut Context) {
        *self = Lapic::default();
    }

    fn object(&mut self) -> Option<&mut dyn Object> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::device::tests::{bench, read, write};

    fn enabled() -> Lapic {
        let mut chip = Lapic::default();
        chip.set_register(0, 0xf0, 0x1ff);
        chip
    }

    fn fixed(vector: u8, level: bool) -> Message {
        Message {
            vector,
            mode: 0,
            level,
        }
    }

    #[test]
    fn the_higher_class_interrupts_the_lower() {
        let mut chip = enabled();
        chip.accept(fixed(0x41, false));
        assert_eq!(chip.acknowledge(), Some(0x41));
        chip.accept(fixed(0x4f, false));
        assert_eq!(chip.pending(), None, "of the same class");
        chip.accept(fixed(0x51, true));
        assert_eq!(chip.acknowledge(), Some(0x51));
        chip.set_register(0, 0xb0, 0);
        assert_eq!(
            chip.take_ended(),
            [0x51],
            "level-triggered: the I/O APIC is told"
        );
        chip.set_register(0, 0xb0, 0);
        assert!(chip.take_ended().is_empty());
        chip.set_task_priority(4);
        assert_eq!(chip.pending(), None, "task priority");
        chip.set_task_priority(3);
        assert_eq!(chip.acknowledge(), Some(0x4f));
    }

    #[test]
    fn the_timer_counts_and_repeats() {
        let (_ram, mut context) = bench();
        let mut chip = enabled();
        write(&mut chip, &mut context, 0x3e0, 4, 0xb);
        write(&mut chip, &mut context, 0x320, 4, 0x2_0030);
        write(&mut chip, &mut context, 0x380, 4, 100);
        context.now = 30 * TICK;
        assert_eq!(read(&mut chip, &mut context, 0x390, 4), 70);
        assert_eq!(chip.next_event(), Some(100 * TICK));
        context.now = 250 * TICK;
        chip.advance(&mut context);
        assert_eq!(chip.acknowledge(), Some(0x30));
        assert_eq!(chip.next_event(), Some(300 * TICK));
    }
}
