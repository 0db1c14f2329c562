//! RAM: one stretch from physical address 0, allocated by vm-memory, read and written through a pointer checked against its length.

use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

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
        let memory = GuestMemory::from_ranges(&[(GuestAddress(0), bytes as usize)])
            .map_err(|error| format!("cannot allocate {bytes} bytes of guest memory: {error}"))?;
        let region = memory
            .find_region(GuestAddress(0))
            .ok_or("guest memory has no region at address 0")?;
        let written = (*region).bitmap().clone();
        let start = region
            .get_host_address(vm_memory::MemoryRegionAddress(0))
            .map_err(|error| format!("guest memory has no address: {error}"))?;
        Ok(Ram {
            memory,
            written,
            start,
            bytes,
        })
    }

    /// Its size.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
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
