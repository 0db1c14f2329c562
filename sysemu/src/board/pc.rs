//! A PC with one processor: interrupt controllers, timers, clock, serial port, power management, host bridge.
//!
//! | ports | what |
//! |---|---|
//! | 0x20, 0xa0, 0x4d0 | interrupt controllers |
//! | 0x40, 0x61 | timer |
//! | 0x60, 0x64 | keyboard controller |
//! | 0x70 | clock and CMOS |
//! | 0x3f8 | serial port, line 4 |
//! | 0x600 | power management, line 9 |
//! | 0xcf8 | PCI configuration |
//! | 0xcf9, 0x92 | reset |
//! | 0x501 | debug exit |
//!
//! Everything else reads all ones, and writes to it are dropped.

use crate::board::console::Console;
use crate::bus::Bus;
use crate::cpu::Stop;
use crate::devices::ioapic::IoApic;
use crate::devices::keyboard::Keyboard;
use crate::devices::lapic::Lapic;
use crate::devices::pci::Pci;
use crate::devices::pic::Pics;
use crate::devices::pit::Pit;
use crate::devices::power::Power;
use crate::devices::rtc::Rtc;

/// Where the I/O APIC lies.
pub const IOAPIC: u64 = 0xfec0_0000;
/// Where the local APIC lies.
pub const LAPIC: u64 = 0xfee0_0000;
/// Port of the power management registers.
pub const POWER: u16 = 0x600;
/// Writing here ends the machine with a status.
pub const DEBUG_EXIT: u16 = 0x501;

const TIMER_LINE: u8 = 0;
const SERIAL_LINE: u8 = 4;

/// The board.
#[derive(Debug)]
pub struct Pc {
    lapic: Lapic,
    ioapic: IoApic,
    pics: Pics,
    pit: Pit,
    rtc: Rtc,
    keyboard: Keyboard,
    pci: Pci,
    power: Power,
    console: Console,
    /// When the console next looks for input.
    console_at: Option<u64>,
    stop: Option<Stop>,
}

impl Pc {
    /// A board after power-on.
    #[must_use]
    pub fn new(console: Console) -> Self {
        let console_at = console.next_event(0);
        Pc {
            lapic: Lapic::default(),
            ioapic: IoApic::default(),
            pics: Pics::default(),
            pit: Pit::default(),
            rtc: Rtc::default(),
            keyboard: Keyboard::default(),
            pci: Pci::default(),
            power: Power::default(),
            console,
            console_at,
            stop: None,
        }
    }

    /// An edge on an interrupt line: both kinds of controllers see it.
    fn pulse(&mut self, line: u8) {
        // The timer's line is at another pin.
        let pin = if line == TIMER_LINE { 2 } else { line };
        self.pics.set_line(line, true);
        self.ioapic.set_line(pin.into(), true);
        self.pics.set_line(line, false);
        self.ioapic.set_line(pin.into(), false);
        self.route();
    }

    /// Carries messages between the APICs.
    fn route(&mut self) {
        for message in self.ioapic.take_messages() {
            self.lapic.accept(message);
        }
        for vector in self.lapic.take_ended() {
            self.ioapic.end(vector);
        }
        for message in self.ioapic.take_messages() {
            self.lapic.accept(message);
        }
    }

    fn external_passes(&self) -> bool {
        self.lapic.passes_external() || self.ioapic.passes_external()
    }

    fn serial_interrupt(&mut self) {
        if self.console.take_interrupt() {
            self.pulse(SERIAL_LINE);
        }
    }

    fn byte_in(&mut self, now: u64, port: u16) -> u8 {
        match port {
            0x20 | 0x21 => self.pics.read(0, (port & 1) as u8),
            0xa0 | 0xa1 => self.pics.read(1, (port & 1) as u8),
            0x4d0 | 0x4d1 => self.pics.levels(usize::from(port & 1)),
            0x40..=0x43 => self.pit.read(now, (port - 0x40) as u8),
            0x60 => self.keyboard.read_data(),
            0x61 => self.pit.gate(now),
            0x64 => self.keyboard.status(),
            0x71 => self.rtc.read(now),
            // A20 is always on.
            0x92 => 2,
            0x3f8..=0x3ff => {
                let value = self.console.read((port - 0x3f8) as u8);
                self.serial_interrupt();
                value
            }
            _ => 0xff,
        }
    }

