//! What can be changed at one instruction: the locations of a space, with the bits of each.

use fits_stats::facts::{Facts, access_bytes, reads, writes};
use fits_stats::listing::ListedInstruction;
use fits_stats::register::Reg;
use iced_x86::{FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpKind, Register};

use crate::bits::Bits;
use crate::campaign::file::{
    InstructionChoice, InstructionPart, RegisterChoice, RegisterClass, Restriction, Space as Asked,
    Words,
};
use crate::drive::is_conditional;
use crate::fault::{Cell, Location, MemoryOperand, MemoryPlace, RegisterName, RegisterOperand};

/// A location at an instruction.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Spot {
    /// Where; of memory, the first byte.
    pub(super) location: Location,
    /// Of memory: how many bytes from there, each a location of its own.
    pub(super) bytes: u32,
    /// What can be changed of it.
    pub(super) bits: Bits,
    /// What a stratum by register class is called.
    pub(super) class: &'static str,
}

/// What of registers depends on the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    /// `xmm`, `ymm` or `zmm`: the widest that an instruction names.
    vector: &'static str,
    /// How many vector registers.
    vectors: u8,
    /// Whether an instruction names a mask register.
    masks: bool,
}

impl Known {
    pub(super) fn of(rows: &[ListedInstruction]) -> Self {
        let mut known = Self {
            vector: "xmm",
            vectors: 16,
            masks: false,
        };
        let named = rows.iter().flat_map(|row| {
            let instruction = row.instruction;
            (0..instruction.op_count()).map(move |operand| instruction.op_register(operand))
        });
        for register in named {
            if register.is_zmm() {
                known.vector = "zmm";
            } else if register.is_ymm() && known.vector == "xmm" {
                known.vector = "ymm";
            }
            if register.is_vector_register() && register.number() >= 16 {
                known.vectors = 32;
            }
            known.masks |= register.is_k();
        }
        known
    }

    /// The registers that a choice means.
    fn registers(self, choice: RegisterChoice) -> Vec<RegisterName> {
        use RegisterClass::{Control, Flags, General, Mask, Segment, Vector, X87};
        match choice {
            RegisterChoice::Name(register) => vec![register],
            RegisterChoice::Class(class) => RegisterName::all()
                .filter(|register| self.is_of_class(*register, class))
                .collect(),
            RegisterChoice::All => {
                let mut classes = vec![General, Flags, Vector, X87, Segment, Control];
                classes.extend(self.masks.then_some(Mask));
                let choices = classes.into_iter().map(RegisterChoice::Class);
                choices.flat_map(|choice| self.registers(choice)).collect()
            }
        }
    }

    /// Whether it is one of the registers that a class stands for, in the form in which it has it.
    fn is_of_class(self, register: RegisterName, class: RegisterClass) -> bool {
        RegisterClass::of(register) == class
            && match register.cell() {
                Cell::General(_) => register.width() == 64,
                Cell::Flags => register.width() == 1,
                Cell::Vector(number) => {
                    register.name().starts_with(self.vector) && number < self.vectors
                }
                _ => true,
            }
    }

    /// The registers of several choices, each once.
    fn all_registers(self, choices: &[RegisterChoice]) -> Vec<RegisterName> {
        let mut all: Vec<RegisterName> = Vec::new();
        for register in choices.iter().flat_map(|&choice| self.registers(choice)) {
            if !all.contains(&register) {
                all.push(register);
            }
        }
        all
    }
}

/// Finds the locations of a space at instructions.
pub(super) struct Locations<'a> {
    asked: &'a Asked,
    /// Of the state: the same everywhere.
    state: Vec<Spot>,
    registers: Vec<RegisterName>,
    factory: InstructionInfoFactory,
}

