//! Several hot blocks and the branches between them as one unit (mode `budget`): not one path through them, but all.
//!
//! Code whose branches go either way leaves every path soon. In a *region* such branches, loops, calls, and returns to where the region has
//! called from lead from block to block without leaving the unit:
//!
//! - Each block takes what it executes off the budget just before its branch, or leaves that to a block that only it leads to. What the
//!   budget suffices for is tested at the region's entry and wherever a branch leads back, for all that can be executed before the next such test.
//! - Each block has the budget where it suits it, in r15 or in a register that it does not use; a branch between blocks that do not agree moves it.
//! - A block's beginning is a boundary, as the beginning of a unit is: [`Head`].

use rustc_hash::FxHashMap;

use super::TranslateError;
use super::decode::{self, Block, End};
use super::difference::Difference;
use super::exits::{self, JMP, condition};
use super::registers::{Plan, R15, RCX, RSP, Set, leaves_indirectly, used};
use super::sides::Side;
use super::writer::Writer;
use crate::layout::{LOOKUP, SOURCE, TARGET};
use crate::mode::Mode;
use crate::unit::{ExitKind, GuestCode, Head, Moved, Place, Request, Unit};
use fits_stats::template::UnitId;
use iced_x86::Mnemonic;

/// The most instructions of a region: so many are stepped, at most, where a budget ends.
const MAX_REGION: usize = 256;

/// A block that may go into a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HotBlock {
    /// Guest address.
    pub pc: u64,
    /// How often it was executed.
    pub executions: u64,
}

/// How a block ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It goes on there.
    To(u64),
    /// It pushes the address behind it and goes there.
    Call(u64, u64),
    /// A conditional branch: where it leads, and what follows it.
    Either(u64, u64),
    /// A return.
    Return,
    /// Another branch to an address that only execution knows.
    Indirect,
}

impl Way {
    fn of(block: &Block) -> Option<Self> {
        if let End::Cap(next) = block.end {
            return Some(Self::To(next));
        }
        let last = block.guests.last().filter(|_| block.end == End::Branch)?;
        let instruction = &last.instruction;
        let (target, next) = (instruction.near_branch_target(), instruction.next_ip());
        if instruction.mnemonic() == Mnemonic::Ret {
            Some(Self::Return)
        } else if leaves_indirectly(last) {
            Some(Self::Indirect)
        } else if instruction.is_call_near() {
            Some(Self::Call(target, next))
        } else if instruction.is_jcc_short_or_near() {
            Some(Self::Either(target, next))
        } else if instruction.is_jmp_short_or_near() {
            Some(Self::To(target))
        } else {
            None
        }
    }
}

/// A block of a region.
struct Node {
    pc: u64,
    executions: u64,
    /// Its instructions are these of the unit.
    first: usize,
    length: usize,
    way: Way,
    /// Where the region's returns guess that they return to: a block.
    guess: Option<usize>,
    /// Registers that its instructions use.
    used: Set,
    /// Where it has the budget.
    cursor: u8,
    /// It tests that the budget suffices for so many instructions.
    tests: Option<usize>,
    /// So many instructions have been executed before it that are still to be taken off the budget.
    owed: usize,
    /// The one way to it leaves them to it.
    deferred: bool,
}

/// A region as it is to be emitted.
struct Region {
    nodes: Vec<Node>,
    at: FxHashMap<u64, usize>,
}

/// Translates hot blocks, the first of them the one at `request.pc`, in the order in which they shall lie, as one unit. Those that do not fit are left out;
/// without the first there are no others, and the unit is empty.
///
/// # Errors
/// As [`super::unit()`].
pub fn region(
    code: &dyn GuestCode,
    request: &Request,
    blocks: &[HotBlock],
) -> Result<Unit, TranslateError> {
    debug_assert_eq!(request.mode, Mode::Budget);
    let (region, block) = Region::of(code, request, blocks);
    let plan = Plan {
        block,
        cursor: R15,
        scratch: RCX,
    };
    let mut emitter = Emitter {
        writer: Writer::new(request),
        labels: Vec::new(),
        jumps: Vec::new(),
        stubs: Vec::new(),
        region: &region,
        plan: &plan,
    };
    emitter.emit()?;
    emitter.writer.finish(&plan)
}

