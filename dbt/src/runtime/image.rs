//! The beginning of a program: the first one, and those that `execve` puts in its place.

use fits_stats::protocol::Message;
use fits_tracer::ptrace::{Memory, Stopped};
use nix::unistd::Pid;

use super::error::{Result, RuntimeError};
use super::masks::unblock_forced;
use super::pages::GuestPages;
use super::supervisor::Supervisor;
use super::thread::{Doing, Thread};

impl Supervisor<'_> {
    /// Makes a new image ready and lets its only thread go.
    pub(super) fn begin(&mut self, thread: &mut Thread, mut stopped: Stopped) -> Result<()> {
        let guest = stopped.registers()?;
        self.settle_in(thread, &mut stopped, guest.rip)?;
        self.proceed(thread, stopped, guest)
    }

    /// Maps what is ours, and learns what is there. There is code at `code`.
    pub(super) fn settle_in(
        &mut self,
        thread: &mut Thread,
        stopped: &mut Stopped,
        code: u64,
    ) -> Result<()> {
        self.map_masters(stopped)?;
        let guest = stopped.registers()?;
        thread.blocked |= unblock_forced(stopped)?;
        self.zone(stopped, code)?;
        let area = thread.area.clone();
        self.map_area(stopped, &area)?;
        // All that has been needed of it.
        self.foothold = None;
        thread.gs_base = guest.gs_base;
        thread.prefix = None;
        self.read_map()
    }

    /// `execve` has put a new program in place of the old one; `thread` is the one that called it.
    pub(super) fn on_exec(&mut self, mut stopped: Stopped) -> Result<()> {
        let former = Pid::from_raw(stopped.event_message()? as i32);
        let Some(mut thread) = self.threads.remove(&former) else {
            return Err(RuntimeError::Unsupported {
                what: "`execve` by a thread that is not traced".to_owned(),
                pc: 0,
            });
        };
        if let Doing::Call(call) = thread.doing {
            self.called(&mut thread, call.pc, call.number, 0)?;
        }
        self.account_for_exec();
        self.send_counts(&thread)?;
        // All other threads are gone; those whose end was not reported yet never will be.
        let others: Vec<Pid> = self.threads.keys().copied().collect();
        for other in others {
            if let Some(mut other) = self.threads.remove(&other) {
                self.end_thread(&mut other)?;
            }
        }
        stopped.settle()?;
        self.options.environment.apply(&stopped)?;
        self.stats.send(|| Message::Exec)?;
        thread.tid = stopped.tid();
        thread.doing = Doing::Native;
        thread.held.clear();
        thread.alternate = 0..0;
        thread.area.reset();
        thread.fs_base = 0;
        self.cache.remove_zones();
        self.avoided.clear();
        self.areas.forget();
        self.decode.clear();
        self.code = GuestPages::new(Memory::open(stopped.tid())?);
        let result = self.begin(&mut thread, stopped);
        self.threads.insert(thread.tid, thread);
        result
    }
}
