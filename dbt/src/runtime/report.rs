//! What the supervisor tells the statistics process about a thread.

use fits_stats::facts::MAX_BLOCK;
use fits_stats::protocol::{Event, Level, Message, Step};
use fits_stats::template::Prefix;
use fits_tracer::ptrace::Registers;

use super::area::{cursor_address, cursor_at};
use super::error::Result;
use super::supervisor::Supervisor;
use super::thread::Thread;

impl Supervisor<'_> {
    /// Reports an event of a thread that is outside translated code.
    pub(super) fn event(&mut self, thread: &mut Thread, event: Event) -> Result<()> {
        match thread.cursor {
            Some(cursor) => thread.cursor = Some(self.stats.append_event(cursor, &event)?),
            None => self.stats.send(&Message::Event(thread.number, event))?,
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
        self.event(thread, Event::Step(Box::new(step)))?;
        thread.prefix = Some(prefix);
        if ends_block || prefix.instructions >= MAX_BLOCK {
            self.end_block(thread)?;
        }
        Ok(())
    }

    /// A system call of the thread is over, or will never be.
    pub(super) fn called(
        &mut self,
        thread: &mut Thread,
        pc: u64,
        number: u64,
        error: bool,
    ) -> Result<()> {
        let bytes = self.call_bytes(pc);
        let step = Step {
            pc,
            bytes,
            values: Vec::new(),
            memory: Vec::new(),
        };
        self.retired(thread, step, true)?;
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
        if self.options.level == Level::Full && thread.fs_base != guest.fs_base {
            thread.fs_base = guest.fs_base;
            self.event(thread, Event::FsBase(guest.fs_base))?;
        }
        Ok(())
    }

    /// The thread has left translated code; `address` is its row cursor.
    pub(super) fn leave_rows(&mut self, thread: &mut Thread, address: u64) -> Result<()> {
        if self.options.level == Level::Full {
            let layout = self.stats.layout();
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

    /// The address of the thread's row cursor.
    pub(super) fn row_cursor(&self, thread: &Thread) -> Option<u64> {
        let layout = self.stats.layout();
        thread
            .cursor
            .map(|cursor| cursor_address(layout, &thread.area, cursor))
    }

    /// Sends what the thread has counted since the last time.
    pub(super) fn send_counts(&mut self, thread: &Thread) -> Result<()> {
        if self.options.level != Level::Counts {
            return Ok(());
        }
        let counts = thread.area.take_counts(self.cache.unit_count());
        if !counts.is_empty() {
            self.stats
                .send(&Message::Executions(thread.number, counts))?;
        }
        Ok(())
    }
}
