//! The 8254 timer, with the gate and speaker bits of port 0x61. All counting is computed from the time.
//!
//! | offset | register |
//! |---|---|
//! | 0 to 3 | counters and control word |
//! | 4 | gate and speaker (port 0x61) |

use serde::{Deserialize, Serialize};

use crate::devices::device::{Context, Device, read_bytes, write_bytes};
use crate::devices::lines::Line;
use crate::devices::object::{Object, Registers};
use crate::snapshot::State;

/// Its frequency.
pub const HZ: u64 = 1_193_182;
const SECOND: u128 = 1_000_000_000;

/// Ticks that begin before `now` (nanoseconds).
fn ticks(now: u64) -> u64 {
    (u128::from(now) * u128::from(HZ) / SECOND) as u64
}

/// The time at which tick `tick` has begun.
fn time_of(tick: u64) -> u64 {
    (u128::from(tick) * SECOND).div_ceil(u128::from(HZ)) as u64
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Channel {
    mode: u8,
    /// Low byte, high byte, both: as in the control word.
    access: u8,
    reload: u32,
    start: u64,
    /// No count was written since the mode was set.
    idle: bool,
    gate: bool,
    latch: Option<u16>,
    status: Option<u8>,
    second_read: bool,
    first_write: Option<u8>,
}

impl Channel {
    fn period(&self) -> u64 {
        u64::from(self.reload).max(1)
    }

    fn elapsed(&self, now: u64) -> u64 {
        ticks(now).saturating_sub(self.start)
    }

    fn count(&self, now: u64) -> u16 {
        if self.idle {
            return self.reload as u16;
        }
        let elapsed = self.elapsed(now);
        let value = match self.mode {
            2 => self.period() - elapsed % self.period(),
            3 => self.period() - 2 * elapsed % self.period(),
            _ => self.period().wrapping_sub(elapsed),
        };
        value as u16
    }

    fn output(&self, now: u64) -> bool {
        if self.idle {
            return self.mode != 0;
        }
        let elapsed = self.elapsed(now);
        match self.mode {
            2 => elapsed % self.period() != self.period() - 1,
            3 => elapsed % self.period() < self.period().div_ceil(2),
            4 | 5 => elapsed != self.period(),
            _ => elapsed >= self.period(),
        }
    }

    /// The next time at which the output rises.
    fn next_rise(&self, now: u64) -> Option<u64> {
        if self.idle {
            return None;
        }
        let elapsed = self.elapsed(now);
        let period = self.period();
        let rise = match self.mode {
            2 | 3 => (elapsed / period + 1) * period,
            4 | 5 => period + 1,
            _ => period,
        };
        (rise > elapsed).then(|| time_of(self.start + rise))
    }

    fn write(&mut self, now: u64, value: u8) {
        let count = match (self.access, self.first_write) {
            (1, _) => u16::from(value),
            (2, _) => u16::from(value) << 8,
            (_, None) => {
                self.first_write = Some(value);
                return;
            }
            (_, Some(low)) => u16::from(value) << 8 | u16::from(low),
        };
        self.first_write = None;
        self.reload = if count == 0 { 0x1_0000 } else { count.into() };
        self.start = ticks(now);
        self.idle = false;
    }

    fn read(&mut self, now: u64) -> u8 {
        if let Some(status) = self.status.take() {
            return status;
        }
        let value = self.latch.unwrap_or_else(|| self.count(now));
        let high = match self.access {
            1 => false,
            2 => true,
            _ => {
                let high = self.second_read;
                self.second_read = !high;
                high
            }
        };
        if self.access != 3 || high {
            self.latch = None;
        }
        value.to_le_bytes()[usize::from(high)]
    }

    fn control(&mut self, value: u8) {
        if value & 0x30 == 0 {
            return;
        }
        let mode = value >> 1 & 7;
        *self = Channel {
            mode: if mode > 5 { mode - 4 } else { mode },
            access: value >> 4 & 3,
            idle: true,
            gate: self.gate,
            reload: self.reload,
            ..Channel::default()
        };
    }
}

/// The timer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pit {
    channels: [Channel; 3],
    speaker: bool,
    fired: u64,
    line: Line,
}

impl State for Pit {}

impl Pit {
    /// A timer after power-on; counter 0 pulses the line.
    #[must_use]
    pub fn new(line: Line) -> Self {
        let channel = Channel {
            idle: true,
            gate: true,
            access: 3,
            mode: 3,
            ..Channel::default()
        };
        Pit {
            channels: [
                channel.clone(),
                channel.clone(),
                Channel {
                    gate: false,
                    ..channel
                },
            ],
            speaker: false,
            fired: 0,
            line,
        }
    }

