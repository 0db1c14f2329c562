//! Offsets from the context, which is what translated code has in a register.

use super::enter::Exchange;
use super::jumps;
use super::mode::Mode;
use crate::cpu::state::{Context, Cpu};
use crate::cpu::tlb;
use std::mem::offset_of;

const fn from_context(offset: usize) -> i32 {
    offset as i32 - offset_of!(Cpu, ctx) as i32
}

/// From the context to the processor.
pub(super) const PROCESSOR: i32 = -(offset_of!(Cpu, ctx) as i32);
pub(super) const STATUS: i32 = offset_of!(Context, status) as i32;
pub(super) const MXCSR: i32 = offset_of!(Context, mxcsr) as i32;
pub(super) const HOST_MXCSR: i32 = offset_of!(Context, host_mxcsr) as i32;
pub(super) const YMM: i32 = offset_of!(Context, ymm) as i32;
pub(super) const RIP: i32 = 8 * crate::cpu::state::RIP as i32;
pub(super) const BUDGET: i32 =
    from_context(offset_of!(Cpu, exchange) + offset_of!(Exchange, budget));
pub(super) const LINK: i32 = from_context(offset_of!(Cpu, exchange) + offset_of!(Exchange, link));
pub(super) const RFLAGS: i32 = from_context(offset_of!(Cpu, rflags));
pub(super) const CLASS: i32 = from_context(offset_of!(Cpu, class));
pub(super) const PENDING: i32 = from_context(offset_of!(Cpu, pending));
const SEGMENTS: i32 = from_context(offset_of!(Cpu, lin));
const TLB: i32 = from_context(offset_of!(Cpu, tlb));
const JUMPS: i32 = from_context(offset_of!(Cpu, jumps));

const _: () = assert!(offset_of!(Context, regs) == 0);
const _: () = assert!(size_of::<tlb::Entry>() == 16);
const _: () = assert!(size_of::<tlb::Lines>() == 16 && offset_of!(tlb::Lines, watched) == 0);
const _: () = assert!(size_of::<jumps::Jump>() == 32);

/// The linear base of a segment.
pub(super) fn segment_base(segment: usize) -> i32 {
    SEGMENTS + 8 * segment as i32
}

/// A table of data accesses.
pub(super) const fn data_table(class: usize, write: bool) -> i32 {
    TLB + tlb::data_table(class, write) as i32
}

/// The lines beside a table of data accesses.
pub(super) const fn lines_table(class: usize, write: bool) -> i32 {
    TLB + tlb::lines_table(class, write) as i32
}

/// The entry of the fetch table for an address.
pub(super) fn fetch_entry(mode: Mode, linear: u64) -> i32 {
    fetch_table(mode) + (size_of::<tlb::Entry>() * tlb::Tlb::index(linear)) as i32
}

/// The table of fetches.
pub(super) fn fetch_table(mode: Mode) -> i32 {
    TLB + tlb::fetch_table(mode.user()) as i32
}

/// The table of indirect jumps.
pub(super) fn jump_table(number: usize) -> i32 {
    JUMPS + jumps::table(number) as i32
}
