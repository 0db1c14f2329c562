//! Paging: from linear to physical addresses, with the faults, accessed and dirty bits of the architecture.

use crate::cpu::flags::AC;
use crate::cpu::state::Cpu;
use crate::cpu::tlb::{Kind, SUPERVISOR_AC};
use crate::cpu::trap::{PF, Trap};

/// Physical addresses have so many bits.
pub(crate) const PHYSICAL_BITS: u32 = 40;

const PRESENT: u64 = 1;
const WRITABLE: u64 = 2;
const USER: u64 = 4;
const ACCESSED: u64 = 0x20;
const DIRTY: u64 = 0x40;
const LARGE: u64 = 0x80;
const GLOBAL: u64 = 0x100;
const NX: u64 = 1 << 63;
const ADDRESS: u64 = ((1 << PHYSICAL_BITS) - 1) & !0xfff;

/// CR0 and CR4 bits that matter here.
const CR0_WP: u64 = 1 << 16;
const CR0_PG: u64 = 1 << 31;
const CR4_PSE: u64 = 1 << 4;
const CR4_PAE: u64 = 1 << 5;
const CR4_PGE: u64 = 1 << 7;
const CR4_SMEP: u64 = 1 << 20;
const CR4_SMAP: u64 = 1 << 21;
const EFER_NXE: u64 = 1 << 11;

/// What an access is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
    Fetch,
}

/// Whose access it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who {
    pub(crate) user: bool,
    /// RFLAGS.AC counts: an explicit access of the supervisor.
    pub(crate) ac: bool,
}

/// Where a page is, and what may be remembered about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    pub(crate) physical: u64,
    pub(crate) kind: Kind,
    /// The dirty bit is set, and writing is allowed.
    pub(crate) writable_now: bool,
}

/// One step of the walk: an entry and where it was.
struct Found {
    address: u64,
    entry: u64,
    wide: bool,
}

impl Cpu {
    /// Who makes ordinary data accesses now.
    pub(crate) fn who(&self) -> Who {
        Who {
            user: self.cpl == 3,
            ac: self.cpl != 3 && self.rflags & AC != 0,
        }
    }

    pub(crate) fn class_of(who: Who) -> usize {
        match who {
            Who { user: true, .. } => crate::cpu::tlb::USER,
            Who { ac: true, .. } => SUPERVISOR_AC,
            _ => crate::cpu::tlb::SUPERVISOR,
        }
    }

    fn page_fault(&mut self, linear: u64, code: u16, access: Access, who: Who) -> Trap {
        let nx_counts =
            self.cr4 & CR4_SMEP != 0 || (self.efer & EFER_NXE != 0 && self.cr4 & CR4_PAE != 0);
        let fetch = access == Access::Fetch && nx_counts;
        let bits = code
            | u16::from(access == Access::Write) << 1
            | u16::from(who.user) << 2
            | u16::from(fetch) << 4;
        self.cr2 = linear;
        Trap::code(PF, bits)
    }

    /// Walks the page tables, checks the access, sets accessed and dirty bits.
    pub(crate) fn translate(
        &mut self,
        linear: u64,
        access: Access,
        who: Who,
    ) -> Result<Page, Trap> {
        if self.cr0 & CR0_PG == 0 {
            return Ok(Page {
                physical: linear,
                kind: Kind {
                    global: false,
                    shift: 12,
                },
                writable_now: true,
            });
        }
        let long = self.long_mode();
        let pae = self.cr4 & CR4_PAE != 0;
        let levels = if long {
            4
        } else if pae {
            3
        } else {
            2
        };
        let (wide, bits) = if pae { (true, 9) } else { (false, 10) };
        let mut table = if long {
            self.cr3 & ADDRESS
        } else if pae {
            self.cr3 & 0xffff_ffe0
        } else {
            self.cr3 & 0xffff_f000
        };
        let mut path: [Option<Found>; 4] = [const { None }; 4];
        let (mut writable, mut user, mut nx) = (true, true, false);
        for level in (0..levels).rev() {
            let shift = 12 + bits * level;
            let mask = if level == 2 && !long {
                3
            } else {
                (1 << bits) - 1
            };
            let index = linear >> shift & mask;
            let address = table + index * if wide { 8 } else { 4 };
            let entry = self.read_entry(address, wide);
            if entry & PRESENT == 0 {
                return Err(self.page_fault(linear, 0, access, who));
            }
            // The page-directory pointers of 32-bit PAE have no rights of their own.
            let bare = level == 2 && !long;
            let large = !bare
                && entry & LARGE != 0
                && (level == 1 && (pae || self.cr4 & CR4_PSE != 0) || level == 2);
            if wide && self.reserved(entry, level, large, bare) {
                return Err(self.page_fault(linear, 9, access, who));
            }
            if !bare {
                writable &= entry & WRITABLE != 0;
                user &= entry & USER != 0;
                nx |= wide && entry & NX != 0 && self.efer & EFER_NXE != 0;
                path[level as usize] = Some(Found {
                    address,
                    entry,
                    wide,
                });
            }
            if large || level == 0 {
                self.check(linear, access, who, (writable, user, nx))?;
                self.mark(&mut path, access, level as usize);
                let size_mask = (1_u64 << shift) - 1;
                let base = if wide {
                    entry & ADDRESS & !size_mask
                } else {
                    let high = if large { (entry >> 13 & 0xff) << 32 } else { 0 };
                    (entry & 0xffff_f000 & !size_mask) | high
                };
                let dirty = access == Access::Write || entry & DIRTY != 0;
                let may_write = writable || (!who.user && self.cr0 & CR0_WP == 0);
                return Ok(Page {
                    physical: base | (linear & size_mask),
                    kind: Kind {
                        global: entry & GLOBAL != 0 && self.cr4 & CR4_PGE != 0,
                        shift,
                    },
                    writable_now: dirty && may_write,
                });
            }
            table = if wide {
                entry & ADDRESS
            } else {
                entry & 0xffff_f000
            };
        }
        unreachable!("level 0 always ends the walk")
    }