impl<'a> Locations<'a> {
    pub(super) fn new(asked: &'a Asked, known: Known) -> Self {
        let registers = known.all_registers(&asked.registers);
        let mut state = Vec::new();
        if asked.restrict != Restriction::Written {
            state.extend(registers.iter().map(|&register| Spot {
                location: Location::Register(register),
                bytes: 1,
                bits: register.changeable(),
                class: RegisterClass::of(register).word(),
            }));
        }
        state.extend(asked.memory.iter().map(|choice| Spot {
            location: Location::Memory(choice.place.clone()),
            bytes: choice.bytes,
            bits: Bits::ones(8),
            class: "memory",
        }));
        let mut locations = Self {
            asked,
            state: Vec::new(),
            registers,
            factory: InstructionInfoFactory::new(),
        };
        locations.state = state
            .into_iter()
            .filter_map(|spot| locations.within(spot))
            .collect();
        locations
    }

    /// Only the bits that are asked for; none if none is left.
    fn within(&self, mut spot: Spot) -> Option<Spot> {
        if let Some((first, last)) = self.asked.bits
            && !spot.location.is_whole()
        {
            spot.bits = spot.bits & Bits::range(first..=last);
        }
        (spot.location.is_whole() || !spot.bits.is_zero()).then_some(spot)
    }

    /// All at one instruction.
    pub(super) fn at(&mut self, instruction: &Instruction) -> Vec<Spot> {
        let facts = Facts::new(instruction, &mut self.factory);
        let mut found = Vec::new();
        if self.asked.restrict == Restriction::Written {
            let here = self.registers.iter();
            let here = here.filter(|register| touches(&facts.writes, **register));
            found.extend(here.map(|&register| destination(register)));
        }
        for choice in &self.asked.instruction {
            part(choice, instruction, &facts, &mut self.factory, &mut found);
        }
        let mut all = self.state.clone();
        for spot in found.into_iter().filter_map(|spot| self.within(spot)) {
            if !all.contains(&spot) {
                all.push(spot);
            }
        }
        all
    }

    /// The destination registers of an instruction, all flags together as the last one: the population of REFINE.
    pub(super) fn destinations(&mut self, instruction: &Instruction) -> Vec<Vec<Spot>> {
        let facts = Facts::new(instruction, &mut self.factory);
        let all = written(instruction, &facts, &mut self.factory);
        let (flags, others): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|register| register.cell() == Cell::Flags);
        let destination = |register| destination_of(instruction, register);
        let mut groups: Vec<Vec<Spot>> = others
            .into_iter()
            .map(|register| vec![destination(register)])
            .collect();
        if !flags.is_empty() {
            groups.push(flags.into_iter().map(destination).collect());
        }
        groups
    }
}

/// Whether an instruction writes any register other than `rip`, one that faults cannot go into included.
pub(super) fn writes_something(
    instruction: &Instruction,
    factory: &mut InstructionInfoFactory,
) -> bool {
    !Facts::new(instruction, factory).writes.is_empty()
}

fn destination(register: RegisterName) -> Spot {
    Spot {
        location: Location::Destination(RegisterOperand::Named(register)),
        bytes: 1,
        bits: register.changeable(),
        class: RegisterClass::of(register).word(),
    }
}

/// [`destination`], of which only some bits may be written.
fn destination_of(instruction: &Instruction, register: RegisterName) -> Spot {
    let mut spot = destination(register);
    if instruction.mnemonic() == Mnemonic::Vzeroupper && register.width() == 256 {
        spot.bits = Bits::range(128..=255);
    }
    spot
}

/// Whether a register, or a part of it, is among full registers and flags.
fn touches(set: &[Reg], register: RegisterName) -> bool {
    let flags =
        |reg: &Reg| RegisterName::find(reg.name()).is_some_and(|found| found.cell() == Cell::Flags);
    match register.cell() {
        Cell::Flags if register.width() == 1 => set.iter().any(|reg| reg.name() == register.name()),
        Cell::Flags => set.iter().any(flags),
        cell => set
            .iter()
            .any(|reg| RegisterName::find(reg.name()).is_some_and(|found| found.cell() == cell)),
    }
}

/// The registers that an instruction writes, as it names them: explicit ones, then implicit ones, then single flags.
fn written(
    instruction: &Instruction,
    facts: &Facts,
    factory: &mut InstructionInfoFactory,
) -> Vec<RegisterName> {
    accessed(instruction, &facts.writes, factory, writes)
}

