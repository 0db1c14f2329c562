//! Many system calls at one stop: a few instructions of ours make them one after the other out of a table. (Each by itself takes several stops.)

use crate::error::{Error, Result};
use crate::ptrace::{Memory, Resume, Stop, Stopped, Waited, wait_for};

use super::regions::PAGE;

/// With rbx at the first row: makes the calls, notes their results, ends with a trap at the row whose number is negative.
const CODE: [u8; 45] = [
    0x48, 0x8b, 0x03, // mov rax, [rbx]
    0x48, 0x85, 0xc0, // test rax, rax
    0x78, 0x24, // js end
    0x48, 0x8b, 0x7b, 0x08, // mov rdi, [rbx + 8]
    0x48, 0x8b, 0x73, 0x10, // mov rsi, [rbx + 16]
    0x48, 0x8b, 0x53, 0x18, // mov rdx, [rbx + 24]
    0x4c, 0x8b, 0x53, 0x20, // mov r10, [rbx + 32]
    0x4c, 0x8b, 0x43, 0x28, // mov r8, [rbx + 40]
    0x4c, 0x8b, 0x4b, 0x30, // mov r9, [rbx + 48]
    0x0f, 0x05, // syscall
    0x48, 0x89, 0x43, 0x38, // mov [rbx + 56], rax
    0x48, 0x83, 0xc3, 0x40, // add rbx, 64
    0xeb, 0xd4, // jmp to the first
    0xcc, // end: int3
];

const ROW: u64 = 64;
const RESULT: usize = 56;

/// What a call is to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    /// This.
    Value(u64),
    /// No error.
    Done,
}

#[derive(Debug)]
struct Row {
    what: &'static str,
    number: i64,
    args: [u64; 6],
    expect: Expect,
}

/// System calls, and the bytes that their arguments point to. It occupies memory of the process from `base` on.
#[derive(Debug)]
pub(super) struct Batch {
    base: u64,
    data: Vec<u8>,
    rows: Vec<Row>,
}

