//! Finding the instructions of a unit: from its address to the end of its basic block, or to the first instruction that
//! needs the slow path.

use super::loads::is_beyond_capture;
use super::returns;
use crate::mode::Mode;
use crate::unit::{GuestCode, Request};
use fits_stats::facts::{Facts, MAX_BLOCK, ends_block};
use iced_x86::{
    CodeSize, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic,
    OpKind, Register,
};

/// The longest x86 instruction, in bytes.
pub(super) const MAX_INSTRUCTION: usize = 15;

/// One decoded guest instruction.
#[derive(Clone, Debug)]
pub(super) struct Guest {
    pub(super) instruction: Instruction,
    pub(super) bytes: Vec<u8>,
    pub(super) facts: Facts,
    /// The unit goes on after this control transfer: the address of the next instruction in the unit.
    pub(super) goes_on: bool,
}

impl Guest {
    pub(super) fn pc(&self) -> u64 {
        self.instruction.ip()
    }
}

/// What follows the instructions of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The last instruction is a control transfer, which says where.
    Branch,
    /// The block was cut for its length: it ends, and the next begins at this address.
    Cap(u64),
    /// The unit was cut, the block goes on at this address.
    Cut(u64),
    /// The instruction at this address is a system call.
    Syscall(u64),
    /// The instruction at this address is not for translated code.
    Slow(u64),
}

/// The decoded instructions of a unit.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) guests: Vec<Guest>,
    /// Instructions that begin a basic block, but for the first.
    pub(super) starts: Vec<u16>,
    pub(super) end: End,
}

impl Block {
    /// Only the first `length` instructions.
    pub(super) fn truncate(&mut self, length: usize) {
        if length >= self.guests.len() {
            return;
        }
        let pc = self.guests[length].pc();
        let at_boundary = self.starts.contains(&(length as u16));
        self.guests.truncate(length);
        self.starts.retain(|&start| usize::from(start) < length);
        self.end = match self.guests.last_mut() {
            Some(last) if last.goes_on => {
                last.goes_on = false;
                End::Branch
            }
            _ if at_boundary => End::Cap(pc),
            _ => End::Cut(pc),
        };
    }
}

/// The most instructions of a unit that runs through several blocks.
const MAX_TRACE: usize = 128;

/// Decodes the block at `request.pc` and those of `path`, as far as each follows from the one before by a direct branch or a return to a known
/// address.
pub(super) fn trace(code: &dyn GuestCode, request: &Request, path: &[u64]) -> Block {
    let mut trace = block(code, request);
    for &pc in path {
        if code.is_marked(pc) || !leads_to(&trace, pc) {
            break;
        }
        let next = block(
            code,
            &Request {
                pc,
                prefix: None,
                ..*request
            },
        );
        if next.guests.is_empty() || trace.guests.len() + next.guests.len() > MAX_TRACE {
            break;
        }
        if let (End::Branch, Some(last)) = (trace.end, trace.guests.last_mut()) {
            last.goes_on = true;
        }
        trace.starts.push(trace.guests.len() as u16);
        trace.guests.extend(next.guests);
        trace.end = next.end;
    }
    trace
}

/// Whether the block at `pc` can follow inside the unit.
fn leads_to(block: &Block, pc: u64) -> bool {
    match (block.end, block.guests.last()) {
        (End::Cap(next), _) => next == pc,
        (End::Branch, Some(last)) => {
            let instruction = &last.instruction;
            let target = instruction.near_branch_target() == pc;
            ((instruction.is_jmp_short_or_near() || instruction.is_call_near()) && target)
                || (instruction.is_jcc_short_or_near() && (target || instruction.next_ip() == pc))
                || returns::target(&block.guests) == Some(pc)
        }
        _ => false,
    }
}

/// Decodes the block at `request.pc`.
pub(super) fn block(code: &dyn GuestCode, request: &Request) -> Block {
    let room = MAX_BLOCK
        - request
            .prefix
            .map_or(0, |prefix| prefix.instructions)
            .min(MAX_BLOCK - 1);
    let mut factory = InstructionInfoFactory::new();
    let mut source = Source {
        code,
        buffer: Vec::new(),
        start: request.pc,
    };
    let mut guests = Vec::new();
    let mut pc = request.pc;
    let end = loop {
        if guests.len() == room as usize {
            break End::Cap(pc);
        }
        if !guests.is_empty() && code.is_marked(pc) {
            break End::Cut(pc);
        }
        let bytes = source.at(pc);
        let instruction = Decoder::with_ip(64, bytes, pc, DecoderOptions::NONE).decode();
        if instruction.is_invalid() {
            break End::Slow(pc);
        }
        if instruction.mnemonic() == Mnemonic::Syscall {
            break End::Syscall(pc);
        }
        if needs_slow_path(&instruction) || is_narrow_branch(&instruction, bytes) {
            break End::Slow(pc);
        }
        let facts = Facts::new(&instruction, &mut factory);
        if facts
            .memory
            .iter()
            .any(|used| used.address_size() != CodeSize::Code64)
        {
            break End::Slow(pc);
        }
        let bytes = bytes[..instruction.len()].to_vec();
        let guest = Guest {
            instruction,
            bytes,
            facts,
            goes_on: false,
        };
        if request.mode == Mode::Full && is_beyond_capture(&guest) {
            break End::Slow(pc);
        }
        pc = instruction.next_ip();
        guests.push(guest);
        if ends_block(&instruction) {
            break End::Branch;
        }
    };
    Block {
        guests,
        starts: Vec::new(),
        end,
    }
}