fn accessed(
    instruction: &Instruction,
    set: &[Reg],
    factory: &mut InstructionInfoFactory,
    wanted: fn(iced_x86::OpAccess) -> bool,
) -> Vec<RegisterName> {
    if instruction.mnemonic() == Mnemonic::Vzeroupper {
        // It leaves the lower halves as they are: iced-x86 has that as reading and writing them.
        let upper = RegisterName::all().filter(|register| register.name().starts_with("ymm"));
        return if wanted(iced_x86::OpAccess::Read) {
            Vec::new()
        } else {
            upper.take(16).collect()
        };
    }
    let info = factory.info(instruction);
    let explicit = (0..instruction.op_count())
        .filter(|&operand| {
            instruction.op_kind(operand) == OpKind::Register && wanted(info.op_access(operand))
        })
        .map(|operand| instruction.op_register(operand));
    let used = info.used_registers().iter();
    let implicit = used
        .filter(|used| wanted(used.access()))
        .map(|used| used.register());
    let mut found: Vec<RegisterName> = Vec::new();
    for register in explicit.chain(implicit).filter_map(name) {
        // An explicit operand names its register; what is implied about the rest of it is the same register.
        if !found.iter().any(|other| other.cell() == register.cell()) {
            found.push(register);
        }
    }
    let flags = set.iter().filter_map(|reg| RegisterName::find(reg.name()));
    found.extend(flags.filter(|register| register.cell() == Cell::Flags));
    found
}

fn name(register: Register) -> Option<RegisterName> {
    RegisterName::find(&format!("{register:?}"))
}

/// The spots of one part of an instruction.
fn part(
    choice: &InstructionChoice,
    instruction: &Instruction,
    facts: &Facts,
    factory: &mut InstructionInfoFactory,
    found: &mut Vec<Spot>,
) {
    let mut add = |location: Location, bits: Bits| {
        found.push(Spot {
            location,
            bytes: 1,
            bits,
            class: choice.part.word(),
        });
    };
    let memory = |access: fn(iced_x86::OpAccess) -> bool, factory: &mut InstructionInfoFactory| {
        operands(instruction, facts, factory, access)
    };
    let value = |bytes: usize| Bits::ones(8 * bytes.min(64) as u32);
    match choice.part {
        InstructionPart::Source | InstructionPart::Destination => {
            registers(choice, instruction, facts, factory, found);
        }
        InstructionPart::Loaded => {
            for (operand, bytes) in memory(reads, factory) {
                if bytes > 0 {
                    add(Location::Loaded(operand), value(bytes));
                }
            }
        }
        InstructionPart::Stored => {
            for (operand, bytes) in memory(writes, factory) {
                if bytes > 0 {
                    add(Location::Stored(operand), value(bytes));
                }
            }
        }
        InstructionPart::LoadAddress => {
            for (operand, _) in memory(reads, factory) {
                add(Location::LoadAddress(operand), Bits::ones(64));
            }
        }
        InstructionPart::StoreAddress => {
            for (operand, _) in memory(writes, factory) {
                add(Location::StoreAddress(operand), Bits::ones(64));
            }
        }
        InstructionPart::Text => add(Location::Text, Bits::ones(8 * instruction.len() as u32)),
        InstructionPart::Direction if is_conditional(instruction) => {
            add(Location::OtherDirection, Bits::ZERO);
        }
        InstructionPart::Target if is_branch(instruction) => {
            add(Location::Target, Bits::ones(64));
        }
        InstructionPart::Direction | InstructionPart::Target => {}
        InstructionPart::Skip => add(Location::Skip, Bits::ZERO),
    }
}

