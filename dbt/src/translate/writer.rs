//! Copying the guest's instructions, with only what must change changed, and keeping the map back to the guest's state.

use super::TranslateError;
use super::assembler::{Assembler, INT3, gpr64, point};
use super::decode::{End, Guest};
use super::registers::{Plan, R15, used};
use super::sides::Side;
use crate::layout::{TARGET, TSC, TSC_STEP};
use crate::unit::{Exit, ExitKind, Head, Moved, Place, Point, Request, Unit, WarmEntry};
use fits_stats::template::{MemoryAccess, Prefix, UnitId, UnitInstruction, UnitTemplate, Value};
use iced_x86::{Instruction, MemoryOperand, Mnemonic, Register};

/// A displacement that must lead to an exit's trap until it is linked.
struct Link {
    exit: usize,
    at: u32,
}

/// A way out that leaves the budget where it is, until it is known that the target wants it elsewhere.
pub(super) struct Cold {
    pub(super) exit: usize,
    /// The displacement of its jump.
    pub(super) at: u32,
    /// How many instructions are executed there.
    pub(super) executed: usize,
    pub(super) moved: (Vec<Moved>, u8),
}

/// A unit under construction.
pub(super) struct Writer<'a> {
    pub(super) request: &'a Request,
    pub(super) asm: Assembler,
    pub(super) exits: Vec<Exit>,
    pub(super) counted_from: u32,
    /// Bytes of the row so far (level `full`).
    pub(super) row_bytes: u32,
    /// Bytes of the row of the whole unit.
    pub(super) main_row_bytes: u32,
    /// The number in the header of the row.
    pub(super) leaving_as: UnitId,
    /// The ways out before the unit's end.
    pub(super) sides: Vec<Side>,
    /// The unit's second entry.
    pub(super) warm_entry: Option<WarmEntry>,
    /// The beginnings of a region's blocks.
    pub(super) heads: Vec<Head>,
    /// Ways out whose first jump has been emitted, but not what it leads to at first.
    pub(super) cold: Vec<Cold>,
    /// Exits from this one on belong to sides.
    pub(super) side_exits_from: usize,
    pub(super) values: Vec<Vec<Value>>,
    pub(super) memory: Vec<MemoryAccess>,
    /// The scratch register is in use, its guest value at home.
    pub(super) scratch_saved: Option<u8>,
    points: Vec<Point>,
    moved: Vec<Moved>,
    links: Vec<Link>,
    /// (displacement, constant): 8-byte constants that code refers to.
    constants: Vec<(u32, u64)>,
    /// (displacement, target): jumps inside the unit.
    inner: Vec<(u32, u32)>,
    /// (displacement of one byte, target): short jumps inside the unit.
    short: Vec<(u32, u32)>,
    cursor: u8,
}

impl<'a> Writer<'a> {
    pub(super) fn new(request: &'a Request) -> Self {
        let moved = if request.mode.takes_r15() {
            vec![Moved {
                register: R15,
                to: Place::Home,
            }]
        } else {
            Vec::new()
        };
        Writer {
            request,
            asm: Assembler::new(request.host),
            exits: Vec::new(),
            counted_from: 0,
            row_bytes: 0,
            main_row_bytes: 0,
            leaving_as: request.id,
            sides: Vec::new(),
            warm_entry: None,
            heads: Vec::new(),
            cold: Vec::new(),
            side_exits_from: 0,
            values: Vec::new(),
            memory: Vec::new(),
            scratch_saved: None,
            points: Vec::new(),
            moved,
            links: Vec::new(),
            constants: Vec::new(),
            inner: Vec::new(),
            short: Vec::new(),
            cursor: R15,
        }
    }

    /// The next code belongs to guest instruction `number`.
    pub(super) fn point(&mut self, number: usize) {
        self.points.push(Point {
            offset: self.asm.offset(),
            instruction: number as u16,
            cursor: self.cursor,
            moved: self.moved.clone(),
        });
    }

    /// From here on the guest's `register` is elsewhere, while `number` executes.
    pub(super) fn displace(&mut self, number: usize, register: u8, to: Place) {
        self.moved.retain(|moved| moved.register != register);
        self.moved.push(Moved { register, to });
        self.point(number);
    }