impl Batch {
    /// `base` begins a page; much room has to be free there.
    pub(super) fn new(base: u64) -> Self {
        Self {
            base,
            data: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// Where `bytes` will lie.
    pub(super) fn data(&mut self, bytes: &[u8]) -> u64 {
        let at = self.base + PAGE + self.data.len() as u64;
        self.data.extend(bytes);
        self.data.resize(self.data.len().next_multiple_of(8), 0);
        at
    }

    /// Where a path will lie.
    pub(super) fn path(&mut self, path: &str) -> u64 {
        let mut bytes = path.as_bytes().to_vec();
        bytes.push(0);
        self.data(&bytes)
    }

    /// Adds a call; `what` names it in the error that it may be.
    pub(super) fn call<const N: usize>(
        &mut self,
        what: &'static str,
        number: i64,
        given: [u64; N],
        expect: Expect,
    ) {
        let mut args = [0; 6];
        args[..N].copy_from_slice(&given);
        self.rows.push(Row {
            what,
            number,
            args,
            expect,
        });
    }

    fn table(&self) -> Vec<u8> {
        let mut table = Vec::with_capacity((self.rows.len() + 1) * ROW as usize);
        for row in &self.rows {
            let words = std::iter::once(row.number.cast_unsigned()).chain(row.args);
            words.for_each(|word| table.extend(word.to_le_bytes()));
            table.extend(u64::MAX.to_le_bytes());
        }
        table.resize(table.len() + ROW as usize, u8::MAX);
        table
    }

    /// The memory that it occupies: address and length.
    pub(super) fn room(&self) -> (u64, u64) {
        let rows = (self.rows.len() as u64 + 1) * ROW;
        let bytes = PAGE + self.data.len() as u64 + rows;
        (self.base, bytes.next_multiple_of(PAGE))
    }

    /// Makes the calls. The registers are anything afterwards, and the room is still mapped. The inner error is a sentence about the first call
    /// that did not answer as expected.
    ///
    /// # Errors
    /// When the process is gone, or stops for something else.
    pub(super) fn run(
        self,
        mut stopped: Stopped,
        memory: &Memory,
    ) -> Result<(Stopped, std::result::Result<(), String>)> {
        let (base, length) = self.room();
        let protection = (libc::PROT_READ | libc::PROT_WRITE) as u64;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        let args = [base, length, protection, flags as u64, u64::MAX, 0];
        let mapped = stopped.remote_syscall(libc::SYS_mmap, args)?;
        if mapped != base.cast_signed() {
            return Ok((
                stopped,
                Err("no room for the calls that restore it".to_owned()),
            ));
        }
        let table = base + PAGE + self.data.len() as u64;
        memory.write(base, &CODE)?;
        memory.write(base + PAGE, &[self.data.clone(), self.table()].concat())?;
        let executable = (libc::PROT_READ | libc::PROT_EXEC) as u64;
        let args = [base, PAGE, executable, 0, 0, 0];
        stopped.remote_syscall(libc::SYS_mprotect, args)?;
        let stopped = execute(stopped, base, table)?;
        let mut answers = vec![0; self.rows.len() * ROW as usize];
        memory.read(table, &mut answers)?;
        let answers = answers.chunks_exact(ROW as usize).map(|row| {
            let mut word = [0; 8];
            word.copy_from_slice(&row[RESULT..]);
            u64::from_le_bytes(word)
        });
        let failed = self
            .rows
            .iter()
            .zip(answers)
            .find(|&(row, answer)| match row.expect {
                Expect::Value(value) => answer != value,
                Expect::Done => (-4095..0).contains(&answer.cast_signed()),
            });
        let outcome = match failed {
            None => Ok(()),
            Some((row, answer)) => Err(format!(
                "to {} was answered with {} for {:x?}",
                row.what,
                answer.cast_signed(),
                row.args
            )),
        };
        Ok((stopped, outcome))
    }
}

/// Runs our code; all signals are blocked but for the trap that ends it.
fn execute(stopped: Stopped, base: u64, table: u64) -> Result<Stopped> {
    stopped.set_signal_mask(!(1 << (libc::SIGTRAP - 1)))?;
    let mut registers = stopped.registers()?;
    registers.rip = base;
    registers.rbx = table;
    registers.orig_rax = u64::MAX;
    stopped.set_registers(&registers)?;
    let tid = stopped.tid();
    stopped.resume(Resume::Continue, 0)?;
    match wait_for(tid)? {
        Waited::Stopped(stopped) => {
            let behind = base + CODE.len() as u64;
            let rip = stopped.registers()?.rip;
            if stopped.stop() == Stop::Trap && rip == behind {
                return Ok(stopped);
            }
            Err(Error::NoInjection {
                tid,
                stop: format!("{:?} at {rip:#x}", stopped.stop()),
            })
        }
        Waited::Exited { tid, .. } | Waited::Signaled { tid, .. } => Err(Error::Gone { tid }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iced_x86::{Decoder, DecoderOptions, Mnemonic};

    #[test]
    fn the_jumps_lead_to_instructions() {
        let decoder = Decoder::with_ip(64, &CODE, 0x1000, DecoderOptions::NONE);
        let all: Vec<_> = decoder.into_iter().collect();
        let target = |mnemonic| {
            let jump = all.iter().find(|one| one.mnemonic() == mnemonic).unwrap();
            jump.near_branch_target()
        };
        assert_eq!(target(Mnemonic::Jmp), 0x1000);
        assert_eq!(target(Mnemonic::Js), 0x1000 + CODE.len() as u64 - 1);
        assert!(all.iter().all(|one| !one.is_invalid()));
    }

    #[test]
    fn rows_lie_behind_the_data() {
        let mut batch = Batch::new(0x10_0000);
        assert_eq!(batch.path("abc"), 0x10_1000);
        assert_eq!(batch.data(&[1; 9]), 0x10_1008);
        batch.call("close", libc::SYS_close, [3], Expect::Value(0));
        assert_eq!(batch.table().len(), 128);
        assert_eq!(batch.table()[8], 3);
        assert_eq!(batch.room(), (0x10_0000, 0x2000));
    }
}
