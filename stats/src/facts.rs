//! What one instruction reads and writes: the single definition that the backends and the collector share.
//!
//! Two backends may differ in *how often* they saw an instruction, never in what it touches, because both
//! ask this module. The facts are those of iced-x86 (semantics, section 5), plus the few rules that
//! iced-x86 has no say in: which operands have one well-defined value ([`Operand`]), and which writes end
//! the life of a register's old value ([`Facts::kills`]).

use crate::register::Reg;
use iced_x86::{
    Code, FlowControl, Instruction, InstructionInfoFactory, MemorySize, Mnemonic, OpAccess, OpKind,
    Register, RflagsBits, UsedMemory,
};

/// The longest basic block, in instructions: one longer is cut here, by every backend alike.
pub const MAX_BLOCK: u32 = 64;

/// The widest operand whose bits are counted, in bytes; wider ones (`fxsave`, `xsave`) are left out.
pub const MAX_OPERAND: usize = 64;

/// What an operand is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperandKind {
    /// A register, as named in the instruction (`eax`, not `rax`).
    Register(Register),
    /// A memory operand.
    Memory,
}

/// One explicit operand whose bits are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operand {
    /// Position in the instruction, first operand 0.
    pub index: u8,
    /// Register or memory.
    pub kind: OperandKind,
    /// Width in bytes, at most [`MAX_OPERAND`].
    pub bytes: u8,
    /// Its value before the instruction counts.
    pub read: bool,
    /// Its value after the instruction counts.
    pub written: bool,
}

impl Operand {
    /// The text of the `operand` column: position and name, `0:rax` or `1:mem`.
    pub fn label(&self) -> String {
        match self.kind {
            OperandKind::Register(register) => {
                format!("{}:{}", self.index, format!("{register:?}").to_lowercase())
            }
            OperandKind::Memory => format!("{}:mem", self.index),
        }
    }

    /// The accesses that have a value, in the order of every list of values: read, then written.
    pub fn accesses(&self) -> impl Iterator<Item = Access> + use<> {
        let read = self.read.then_some(Access::Read);
        read.into_iter()
            .chain(self.written.then_some(Access::Written))
    }
}

/// Which of an operand's two values is meant.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub enum Access {
    /// The value that the instruction read.
    Read,
    /// The value that the instruction left.
    Written,
}

impl Access {
    /// The text of the `access` column.
    pub fn name(self) -> &'static str {
        match self {
            Access::Read => "read",
            Access::Written => "written",
        }
    }
}

/// Everything that counting needs to know about one instruction.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Registers and flags read, each once, ascending.
    pub reads: Vec<Reg>,
    /// Registers and flags written, each once, ascending.
    pub writes: Vec<Reg>,
    /// The writes that leave nothing of the register's old value: unconditional, and of at least 4 bytes
    /// of a general register or 16 bytes of a vector register. Others are transparent to lifetimes.
    pub kills: Vec<Reg>,
    /// The explicit operands whose values are counted.
    pub operands: Vec<Operand>,
    /// Memory accesses, implicit ones (`push`, `call`, strings) included; addresses are formed from the
    /// register values before the instruction. Gathers and scatters are left out.
    pub memory: Vec<UsedMemory>,
    /// The basic block ends with this instruction: any branch, call, return, system call or interrupt.
    pub ends_block: bool,
    /// A string instruction with a `rep`, `repe` or `repne` prefix.
    pub rep: bool,
}

impl Facts {
    /// The facts about `instruction`. `factory` is only a cache that iced-x86 wants to have reused.
    pub fn new(instruction: &Instruction, factory: &mut InstructionInfoFactory) -> Self {
        let info = factory.info(instruction);
        let mut facts = Facts {
            ends_block: ends_block(instruction),
            rep: is_rep(instruction),
            ..Facts::default()
        };
        for used in info.used_registers() {
            facts.add_register(used.register(), used.access());
        }
        facts.add_flags(instruction);
        for set in [&mut facts.reads, &mut facts.writes, &mut facts.kills] {
            set.sort_unstable();
            set.dedup();
        }
        facts.memory = info
            .used_memory()
            .iter()
            .filter(|used| used.vsib_size() == 0)
            .copied()
            .collect();
        for index in 0..instruction.op_count() {
            facts.operands.extend(operand(
                instruction,
                index,
                info.op_access(index),
                facts.rep,
            ));
        }
        facts
    }