impl Region {
    fn of(code: &dyn GuestCode, request: &Request, blocks: &[HotBlock]) -> (Self, Block) {
        let mut region = Self {
            nodes: Vec::new(),
            at: FxHashMap::default(),
        };
        let mut all = Block {
            guests: Vec::new(),
            starts: Vec::new(),
            end: End::Branch,
        };
        for &HotBlock { pc, executions } in blocks {
            if code.is_marked(pc) || region.at.contains_key(&pc) {
                continue;
            }
            if region.nodes.is_empty() && pc != request.pc {
                // Its first block is none for a region.
                break;
            }
            let prefix = None;
            let block = decode::block(
                code,
                &Request {
                    pc,
                    prefix,
                    ..*request
                },
            );
            let Some(way) = Way::of(&block) else {
                continue;
            };
            let used = (block.guests.iter()).fold(Set::default(), |set, one| set.union(used(one)));
            let first = all.guests.len();
            let length = block.guests.len();
            if free(used).next().is_none() || length == 0 || first + length > MAX_REGION {
                continue;
            }
            if first > 0 {
                all.starts.push(first as u16);
            }
            region.at.insert(pc, region.nodes.len());
            region.nodes.push(Node {
                pc,
                executions,
                first,
                length,
                way,
                guess: None,
                used,
                cursor: R15,
                tests: None,
                owed: 0,
                deferred: false,
            });
            all.guests.extend(block.guests);
        }
        region.guess();
        region.choose_cursors();
        region.place_tests();
        region.defer();
        (region, all)
    }

    /// The blocks of the region that may come after one.
    fn successors(&self, node: usize) -> impl Iterator<Item = usize> {
        let node = &self.nodes[node];
        let (one, other) = match node.way {
            Way::To(pc) | Way::Call(pc, _) => (Some(pc), None),
            Way::Either(taken, next) => (Some(taken), Some(next)),
            Way::Return | Way::Indirect => (None, None),
        };
        let direct = one.into_iter().chain(other);
        direct
            .filter_map(|pc| self.at.get(&pc).copied())
            .chain(node.guess)
    }

    /// Finds for each return the hottest call of its function, if that and what it returns to are in the region.
    fn guess(&mut self) {
        let mut calls: Vec<(u64, usize, usize)> = Vec::new();
        for node in &self.nodes {
            if let Way::Call(target, next) = node.way
                && let (Some(&to), Some(&back)) = (self.at.get(&target), self.at.get(&next))
            {
                calls.push((node.executions, to, back));
            }
        }
        // The hottest one last: it stays.
        calls.sort_unstable();
        for (_, to, back) in calls {
            for node in self.within_function(to) {
                if self.nodes[node].way == Way::Return {
                    self.nodes[node].guess = Some(back);
                }
            }
        }
    }

    /// The blocks that are reached from the first one of a function without leaving it.
    fn within_function(&self, entry: usize) -> Vec<usize> {
        let mut reached = vec![entry];
        let mut looked_at = 0;
        while let Some(&node) = reached.get(looked_at) {
            looked_at += 1;
            let behind: Vec<usize> = match self.nodes[node].way {
                Way::Call(_, next) => self.at.get(&next).copied().into_iter().collect(),
                Way::Return => Vec::new(),
                _ => self.successors(node).collect(),
            };
            for next in behind {
                if !reached.contains(&next) {
                    reached.push(next);
                }
            }
        }
        reached
    }

    /// Leaves it to a block to take off the budget what has been executed before it, where only one way leads to it and no other way pays for that.
    fn defer(&mut self) {
        let mut ways_to = vec![0; self.nodes.len()];
        for from in 0..self.nodes.len() {
            self.successors(from).for_each(|to| ways_to[to] += 1);
        }
        let mut deferred = vec![None; self.nodes.len()];
        for from in 0..self.nodes.len() {
            for to in self.successors(from) {
                if to != 0
                    && to != from
                    && ways_to[to] == 1
                    && self.is_worth_deferring(from, to, &ways_to)
                {
                    deferred[to] = Some(from);
                }
            }
        }
        for node in 0..self.nodes.len() {
            // Up along the ways that were deferred; there is no way around, since nothing that is on a cycle of such ways can be reached.
            let (mut at, mut owed) = (node, 0);
            while let Some(from) = deferred[at] {
                owed += self.nodes[from].length;
                at = from;
                if owed > MAX_REGION {
                    break;
                }
            }
            self.nodes[node].owed = owed;
            self.nodes[node].deferred = deferred[node].is_some();
        }
    }

