//! The bytes of RAM at one moment, in a memory file: never changed once it is whole, and the base of any number of copies on write.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{Whence, lseek};

use super::PAGE;

/// An image of RAM. Copies of the value are the same image.
#[derive(Clone, Debug)]
pub struct RamImage {
    file: Arc<File>,
    bytes: u64,
}

impl RamImage {
    /// All zero.
    ///
    /// # Errors
    /// When the host refuses a memory file: a sentence.
    pub fn empty(bytes: u64) -> Result<Self, String> {
        let wrong = |error: io::Error| {
            format!("cannot make a memory file of {bytes} bytes for the guest: {error}")
        };
        let file = memfd_create(c"guest memory", MFdFlags::MFD_CLOEXEC)
            .map_err(|error| wrong(error.into()))?;
        let file = File::from(file);
        file.set_len(bytes).map_err(wrong)?;
        Ok(RamImage {
            file: Arc::new(file),
            bytes,
        })
    }

    /// Whether it is the same one.
    pub(super) fn is(&self, other: &RamImage) -> bool {
        Arc::ptr_eq(&self.file, &other.file)
    }

    /// Its size.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Fills a part, while the image is being made.
    ///
    /// # Errors
    /// When it lies outside, or the host has no memory: a fragment of a sentence.
    pub fn put(&self, address: u64, bytes: &[u8]) -> Result<(), String> {
        let length = bytes.len() as u64;
        if address > self.bytes || length > self.bytes - address {
            return Err(format!(
                "{length} bytes at {address:#x} do not fit into {} bytes of memory",
                self.bytes
            ));
        }
        self.file
            .write_all_at(bytes, address)
            .map_err(|error| error.to_string())
    }

    /// Every stretch of pages that are not zero, in the order of addresses, none longer than `longest` (a multiple of the page size).
    ///
    /// # Errors
    /// Those of reading, and of `visit`.
    pub fn visit_stretches(
        &self,
        longest: usize,
        visit: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut buffer = vec![0; longest];
        let mut at = 0;
        while let Some(start) = self.seek(at, Whence::SeekData)? {
            let end = self.seek(start, Whence::SeekHole)?.unwrap_or(self.bytes);
            at = start;
            while at < end {
                let part = &mut buffer[..(end - at).min(longest as u64) as usize];
                self.file.read_exact_at(part, at)?;
                visit_filled(at, part, visit)?;
                at += part.len() as u64;
            }
        }
        Ok(())
    }

    fn seek(&self, from: u64, whence: Whence) -> io::Result<Option<u64>> {
        if from >= self.bytes {
            return Ok(None);
        }
        match lseek(&*self.file, from as i64, whence) {
            Ok(at) => Ok(Some(at as u64)),
            Err(nix::errno::Errno::ENXIO) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Another image with the same bytes.
    ///
    /// # Errors
    /// When the host has no memory: a sentence.
    pub(super) fn copy(&self) -> Result<Self, String> {
        let copy = Self::empty(self.bytes)?;
        self.visit_stretches(1 << 20, &mut |at, bytes| copy.file.write_all_at(bytes, at))
            .map_err(|error| format!("cannot copy guest memory: {error}"))?;
        Ok(copy)
    }
}

/// Passes on the runs of pages that are not zero.
fn visit_filled(
    address: u64,
    bytes: &[u8],
    visit: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    const PAGE_BYTES: usize = PAGE as usize;
    static ZERO: [u8; PAGE_BYTES] = [0; PAGE_BYTES];
    let filled = |page: &[u8]| *page != ZERO[..page.len()];
    let mut at = 0;
    while at < bytes.len() {
        let run = bytes[at..]
            .chunks(PAGE_BYTES)
            .take_while(|page| filled(page));
        let length = run.map(<[u8]>::len).sum::<usize>();
        if length > 0 {
            visit(address + at as u64, &bytes[at..at + length])?;
        }
        at += length.max(PAGE_BYTES);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_are_the_pages_that_are_not_zero() {
        let image = RamImage::empty(64 * PAGE).expect("a memory file");
        for page in [3, 4, 5, 9, 63] {
            image.put(page * PAGE + 7, &[1]).expect("inside");
        }
        // Data for the file, zero all the same.
        image.put(20 * PAGE, &[0; 4096]).expect("inside");
        assert!(image.put(64 * PAGE - 1, &[0; 2]).is_err());
        let mut seen = Vec::new();
        image
            .visit_stretches(2 * PAGE as usize, &mut |at, bytes| {
                seen.push((at / PAGE, bytes.len() as u64 / PAGE));
                Ok(())
            })
            .expect("read");
        assert_eq!(seen, [(3, 2), (5, 1), (9, 1), (63, 1)]);
        let copy = image.copy().expect("a memory file");
        let mut page = [0; 4096];
        copy.file.read_exact_at(&mut page, 9 * PAGE).expect("read");
        assert_eq!((page[6], page[7]), (0, 1));
    }
}
