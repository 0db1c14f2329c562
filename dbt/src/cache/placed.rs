//! Units in their places.

use fits_stats::template::{Prefix, UnitId, UnitInstruction, UnitTemplate};
use iced_x86::{Decoder, DecoderOptions, Mnemonic};

use crate::unit::{Exit, ExitKind, Head, Point, Unit, WarmEntry};

/// What lies at a host address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Code of a unit, which may have been forgotten meanwhile.
    Unit {
        /// The unit.
        id: UnitId,
        /// Offset in its code.
        offset: u32,
    },
    /// The trap of indirect branches that are not in the table.
    JumpMiss,
    /// An entry of the table, or a jump to another zone.
    Stub,
}

/// What the last instruction of a unit does with return addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It calls, and this is where the call returns to.
    Call(u64),
    /// It returns.
    Return,
    /// Neither.
    Other,
}

impl Ending {
    fn of(last: Option<&UnitInstruction>) -> Self {
        let Some(last) = last else {
            return Self::Other;
        };
        let instruction = Decoder::with_ip(64, &last.bytes, last.pc, DecoderOptions::NONE).decode();
        match instruction.mnemonic() {
            Mnemonic::Call => Self::Call(instruction.next_ip()),
            Mnemonic::Ret => Self::Return,
            _ => Self::Other,
        }
    }
}

/// A unit that has its place in the cache.
#[derive(Debug, Clone)]
pub struct Placed {
    /// Its zone.
    pub zone: usize,
    /// Host address of its entry.
    pub host: u64,
    /// Length of its code.
    pub code_bytes: u32,
    /// Guest address of its first instruction.
    pub pc: u64,
    /// The part of its block that came before.
    pub prefix: Option<Prefix>,
    /// Length of its row.
    pub row_bytes: u32,
    /// Guest addresses of its instructions.
    pub instructions: Vec<u64>,
    /// Which of them begin a basic block, but for the first.
    pub starts: Vec<u16>,
    /// How many instructions are executed when it is left by each of its sides, whose numbers follow its own.
    pub sides: Vec<usize>,
    /// What its last instruction does with return addresses.
    pub ending: Ending,
    /// The ways out.
    pub exits: Vec<Exit>,
    /// Where it can be entered as well.
    pub warm_entry: Option<WarmEntry>,
    /// See [`Unit::heads`].
    pub heads: Vec<Head>,
    /// The map to guest states.
    pub points: Vec<Point>,
    /// See [`Unit::counted_from`].
    pub counted_from: u32,
    /// Exits of units that are linked to it.
    pub(super) incoming: Vec<(UnitId, u16)>,
}

impl Placed {
    pub(super) fn new(
        unit: Unit,
        sides: Vec<usize>,
        zone: usize,
        host: u64,
    ) -> (Self, UnitTemplate) {
        let template = unit.template;
        let placed = Self {
            zone,
            host,
            code_bytes: unit.code.len() as u32,
            pc: template.pc,
            prefix: template.prefix,
            row_bytes: template.row_bytes,
            instructions: template.instructions.iter().map(|one| one.pc).collect(),
            starts: template.starts.clone(),
            sides,
            ending: Ending::of(template.instructions.last()),
            exits: unit.exits,
            warm_entry: unit.warm_entry,
            heads: unit.heads,
            points: unit.points,
            counted_from: unit.counted_from,
            incoming: Vec::new(),
        };
        (placed, template)
    }

    /// Guest addresses of the basic blocks that its first `executed` instructions are of.
    pub fn blocks(&self, executed: usize) -> Vec<u64> {
        let starts = self.starts.iter().map(|&start| usize::from(start));
        let begun = std::iter::once(0)
            .chain(starts)
            .filter(|&start| start < executed);
        begun
            .filter_map(|start| self.instructions.get(start).copied())
            .collect()
    }

    /// The exit whose trap is at `offset`.
    pub fn exit_at(&self, offset: u32) -> Option<usize> {
        self.exits.iter().position(|exit| exit.trap == offset)
    }

    /// The beginning of a block of a region that is at `offset`.
    pub fn head_at(&self, offset: u32) -> Option<usize> {
        self.heads.iter().position(|head| head.offset == offset)
    }

    /// How many instructions before this one have retired that are not yet taken off the budget: all of the unit's, or those of its block and what is
    /// [owed](Head::owed) there in a region.
    pub fn executed_before(&self, instruction: u16) -> u32 {
        let block = self.starts.partition_point(|&start| start <= instruction);
        let Some(head) = self.heads.get(block) else {
            return instruction.into();
        };
        let start = block.checked_sub(1).map_or(0, |last| self.starts[last]);
        u32::from(head.owed) + u32::from(instruction - start)
    }

    /// The point that a thread at `offset` is at or past.
    pub fn point_at(&self, offset: u32) -> Option<&Point> {
        let after = self.points.partition_point(|point| point.offset <= offset);
        self.points.get(after.checked_sub(1)?)
    }

    /// Guest addresses that it goes on at when its block has ended, where they are fixed.
    pub fn direct_targets(&self) -> impl Iterator<Item = u64> {
        let ended = self.exits.iter().filter(|exit| exit.prefix.is_none());
        ended.filter_map(|exit| match exit.kind {
            ExitKind::Direct(pc) => Some(pc),
            _ => None,
        })
    }

    /// Guest address behind an exit, where it is fixed.
    pub fn direct_target(&self, exit: usize) -> Option<u64> {
        match self.exits[exit].kind {
            ExitKind::Direct(pc) => Some(pc),
            _ => None,
        }
    }
}
