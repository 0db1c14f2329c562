//! The second stage: blocks that are executed often become native code.
//!
//! `Translations` is what the loop uses. [`translate`](Translations::translate) names the steps: `block` makes the code of one block, with
//! `integer`, `moves`, `flags`, `vector` and `control` for the kinds of instructions; what none of them knows is left to the interpreter, in the middle of
//! the block. `assembler` writes bytes and keeps track of the flags, `registers` and `layout` say where things are, `gates` and `enter` are the way in
//! and out, `links` and `jumps` the ways from block to block. All but `enter` is safe code.
//!
//! The state after each block is that of the interpreter: see docs/design/translated-stage.md.

mod assembler;
mod block;
mod control;
#[expect(
    unsafe_code,
    reason = "enters generated code, and is called back by it"
)]
mod enter;
mod flags;
mod gates;
mod integer;
mod jumps;
mod layout;
mod links;
mod mode;
mod moves;
mod operands;
mod registers;
mod vector;

pub(crate) use enter::Exchange;
pub(crate) use jumps::Jumps;
pub(crate) use mode::Mode;

use crate::cpu::host::Arena;
use crate::cpu::op::Op;
use crate::cpu::state::Cpu;
use crate::cpu::tlb::Entry;
use block::Builder;
use enter::Site;
use gates::Gates;
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction};
use links::Link;

const CODE_BYTES: usize = 64 << 20;

/// A block's native code for one address and mode.
#[derive(Debug)]
struct Translation {
    /// The number of the block.
    block: u32,
    linear: u64,
    mode: Mode,
    code: u32,
    /// What the interpreter executes of it; the code points into it.
    _sites: Box<[Site]>,
    links: std::ops::Range<usize>,
    /// Links that were joined to it.
    incoming: Vec<u32>,
}

/// All native code.
#[derive(Debug)]
pub(crate) struct Translations {
    arena: Arena,
    gates: Gates,
    /// By number; numbers are not used again before everything is forgotten.
    all: Vec<Option<Translation>>,
    links: Vec<Link>,
    /// The mode bits that the tables of indirect jumps are for.
    vector_bits: u8,
}