    fn byte_out(&mut self, now: u64, port: u16, value: u8) {
        match port {
            0x20 | 0x21 => self.pics.write(0, (port & 1) as u8, value),
            0xa0 | 0xa1 => self.pics.write(1, (port & 1) as u8, value),
            0x4d0 | 0x4d1 => self.pics.set_levels(usize::from(port & 1), value),
            0x40..=0x43 => self.pit.write(now, (port - 0x40) as u8, value),
            0x61 => self.pit.set_gate(now, value),
            0x60 if self.keyboard.write_data(value) => self.stop = Some(Stop::Reset),
            0x64 if self.keyboard.command(value) => self.stop = Some(Stop::Reset),
            0x70 => self.rtc.select(value),
            0x71 => self.rtc.write(value),
            0x92 if value & 1 != 0 => self.stop = Some(Stop::Reset),
            0xcf9 if value & 4 != 0 => self.stop = Some(Stop::Reset),
            0x3f8..=0x3ff => {
                self.console.write((port - 0x3f8) as u8, value);
                self.serial_interrupt();
            }
            _ => {}
        }
    }
}

impl Bus for Pc {
    fn port_in(&mut self, now: u64, port: u16, size: u8) -> u32 {
        match port {
            0xcf8..=0xcff if port != 0xcf9 => self.pci.read(port - 0xcf8, size),
            0x600..=0x60f => self.power.read(now, port - POWER, size),
            _ => (0..u16::from(size)).fold(0, |value, offset| {
                let byte = self.byte_in(now, port.wrapping_add(offset));
                value | u32::from(byte) << (8 * offset)
            }),
        }
    }

    fn port_out(&mut self, now: u64, port: u16, size: u8, value: u32) {
        match port {
            DEBUG_EXIT => self.stop = Some(Stop::DebugExit(value)),
            0xcf8..=0xcff if port != 0xcf9 => self.pci.write(port - 0xcf8, size, value),
            0x600..=0x60f => {
                if self.power.write(port - POWER, size, value) {
                    self.stop = Some(Stop::PowerOff);
                }
            }
            _ => {
                for offset in 0..u16::from(size) {
                    let byte = (value >> (8 * offset)) as u8;
                    self.byte_out(now, port.wrapping_add(offset), byte);
                }
            }
        }
    }

    fn mmio_read(&mut self, now: u64, address: u64, size: u8) -> u64 {
        let value = match address & !0xfff {
            LAPIC if self.lapic.enabled() => self.lapic.read(now, address & 0xfff),
            IOAPIC => self.ioapic.read(address & 0xfff),
            _ => return u64::MAX >> (64 - 8 * u32::from(size)),
        };
        u64::from(value)
    }

    fn mmio_write(&mut self, now: u64, address: u64, _: u8, value: u64) {
        match address & !0xfff {
            LAPIC if self.lapic.enabled() => {
                self.lapic.write(now, address & 0xfff, value as u32);
                self.route();
            }
            IOAPIC => {
                self.ioapic.write(address & 0xfff, value as u32);
                self.route();
            }
            _ => {}
        }
    }

    fn interrupt_pending(&self) -> bool {
        self.lapic.pending().is_some() || self.external_passes() && self.pics.pending()
    }

    fn acknowledge(&mut self, _: u64) -> Option<u8> {
        if self.external_passes() && self.pics.pending() {
            return Some(self.pics.acknowledge());
        }
        self.lapic.acknowledge()
    }

    fn advance(&mut self, now: u64) {
        if self.pit.advance(now) {
            self.pulse(TIMER_LINE);
        }
        self.lapic.advance(now);
        if self.console_at.is_some_and(|at| at <= now) {
            self.console.advance();
            self.console_at = self.console.next_event(now);
            self.serial_interrupt();
        }
    }

    fn next_event(&self) -> u64 {
        [
            self.pit.next_event(),
            self.lapic.next_event(),
            self.console_at,
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(u64::MAX)
    }

    fn idle(&mut self) {
        self.console.flush();
        self.console.idle();
    }

    fn take_stop(&mut self) -> Option<Stop> {
        let stop = self.stop.take();
        if stop.is_some() {
            self.console.flush();
        }
        stop
    }

    fn apic_base(&self) -> u64 {
        self.lapic.base()
    }

    fn set_apic_base(&mut self, value: u64) -> bool {
        self.lapic.set_base(value)
    }

    fn task_priority(&self) -> u8 {
        self.lapic.task_priority()
    }

    fn set_task_priority(&mut self, value: u8) {
        self.lapic.set_task_priority(value);
    }

    fn fpu_error(&mut self) {
        self.pulse(13);
    }

    fn as_any(&mut self) -> &mut dyn std::any::Any {
        self
    }
}
