//! Level `counts`: one counter a unit, incremented where nobody can see it.
//!
//! `inc` changes flags, so it stands just before an instruction that overwrites all of those without reading any and can't fault.
//! Where a unit has none, a register takes the detour through `lea`: one that an instruction overwrites anyway, or rcx saved
//! and restored.

use super::TranslateError;
use super::decode::Guest;
use super::exits;
use super::registers::{Plan, RCX, RSP, Set, leaves_indirectly, used};
use super::sides;
use super::writer::Writer;
use crate::layout::COUNTERS;
use crate::unit::Place;
use fits_stats::template::UnitId;
use iced_x86::{Mnemonic, RflagsBits};

/// The flags that `inc` changes.
const INC_FLAGS: u32 =
    RflagsBits::OF | RflagsBits::SF | RflagsBits::ZF | RflagsBits::AF | RflagsBits::PF;

/// How the execution is counted, before which instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// `inc`.
    Increment,
    /// Through this register, which the instruction overwrites.
    Through(u8),
    /// Through this register, which is saved and restored.
    Saved(u8),
}

/// Emits the unit.
pub(super) fn body(writer: &mut Writer, plan: &Plan) -> Result<(), TranslateError> {
    instructions(writer, plan, true)
}

/// Emits the unit's instructions and the ways out, the count of its execution among them if `counted`.
pub(super) fn instructions(
    writer: &mut Writer,
    plan: &Plan,
    counted: bool,
) -> Result<(), TranslateError> {
    let guests = &plan.block.guests;
    // Whoever leaves by a side must not have been counted.
    let from = guests
        .iter()
        .rposition(|guest| guest.goes_on)
        .map_or(0, |last| last + 1);
    let (place, way) = choose(&guests[from..]);
    let place = from + place;
    for (number, guest) in guests.iter().enumerate() {
        writer.point(number);
        if counted && number == place {
            count(writer, number, way);
        }
        if !guest.facts.ends_block {
            writer.copy(number, guest)?;
        } else if guest.goes_on {
            let next = guests[number + 1].pc();
            sides::branch(writer, number, &guest.instruction, next, 0);
        } else if leaves_indirectly(guest) {
            exits::load_target(writer, number, guest)?;
        }
    }
    if guests.is_empty() {
        writer.point(0);
    }
    exits::emit(writer, plan)
}

fn choose(guests: &[Guest]) -> (usize, Way) {
    let place = |test: &dyn Fn(&Guest) -> bool| {
        guests
            .iter()
            .position(|guest| guest.facts.memory.is_empty() && test(guest))
    };
    if let Some(number) = place(&overwrites_flags) {
        return (number, Way::Increment);
    }
    let through = |guest: &Guest| overwritten(guest).is_some();
    if let Some(number) = place(&through)
        && let Some(register) = overwritten(&guests[number])
    {
        return (number, Way::Through(register));
    }
    (0, Way::Saved(RCX))
}

fn overwrites_flags(guest: &Guest) -> bool {
    use Mnemonic::{Add, And, Cmp, Dec, Inc, Neg, Or, Sub, Test, Xor};
    let instruction = &guest.instruction;
    // Only instructions that define every flag for every operand value; shifts, multiplications and the like don't.
    matches!(
        instruction.mnemonic(),
        Add | And | Cmp | Dec | Inc | Neg | Or | Sub | Test | Xor
    ) && instruction.rflags_read() & INC_FLAGS == 0
        && instruction.rflags_modified() & INC_FLAGS == INC_FLAGS
        && instruction.rflags_undefined() & !RflagsBits::AF == 0
}

/// A general register that the instruction overwrites without reading it, and without any chance of a fault before that.
fn overwritten(guest: &Guest) -> Option<u8> {
    use Mnemonic::{
        Lea, Lzcnt, Mov, Movd, Movmskpd, Movmskps, Movq, Movsx, Movsxd, Movzx, Pmovmskb, Popcnt,
        Rorx, Tzcnt, Vmovd, Vmovq, Vpmovmskb,
    };
    let cannot_fault = matches!(
        guest.instruction.mnemonic(),
        Lea | Lzcnt
            | Mov
            | Movd
            | Movmskpd
            | Movmskps
            | Movq
            | Movsx
            | Movsxd
            | Movzx
            | Pmovmskb
            | Popcnt
            | Rorx
            | Tzcnt
            | Vmovd
            | Vmovq
            | Vpmovmskb
    );
    let uses_x87 = guest
        .facts
        .reads
        .iter()
        .any(|reg| reg.name().starts_with("mm"));
    if !cannot_fault || uses_x87 {
        return None;
    }
    let facts = &guest.facts;
    let register = facts
        .kills
        .iter()
        .find(|reg| reg.index() < 16 && !facts.reads.contains(reg))?;
    Some(register.index() as u8).filter(|&register| register != super::registers::RSP)
}

/// Counts the execution of a part of the unit, on the way out of it.
pub(super) fn at_side(writer: &mut Writer, plan: &Plan, number: usize, id: UnitId) {
    let counted_from = writer.counted_from;
    let register = idle(&plan.block.guests[..number]);
    count_as(writer, number, Way::Saved(register), id);
    writer.counted_from = counted_from;
}

/// The register that has not been used for longest: what follows waits least for it.
fn idle(guests: &[Guest]) -> u8 {
    let mut busy = Set::default();
    busy.insert(RSP);
    for guest in guests.iter().rev() {
        let with = busy.union(used(guest));
        if with.first_free().is_none() {
            break;
        }
        busy = with;
    }
    busy.first_free().unwrap_or(RCX)
}

fn count(writer: &mut Writer, number: usize, way: Way) {
    count_as(writer, number, way, writer.request.id);
}

fn count_as(writer: &mut Writer, number: usize, way: Way, id: UnitId) {
    let counter = COUNTERS + 8 * id as i32;
    match way {
        Way::Increment => writer.asm.increment(counter),
        Way::Through(register) => through(writer, register, counter),
        Way::Saved(register) => {
            writer.asm.save(register);
            writer.displace(number, register, Place::Home);
            through(writer, register, counter);
            writer.asm.restore(register);
            writer.settle(number, register);
        }
    }
    writer.counted_from = writer.asm.offset();
}

fn through(writer: &mut Writer, register: u8, counter: i32) {
    writer.asm.load_context(register, counter);
    writer.asm.add(register, register, 1);
    writer.asm.store_context(counter, register);
}
