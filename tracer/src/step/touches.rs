//! Whether an instruction touches a place in memory, as the shared facts have it.

use fits_stats::facts::{access_bytes, reads, writes};
use iced_x86::{OpKind, Register};

use super::decoded::Decoded;
use super::values::{View, general};
use crate::ptrace::Registers;

const DIRECTION: u64 = 1 << 10;

/// Whether the instruction reads (`write` false) or writes a byte of `address .. address + bytes`. A `rep` instruction touches what its iterations
/// between the two states touch.
///
/// Elements of gathers and scatters are not looked at.
#[must_use]
pub fn touches(
    decoded: &Decoded,
    before: &Registers,
    after: &Registers,
    address: u64,
    bytes: u64,
    write: bool,
) -> bool {
    let view = View {
        registers: before,
        xstate: None,
    };
    let count = if decoded.facts.rep {
        iterations(decoded, before, after)
    } else {
        1
    };
    let backward = decoded.facts.rep && before.eflags & DIRECTION != 0;
    decoded.facts.memory.iter().any(|used| {
        let wanted = if write {
            writes(used.access())
        } else {
            reads(used.access())
        };
        let size = access_bytes(&decoded.instruction, used) as u64;
        let total = size.saturating_mul(count);
        let start = used.virtual_address(0, |register, _, _| Some(view.address_part(register)));
        let Some(start) = start.filter(|_| wanted && total > 0) else {
            return false;
        };
        let start = if backward {
            start.wrapping_sub(total - size)
        } else {
            start
        };
        // Both ranges may wrap around.
        address.wrapping_sub(start) < total || start.wrapping_sub(address) < bytes
    })
}

/// Iterations of a `rep`: what its counter lost.
fn iterations(decoded: &Decoded, before: &Registers, after: &Registers) -> u64 {
    let counter = counter(decoded);
    let lost = general(before, counter).wrapping_sub(general(after, counter));
    if counter == Register::ECX {
        lost & 0xffff_ffff
    } else {
        lost
    }
}

/// The register that counts the iterations of a `rep`.
fn counter(decoded: &Decoded) -> Register {
    use OpKind::{MemoryESEDI, MemorySegEDI, MemorySegESI};
    let instruction = &decoded.instruction;
    let narrow = (0..instruction.op_count()).any(|operand| {
        matches!(
            instruction.op_kind(operand),
            MemoryESEDI | MemorySegEDI | MemorySegESI
        )
    });
    if narrow { Register::ECX } else { Register::RCX }
}

/// The registers before a `rep` with its counter run down: what it would touch if nothing ended it before.
#[must_use]
pub fn run_down(decoded: &Decoded, before: &Registers) -> Registers {
    let mut after = *before;
    if counter(decoded) == Register::ECX {
        after.rcx &= !0xffff_ffff;
    } else {
        after.rcx = 0;
    }
    after
}

#[cfg(test)]
mod tests {
    use super::*;
    use iced_x86::InstructionInfoFactory;

    fn decoded(bytes: &[u8]) -> Decoded {
        Decoded::new(0x1000, bytes, &mut InstructionInfoFactory::new()).expect("decodes")
    }

    #[test]
    fn ranges_of_plain_and_repeated_accesses() {
        let mut before = zeroed();
        before.rbx = 0x5000;
        let load = decoded(&[0x48, 0x8b, 0x43, 0x08]); // mov rax,[rbx+8]
        for (address, expected) in [
            (0x5007, false),
            (0x5008, true),
            (0x500f, true),
            (0x5010, false),
        ] {
            assert_eq!(
                touches(&load, &before, &before, address, 1, false),
                expected
            );
        }
        assert!(touches(&load, &before, &before, 0x5004, 8, false));
        assert!(!touches(&load, &before, &before, 0x5008, 1, true));
        let stos = decoded(&[0xf3, 0xab]); // rep stosd
        before.rdi = 0x6000;
        before.rcx = 4;
        let after = run_down(&stos, &before);
        assert!(touches(&stos, &before, &after, 0x600f, 1, true));
        assert!(!touches(&stos, &before, &after, 0x6010, 1, true));
        assert!(!touches(&stos, &before, &before, 0x6000, 1, true));
        before.eflags = DIRECTION;
        assert!(touches(&stos, &before, &after, 0x5ff4, 1, true));
        assert!(!touches(&stos, &before, &after, 0x6004, 1, true));
    }

    fn zeroed() -> Registers {
        Registers {
            r15: 0,
            r14: 0,
            r13: 0,
            r12: 0,
            rbp: 0,
            rbx: 0,
            r11: 0,
            r10: 0,
            r9: 0,
            r8: 0,
            rax: 0,
            rcx: 0,
            rdx: 0,
            rsi: 0,
            rdi: 0,
            orig_rax: 0,
            rip: 0,
            cs: 0,
            eflags: 0,
            rsp: 0,
            ss: 0,
            fs_base: 0,
            gs_base: 0,
            ds: 0,
            es: 0,
            fs: 0,
            gs: 0,
        }
    }
}
