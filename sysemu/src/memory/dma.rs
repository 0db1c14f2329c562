//! The way of devices to RAM.

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::memory::Written;

/// Memory as the rust-vmm crates see it; what is written through it is noted.
pub type GuestMemory = GuestMemoryMmap<Written>;

/// A handle to RAM. Addresses are physical; what lies outside of RAM is refused whole.
#[derive(Clone, Debug)]
pub struct Dma(GuestMemory);

impl Dma {
    pub(super) fn new(memory: GuestMemory) -> Self {
        Dma(memory)
    }

    /// For crates that want the whole memory.
    #[must_use]
    pub fn memory(&self) -> &GuestMemory {
        &self.0
    }

    /// Reads; false, and nothing of meaning in `bytes`, where that is not all RAM.
    #[must_use]
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> bool {
        self.0.read_slice(bytes, GuestAddress(address)).is_ok()
    }

    /// Writes; false where that is not all RAM.
    #[must_use]
    pub fn write(&self, address: u64, bytes: &[u8]) -> bool {
        self.0.write_slice(bytes, GuestAddress(address)).is_ok()
    }
}
