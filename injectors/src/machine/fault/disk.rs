//! What goes wrong with a disk.

use std::fmt;

/// A failure of some sectors.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DiskFault {
    /// The disk: `hda` … `hdd` by IDE position, `vda` … by order of virtio disks.
    pub disk: String,
    /// The first sector.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// What.
    pub failure: DiskFailure,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DiskFailure {
    /// Reads fail as uncorrectable, naming the first bad sector.
    ReadUncorrectable,
    /// Reads are aborted.
    ReadAborted,
    /// A random bit of each sector is read wrongly, silently.
    ReadFlip,
    /// Writes fail as uncorrectable.
    WriteUncorrectable,
    /// Writes are aborted.
    WriteAborted,
    /// Writes never reach the medium, silently.
    WriteLost,
    /// Only the first half of a sector is written, silently.
    WriteTorn,
    /// A random bit of each sector is written wrongly, silently.
    WriteFlip,
}

impl DiskFailure {
    pub(super) const ALL: [Self; 8] = [
        Self::ReadUncorrectable,
        Self::ReadAborted,
        Self::ReadFlip,
        Self::WriteUncorrectable,
        Self::WriteAborted,
        Self::WriteLost,
        Self::WriteTorn,
        Self::WriteFlip,
    ];

    /// Its name in texts, after the bits of the ATA error register.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadUncorrectable => "read-unc",
            Self::ReadAborted => "read-abrt",
            Self::ReadFlip => "read-flip",
            Self::WriteUncorrectable => "write-unc",
            Self::WriteAborted => "write-abrt",
            Self::WriteLost => "write-lost",
            Self::WriteTorn => "write-torn",
            Self::WriteFlip => "write-flip",
        }
    }

    /// Whether a bit is drawn for it.
    #[must_use]
    pub fn draws(self) -> bool {
        matches!(self, Self::ReadFlip | Self::WriteFlip)
    }
}

impl fmt::Display for DiskFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "disk:{}:{}", self.disk, self.first)?;
        if self.last != self.first {
            write!(f, "-{}", self.last)?;
        }
        write!(f, ":{}", self.failure.name())
    }
}
