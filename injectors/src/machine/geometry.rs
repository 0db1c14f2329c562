//! DRAM geometry: which physical addresses share a row, a column, a bank.
//!
//! The mapping is the plain one: from the least significant bit, byte in a 64-bit word, column, bank, row, rank. Neighbouring words lie in one row,
//! and a row is followed by the same row of the next bank.

use crate::machine::fault::Array;

/// A module, by powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Words (64 bits) in a row, as a power of two.
    pub column_bits: u32,
    /// Banks of a rank.
    pub bank_bits: u32,
    /// Rows of a bank.
    pub row_bits: u32,
    /// Ranks.
    pub rank_bits: u32,
}

impl Default for Geometry {
    /// 1024 columns (rows of 8 KiB), 8 banks, 32768 rows, 2 ranks: 4 GiB.
    fn default() -> Self {
        Geometry {
            column_bits: 10,
            bank_bits: 3,
            row_bits: 15,
            rank_bits: 1,
        }
    }
}

/// A 64-bit word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cell {
    /// Rank.
    pub rank: u64,
    /// Bank.
    pub bank: u64,
    /// Row.
    pub row: u64,
    /// Column.
    pub column: u64,
}

fn take(address: &mut u64, bits: u32) -> u64 {
    let value = *address & ((1 << bits) - 1);
    *address >>= bits;
    value
}

impl Geometry {
    /// Bytes of all ranks.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        8 << (self.column_bits + self.bank_bits + self.row_bits + self.rank_bits)
    }

    /// Where a physical address lies.
    #[must_use]
    pub fn cell(&self, physical: u64) -> Cell {
        let mut rest = physical >> 3;
        let column = take(&mut rest, self.column_bits);
        let bank = take(&mut rest, self.bank_bits);
        let row = take(&mut rest, self.row_bits);
        let rank = take(&mut rest, self.rank_bits);
        Cell {
            rank,
            bank,
            row,
            column,
        }
    }

    /// The physical address of a word.
    #[must_use]
    pub fn address(&self, cell: Cell) -> u64 {
        let mut address = cell.rank;
        address = address << self.row_bits | cell.row;
        address = address << self.bank_bits | cell.bank;
        address = address << self.column_bits | cell.column;
        address << 3
    }

    /// All words of the row of an address.
    pub fn row(&self, physical: u64) -> impl Iterator<Item = u64> + use<> {
        let (geometry, cell) = (*self, self.cell(physical));
        (0..1 << geometry.column_bits).map(move |column| geometry.address(Cell { column, ..cell }))
    }

    /// All words of the bank of an address.
    pub fn bank(&self, physical: u64) -> impl Iterator<Item = u64> + use<> {
        let geometry = *self;
        let rows = geometry.column(physical & !0x7);
        rows.flat_map(move |word| geometry.row(word))
    }

    /// All words of the rank of an address.
    pub fn rank(&self, physical: u64) -> impl Iterator<Item = u64> + use<> {
        let start = self.address(Cell {
            bank: 0,
            row: 0,
            column: 0,
            ..self.cell(physical)
        });
        let words = 1_u64 << (self.column_bits + self.bank_bits + self.row_bits);
        (start..start + 8 * words).step_by(8)
    }

    /// The words of that part of DRAM around an address that lie below `end`, ascending.
    #[must_use]
    pub fn words(&self, array: Array, physical: u64, end: u64) -> Box<dyn Iterator<Item = u64>> {
        let below = move |word: &u64| *word < end;
        match array {
            Array::Row => Box::new(self.row(physical).take_while(below)),
            Array::Column => Box::new(self.column(physical).take_while(below)),
            Array::Bank => Box::new(self.bank(physical).take_while(below)),
            Array::Rank => Box::new(self.rank(physical).take_while(below)),
        }
    }

    /// The words of the column of an address, in every row of its bank.
    pub fn column(&self, physical: u64) -> impl Iterator<Item = u64> + use<> {
        let (geometry, cell) = (*self, self.cell(physical));
        (0..1 << geometry.row_bits).map(move |row| geometry.address(Cell { row, ..cell }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_one_cell() {
        let geometry = Geometry::default();
        assert_eq!(geometry.bytes(), 4 << 30);
        for address in [
            0,
            8,
            0x1ff8,
            0x2000,
            0x1_2345_6780 & !7,
            geometry.bytes() - 8,
        ] {
            let address = address % geometry.bytes();
            assert_eq!(geometry.address(geometry.cell(address)), address);
        }
    }

    #[test]
    fn a_row_is_8_kib_and_a_column_crosses_all_rows() {
        let geometry = Geometry::default();
        let row: Vec<u64> = geometry.row(0x12_3458).collect();
        assert_eq!(row.len(), 1024);
        assert_eq!((row[0], row[1023]), (0x12_2000, 0x12_3ff8));
        let column: Vec<u64> = geometry.column(0x12_3458).collect();
        assert_eq!(column.len(), 32768);
        let start = geometry.cell(0x12_3458);
        assert!(column.iter().all(|&address| {
            let cell = geometry.cell(address);
            (cell.bank, cell.column, cell.rank) == (start.bank, start.column, start.rank)
        }));
        assert_eq!(column[1] - column[0], 64 << 10);
    }
}
