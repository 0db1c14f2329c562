//! How faults last.

use crate::fault::Duration;
use crate::machine::fault::{MachineFault, What};

/// For how many accesses a disk fails; none is for ever.
pub(super) fn times(duration: Duration) -> Option<u64> {
    match duration {
        Duration::Transient => Some(1),
        Duration::Instructions(count) => Some(count),
        Duration::Intermittent { .. } | Duration::Permanent => None,
    }
}

/// When a fault that lasts next changes: registers at each instruction, memory when it begins or ends to be stuck.
pub(super) fn next_change(fault: &MachineFault, since: u64, now: u64) -> u64 {
    let passed = now - since;
    let edge = match fault.duration {
        Duration::Transient | Duration::Permanent => u64::MAX,
        Duration::Instructions(count) => since + count,
        Duration::Intermittent { on, period } => {
            let within = passed % period;
            now + if within < on {
                on - within
            } else {
                period - within
            }
        }
    };
    let enforced = matches!(fault.what, What::Register(_));
    if enforced && fault.duration.active(passed) {
        edge.min(now + 1)
    } else {
        edge
    }
}