    /// Whether no other way out of `from` becomes longer, or only one that is gone less often.
    fn is_worth_deferring(&self, from: usize, to: usize, ways_to: &[usize]) -> bool {
        let Way::Either(taken, next) = self.nodes[from].way else {
            return true;
        };
        let there = self.nodes[to].pc;
        let other = if there == taken { next } else { taken };
        let Some(&beside) = self.at.get(&other) else {
            return true;
        };
        let both = beside != 0 && beside != from && ways_to[beside] == 1;
        let follows = to == from + 1;
        both || !follows
            || self.nodes[beside].cursor != self.nodes[from].cursor
            || self.nodes[beside].executions < self.nodes[to].executions
    }

    /// Where each block has the budget, so that few branches must move it.
    fn choose_cursors(&mut self) {
        let mut edges = Vec::new();
        for from in 0..self.nodes.len() {
            for to in self.successors(from) {
                let executions = self.nodes[from].executions.min(self.nodes[to].executions);
                edges.push((from, to, executions));
            }
        }
        let mut best: Option<(u64, Vec<u8>)> = None;
        for favourite in candidates() {
            let mut cursors: Vec<u8> = (self.nodes.iter())
                .map(|node| first_or(free(node.used), favourite))
                .collect();
            for _ in 0..ROUNDS {
                for (number, node) in self.nodes.iter().enumerate() {
                    let agreeing = |register: u8| -> u64 {
                        (edges.iter())
                            .filter(|&&(from, to, _)| {
                                from != to
                                    && (from == number && cursors[to] == register
                                        || to == number && cursors[from] == register)
                            })
                            .map(|edge| edge.2)
                            .sum()
                    };
                    let own = cursors[number];
                    let better = free(node.used).max_by_key(|&register| {
                        (agreeing(register), register == own, register == favourite)
                    });
                    cursors[number] = better.unwrap_or(own);
                }
            }
            let moves = (edges.iter())
                .filter(|&&(from, to, _)| cursors[from] != cursors[to])
                .map(|edge| edge.2)
                .sum();
            if best.as_ref().is_none_or(|best| moves < best.0) {
                best = Some((moves, cursors));
            }
        }
        for (node, cursor) in self.nodes.iter_mut().zip(best.unwrap_or_default().1) {
            node.cursor = cursor;
        }
    }

    /// Every cycle has a test in it, since each has a branch that leads back.
    fn place_tests(&mut self) {
        let mut tested = vec![false; self.nodes.len()];
        let mut most = vec![0; self.nodes.len()];
        if let Some(entry) = tested.first_mut() {
            *entry = true;
        }
        for from in 0..self.nodes.len() {
            for to in self.successors(from).filter(|&to| to <= from) {
                tested[to] = true;
            }
        }
        for node in (0..self.nodes.len()).rev() {
            let behind = (self.successors(node)).filter(|&to| to > node && !tested[to]);
            let longest = behind.map(|to| most[to]).max().unwrap_or(0);
            most[node] = self.nodes[node].length + longest;
        }
        for (node, (tested, most)) in self.nodes.iter_mut().zip(tested.into_iter().zip(most)) {
            node.tests = tested.then_some(most);
        }
    }
}

/// How often the choice of each register is looked at again.
const ROUNDS: usize = 4;

/// Registers that the budget may be in: the one at the boundaries of units, and others that code with short encodings uses least.
fn candidates() -> impl Iterator<Item = u8> {
    [R15, 11, 10, 9, 8, 14, 13, 12, 7, 6, 5, 3, 2, 0].into_iter()
}

fn free(used: Set) -> impl Iterator<Item = u8> {
    debug_assert!(candidates().all(|register| register != RSP && register != RCX));
    candidates().filter(move |&register| !used.contains(register))
}

fn first_or(registers: impl Iterator<Item = u8>, favourite: u8) -> u8 {
    let mut first = None;
    for register in registers {
        if register == favourite {
            return favourite;
        }
        first = first.or(Some(register));
    }
    first.unwrap_or(favourite)
}

/// Where a conditional branch leads to at first.
struct Stub {
    /// The branch's displacement.
    at: u32,
    node: usize,
    target: u64,
    settled: bool,
}

struct Emitter<'a> {
    writer: Writer<'a>,
    region: &'a Region,
    plan: &'a Plan,
    /// Where the blocks lie.
    labels: Vec<u32>,
    /// Displacements that lead to blocks.
    jumps: Vec<(u32, usize)>,
    stubs: Vec<Stub>,
}

