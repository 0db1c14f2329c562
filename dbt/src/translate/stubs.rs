//! Pieces of host code that belong to no unit: what indirect branches and returns arrive at.
//!
//! On arrival the guest's target is in [`TARGET`], the guest's rcx in its home, and rcx is free. Because the lookup
//! tables are indexed by part of the address only, each entry checks the whole of it, without touching the flags:
//! what is left when the address is [subtracted](Difference), `jrcxz` sees.

use super::TranslateError;
use super::assembler::{Assembler, INT3, point};
use super::difference::Difference;
use super::registers::RCX;
use crate::layout::TARGET;

/// The stubs that every zone has once.
#[derive(Clone, Debug)]
pub struct Stubs {
    /// Host code.
    pub code: Vec<u8>,
    /// Offset of the `int3` that an indirect jump or call reaches when its target is in no table.
    pub jump_miss: u32,
}

/// Emits a zone's stubs.
pub fn stubs() -> Stubs {
    Stubs {
        code: vec![INT3, 0x90, 0x90, 0x90],
        jump_miss: 0,
    }
}

/// Emits the entry of indirect jumps to guest address `pc`, whose unit is at `unit`; `host` is where the entry will
/// lie. A jump to another address goes on to `miss`, the zone's `jump_miss`.
///
/// # Errors
/// [`TranslateError`] when the assembler refuses.
pub fn jump_entry(pc: u64, unit: u64, miss: u64, host: u64) -> Result<Vec<u8>, TranslateError> {
    let mut asm = Assembler::new(host);
    let to_miss = check(&mut asm, pc);
    let to_unit = asm.relative(&[0xe9]);
    let mut code = asm.finish(pc)?;
    point(&mut code, to_miss, miss.wrapping_sub(host) as u32);
    point(&mut code, to_unit, unit.wrapping_sub(host) as u32);
    Ok(code)
}

/// Emits the check that [`TARGET`] is `pc`, after which rcx is the guest's again. Returns the offset of the displacement
/// that leads to a miss (with rcx still at home).
fn check(asm: &mut Assembler, pc: u64) -> u32 {
    asm.load_context(RCX, TARGET);
    Difference::from(pc).take(asm);
    asm.skip_jump_if_rcx_zero();
    let to_miss = asm.relative(&[0xe9]);
    asm.restore(RCX);
    to_miss
}