/// Guest code read in stretches, since one instruction at a time would be slow.
struct Source<'a> {
    code: &'a dyn GuestCode,
    buffer: Vec<u8>,
    start: u64,
}

impl Source<'_> {
    const STRETCH: usize = 256;

    /// Up to 15 readable bytes at `pc`, which is at or after all earlier ones.
    fn at(&mut self, pc: u64) -> &[u8] {
        let end = self.start + self.buffer.len() as u64;
        if pc + MAX_INSTRUCTION as u64 > end {
            self.buffer.resize(Self::STRETCH, 0);
            let length = self.code.read(pc, &mut self.buffer);
            self.buffer.truncate(length);
            self.start = pc;
        }
        let from = (pc - self.start) as usize;
        let to = (from + MAX_INSTRUCTION).min(self.buffer.len());
        &self.buffer[from.min(to)..to]
    }
}

/// Whether `instruction` is left to a native single-step in the guest's own state.
fn needs_slow_path(instruction: &Instruction) -> bool {
    far_or_trapping(instruction) || touches_segments(instruction) || is_rare(instruction)
}

fn far_or_trapping(instruction: &Instruction) -> bool {
    match instruction.flow_control() {
        FlowControl::Interrupt | FlowControl::Exception | FlowControl::XbeginXabortXend => true,
        FlowControl::Next => false,
        _ => {
            // What is left are near branches of operand size 64.
            let near = instruction.is_jcc_short_or_near()
                || instruction.is_jmp_short_or_near()
                || instruction.is_call_near()
                || instruction.is_call_near_indirect()
                || instruction.is_jmp_near_indirect()
                || instruction.is_jcx_short()
                || instruction.is_loop()
                || instruction.is_loopcc()
                || instruction.mnemonic() == Mnemonic::Ret;
            !near || has_small_operand(instruction)
        }
    }
}

/// A near branch with an operand size prefix that no REX.W overrides: processors disagree about its operand and its length, and
/// iced-x86 sides with those that ignore the prefix.
fn is_narrow_branch(instruction: &Instruction, bytes: &[u8]) -> bool {
    const PREFIXES: [u8; 11] = [
        0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3,
    ];
    const REX: std::ops::RangeInclusive<u8> = 0x40..=0x4f;
    const REX_W: u8 = 0x48;
    if instruction.flow_control() == FlowControl::Next {
        return false;
    }
    let (mut narrow, mut rex) = (false, 0);
    for byte in bytes {
        if PREFIXES.contains(byte) {
            // A REX prefix counts only just before the opcode.
            (narrow, rex) = (narrow || *byte == 0x66, 0);
        } else if REX.contains(byte) {
            rex = *byte;
        } else {
            break;
        }
    }
    narrow && rex & REX_W != REX_W
}

/// A branch with a 16-bit operand (or a 16-bit count register), which processors disagree about.
fn has_small_operand(instruction: &Instruction) -> bool {
    let counted = instruction.is_loop() || instruction.is_loopcc() || instruction.is_jcx_short();
    if counted {
        return format!("{:?}", instruction.code()).contains("16");
    }
    if instruction.mnemonic() == Mnemonic::Ret {
        return instruction.stack_pointer_increment() < 8;
    }
    match instruction.op0_kind() {
        OpKind::NearBranch16 => true,
        OpKind::Register => instruction.op0_register().size() != 8,
        OpKind::Memory => instruction.memory_size().size() != 8,
        _ => false,
    }
}

fn touches_segments(instruction: &Instruction) -> bool {
    use Mnemonic::{Rdgsbase, Swapgs, Wrfsbase, Wrgsbase};
    let registers = (0..instruction.op_count()).any(|index| {
        instruction.op_kind(index) == OpKind::Register
            && instruction.op_register(index).is_segment_register()
    });
    let string =
        instruction.is_string_instruction() && instruction.segment_prefix() != Register::None;
    registers
        || string
        || instruction.memory_segment() == Register::GS
        || matches!(
            instruction.mnemonic(),
            Rdgsbase | Wrgsbase | Wrfsbase | Swapgs
        )
}

/// Instructions that aren't worth a rule of their own.
fn is_rare(instruction: &Instruction) -> bool {
    use Mnemonic::{Bndldx, Bndstx, Cpuid, Enclu, Popf, Popfd, Popfq, Rdpid, Rdtscp, Xlatb};
    instruction.is_privileged()
        || instruction.is_ip_rel_memory_operand() && instruction.memory_base() == Register::EIP
        || matches!(
            instruction.mnemonic(),
            Xlatb | Enclu | Bndldx | Bndstx | Cpuid | Rdpid | Rdtscp | Popf | Popfd | Popfq
        )
}
