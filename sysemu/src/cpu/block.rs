//! Decoded blocks, kept by physical address until their code is written.

use crate::cpu::decode::{Full as StubsFull, decode};
use crate::cpu::host::Stubs;
use crate::cpu::op::Op;
use crate::cpu::state::{CodeSize, Cpu, Stop};
use crate::cpu::translate::{Full, Mode, Translations};
use crate::cpu::trap::{GP0, Trap};
use iced_x86::{Decoder, DecoderError, DecoderOptions, FlowControl, Instruction};
use rustc_hash::FxHashMap;

/// Instructions executed one after the other; only the last one can branch.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) ops: Box<[Op]>,
    /// How often the interpreter has begun it.
    heat: u32,
    /// Numbers of its translations.
    translated: Vec<u32>,
}

impl Block {
    fn new(ops: Box<[Op]>) -> Self {
        Block {
            ops,
            heat: 0,
            translated: Vec::new(),
        }
    }
}

/// The heat of a block that is never translated.
const NEVER: u32 = u32::MAX;

/// Instructions of a block, at most.
pub(crate) const LONGEST: usize = 64;
/// How often a block is interpreted before it is translated.
const THRESHOLD: u32 = 16;
/// Decoded instructions, at most: a guest that runs astray through all of its memory would fill the host's.
const MOST: usize = 4 << 20;
const QUICK: usize = 1 << 15;
const NONE: u32 = u32::MAX;

/// All decoded code.
#[derive(Debug)]
pub(crate) struct Blocks {
    blocks: Vec<Block>,
    free: Vec<u32>,
    /// Instructions of all `blocks`.
    instructions: usize,
    known: FxHashMap<u64, u32>,
    /// The same for what was used lately: key, number.
    quick: Box<[(u64, u32)]>,
    /// Keys by page.
    pages: FxHashMap<u32, Vec<u64>>,
    /// Single instructions that cross into another page, by both physical addresses.
    crossing: FxHashMap<(u64, u64), u32>,
    stubs: Stubs,
    translations: Translations,
    /// Blocks are translated when the interpreter has begun them that often.
    pub(crate) threshold: u32,
    /// Blocks get no longer than this.
    pub(crate) longest: usize,
    /// Everything is forgotten when there are more instructions.
    pub(crate) most: usize,
}

fn bits(size: CodeSize) -> u32 {
    match size {
        CodeSize::Bits16 => 16,
        CodeSize::Bits32 => 32,
        CodeSize::Bits64 => 64,
    }
}

/// Physical address and mode in one number.
fn key(physical: u64, size: CodeSize) -> u64 {
    physical | (size as u64) << 56
}

fn slot(key: u64) -> usize {
    (key ^ key >> 15 ^ key >> 50) as usize & (QUICK - 1)
}

