//! What a program reads about its own mappings: ours are left out. (grep, for one, looks there before anything else.)
//!
//! The file that it has opened is replaced by one of ours, which is written anew whenever it is read.

use std::fs::{File, read_link, read_to_string};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use fits_tracer::ptrace::{Memory, Stopped};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::error::Result;
use super::supervisor::Supervisor;
use super::thread::Call;

/// A file of ours in the place of one that tells mappings.
#[derive(Debug)]
pub(super) struct Hidden {
    path: PathBuf,
    file: File,
}

impl Supervisor<'_> {
    /// A call has returned `result`. If it has opened the process's own `/proc/…/maps` or the like, what is of ours there is hidden.
    pub(super) fn hide_ours(
        &mut self,
        stopped: &mut Stopped,
        call: &Call,
        result: i64,
    ) -> Result<()> {
        let flags = match call.number as i64 {
            libc::SYS_open => call.args[1],
            libc::SYS_openat => call.args[2],
            _ => return Ok(()),
        };
        if result < 0 {
            return Ok(());
        }
        let Some(path) = self.tells_mappings(result) else {
            return Ok(());
        };
        // Without memory for it the program sees the file as it is.
        let Ok(fd) = memfd_create(c"maps", MFdFlags::MFD_CLOEXEC) else {
            return Ok(());
        };
        let file = File::from(fd);
        let close_on_exec = flags & libc::O_CLOEXEC as u64;
        self.replace(stopped, result as u64, &file, close_on_exec)?;
        self.hidden.insert(result as u64, Hidden { path, file });
        Ok(())
    }

    /// A call is about to be made: if it reads such a file, that is brought up to date.
    pub(super) fn before_reading(&mut self, call: &Call) {
        if call.number as i64 == libc::SYS_close {
            self.hidden.remove(&call.args[0]);
        }
        let reads = matches!(
            call.number as i64,
            libc::SYS_read | libc::SYS_pread64 | libc::SYS_readv | libc::SYS_preadv
        );
        let Some(hidden) = self.hidden.get(&call.args[0]).filter(|_| reads) else {
            return;
        };
        let text = self.visible_mappings(&hidden.path);
        // Should it fail, the program reads what was there before.
        let _ = hidden.file.write_all_at(text.as_bytes(), 0);
        let _ = hidden.file.set_len(text.len() as u64);
    }

    /// The path of the open file, if it tells mappings of the process.
    fn tells_mappings(&self, fd: i64) -> Option<PathBuf> {
        let path = read_link(format!("/proc/{}/fd/{fd}", self.leader)).ok()?;
        let (folder, name) = (path.parent()?, path.file_name()?.to_str()?);
        let own = format!("/proc/{}", self.leader);
        let tells = matches!(name, "maps" | "smaps" | "numa_maps") && folder.starts_with(own);
        tells.then_some(path)
    }

    /// The text of such a file without what is ours.
    fn visible_mappings(&self, path: &Path) -> String {
        let text = read_to_string(path).unwrap_or_default();
        let mut hidden = false;
        let visible = text.lines().filter(|line| {
            if let Some(start) = start_of(line) {
                hidden = self.areas.is_ours(start);
            }
            !hidden
        });
        visible.flat_map(|line| [line, "\n"]).collect()
    }

    /// Puts our file in the place of an open one.
    fn replace(
        &self,
        stopped: &mut Stopped,
        fd: u64,
        file: &File,
        close_on_exec: u64,
    ) -> Result<()> {
        let memory = Memory::open(stopped.tid())?;
        // Below the red zone; put back afterwards.
        let place = stopped.registers()?.rsp - 256;
        let mut saved = [0; 64];
        memory.read(place, &mut saved)?;
        let path = format!("/proc/{}/fd/{}\0", std::process::id(), file.as_raw_fd());
        memory.write(place, path.as_bytes())?;
        let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as u64;
        let opened = self.remote(stopped, libc::SYS_open, [place, flags, 0, 0, 0, 0])?;
        memory.write(place, &saved)?;
        if opened >= 0 {
            let from = opened as u64;
            self.remote(stopped, libc::SYS_dup3, [from, fd, close_on_exec, 0, 0, 0])?;
            self.remote(stopped, libc::SYS_close, [from, 0, 0, 0, 0, 0])?;
        }
        Ok(())
    }
}

/// The first address of a mapping, if `line` begins one.
fn start_of(line: &str) -> Option<u64> {
    let first = line.split(' ').next()?;
    let start = first.split('-').next()?;
    let begins = first.contains('-') || line.contains("default");
    begins
        .then(|| u64::from_str_radix(start, 16).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::start_of;

    #[test]
    fn a_mapping_begins_with_its_addresses() {
        assert_eq!(
            start_of("7ffff7fc1000-7ffff7fc5000 r--p 00000000 00:00 0 [vvar]"),
            Some(0x7fff_f7fc_1000)
        );
        assert_eq!(start_of("Size:                 16 kB"), None);
        assert_eq!(start_of("VmFlags: rd wr mr mw me ac sd"), None);
        assert_eq!(
            start_of("7ffff7fc1000 default anon=1"),
            Some(0x7fff_f7fc_1000)
        );
    }
}
