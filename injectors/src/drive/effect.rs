//! A fault that has begun: what it does at its moment, and to every newly written value while it lasts.

use fits_tracer::backend::BackendError;
use fits_tracer::live::Watch;
use fits_tracer::step::Decoded;

use super::accesses::accesses;
use super::instruction::{Doing, Record, change_part, memory_name};
use super::machine::Machine;
use super::native::watches;
use super::operands::Part;
use super::state::{State, missing};
use super::touch::{Place, overlap, physical, relative, touched};
use super::track::Tracked;
use crate::bits::Bits;
use crate::fault::{Cell, Change, Duration, Fault, Location, When};
use crate::resolve::{self, Draw};

/// A fault under way.
pub(crate) struct Effect {
    /// Which injection it is.
    pub(crate) number: usize,
    pub(crate) fault: Fault,
    /// The thread's index when it began.
    pub(crate) began: u64,
    pub(crate) kind: Kind,
    /// The index at its moment.
    drawn_at: u64,
    draw: Draw,
}

/// How many instructions may lie between a drawn moment and the instruction that a fault goes into.
const SLIDE: u64 = 1000;

/// What it is about.
pub(crate) enum Kind {
    /// Bits of a register; `fresh` are those that have been written since they were changed last.
    Register { part: Part, fresh: Bits },
    /// Bits of memory, `content` is what was there last.
    Memory {
        address: u64,
        content: Vec<u8>,
        fresh: Bits,
    },
    /// The bytes of an instruction, for more than one execution.
    Text {
        address: u64,
        original: Vec<u8>,
        altered: Vec<u8>,
        there: bool,
    },
    /// The instructions that execute; `done` after the first.
    Instruction { done: bool },
}

/// What a fault would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Foreseen {
    pub(crate) place: Place,
    /// The bits that would change.
    pub(crate) changed: Bits,
    /// Those that it is about.
    pub(crate) mask: Bits,
    /// What they would hold.
    pub(crate) value: Bits,
}

impl Foreseen {
    /// What becomes of `old`, the bits of a place from `offset` on.
    pub(crate) fn of(
        place: Place,
        old: Bits,
        width: u32,
        offset: u32,
        doing: &Doing,
    ) -> Result<Self, String> {
        let new = doing.apply(old, width, "the location")?;
        let mask = doing.change.map_or(Bits::ZERO, |change| change.mask(width));
        Ok(Self {
            place,
            changed: (old ^ new).up(offset),
            mask: (mask & Bits::ones(width)).up(offset),
            value: (new & mask).up(offset),
        })
    }
}

impl Effect {
    /// Finds out what the fault is about, at its moment. Changes nothing.
    pub(crate) fn new(machine: &mut Machine, number: usize, fault: &Fault) -> Result<Self, String> {
        let mut effect = Self {
            number,
            fault: fault.clone(),
            began: machine.index,
            drawn_at: machine.index,
            kind: Kind::Instruction { done: false },
            draw: Draw::new(fault.seed.unwrap_or_default()),
        };
        effect.kind = match &fault.location {
            Location::Register(register) => {
                if let Some(sentence) = missing(*register) {
                    return Err(sentence);
                }
                let mut part = Part::of(*register);
                let state = machine.state().map_err(|error| error.to_string())?;
                part.cell = physical(part.cell, state.x87_top());
                Kind::Register {
                    fresh: part.bits(),
                    part,
                }
            }
            Location::Memory(place) => {
                let bytes = effect.mask(Bits::WIDTH).width().div_ceil(8) as usize;
                let address = resolve::memory(&machine.live, place, bytes, &mut effect.draw)?;
                Kind::Memory {
                    content: machine.read(address, bytes)?,
                    fresh: Bits::ones(Bits::WIDTH),
                    address,
                }
            }
            Location::Text if fault.duration != Duration::Transient => effect.text(machine)?,
            _ => Kind::Instruction { done: false },
        };
        Ok(effect)
    }

    /// Where a fault of a register or of memory would change what at this moment; changes nothing.
    pub(crate) fn foresee(&mut self, machine: &Machine) -> Result<Foreseen, String> {
        let doing = self.doing();
        let (place, old, width, offset) = match &self.kind {
            Kind::Register { part, .. } => {
                let state = machine.state().map_err(|error| error.to_string())?;
                let now = Part {
                    cell: relative(part.cell, state.x87_top()),
                    ..part.clone()
                };
                let place = Place::Cell(part.cell);
                (place, now.get(&state), part.width, part.offset)
            }
            Kind::Memory {
                address, content, ..
            } => {
                let width = 8 * content.len() as u32;
                (Place::Memory(*address), Bits::from_bytes(content), width, 0)
            }
            _ => return Err("it is a fault of an instruction".to_owned()),
        };
        Foreseen::of(place, old, width, offset, &doing)
    }

