//! A private layer over a medium: what a guest writes stays in the layer, and the medium is only read. Who keeps the handle takes it away again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::devices::medium::{Medium, MediumError, SECTOR};

type Sectors = BTreeMap<u64, Box<[u8]>>;

/// The handle: what was written.
#[derive(Clone, Debug, Default)]
pub struct Written(Arc<Mutex<Sectors>>);

impl Written {
    /// The disk is as the medium below again.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Sectors> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A medium that can be written, over one that is not.
#[derive(Debug)]
pub struct Overlay {
    base: Box<dyn Medium>,
    written: Written,
}

impl Overlay {
    /// Puts a layer over a medium.
    #[must_use]
    pub fn new(base: Box<dyn Medium>, written: Written) -> Self {
        Overlay { base, written }
    }
}

impl Medium for Overlay {
    fn sectors(&self) -> u64 {
        self.base.sectors()
    }

    fn read_only(&self) -> bool {
        false
    }

    fn stamp(&self) -> u64 {
        self.base.stamp()
    }

    fn read(&mut self, lba: u64, data: &mut [u8]) -> Result<(), MediumError> {
        let written = self.written.lock();
        let mut at = 0;
        // Runs of sectors of the medium are read as one.
        while at < data.len() {
            let first = lba + (at / SECTOR) as u64;
            if let Some(sector) = written.get(&first) {
                data[at..at + SECTOR].copy_from_slice(sector);
                at += SECTOR;
                continue;
            }
            let next = written.range(first..).next().map(|(lba, _)| *lba);
            let end = next.map_or(data.len(), |next| {
                data.len().min(at + (next - first) as usize * SECTOR)
            });
            self.base.read(first, &mut data[at..end])?;
            at = end;
        }
        Ok(())
    }

    fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), MediumError> {
        let mut written = self.written.lock();
        for (lba, sector) in (lba..).zip(data.chunks(SECTOR)) {
            written.insert(lba, sector.into());
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), MediumError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::medium::tests::Numbered;

    fn read(disk: &mut Overlay, lba: u64, sectors: usize) -> Vec<u8> {
        let mut data = vec![0; sectors * SECTOR];
        disk.read(lba, &mut data).expect("readable");
        data.chunks(SECTOR).map(|sector| sector[0]).collect()
    }

    #[test]
    fn what_is_written_stays_in_the_layer_until_that_is_cleared() {
        let written = Written::default();
        let mut disk = Overlay::new(Box::new(Numbered::new(100)), written.clone());
        assert_eq!(read(&mut disk, 10, 6), [10, 11, 12, 13, 14, 15]);
        disk.write(12, &[0xaa; 2 * SECTOR]).expect("writable");
        disk.write(15, &[0xbb; SECTOR]).expect("writable");
        assert_eq!(read(&mut disk, 10, 6), [10, 11, 0xaa, 0xaa, 14, 0xbb]);
        written.clear();
        assert_eq!(read(&mut disk, 10, 6), [10, 11, 12, 13, 14, 15]);
    }

    #[test]
    fn bad_sectors_of_the_medium_are_bad_until_they_are_written() {
        let mut base = Numbered::new(100);
        base.bad = vec![5];
        let mut disk = Overlay::new(Box::new(base), Written::default());
        let mut data = vec![0; 8 * SECTOR];
        let error = disk.read(0, &mut data).expect_err("a bad sector");
        assert_eq!(error, MediumError::Uncorrectable { lba: 5 });
        disk.write(5, &[9; SECTOR]).expect("writable");
        assert_eq!(read(&mut disk, 4, 3), [4, 9, 6]);
    }
}