    fn add_register(&mut self, register: Register, access: OpAccess) {
        let Some(full) = Reg::of(register) else {
            return;
        };
        if reads(access) {
            self.reads.push(full);
        }
        if writes(access) {
            self.writes.push(full);
            let whole = if register.is_vector_register() { 16 } else { 4 };
            let wide = register.size() >= whole || register.is_segment_register();
            if wide && matches!(access, OpAccess::Write | OpAccess::ReadWrite) {
                self.kills.push(full);
            }
        }
    }

    fn add_flags(&mut self, instruction: &Instruction) {
        let modified = instruction.rflags_modified();
        self.reads.extend(Reg::flags(instruction.rflags_read()));
        self.writes.extend(Reg::flags(modified));
        // A shift by zero leaves the flags: iced-x86 can't know the count, so only certain writes kill.
        if !may_leave_flags(instruction) {
            self.kills.extend(Reg::flags(modified));
        }
    }
}

/// Whether an access counts as a read (semantics, section 5).
pub fn reads(access: OpAccess) -> bool {
    use OpAccess::{CondRead, Read, ReadCondWrite, ReadWrite};
    matches!(access, Read | CondRead | ReadWrite | ReadCondWrite)
}

/// Whether an access counts as a write (semantics, section 5).
pub fn writes(access: OpAccess) -> bool {
    use OpAccess::{CondWrite, ReadCondWrite, ReadWrite, Write};
    matches!(access, Write | CondWrite | ReadWrite | ReadCondWrite)
}

/// Whether a basic block ends with `instruction`.
pub fn ends_block(instruction: &Instruction) -> bool {
    instruction.flow_control() != FlowControl::Next || instruction.mnemonic() == Mnemonic::Syscall
}

/// Whether `instruction` is a string instruction that repeats.
pub fn is_rep(instruction: &Instruction) -> bool {
    instruction.is_string_instruction()
        && (instruction.has_rep_prefix() || instruction.has_repne_prefix())
}

/// Bytes that one access to `used`, one of [`Facts::memory`] of `instruction`, touches: of one element for a `rep`, whose total
/// iced-x86 can't know.
pub fn access_bytes(instruction: &Instruction, used: &UsedMemory) -> usize {
    let size = if is_rep(instruction) {
        instruction.memory_size()
    } else {
        used.memory_size()
    };
    size.size()
}

/// Whether it leaves the flags alone under a condition: a shift by a register that holds zero, a repeated string of no elements.
pub fn may_leave_flags(instruction: &Instruction) -> bool {
    use Mnemonic::{Rcl, Rcr, Rol, Ror, Sal, Sar, Shl, Shld, Shr, Shrd};
    let shift = matches!(
        instruction.mnemonic(),
        Rcl | Rcr | Rol | Ror | Sal | Sar | Shl | Shld | Shr | Shrd
    );
    let by_register =
        instruction.op_kind(instruction.op_count().saturating_sub(1)) == OpKind::Register;
    (shift && by_register) || is_rep(instruction)
}

fn operand(instruction: &Instruction, index: u32, access: OpAccess, rep: bool) -> Option<Operand> {
    let (read, written) = (reads(access), writes(access));
    if !read && !written {
        return None;
    }
    let (kind, bytes) = match instruction.op_kind(index) {
        OpKind::Register => {
            let register = instruction.op_register(index);
            (OperandKind::Register(register), register.size())
        }
        OpKind::Memory
        | OpKind::MemorySegSI
        | OpKind::MemorySegESI
        | OpKind::MemorySegRSI
        | OpKind::MemorySegDI
        | OpKind::MemorySegEDI
        | OpKind::MemorySegRDI
        | OpKind::MemoryESDI
        | OpKind::MemoryESEDI
        | OpKind::MemoryESRDI => {
            if rep || !has_one_value(instruction) {
                return None;
            }
            (OperandKind::Memory, memory_bytes(instruction))
        }
        _ => return None,
    };
    let countable = bytes != 0 && bytes <= MAX_OPERAND;
    countable.then_some(Operand {
        index: index as u8,
        kind,
        bytes: bytes as u8,
        read,
        written,
    })
}

