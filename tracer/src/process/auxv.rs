//! The initial stack: argument count, pointers, and the auxiliary vector behind them.

use crate::error::Result;
use crate::ptrace::Memory;

/// One entry of the auxiliary vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuxEntry {
    /// Where it lies: the kind at this address, the value 8 bytes on.
    pub address: u64,
    /// `AT_…`.
    pub kind: u64,
    /// Its value.
    pub value: u64,
}

/// What the kernel put on the stack of a new program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitialStack {
    /// Number of arguments, the program's name included.
    pub argc: u64,
    /// The auxiliary vector without its end mark.
    pub auxv: Vec<AuxEntry>,
}

/// More than any kernel has; the arrays before it are bounded by the stack's end.
const AUX_LIMIT: usize = 64;

impl InitialStack {
    /// Reads it from the stack pointer that the program starts with.
    ///
    /// # Errors
    /// When it is not readable.
    pub fn read(memory: &Memory, rsp: u64) -> Result<Self> {
        let argc = memory.read_u64(rsp)?;
        let mut at = rsp.wrapping_add(16).wrapping_add(argc.wrapping_mul(8));
        while memory.read_u64(at)? != 0 {
            at += 8;
        }
        at += 8;
        let mut auxv = Vec::new();
        while auxv.len() < AUX_LIMIT {
            let kind = memory.read_u64(at)?;
            if kind == 0 {
                break;
            }
            auxv.push(AuxEntry {
                address: at,
                kind,
                value: memory.read_u64(at + 8)?,
            });
            at += 16;
        }
        Ok(Self { argc, auxv })
    }
}
