//! What the supervisor tells the statistics process about a thread.

use fits_stats::facts::MAX_BLOCK;
use fits_stats::protocol::{Event, Message, Step};
use fits_stats::template::Prefix;
use fits_tracer::calls_made::CallMade;
use fits_tracer::ptrace::Registers;

use super::area::{cursor_address, cursor_at};
use super::error::Result;
use super::supervisor::Supervisor;
use super::thread::Thread;
use crate::mode::Mode;

impl Supervisor<'_> {
    /// Reports an event of a thread that is outside translated code.
    pub(super) fn event(&mut self, thread: &mut Thread, event: Event) -> Result<()> {
        let number = thread.number;
        match (&mut thread.cursor, self.stats.rows_mut()) {
            (Some(cursor), Some(stats)) => *cursor = stats.append_event(*cursor, &event)?,
            _ => self.stats.send(|| Message::Event(number, event))?,
        }
        Ok(())
    }

    /// The block so far is over.
    pub(super) fn end_block(&mut self, thread: &mut Thread) -> Result<()> {
        match thread.prefix.take() {
            Some(prefix) if prefix.instructions > 0 => self.event(thread, Event::Block(prefix)),
            _ => Ok(()),
        }
    }

    /// An instruction retired outside translated code.
    pub(super) fn retired(
        &mut self,
        thread: &mut Thread,
        step: Step,
        ends_block: bool,
    ) -> Result<()> {
        let prefix = match thread.prefix {
            Some(prefix) => Prefix {
                instructions: prefix.instructions + 1,
                ..prefix
            },
            None => Prefix {
                pc: step.pc,
                instructions: 1,
            },
        };
        self.options.progress.add(1);
        thread.budget.retired += 1;
        self.note_executed(thread, step.pc);
        self.event(thread, Event::Step(Box::new(step)))?;
        thread.prefix = Some(prefix);
        if ends_block || prefix.instructions >= MAX_BLOCK {
            self.end_block(thread)?;
        }
        Ok(())
    }

    /// A system call of the thread is over, or will never be (with result 0).
    pub(super) fn called(
        &mut self,
        thread: &mut Thread,
        pc: u64,
        number: u64,
        result: i64,
    ) -> Result<()> {
        let call = CallMade {
            thread: thread.number,
            pc,
            number,
            result,
        };
        self.options.note_call(call);
        let bytes = self.call_bytes(pc);
        let step = Step {
            pc,
            bytes,
            values: Vec::new(),
            memory: Vec::new(),
        };
        self.retired(thread, step, true)?;
        let error = call.is_error();
        self.event(thread, Event::Syscall { number, error })
    }

    /// The bytes of the `syscall` instruction at `pc`, prefixes included.
    fn call_bytes(&mut self, pc: u64) -> Vec<u8> {
        let bytes = self.code.instruction(pc);
        match self.decode.decode(pc, &bytes) {
            Some(decoded) => decoded.bytes.clone(),
            None => vec![0x0f, 0x05],
        }
    }

    /// Tells the fs base if it has changed.
    pub(super) fn note_fs_base(&mut self, thread: &mut Thread, guest: &Registers) -> Result<()> {
        if self.mode == Mode::Full && thread.fs_base != guest.fs_base {
            thread.fs_base = guest.fs_base;
            self.event(thread, Event::FsBase(guest.fs_base))?;
        }
        Ok(())
    }

    /// The thread has left translated code; `address` is its row cursor, or its budget.
    pub(super) fn leave_rows(&mut self, thread: &mut Thread, address: u64) -> Result<()> {
        if self.mode == Mode::Budget {
            thread.budget.left_at(&thread.area, address);
        }
        if let Some(stats) = self.stats.rows() {
            let layout = stats.layout();
            thread.cursor = cursor_at(layout, &thread.area, address);
            if thread.cursor.is_none() {
                return Err(super::error::RuntimeError::Unsupported {
                    what: format!("a damaged row cursor ({address:#x})"),
                    pc: 0,
                });
            }
        }
        Ok(())
    }

    /// What r15 must be in translated code: the address of the thread's row cursor, or its budget.
    pub(super) fn cursor(&mut self, thread: &mut Thread) -> Option<u64> {
        if self.mode == Mode::Budget {
            return Some(self.budget_register(thread));
        }
        let layout = self.stats.rows()?.layout();
        thread
            .cursor
            .map(|cursor| cursor_address(layout, &thread.area, cursor))
    }

    /// Sends what the thread has counted since the last time.
    pub(super) fn send_counts(&mut self, thread: &Thread) -> Result<()> {
        if self.mode != Mode::Counts {
            return Ok(());
        }
        let counts = thread.area.take_counts(self.cache.unit_count());
        if !counts.is_empty() {
            self.stats
                .send(|| Message::Executions(thread.number, counts))?;
        }
        Ok(())
    }
}
