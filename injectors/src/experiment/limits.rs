//! What a program with a fault may use before it is stopped.
//!
//! The fault-free reference run has the same limits, so that a limit that the program needs to exceed shows before any fault is injected.

use std::fs;

use fits_tracer::process::ResourceLimit;
use nix::sys::resource::Resource;
use serde::{Deserialize, Serialize};

/// Limits of what a run may use of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLimits {
    /// Processes and threads alive at the same time.
    pub processes: u64,
    /// Bytes of private writable memory of one process, and bytes resident of all together.
    pub memory: u64,
    /// Bytes of one file.
    pub file: u64,
    /// Bytes of all that it writes (in a sandbox).
    pub disk: u64,
}

const GIB: u64 = 1 << 30;

impl Default for HostLimits {
    fn default() -> Self {
        Self {
            processes: 512,
            memory: installed_memory() / 4 * 3,
            file: GIB,
            disk: GIB,
        }
    }
}

impl HostLimits {
    /// Those that the kernel holds a program to. A core dump is never written.
    #[must_use]
    pub fn of_program(self) -> Vec<ResourceLimit> {
        let limit = |resource, value| ResourceLimit {
            resource,
            soft: value,
            hard: value,
        };
        vec![
            limit(Resource::RLIMIT_CORE, 0),
            limit(Resource::RLIMIT_FSIZE, self.file),
            limit(Resource::RLIMIT_DATA, self.memory),
        ]
    }
}

/// A backstop for a program whose tracer does not come round to stopping it. Far beyond what the tracer allows, since the kernel's work for
/// every single step counts as the program's own time.
#[must_use]
pub fn processor_backstop(cpu_seconds: f64) -> ResourceLimit {
    let soft = (20.0 * cpu_seconds).ceil() as u64 + 3600;
    ResourceLimit {
        resource: Resource::RLIMIT_CPU,
        soft,
        hard: soft + 5,
    }
}

/// Bytes of memory of this machine; where that is not known, enough that the limit is none.
fn installed_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.map_or(u64::MAX / 4, |kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_leave_room() {
        let limits = HostLimits::default();
        assert!(limits.memory > GIB / 4, "{limits:?}");
        let backstop = processor_backstop(1.5);
        assert_eq!((backstop.soft, backstop.hard), (3630, 3635));
    }
}