impl Blocks {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Blocks {
            blocks: Vec::new(),
            free: Vec::new(),
            instructions: 0,
            known: FxHashMap::default(),
            quick: vec![(0, NONE); QUICK].into_boxed_slice(),
            pages: FxHashMap::default(),
            crossing: FxHashMap::default(),
            stubs: Stubs::new()?,
            translations: Translations::new()?,
            threshold: THRESHOLD,
            longest: LONGEST,
            most: MOST,
        })
    }

    #[inline(always)]
    pub(crate) fn get(&self, number: u32) -> &Block {
        &self.blocks[number as usize]
    }

    /// The block at `linear`, which is at `physical`.
    #[inline(always)]
    pub(crate) fn find(&mut self, cpu: &mut Cpu, linear: u64, physical: u64) -> Result<u32, Trap> {
        let key = key(physical, cpu.code_size);
        let (quick_key, number) = self.quick[slot(key)];
        if quick_key == key && number != NONE {
            return Ok(number);
        }
        self.find_slow(cpu, linear, physical, key)
    }

    #[inline(never)]
    fn find_slow(
        &mut self,
        cpu: &mut Cpu,
        linear: u64,
        physical: u64,
        key: u64,
    ) -> Result<u32, Trap> {
        if let Some(&number) = self.known.get(&key) {
            self.quick[slot(key)] = (key, number);
            return Ok(number);
        }
        if !cpu.ram.contains(physical & !0xfff, 4096) {
            return Err(cpu.stop_with(Stop::Unimplemented {
                rip: cpu.rip(),
                bytes: Vec::new(),
                what: format!("executing at physical address {physical:#x}, which is no memory"),
            }));
        }
        if self.instructions > self.most {
            self.clear(cpu);
        }
        let rest = 4096 - (physical & 0xfff);
        for _ in 0..2 {
            let bytes = cpu.ram.slice(physical, rest as usize);
            let ends = |at: usize| cpu.breakpoints.offset_used(physical + at as u64);
            match decode_block(bytes, cpu.code_size, self.longest, &mut self.stubs, ends) {
                Ok(Decoded::Block(ops, length)) => {
                    let number = self.insert(Block::new(ops));
                    self.known.insert(key, number);
                    self.quick[slot(key)] = (key, number);
                    self.note(cpu, physical, length, key);
                    return Ok(number);
                }
                Ok(Decoded::Crosses) => return self.find_crossing(cpu, linear, physical, rest),
                Err(StubsFull) => self.clear(cpu),
            }
        }
        unreachable!("an empty arena has room for the stubs of one block")
    }

    /// One instruction that continues in the next page.
    fn find_crossing(
        &mut self,
        cpu: &mut Cpu,
        linear: u64,
        physical: u64,
        rest: u64,
    ) -> Result<u32, Trap> {
        let second = cpu.fetch_physical(linear.wrapping_add(rest))?;
        let pair = (key(physical, cpu.code_size), second);
        if let Some(&number) = self.crossing.get(&pair) {
            return Ok(number);
        }
        let mut bytes = [0; 15];
        let (left, right) = bytes.split_at_mut(rest as usize);
        left.copy_from_slice(cpu.ram.slice(physical, left.len()));
        if !cpu.ram.contains(second, right.len() as u64) {
            return Err(GP0);
        }
        right.copy_from_slice(cpu.ram.slice(second, right.len()));
        for _ in 0..2 {
            match decode_one(&bytes, cpu.code_size, &mut self.stubs) {
                Ok(Some(op)) => {
                    // Its second half may be anywhere: it stays with the interpreter.
                    let mut block = Block::new(Box::new([op]));
                    block.heat = NEVER;
                    let number = self.insert(block);
                    self.crossing.insert(pair, number);
                    for (start, length) in [(physical, rest), (second, 15 - rest)] {
                        if cpu.code.add(start, length) {
                            cpu.tlb.protect(start);
                        }
                        self.pages.entry((start >> 12) as u32).or_default();
                    }
                    return Ok(number);
                }
                // Longer than 15 bytes.
                Ok(None) => return Err(GP0),
                Err(StubsFull) => self.clear(cpu),
            }
        }
        unreachable!("an empty arena has room for one stub")
    }

    fn insert(&mut self, block: Block) -> u32 {
        self.instructions += block.ops.len();
        if let Some(number) = self.free.pop() {
            let old = std::mem::replace(&mut self.blocks[number as usize], block);
            self.instructions -= old.ops.len();
            return number;
        }
        self.blocks.push(block);
        self.blocks.len() as u32 - 1
    }

    fn note(&mut self, cpu: &mut Cpu, physical: u64, length: u64, key: u64) {
        if cpu.code.add(physical, length) {
            cpu.tlb.protect(physical);
        }
        self.pages
            .entry((physical >> 12) as u32)
            .or_default()
            .push(key);
    }

    /// Forgets what was decoded in pages whose code was written.
    #[cold]
    pub(crate) fn invalidate(&mut self, cpu: &mut Cpu) {
        while let Some(page) = cpu.code.dirty.pop() {
            for key in self.pages.remove(&page).unwrap_or_default() {
                if let Some(number) = self.known.remove(&key) {
                    for translation in std::mem::take(&mut self.blocks[number as usize].translated)
                    {
                        self.translations.forget(cpu, translation);
                    }
                    self.free.push(number);
                    self.quick[slot(key)] = (0, NONE);
                }
            }
            self.crossing.retain(|&(first, second), number| {
                let stays = (first >> 12) as u32 != page && (second >> 12) as u32 != page;
                if !stays {
                    self.free.push(*number);
                }
                stays
            });
        }
    }

    /// Native code of the block, which the processor is about to execute and has at `physical`; none where it is not (yet) translated.
    #[inline(always)]
    pub(crate) fn translation(
        &mut self,
        cpu: &mut Cpu,
        number: u32,
        physical: u64,
        mode: Mode,
    ) -> Option<u32> {
        let linear = cpu.rip();
        if cpu.breakpoints.offset_used(linear) {
            // Nothing may lead there but the loop, which stops.
            return None;
        }
        let block = &mut self.blocks[number as usize];
        for &translation in &block.translated {
            if self.translations.fits(translation, linear, mode) {
                return Some(translation);
            }
        }
        if block.heat < self.threshold {
            block.heat += 1;
            return None;
        }
        self.translate(cpu, number, physical, mode)
    }

    #[inline(never)]
    fn translate(&mut self, cpu: &mut Cpu, number: u32, physical: u64, mode: Mode) -> Option<u32> {
        if self.blocks[number as usize].heat == NEVER {
            return None;
        }
        let linear = cpu.rip();
        for _ in 0..2 {
            let bytes = cpu.ram.slice(physical, 4096 - (physical & 0xfff) as usize);
            let ops = &self.blocks[number as usize].ops;
            match self
                .translations
                .translate(number, ops, bytes, linear, mode)
            {
                Ok(Some(translation)) => {
                    self.blocks[number as usize].translated.push(translation);
                    return Some(translation);
                }
                Ok(None) => break,
                Err(Full) => {
                    for block in self.translations.clear(cpu) {
                        self.blocks[block as usize].translated.clear();
                    }
                }
            }
        }
        self.blocks[number as usize].heat = NEVER;
        None
    }

    /// How many translations there are.
    pub(crate) fn translated(&self) -> usize {
        self.translations.count()
    }

    /// How many instructions are kept.
    pub(crate) fn instructions(&self) -> usize {
        self.instructions
    }

    /// Runs a translation.
    #[inline(always)]
    pub(crate) fn run(&mut self, cpu: &mut Cpu, translation: u32, budget: u64) {
        self.translations.run(cpu, translation, budget);
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self, cpu: &mut Cpu) {
        self.translations.clear(cpu);
        self.blocks.clear();
        self.free.clear();
        self.instructions = 0;
        self.known.clear();
        self.quick.fill((0, NONE));
        self.pages.clear();
        self.crossing.clear();
        self.stubs.clear();
        cpu.code.clear();
    }
}

