//! The supervisor itself: what it knows, and its loop.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use fits_stats::protocol::{Crash, ThreadNumber};
use fits_tracer::backend::{Ended, RunOptions};
use fits_tracer::engine::Limits;
use fits_tracer::process::{PidPlan, VirtualRandom};
use fits_tracer::ptrace::{
    Event, Memory, Resume, Stop, Stopped, Waited, interrupt, wait_any, wait_for,
};
use fits_tracer::step::DecodeCache;
use nix::unistd::Pid;
use rustc_hash::FxHashMap;

use super::area::Areas;
use super::births::{Newborn, is_birth};
use super::collector::Collector;
use super::error::Result;
use super::handover::is_trapped;
use super::hidden::Hidden;
use super::hot::Hot;
use super::limits::Allowance;
use super::pages::GuestPages;
use super::search::Search;
use super::takeover::{Adopted, Foothold};
use super::thread::{Doing, Thread};
use super::walk::Walk;
use crate::cache::{Cache, CacheError};
use crate::mode::Mode;

/// The tracer of one run.
pub(super) struct Supervisor<'a> {
    pub(super) options: &'a RunOptions,
    pub(super) mode: Mode,
    pub(super) stats: Collector<'a>,
    /// The process was taken over, and has not gone on yet.
    pub(super) adopted: Option<Adopted>,
    /// Where things can be done in such a process before anything of ours is mapped.
    pub(super) foothold: Option<Foothold>,
    /// A seccomp filter of ours asks about some of its system calls.
    pub(super) guarded: bool,
    /// Mode `budget`: what the run is made for.
    pub(super) search: Search,
    /// The run is shown at many moments.
    pub(super) walk: Option<Walk<'a>>,
    /// The threads that stand in their guest state since the run was to stop: the one that came to where it was to, and the others after it.
    pub(super) held: Vec<Stopped>,
    pub(super) allowance: Allowance,
    /// All threads are to stop.
    pub(super) halting: bool,
    /// Instructions that threads retired which have ended, by number (mode `budget`).
    pub(super) instructions: BTreeMap<ThreadNumber, u64>,
    pub(super) cache: Cache,
    /// Addresses that the program has named: no zone of the cache goes there.
    pub(super) avoided: Vec<Range<u64>>,
    pub(super) code: GuestPages,
    pub(super) areas: Areas,
    pub(super) decode: DecodeCache,
    pub(super) random: VirtualRandom,
    pub(super) pids: PidPlan,
    /// The process.
    pub(super) leader: Pid,
    pub(super) threads: FxHashMap<Pid, Box<Thread>>,
    pub(super) next_number: ThreadNumber,
    pub(super) newborn: Newborn,
    pub(super) hot: Hot,
    /// Open files that tell mappings, by descriptor.
    pub(super) hidden: FxHashMap<u64, Hidden>,
    /// What was waited for and is still to be handled.
    pub(super) queue: VecDeque<Waited>,
    /// The last signal without a handler that would end the process.
    pub(super) crash: Option<Crash>,
    pub(super) warnings: Vec<String>,
}

impl<'a> Supervisor<'a> {
    pub(super) fn new(
        options: &'a RunOptions,
        mode: Mode,
        stats: Collector<'a>,
        leader: Pid,
        pids: PidPlan,
    ) -> Result<Self> {
        Ok(Self {
            options,
            mode,
            stats,
            adopted: None,
            foothold: None,
            guarded: false,
            search: Search::default(),
            walk: None,
            held: Vec::new(),
            allowance: Allowance::new(Limits::default()),
            halting: false,
            instructions: BTreeMap::new(),
            cache: Cache::new()?,
            avoided: Vec::new(),
            code: GuestPages::new(Memory::open(leader)?),
            areas: Areas::new().map_err(CacheError::Memory)?,
            decode: DecodeCache::default(),
            random: VirtualRandom::default(),
            pids,
            leader,
            threads: FxHashMap::default(),
            next_number: 0,
            newborn: Newborn::default(),
            hot: Hot::default(),
            hidden: FxHashMap::default(),
            queue: VecDeque::new(),
            crash: None,
            warnings: Vec::new(),
        })
    }

    /// Runs the program to its end, or to where the search ends: `None`.
    pub(super) fn run(&mut self, stopped: Stopped) -> Result<Option<Ended>> {
        self.start(stopped)?;
        self.attend()
    }

    /// The same for a process that was taken over.
    pub(super) fn run_adopted(&mut self, adopted: Adopted) -> Result<Option<Ended>> {
        self.start_adopted(adopted)?;
        self.attend()
    }

    /// Takes one stop after the other.
    fn attend(&mut self) -> Result<Option<Ended>> {
        self.watch_counters();
        loop {
            if !self.held.is_empty() {
                return Ok(None);
            }
            self.check_limits();
            let Some(waited) = self.wait()? else {
                continue;
            };
            let (tid, ended) = match waited {
                Waited::Stopped(stopped) => {
                    self.on_stop(stopped)?;
                    continue;
                }
                Waited::Exited { tid, code } => (tid, Ended::Exited(code)),
                Waited::Signaled { tid, signal, core } => (tid, Ended::Signaled { signal, core }),
            };
            if let Some(ended) = self.on_gone(tid, ended)? {
                return Ok(Some(ended));
            }
        }
    }

