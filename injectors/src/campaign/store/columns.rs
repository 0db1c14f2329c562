//! What is kept of faults and experiments in columns of their own, so that it can be filtered by.

use crate::experiment::record::{EndRecord, Record};
use crate::fault::{Fault, Location, MemoryOperand, MemoryPlace, Place, Region, RegisterOperand};

/// What the text of a fault says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FaultColumns {
    /// `reg`, `mem`, `wreg`, …
    pub(super) kind: String,
    /// A register, a place in memory, an operand.
    pub(super) place: Option<String>,
    /// The lowest bit that is changed.
    pub(super) bit: Option<u32>,
    /// How many bits are changed.
    pub(super) bits: Option<u32>,
}

impl FaultColumns {
    /// Of a fault in text form; a text that is no fault has only its beginning.
    pub(super) fn of(text: &str) -> Self {
        let kind = text
            .split([':', '@', '/'])
            .next()
            .unwrap_or_default()
            .to_owned();
        let Ok(fault) = text.parse::<Fault>() else {
            return Self {
                kind,
                ..Self::default()
            };
        };
        let mask = fault
            .change
            .map(|change| change.mask(fault.location.width()));
        Self {
            kind,
            place: place(&fault.location),
            bit: mask.and_then(|mask| mask.iter().next()),
            bits: mask.map(|mask| mask.count()),
        }
    }
}

fn place(location: &Location) -> Option<String> {
    let register = |operand: &RegisterOperand| match operand {
        RegisterOperand::First => None,
        RegisterOperand::Number(number) => Some(format!("op{number}")),
        RegisterOperand::Named(register) => Some(register.name().to_owned()),
    };
    let memory = |operand: &MemoryOperand| match operand {
        MemoryOperand::First => None,
        MemoryOperand::Number(number) => Some(format!("op{number}")),
    };
    match location {
        Location::Register(register) => Some(register.name().to_owned()),
        Location::Source(operand) | Location::Destination(operand) => register(operand),
        Location::Loaded(operand)
        | Location::Stored(operand)
        | Location::LoadAddress(operand)
        | Location::StoreAddress(operand) => memory(operand),
        Location::Memory(MemoryPlace::At(Place::Address(address))) => Some(format!("{address:#x}")),
        Location::Memory(MemoryPlace::At(Place::Symbol { name, offset })) => Some(match offset {
            0 => name.clone(),
            offset => format!("{name}{offset:+}"),
        }),
        Location::Memory(MemoryPlace::Stack(offset)) => Some(format!("sp{offset:+}")),
        Location::Memory(MemoryPlace::Random(region)) => Some(
            match region {
                Region::Heap => "heap",
                Region::Stack => "stack",
                Region::Data => "data",
            }
            .to_owned(),
        ),
        Location::Text | Location::OtherDirection | Location::Target | Location::Skip => None,
    }
}

/// How a program ended: exit status, signal, limit.
pub(super) fn end(record: &Record) -> (Option<i32>, Option<i32>, Option<&str>) {
    match &record.end {
        None => (None, None, None),
        Some(EndRecord::Exited { status }) => (Some(*status), None, None),
        Some(EndRecord::Signaled { signal, .. }) => (None, Some(*signal), None),
        Some(EndRecord::Limit { limit }) => (None, None, Some(limit)),
    }
}

/// The mnemonic of an instruction, without its prefixes.
pub(crate) fn opcode(instruction: &str) -> &str {
    const PREFIXES: [&str; 9] = [
        "lock", "rep", "repe", "repne", "repz", "repnz", "bnd", "notrack", "xacquire",
    ];
    let mut words = instruction.split_whitespace();
    words
        .find(|word| !PREFIXES.contains(word))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_apart_by_columns() {
        let of = |text| {
            let columns = FaultColumns::of(text);
            (columns.kind, columns.place, columns.bit, columns.bits)
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            of("reg:rax:3@5"),
            ("reg".to_owned(), text("rax"), Some(3), Some(1))
        );
        assert_eq!(
            of("mem:values+0x8:stuck0:4-7@main"),
            ("mem".to_owned(), text("values+8"), Some(4), Some(4))
        );
        assert_eq!(of("skip@5"), ("skip".to_owned(), None, None, None));
        assert_eq!(
            of("wreg:r9:17@0x401000:3"),
            ("wreg".to_owned(), text("r9"), Some(17), Some(1))
        );
        assert_eq!(opcode("lock cmpxchg [rdi],eax"), "cmpxchg");
        assert_eq!(opcode("rep movsb"), "movsb");
    }
}
