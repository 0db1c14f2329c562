//! Registers that a fault can go into, by name, and where each lies in the state of a thread.

use std::fmt;
use std::sync::LazyLock;

use crate::bits::Bits;

/// A part of a thread's state that is kept and changed as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cell {
    /// A general register, in the order of their encoding: rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 … r15.
    General(u8),
    /// `rip`.
    Rip,
    /// `rflags`.
    Flags,
    /// The base of `fs`.
    FsBase,
    /// The base of `gs`.
    GsBase,
    /// `st(i)`, relative to the top of the x87 stack at the moment.
    X87(u8),
    /// `mxcsr`.
    Mxcsr,
    /// A vector register, 512 bits.
    Vector(u8),
    /// A mask register.
    Mask(u8),
}

/// A register by its name: some bits of a [`Cell`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegisterName(u16);

struct Row {
    name: String,
    cell: Cell,
    offset: u32,
    width: u32,
}

/// The bits of `rflags` that can be changed from outside: cf pf af zf sf df of ac.
const CHANGEABLE_FLAGS: u64 = 0x4_0cd5;

/// The bits of a segment base that a process can have set: the kernel refuses one beyond the addresses of processes, which end below 2⁴⁷ (where
/// pages have four levels, a base with bits 47 to 62 unlike bit 63 is not even canonical).
const BASE_WIDTH: u32 = 47;

const FLAGS: [(&str, u32); 7] = [
    ("cf", 0),
    ("pf", 2),
    ("af", 4),
    ("zf", 6),
    ("sf", 7),
    ("df", 10),
    ("of", 11),
];

static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let mut rows = Vec::new();
    let mut add = |name: String, cell, offset, width| {
        rows.push(Row {
            name,
            cell,
            offset,
            width,
        });
    };
    general(&mut add);
    add("rip".to_owned(), Cell::Rip, 0, 64);
    add("rflags".to_owned(), Cell::Flags, 0, 64);
    for (name, bit) in FLAGS {
        add(name.to_owned(), Cell::Flags, bit, 1);
    }
    add("fs_base".to_owned(), Cell::FsBase, 0, BASE_WIDTH);
    add("gs_base".to_owned(), Cell::GsBase, 0, BASE_WIDTH);
    for number in 0..8 {
        add(format!("st{number}"), Cell::X87(number), 0, 80);
    }
    // Bits 16 to 31 are reserved on every processor.
    add("mxcsr".to_owned(), Cell::Mxcsr, 0, 16);
    for (kind, width) in [("xmm", 128), ("ymm", 256), ("zmm", 512)] {
        for number in 0..32 {
            add(format!("{kind}{number}"), Cell::Vector(number), 0, width);
        }
    }
    for number in 0..8 {
        add(format!("k{number}"), Cell::Mask(number), 0, 64);
    }
    rows
});

fn general(add: &mut impl FnMut(String, Cell, u32, u32)) {
    let old = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"];
    for (number, name) in (0..).zip(old) {
        let cell = Cell::General(number);
        add(format!("r{name}"), cell, 0, 64);
        add(format!("e{name}"), cell, 0, 32);
        add(name.to_owned(), cell, 0, 16);
        let low = if number < 4 { &name[..1] } else { name };
        add(format!("{low}l"), cell, 0, 8);
        if number < 4 {
            add(format!("{low}h"), cell, 8, 8);
        }
    }
    for number in 8..16 {
        let cell = Cell::General(number);
        add(format!("r{number}"), cell, 0, 64);
        add(format!("r{number}d"), cell, 0, 32);
        add(format!("r{number}w"), cell, 0, 16);
        add(format!("r{number}b"), cell, 0, 8);
    }
}

impl RegisterName {
    /// The register of that name, in lower or upper case.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        let wanted = name.to_ascii_lowercase();
        ROWS.iter()
            .position(|row| row.name == wanted)
            .map(|row| Self(row as u16))
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..ROWS.len() as u16).map(Self)
    }

    fn row(self) -> &'static Row {
        &ROWS[usize::from(self.0)]
    }

    /// Its name in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        &self.row().name
    }

    /// How many bits it has.
    #[must_use]
    pub fn width(self) -> u32 {
        self.row().width
    }

    /// What it is a part of.
    #[must_use]
    pub fn cell(self) -> Cell {
        self.row().cell
    }

    /// Which bit of the cell its bit 0 is.
    #[must_use]
    pub fn offset(self) -> u32 {
        self.row().offset
    }

    /// Those of its bits that can be changed.
    #[must_use]
    pub fn changeable(self) -> Bits {
        match (self.cell(), self.width()) {
            (Cell::Flags, 64) => Bits::from_u64(CHANGEABLE_FLAGS),
            (_, width) => Bits::ones(width),
        }
    }
}

impl fmt::Display for RegisterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_know_their_place() {
        let place = |name: &str| {
            let register = RegisterName::find(name).expect(name);
            (register.cell(), register.offset(), register.width())
        };
        assert_eq!(place("rax"), (Cell::General(0), 0, 64));
        assert_eq!(place("BH"), (Cell::General(3), 8, 8));
        assert_eq!(place("sil"), (Cell::General(6), 0, 8));
        assert_eq!(place("r15w"), (Cell::General(15), 0, 16));
        assert_eq!(place("of"), (Cell::Flags, 11, 1));
        assert_eq!(place("ymm31"), (Cell::Vector(31), 0, 256));
        assert_eq!(place("k7"), (Cell::Mask(7), 0, 64));
        assert_eq!(place("st7"), (Cell::X87(7), 0, 80));
        assert_eq!(RegisterName::find("xmm32"), None);
    }

    #[test]
    fn no_name_is_there_twice() {
        let mut names: Vec<_> = RegisterName::all().map(RegisterName::name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
