//! A medium that fails as it is told to: it stands between a disk and its image. Who tells it keeps a handle.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

use crate::devices::medium::{Medium, MediumError, SECTOR};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The sector can't be read: uncorrectable.
    ReadUncorrectable,
    /// The read is aborted.
    ReadAborted,
    /// A bit of the sector, counted from its first byte's bit 0, is read wrongly; nobody notices.
    ReadFlipped(u16),
    /// The sector can't be written.
    WriteUncorrectable,
    /// The write is aborted.
    WriteAborted,
    /// The write is said to have succeeded, and never reaches the medium.
    WriteLost,
    /// Only the first half of the sector reaches the medium, and the write is said to have succeeded.
    WriteTorn,
    /// A bit of the sector is written wrongly; nobody notices.
    WriteFlipped(u16),
}

impl Failure {
    fn of_reads(self) -> bool {
        matches!(
            self,
            Failure::ReadUncorrectable | Failure::ReadAborted | Failure::ReadFlipped(_)
        )
    }
}

/// A failure of some sectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which sectors.
    pub sectors: RangeInclusive<u64>,
    /// What.
    pub failure: Failure,
    /// For how many accesses; none is for ever.
    pub times: Option<u64>,
}

/// How often a rule was used.
#[derive(Clone, Debug)]
struct Armed {
    rule: Rule,
    used: u64,
}

#[derive(Debug, Default)]
struct Rules {
    armed: Vec<Armed>,
    read: BTreeSet<u64>,
}

/// The handle: failures that the medium has, to be added to at any time, and what was read.
#[derive(Clone, Debug, Default)]
pub struct Failures(Arc<Mutex<Rules>>);

impl Failures {
    /// Adds one.
    pub fn add(&self, rule: Rule) {
        self.lock().armed.push(Armed { rule, used: 0 });
    }

    /// Takes all away, and forgets what was read.
    pub fn clear(&self) {
        *self.lock() = Rules::default();
    }

    /// The sectors that were read so far.
    #[must_use]
    pub fn read(&self) -> Vec<u64> {
        self.lock().read.iter().copied().collect()
    }

    /// How many accesses failed so far.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.lock().armed.iter().map(|armed| armed.used).sum()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Rules> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The failures that an access of these sectors meets, each with the first sector of the access that it is about; they are used by that.
    fn meet(&self, lba: u64, sectors: u64, write: bool) -> Vec<(Failure, RangeInclusive<u64>)> {
        let last = lba + sectors.max(1) - 1;
        let mut met = Vec::new();
        let mut rules = self.lock();
        if !write {
            rules.read.extend(lba..=last);
        }
        for armed in &mut rules.armed {
            let rule = &armed.rule;
            let open = rule.times.is_none_or(|times| armed.used < times);
            let (from, to) = (*rule.sectors.start(), *rule.sectors.end());
            if open && rule.failure.of_reads() != write && from <= last && lba <= to {
                armed.used += 1;
                met.push((rule.failure, from.max(lba)..=to.min(last)));
            }
        }
        met
    }
}

/// A medium with failures.
#[derive(Debug)]
pub struct Faulty {
    medium: Box<dyn Medium>,
    failures: Failures,
}

impl Faulty {
    /// Puts failures in front of a medium.
    #[must_use]
    pub fn new(medium: Box<dyn Medium>, failures: Failures) -> Self {
        Faulty { medium, failures }
    }
}

fn flip(data: &mut [u8], lba: u64, sectors: &RangeInclusive<u64>, bit: u16) {
    for sector in sectors.clone() {
        let at = (sector - lba) as usize * SECTOR + usize::from(bit >> 3) % SECTOR;
        data[at] ^= 1 << (bit & 7);
    }
}

impl Medium for Faulty {
    fn sectors(&self) -> u64 {
        self.medium.sectors()
    }

    fn read_only(&self) -> bool {
        self.medium.read_only()
    }

    fn stamp(&self) -> u64 {
        self.medium.stamp()
    }

    fn read(&mut self, lba: u64, data: &mut [u8]) -> Result<(), MediumError> {
        let met = self.failures.meet(lba, (data.len() / SECTOR) as u64, false);
        if met
            .iter()
            .any(|(failure, _)| *failure == Failure::ReadAborted)
        {
            return Err(MediumError::Aborted);
        }
        let bad = met
            .iter()
            .filter(|(failure, _)| *failure == Failure::ReadUncorrectable)
            .map(|(_, sectors)| *sectors.start())
            .min();
        let good = bad.map_or(data.len(), |bad| (bad - lba) as usize * SECTOR);
        if good > 0 {
            self.medium.read(lba, &mut data[..good])?;
        }
        if let Some(lba) = bad {
            return Err(MediumError::Uncorrectable { lba });
        }
        for (failure, sectors) in met {
            if let Failure::ReadFlipped(bit) = failure {
                flip(data, lba, &sectors, bit);
            }
        }
        Ok(())
    }

    fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), MediumError> {
        let met = self.failures.meet(lba, (data.len() / SECTOR) as u64, true);
        if met.is_empty() {
            return self.medium.write(lba, data);
        }
        if met
            .iter()
            .any(|(failure, _)| *failure == Failure::WriteAborted)
        {
            return Err(MediumError::Aborted);
        }
        for (number, sector) in (lba..).zip(data.chunks(SECTOR)) {
            let here = |failure: Failure| {
                met.iter()
                    .any(|(met, sectors)| *met == failure && sectors.contains(&number))
            };
            if here(Failure::WriteUncorrectable) {
                return Err(MediumError::Uncorrectable { lba: number });
            }
            if here(Failure::WriteLost) {
                continue;
            }
            let mut stored = sector.to_vec();
            if here(Failure::WriteTorn) {
                let mut old = vec![0; SECTOR];
                self.medium.read(number, &mut old)?;
                stored[SECTOR / 2..].copy_from_slice(&old[SECTOR / 2..]);
            }
            for (failure, sectors) in &met {
                if let Failure::WriteFlipped(bit) = failure
                    && sectors.contains(&number)
                {
                    flip(&mut stored, number, &(number..=number), *bit);
                }
            }
            self.medium.write(number, &stored)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), MediumError> {
        self.medium.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sectors in memory, each filled with its number.
    #[derive(Debug)]
    struct Memory(Vec<u8>);

    impl Medium for Memory {
        fn sectors(&self) -> u64 {
            (self.0.len() / SECTOR) as u64
        }
        fn read_only(&self) -> bool {
            false
        }
        fn read(&mut self, lba: u64, data: &mut [u8]) -> Result<(), MediumError> {
            let at = lba as usize * SECTOR;
            data.copy_from_slice(&self.0[at..at + data.len()]);
            Ok(())
        }
        fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), MediumError> {
            let at = lba as usize * SECTOR;
            self.0[at..at + data.len()].copy_from_slice(data);
            Ok(())
        }
        fn flush(&mut self) -> Result<(), MediumError> {
            Ok(())
        }
    }

    fn disk(failure: Failure, times: Option<u64>) -> Faulty {
        let sectors = (0..16).flat_map(|number| [number; SECTOR]).collect();
        let failures = Failures::default();
        failures.add(Rule {
            sectors: 5..=6,
            failure,
            times,
        });
        Faulty::new(Box::new(Memory(sectors)), failures)
    }

    fn read(disk: &mut Faulty, lba: u64, sectors: usize) -> Result<Vec<u8>, MediumError> {
        let mut data = vec![0xee; sectors * SECTOR];
        disk.read(lba, &mut data).map(|()| data)
    }

    #[test]
    fn the_first_bad_sector_is_named_and_those_before_it_are_read() {
        let mut disk = disk(Failure::ReadUncorrectable, None);
        let mut data = vec![0xee; 8 * SECTOR];
        let result = disk.read(3, &mut data);
        assert_eq!(result, Err(MediumError::Uncorrectable { lba: 5 }));
        assert_eq!((data[0], data[SECTOR], data[2 * SECTOR]), (3, 4, 0xee));
        assert_eq!(
            read(&mut disk, 6, 1),
            Err(MediumError::Uncorrectable { lba: 6 })
        );
        assert!(read(&mut disk, 0, 5).is_ok());
        assert!(read(&mut disk, 7, 9).is_ok());
        assert!(disk.write(5, &[1; SECTOR]).is_ok(), "writes go on");
    }

    #[test]
    fn a_failure_happens_as_often_as_it_shall() {
        let mut disk = disk(Failure::ReadAborted, Some(2));
        for expected in [false, false, true, true] {
            assert_eq!(read(&mut disk, 5, 1).is_ok(), expected);
        }
        assert_eq!(disk.failures.used(), 2);
    }

    #[test]
    fn silent_corruption_is_one_bit_of_each_sector() {
        let mut disk = disk(Failure::ReadFlipped(9), None);
        let data = read(&mut disk, 4, 4).expect("read");
        assert_eq!((data[1], data[SECTOR + 1]), (4, 5 ^ 2));
        assert_eq!((data[2 * SECTOR + 1], data[3 * SECTOR + 1]), (6 ^ 2, 7));
        let wrong = data.iter().zip((4..8).flat_map(|n| [n; SECTOR]));
        assert_eq!(wrong.filter(|(a, b)| *a != b).count(), 2);
    }

    #[test]
    fn lost_torn_and_flipped_writes_are_said_to_succeed() {
        for (failure, first, last) in [
            (Failure::WriteLost, 5, 5),
            (Failure::WriteTorn, 9, 5),
            (Failure::WriteFlipped(0), 8, 9),
        ] {
            let mut disk = disk(failure, None);
            disk.write(4, &[9; 4 * SECTOR]).expect("said to succeed");
            let data = read(&mut disk, 4, 4).expect("read");
            assert_eq!((data[0], data[3 * SECTOR]), (9, 9), "neighbours");
            assert_eq!((data[SECTOR], data[2 * SECTOR - 1]), (first, last));
        }
        for failure in [Failure::WriteUncorrectable, Failure::WriteAborted] {
            let mut disk = disk(failure, Some(1));
            assert!(disk.write(4, &[9; 4 * SECTOR]).is_err());
            assert!(disk.write(4, &[9; 4 * SECTOR]).is_ok());
        }
    }

    #[test]
    fn without_a_failure_nothing_differs() {
        let mut disk = disk(Failure::ReadAborted, Some(0));
        let data = read(&mut disk, 0, 16).expect("read");
        assert_eq!(data, (0..16).flat_map(|n| [n; SECTOR]).collect::<Vec<u8>>());
        disk.write(5, &[3; SECTOR]).expect("written");
        assert_eq!(read(&mut disk, 5, 1).expect("read"), [3; SECTOR]);
        assert_eq!(disk.failures.used(), 0);
        disk.failures.clear();
        assert!(disk.failures.read().is_empty());
        read(&mut disk, 4, 2).expect("read");
        read(&mut disk, 5, 2).expect("read");
        assert_eq!(disk.failures.read(), [4, 5, 6]);
    }
}
