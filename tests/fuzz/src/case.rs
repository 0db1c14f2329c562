//! One case: a sequence, the state that it starts in, and how it is to be run translated.

use crate::accept::acceptable;
use crate::codes::Codes;
use crate::machine::State;
use crate::operands::Builder;
use crate::places::{CODE, CODE_BYTES, DATA, STREAM_BYTES};
use crate::random::Random;
use crate::start::{self, Roles};
use iced_x86::{Code, Decoder, DecoderOptions, Encoder, Instruction, OpKind, Register};

/// The most instructions of a sequence.
const LONGEST: usize = 12;
/// Bytes at the start of the data that hold addresses of instructions.
const TABLE_ENTRIES: usize = 16;
/// An instruction that only faults: it fills the code around the sequence.
const UD2: [u8; 2] = [0x0f, 0x0b];

/// What an item's address operand leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// Nowhere.
    None,
    /// It branches to that item (or to the end of the sequence).
    Branch(usize),
    /// Its immediate is the address of that item.
    Constant(usize),
}

/// One instruction of a sequence.
#[derive(Clone, Debug)]
pub struct Item {
    /// The instruction.
    pub instruction: Instruction,
    /// Redundant prefixes in front of it.
    pub prefixes: Vec<u8>,
    /// Where it leads.
    pub aim: Aim,
}

/// A case.
#[derive(Clone, Debug)]
pub struct Case {
    /// Everything follows from it.
    pub seed: u64,
    /// The sequence.
    pub items: Vec<Item>,
    /// Where in the code pages it stands.
    pub offset: usize,
    /// Words of memory (offset in the shared memory) that hold addresses of items.
    pub words: Vec<(usize, usize)>,
    /// The state that it starts in (without `words`).
    pub start: State,
    /// Translated code lies out of reach of the data.
    pub far: bool,
    /// Where in the stream's chunk the first row goes.
    pub cursor: u64,
}

impl Case {
    /// The case of that seed. `base` is a state from which the rest (segments and the like) is taken.
    #[must_use]
    pub fn new(seed: u64, codes: &Codes, base: &State) -> Self {
        let random = &mut Random::new(seed);
        let roles = Roles::new(random);
        let start = start::state(random, &roles, base);
        let items = items(random, codes, &roles);
        let stack = start.registers.rsp;
        let count = items.len();
        let words = words(random, stack, count);
        let offset = match random.below(20) {
            // The sequence ends where the code does: what follows can't be fetched.
            0 => usize::MAX,
            _ => random.below(CODE_BYTES as usize - 512),
        };
        let cursor = if random.chance(10) {
            STREAM_BYTES - 8 * (1 + random.below(60) as u64)
        } else {
            8 * random.below(512) as u64
        };
        Case {
            seed,
            items,
            offset,
            words,
            start,
            far: random.chance(15),
            cursor,
        }
    }

    /// The code pages, and the address of the first item.
    #[must_use]
    pub fn layout(&self) -> Layout {
        let mut lengths = Vec::new();
        for item in &self.items {
            lengths.push(encode(item, CODE, None).map_or(0, |bytes| bytes.len()));
        }
        let total: usize = lengths.iter().sum();
        let first = self.offset.min(CODE_BYTES as usize - total);
        let mut addresses = vec![CODE + first as u64];
        for length in &lengths {
            addresses.push(addresses[addresses.len() - 1] + *length as u64);
        }
        let mut code = UD2.repeat(CODE_BYTES as usize / 2);
        for (number, item) in self.items.iter().enumerate() {
            let aim = match item.aim {
                Aim::None => None,
                Aim::Branch(target) | Aim::Constant(target) => Some(addresses[target]),
            };
            let at = addresses[number];
            let bytes = encode(item, at, aim)
                .or_else(|| encode(item, at, Some(addresses[number + 1])))
                .filter(|bytes| bytes.len() == lengths[number])
                .unwrap_or_else(|| vec![0x90; lengths[number]]);
            let from = (at - CODE) as usize;
            code[from..from + bytes.len()].copy_from_slice(&bytes);
        }
        let mut start = self.start.clone();
        start.registers.rip = addresses[0];
        for &(offset, item) in &self.words {
            start.memory[offset..offset + 8].copy_from_slice(&addresses[item].to_le_bytes());
        }
        Layout {
            code,
            start,
            addresses,
        }
    }

    /// The same without item `number`.
    #[must_use]
    pub fn without(&self, number: usize) -> Self {
        let mut case = self.clone();
        case.items.remove(number);
        let shift = |target: usize| if target > number { target - 1 } else { target };
        for item in &mut case.items {
            item.aim = match item.aim {
                Aim::None => Aim::None,
                Aim::Branch(target) => Aim::Branch(shift(target)),
                Aim::Constant(target) => Aim::Constant(shift(target)),
            };
        }
        for (_, item) in &mut case.words {
            *item = shift(*item);
        }
        case
    }
}

