//! RAM: one stretch from physical address 0, mapped by vm-memory, read and written through a pointer checked against its length.
//!
//! It is a mapping of a memory file: shared as long as the file is this RAM's own, private and copied on write once the file is an image
//! that others use too.

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap};
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{FileOffset, GuestAddress, GuestRegionMmap};

use super::image::RamImage;
use super::private::written_pages;
use crate::memory::{Dma, GuestMemory, Written};

/// Where RAM may lie: it begins at 0 and ends below the window of PCI and APICs.
#[derive(Debug)]
pub struct Layout;

impl Layout {
    /// The first address that is never RAM.
    pub const LIMIT: u64 = 0xc000_0000;
}

/// An integer in memory.
pub trait Scalar: Copy + 'static {
    /// Its size.
    const BYTES: usize;
    /// Truncated.
    fn from_u64(value: u64) -> Self;
    /// Extended with zeros.
    fn to_u64(self) -> u64;
}

macro_rules! scalar {
    ($($name:ty),*) => {$(
        impl Scalar for $name {
            const BYTES: usize = size_of::<$name>();
            #[inline(always)]
            fn from_u64(value: u64) -> Self {
                value as $name
            }
            #[inline(always)]
            fn to_u64(self) -> u64 {
                u64::from(self)
            }
        }
    )*};
}

scalar!(u8, u16, u32, u64);

/// Physical memory of the machine.
pub struct Ram {
    memory: GuestMemory,
    written: Written,
    start: *mut u8,
    bytes: u64,
    image: RamImage,
    /// The image is not to be changed: what is written is copied first.
    private: bool,
}

impl std::fmt::Debug for Ram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ram({} bytes)", self.bytes)
    }
}

// SAFETY: the pointer is that of the mapping that `memory` owns, and all access to it goes through `&self` or `&mut self`.
unsafe impl Send for Ram {}

impl Ram {
    /// That many bytes (a multiple of 4096), all zero.
    ///
    /// # Errors
    /// When the host has not so much memory, or the guest could not reach it: a sentence.
    pub fn new(bytes: u64) -> Result<Self, String> {
        if bytes == 0 || !bytes.is_multiple_of(4096) || bytes > Layout::LIMIT {
            return Err(format!(
                "guest memory of {bytes} bytes: must be a multiple of 4096, at most 3 GiB"
            ));
        }
        Self::map(RamImage::empty(bytes)?, false)
    }

    /// A copy of an image, in no time: pages are shared until they are written.
    ///
    /// # Errors
    /// When the host refuses the mapping: a sentence.
    pub fn of_image(image: &RamImage) -> Result<Self, String> {
        Self::map(image.clone(), true)
    }

    fn map(image: RamImage, private: bool) -> Result<Self, String> {
        let bytes = image.bytes();
        let wrong = |error: String| format!("cannot map {bytes} bytes of guest memory: {error}");
        let sharing = if private {
            MapFlags::MAP_PRIVATE
        } else {
            MapFlags::MAP_SHARED
        };
        let written = Written::default();
        let region = MmapRegionBuilder::new_with_bitmap(bytes as usize, written.clone())
            .with_file_offset(FileOffset::from_arc(image.file().clone(), 0))
            .with_mmap_prot((ProtFlags::PROT_READ | ProtFlags::PROT_WRITE).bits())
            .with_mmap_flags((sharing | MapFlags::MAP_NORESERVE).bits())
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        let start = region.as_ptr();
        let region = GuestRegionMmap::new(region, GuestAddress(0))
            .ok_or_else(|| wrong("too large".into()))?;
        let memory =
            GuestMemory::from_regions(vec![region]).map_err(|error| wrong(error.to_string()))?;
        Ok(Ram {
            memory,
            written,
            start,
            bytes,
            image,
            private,
        })
    }

    /// The image of what is in memory now. Memory goes on as a copy on write of it.
    ///
    /// The first time this costs no copying; later all of memory is copied, unless nothing was written since the last time.
    ///
    /// # Errors
    /// When the host refuses: a sentence.
    pub fn freeze(&mut self) -> Result<RamImage, String> {
        if self.private {
            let written = self.written()?;
            if written.is_empty() {
                return Ok(self.image.clone());
            }
            let image = self.image.copy()?;
            for (at, length) in written {
                image.put(at, self.slice(at, length as usize))?;
            }
            self.image = image;
        }
        self.remap()?;
        Ok(self.image.clone())
    }

    /// Becomes a copy of an image; what was in memory is gone. Handles to memory stay valid.
    ///
    /// # Errors
    /// When the image has another size, or the host refuses: a sentence.
    pub fn adopt(&mut self, image: &RamImage) -> Result<(), String> {
        if image.bytes() != self.bytes {
            return Err(format!(
                "an image of {} bytes for {} bytes of guest memory",
                image.bytes(),
                self.bytes
            ));
        }
        self.image = image.clone();
        drop(self.written.take());
        self.remap()
    }

