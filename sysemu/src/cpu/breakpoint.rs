//! Stops at places in the guest's code, for faults: addresses, system calls, changes of the address space.

use rustc_hash::FxHashSet;

use crate::cpu::state::{Cpu, Stop};
use crate::cpu::trap::Trap;

/// What the machine stops at.
#[derive(Debug, Default)]
pub(crate) struct Breakpoints {
    addresses: FxHashSet<u64>,
    /// A bit for each offset in a page at which an address lies. Blocks are known by physical address, so they end before every such offset.
    offsets: Option<Box<[u64; 64]>>,
    /// After each system call instruction.
    pub(crate) system_calls: bool,
    /// After each load of CR3.
    pub(crate) address_spaces: bool,
    /// The instruction that was stopped at last: it goes on when it is executed again.
    reported_at: Option<(u64, u64)>,
}

impl Breakpoints {
    /// The machine is no longer at the instruction that it was stopped at.
    pub(crate) fn forget_reported(&mut self) {
        self.reported_at = None;
    }

    /// Whether there is an address to stop at.
    pub(crate) fn any(&self) -> bool {
        self.offsets.is_some()
    }

    /// Whether an address with that offset in its page may be one to stop at.
    #[inline(always)]
    pub(crate) fn offset_used(&self, address: u64) -> bool {
        self.offsets
            .as_ref()
            .is_some_and(|offsets| offsets[(address >> 6) as usize & 63] >> (address & 63) & 1 != 0)
    }
}

impl Cpu {
    /// Sets the linear addresses before whose instructions the machine stops. True where that makes blocks end elsewhere: the caller forgets those that
    /// were decoded.
    pub(crate) fn set_breakpoints(&mut self, addresses: &[u64]) -> bool {
        let breakpoints = &mut self.breakpoints;
        breakpoints.addresses = addresses.iter().copied().collect();
        let offsets = (!addresses.is_empty()).then(|| {
            let mut offsets = Box::new([0; 64]);
            for address in addresses {
                offsets[(address >> 6) as usize & 63] |= 1 << (address & 63);
            }
            offsets
        });
        let changed = breakpoints.offsets != offsets;
        breakpoints.offsets = offsets;
        changed
    }

    /// Stops where the instruction at `linear` is one to stop at.
    #[inline(always)]
    pub(crate) fn check_breakpoint(&mut self, linear: u64) -> Result<(), Trap> {
        if self.breakpoints.offset_used(linear) {
            return self.check_address(linear);
        }
        Ok(())
    }

    #[cold]
    fn check_address(&mut self, linear: u64) -> Result<(), Trap> {
        let here = Some((self.retired, linear));
        if !self.breakpoints.addresses.contains(&linear) || self.breakpoints.reported_at == here {
            return Ok(());
        }
        self.breakpoints.reported_at = here;
        Err(self.stop_with(Stop::Breakpoint { address: linear }))
    }

    /// Stops after the current instruction where somebody asked for stops of that kind.
    pub(crate) fn stop_after(&mut self, asked: bool, stop: Stop) {
        if asked {
            self.stop_with(stop);
        }
    }
}
