//! Translating is safe code: guest bytes in, a [`Unit`] out. Nothing here touches a process.
//!
//! The stages, one module each: [`decode`] finds the unit's instructions; [`registers`] picks the host registers that
//! it may use for itself; [`write`](self::writer) copies the instructions with only what must change changed, with
//! [`counting`], [`tracing`] or [`budget`] in between; [`exits`] leads out of it. [`assembler`] knows the encodings,
//! [`region`](mod@region) joins several blocks with the branches between them, [`difference`] compares addresses without flags,
//! [`bits`] follows values through instructions that only move bits, and [`stubs`](mod@stubs) are the pieces of host code that belong to no unit.

mod assembler;
mod bits;
mod budget;
mod capture;
mod counting;
mod decode;
mod difference;
mod exits;
mod loads;
mod region;
mod registers;
mod returns;
mod semantics;
mod sides;
mod state;
mod stubs;
mod tracing;
mod writer;

pub use region::{HotBlock, region};
pub use stubs::{Stubs, jump_entry, stubs};

use crate::mode::Mode;
use crate::unit::{GuestCode, Request, Unit};

/// Why a unit could not be translated.
#[derive(Debug, thiserror::Error)]
pub enum TranslateError {
    /// iced-x86 refused to encode an instruction that it had decoded.
    #[error("cannot re-encode the instruction at {pc:#x}: {reason}")]
    Encode {
        /// Guest address.
        pc: u64,
        /// What iced-x86 said.
        reason: String,
    },
    /// The assembler refused emitted code.
    #[error("cannot assemble the unit at {pc:#x}: {reason}")]
    Assemble {
        /// Guest address of the unit.
        pc: u64,
        /// What the assembler said.
        reason: String,
    },
}

/// Translates the basic block at `request.pc`.
///
/// # Errors
/// [`TranslateError`] when an encoder refuses; guest code that can't be read or decoded is no error but a unit
/// that leaves by [`crate::unit::ExitKind::Slow`].
pub fn unit(code: &dyn GuestCode, request: &Request) -> Result<Unit, TranslateError> {
    emit(decode::block(code, request), request)
}

/// Translates the basic block at `request.pc` and those of `path` after it as one unit, as far as each follows from the one before by a
/// direct jump, a conditional branch, a call, or the return from such a call. Branches that leave the path become [`Unit::sides`].
///
/// # Errors
/// As [`unit()`].
pub fn trace(
    code: &dyn GuestCode,
    request: &Request,
    path: &[u64],
) -> Result<Unit, TranslateError> {
    emit(decode::trace(code, request, path), request)
}

fn emit(block: decode::Block, request: &Request) -> Result<Unit, TranslateError> {
    let plan = registers::assign(block, request.mode);
    let mut writer = writer::Writer::new(request);
    match request.mode {
        Mode::Counts => counting::body(&mut writer, &plan)?,
        Mode::Full => tracing::body(&mut writer, &plan)?,
        Mode::Budget => budget::body(&mut writer, &plan)?,
    }
    writer.finish(&plan)
}

#[cfg(test)]
mod tests;
