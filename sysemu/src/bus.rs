//! The boundary between the processor and everything that is neither processor nor memory.

use crate::snapshot::{Loader, Records, SnapshotError};

/// What the processor needs of the rest of the machine. All times are virtual, in nanoseconds.
pub trait Bus {
    /// Reads a port; `size` is 1, 2 or 4.
    fn port_in(&mut self, now: u64, port: u16, size: u8) -> u32;
    /// Writes a port.
    fn port_out(&mut self, now: u64, port: u16, size: u8, value: u32);
    /// Reads memory that is no RAM; `size` is 1, 2, 4 or 8.
    fn mmio_read(&mut self, now: u64, address: u64, size: u8) -> u64;
    /// Writes memory that is no RAM.
    fn mmio_write(&mut self, now: u64, address: u64, size: u8, value: u64);
    /// The interrupt that the processor should take now, if any is pending; asking does not take it.
    fn interrupt_pending(&self) -> bool;
    /// Takes the interrupt: its vector.
    fn acknowledge(&mut self, now: u64) -> Option<u8>;
    /// Lets devices act on the time.
    fn advance(&mut self, now: u64);
    /// When a device next wants [`Bus::advance`].
    fn next_event(&self) -> u64;
    /// The processor is halted until the next event.
    fn idle(&mut self) {}
    /// Output that is held back is written.
    fn flush(&mut self) {}
    /// A non-maskable interrupt has arrived since the last time.
    fn take_nmi(&mut self) -> bool {
        false
    }
    /// Whether anybody is at that physical address.
    fn answers(&self, _address: u64) -> bool {
        false
    }
    /// The reset line.
    fn reset(&mut self, _now: u64) {}
    /// Why the machine should stop, if a device says so.
    fn take_stop(&mut self) -> Option<crate::cpu::Stop>;
    /// The base-address register of the local APIC.
    fn apic_base(&self) -> u64;
    /// Sets it; false where the value is refused.
    fn set_apic_base(&mut self, value: u64) -> bool;
    /// Task priority, as CR8 shows it.
    fn task_priority(&self) -> u8;
    /// Sets it.
    fn set_task_priority(&mut self, value: u8);
    /// The x87 error output (the legacy way of reporting, CR0.NE clear).
    fn fpu_error(&mut self);
    /// Adds the state of everything on it to a snapshot, one record for each component.
    fn save(&mut self, records: &mut Records);
    /// Gives every component its state.
    ///
    /// # Errors
    /// When a record is missing, of another version or damaged: the bus is then not to be used any more.
    fn load(&mut self, loader: &mut Loader<'_>) -> Result<(), SnapshotError>;
    /// For tests and tools that know which board it is.
    fn as_any(&mut self) -> &mut dyn std::any::Any;
}

/// A bus with nothing on it: ports and memory read all ones.
#[derive(Debug, Default)]
pub struct EmptyBus;

impl Bus for EmptyBus {
    fn port_in(&mut self, _: u64, _: u16, _: u8) -> u32 {
        u32::MAX
    }
    fn port_out(&mut self, _: u64, _: u16, _: u8, _: u32) {}
    fn mmio_read(&mut self, _: u64, _: u64, _: u8) -> u64 {
        u64::MAX
    }
    fn mmio_write(&mut self, _: u64, _: u64, _: u8, _: u64) {}
    fn interrupt_pending(&self) -> bool {
        false
    }
    fn acknowledge(&mut self, _: u64) -> Option<u8> {
        None
    }
    fn advance(&mut self, _: u64) {}
    fn next_event(&self) -> u64 {
        u64::MAX
    }
    fn take_stop(&mut self) -> Option<crate::cpu::Stop> {
        None
    }
    fn apic_base(&self) -> u64 {
        0
    }
    fn set_apic_base(&mut self, _: u64) -> bool {
        false
    }
    fn task_priority(&self) -> u8 {
        0
    }
    fn set_task_priority(&mut self, _: u8) {}
    fn fpu_error(&mut self) {}
    fn save(&mut self, _: &mut Records) {}
    fn load(&mut self, _: &mut Loader<'_>) -> Result<(), SnapshotError> {
        Ok(())
    }
    fn as_any(&mut self) -> &mut dyn std::any::Any {
        self
    }
}
