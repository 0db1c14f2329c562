//! Which register or memory access of an instruction a fault means.

use fits_stats::facts::{reads, writes};
use fits_stats::register::Reg;
use fits_stats::write::instruction_text;
use fits_tracer::step::Decoded;
use iced_x86::{InstructionInfoFactory, Mnemonic, OpAccess, OpKind};

use super::accesses::{Accessed, accesses};
use super::address::has_many;
use super::state::{State, name, part_of};
use super::touch::touched;
use crate::bits::Bits;
use crate::fault::{Access, Cell, MemoryOperand, RegisterName, RegisterOperand};

/// Some bits of a cell.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) cell: Cell,
    pub(crate) offset: u32,
    pub(crate) width: u32,
    pub(crate) name: String,
}

impl Part {
    pub(crate) fn of(register: RegisterName) -> Self {
        Self {
            cell: register.cell(),
            offset: register.offset(),
            width: register.width(),
            name: register.name().to_owned(),
        }
    }

    /// Its bits in the cell.
    pub(crate) fn bits(&self) -> Bits {
        Bits::ones(self.width).up(self.offset)
    }

    /// What it holds.
    pub(crate) fn get(&self, state: &State) -> Bits {
        state.get(self.cell).down(self.offset) & Bits::ones(self.width)
    }

    /// Gives it another content.
    pub(crate) fn set(&self, state: &mut State, value: Bits) {
        let rest = state.get(self.cell) & !self.bits();
        let value = (value & Bits::ones(self.width)).up(self.offset);
        state.set(self.cell, rest | value);
    }
}

fn verb(access: Access) -> &'static str {
    match access {
        Access::Read => "reads",
        Access::Write => "writes",
    }
}

fn has(access: Access, found: OpAccess) -> bool {
    match access {
        Access::Read => reads(found),
        Access::Write => writes(found),
    }
}

/// The register that is meant.
pub(crate) fn register(
    decoded: &Decoded,
    operand: RegisterOperand,
    access: Access,
    state: &State,
    factory: &mut InstructionInfoFactory,
) -> Result<Part, String> {
    let found = match operand {
        RegisterOperand::Number(number) => numbered(decoded, number.into(), access, factory),
        RegisterOperand::Named(register) => {
            accesses_cell(decoded, register, access, state, factory).then(|| Part::of(register))
        }
        RegisterOperand::First => first(decoded, access, state.x87_top(), factory),
    };
    let text = || instruction_text(&decoded.instruction);
    found.ok_or_else(|| match operand {
        RegisterOperand::First => format!("'{}' {} no register", text(), verb(access)),
        RegisterOperand::Number(number) => format!(
            "operand {number} of '{}' is no register that it {}",
            text(),
            verb(access)
        ),
        RegisterOperand::Named(register) => {
            let verb = verb(access).trim_end_matches('s');
            format!("'{}' does not {verb} {register}", text())
        }
    })
}

fn numbered(
    decoded: &Decoded,
    number: u32,
    access: Access,
    factory: &mut InstructionInfoFactory,
) -> Option<Part> {
    let instruction = &decoded.instruction;
    if number >= instruction.op_count() || instruction.op_kind(number) != OpKind::Register {
        return None;
    }
    let found = factory.info(instruction).op_access(number);
    let register = instruction.op_register(number);
    let (cell, offset, width) = part_of(register, 0).filter(|_| has(access, found))?;
    Some(Part {
        cell,
        offset,
        width,
        name: format!("{register:?}").to_lowercase(),
    })
}

fn first(
    decoded: &Decoded,
    access: Access,
    top: u8,
    factory: &mut InstructionInfoFactory,
) -> Option<Part> {
    let count = decoded.instruction.op_count();
    let explicit = (0..count).find_map(|number| numbered(decoded, number, access, factory));
    explicit
        .or_else(|| implicit(decoded, access, top, factory))
        .or_else(|| flag(decoded, access))
}

