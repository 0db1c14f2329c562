//! What a row says about the operands of its unit, against what the bare CPU showed.

use crate::differ::hex;
use crate::machine::State;
use crate::native::{Trace, shows_code_address};
use crate::places;
use fits_stats::facts::{Access, OperandKind, access_bytes, reads, writes};
use fits_stats::protocol::Level;
use fits_stats::template::{Bits, MemoryAccess, Slot, UnitInstruction, UnitTemplate, Value};
use fits_tracer::step::{Decoded, Pending, View};
use iced_x86::UsedMemory;
use std::cell::OnceCell;
use std::rc::Rc;

/// One operand value as the bare CPU showed it.
struct Known {
    label: String,
    access: Access,
    /// None: memory that is not among the data.
    value: Option<Vec<u8>>,
}

/// The operand values of a trace, worked out when first asked for.
pub struct Expected<'a> {
    trace: &'a Trace,
    steps: Vec<OnceCell<Vec<Known>>>,
}

impl<'a> Expected<'a> {
    /// Nothing is worked out yet.
    #[must_use]
    pub fn new(trace: &'a Trace) -> Self {
        let steps = trace.steps.iter().map(|_| OnceCell::new()).collect();
        Expected { trace, steps }
    }

    /// Compares `row` of `unit`, whose first instruction is number `index` of the trace.
    ///
    /// # Errors
    /// What differs first.
    pub fn check(&self, unit: &UnitTemplate, row: &[u8], index: usize) -> Result<(), String> {
        for (number, instruction) in unit.instructions.iter().enumerate() {
            let place = index + number;
            let (Some(cell), Some(decoded)) = (self.steps.get(place), self.trace.steps.get(place))
            else {
                return Err(format!("a row has {number} instructions more than retired"));
            };
            if decoded.pc != instruction.pc {
                return Err(format!(
                    "instruction {place} is at {:#x}, but the row says {:#x}",
                    decoded.pc, instruction.pc
                ));
            }
            let known = cell.get_or_init(|| operands(self.trace, place, decoded));
            values(known, instruction, row)
                .map_err(|text| format!("instruction {place}: {text}"))?;
            let accesses: Vec<_> = unit
                .memory
                .iter()
                .filter(|access| usize::from(access.instruction) == number)
                .collect();
            self.memory(decoded, &accesses, row, place)
                .map_err(|text| format!("instruction {place}: {text}"))?;
        }
        Ok(())
    }

    fn memory(
        &self,
        decoded: &Decoded,
        accesses: &[&MemoryAccess],
        row: &[u8],
        place: usize,
    ) -> Result<(), String> {
        let used = &decoded.facts.memory;
        if used.len() != accesses.len() {
            return Err(format!(
                "{} memory accesses instead of {}",
                accesses.len(),
                used.len()
            ));
        }
        let (before, after) = (&self.trace.states[place], &self.trace.states[place + 1]);
        for (used, access) in used.iter().zip(accesses) {
            let real = address(used, before);
            let said = said(access, row, before.registers.fs_base);
            if real != said {
                return Err(format!("accesses {real:#x}, the template says {said:#x}"));
            }
            let bytes = access_bytes(&decoded.instruction, used) as u32;
            let kind = (reads(used.access()), writes(used.access()), bytes);
            if kind != (access.read, access.write, access.bytes) {
                return Err(format!(
                    "the access at {real:#x} is described as {access:?}"
                ));
            }
            if decoded.facts.rep {
                let real = before.registers.rcx.wrapping_sub(after.registers.rcx);
                let said = access
                    .repeat
                    .map(|(old, new)| number(old, row).wrapping_sub(number(new, row)));
                if said != Some(real) {
                    return Err(format!("{real} iterations, the template says {said:?}"));
                }
            }
        }
        Ok(())
    }
}

fn address(used: &UsedMemory, before: &State) -> u64 {
    let view = View {
        registers: &before.registers,
        xstate: None,
    };
    used.virtual_address(0, |register, _, _| Some(view.address_part(register)))
        .unwrap_or_default()
}

fn said(access: &MemoryAccess, row: &[u8], fs_base: u64) -> u64 {
    let part = |slot: Option<Slot>| slot.map_or(0, |slot| number(slot, row));
    part(access.base)
        .wrapping_add(part(access.index).wrapping_mul(u64::from(access.scale)))
        .wrapping_add(access.constant)
        .wrapping_add(if access.fs { fs_base } else { 0 })
}