    /// From here on the guest's `register` is where it belongs.
    pub(super) fn settle(&mut self, number: usize, register: u8) {
        self.moved.retain(|moved| moved.register != register);
        self.point(number);
    }

    /// From here on the cursor is in this host register.
    pub(super) fn cursor_in(&mut self, number: usize, register: u8) {
        self.cursor = register;
        self.point(number);
    }

    /// Which guest registers are elsewhere now, and where the cursor is.
    pub(super) fn moved(&self) -> (Vec<Moved>, u8) {
        (self.moved.clone(), self.cursor)
    }

    /// The code that follows is reached in that state, while `number` executes.
    pub(super) fn resume_with(&mut self, number: usize, (moved, cursor): (Vec<Moved>, u8)) {
        self.moved = moved;
        self.cursor = cursor;
        self.point(number);
    }

    /// Copies an instruction that is no branch.
    pub(super) fn copy(&mut self, number: usize, guest: &Guest) -> Result<(), TranslateError> {
        let instruction = &guest.instruction;
        if instruction.mnemonic() == Mnemonic::Rdtsc && self.request.virtual_tsc {
            self.virtual_tsc(number);
            return Ok(());
        }
        if !instruction.is_ip_rel_memory_operand() {
            self.asm.bytes(&guest.bytes);
            return Ok(());
        }
        if self.reaches(instruction.ip_rel_memory_address()) {
            return self.asm.encode(instruction);
        }
        self.copy_far(number, guest)
    }

    /// Whether a displacement from here reaches `address` (with room for the rest of the unit).
    fn reaches(&self, address: u64) -> bool {
        let distance = address.wrapping_sub(self.asm.here()) as i64;
        distance.unsigned_abs() < (1 << 31) - (1 << 16)
    }

    /// Copies an instruction whose operand no displacement reaches: its address goes through a register.
    fn copy_far(&mut self, number: usize, guest: &Guest) -> Result<(), TranslateError> {
        let address = guest.instruction.ip_rel_memory_address();
        let mut instruction = guest.instruction;
        let mut busy = used(guest);
        busy.insert(self.cursor);
        for moved in &self.moved {
            busy.insert(moved.register);
        }
        // Next to `ah` and its like no register will do that needs a REX prefix.
        let register = busy.first_free_low().or(busy.first_free());
        let register = register.unwrap_or(R15);
        instruction.set_memory_base(gpr64(register));
        instruction.set_memory_displacement64(0);
        instruction.set_memory_displ_size(0);
        self.asm.save(register);
        self.displace(number, register, Place::Home);
        self.asm.constant(register, address);
        self.asm.encode(&instruction)?;
        self.asm.restore(register);
        self.settle(number + 1, register);
        Ok(())
    }

    /// Loads `bytes` at the memory operand of `instruction`, `offset` further, into `register`.
    pub(super) fn load_operand(
        &mut self,
        register: u8,
        instruction: &Instruction,
        offset: u64,
        bytes: usize,
    ) -> Result<(), TranslateError> {
        let pc = instruction.ip();
        if instruction.is_ip_rel_memory_operand() {
            let address = instruction.ip_rel_memory_address().wrapping_add(offset);
            if !self.reaches(address) {
                self.asm.constant(register, address);
                let memory = MemoryOperand::with_base(gpr64(register));
                return self.asm.load(register, memory, bytes, pc);
            }
            let memory = MemoryOperand::with_base_displ(Register::RIP, address as i64);
            return self.asm.load(register, memory, bytes, pc);
        }
        let displacement = instruction.memory_displacement64().wrapping_add(offset) as i64;
        let segment = match instruction.memory_segment() {
            Register::FS => Register::FS,
            _ => Register::None,
        };
        let memory = MemoryOperand::new(
            instruction.memory_base(),
            instruction.memory_index(),
            instruction.memory_index_scale(),
            displacement,
            if displacement == 0 && instruction.memory_base() != Register::None {
                0
            } else {
                8
            },
            false,
            segment,
        );
        self.asm.load(register, memory, bytes, pc)
    }

    /// `rdtsc` of the virtual counter.
    fn virtual_tsc(&mut self, number: usize) {
        const RAX: u8 = 0;
        const RDX: u8 = 2;
        self.asm.load_context(RDX, TSC);
        self.asm.store_context(TARGET, RDX);
        self.asm.add(RAX, RDX, TSC_STEP);
        self.asm.store_context(TSC, RAX);
        self.point(number + 1);
        self.asm.load_context32(RAX, TARGET);
        self.asm.load_context32(RDX, TARGET + 4);
    }

