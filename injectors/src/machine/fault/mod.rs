//! A fault of a machine: what × change × duration × moment, and its text form.
//!
//! It extends the grammar of [`crate::fault`]; all that can be written is in `docs/machine-faults.md`. [`MachineFault`] reads it (`FromStr`) and
//! writes it (`Display`), and what is written is read back as the same fault.

mod check;
mod device;
mod disk;
mod network;
mod parse;
mod register;
#[cfg(test)]
mod tests;
mod when;

use std::fmt;

pub use device::{Interrupt, InterruptFailure, PartFailure, PartFault, Registers, Side};
pub use disk::{DiskFailure, DiskFault};
pub use network::{FrameFailure, NetworkFault, Way};
pub use register::{Family, RegisterName};
pub use when::{AccessKind, Moment, Restriction, When};

use crate::fault::{self, Change, Duration, Operation};

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MachineFault {
    /// What is hit.
    pub what: What,
    /// What is done to its bits; none where `what` says it itself.
    pub change: Option<Change>,
    /// For how long.
    pub duration: Duration,
    /// When.
    pub moment: Moment,
    /// What everything random in it is drawn from, if it says so itself.
    pub seed: Option<u64>,
}

/// What is hit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// A register of the processor.
    Register(RegisterName),
    /// Bytes of RAM.
    Memory(Place),
    /// Every 64-bit word of some DRAM that holds the place.
    Array(Array, Place),
    /// The register that the instruction at the moment writes, after it.
    Result(Option<RegisterName>),
    /// The instruction at the moment is not executed.
    Skip,
    /// The physical address that the TLB holds for the page of the place.
    Translation(Place),
    /// The page-table entry of that level (1 is the page table, 4 the root) through which the place is reached.
    PageEntry(u8, Place),
    /// A hardware error that the processor is told of.
    Check(Check),
    /// A disk fails.
    Disk(DiskFault),
    /// Frames of a network card fail: the bits are those from a byte of the frame on.
    Network(NetworkFault),
    /// Registers of devices fail: the bits are those of each byte.
    Device(Registers),
    /// A whole device fails, or its clock goes wrong.
    Part(PartFault),
    /// An interrupt line fails.
    Interrupt(Interrupt),
    /// The power goes.
    PowerCut,
}

/// An address, or a name for one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A physical address.
    Physical(u64),
    /// A virtual address or symbol, translated when it is needed, by the page tables of that moment.
    Virtual(fault::Place),
}

/// Parts of DRAM whose cells fail together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Array {
    /// A row.
    Row,
    /// A column: one word in every row of a bank.
    Column,
    /// A bank.
    Bank,
    /// A rank.
    Rank,
}

impl Array {
    const ALL: [Self; 4] = [Self::Row, Self::Column, Self::Bank, Self::Rank];

    fn name(self) -> &'static str {
        match self {
            Self::Row => "row",
            Self::Column => "column",
            Self::Bank => "bank",
            Self::Rank => "rank",
        }
    }
}

/// A machine check.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Check {
    /// Which one.
    pub kind: CheckKind,
    /// The address that it is about.
    pub place: Place,
    /// What differs from the values of the kind.
    pub fields: CheckFields,
}

/// Kinds of machine checks, with the values of memory errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CheckKind {
    /// Found by the memory scrubber: uncorrected, action optional, at once.
    Scrubber,
    /// Uncorrected, action required: when the address is read.
    Read,
    /// Corrected: the bank is filled, nobody is told.
    Corrected,
    /// Uncorrected, and the processor's state is corrupt.
    Fatal,
}

/// Registers of a machine check that a fault sets itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CheckFields {
    /// Bank.
    pub bank: Option<u8>,
    /// MCi_STATUS.
    pub status: Option<u64>,
    /// MCG_STATUS.
    pub global: Option<u64>,
    /// MCi_MISC.
    pub misc: Option<u64>,
    /// All processors are told.
    pub broadcast: bool,
}

/// The registers of a machine check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckValues {
    /// Bank.
    pub bank: u8,
    /// MCi_STATUS.
    pub status: u64,
    /// MCG_STATUS.
    pub global: u64,
    /// MCi_MISC.
    pub misc: u64,
    /// All processors are told.
    pub broadcast: bool,
}

impl CheckKind {
    const ALL: [Self; 4] = [Self::Scrubber, Self::Read, Self::Corrected, Self::Fatal];

