//! How threads end, and the run with them.

use fits_tracer::backend::Ended;
use fits_tracer::ptrace::{Resume, Stopped, Waited, general, try_wait_any, wait_any};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::error::Result;
use super::supervisor::Supervisor;
use super::thread::{Doing, Thread};
use crate::cache::Place;

impl Supervisor<'_> {
    /// A thread is about to end, by itself or killed; its memory and registers are still there.
    pub(super) fn on_ending(&mut self, thread: &mut Thread, stopped: Stopped) -> Result<()> {
        match thread.doing {
            Doing::Translated => self.cut_short(thread, &stopped)?,
            Doing::Call(call) => {
                let ends = [libc::SYS_exit, libc::SYS_exit_group].contains(&(call.number as i64));
                if !ends {
                    self.called(thread, call.pc, call.number, 0)?;
                }
            }
            Doing::Native | Doing::Ending => {}
        }
        self.end_thread(thread)?;
        if self
            .threads
            .values()
            .all(|other| other.doing == Doing::Ending)
        {
            self.send_last_mappings()?;
        }
        Ok(stopped.resume(Resume::Continue, 0)?)
    }

    /// Killed in translated code: reports what retired of the unit.
    fn cut_short(&mut self, thread: &mut Thread, stopped: &Stopped) -> Result<()> {
        let host = stopped.registers()?;
        if let Some(left) = self.trap_at(host.rip.wrapping_sub(1)) {
            self.guest_behind(thread, stopped, left)?;
        } else if let Some(Place::Unit { id, offset }) = self.cache.at(host.rip)
            && let Some(unit) = self.cache.unit(id)
            && let Some(point) = unit.point_at(offset)
        {
            let executed = u32::from(point.instruction);
            if (executed as usize) < unit.instructions.len() {
                self.precise(thread, &host)?;
            } else {
                thread.prefix = unit.exits.first().and_then(|exit| exit.prefix);
                let cursor = point.cursor;
                self.leave_rows(thread, *general(&mut host.clone(), cursor))?;
            }
        } else {
            thread.prefix = None;
            self.leave_rows(thread, host.r15)?;
        }
        Ok(())
    }

    /// Reports a thread's last things.
    pub(super) fn end_thread(&mut self, thread: &mut Thread) -> Result<()> {
        if std::mem::replace(&mut thread.doing, Doing::Ending) == Doing::Ending {
            return Ok(());
        }
        self.instructions
            .insert(thread.number, thread.budget.retired);
        self.end_block(thread)?;
        self.send_counts(thread)?;
        if self.mode.has_budget() {
            // The next thread that gets the area counts anew.
            thread.area.take_counts(self.cache.unit_count());
        }
        if let (Some(cursor), Some(stats)) = (thread.cursor.take(), self.stats.rows_mut()) {
            stats.close(cursor)?;
        }
        self.areas.give_back(&thread.area);
        Ok(())
    }

    /// Opens the stream of a new thread.
    pub(super) fn open_stream(&mut self, thread: &mut Thread) -> Result<()> {
        if let Some(stats) = self.stats.rows_mut() {
            thread.cursor = Some(stats.open(thread.area.slot, thread.number)?);
        }
        Ok(())
    }

    /// A thread or child is gone. How the run ended, if that was its end.
    pub(super) fn on_gone(&mut self, tid: Pid, ended: Ended) -> Result<Option<Ended>> {
        if self.stats.is(tid.as_raw()) {
            // The error says how it ended.
            self.stats.check()?;
            return Ok(None);
        }
        if let Some(mut thread) = self.threads.remove(&tid) {
            self.end_thread(&mut thread)?;
        }
        Ok((tid == self.leader).then_some(ended))
    }

    /// Ends the target and everything that is still traced.
    pub(super) fn kill_all(&mut self) {
        let _ = kill(self.leader, Signal::SIGKILL);
        loop {
            match wait_any() {
                Ok(Some(Waited::Stopped(stopped))) => {
                    let _ = stopped.resume(Resume::Continue, 0);
                }
                Ok(Some(waited)) if waited.tid() == self.leader => break,
                Ok(Some(_)) => {}
                Ok(None) => {
                    // Interrupted, or nobody is left.
                    if kill(self.leader, None).is_err() || try_wait_any().is_err() {
                        break;
                    }
                }
                Err(_) => break,
            }
        }
    }
}
