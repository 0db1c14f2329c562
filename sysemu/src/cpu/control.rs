//! Control and debug registers.

use crate::cpu::state::{CS, CodeSize, Cpu, Stop};
use crate::cpu::trap::{GP0, INVALID_OPCODE, Trap};

const PE: u64 = 1;
const PG: u64 = 1 << 31;
const PAE: u64 = 1 << 5;
const LME: u64 = 1 << 8;
const LMA: u64 = 1 << 10;

/// VME is not announced; PVI, TSD, DE, PSE, PAE, MCE, PGE, PCE, OSFXSR, OSXMMEXCPT, UMIP, FSGSBASE, OSXSAVE, SMEP, SMAP.
const CR4_ALLOWED: u64 = 0x7fc | 1 << 11 | 1 << 16 | 1 << 18 | 1 << 20 | 1 << 21;

impl Cpu {
    pub(crate) fn set_cr0(&mut self, value: u64) -> Result<(), Trap> {
        const ALLOWED: u64 = 0xe005_003f;
        if value >> 32 != 0 || value & PG != 0 && value & PE == 0 {
            return Err(GP0);
        }
        // Not write-through without cache disable.
        if value & 1 << 29 != 0 && value & 1 << 30 == 0 {
            return Err(GP0);
        }
        let value = value & ALLOWED | 1 << 4;
        let changed = value ^ self.cr0;
        if changed & PG != 0 {
            if value & PG != 0 && self.efer & LME != 0 {
                if self.cr4 & PAE == 0 || self.seg[CS].long() {
                    return Err(GP0);
                }
                self.efer |= LMA;
            } else if value & PG == 0 {
                if self.code_size == CodeSize::Bits64 {
                    return Err(GP0);
                }
                self.efer &= !LMA;
            }
        }
        self.cr0 = value;
        if changed & PE != 0 && value & PE == 0 {
            self.cpl = 0;
        }
        if changed & (PG | PE | 1 << 16) != 0 {
            self.tlb.flush(true);
        }
        self.update_mode();
        Ok(())
    }

    pub(crate) fn set_cr3(&mut self, value: u64) -> Result<(), Trap> {
        let top = 1 << crate::cpu::mmu::PHYSICAL_BITS;
        if self.long_mode() && value >= top {
            return Err(GP0);
        }
        self.cr3 = value;
        self.tlb.flush(false);
        self.block_limit = 0;
        self.stop_after(self.breakpoints.address_spaces, Stop::AddressSpace);
        Ok(())
    }

    pub(crate) fn set_cr4(&mut self, value: u64) -> Result<(), Trap> {
        if value & !CR4_ALLOWED != 0 || self.long_mode() && value & PAE == 0 {
            return Err(GP0);
        }
        const PAGING: u64 = 1 << 4 | PAE | 1 << 7 | 1 << 20 | 1 << 21;
        if (self.cr4 ^ value) & PAGING != 0 {
            self.tlb.flush(true);
        }
        self.cr4 = value;
        self.block_limit = 0;
        Ok(())
    }

    pub(crate) fn set_efer(&mut self, value: u64) -> Result<(), Trap> {
        const ALLOWED: u64 = 1 | LME | LMA | 1 << 11;
        if value & !ALLOWED != 0 {
            return Err(GP0);
        }
        if (value ^ self.efer) & LME != 0 && self.cr0 & PG != 0 {
            return Err(GP0);
        }
        self.efer = value & !LMA | self.efer & LMA;
        self.tlb.flush(true);
        self.update_mode();
        Ok(())
    }

    /// The number of a debug register, DR4 and DR5 being others' names.
    pub(crate) fn debug_register(&mut self, number: u8) -> Result<usize, Trap> {
        if number > 7 {
            return Err(INVALID_OPCODE);
        }
        let number = if matches!(number, 4 | 5) {
            if self.cr4 & 8 != 0 {
                return Err(INVALID_OPCODE);
            }
            number + 2
        } else {
            number
        };
        if self.dr[7] & 1 << 13 != 0 {
            // General detect: somebody guards the debug registers.
            self.dr[6] |= 1 << 13;
            return Err(Trap::plain(crate::cpu::trap::DB));
        }
        Ok(usize::from(number))
    }

    pub(crate) fn set_dr(&mut self, number: usize, value: u64) -> Result<(), Trap> {
        if number >= 6 && value >> 32 != 0 {
            return Err(GP0);
        }
        self.dr[number] = match number {
            6 => value & 0xe00f | 0xffff_0ff0,
            7 => value & 0xffff_2bff | 0x400,
            _ => value,
        };
        self.tlb.flush(true);
        self.update_class();
        self.block_limit = 0;
        Ok(())
    }

    /// Notes which data breakpoints an access hits.
    pub(crate) fn watch(&mut self, linear: u64, length: u64, write: bool) {
        for number in 0..4 {
            let kind = self.dr[7] >> (16 + 4 * number) & 3;
            let enabled = self.dr[7] >> (2 * number) & 3 != 0;
            if !enabled || kind == 0 || kind == 2 || (kind == 1 && !write) {
                continue;
            }
            let size = [1, 2, 8, 4][(self.dr[7] >> (18 + 4 * number) & 3) as usize];
            let start = self.dr[number as usize] & !(size - 1);
            if linear < start.wrapping_add(size) && start < linear.wrapping_add(length) {
                self.pending_debug |= 1 << number;
                self.block_limit = 0;
            }
        }
    }

    /// The instruction breakpoints that the next instruction hits.
    pub(crate) fn instruction_breakpoints(&self) -> u64 {
        let linear = self.linear_rip();
        (0..4)
            .filter(|&number| {
                self.dr[7] >> (2 * number) & 3 != 0
                    && self.dr[7] >> (16 + 4 * number) & 3 == 0
                    && self.dr[number] == linear
            })
            .map(|number| 1 << number)
            .sum()
    }
}
