//! Memory of a traced process: read by `process_vm_readv`, written through `/proc/PID/mem` (which also writes read-only text).

use std::fs::{File, OpenOptions};
use std::io::IoSliceMut;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use crate::error::{Error, Result};

/// The memory of one process. Stays with the address space that was there when it was opened: open anew after `execve`.
#[derive(Debug)]
pub struct Memory {
    pid: Pid,
    file: File,
}

impl Memory {
    /// Opens the memory of `pid` (any thread id does).
    ///
    /// # Errors
    /// When the process is gone or not ours.
    pub fn open(pid: Pid) -> Result<Self> {
        let path = format!("/proc/{pid}/mem");
        match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => Ok(Self { pid, file }),
            Err(source) => Err(Error::Proc { path, source }),
        }
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    fn error(&self, operation: &'static str, address: u64, length: usize, errno: Errno) -> Error {
        Error::Memory {
            operation,
            pid: self.pid,
            address,
            length,
            errno,
        }
    }

    /// Reads as many bytes as are readable at `address`, 0 if none.
    ///
    /// # Errors
    /// When the process is gone; unreadable memory is no error.
    pub fn read_some(&self, address: u64, buffer: &mut [u8]) -> Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let length = buffer.len();
        // One piece a page: the kernel transfers whole pieces, so an unreadable page ends the transfer exactly at its start.
        let remote = pages(address, length);
        match process_vm_readv(self.pid, &mut [IoSliceMut::new(buffer)], &remote) {
            Ok(read) => Ok(read),
            Err(Errno::EFAULT | Errno::EIO | Errno::EINVAL) => Ok(0),
            Err(errno) => Err(self.error("read", address, length, errno)),
        }
    }

    /// Fills `buffer` from `address`, whatever the page protection says (like a debugger).
    ///
    /// # Errors
    /// When not all of it is mapped.
    pub fn read(&self, address: u64, buffer: &mut [u8]) -> Result<()> {
        let length = buffer.len();
        if self.read_some(address, buffer)? == length {
            return Ok(());
        }
        self.file
            .read_exact_at(buffer, address)
            .map_err(|error| self.error("read", address, length, io_errno(&error)))
    }

    /// Reads a little-endian 64-bit word.
    ///
    /// # Errors
    /// When not all of it is mapped.
    pub fn read_u64(&self, address: u64) -> Result<u64> {
        let mut word = [0; 8];
        self.read(address, &mut word)?;
        Ok(u64::from_le_bytes(word))
    }

    /// Reads several places, one after the other into `buffer`, in one system call; whether all of them could be read.
    #[must_use]
    pub fn gather(&self, places: &[(u64, usize)], buffer: &mut [u8]) -> bool {
        let wanted = buffer.len();
        if wanted == 0 {
            return true;
        }
        let remote: Vec<_> = places
            .iter()
            .filter(|place| place.1 > 0)
            .map(|&(address, length)| RemoteIoVec {
                base: address as usize,
                len: length,
            })
            .collect();
        process_vm_readv(self.pid, &mut [IoSliceMut::new(buffer)], &remote) == Ok(wanted)
    }

    /// The same by single reads; what can't be read is zero.
    pub fn gather_singly(&self, places: &[(u64, usize)], buffer: &mut [u8]) {
        let mut rest = buffer;
        for &(address, length) in places {
            let (place, others) = rest.split_at_mut(length);
            if self.read(address, place).is_err() {
                place.fill(0);
            }
            rest = others;
        }
    }

    /// Writes all of `bytes` at `address`, read-only memory included (private pages are copied, as for a debugger's breakpoint).
    ///
    /// # Errors
    /// When not all of it is mapped.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all_at(bytes, address)
            .map_err(|error| self.error("write", address, bytes.len(), io_errno(&error)))
    }

    /// Reads a zero-terminated string of at most `limit` bytes.
    ///
    /// # Errors
    /// When it is not mapped.
    pub fn read_c_string(&self, address: u64, limit: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; limit];
        let read = self.read_some(address, &mut bytes)?;
        bytes.truncate(read);
        if bytes.is_empty() {
            return Err(self.error("read", address, limit, Errno::EFAULT));
        }
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(read);
        bytes.truncate(end);
        Ok(bytes)
    }
}

const PAGE: u64 = 4096;

fn pages(address: u64, length: usize) -> Vec<RemoteIoVec> {
    let end = address.saturating_add(length as u64);
    let mut pieces = Vec::with_capacity(2);
    let mut start = address;
    while start < end {
        let next = ((start | (PAGE - 1)).saturating_add(1)).min(end);
        pieces.push(RemoteIoVec {
            base: start as usize,
            len: (next - start) as usize,
        });
        start = next;
    }
    pieces
}

fn io_errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EFAULT, Errno::from_raw)
}