/// The size of the memory operand in bytes; 0 where it has no fixed one.
fn memory_bytes(instruction: &Instruction) -> usize {
    match instruction.memory_size() {
        MemorySize::Unknown => 0,
        size => size.size(),
    }
}

/// Whether the memory operand is one value at its nominal address: not gathered or scattered, not under a
/// mask (whose unselected elements may be unmapped), not a bit string indexed by a register.
fn has_one_value(instruction: &Instruction) -> bool {
    use Mnemonic::{
        Bt, Btc, Btr, Bts, Maskmovdqu, Maskmovq, Vmaskmovdqu, Vmaskmovpd, Vmaskmovps, Vpmaskmovd,
        Vpmaskmovq, Xlatb,
    };
    let mnemonic = instruction.mnemonic();
    let bit_string =
        matches!(mnemonic, Bt | Btc | Btr | Bts) && instruction.op1_kind() == OpKind::Register;
    let masked = instruction.has_op_mask()
        || matches!(
            mnemonic,
            Maskmovdqu | Maskmovq | Vmaskmovdqu | Vmaskmovpd | Vmaskmovps | Vpmaskmovd | Vpmaskmovq
        );
    let port = matches!(instruction.code(), Code::Insb_m8_DX | Code::Outsb_DX_m8);
    !(bit_string || masked || port || instruction.is_vsib() || mnemonic == Xlatb)
}

/// The arithmetic flags that an instruction can read or write, as [`RflagsBits`].
pub const FLAG_BITS: [u32; 14] = [
    RflagsBits::CF,
    RflagsBits::PF,
    RflagsBits::AF,
    RflagsBits::ZF,
    RflagsBits::SF,
    RflagsBits::DF,
    RflagsBits::OF,
    RflagsBits::IF,
    RflagsBits::AC,
    RflagsBits::UIF,
    RflagsBits::C0,
    RflagsBits::C1,
    RflagsBits::C2,
    RflagsBits::C3,
];

#[cfg(test)]
mod tests {
    use super::*;
    use iced_x86::{Decoder, DecoderOptions};

    fn facts(bytes: &[u8]) -> Facts {
        let instruction = Decoder::with_ip(64, bytes, 0x1000, DecoderOptions::NONE).decode();
        Facts::new(&instruction, &mut InstructionInfoFactory::new())
    }

    fn names(set: &[Reg]) -> Vec<&'static str> {
        set.iter().map(|reg| reg.name()).collect()
    }

    #[test]
    fn add_reads_and_writes_its_destination_and_all_flags() {
        let add = facts(&[0x48, 0x01, 0xd8]); // add rax,rbx
        assert_eq!(names(&add.reads), ["rax", "rbx"]);
        assert_eq!(
            names(&add.writes),
            ["rax", "cf", "pf", "af", "zf", "sf", "of"]
        );
        assert_eq!(add.kills, add.writes);
        assert_eq!(add.operands.len(), 2);
        assert!(add.operands[0].read && add.operands[0].written);
        assert!(add.operands[1].read && !add.operands[1].written);
        assert_eq!(add.operands[1].label(), "1:rbx");
    }

    #[test]
    fn a_byte_write_does_not_kill_the_register() {
        let mov = facts(&[0xb0, 0x01]); // mov al,1
        assert_eq!(names(&mov.writes), ["rax"]);
        assert!(mov.kills.is_empty());
    }

    #[test]
    fn push_has_one_operand_and_one_memory_access() {
        let push = facts(&[0x53]); // push rbx
        assert_eq!(push.operands.len(), 1);
        assert_eq!(push.memory.len(), 1);
        assert!(!push.ends_block);
    }

    #[test]
    fn rep_leaves_its_memory_operands_out() {
        let movs = facts(&[0xf3, 0xa4]); // rep movsb
        assert!(movs.rep && movs.operands.is_empty());
        assert_eq!(movs.memory.len(), 2);
    }

    #[test]
    fn lea_and_branches_have_no_memory_operand() {
        assert_eq!(facts(&[0x48, 0x8d, 0x03]).operands.len(), 1); // lea rax,[rbx]
        let call = facts(&[0xe8, 0, 0, 0, 0]);
        assert!(call.operands.is_empty() && call.ends_block);
        assert!(facts(&[0x0f, 0x05]).ends_block); // syscall
    }
}