    pub(super) fn wait(&mut self) -> Result<Option<Waited>> {
        if let Some(waited) = self.queue.pop_front() {
            return Ok(Some(waited));
        }
        let waited = wait_any()?;
        if waited.is_none() {
            self.tick()?;
            self.stats.check()?;
            if nix::sys::signal::kill(self.leader, None).is_err() {
                return Err(fits_tracer::Error::Gone { tid: self.leader }.into());
            }
        }
        Ok(waited)
    }

    fn start(&mut self, stopped: Stopped) -> Result<()> {
        let Some(area) = self.areas.take() else {
            return Ok(());
        };
        let mut thread = Box::new(Thread::new(stopped.tid(), 0, area));
        self.next_number = 1;
        thread.doing = Doing::Native;
        self.open_stream(&mut thread)?;
        let result = self.begin(&mut thread, stopped);
        self.threads.insert(thread.tid, thread);
        self.unless_gone(result)
    }

    /// That a thread was killed while we were busy with it is no error: a wait tells it.
    pub(super) fn unless_gone(&self, result: Result<()>) -> Result<()> {
        match result {
            Err(error) if error.is_gone() => Ok(()),
            result => result,
        }
    }

    pub(super) fn on_stop(&mut self, stopped: Stopped) -> Result<()> {
        if stopped.stop() == Stop::Event(Event::Exec) {
            let result = self.on_exec(stopped);
            return self.unless_gone(result);
        }
        let Some(mut thread) = self.threads.remove(&stopped.tid()) else {
            let result = self.on_stranger(stopped);
            return self.unless_gone(result);
        };
        let result = self.dispatch(&mut thread, stopped);
        self.threads.insert(thread.tid, thread);
        self.unless_gone(result)
    }

    fn dispatch(&mut self, thread: &mut Thread, stopped: Stopped) -> Result<()> {
        match stopped.stop() {
            Stop::Event(Event::Exit) => return self.on_ending(thread, stopped),
            Stop::Event(event) if is_birth(event) => return self.on_birth(thread, stopped),
            Stop::GroupStop(_) => return Ok(stopped.resume(Resume::Listen, 0)?),
            _ => {}
        }
        match thread.doing {
            Doing::Call(call) => self.on_call_stop(thread, stopped, call),
            Doing::Native => self.on_native_stop(thread, stopped),
            Doing::Ending => Ok(stopped.resume(Resume::Continue, 0)?),
            Doing::Translated => match stopped.stop() {
                Stop::Trap => self.on_trap(thread, stopped),
                Stop::Signal(_) => self.on_signal(thread, stopped),
                _ => Ok(stopped.resume(Resume::Continue, 0)?),
            },
        }
    }

    /// Empties the code cache. The thread that it was too small for is in its guest state; the others are brought to theirs.
    pub(super) fn flush(&mut self) -> Result<()> {
        let tids: Vec<Pid> = self.threads.keys().copied().collect();
        let mut parked = Vec::new();
        for tid in tids {
            let Some(mut thread) = self.threads.remove(&tid) else {
                continue;
            };
            let result = self.park(&mut thread);
            self.threads.insert(tid, thread);
            match result {
                Ok(Some(stopped)) => parked.push(stopped),
                Ok(None) => {}
                Err(error) if error.is_gone() => {}
                Err(error) => return Err(error),
            }
        }
        self.cache.flush()?;
        // Each goes on when the loop comes to it.
        self.queue.extend(parked.into_iter().map(Waited::Stopped));
        Ok(())
    }

    /// Brings a thread that may be in translated code to its guest state, and keeps it there.
    fn park(&mut self, thread: &mut Thread) -> Result<Option<Stopped>> {
        if thread.doing != Doing::Translated {
            return Ok(None);
        }
        interrupt(thread.tid)?;
        let mut waited = wait_for(thread.tid)?;
        if let Waited::Stopped(stopped) = waited {
            waited = if stopped.stop() == Stop::Interrupted && is_trapped(&stopped)? {
                stopped.resume(Resume::Continue, 0)?;
                wait_for(thread.tid)?
            } else {
                Waited::Stopped(stopped)
            };
        }
        let mut stopped = match waited {
            Waited::Stopped(stopped) => stopped,
            ended => {
                self.queue.push_back(ended);
                return Ok(None);
            }
        };
        match stopped.stop() {
            Stop::Signal(_) => {
                let info = self.siginfo(thread, &stopped)?;
                if !super::signals::is_fault(&info) {
                    self.hold(thread, info);
                    stopped.swallow();
                } else if let Some(guest) = self.behind_fault(thread, &mut stopped, &info)? {
                    stopped.set_registers(&guest)?;
                    thread.doing = Doing::Native;
                    return Ok(Some(stopped));
                }
            }
            Stop::Trap | Stop::Interrupted => {}
            _ => {
                self.queue.push_back(Waited::Stopped(stopped));
                return Ok(None);
            }
        }
        match self.run_to_boundary(thread, stopped)? {
            Some((stopped, guest)) => {
                stopped.set_registers(&guest)?;
                thread.doing = Doing::Native;
                Ok(Some(stopped))
            }
            None => Ok(None),
        }
    }
}