    /// Reads one of its four ports.
    pub fn port_read(&mut self, now: u64, offset: u8) -> u8 {
        match offset {
            0..=2 => self.channels[usize::from(offset)].read(now),
            _ => 0xff,
        }
    }

    /// Writes one of its four ports.
    pub fn port_write(&mut self, now: u64, offset: u8, value: u8) {
        if offset < 3 {
            self.channels[usize::from(offset)].write(now, value);
            return;
        }
        let number = usize::from(value >> 6);
        if number < 3 {
            let count = self.channels[number].count(now);
            let channel = &mut self.channels[number];
            if value & 0x30 == 0 {
                channel.latch.get_or_insert(count);
            }
            channel.control(value);
            return;
        }
        for (number, channel) in self.channels.iter_mut().enumerate() {
            if value >> (number + 1) & 1 == 0 {
                continue;
            }
            if value & 0x20 == 0 {
                let count = channel.count(now);
                channel.latch.get_or_insert(count);
            }
            if value & 0x10 == 0 {
                let output = u8::from(channel.output(now)) << 7;
                let null = u8::from(channel.idle) << 6;
                channel.status = Some(output | null | channel.access << 4 | channel.mode << 1);
            }
        }
    }

    /// Port 0x61.
    #[must_use]
    pub fn gate(&self, now: u64) -> u8 {
        let refresh = (now / 15_085 & 1) as u8;
        u8::from(self.channels[2].gate)
            | u8::from(self.speaker) << 1
            | refresh << 4
            | u8::from(self.channels[2].output(now)) << 5
    }

    /// Sets the gate of channel 2 (a rising gate restarts it) and the speaker.
    pub fn set_gate(&mut self, now: u64, value: u8) {
        let channel = &mut self.channels[2];
        let gate = value & 1 != 0;
        if gate && !channel.gate {
            channel.start = ticks(now);
        }
        channel.gate = gate;
        self.speaker = value & 2 != 0;
    }
}

impl Registers for Pit {
    const KIND: &'static str = "isa-pit";

    const INPUTS: &'static [(&'static str, usize)] = &[("irq", 1)];

    fn drive(&mut self, context: &mut Context, _: &str, _: usize, level: bool) {
        context.lines.set(self.line, level);
    }
}

impl Device for Pit {
    fn read(&mut self, context: &mut Context, offset: u64, data: &mut [u8]) {
        let now = context.now;
        read_bytes(offset, data, |at| match at {
            0..4 => self.port_read(now, at as u8),
            _ => self.gate(now),
        });
    }

    fn write(&mut self, context: &mut Context, offset: u64, data: &[u8]) {
        let now = context.now;
        write_bytes(offset, data, |at, value| match at {
            0..4 => self.port_write(now, at as u8, value),
            _ => self.set_gate(now, value),
        });
    }

    fn next_event(&self) -> Option<u64> {
        self.channels[0].next_rise(self.fired)
    }

    fn advance(&mut self, context: &mut Context) {
        let due = self.next_event().is_some_and(|at| at <= context.now);
        self.fired = context.now;
        if due {
            context.lines.pulse(self.line);
        }
    }

    fn reset(&mut self, context: &mut Context) {
        *self = Pit {
            fired: context.now,
            ..Pit::new(self.line)
        };
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
    fn mode_2_pulses_the_line_each_period() {
        let (_ram, mut context) = bench();
        let mut pit = Pit::new(context.lines.connect(0));
        // 1193 ticks: a millisecond but 153 nanoseconds.
        for (offset, value) in [(3, 0x34), (0, 0xa9), (0, 0x04)] {
            write(&mut pit, &mut context, offset, 1, value);
        }
        let mut times = Vec::new();
        for _ in 0..3 {
            context.now = pit.next_event().expect("it runs");
            times.push(context.now);
            pit.advance(&mut context);
            assert_eq!(context.lines.take_changes(), [(0, true), (0, false)]);
        }
        assert_eq!(times, [999_848, 1_999_695, 2_999_543]);
    }

    #[test]
    fn counter_2_counts_down_behind_its_gate() {
        let (_ram, mut context) = bench();
        let mut pit = Pit::new(context.lines.connect(0));
        for (offset, value) in [(4, 1), (3, 0xb0), (2, 0xff), (2, 0xff)] {
            write(&mut pit, &mut context, offset, 1, value);
        }
        assert_eq!(read(&mut pit, &mut context, 4, 1) & 0x20, 0);
        context.now = 10_000_000;
        write(&mut pit, &mut context, 3, 1, 0x80);
        let low = read(&mut pit, &mut context, 2, 1);
        let high = read(&mut pit, &mut context, 2, 1);
        assert_eq!(low | high << 8, 0xffff - 11_931);
        context.now = 60_000_000;
        assert_eq!(
            read(&mut pit, &mut context, 4, 1) & 0x20,
            0x20,
            "it is over"
        );
    }
}
