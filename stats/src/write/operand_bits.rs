//! `operand_bits.csv`: by far the largest file, so its rows are put together without a general
//! CSV writer. None of its columns can need quotes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use iced_x86::Instruction;

use super::parallel::in_order;
use super::{ListedInstruction, Listing, WriteError};
use crate::model::{Access, OperandStatistics, Statistics};
use crate::pictures::operand_register;

const HEADER: &[u8] = b"pc,operand,access,width,bit,ones,zeros\n";
/// Addresses whose rows are put together at a time.
const CHUNK: usize = 1 << 11;

/// Writes the bits of all operands of all executed instructions.
pub(super) fn write(
    dir: &Path,
    statistics: &Statistics,
    listing: &Listing,
) -> Result<(), WriteError> {
    let path = dir.join("operand_bits.csv");
    let failed = |error| WriteError::io(&path, error);
    let mut file = File::create(&path).map_err(failed)?;
    file.write_all(HEADER).map_err(failed)?;
    // Where code changed, instructions of the same address follow each other: the file has one
    // row for both, because the address is all that it tells them by.
    let addresses: Vec<_> = listing.rows.chunk_by(|a, b| a.key.pc == b.key.pc).collect();
    let piece = |addresses: &[&[ListedInstruction]]| {
        let mut rows = Vec::new();
        for same_pc in addresses {
            for (operand, counts) in operands(statistics, same_pc) {
                push_operand(&mut rows, same_pc[0].key.pc, &operand, &counts);
            }
        }
        rows
    };
    in_order(&addresses, CHUNK, piece, |rows| {
        file.write_all(rows).map_err(failed)
    })
}

/// What tells apart the operands of an address: label, access and width.
type OperandKey = (String, Access, u16);

fn operands<'a>(
    statistics: &'a Statistics,
    same_pc: &[ListedInstruction],
) -> BTreeMap<OperandKey, Cow<'a, OperandStatistics>> {
    let mut operands: BTreeMap<OperandKey, Cow<OperandStatistics>> = BTreeMap::new();
    for row in same_pc {
        for counts in &statistics.instructions[&row.key].operands {
            if counts.values == 0 {
                continue;
            }
            let key = (
                label(&row.instruction, counts.operand),
                counts.access,
                counts.width(),
            );
            match operands.entry(key) {
                Entry::Vacant(entry) => _ = entry.insert(Cow::Borrowed(counts)),
                Entry::Occupied(mut entry) => entry.get_mut().to_mut().merge(counts),
            }
        }
    }
    operands
}

fn push_operand(rows: &mut Vec<u8>, pc: u64, key: &OperandKey, operand: &OperandStatistics) {
    let (label, access, width) = key;
    let prefix = format!("{pc:#x},{label},{},{width},", access.name());
    for (bit, ones) in operand.ones.iter().enumerate() {
        rows.extend_from_slice(prefix.as_bytes());
        push_decimal(rows, bit as u64);
        rows.push(b',');
        push_decimal(rows, ones);
        rows.push(b',');
        push_decimal(rows, operand.zeros(bit));
        rows.push(b'\n');
    }
}

/// The operand's position and name: `0:eax`, `1:mem`.
fn label(instruction: &Instruction, operand: u8) -> String {
    match operand_register(instruction, operand) {
        Some(register) => format!("{operand}:{register:?}").to_ascii_lowercase(),
        None => format!("{operand}:mem"),
    }
}

fn push_decimal(rows: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    rows.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use super::push_decimal;

    #[test]
    fn decimals_are_written_as_by_the_standard_library() {
        for number in [0, 9, 10, 1234567890, u64::MAX] {
            let mut rows = Vec::new();
            push_decimal(&mut rows, number);
            assert_eq!(String::from_utf8(rows).unwrap(), number.to_string());
        }
    }
}