    /// A new exit; returns its number.
    pub(super) fn exit(&mut self, kind: ExitKind) -> usize {
        self.exits.push(Exit {
            trap: 0,
            link: None,
            warm: None,
            prefix: None,
            kind,
        });
        self.exits.len() - 1
    }

    /// Emits a patchable branch (`opcode` and a displacement) to an exit.
    pub(super) fn branch(&mut self, opcode: &[u8], exit: usize) {
        let at = self.asm.linkable(opcode);
        self.exits[exit].link = Some(at);
        self.links.push(Link { exit, at });
    }

    /// Emits a jump to an exit that is never linked.
    pub(super) fn leave(&mut self, exit: usize) {
        let at = self.asm.relative(&[0xe9]);
        self.links.push(Link { exit, at });
    }

    /// A displacement at `at` leads to `target` inside the unit.
    pub(super) fn leads_inside(&mut self, at: u32, target: u32) {
        self.inner.push((at, target));
    }

    /// A displacement of one byte at `at` leads to `target` inside the unit.
    pub(super) fn leads_nearby(&mut self, at: u32, target: u32) {
        self.short.push((at, target));
    }

    /// `push` of a constant.
    pub(super) fn push(&mut self, value: u64) {
        let at = self.asm.push_constant();
        self.constants.push((at, value));
    }

    /// Emits traps and constants, fills in displacements.
    pub(super) fn finish(mut self, plan: &Plan) -> Result<Unit, TranslateError> {
        let main_row_bytes = self.main_row_bytes;
        let traps: Vec<u32> = (0..self.exits.len()).map(|_| self.trap()).collect();
        while !self.asm.offset().is_multiple_of(8) {
            self.asm.bytes(&[INT3]);
        }
        let mut placed = Vec::new();
        for &(at, value) in &self.constants {
            placed.push((at, self.asm.offset()));
            self.asm.bytes(&value.to_le_bytes());
        }
        let template = self.template(plan, main_row_bytes);
        let mut code = self.asm.finish(self.request.pc)?;
        for (exit, trap) in self.exits.iter_mut().zip(&traps) {
            exit.trap = *trap;
        }
        for link in &self.links {
            point(&mut code, link.at, traps[link.exit]);
        }
        for (at, target) in placed.into_iter().chain(self.inner.iter().copied()) {
            point(&mut code, at, target);
        }
        for &(at, target) in &self.short {
            code[at as usize] = (target - (at + 1)) as u8;
        }
        let mut exits = self.exits;
        if !template.ends_block {
            let (pc, instructions) = template.block(template.instructions.len() as u32);
            let prefix = (instructions > 0).then_some(Prefix { pc, instructions });
            for exit in &mut exits[..self.side_exits_from] {
                exit.prefix = prefix;
            }
        }
        Ok(Unit {
            sides: self
                .sides
                .iter()
                .map(|side| side.template(&template))
                .collect(),
            guest_bytes: plan
                .block
                .guests
                .iter()
                .map(|guest| guest.bytes.len() as u32)
                .sum(),
            template,
            code,
            exits,
            warm_entry: self.warm_entry,
            heads: self.heads,
            points: self.points,
            counted_from: self.counted_from,
        })
    }

    fn template(&mut self, plan: &Plan, row_bytes: u32) -> UnitTemplate {
        let mut values = std::mem::take(&mut self.values).into_iter();
        let instructions = plan.block.guests.iter().map(|guest| UnitInstruction {
            pc: guest.pc(),
            bytes: guest.bytes.clone(),
            values: values.next().unwrap_or_default(),
        });
        UnitTemplate {
            id: self.request.id,
            pc: self.request.pc,
            prefix: self.request.prefix,
            ends_block: matches!(plan.block.end, End::Branch | End::Cap(_)),
            row_bytes,
            instructions: instructions.collect(),
            starts: plan.block.starts.clone(),
            memory: std::mem::take(&mut self.memory),
        }
    }

    fn trap(&mut self) -> u32 {
        let at = self.asm.offset();
        self.asm.bytes(&[INT3]);
        at
    }
}