/// A case in bytes.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The code pages.
    pub code: Vec<u8>,
    /// The complete start state.
    pub start: State,
    /// The items' addresses, and the end.
    pub addresses: Vec<u64>,
}

/// The bytes of `item` at `address`.
fn encode(item: &Item, address: u64, aim: Option<u64>) -> Option<Vec<u8>> {
    let mut instruction = item.instruction;
    let at = address + item.prefixes.len() as u64;
    match item.aim {
        Aim::Branch(_) => instruction.set_near_branch64(aim.unwrap_or(at)),
        Aim::Constant(_) => instruction.set_immediate64(aim.unwrap_or(0)),
        Aim::None => {}
    }
    let mut encoder = Encoder::new(64);
    encoder.encode(&instruction, at).ok()?;
    let mut bytes = item.prefixes.clone();
    bytes.extend(encoder.take_buffer());
    Some(bytes)
}

fn words(random: &mut Random, stack: u64, items: usize) -> Vec<(usize, usize)> {
    let mut words: Vec<_> = (0..TABLE_ENTRIES)
        .map(|entry| (8 * entry, random.below(items + 1)))
        .collect();
    for slot in 0..8 {
        let address = stack.wrapping_add(8 * slot);
        if let Some((offset, rest)) = crate::places::find(address)
            && rest >= 8
            && random.chance(60)
        {
            words.push((offset, random.below(items + 1)));
        }
    }
    words
}

fn items(random: &mut Random, codes: &Codes, roles: &Roles) -> Vec<Item> {
    let length = 1 + random.below(LONGEST);
    let mut items = Vec::new();
    while items.len() < length {
        let code = codes.pick(random);
        let Some(item) = item(random, code, roles, items.len(), length) else {
            continue;
        };
        if let Some(register) = target_register(&item.instruction)
            && random.chance(85)
        {
            items.push(constant(register, target(random, items.len() + 1, length)));
        }
        items.push(item);
    }
    let end = items.len();
    for item in &mut items {
        if let Aim::Branch(target) | Aim::Constant(target) = &mut item.aim {
            *target = (*target).min(end);
        }
    }
    items
}

/// A random item of that code, if its operands can be encoded.
pub fn item(
    random: &mut Random,
    code: Code,
    roles: &Roles,
    number: usize,
    length: usize,
) -> Option<Item> {
    let mut instruction = Builder::new(random, roles).build(code)?;
    let is_branch = instruction.op0_kind() == OpKind::NearBranch64;
    let indirect = !is_branch
        && instruction.flow_control() != iced_x86::FlowControl::Next
        && instruction.op0_kind() == OpKind::Memory;
    if indirect && random.chance(85) {
        through_table(random, &mut instruction);
    }
    let aim = if is_branch {
        Aim::Branch(target(random, number, length))
    } else {
        Aim::None
    };
    let prefixes = if random.chance(2) {
        vec![random.pick(&[0x66, 0x2e, 0x3e, 0xf2, 0xf3, 0x40, 0x48])]
    } else {
        Vec::new()
    };
    let item = Item {
        instruction,
        prefixes,
        aim,
    };
    let bytes = encode(&item, CODE, None)?;
    let decoded = Decoder::with_ip(64, &bytes, CODE, DecoderOptions::NONE).decode();
    let whole = !decoded.is_invalid() && decoded.len() == bytes.len();
    (whole && acceptable(&decoded).is_ok()).then_some(item)
}

/// An indirect branch through the table of addresses at the start of the data.
fn through_table(random: &mut Random, instruction: &mut Instruction) {
    instruction.set_segment_prefix(Register::None);
    instruction.set_memory_base(Register::RIP);
    instruction.set_memory_index(Register::None);
    instruction.set_memory_displ_size(8);
    let entry = random.below(TABLE_ENTRIES) as u64;
    instruction.set_memory_displacement64(DATA + 8 * entry);
}

/// Mostly forward.
fn target(random: &mut Random, number: usize, length: usize) -> usize {
    if random.chance(20) {
        random.below(length + 1)
    } else {
        (number + 1 + random.below(3)).min(length)
    }
}

fn target_register(instruction: &Instruction) -> Option<Register> {
    let indirect = instruction.flow_control() != iced_x86::FlowControl::Next
        && instruction.op_count() == 1
        && instruction.op0_kind() == OpKind::Register;
    let register = instruction.op0_register();
    (indirect && register.is_gpr64() && register != Register::RSP).then_some(register)
}

fn constant(register: Register, target: usize) -> Item {
    let mut instruction = Instruction::default();
    instruction.set_code(Code::Mov_r64_imm64);
    instruction.set_op0_kind(OpKind::Register);
    instruction.set_op0_register(register);
    instruction.set_op1_kind(OpKind::Immediate64);
    Item {
        instruction,
        prefixes: Vec::new(),
        aim: Aim::Constant(target),
    }
}