fn registers(
    choice: &InstructionChoice,
    instruction: &Instruction,
    facts: &Facts,
    factory: &mut InstructionInfoFactory,
    found: &mut Vec<Spot>,
) {
    let destinations = choice.part == InstructionPart::Destination;
    let set = if destinations {
        &facts.writes
    } else {
        &facts.reads
    };
    let wanted = if destinations { writes } else { reads };
    let registers = match choice.registers {
        Some(RegisterChoice::Name(register)) => touches(set, register)
            .then_some(register)
            .into_iter()
            .collect(),
        Some(RegisterChoice::Class(class)) => {
            let mut all = accessed(instruction, set, factory, wanted);
            all.retain(|register| RegisterClass::of(*register) == class);
            all
        }
        Some(RegisterChoice::All) | None => accessed(instruction, set, factory, wanted),
    };
    found.extend(registers.into_iter().map(|register| {
        let spot = destination_of(instruction, register);
        match spot.location {
            Location::Destination(operand) if !destinations => Spot {
                location: Location::Source(operand),
                ..spot
            },
            _ => spot,
        }
    }));
}

/// Whether it goes elsewhere in the program by itself.
fn is_branch(instruction: &Instruction) -> bool {
    let branches = matches!(
        instruction.flow_control(),
        FlowControl::UnconditionalBranch
            | FlowControl::IndirectBranch
            | FlowControl::ConditionalBranch
            | FlowControl::Return
            | FlowControl::Call
            | FlowControl::IndirectCall
    );
    branches
        && !matches!(
            instruction.mnemonic(),
            Mnemonic::Syscall | Mnemonic::Sysenter
        )
}

/// The memory operands that are accessed in one direction, each with its bytes (0: not fixed). Without an explicit one, the first implicit one.
fn operands(
    instruction: &Instruction,
    facts: &Facts,
    factory: &mut InstructionInfoFactory,
    wanted: fn(iced_x86::OpAccess) -> bool,
) -> Vec<(MemoryOperand, usize)> {
    // Gathers and scatters access many places, state saves have no one value, and the addresses of these two cannot be changed.
    let many = instruction.is_vsib();
    if many
        || matches!(
            instruction.mnemonic(),
            Mnemonic::Enter | Mnemonic::Iretq | Mnemonic::Iretd
        )
    {
        return Vec::new();
    }
    let info = factory.info(instruction);
    let explicit: Vec<_> = (0..instruction.op_count())
        .filter(|&operand| {
            is_memory(instruction.op_kind(operand)) && wanted(info.op_access(operand))
        })
        .map(|operand| {
            (
                MemoryOperand::Number(operand as u8),
                instruction.memory_size().size(),
            )
        })
        .collect();
    if !explicit.is_empty() {
        return explicit;
    }
    let mut implicit = facts.memory.iter().filter(|used| wanted(used.access()));
    implicit
        .next()
        .map(|used| (MemoryOperand::First, access_bytes(instruction, used)))
        .into_iter()
        .collect()
}

fn is_memory(kind: OpKind) -> bool {
    matches!(
        kind,
        OpKind::Memory
            | OpKind::MemorySegSI
            | OpKind::MemorySegESI
            | OpKind::MemorySegRSI
            | OpKind::MemorySegDI
            | OpKind::MemorySegEDI
            | OpKind::MemorySegRDI
            | OpKind::MemoryESDI
            | OpKind::MemoryESEDI
            | OpKind::MemoryESRDI
    )
}

/// The location of byte `number` of a spot.
pub(super) fn byte(location: &Location, number: u32) -> Location {
    use crate::fault::Place;
    let Location::Memory(place) = location else {
        return location.clone();
    };
    let by = i64::from(number);
    Location::Memory(match place {
        MemoryPlace::At(Place::Address(address)) => {
            MemoryPlace::At(Place::Address(address.wrapping_add_signed(by)))
        }
        MemoryPlace::At(Place::Symbol { name, offset }) => MemoryPlace::At(Place::Symbol {
            name: name.clone(),
            offset: offset.wrapping_add(by),
        }),
        MemoryPlace::Stack(offset) => MemoryPlace::Stack(offset.wrapping_add(by)),
        MemoryPlace::Random(region) => MemoryPlace::Random(*region),
    })
}
