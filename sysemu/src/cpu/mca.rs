//! The machine-check architecture: banks that record hardware errors, and the exception that reports those that software must act on.
//!
//! What is announced: [`BANKS`] banks, `MCG_CTL` (CTL_P), and software error recovery (SER_P); no corrected machine-check interrupt
//! (CMCI_P is 0), so corrected errors wait in their bank until the guest polls. Layouts and rules: Intel SDM volume 3, chapter "Machine-Check
//! Architecture".

use crate::cpu::state::{Cpu, Stop};
use crate::cpu::trap::{self, Trap};

/// How many banks there are.
pub const BANKS: usize = 10;
/// MCG_CAP: [`BANKS`] banks, CTL_P (bit 8), SER_P (bit 24).
pub const MCG_CAP: u64 = BANKS as u64 | 1 << 8 | 1 << 24;

/// MCi_STATUS: the bank holds an error.
pub const STATUS_VALID: u64 = 1 << 63;
/// MCi_STATUS: errors were lost because the bank was full.
pub const STATUS_OVERFLOW: u64 = 1 << 62;
/// MCi_STATUS: uncorrected.
pub const STATUS_UNCORRECTED: u64 = 1 << 61;
/// MCi_STATUS: the processor's context is corrupt.
pub const STATUS_CONTEXT_CORRUPT: u64 = 1 << 57;
/// MCi_STATUS: recovery action is required of software (with SER_P).
pub const STATUS_ACTION_REQUIRED: u64 = 1 << 55;

/// MCG_STATUS: a machine check is in progress.
const IN_PROGRESS: u64 = 1 << 2;
/// CR4.MCE.
const CR4_MCE: u64 = 1 << 6;

/// Places in a bank, in the order of their MSRs.
const CONTROL: usize = 0;
const STATUS: usize = 1;
const ADDRESS: usize = 2;
const MISC: usize = 3;

/// A hardware error as the processor is told of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MachineCheck {
    /// Bank that records it, from 0.
    pub bank: u8,
    /// MCi_STATUS; the valid bit must be set.
    pub status: u64,
    /// MCG_STATUS: RIPV (1), EIPV (2), MCIP (4); for uncorrected errors only.
    pub mcg_status: u64,
    /// MCi_ADDR.
    pub address: u64,
    /// MCi_MISC.
    pub misc: u64,
    /// All processors are told. There is one here, so that this changes nothing.
    pub broadcast: bool,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// In the bank, and the exception follows before the next instruction.
    Raised,
    /// In the bank, for software to find.
    Recorded,
    /// The bank holds an uncorrected error already: only its overflow bit was set.
    Overflowed,
    /// MCG_CTL or the bank's control register does not have all bits set: reporting is disabled, nothing happened.
    Disabled,
    /// An error without required action while another one is being handled: lost.
    Lost,
    /// CR4.MCE is clear, or another machine check is in progress: the processor shut down.
    Shutdown,
}

impl Outcome {
    /// In words.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Outcome::Raised => "raised",
            Outcome::Recorded => "recorded",
            Outcome::Overflowed => "recorded as overflow only",
            Outcome::Disabled => "uncorrected error reporting is disabled",
            Outcome::Lost => "lost: a machine check is in progress",
            Outcome::Shutdown => "the processor shut down",
        }
    }
}

impl Cpu {
    /// Reports a hardware error, between two instructions.
    ///
    /// # Errors
    /// A bank that there is not, or a status without the valid bit: a sentence; nothing has happened.
    pub fn inject_machine_check(&mut self, error: &MachineCheck) -> Result<Outcome, String> {
        if usize::from(error.bank) >= BANKS {
            return Err(format!(
                "machine-check bank {} does not exist: there are {BANKS}, from 0",
                error.bank
            ));
        }
        if error.status & STATUS_VALID == 0 {
            return Err(format!(
                "machine-check status {:#x} is not valid: bit 63 must be set",
                error.status
            ));
        }
        if error.status & STATUS_UNCORRECTED == 0 {
            return Ok(self.record_corrected(error));
        }
        Ok(self.report_uncorrected(error))
    }

    fn record_corrected(&mut self, error: &MachineCheck) -> Outcome {
        let bank = &mut self.msr.mc_banks[usize::from(error.bank)];
        let old = bank[STATUS];
        if old & STATUS_VALID != 0 && old & STATUS_UNCORRECTED != 0 {
            // An uncorrected error is never overwritten by a corrected one.
            bank[STATUS] |= STATUS_OVERFLOW;
            return Outcome::Overflowed;
        }
        fill(bank, error);
        Outcome::Recorded
    }

    fn report_uncorrected(&mut self, error: &MachineCheck) -> Outcome {
        let in_progress = self.msr.mcg[0] & IN_PROGRESS != 0;
        let optional = error.status & (STATUS_ACTION_REQUIRED | STATUS_CONTEXT_CORRUPT) == 0;
        if in_progress && optional {
            return Outcome::Lost;
        }
        let bank = &mut self.msr.mc_banks[usize::from(error.bank)];
        if self.msr.mcg[1] != u64::MAX || bank[CONTROL] != u64::MAX {
            return Outcome::Disabled;
        }
        if in_progress || self.cr4 & CR4_MCE == 0 {
            let rip = self.rip();
            self.stop_with(Stop::TripleFault { rip });
            return Outcome::Shutdown;
        }
        fill(bank, error);
        self.msr.mcg[0] = error.mcg_status;
        self.machine_check = true;
        self.block_limit = 0;
        Outcome::Raised
    }

    /// Delivers the exception that an error has asked for; true where there was one. Nothing masks it, and it ends a halt.
    pub(crate) fn take_machine_check(&mut self) -> bool {
        let pending = std::mem::take(&mut self.machine_check);
        if pending {
            self.raise(Trap::plain(trap::MC));
        }
        pending
    }
}

fn fill(bank: &mut [u64; 4], error: &MachineCheck) {
    let overflow = if bank[STATUS] & STATUS_VALID != 0 {
        STATUS_OVERFLOW
    } else {
        0
    };
    bank[STATUS] = error.status | overflow;
    bank[ADDRESS] = error.address;
    bank[MISC] = error.misc;
}