/// The code memory is used up: everything translated must be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Translations {
    /// None yet.
    pub(crate) fn new() -> std::io::Result<Self> {
        let mut arena = Arena::new("translations", CODE_BYTES)?;
        let gates =
            gates::emit(&mut arena).ok_or_else(|| std::io::Error::other("no room for gates"))?;
        Ok(Translations {
            arena,
            gates,
            all: Vec::new(),
            links: Vec::new(),
            vector_bits: 0,
        })
    }

    /// Translates a block, whose operations are `ops` and whose bytes are at the beginning of `bytes`: its number.
    pub(crate) fn translate(
        &mut self,
        block: u32,
        ops: &[Op],
        bytes: &[u8],
        linear: u64,
        mode: Mode,
    ) -> Result<Option<u32>, Full> {
        let Some(instructions) = decode(ops, bytes, linear) else {
            return Ok(None);
        };
        let sites = sites(ops, &instructions);
        let mut builder = Builder::new(self.arena.next(), linear, self.gates, mode, &sites);
        builder.body(&instructions);
        let Some((code, exits)) = builder.tail(self.links.len()) else {
            return Ok(None);
        };
        let code = self.arena.add(&code).ok_or(Full)?;
        let first = self.links.len();
        self.links.extend(exits.into_iter().map(Link::new));
        self.all.push(Some(Translation {
            block,
            linear,
            mode,
            code,
            _sites: sites,
            links: first..self.links.len(),
            incoming: Vec::new(),
        }));
        Ok(Some(self.all.len() as u32 - 1))
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.all.iter().flatten().count()
    }

    /// Whether translation `number` is for that address and mode.
    #[inline(always)]
    pub(crate) fn fits(&self, number: u32, linear: u64, mode: Mode) -> bool {
        self.all[number as usize]
            .as_ref()
            .is_some_and(|one| one.linear == linear && one.mode == mode)
    }

    /// Runs translation `number`, which fits, and what it goes on to, for at most `budget` instructions, of which there must be enough for the block.
    #[inline(always)]
    pub(crate) fn run(&mut self, cpu: &mut Cpu, number: u32, budget: u64) {
        let Some(translation) = &self.all[number as usize] else {
            unreachable!("translations that are found exist");
        };
        let (code, linear, mode) = (translation.code, translation.linear, translation.mode);
        let page = cpu.tlb.fetch(mode.user(), linear);
        let address = self.arena.address(code);
        self.join(cpu, number, code, page);
        self.remember(cpu, linear, mode, page, address);
        let gate = self.arena.address(self.gates.enter);
        enter::enter(cpu, gate, address, budget);
    }

    /// The link through which code was left last leads here from now on.
    fn join(&mut self, cpu: &mut Cpu, number: u32, code: u32, page: Entry) {
        let link = cpu.exchange.take_link();
        if link == 0 {
            return;
        }
        let index = link as usize - 1;
        let Some(translation) = &mut self.all[number as usize] else {
            return;
        };
        let link = &mut self.links[index];
        if link.wants(translation.linear, translation.mode) {
            link.join(&mut self.arena, number, code, page.host);
            translation.incoming.push(index as u32);
        }
    }

    /// Indirect jumps find it from now on.
    fn remember(&mut self, cpu: &mut Cpu, linear: u64, mode: Mode, page: Entry, code: u64) {
        if self.vector_bits != mode.vector_bits() {
            self.vector_bits = mode.vector_bits();
            cpu.jumps.clear();
        }
        if let Some(table) = mode.jump_table() {
            cpu.jumps.set(
                table,
                jumps::Jump {
                    target: linear,
                    code,
                    page,
                },
            );
        }
    }

    /// Forgets translation `number`: nothing leads there any more.
    pub(crate) fn forget(&mut self, cpu: &mut Cpu, number: u32) {
        let Some(translation) = self.all[number as usize].take() else {
            return;
        };
        for index in translation.incoming {
            let link = &mut self.links[index as usize];
            if link.joined == Some(number) {
                link.part(&mut self.arena);
            }
        }
        for index in translation.links {
            self.links[index].joined = None;
        }
        if let Some(table) = translation.mode.jump_table() {
            cpu.jumps.forget(table, translation.linear);
        }
    }

    /// Forgets everything: the numbers of blocks that had translations.
    pub(crate) fn clear(&mut self, cpu: &mut Cpu) -> Vec<u32> {
        let blocks = self.all.drain(..).flatten().map(|one| one.block).collect();
        self.links.clear();
        self.arena.clear();
        if let Some(gates) = gates::emit(&mut self.arena) {
            self.gates = gates;
        }
        cpu.jumps.clear();
        cpu.exchange = Exchange::default();
        blocks
    }
}

/// The block's instructions; none where they are not what its operations were made of.
fn decode(ops: &[Op], bytes: &[u8], linear: u64) -> Option<Vec<Instruction>> {
    let mut decoder = Decoder::with_ip(64, bytes, linear, DecoderOptions::NONE);
    let mut instructions = Vec::with_capacity(ops.len());
    for op in ops {
        let instruction = decoder.decode();
        if instruction.len() != usize::from(op.len) {
            return None;
        }
        instructions.push(instruction);
    }
    Some(instructions)
}

fn sites(ops: &[Op], instructions: &[Instruction]) -> Box<[Site]> {
    let count = ops.len() as u64;
    let pairs = ops.iter().zip(instructions).zip(0..);
    pairs
        .map(|((op, instruction), index)| Site {
            op: op.clone(),
            rip: instruction.ip(),
            left: count - index,
        })
        .collect()
}

impl Builder<'_> {
    /// All instructions.
    fn body(&mut self, instructions: &[Instruction]) {
        let Some((last, others)) = instructions.split_last() else {
            unreachable!("a block has at least one instruction");
        };
        for (site, instruction) in others.iter().enumerate() {
            self.straight(instruction, site);
        }
        self.end(last, others.len());
    }

    /// An instruction that does not branch.
    fn straight(&mut self, instruction: &Instruction, site: usize) {
        debug_assert_eq!(instruction.flow_control(), FlowControl::Next);
        let known = !instruction.is_invalid()
            && (self.integer(instruction, site)
                || self.special(instruction, site)
                || self.flags(instruction, site)
                || self.vector(instruction, site));
        if !known {
            self.interpret(site);
        }
    }
}