fn number(slot: Slot, row: &[u8]) -> u64 {
    let from = usize::from(slot.offset);
    let bytes = usize::from(slot.bytes);
    let mut value = [0; 8];
    value[..bytes].copy_from_slice(&row[from..from + bytes]);
    let value = u64::from_le_bytes(value);
    let unused = 64 - 8 * bytes as u32;
    if slot.signed {
        (((value << unused) as i64) >> unused) as u64
    } else {
        value
    }
}

/// The operand values of instruction `place`, in the order of the template's.
fn operands(trace: &Trace, place: usize, decoded: &Rc<Decoded>) -> Vec<Known> {
    let (before, after) = (&trace.states[place], &trace.states[place + 1]);
    let view = |state: &'_ crate::machine::State| (state.registers, state.extended.clone());
    let (registers, extended) = view(before);
    let first = View {
        registers: &registers,
        xstate: Some(&extended),
    };
    let mut pending = Pending::begin(Rc::clone(decoded), Level::Full, first);
    let mut missing = Vec::new();
    let reads: Vec<_> = pending
        .memory_before()
        .map(|value| (value, &before.memory))
        .collect();
    let writes: Vec<_> = pending
        .memory_after()
        .map(|value| (value, &after.memory))
        .collect();
    for (value, memory) in reads.into_iter().chain(writes) {
        match places::read(memory, value.address, value.bytes) {
            Some(bytes) => pending.set(value, &bytes),
            None => missing.push(value.address),
        }
    }
    let last = View {
        registers: &after.registers,
        xstate: Some(&after.extended),
    };
    let step = pending.finish(last);
    let ignored = shows_code_address(decoded.instruction.mnemonic());
    let kept = keeps_stack(decoded, before, after);
    let mut rest = &step.values[..];
    let mut known = Vec::new();
    for operand in &decoded.facts.operands {
        for access in operand.accesses() {
            let (value, others) = rest.split_at(usize::from(operand.bytes).min(rest.len()));
            rest = others;
            let is_memory = operand.kind == OperandKind::Memory;
            let is_x87 =
                matches!(operand.kind, OperandKind::Register(register) if register.is_st());
            let unknown = is_memory && (ignored || !missing.is_empty()) || is_x87 && kept;
            known.push(Known {
                label: operand.label(),
                access,
                value: (!unknown).then(|| value.to_vec()),
            });
        }
    }
    known
}

/// An unmasked x87 exception keeps an instruction from moving the top of the stack. Translated code takes a written register under the
/// name that it has when the top moves: such values are not compared.
fn keeps_stack(decoded: &Decoded, before: &State, after: &State) -> bool {
    let top = |state: &State| i32::from(state.extended.x87_status() >> 11 & 7);
    let moved = decoded.instruction.fpu_stack_increment_info().increment();
    (top(after) - top(before) - moved) & 7 != 0
}

fn values(known: &[Known], instruction: &UnitInstruction, row: &[u8]) -> Result<(), String> {
    if known.len() != instruction.values.len() {
        return Err(format!(
            "{} operand values instead of {}",
            instruction.values.len(),
            known.len()
        ));
    }
    for (known, value) in known.iter().zip(&instruction.values) {
        let Some(expected) = &known.value else {
            continue;
        };
        let got = evaluate(value, row)?;
        if *expected != got {
            return Err(format!(
                "operand {} {}: {} natively, the row says {} ({value:?})",
                known.label,
                known.access.name(),
                hex(expected),
                hex(&got)
            ));
        }
    }
    Ok(())
}

fn evaluate(value: &Value, row: &[u8]) -> Result<Vec<u8>, String> {
    let bit = |place: u32| {
        row.get(place as usize / 8)
            .map(|byte| byte >> (place % 8) & 1 == 1)
            .ok_or_else(|| format!("row bit {place} is outside the row"))
    };
    let mut bytes = Vec::new();
    let mut length = 0usize;
    for run in value {
        for place in 0..u32::from(run.length) {
            let is_one = match run.source {
                Bits::Zeros => false,
                Bits::Ones => true,
                Bits::Row(from) => bit(from + place)?,
                Bits::NotRow(from) => !bit(from + place)?,
                Bits::Repeat(from) => bit(from)?,
                Bits::NotRepeat(from) => !bit(from)?,
            };
            if length.is_multiple_of(8) {
                bytes.push(0);
            }
            bytes[length / 8] |= u8::from(is_one) << (length % 8);
            length += 1;
        }
    }
    Ok(bytes)
}
