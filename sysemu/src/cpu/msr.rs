//! Model-specific registers. Those that are not here fault, as on a processor that lacks them.

use crate::cpu::mca::MCG_CAP;
use crate::cpu::mmu::canonical;
use crate::cpu::state::{Cpu, FS, GS};
use crate::cpu::trap::{GP0, Trap};

/// IA32_ARCH_CAPABILITIES: not vulnerable to what rogue data, L1, and microarchitectural sampling attacks need.
const ARCH_CAPABILITIES: u64 =
    1 | 1 << 3 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 13 | 1 << 14 | 1 << 15 | 1 << 17;
/// 8 variable ranges, fixed ranges, write-combining.
const MTRR_CAP: u64 = 0x508;

fn fixed_range(msr: u32) -> Option<usize> {
    match msr {
        0x250 => Some(0),
        0x258 | 0x259 => Some((msr - 0x257) as usize),
        0x268..=0x26f => Some((msr - 0x265) as usize),
        _ => None,
    }
}

fn memory_types_are_valid(value: u64) -> bool {
    value
        .to_le_bytes()
        .iter()
        .all(|kind| matches!(kind, 0 | 1 | 4 | 5 | 6))
}

impl Cpu {
    /// The time-stamp counter.
    #[must_use]
    pub fn tsc(&self) -> u64 {
        self.now().wrapping_add(self.msr.tsc_offset)
    }

    pub(crate) fn read_msr(&mut self, number: u32) -> Result<u64, Trap> {
        let m = &self.msr;
        Ok(match number {
            0x10 => self.tsc(),
            0x17 => 0,
            0x1b => self.bus.apic_base(),
            0x3a => 1,
            0x8b => m.ucode,
            0xfe => MTRR_CAP,
            0x10a => ARCH_CAPABILITIES,
            0x174..=0x176 => m.sysenter[(number - 0x174) as usize],
            0x179 => MCG_CAP,
            0x17a => m.mcg[0],
            0x17b => m.mcg[1],
            0x1a0 => m.misc_enable,
            0x200..=0x20f => m.mtrr_variable[(number - 0x200) as usize],
            0x277 => m.pat,
            0x2ff => m.mtrr_default,
            0x400..=0x427 => {
                let at = number as usize - 0x400;
                m.mc_banks[at / 4][at % 4]
            }
            0xc000_0080 => self.efer,
            0xc000_0081 => m.star,
            0xc000_0082 => m.lstar,
            0xc000_0083 => m.cstar,
            0xc000_0084 => m.fmask,
            0xc000_0100 => self.seg[FS].base,
            0xc000_0101 => self.seg[GS].base,
            0xc000_0102 => m.kernel_gs_base,
            0xc000_0103 => m.tsc_aux,
            _ => match fixed_range(number) {
                Some(index) => m.mtrr_fixed[index],
                None => return Err(GP0),
            },
        })
    }

    pub(crate) fn write_msr(&mut self, number: u32, value: u64) -> Result<(), Trap> {
        let now = self.now();
        let m = &mut self.msr;
        match number {
            0x10 => m.tsc_offset = value.wrapping_sub(now),
            0x1b => {
                if !self.bus.set_apic_base(value) {
                    return Err(GP0);
                }
            }
            // The revision is loaded again.
            0x8b => {}
            0x174 => m.sysenter[0] = value,
            0x175 | 0x176 => m.sysenter[(number - 0x174) as usize] = address(value)?,
            0x17a => {
                // In progress, restart address valid, error address valid.
                if value & !7 != 0 {
                    return Err(GP0);
                }
                m.mcg[0] = value;
            }
            0x17b => m.mcg[1] = value,
            0x1a0 => m.misc_enable = value,
            0x200..=0x20f => m.mtrr_variable[(number - 0x200) as usize] = value,
            0x277 => {
                let valid = value
                    .to_le_bytes()
                    .iter()
                    .all(|kind| matches!(kind, 0 | 1 | 4..=7));
                if !valid {
                    return Err(GP0);
                }
                m.pat = value;
            }
            0x2ff => m.mtrr_default = value,
            0x400..=0x427 => {
                let at = number as usize - 0x400;
                // Status, address and misc can only be cleared; control takes anything.
                if !at.is_multiple_of(4) && value != 0 {
                    return Err(GP0);
                }
                m.mc_banks[at / 4][at % 4] = value;
            }
            0xc000_0080 => return self.set_efer(value),
            0xc000_0081 => m.star = value,
            0xc000_0082 => m.lstar = address(value)?,
            0xc000_0083 => m.cstar = address(value)?,
            0xc000_0084 => m.fmask = value & 0xffff_ffff,
            0xc000_0100 | 0xc000_0101 => {
                let register = if number & 1 == 0 { FS } else { GS };
                self.seg[register].base = address(value)?;
                self.lin[register] = value;
            }
            0xc000_0102 => m.kernel_gs_base = address(value)?,
            0xc000_0103 => m.tsc_aux = value & 0xffff_ffff,
            _ => match fixed_range(number) {
                Some(index) if memory_types_are_valid(value) => m.mtrr_fixed[index] = value,
                _ => return Err(GP0),
            },
        }
        Ok(())
    }
}

fn address(value: u64) -> Result<u64, Trap> {
    if canonical(value) {
        Ok(value)
    } else {
        Err(GP0)
    }
}
