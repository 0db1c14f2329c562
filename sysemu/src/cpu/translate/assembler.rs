//! The code of one block while it is made: bytes, labels, and where the guest's status flags are.

use super::layout;
use super::registers::{CONTEXT, FIRST, SECOND};
use dynasmrt::{
    AssemblyOffset, DynamicLabel, DynasmApi, DynasmLabelApi, VecAssembler, dynasm,
    x64::X64Relocation,
};
use iced_x86::{Encoder, Instruction};

/// Where the guest's status flags are; at least one of the two is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flags {
    /// In `ax`, packed.
    packed: bool,
    /// In the host's own flags.
    own: bool,
}

/// Code being made.
#[derive(Debug)]
pub(super) struct Assembler {
    pub(super) ops: VecAssembler<X64Relocation>,
    /// Where in the code memory it will lie.
    start: u32,
    pub(super) flags: Flags,
}

impl Assembler {
    /// Code that will lie at `start`; the flags are packed.
    pub(super) fn new(start: u32) -> Self {
        Assembler {
            ops: VecAssembler::new(0),
            start,
            flags: Flags {
                packed: true,
                own: false,
            },
        }
    }

    /// The finished code.
    pub(super) fn finish(self) -> Option<Vec<u8>> {
        self.ops.finalize().ok()
    }

    pub(super) fn here(&self) -> u32 {
        let AssemblyOffset(offset) = self.ops.offset();
        self.start + offset as u32
    }

    pub(super) fn label(&mut self) -> DynamicLabel {
        self.ops.new_dynamic_label()
    }

    pub(super) fn place(&mut self, label: DynamicLabel) {
        dynasm!(self.ops; .arch x64; =>label);
    }

    /// An opcode and the distance to a place in the code memory.
    fn relative(&mut self, opcode: &[u8], target: u32) {
        self.ops.extend(opcode);
        let behind = self.here() + 4;
        self.ops.push_i32(target.wrapping_sub(behind) as i32);
    }

    pub(super) fn call_gate(&mut self, gate: u32) {
        self.relative(&[0xe8], gate);
    }

    pub(super) fn jump_if_not_equal(&mut self, target: u32) {
        self.relative(&[0x0f, 0x85], target);
    }

    pub(super) fn start(&self) -> u32 {
        self.start
    }

    /// The flags are nowhere but in the host's own.
    pub(super) fn flags_own_only(&self) -> bool {
        !self.flags.packed
    }

    pub(super) fn jump_gate(&mut self, gate: u32) {
        self.relative(&[0xe9], gate);
    }

    /// An instruction whose operands are the host's.
    pub(super) fn bytes(&mut self, code: &[u8]) {
        self.ops.extend(code);
    }

    /// The flags will be needed after they were lost.
    pub(super) fn pack_flags(&mut self) {
        if !self.flags.packed {
            dynasm!(self.ops; .arch x64; lahf; seto al);
            self.flags.packed = true;
        }
    }

    /// What follows changes the host's flags, which are not the guest's any more.
    pub(super) fn lose_flags(&mut self) {
        self.pack_flags();
        self.flags.own = false;
    }

    /// The guest's flags as the host's own.
    pub(super) fn own_flags(&mut self) {
        if !self.flags.own {
            dynasm!(self.ops; .arch x64; add al, 127; sahf);
            self.flags = Flags {
                packed: false,
                own: true,
            };
        }
    }

    /// Both.
    pub(super) fn both_flags(&mut self) {
        self.own_flags();
        if !self.flags.packed {
            dynasm!(self.ops; .arch x64; lahf; seto al);
            self.flags.packed = true;
        }
    }

    /// An instruction of the guest has just set them.
    pub(super) fn flags_are_own(&mut self) {
        self.flags = Flags {
            packed: false,
            own: true,
        };
    }

    /// They are only packed from here on (another path joins).
    pub(super) fn flags_are_packed(&mut self) {
        self.flags = Flags {
            packed: true,
            own: false,
        };
    }

    #[expect(
        clippy::useless_conversion,
        reason = "dynasm converts the numbers of registers"
    )]
    pub(super) fn load_guest(&mut self, host: u8, guest: u8) {
        dynasm!(self.ops; .arch x64; mov Rq(host), [BYTE Rq(CONTEXT) + 8 * guest as i8]);
    }

    #[expect(
        clippy::useless_conversion,
        reason = "dynasm converts the numbers of registers"
    )]
    pub(super) fn store_guest(&mut self, guest: u8, host: u8) {
        dynasm!(self.ops; .arch x64; mov [BYTE Rq(CONTEXT) + 8 * guest as i8], Rq(host));
    }

    /// A constant; the flags stay.
    #[expect(
        clippy::useless_conversion,
        reason = "dynasm converts the numbers of registers"
    )]
    pub(super) fn constant(&mut self, host: u8, value: u64) {
        if let Ok(small) = u32::try_from(value) {
            dynasm!(self.ops; .arch x64; mov Rd(host), DWORD small as i32);
        } else if let Ok(small) = i32::try_from(value as i64) {
            dynasm!(self.ops; .arch x64; mov Rq(host), DWORD small);
        } else {
            dynasm!(self.ops; .arch x64; mov Rq(host), QWORD value as i64);
        }
    }

    #[expect(
        clippy::useless_conversion,
        reason = "dynasm converts the numbers of registers"
    )]
    pub(super) fn copy(&mut self, to: u8, from: u8) {
        if to != from {
            dynasm!(self.ops; .arch x64; mov Rq(to), Rq(from));
        }
    }

    /// Stores the guest's instruction pointer, by way of the first scratch register.
    #[expect(
        clippy::useless_conversion,
        reason = "dynasm converts the numbers of registers"
    )]
    pub(super) fn store_rip(&mut self, rip: u64) {
        if let Ok(small) = i32::try_from(rip as i64) {
            dynasm!(self.ops; .arch x64; mov QWORD [Rq(CONTEXT) + layout::RIP], small);
        } else {
            self.constant(FIRST, rip);
            dynasm!(self.ops; .arch x64; mov [Rq(CONTEXT) + layout::RIP], Rq(FIRST));
        }
    }

    /// The scratch registers' sum in the first one.
    pub(super) fn fold(&mut self) {
        debug_assert_eq!((FIRST, SECOND), (11, 15));
        dynasm!(self.ops; .arch x64; lea r11, [r15 + r11]);
    }
}

/// The bytes of an instruction with the host's operands; none where there is no such encoding.
pub(super) fn encode(instruction: &Instruction) -> Option<Vec<u8>> {
    let mut encoder = Encoder::new(64);
    encoder.encode(instruction, 0).ok()?;
    Some(encoder.take_buffer())
}
