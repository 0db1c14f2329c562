//! Programs that want addresses which the code cache has taken: the cache gives way, and settles elsewhere.
//!
//! The kernel puts nothing where zones lie by itself, but a program may name any address. Natively nothing would be there.

use std::ops::Range;

use fits_tracer::ptrace::Stopped;

use super::error::{Result, RuntimeError};
use super::supervisor::Supervisor;
use super::thread::Call;
use crate::cache::ZONE_BYTES;

impl Supervisor<'_> {
    /// Before a call that names a range of addresses. The thread stands at its `syscall` instruction, in the guest's own state.
    pub(super) fn make_way(&mut self, stopped: &mut Stopped, call: &Call) -> Result<()> {
        let Some(range) = named_range(call) else {
            return Ok(());
        };
        let overlaps = |ours: &Range<u64>| ours.start < range.end && range.start < ours.end;
        if !self.areas.ours().iter().any(overlaps) {
            return Ok(());
        }
        let zones = self.cache.zone_bases();
        let of_zone = |ours: &Range<u64>| zones.contains(&ours.start);
        if self
            .areas
            .ours()
            .iter()
            .any(|ours| overlaps(ours) && !of_zone(ours))
        {
            return Err(RuntimeError::Unsupported {
                what: format!(
                    "using the addresses from {:#x} on, where fits keeps its own memory (the call made here)",
                    range.start
                ),
                pc: call.pc,
            });
        }
        self.flush()?;
        for &base in &zones {
            let args = [base, ZONE_BYTES, 0, 0, 0, 0];
            stopped.remote_syscall_at(call.pc, libc::SYS_munmap, args)?;
        }
        self.areas.forget_zones(&zones);
        self.cache.remove_zones();
        self.avoided.push(range);
        Ok(())
    }
}

/// The addresses at which a call maps something, or changes what is mapped.
fn named_range(call: &Call) -> Option<Range<u64>> {
    let [first, second, third, fourth, fifth, _] = call.args;
    let moves_to = |flags: u64| flags & libc::MREMAP_FIXED as u64 != 0;
    let (start, length) = match call.number as i64 {
        libc::SYS_mmap
        | libc::SYS_munmap
        | libc::SYS_mprotect
        | libc::SYS_pkey_mprotect
        | libc::SYS_madvise => (first, second),
        libc::SYS_mremap if moves_to(fourth) => (fifth, third),
        // How long the segment is, is not known here.
        libc::SYS_shmat => (second, 1),
        _ => return None,
    };
    (start != 0 && length != 0).then(|| start..start.saturating_add(length))
}