    fn reserved(&self, entry: u64, level: u32, large: bool, bare: bool) -> bool {
        let mut bits = ((1 << 52) - 1) & !((1 << PHYSICAL_BITS) - 1);
        if self.efer & EFER_NXE == 0 || bare {
            bits |= NX;
        }
        if bare {
            bits |= 0x1e6 | 0x7ff << 52;
        } else if level == 3 {
            bits |= LARGE;
        } else if large {
            bits |= ((1 << (12 + 9 * level)) - 1) & !0x1fff;
        }
        entry & bits != 0
    }

    fn check(
        &mut self,
        linear: u64,
        access: Access,
        who: Who,
        (writable, user, nx): (bool, bool, bool),
    ) -> Result<(), Trap> {
        let allowed = match access {
            Access::Fetch => {
                !nx && if who.user {
                    user
                } else {
                    !(user && self.cr4 & CR4_SMEP != 0)
                }
            }
            _ if who.user => user && (writable || access == Access::Read),
            _ => {
                let smap = user && self.cr4 & CR4_SMAP != 0 && !who.ac;
                let protected = access == Access::Write && !writable && self.cr0 & CR0_WP != 0;
                !smap && !protected
            }
        };
        if allowed {
            Ok(())
        } else {
            Err(self.page_fault(linear, 1, access, who))
        }
    }

    fn mark(&mut self, path: &mut [Option<Found>; 4], access: Access, leaf: usize) {
        for (level, found) in path.iter().enumerate() {
            let Some(found) = found else { continue };
            let mut entry = found.entry | ACCESSED;
            if level == leaf && access == Access::Write {
                entry |= DIRTY;
            }
            if entry != found.entry {
                self.write_entry(found.address, found.wide, entry);
            }
        }
    }

    fn read_entry(&mut self, address: u64, wide: bool) -> u64 {
        match (self.ram.contains(address, 8), wide) {
            (true, true) => self.ram.read::<u64>(address),
            (true, false) => u64::from(self.ram.read::<u32>(address)),
            (false, _) => {
                let now = self.now();
                let entry = self.bus.mmio_read(now, address, if wide { 8 } else { 4 });
                self.note_devices();
                entry
            }
        }
    }

    fn write_entry(&mut self, address: u64, wide: bool, value: u64) {
        match (self.ram.contains(address, 8), wide) {
            (true, true) => self.ram.write::<u64>(address, value),
            (true, false) => self.ram.write::<u32>(address, value as u32),
            (false, _) => return,
        }
        self.note_write(address, 8);
    }

    /// A write to RAM that did not go through the write table: stuck cells stay as they are, code there is forgotten.
    pub(crate) fn note_write(&mut self, physical: u64, length: u64) {
        self.enforce_stuck(physical, length);
        if self.code.has_code(physical) && self.code.written(physical, length) {
            self.block_limit = 0;
        }
    }

    /// To be called after a device may have acted: code where it wrote to RAM is forgotten.
    pub(crate) fn note_devices(&mut self) {
        for (start, length) in self.ram.take_written() {
            let mut at = start;
            while at < start + length {
                let end = ((at | 0xfff) + 1).min(start + length);
                self.note_write(at, end - at);
                at = end;
            }
        }
    }

    /// The physical address that an instruction fetch at `linear` reads.
    #[inline(always)]
    pub(crate) fn fetch_physical(&mut self, linear: u64) -> Result<u64, Trap> {
        let entry = self.tlb.fetch(self.cpl == 3, linear);
        if entry.tag == linear & !0xfff {
            return Ok(self.tlb.physical(entry) | (linear & 0xfff));
        }
        self.fetch_slow(linear)
    }

    #[cold]
    fn fetch_slow(&mut self, linear: u64) -> Result<u64, Trap> {
        let who = Who {
            user: self.cpl == 3,
            ac: false,
        };
        if self.code_size == crate::cpu::state::CodeSize::Bits64 && !canonical(linear) {
            return Err(crate::cpu::trap::GP0);
        }
        let page = self.translate(linear, Access::Fetch, who)?;
        if self.ram.contains(page.physical & !0xfff, 4096) {
            self.tlb
                .fill_fetch(who.user, linear, page.physical, page.kind);
        }
        Ok(page.physical)
    }
}

/// Whether bits 47 to 63 are equal.
#[inline(always)]
pub(crate) fn canonical(address: u64) -> bool {
    (address as i64) << 16 >> 16 == address as i64
}
