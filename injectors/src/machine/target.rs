//! What a machine must offer to have faults.

use crate::bits::Bits;
use crate::fault::{Change, Duration};
use crate::machine::fault::{
    CheckValues, DiskFault, Family, Interrupt, NetworkFault, PartFault, Registers,
};

/// A machine that stands between two instructions.
///
/// The contract:
/// 1. Nothing changes but by [`Target::run`] and by what the other functions say.
/// 2. What is set is what the next instruction uses.
/// 3. An event is reported before the instruction that makes it, but for system calls and loads of CR3, which are reported right after.
/// 4. The same calls give the same events, in every run.
pub trait Target {
    /// Instructions retired since the machine was switched on.
    fn retired(&self) -> u64;
    /// Virtual nanoseconds since then.
    fn now(&self) -> u64;
    /// Bytes of RAM; it begins at physical address 0.
    fn memory_bytes(&self) -> u64;
    /// Reads RAM; false, with nothing of meaning in `bytes`, where that is not all RAM.
    fn read(&self, physical: u64, bytes: &mut [u8]) -> bool;
    /// Writes RAM as if a cell had changed: decoded code is forgotten. False where that is not all RAM.
    fn write(&mut self, physical: u64, bytes: &[u8]) -> bool;
    /// A register; none where the processor lacks it.
    fn register(&mut self, register: Family) -> Option<Bits>;
    /// Sets a register, without the checks that instructions make.
    ///
    /// # Errors
    /// When it can't be set: a sentence.
    fn set_register(&mut self, register: Family, value: Bits) -> Result<(), String>;
    /// The current privilege level is 3.
    fn user_mode(&self) -> bool;
    /// How code is decoded: 16, 32 or 64 bits.
    fn code_bits(&self) -> u32;
    /// Where a virtual address lies, by the page tables of `root` (a value of CR3).
    fn translate(&self, root: u64, linear: u64) -> Option<u64>;
    /// The physical address of the page-table entry of that level (1 is the page table) for an address, with its size in bytes.
    fn page_entry(&self, linear: u64, level: u8) -> Option<(u64, u8)>;
    /// Lets the TLB forget the page of an address.
    fn forget_translation(&mut self, linear: u64);
    /// Changes bits of the physical page that the TLB holds for an address; returns the page before.
    ///
    /// # Errors
    /// When that can't be: a sentence.
    fn redirect_translation(&mut self, linear: u64, change: u64) -> Result<u64, String>;
    /// Tells the processor of a hardware error; returns what became of it, in words.
    ///
    /// # Errors
    /// When there is no such bank, or the status is not valid: a sentence.
    fn machine_check(&mut self, values: &CheckValues, address: u64) -> Result<String, String>;
    /// From now on the bits of `mask` of a byte of RAM are those of `value`; a mask of 0 ends that.
    fn stick(&mut self, physical: u64, mask: u8, value: u8);
    /// Reports accesses of RAM from now on.
    fn watch(&mut self, watch: &Watch);
    /// Ends a watch.
    fn unwatch(&mut self, number: u32);
    /// What else is to be reported.
    fn report(&mut self, wishes: &Wishes);
    /// Goes on until something is to be reported, the machine ends, or so many instructions have retired in all.
    fn run(&mut self, until: u64) -> Event;
    /// Skips the instruction that would begin next, which has so many bytes; it counts as retired.
    fn skip(&mut self, bytes: u64);
    /// Lets a disk fail from now on, for so many accesses (none is for ever); `bit` is the one that silent failures turn around.
    ///
    /// # Errors
    /// When there is no such disk, or it has fewer sectors: a sentence.
    fn disk(&mut self, fault: &DiskFault, times: Option<u64>, bit: u16) -> Result<(), String>;
    /// Lets frames of a network card fail from now on; `change` is what becomes of the bits that it names, `bit` the one that random failures turn around.
    ///
    /// # Errors
    /// When there is no such card: a sentence.
    fn network(
        &mut self,
        fault: &NetworkFault,
        change: Option<&Change>,
        duration: Duration,
        bit: u64,
    ) -> Result<(), String>;
    /// Lets registers of devices fail from now on, for so many accesses (none is for ever); `change` is what becomes of each byte.
    fn device(&mut self, registers: &Registers, change: Option<&Change>, times: Option<u64>);
    /// Lets a device fail as a whole, or its clock go wrong.
    ///
    /// # Errors
    /// When there is no such device: a sentence.
    fn part(&mut self, fault: &PartFault) -> Result<(), String>;
    /// Lets an interrupt line fail from now on, for so many interrupts (none is for ever).
    fn interrupt(&mut self, interrupt: &Interrupt, times: Option<u64>);
    /// The power goes: the next [`Target::run`] ends at once.
    fn cut_power(&mut self);
}

/// A stretch of RAM to be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Its name.
    pub number: u32,
    /// Where it begins.
    pub physical: u64,
    /// Its bytes.
    pub length: u64,
    /// Reads are reported.
    pub reads: bool,
    /// Writes are reported.
    pub writes: bool,
}

/// What is to be reported beside accesses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Linear addresses whose instructions are about to begin.
    pub breakpoints: Vec<u64>,
    /// System calls.
    pub system_calls: bool,
    /// Loads of CR3.
    pub address_spaces: bool,
    /// This virtual time, in nanoseconds.
    pub time: Option<u64>,
}

/// Why a machine stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// So many instructions have retired.
    Limit,
    /// The time of [`Wishes::time`] has come.
    Time,
    /// An access of a [`Watch`].
    Access {
        /// Of the watch.
        number: u32,
        /// Whether it writes.
        write: bool,
    },
    /// An address of [`Wishes::breakpoints`].
    Execution(u64),
    /// A system call has entered the kernel.
    SystemCall,
    /// CR3 was loaded.
    AddressSpace,
    /// The machine has ended, or somebody else wants it to stop.
    Ended,
}