    /// Makes the mapping a private one of the image, at the same place.
    fn remap(&mut self) -> Result<(), String> {
        let refused = "cannot map guest memory again";
        let length = NonZeroUsize::new(self.bytes as usize).ok_or(refused)?;
        // SAFETY: the mapping that `memory` owns is replaced by one of the same length at the same place, so all pointers into it stay valid;
        // `&mut self` keeps others from looking meanwhile.
        let mapped = unsafe {
            mmap(
                NonZeroUsize::new(self.start as usize),
                length,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED | MapFlags::MAP_NORESERVE,
                &**self.image.file(),
                0,
            )
        };
        mapped.map_err(|error| format!("{refused}: {error}"))?;
        self.private = true;
        Ok(())
    }

    /// What was written since memory became a copy of an image: offset and length of each run of pages.
    ///
    /// # Errors
    /// When the host does not say: a sentence.
    pub fn written(&self) -> Result<Vec<(u64, u64)>, String> {
        written_pages(self.start as usize, self.bytes)
            .map_err(|error| format!("cannot read /proc/self/pagemap: {error}"))
    }

    /// Whether it is a copy on write of that image.
    #[must_use]
    pub fn is_copy_of(&self, image: &RamImage) -> bool {
        self.private && self.image.is(image)
    }

    /// Gives up all that was written since memory became a copy of an image, and says what that was: offset and length of each run of pages.
    ///
    /// # Errors
    /// When it is no copy of an image, or the host refuses: a sentence.
    pub fn rewind(&mut self) -> Result<Vec<(u64, u64)>, String> {
        if !self.private {
            return Err("this memory is not the copy of an image".into());
        }
        let written = self.written()?;
        // Devices' writes are among them.
        drop(self.written.take());
        for &(at, length) in &written {
            // SAFETY: the run lies in the mapping, as `written_pages` walks over that alone; a page that is dropped is read from the image again,
            // so every pointer stays valid; `&mut self` keeps others from looking.
            unsafe {
                let start = NonNull::new(self.start.add(at as usize).cast::<c_void>())
                    .ok_or("guest memory is not mapped")?;
                madvise(start, length as usize, MmapAdvise::MADV_DONTNEED)
            }
            .map_err(|error| format!("cannot drop pages of guest memory: {error}"))?;
        }
        Ok(written)
    }

    /// Its size.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where it begins in the host's address space, as a number: for translated code.
    pub(crate) fn host_start(&self) -> u64 {
        self.start as u64
    }

    /// For loaders.
    #[must_use]
    pub fn guest_memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// A handle for devices.
    #[must_use]
    pub fn dma(&self) -> Dma {
        Dma::new(self.memory.clone())
    }

    /// What was written through [`Ram::guest_memory`] and [`Ram::dma`] since the last time: start and length of each stretch.
    #[must_use]
    pub fn take_written(&self) -> Vec<(u64, u64)> {
        self.written.take()
    }

    /// Whether all of `[address, address + length)` is RAM.
    #[must_use]
    pub fn contains(&self, address: u64, length: u64) -> bool {
        address < self.bytes && length <= self.bytes - address
    }

    #[cold]
    #[inline(never)]
    fn outside(&self, address: u64) -> ! {
        panic!("physical address {address:#x} is outside of RAM")
    }

    /// A hash of all of it (FNV-1a over 64-bit words).
    #[must_use]
    pub fn hash(&self) -> u64 {
        const PRIME: u64 = 0x0100_0000_01b3;
        (0..self.bytes() / 8).fold(0xcbf2_9ce4_8422_2325, |hash, word| {
            (hash ^ self.read::<u64>(8 * word)).wrapping_mul(PRIME)
        })
    }

    /// Reads an integer at a physical address that is RAM.
    #[inline(always)]
    #[must_use]
    pub fn read<T: Scalar>(&self, address: u64) -> T {
        if address > self.bytes - T::BYTES as u64 {
            self.outside(address);
        }
        // SAFETY: the check above: all bytes lie in the mapping; an integer has no invalid values.
        unsafe {
            self.start
                .add(address as usize)
                .cast::<T>()
                .read_unaligned()
        }
    }

    /// Writes an integer at a physical address that is RAM.
    #[inline(always)]
    pub fn write<T: Scalar>(&mut self, address: u64, value: T) {
        if address > self.bytes - T::BYTES as u64 {
            self.outside(address);
        }
        // SAFETY: as in `read`; `&mut self` keeps others from looking.
        unsafe {
            self.start
                .add(address as usize)
                .cast::<T>()
                .write_unaligned(value);
        }
    }

    /// Writes the low 1, 2, 4 or 8 bytes of a value.
    #[inline(always)]
    pub fn write_sized(&mut self, address: u64, size: u8, value: u64) {
        match size {
            1 => self.write(address, value as u8),
            2 => self.write(address, value as u16),
            4 => self.write(address, value as u32),
            _ => self.write(address, value),
        }
    }

    /// All bytes from `address` on, `length` of them.
    #[must_use]
    pub fn slice(&self, address: u64, length: usize) -> &[u8] {
        if !self.contains(address, length as u64) {
            self.outside(address);
        }
        // SAFETY: the check above; nobody writes while the slice borrows `self`.
        unsafe { std::slice::from_raw_parts(self.start.add(address as usize), length) }
    }

    /// All bytes from `address` on, to be changed.
    pub fn slice_mut(&mut self, address: u64, length: usize) -> &mut [u8] {
        if !self.contains(address, length as u64) {
            self.outside(address);
        }
        // SAFETY: the check above; the slice borrows `self` mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(address as usize), length) }
    }
}
