//! What a device is to the board, and the board to a device.

use std::any::Any;
use std::fmt::Debug;
use std::time::Duration;

use crate::cpu::Stop;
use crate::devices::lines::Lines;
use crate::devices::object::Object;
use crate::memory::Dma;
use crate::snapshot::Component;

/// What a device can reach while it acts. A device keeps none of it, so that it stays a plain value that can be saved.
#[derive(Debug)]
pub struct Context {
    /// Virtual nanoseconds since power-on.
    pub now: u64,
    /// Interrupt lines.
    pub lines: Lines,
    /// RAM.
    pub dma: Dma,
    /// Why the machine should stop, if a device says so.
    pub stop: Option<Stop>,
}

impl Context {
    /// At time 0, with no line connected.
    #[must_use]
    pub fn new(dma: Dma) -> Self {
        Context {
            now: 0,
            lines: Lines::default(),
            dma,
            stop: None,
        }
    }
}

/// A device.
///
/// 1. It knows its registers by offset, not where they lie. A device with registers in several places has one space of offsets for all of them,
///    which its documentation gives; the board says which place is which offset.
/// 2. An access has 1, 2, 4 or 8 bytes, little-endian, and lies wholly inside the places that the board gave to the device. What is not
///    implemented reads as the hardware would, and never fails.
/// 3. Its time is `context.now`, which never goes back. It acts by itself only in [`Device::advance`], which is called at the time of
///    [`Device::next_event`] or soon after it.
/// 4. It is a plain value apart from handles of the host (files, sockets): what it will do depends on that value, on the accesses, on the time, and
///    on what comes through handles.
/// 5. Its value is its record in a snapshot: see [`Component`], and [`crate::snapshot::State`] for devices without handles.
/// 6. A write to RAM goes through `context.dma`.
pub trait Device: Component + Any + Debug {
    /// Reads `data.len()` bytes at an offset.
    fn read(&mut self, context: &mut Context, offset: u64, data: &mut [u8]);

    /// Writes.
    fn write(&mut self, context: &mut Context, offset: u64, data: &[u8]);

    /// When it next wants to act; none where only an access can make it act.
    fn next_event(&self) -> Option<u64> {
        None
    }

    /// Acts on the time.
    fn advance(&mut self, _context: &mut Context) {}

    /// The reset line: registers are as after power-on, handles stay.
    fn reset(&mut self, context: &mut Context);

    /// The machine has nothing to do until the next event, or has stopped: output that is held back is written.
    fn flush(&mut self) {}

    /// The machine has nothing to do for so long: a device to which the host may have something to say waits for it, at most for that long, rather
    /// than let virtual time race; false for all others.
    fn wait(&mut self, _limit: Duration) -> bool {
        false
    }

    /// What it shows of itself; none where it shows nothing but its name.
    fn object(&mut self) -> Option<&mut dyn Object> {
        None
    }
}

/// Little-endian bytes as a number.
#[must_use]
pub fn number(data: &[u8]) -> u64 {
    data.iter()
        .rev()
        .fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// The low bytes of a number, as many as there is room for.
pub fn put(data: &mut [u8], value: u64) {
    for (byte, from) in data
        .iter_mut()
        .zip(value.to_le_bytes().into_iter().chain(std::iter::repeat(0)))
    {
        *byte = from;
    }
}

/// An access to a device whose registers are bytes: one after the other.
pub fn read_bytes(offset: u64, data: &mut [u8], mut register: impl FnMut(u64) -> u8) {
    for (at, byte) in (offset..).zip(data) {
        *byte = register(at);
    }
}

/// The same for writes.
pub fn write_bytes(offset: u64, data: &[u8], mut register: impl FnMut(u64, u8)) {
    for (at, &byte) in (offset..).zip(data) {
        register(at, byte);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::memory::Ram;

    /// RAM, and a context for devices under test: its clock is set by hand.
    pub(crate) fn bench() -> (Ram, Context) {
        let ram = Ram::new(1 << 20).expect("memory");
        let context = Context::new(ram.dma());
        (ram, context)
    }

    /// Reads 1, 2, 4 or 8 bytes of a device.
    pub(crate) fn read(
        device: &mut dyn Device,
        context: &mut Context,
        offset: u64,
        size: usize,
    ) -> u64 {
        let mut data = [0; 8];
        device.read(context, offset, &mut data[..size]);
        number(&data[..size])
    }

    /// Writes 1, 2, 4 or 8 bytes.
    pub(crate) fn write(
        device: &mut dyn Device,
        context: &mut Context,
        offset: u64,
        size: usize,
        value: u64,
    ) {
        device.write(context, offset, &value.to_le_bytes()[..size]);
    }

    #[test]
    fn numbers_are_little_endian() {
        assert_eq!(number(&[0x34, 0x12]), 0x1234);
        let mut data = [0; 4];
        put(&mut data, 0x1_8765_4321);
        assert_eq!(data, [0x21, 0x43, 0x65, 0x87]);
    }
}
