//! System calls that change the memory map: translations of what was there are forgotten.

use fits_tracer::ptrace::Stopped;

use super::error::Result;
use super::pages::PAGE;
use super::supervisor::Supervisor;
use super::thread::Call;

impl Supervisor<'_> {
    /// Before a call that takes pages elsewhere or drops what is on them: they go with the protection that the guest gave them.
    pub(super) fn before_mapping(&mut self, stopped: &mut Stopped, call: &Call) -> Result<()> {
        let [start, length, ..] = call.args;
        match call.number as i64 {
            libc::SYS_mremap | libc::SYS_madvise => {
                self.unprotect_range(stopped, start..start.saturating_add(length))
            }
            _ => Ok(()),
        }
    }

    /// A call has returned `result`: if it changed mappings, forgets what was known of them.
    pub(super) fn after_mapping(&mut self, call: &Call, result: i64) {
        if (-4095..0).contains(&result) {
            return;
        }
        let [first, second, third, ..] = call.args;
        let executable = third & libc::PROT_EXEC as u64 != 0;
        match call.number as i64 {
            libc::SYS_mmap => self.changed(result as u64, second, executable),
            libc::SYS_mprotect | libc::SYS_pkey_mprotect => self.changed(first, second, executable),
            libc::SYS_munmap => self.changed(first, second, false),
            libc::SYS_mremap => {
                self.changed(first, second, false);
                self.changed(result as u64, third, true);
            }
            libc::SYS_shmat => self.changed(result as u64, PAGE, true),
            libc::SYS_shmdt => self.changed(first, PAGE, true),
            libc::SYS_remap_file_pages => self.changed(first, second, true),
            libc::SYS_madvise if drops_content(third) => self.changed(first, second, false),
            _ => {}
        }
    }

    fn changed(&mut self, start: u64, length: u64, executable: bool) {
        let end = start.saturating_add(length);
        self.code.remapped(start..end, executable);
        self.cache.invalidate(start..end);
    }
}

fn drops_content(advice: u64) -> bool {
    matches!(
        advice as i32,
        libc::MADV_DONTNEED | libc::MADV_REMOVE | libc::MADV_FREE | libc::MADV_DONTNEED_LOCKED
    )
}