/// Which registers are elsewhere while the budget is in `cursor`.
fn with_budget_in(cursor: u8) -> (Vec<Moved>, u8) {
    let moved = Moved {
        register: cursor,
        to: Place::Home,
    };
    (vec![moved], cursor)
}

impl Emitter<'_> {
    fn emit(&mut self) -> Result<(), TranslateError> {
        self.writer.point(0);
        if let Some(first) = self.region.nodes.first() {
            self.move_budget(first.first, R15, first.cursor);
        }
        for node in 0..self.region.nodes.len() {
            self.block(node)?;
        }
        for stub in std::mem::take(&mut self.stubs) {
            let from = &self.region.nodes[stub.node];
            let here = self.writer.asm.offset();
            self.writer.leads_inside(stub.at, here);
            let state = with_budget_in(from.cursor);
            let number = if stub.settled { self.all() } else { from.first };
            self.writer.resume_with(number, state);
            self.go(stub.node, stub.target, false, stub.settled);
        }
        for (at, node) in std::mem::take(&mut self.jumps) {
            self.writer.leads_inside(at, self.labels[node]);
        }
        Ok(())
    }

    fn block(&mut self, number: usize) -> Result<(), TranslateError> {
        let node = &self.region.nodes[number];
        let label = self.writer.asm.offset();
        self.labels.push(label);
        self.writer
            .resume_with(node.first, with_budget_in(node.cursor));
        self.writer.heads.push(Head {
            offset: label,
            pc: node.pc,
            cursor: node.cursor,
            owed: node.owed as u16,
        });
        if let Some(most) = node.tests {
            let (asm, cursor) = (&mut self.writer.asm, node.cursor);
            asm.store(cursor, -((most + node.owed) as i32), cursor, 1);
        }
        let last = node.first + node.length - 1;
        for instruction in node.first..=last {
            let guest = &self.plan.block.guests[instruction];
            self.writer.point(instruction);
            if !guest.facts.ends_block {
                self.writer.copy(instruction, guest)?;
            }
        }
        match node.way {
            Way::To(pc) => self.go(number, pc, true, false),
            Way::Call(pc, next) => {
                self.writer.push(next);
                self.go(number, pc, true, false);
            }
            Way::Either(taken, next) => self.either(number, last, taken, next),
            Way::Return | Way::Indirect => self.indirect(number, last)?,
        }
        Ok(())
    }

    /// Takes what was executed off the budget, up to the block's end.
    fn take(&mut self, node: &Node) {
        let executed = node.owed + node.length;
        let cursor = node.cursor;
        self.writer.asm.add(cursor, cursor, -(executed as i32));
        self.writer.point(self.all());
    }

    /// The number that says that the budget tells all that has been executed.
    fn all(&self) -> usize {
        self.plan.block.guests.len()
    }

    /// Whether the way to `target` leaves it to the block there to take off the budget what was executed.
    fn is_deferred(&self, target: u64) -> bool {
        let to = self.region.at.get(&target);
        to.is_some_and(|&to| self.region.nodes[to].deferred)
    }

    fn either(&mut self, number: usize, last: usize, taken: u64, next: u64) {
        let instruction = &self.plan.block.guests[last].instruction;
        let code = condition(instruction.condition_code());
        if taken == next {
            return self.go(number, next, true, false);
        }
        let follows = |pc| self.region.at.get(&pc) == Some(&(number + 1));
        let (first, second) = (self.is_deferred(taken), self.is_deferred(next));
        let inverted = match (first, second) {
            // Who takes it off the budget does so after the branch.
            (true, false) => false,
            (false, true) if !follows(next) => true,
            _ => follows(taken),
        };
        let (code, there, behind) = if inverted {
            (code ^ 1, next, taken)
        } else {
            (code, taken, next)
        };
        let settled = !first && !second;
        if settled {
            self.take(&self.region.nodes[number]);
        }
        self.branch(number, code, there, settled);
        self.go(number, behind, true, settled);
    }

    /// A conditional branch to what is at a guest address. `settled`: the budget tells all that has been executed.
    fn branch(&mut self, number: usize, code: u8, target: u64, settled: bool) {
        let cursor = self.region.nodes[number].cursor;
        let opcode = [0x0f, 0x80 + code];
        let ready = settled || self.is_deferred(target);
        match self.region.at.get(&target) {
            Some(&to) if ready && self.region.nodes[to].cursor == cursor => {
                let at = self.writer.asm.relative(&opcode);
                self.jumps.push((at, to));
            }
            None if ready && cursor == R15 => {
                let exit = self.writer.exit(ExitKind::Direct(target));
                self.writer.branch(&opcode, exit);
            }
            _ => {
                let at = self.writer.asm.relative(&opcode);
                self.stubs.push(Stub {
                    at,
                    node: number,
                    target,
                    settled,
                });
            }
        }
    }

    /// Goes on at a guest address; `follows` if what comes next is the next block.
    fn go(&mut self, from: usize, target: u64, follows: bool, settled: bool) {
        let node = &self.region.nodes[from];
        if !settled && !self.is_deferred(target) {
            self.take(node);
        }
        if let Some(&to) = self.region.at.get(&target) {
            return self.go_inside(from, to, follows);
        }
        self.move_budget(self.all(), node.cursor, R15);
        let exit = self.writer.exit(ExitKind::Direct(target));
        self.writer.branch(JMP, exit);
    }

    fn go_inside(&mut self, from: usize, to: usize, follows: bool) {
        let node = &self.region.nodes[from];
        let there = &self.region.nodes[to];
        self.move_budget(self.all(), node.cursor, there.cursor);
        if !follows || to != from + 1 {
            let at = self.writer.asm.relative(JMP);
            self.jumps.push((at, to));
        }
    }

    /// Moves the budget from one register to another, after which the first one is the guest's again.
    fn move_budget(&mut self, number: usize, from: u8, to: u8) {
        if from == to {
            return;
        }
        let writer = &mut self.writer;
        writer.asm.save(to);
        writer.displace(number, to, Place::Home);
        writer.asm.mov(to, from);
        writer.cursor_in(number, to);
        writer.asm.restore(from);
        writer.settle(number, from);
    }

    /// A return, or another branch to an address that only execution knows.
    fn indirect(&mut self, number: usize, last: usize) -> Result<(), TranslateError> {
        let node = &self.region.nodes[number];
        let guest = &self.plan.block.guests[last];
        let instruction = &guest.instruction;
        if instruction.mnemonic() == Mnemonic::Ret {
            self.writer.asm.save(RCX);
            self.writer.displace(last, RCX, Place::Home);
            self.writer.asm.pop(RCX);
        } else {
            exits::load_target(&mut self.writer, last, guest)?;
        }
        if instruction.is_call_near_indirect() {
            self.writer.push(instruction.next_ip());
        }
        if instruction.mnemonic() == Mnemonic::Ret {
            let more = instruction.stack_pointer_increment() - 8;
            self.writer.asm.drop_stack(more);
            if let Some(to) = node.guess {
                self.guess(number, last, to);
            }
            self.writer.asm.store_context(TARGET, RCX);
        }
        self.take(node);
        // Which branch it is, for the case that it turns out to fault.
        let id = self.writer.request.id + 1 + self.writer.sides.len() as UnitId;
        self.writer.sides.push(Side::at(id, last + 1));
        self.move_budget(self.all(), node.cursor, R15);
        self.writer.asm.store_context_constant(SOURCE, id);
        self.writer.asm.low16(RCX);
        self.writer.asm.jump_table(RCX, LOOKUP);
        Ok(())
    }

    /// Goes to a block if its address is in rcx.
    fn guess(&mut self, number: usize, last: usize, to: usize) {
        let before = self.writer.moved();
        let difference = Difference::from(self.region.nodes[to].pc);
        difference.take(&mut self.writer.asm);
        self.writer.asm.skip_jump_if_rcx_zero();
        let otherwise = self.writer.asm.relative(JMP);
        self.writer.asm.restore(RCX);
        self.writer.settle(last, RCX);
        if !self.region.nodes[to].deferred {
            self.take(&self.region.nodes[number]);
        }
        self.go_inside(number, to, false);
        let miss = self.writer.asm.offset();
        self.writer.leads_inside(otherwise, miss);
        self.writer.resume_with(last, before);
        difference.give_back(&mut self.writer.asm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_favourite_is_taken_where_it_is_free() {
        let mut used = Set::default();
        assert_eq!(first_or(free(used), 10), 10);
        used.insert(10);
        assert_eq!(first_or(free(used), 10), R15);
        for register in candidates() {
            used.insert(register);
        }
        assert_eq!(free(used).next(), None);
    }
}
