//! What an instruction raises instead of completing.

use std::num::NonZeroU32;

/// An exception of the architecture, or the order to stop the machine; one register wide, so that handlers return it cheaply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap(NonZeroU32);

const PRESENT: u32 = 1 << 9;
const HAS_CODE: u32 = 1 << 8;
const STOP: u32 = 1 << 10;

/// Divide error.
pub const DE: u8 = 0;
/// Debug.
pub const DB: u8 = 1;
/// Non-maskable interrupt.
pub const NMI: u8 = 2;
/// Breakpoint.
pub const BP: u8 = 3;
/// Overflow.
pub const OF: u8 = 4;
/// Bound range exceeded.
pub const BR: u8 = 5;
/// Invalid opcode.
pub const UD: u8 = 6;
/// Device not available.
pub const NM: u8 = 7;
/// Double fault.
pub const DF: u8 = 8;
/// Invalid task-state segment.
pub const TS: u8 = 10;
/// Segment not present.
pub const NP: u8 = 11;
/// Stack fault.
pub const SS: u8 = 12;
/// General protection.
pub const GP: u8 = 13;
/// Page fault.
pub const PF: u8 = 14;
/// x87 floating-point error.
pub const MF: u8 = 16;
/// Alignment check.
pub const AC: u8 = 17;
/// Machine check.
pub const MC: u8 = 18;
/// SIMD floating-point error.
pub const XM: u8 = 19;

impl Trap {
    /// An exception without an error code.
    #[must_use]
    pub const fn plain(vector: u8) -> Self {
        Trap::pack(PRESENT | vector as u32)
    }

    /// An exception with an error code.
    #[must_use]
    pub const fn code(vector: u8, code: u16) -> Self {
        Trap::pack(PRESENT | HAS_CODE | vector as u32 | (code as u32) << 16)
    }

    /// The machine must stop: the reason is in the processor.
    #[must_use]
    pub(crate) const fn stop() -> Self {
        Trap::pack(STOP)
    }

    const fn pack(bits: u32) -> Self {
        match NonZeroU32::new(bits) {
            Some(bits) => Trap(bits),
            None => panic!("a trap has at least one bit set"),
        }
    }

    /// Whether it is no exception but the order to stop.
    #[must_use]
    pub fn is_stop(self) -> bool {
        self.0.get() & STOP != 0
    }

    /// The exception's number.
    #[must_use]
    pub fn vector(self) -> u8 {
        self.0.get() as u8
    }

    /// The error code, if the exception has one.
    #[must_use]
    pub fn error_code(self) -> Option<u16> {
        (self.0.get() & HAS_CODE != 0).then_some((self.0.get() >> 16) as u16)
    }
}

/// `#UD`.
pub(crate) const INVALID_OPCODE: Trap = Trap::plain(UD);
/// `#GP(0)`.
pub(crate) const GP0: Trap = Trap::code(GP, 0);
/// `#NM`.
pub(crate) const NO_DEVICE: Trap = Trap::plain(NM);
