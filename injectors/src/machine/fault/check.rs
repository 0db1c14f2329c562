//! What is refused although the grammar allows it, with the reason.

use super::{CheckKind, InterruptFailure, MachineFault, What};
use crate::fault::{Duration, Mask, Operation};

type Check = Result<(), String>;

/// Whether what is hit and the operation go together.
pub(super) fn change(fault: &MachineFault) -> Check {
    let what = &fault.what;
    let Some(change) = &fault.change else {
        if what.width() == 0 {
            return Ok(());
        }
        return Err(format!(
            "which bits of {what}? after ':' comes a mask (3, 3,7, 4-11, byte2, all) or an operation"
        ));
    };
    let mask = change.mask(what.width());
    if mask.is_zero() {
        return Err("no bit is changed".to_owned());
    }
    if mask.width() > what.width() {
        return Err(format!("{what} has only {} bits", what.width()));
    }
    if let Operation::Set(number) = change.operation
        && number.width() > mask.count()
    {
        return Err(format!(
            "the number has {} bits and the mask {}",
            number.width(),
            mask.count()
        ));
    }
    let unsized_all = change.mask == Mask::All && !matches!(change.operation, Operation::Xor(_));
    match what {
        What::Memory(_) if unsized_all => {
            Err("memory has no width of its own: say which bits".to_owned())
        }
        What::Network(_) if unsized_all => {
            Err("a frame has no width of its own: say which bits".to_owned())
        }
        What::Network(_) if matches!(change.operation, Operation::Random) => Err(
            "bits of frames are flipped, stuck or set; rx-flip and tx-flip are random".to_owned(),
        ),
        What::Result(None) if unsized_all && matches!(change.operation, Operation::Set(_)) => {
            Err("which bits? the register is known only at the moment".to_owned())
        }
        What::Device(_) if matches!(change.operation, Operation::Random) => {
            Err("bits of devices' registers are flipped, stuck or set, not random".to_owned())
        }
        What::Translation(_) if !mask.iter().all(|bit| (12..40).contains(&bit)) => {
            Err("a TLB entry is wrong in its physical page: bits 12 to 39".to_owned())
        }
        What::Translation(_)
            if !matches!(change.operation, Operation::Flip | Operation::Xor(_)) =>
        {
            Err("the page in a TLB entry can be changed by flip or xor only".to_owned())
        }
        _ => Ok(()),
    }
}

/// Whether the fault can last so long.
pub(super) fn duration(fault: &MachineFault) -> Check {
    let transient = fault.duration == Duration::Transient;
    let forces = fault.change.is_some_and(|change| change.operation.forces());
    match &fault.what {
        What::Network(_) => Ok(()),
        What::Interrupt(interrupt)
            if transient
                && matches!(
                    interrupt.failure,
                    InterruptFailure::Stuck0 | InterruptFailure::Stuck1
                ) =>
        {
            Err("a stuck line is permanent: /permanent".to_owned())
        }
        What::Part(_) if fault.duration != Duration::Permanent => {
            Err("a device is dead, or its clock wrong, permanently: /permanent".to_owned())
        }
        What::Part(_) => Ok(()),
        _ if transient => Ok(()),
        What::Register(_) | What::Memory(_) | What::Array(..) if !forces => {
            Err("what lasts is enforced, and that takes stuck0, stuck1 or set".to_owned())
        }
        What::Register(_) | What::Memory(_) | What::Array(..) => Ok(()),
        What::Result(_) | What::Skip => match fault.duration {
            Duration::Instructions(_) => Ok(()),
            _ => Err("an instruction's fault is once, or for a number of instructions".to_owned()),
        },
        What::Interrupt(interrupt) => match (interrupt.failure, fault.duration) {
            (InterruptFailure::Lost, Duration::Instructions(_) | Duration::Permanent)
            | (InterruptFailure::Stuck0 | InterruptFailure::Stuck1, Duration::Permanent) => Ok(()),
            (InterruptFailure::Spurious, _) => {
                Err("a spurious interrupt comes once and has no duration".to_owned())
            }
            _ => Err(
                "interrupts are lost once, a number of times, or permanently; a stuck line is permanent"
                    .to_owned(),
            ),
        },
        What::Disk(_) | What::Device(_) => match fault.duration {
            Duration::Intermittent { .. } => {
                Err("a device fails once, for a number of accesses, or permanently".to_owned())
            }
            _ => Ok(()),
        },
        What::Check(check) if check.kind == CheckKind::Read => match fault.duration {
            Duration::Permanent => Ok(()),
            _ => Err("a machine check at a read is once or permanent".to_owned()),
        },
        What::Translation(_) => Err(
            "a wrong TLB entry lasts until it is flushed or replaced, and has no duration"
                .to_owned(),
        ),
        what => Err(format!("{what} happens once and has no duration")),
    }
}

/// Whether a seed is of any use.
pub(super) fn seed(fault: &MachineFault) -> Check {
    if fault.seed.is_some() && !fault.draws() {
        return Err("'seed' goes with what is drawn at random, and nothing here is".to_owned());
    }
    Ok(())
}