enum Decoded {
    Block(Box<[Op]>, u64),
    /// Not even one instruction fits into the page.
    Crosses,
}

/// Decodes one instruction; none where it is too long.
fn decode_one(bytes: &[u8], size: CodeSize, stubs: &mut Stubs) -> Result<Option<Op>, StubsFull> {
    let mut decoder = Decoder::with_ip(bits(size), bytes, 0, DecoderOptions::NONE);
    let instruction = decoder.decode();
    if decoder.last_error() == DecoderError::NoMoreBytes {
        return Ok(None);
    }
    decode(&instruction, size, stubs).map(Some)
}

/// Decodes up to a branch, the end of the page, or a place that the caller wants at the beginning of a block.
fn decode_block(
    bytes: &[u8],
    size: CodeSize,
    longest: usize,
    stubs: &mut Stubs,
    ends: impl Fn(usize) -> bool,
) -> Result<Decoded, StubsFull> {
    let mut ops = Vec::new();
    let mut at = 0;
    while ops.len() < longest && at < bytes.len() && (at == 0 || !ends(at)) {
        let rest = &bytes[at..bytes.len().min(at + 15)];
        let mut decoder = Decoder::with_ip(bits(size), rest, 0, DecoderOptions::NONE);
        let instruction = decoder.decode();
        let unfinished = decoder.last_error() == DecoderError::NoMoreBytes;
        if unfinished && rest.len() < 15 {
            break;
        }
        if unfinished || instruction.is_invalid() && instruction.len() >= 15 {
            // Too long: the interpreter raises #GP through this operation.
            let mut op = decode(&Instruction::default(), size, stubs)?;
            op.run = |_, _| Err(GP0);
            ops.push(op);
            at += 15;
            break;
        }
        ops.push(decode(&instruction, size, stubs)?);
        at += instruction.len().max(1);
        if ends_block(&instruction) {
            break;
        }
    }
    if ops.is_empty() {
        return Ok(Decoded::Crosses);
    }
    Ok(Decoded::Block(ops.into_boxed_slice(), at as u64))
}

fn ends_block(instruction: &Instruction) -> bool {
    instruction.is_invalid() || instruction.flow_control() != FlowControl::Next
}
