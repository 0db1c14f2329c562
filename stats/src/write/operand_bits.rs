//! `operand_bits.csv`: by far the largest file, so its rows are put together without a general
//! CSV writer. None of its columns can need quotes.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use iced_x86::Instruction;

use super::{ListedInstruction, Listing, WriteError};
use crate::model::{OperandStatistics, Statistics};
use crate::pictures::operand_register;

const HEADER: &[u8] = b"pc,operand,access,width,bit,ones,zeros\n";
const CHUNK: usize = 1 << 20;

/// Writes the bits of all operands of all executed instructions.
pub(super) fn write(
    dir: &Path,
    statistics: &Statistics,
    listing: &Listing,
) -> Result<(), WriteError> {
    let path = dir.join("operand_bits.csv");
    let failed = |error| WriteError::io(&path, error);
    let mut file = File::create(&path).map_err(failed)?;
    let mut rows = Vec::with_capacity(CHUNK * 2);
    rows.extend_from_slice(HEADER);
    for row in &listing.rows {
        for operand in sorted(&statistics.instructions[&row.key].operands) {
            push_operand(&mut rows, row, operand);
            if rows.len() >= CHUNK {
                file.write_all(&rows).map_err(failed)?;
                rows.clear();
            }
        }
    }
    file.write_all(&rows).map_err(failed)
}

fn sorted(operands: &[OperandStatistics]) -> Vec<&OperandStatistics> {
    let mut seen: Vec<_> = operands
        .iter()
        .filter(|operand| operand.values > 0)
        .collect();
    seen.sort_by_key(|operand| (operand.operand, operand.access, operand.width()));
    seen
}

fn push_operand(rows: &mut Vec<u8>, row: &ListedInstruction, operand: &OperandStatistics) {
    let label = label(&row.instruction, operand.operand);
    let access = operand.access.name();
    let prefix = format!("{:#x},{label},{access},{},", row.key.pc, operand.width());
    for (bit, &ones) in operand.ones.iter().enumerate() {
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