fn implicit(
    decoded: &Decoded,
    access: Access,
    top: u8,
    factory: &mut InstructionInfoFactory,
) -> Option<Part> {
    let info = factory.info(&decoded.instruction);
    let fitting = info
        .used_registers()
        .iter()
        .filter(|used| has(access, used.access()));
    fitting
        .filter_map(|used| {
            let (cell, offset, width) = part_of(used.register(), top)?;
            let name = format!("{:?}", used.register()).to_lowercase();
            Some(Part {
                cell,
                offset,
                width,
                name,
            })
        })
        .next()
}

fn flag(decoded: &Decoded, access: Access) -> Option<Part> {
    let set: &[Reg] = match access {
        Access::Read => &decoded.facts.reads,
        Access::Write => &decoded.facts.writes,
    };
    set.iter()
        .find_map(|reg| RegisterName::find(reg.name()))
        .filter(|register| register.cell() == Cell::Flags)
        .map(Part::of)
}

fn accesses_cell(
    decoded: &Decoded,
    register: RegisterName,
    access: Access,
    state: &State,
    factory: &mut InstructionInfoFactory,
) -> bool {
    let part = Part::of(register);
    let sure = touched(decoded, part.cell, state, factory);
    match access {
        Access::Read => !(sure.read & part.bits()).is_zero(),
        Access::Write => {
            let flags = || {
                decoded
                    .facts
                    .writes
                    .iter()
                    .any(|reg| reg.name() == register.name())
            };
            let written = !(sure.written & part.bits()).is_zero();
            written
                || part.cell == Cell::Flags && flags()
                || writes_some(decoded, part.cell, state.x87_top(), factory)
        }
    }
}

/// Whether it writes any bit of the cell, perhaps only under a condition.
fn writes_some(
    decoded: &Decoded,
    cell: Cell,
    top: u8,
    factory: &mut InstructionInfoFactory,
) -> bool {
    let info = factory.info(&decoded.instruction);
    info.used_registers().iter().any(|used| {
        writes(used.access())
            && part_of(used.register(), top).is_some_and(|(found, _, _)| found == cell)
    })
}

/// The memory access that is meant, and all of the instruction.
pub(crate) fn memory(
    decoded: &Decoded,
    operand: MemoryOperand,
    access: Access,
    state: &State,
) -> Result<(Accessed, Vec<Accessed>), String> {
    let all = accesses(decoded, state);
    let fits = |found: &&Accessed| {
        let direction = match access {
            Access::Read => found.reads,
            Access::Write => found.writes,
        };
        let number = match operand {
            MemoryOperand::First => true,
            MemoryOperand::Number(number) => found.operand == Some(number),
        };
        direction && number
    };
    if has_many(decoded) {
        return Err(format!(
            "'{}' {} many places at once",
            instruction_text(&decoded.instruction),
            verb(access)
        ));
    }
    match all.iter().find(fits).cloned() {
        Some(found) => Ok((found, all)),
        None => Err(match operand {
            MemoryOperand::First => format!(
                "'{}' {} no memory",
                instruction_text(&decoded.instruction),
                verb(access)
            ),
            MemoryOperand::Number(number) => format!(
                "operand {number} of '{}' is no memory that it {}",
                instruction_text(&decoded.instruction),
                verb(access)
            ),
        }),
    }
}

/// The cells that an instruction may change, by all that is known of it; `None`: anything.
pub(crate) fn may_change(
    decoded: &Decoded,
    factory: &mut InstructionInfoFactory,
) -> Option<Vec<String>> {
    let instruction = &decoded.instruction;
    if instruction.mnemonic() == Mnemonic::Syscall || loads_state(instruction.mnemonic()) {
        return None;
    }
    let mut names = vec![name(Cell::Rip), name(Cell::Flags), name(Cell::Mxcsr)];
    for used in factory.info(instruction).used_registers() {
        if !writes(used.access()) {
            continue;
        }
        if used.register().is_st() || used.register().is_mm() {
            return None;
        }
        if let Some((cell, _, _)) = part_of(used.register(), 0) {
            names.push(name(cell));
        }
    }
    Some(names)
}

/// Whether it loads or moves registers that no table names one by one.
fn loads_state(mnemonic: Mnemonic) -> bool {
    let text = format!("{mnemonic:?}");
    ["Xrstor", "F", "Vzero", "Wr", "Emms"]
        .iter()
        .any(|start| text.starts_with(start))
}
