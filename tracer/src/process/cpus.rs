//! Who runs where: tracer and target together on one CPU (a ptrace stop costs several times as much across CPUs),
//! the statistics process on the others.

use std::sync::OnceLock;

use fits_stats::client::Cpus;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The plan of this process.
static PLAN: OnceLock<CpuPlan> = OnceLock::new();

/// The CPUs of a run.
#[derive(Debug, Clone)]
pub struct CpuPlan {
    allowed: Option<CpuSet>,
    target: Option<usize>,
}

impl CpuPlan {
    /// Puts tracer and target on the first CPU that we may use: the same in every run, since a program can ask which one it
    /// runs on (`cpuid` gives its number, and the C library asks), and processor 0 if we may, since that is the one that a controlled run shows.
    /// Where affinity can't be asked for, nothing is pinned. The plan is that of the first call, however the process is pinned afterwards.
    #[must_use]
    pub fn new() -> Self {
        PLAN.get_or_init(|| Self::from_affinity(0)).clone()
    }

    /// Makes the plan of this process one for runs beside others: tracer and target on the CPU at `place` (from 0) of those that we may use, counted
    /// round. Without effect after the first [`CpuPlan::new`].
    pub fn choose(place: usize) {
        PLAN.get_or_init(|| Self::from_affinity(place));
    }

    fn from_affinity(place: usize) -> Self {
        let allowed = sched_getaffinity(Pid::from_raw(0)).ok();
        let may_use = |&cpu: &usize| allowed.is_some_and(|set| set.is_set(cpu) == Ok(true));
        let usable: Vec<usize> = (0..CpuSet::count()).filter(may_use).collect();
        let target = usable.get(place % usable.len().max(1)).copied();
        Self { allowed, target }
    }

    /// The CPU of tracer and target.
    #[must_use]
    pub fn target(&self) -> Option<usize> {
        self.target
    }

    /// For the statistics process: it gets all others that we may use.
    #[must_use]
    pub fn for_statistics(&self) -> Cpus {
        let may_use = |&cpu: &usize| self.allowed.is_some_and(|set| set.is_set(cpu) == Ok(true));
        let others = (0..CpuSet::count())
            .filter(may_use)
            .filter(|&cpu| Some(cpu) != self.target)
            .collect();
        Cpus {
            of_program: self.target,
            others,
        }
    }

    /// Moves the calling thread, which will be the tracer, to the target's CPU.
    pub fn pin_tracer(&self) {
        let mut set = CpuSet::new();
        if let Some(cpu) = self.target
            && set.set(cpu).is_ok()
        {
            // Failing costs speed only.
            let _ = sched_setaffinity(Pid::from_raw(0), &set);
        }
    }

    /// Gives a process that is let go the CPUs back that it would have had without us.
    pub fn release(&self, pid: Pid) {
        if let Some(allowed) = &self.allowed {
            // Failing costs speed only.
            let _ = sched_setaffinity(pid, allowed);
        }
    }

    /// The affinity mask that the program would see without us, as bytes, at most `limit` of them.
    #[must_use]
    pub fn visible_mask(&self, limit: usize) -> Option<Vec<u8>> {
        let allowed = self.allowed?;
        let mut bytes = vec![0; limit.min(CpuSet::count() / 8)];
        for (index, byte) in bytes.iter_mut().enumerate() {
            for bit in 0..8 {
                *byte |= u8::from(allowed.is_set(8 * index + bit) == Ok(true)) << bit;
            }
        }
        Some(bytes)
    }
}

impl Default for CpuPlan {
    fn default() -> Self {
        Self::new()
    }
}