    fn text(&mut self, machine: &mut Machine) -> Result<Kind, String> {
        let decoded = machine.decoded().map_err(|error| error.to_string())?;
        let decoded = decoded.ok_or("there is no instruction at the moment")?;
        let original = decoded.bytes.clone();
        let width = 8 * original.len() as u32;
        let doing = self.doing();
        let new = doing.apply(Bits::from_bytes(&original), width, "the instruction")?;
        Ok(Kind::Text {
            address: decoded.pc,
            altered: new.to_bytes(original.len()),
            original,
            there: false,
        })
    }

    /// The location with everything decided that was random in it.
    pub(crate) fn concrete_location(&self) -> Location {
        use crate::fault::{MemoryPlace, Place};
        match (&self.kind, &self.fault.location) {
            (Kind::Memory { address, .. }, _) => {
                Location::Memory(MemoryPlace::At(Place::Address(*address)))
            }
            (_, location) => location.clone(),
        }
    }

    fn mask(&self, width: u32) -> Bits {
        self.fault
            .change
            .map_or(Bits::ZERO, |change: Change| change.mask(width))
    }

    /// What is done now; a random operation draws anew each time.
    pub(crate) fn doing(&mut self) -> Doing {
        Doing {
            change: self.fault.change,
            drawn: self.draw.bits(),
        }
    }

    /// Instructions that have retired since it began.
    fn age(&self, machine: &Machine) -> u64 {
        machine.index.saturating_sub(self.began)
    }

    /// Whether it is there for the instruction that begins next.
    pub(crate) fn active(&self, machine: &Machine) -> bool {
        self.fault.duration.active(self.age(machine))
    }

    /// Whether it may go into a later instruction than the one at its moment, which was not named but drawn.
    pub(crate) fn slides(&self, machine: &Machine) -> bool {
        let drawn = matches!(self.fault.trigger.when, When::Random { .. } | When::Time(_));
        let since = machine.index.saturating_sub(self.drawn_at);
        drawn && !matches!(self.fault.location, Location::Text) && since < SLIDE
    }

    /// Whether it has nothing more to do.
    pub(crate) fn over(&self, machine: &Machine) -> bool {
        let age = self.age(machine);
        match &self.kind {
            // Once is once, even if a handler was entered in place of the instruction's end.
            Kind::Instruction { done } => {
                *done
                    && (self.fault.duration == Duration::Transient || self.fault.duration.over(age))
            }
            // What stays, needs nobody.
            Kind::Text { there: true, .. } if self.fault.duration == Duration::Permanent => true,
            Kind::Text { there, .. } => !there && self.fault.duration.over(age),
            _ => self.fault.duration == Duration::Transient || self.fault.duration.over(age),
        }
    }

    /// Takes note of an instruction that has retired: what it wrote is fresh.
    pub(crate) fn note(
        &mut self,
        machine: &mut Machine,
        decoded: &Decoded,
        before: &State,
        after: &State,
    ) {
        match &mut self.kind {
            Kind::Register { part, fresh } => {
                let top = before.x87_top();
                let was = relative(part.cell, top);
                let is = relative(part.cell, after.x87_top());
                let written = touched(decoded, was, before, &mut machine.factory).written;
                *fresh = *fresh | written | before.get(was) ^ after.get(is);
            }
            Kind::Memory { address, fresh, .. } => {
                for access in accesses(decoded, before) {
                    if access.writes {
                        let (start, length) = access.range(before);
                        *fresh = *fresh | overlap(*address, start, length);
                    }
                }
            }
            Kind::Text { .. } | Kind::Instruction { .. } => {}
        }
    }

    /// Whether it is about x87, vector or mask registers.
    pub(crate) fn is_extended(&self) -> bool {
        let extended = |cell| {
            matches!(
                cell,
                Cell::X87(_) | Cell::Mxcsr | Cell::Vector(_) | Cell::Mask(_)
            )
        };
        matches!(&self.kind, Kind::Register { part, .. } if extended(part.cell))
    }