    /// Its name in texts: how error handling calls such errors.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Scrubber => "srao",
            Self::Read => "srar",
            Self::Corrected => "ce",
            Self::Fatal => "fatal",
        }
    }

    /// Bank, MCi_STATUS, MCG_STATUS: VAL, UC, EN, MISCV, ADDRV and what makes the kind (S; S and AR; PCC), with the error codes of the memory
    /// scrubber (0xC0), of a data load (0x134) and of a memory controller's read (0x9F). Intel SDM volume 3, "Machine-Check Architecture".
    fn defaults(self) -> (u8, u64, u64) {
        match self {
            Self::Scrubber => (9, 0xbd00_0000_0000_00c0, 5),
            Self::Read => (1, 0xbd80_0000_0000_0134, 7),
            Self::Corrected => (9, 0x8c00_0000_0000_009f, 0),
            Self::Fatal => (1, 0xbe00_0000_0000_0134, 4),
        }
    }
}

impl Check {
    /// All registers. MCi_MISC says: a physical address, exact to a page.
    #[must_use]
    pub fn values(&self) -> CheckValues {
        let (bank, status, global) = self.kind.defaults();
        let fields = self.fields;
        CheckValues {
            bank: fields.bank.unwrap_or(bank),
            status: fields.status.unwrap_or(status),
            global: fields.global.unwrap_or(global),
            misc: fields.misc.unwrap_or(0x8c),
            broadcast: fields.broadcast,
        }
    }
}

impl MachineFault {
    /// Whether anything in it is drawn at random.
    #[must_use]
    pub fn draws(&self) -> bool {
        let bits = self
            .change
            .is_some_and(|change| change.operation == Operation::Random);
        match &self.what {
            What::Disk(disk) => disk.failure.draws(),
            What::Network(network) => network.failure == FrameFailure::Flip,
            _ => bits,
        }
    }
}

impl What {
    /// How many bits can be named; 0 where it says what happens by itself.
    #[must_use]
    pub fn width(&self) -> u32 {
        match self {
            Self::Register(register) | Self::Result(Some(register)) => register.width(),
            Self::Memory(_)
            | Self::Network(NetworkFault {
                failure: FrameFailure::Bits(_),
                ..
            }) => crate::bits::Bits::WIDTH,
            Self::Array(..) | Self::Translation(_) | Self::PageEntry(..) => 64,
            Self::Result(None) => 256,
            Self::Device(registers) => match registers.side {
                Side::Dead => 0,
                Side::Reads | Side::Writes => 8,
            },
            Self::Skip
            | Self::Check(_)
            | Self::Disk(_)
            | Self::Network(_)
            | Self::Part(_)
            | Self::Interrupt(_)
            | Self::PowerCut => 0,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Physical(address) => write!(f, "phys={address:#x}"),
            Self::Virtual(place) => write!(f, "{place}"),
        }
    }
}

/// Names of page-table entries by level, from 1.
const ENTRIES: [&str; 4] = ["pte", "pde", "pdpte", "pml4e"];

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Register(register) => write!(f, "reg:{register}"),
            Self::Memory(place) => write!(f, "mem:{place}"),
            Self::Array(array, place) => write!(f, "{}:{place}", array.name()),
            Self::Result(None) => f.write_str("wreg"),
            Self::Result(Some(register)) => write!(f, "wreg:{register}"),
            Self::Skip => f.write_str("skip"),
            Self::Translation(place) => write!(f, "tlb:{place}"),
            Self::PageEntry(level, place) => {
                write!(f, "{}:{place}", ENTRIES[usize::from(*level - 1) & 3])
            }
            Self::Check(check) => write!(f, "{check}"),
            Self::Disk(disk) => write!(f, "{disk}"),
            Self::Network(network) => write!(f, "{network}"),
            Self::Device(registers) => write!(f, "{registers}"),
            Self::Part(part) => write!(f, "{part}"),
            Self::Interrupt(interrupt) => write!(f, "{interrupt}"),
            Self::PowerCut => f.write_str("power"),
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mce:{}:{}", self.kind.name(), self.place)?;
        let fields = self.fields;
        if let Some(bank) = fields.bank {
            write!(f, ":bank={bank}")?;
        }
        let numbers = [
            ("status", fields.status),
            ("mcg", fields.global),
            ("misc", fields.misc),
        ];
        for (name, value) in numbers {
            if let Some(value) = value {
                write!(f, ":{name}={value:#x}")?;
            }
        }
        if fields.broadcast {
            f.write_str(":broadcast")?;
        }
        Ok(())
    }
}

impl fmt::Display for MachineFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        if let Some(change) = &self.change {
            change.write(f, self.what.width() == 1)?;
        }
        write!(f, "{}@{}", self.duration, self.moment)?;
        self.seed.map_or(Ok(()), |seed| write!(f, ",seed={seed}"))
    }
}
