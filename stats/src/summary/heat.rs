//! The bit heat map: one line a register, one character a bit.

use std::fmt::{self, Write as _};

use crate::pictures::{BitCount, Pictures};

const COLUMNS: usize = 64;
const LEGEND: &str = "· always 0   ░ ▒ ▓ more often 1   █ always 1   blank: never seen";

/// Writes the map of all registers that operands named; wide registers have several bits a character.
pub(super) fn write(out: &mut String, pictures: &Pictures) -> fmt::Result {
    if pictures.registers.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\nbits of register operands, read or written\n  {LEGEND}"
    )?;
    writeln!(out, "          {}", ruler())?;
    for (register, picture) in &pictures.registers {
        let bits = picture.both();
        let per_cell = bits.len().div_ceil(COLUMNS);
        let cells: String = bits.chunks(per_cell.max(1)).rev().map(cell).collect();
        let note = match per_cell {
            0 | 1 => String::new(),
            bits => format!("  {bits} bits a character"),
        };
        writeln!(out, "  {:<6}  {cells:>COLUMNS$}{note}", register.name())?;
    }
    Ok(())
}

/// Numbers above the bits 63, 48, 32, 16 and 0.
fn ruler() -> String {
    let mut ruler = vec![' '; COLUMNS];
    for bit in [63, 48, 32, 16, 0] {
        let label = bit.to_string();
        let end = COLUMNS - bit;
        let start = (end + label.len() - 1).min(COLUMNS) - label.len();
        let start = if bit == 63 { 0 } else { start };
        ruler.splice(start..start + label.len(), label.chars());
    }
    ruler.into_iter().collect()
}

/// The character of one or several bits.
fn cell(bits: &[BitCount]) -> char {
    let ones = bits.iter().map(|bit| bit.ones).sum();
    let zeros = bits.iter().map(|bit| bit.zeros).sum();
    match (BitCount { ones, zeros }).share() {
        None => ' ',
        Some(_) if ones == 0 => '·',
        Some(_) if zeros == 0 => '█',
        Some(share) if share < 1.0 / 3.0 => '░',
        Some(share) if share < 2.0 / 3.0 => '▒',
        Some(_) => '▓',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_tell_always_from_nearly_always() {
        let cell = |ones, zeros| cell(&[BitCount { ones, zeros }]);
        assert_eq!(cell(0, 0), ' ');
        assert_eq!(cell(0, 1_000_000), '·');
        assert_eq!(cell(1, 1_000_000), '░');
        assert_eq!(cell(1, 1), '▒');
        assert_eq!(cell(1_000_000, 1), '▓');
        assert_eq!(cell(5, 0), '█');
    }

    #[test]
    fn the_ruler_is_as_wide_as_the_map() {
        let ruler = ruler();
        assert_eq!(ruler.len(), COLUMNS);
        assert!(ruler.starts_with("63"));
        assert!(ruler.ends_with('0'));
    }
}