    /// What has to be watched so that it can be enforced natively; none if only steps can do that.
    pub(crate) fn watches(&self) -> Option<Vec<Watch>> {
        let change = self.fault.change?;
        match (&self.kind, self.fault.duration) {
            (
                Kind::Memory {
                    address, content, ..
                },
                Duration::Permanent,
            ) => {
                let mask = change.mask(8 * content.len() as u32);
                // What the kernel wrote there is forced when it is read.
                Some(watches(*address, mask, change.operation.forces()))
            }
            _ => None,
        }
    }

    /// A watch was hit. A watch of one byte tells that this byte was written, if only stores are watched; of more bytes that can't be
    /// told, and those count as written that differ.
    pub(crate) fn note_hit(&mut self, hit: &Watch) {
        if let Kind::Memory { address, fresh, .. } = &mut self.kind
            && hit.bytes == 1
            && !hit.reads
        {
            *fresh = *fresh | overlap(*address, hit.address, 1);
        }
    }

    /// Makes the present state what it must be: at the moment and after each instruction. What was changed, if something was.
    pub(super) fn enforce(&mut self, machine: &mut Machine) -> Result<Option<Record>, String> {
        let active = self.active(machine);
        let doing = self.doing();
        match &mut self.kind {
            Kind::Register { part, fresh } if active => register(machine, part, fresh, &doing),
            Kind::Memory {
                address,
                content,
                fresh,
            } => {
                let present = machine.read(*address, content.len())?;
                *fresh = *fresh | Bits::from_bytes(&present) ^ Bits::from_bytes(content);
                *content = present;
                if !active {
                    return Ok(None);
                }
                memory(machine, *address, content, fresh, &doing)
            }
            Kind::Text {
                address,
                original,
                altered,
                there,
            } if *there != active => {
                let (from, to) = if active {
                    (original, altered)
                } else {
                    (altered, original)
                };
                machine.write(*address, to)?;
                *there = active;
                Ok(active.then(|| Record {
                    place: memory_name(*address, to.len()),
                    before: from.clone(),
                    after: to.clone(),
                    tracked: None,
                }))
            }
            _ => Ok(None),
        }
    }
}

fn register(
    machine: &mut Machine,
    part: &Part,
    fresh: &mut Bits,
    doing: &Doing,
) -> Result<Option<Record>, String> {
    let told = |error: BackendError| error.to_string();
    let nothing_fresh = restricted(doing, part.width, fresh.down(part.offset)).is_none();
    if nothing_fresh && part.cell != Cell::Rip {
        return Ok(None);
    }
    let state = machine.state().map_err(told)?;
    let part = Part {
        cell: relative(part.cell, state.x87_top()),
        ..part.clone()
    };
    if part.cell == Cell::Rip {
        *fresh = part.bits();
    }
    let Some(doing) = restricted(doing, part.width, fresh.down(part.offset)) else {
        return Ok(None);
    };
    *fresh = Bits::ZERO;
    let (record, proof) = change_part(machine, &part, &doing, &state)?;
    proof?;
    Ok(Some(record))
}

fn memory(
    machine: &Machine,
    address: u64,
    content: &mut Vec<u8>,
    fresh: &mut Bits,
    doing: &Doing,
) -> Result<Option<Record>, String> {
    let width = 8 * content.len() as u32;
    let Some(doing) = restricted(doing, width, *fresh) else {
        return Ok(None);
    };
    *fresh = Bits::ZERO;
    let before = content.clone();
    let old = Bits::from_bytes(&before);
    let new = doing.apply(old, width, "the memory")?;
    *content = new.to_bytes(before.len());
    if *content != before {
        machine.write(address, content)?;
    }
    Ok(Some(Record {
        place: memory_name(address, before.len()),
        before,
        after: content.clone(),
        tracked: Some(Tracked::memory(address, old ^ new)),
    }))
}

/// The same on those bits only that are fresh; `None`: no bit of the mask is.
fn restricted(doing: &Doing, width: u32, fresh: Bits) -> Option<Doing> {
    use crate::fault::{Mask, Operation};
    let change = doing.change?;
    let mask = change.mask(width);
    let bits = mask & fresh;
    if bits.is_zero() {
        return None;
    }
    if bits == mask || change.operation.forces() {
        return Some(*doing);
    }
    let operation = match change.operation {
        Operation::Xor(number) => Operation::Xor(number & fresh),
        other => other,
    };
    Some(Doing {
        change: Some(Change {
            operation,
            mask: Mask::Bits(bits),
        }),
        drawn: doing.drawn,
    })
}
