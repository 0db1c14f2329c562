//! Memory of ours in the target: the code cache, and a thread area for each thread.
//!
//! Each memory file is opened once by the target itself, before its first instruction, and mapped without access as a whole: the
//! *master*. Later mappings are duplicates of parts of it (`mremap` of length 0), so that the program never meets a file
//! descriptor of ours.

use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use fits_stats::client::StatsProcess;
use fits_stats::ring::shm::SharedMemory;
use fits_stats::ring::{self, CHUNKS, Cursor, MAX_SLOTS};
use fits_stats::template::{UNIT_LIMIT, UnitId};
use fits_tracer::ptrace::{Memory, Stopped};
use nix::errno::Errno;

use super::error::{Result, RuntimeError};
use super::supervisor::Supervisor;
use super::takeover::BORROWED;
use crate::cache::ZONE_BYTES;
use crate::layout::{
    BUDGET, BUDGET_BYTES, CONTEXT_BYTES, COUNTERS, LOOKUP, LOOKUP_BYTES, STREAM, THREAD_AREAS,
    THREAD_STRIDE, TSC, TSC_START, home,
};
use crate::mode::Mode;

const PART: &str = "a part of the shared memory";

/// Where the masters lie: above the thread areas.
const MASTERS: u64 = THREAD_AREAS + (1 << 40);
const MASTER_STRIDE: u64 = 1 << 40;

/// Threads that can exist at the same time.
pub(super) const SLOTS: u32 = MAX_SLOTS;

const COUNTER_BYTES: u64 = 8 * UNIT_LIMIT as u64;
/// What the memory of a budget consists of, again and again: touches that go down through it stay in the processor's
/// cache. Each repetition is a mapping, of which a process may have some 65,000, for all its threads.
const BUDGET_PIECE: u64 = 1 << 17;

const FILE_STRIDE: u64 = CONTEXT_BYTES + COUNTER_BYTES + BUDGET_PIECE;

/// Whose master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Master {
    Cache,
    Tables,
    Areas,
    Streams,
}

impl Master {
    fn address(self) -> u64 {
        MASTERS + self as u64 * MASTER_STRIDE
    }
}

/// One thread's area as the supervisor sees it.
#[derive(Debug, Clone)]
pub(super) struct Area {
    pub(super) slot: u32,
    pub(super) base: u64,
    memory: Arc<SharedMemory>,
}

impl Area {
    fn word(&self, offset: i32) -> &std::sync::atomic::AtomicU64 {
        let file = u64::from(self.slot) * FILE_STRIDE + offset as u64;
        self.memory.word64(file)
    }

    pub(super) fn home(&self, register: u8) -> u64 {
        self.word(home(register)).load(Relaxed)
    }

    pub(super) fn set_home(&self, register: u8, value: u64) {
        self.word(home(register)).store(value, Relaxed);
    }

    pub(super) fn target(&self) -> u64 {
        self.word(crate::layout::TARGET).load(Relaxed)
    }

    /// The unit that the last indirect branch was in (level `counts`).
    pub(super) fn source(&self) -> UnitId {
        self.word(crate::layout::SOURCE).load(Relaxed) as UnitId
    }

    /// What the next read of the virtual time-stamp counter will give.
    pub(super) fn next_tsc(&self) -> u64 {
        self.word(TSC).load(Relaxed)
    }

    /// What the next read of the virtual time-stamp counter is to give.
    pub(super) fn set_next_tsc(&self, value: u64) {
        self.word(TSC).store(value, Relaxed);
    }

    /// Reads the virtual time-stamp counter.
    pub(super) fn read_tsc(&self) -> u64 {
        let value = self.word(TSC).load(Relaxed);
        let step = crate::layout::TSC_STEP as u64;
        self.word(TSC).store(value.wrapping_add(step), Relaxed);
        value
    }

    fn counter(&self, unit: UnitId) -> &std::sync::atomic::AtomicU64 {
        let file = u64::from(self.slot) * FILE_STRIDE + CONTEXT_BYTES + 8 * u64::from(unit);
        self.memory.word64(file)
    }

    /// How often a unit was executed, as far as it has been counted and not taken.
    pub(super) fn executions(&self, unit: UnitId) -> u64 {
        self.counter(unit).load(Relaxed)
    }

    /// Takes an execution of a unit back that did not come to its end.
    pub(super) fn uncount(&self, unit: UnitId) {
        let counter = self.counter(unit);
        counter.store(counter.load(Relaxed).wrapping_sub(1), Relaxed);
    }

    /// Adds the executions so far of the first units to `sums`.
    pub(super) fn add_counts(&self, sums: &mut [u64]) {
        for (unit, sum) in sums.iter_mut().enumerate().skip(1) {
            *sum += self.counter(unit as UnitId).load(Relaxed);
        }
    }

    /// The executions of units below `limit` since the last call.
    pub(super) fn take_counts(&self, limit: UnitId) -> Vec<(UnitId, u64)> {
        let mut counts = Vec::new();
        for unit in 1..limit {
            let counter = self.counter(unit);
            let count = counter.load(Relaxed);
            if count != 0 {
                counter.store(0, Relaxed);
                counts.push((unit, count));
            }
        }
        counts
    }

    pub(super) fn reset(&self) {
        for offset in (0..0x100).step_by(8) {
            self.word(offset).store(0, Relaxed);
        }
        self.word(TSC).store(TSC_START, Relaxed);
    }
}

/// All thread areas.
#[derive(Debug)]
pub(super) struct Areas {
    memory: Arc<SharedMemory>,
    free: Vec<u32>,
    mapped: Vec<bool>,
    /// Everything of ours in the target, to be kept out of children.
    ours: Vec<Range<u64>>,
    kept_from_children: usize,
}

impl Areas {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            memory: Arc::new(SharedMemory::create(FILE_STRIDE * u64::from(SLOTS))?),
            free: (0..SLOTS).rev().collect(),
            mapped: vec![false; SLOTS as usize],
            ours: Vec::new(),
            kept_from_children: 0,
        })
    }

    /// An area that no thread has.
    pub(super) fn take(&mut self) -> Option<Area> {
        let slot = self.free.pop()?;
        let area = Area {
            slot,
            base: THREAD_AREAS + u64::from(slot) * THREAD_STRIDE,
            memory: Arc::clone(&self.memory),
        };
        area.reset();
        Some(area)
    }

    pub(super) fn give_back(&mut self, area: &Area) {
        self.free.push(area.slot);
    }

    /// The target has a new address space, without anything of ours.
    pub(super) fn forget(&mut self) {
        self.mapped.fill(false);
        self.ours.clear();
        self.kept_from_children = 0;
    }

    /// These zones of the code cache were unmapped.
    pub(super) fn forget_zones(&mut self, bases: &[u64]) {
        self.ours.retain(|range| !bases.contains(&range.start));
        // Which of the others were kept out is not known by number any more; once more does no harm.
        self.kept_from_children = 0;
    }

    /// Everything of ours in the target, which is about to be unmapped.
    pub(super) fn take_ours(&mut self) -> Vec<Range<u64>> {
        std::mem::take(&mut self.ours)
    }

    /// Everything of ours in the target.
    pub(super) fn ours(&self) -> &[Range<u64>] {
        &self.ours
    }

    /// Whether an address belongs to us.
    pub(super) fn is_ours(&self, address: u64) -> bool {
        self.ours.iter().any(|range| range.contains(&address))
    }
}

impl Supervisor<'_> {
    /// Executes a system call in the target.
    pub(super) fn remote(&self, stopped: &mut Stopped, number: i64, args: [u64; 6]) -> Result<i64> {
        let ours = self.cache.syscall_instruction();
        let theirs = self.foothold.map(|foothold| foothold.syscall);
        Ok(match theirs.or(ours) {
            Some(place) => stopped.remote_syscall_at(place, number, args)?,
            None => stopped.remote_syscall(number, args)?,
        })
    }

    fn checked(
        &self,
        stopped: &mut Stopped,
        what: &'static str,
        number: i64,
        args: [u64; 6],
    ) -> Result<u64> {
        match self.remote(stopped, number, args)? {
            error if (-4095..0).contains(&error) => Err(RuntimeError::Map {
                what,
                errno: Errno::from_raw(-error as i32),
            }),
            value => Ok(value as u64),
        }
    }

    /// Maps the masters. The process has executed nothing since `execve`, or was taken over.
    pub(super) fn map_masters(&mut self, stopped: &mut Stopped) -> Result<()> {
        self.areas.forget();
        let memory = Memory::open(stopped.tid())?;
        // Below the stack pointer, where nothing is yet; put back afterwards.
        let place = match self.foothold {
            Some(foothold) => foothold.scratch,
            None => stopped.registers()?.rsp - 256,
        };
        let mut saved = [0; BORROWED as usize];
        memory.read(place, &mut saved)?;
        let areas = Arc::clone(&self.areas.memory);
        let mut open = |master, file: BorrowedFd<'_>, bytes| {
            self.map_master(stopped, &memory, place, master, file, bytes)
        };
        open(Master::Areas, areas.as_fd(), FILE_STRIDE * u64::from(SLOTS))?;
        if let Some(stats) = self.stats.rows() {
            let bytes = stats.layout().total_bytes();
            let streams = stats.memory().try_clone_to_owned();
            let streams = streams.map_err(crate::cache::CacheError::Memory)?;
            let streams = streams.as_fd();
            self.map_master(stopped, &memory, place, Master::Streams, streams, bytes)?;
        }
        let cache = self.cache.memory().as_fd().try_clone_to_owned();
        let cache = cache.map_err(crate::cache::CacheError::Memory)?;
        let bytes = self.cache.memory().len();
        self.map_master(stopped, &memory, place, Master::Cache, cache.as_fd(), bytes)?;
        let tables = self.cache.table().as_fd().try_clone_to_owned();
        let tables = tables.map_err(crate::cache::CacheError::Memory)?;
        self.map_master(
            stopped,
            &memory,
            place,
            Master::Tables,
            tables.as_fd(),
            LOOKUP_BYTES,
        )?;
        memory.write(place, &saved)?;
        Ok(())
    }

    fn map_master(
        &mut self,
        stopped: &mut Stopped,
        memory: &Memory,
        place: u64,
        master: Master,
        file: BorrowedFd<'_>,
        bytes: u64,
    ) -> Result<()> {
        const WHAT: &str = "shared memory";
        let path = format!("/proc/{}/fd/{}\0", std::process::id(), file.as_raw_fd());
        memory.write(place, path.as_bytes())?;
        let flags = (libc::O_RDWR | libc::O_CLOEXEC) as u64;
        let fd = self.checked(stopped, WHAT, libc::SYS_open, [place, flags, 0, 0, 0, 0])?;
        let flags = (libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE | libc::MAP_NORESERVE) as u64;
        let at = master.address();
        let args = [at, bytes, libc::PROT_NONE as u64, flags, fd, 0];
        let mapped = self.checked(stopped, WHAT, libc::SYS_mmap, args);
        self.checked(stopped, WHAT, libc::SYS_close, [fd, 0, 0, 0, 0, 0])?;
        mapped?;
        self.areas.ours.push(at..at + bytes);
        Ok(())
    }

    /// Maps a part of a master at `at` as well.
    fn duplicate(
        &mut self,
        stopped: &mut Stopped,
        master: Master,
        offset: u64,
        bytes: u64,
        at: u64,
        protection: i32,
    ) -> Result<()> {
        self.map_again(stopped, master, offset, bytes, at)?;
        let args = [at, bytes, protection as u64, 0, 0, 0];
        self.checked(stopped, PART, libc::SYS_mprotect, args)?;
        self.areas.ours.push(at..at + bytes);
        Ok(())
    }

    /// Maps a part of a master at `at` as well, without access to it.
    fn map_again(
        &self,
        stopped: &mut Stopped,
        master: Master,
        offset: u64,
        bytes: u64,
        at: u64,
    ) -> Result<()> {
        let flags = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as u64;
        let args = [master.address() + offset, 0, bytes, flags, at, 0];
        self.checked(stopped, PART, libc::SYS_mremap, args)?;
        Ok(())
    }

    /// Maps zone number `index` of the cache at `base`.
    pub(super) fn map_zone(
        &mut self,
        stopped: &mut Stopped,
        index: usize,
        base: u64,
    ) -> Result<()> {
        let protection = libc::PROT_READ | libc::PROT_EXEC;
        let offset = index as u64 * ZONE_BYTES;
        self.duplicate(stopped, Master::Cache, offset, ZONE_BYTES, base, protection)
    }

    /// Maps a thread's area, unless an earlier thread had it.
    pub(super) fn map_area(&mut self, stopped: &mut Stopped, area: &Area) -> Result<()> {
        if std::mem::replace(&mut self.areas.mapped[area.slot as usize], true) {
            return Ok(());
        }
        let write = libc::PROT_READ | libc::PROT_WRITE;
        let file = u64::from(area.slot) * FILE_STRIDE;
        self.duplicate(
            stopped,
            Master::Areas,
            file,
            CONTEXT_BYTES,
            area.base,
            write,
        )?;
        let tables = area.base + LOOKUP as u64;
        self.duplicate(
            stopped,
            Master::Tables,
            0,
            LOOKUP_BYTES,
            tables,
            libc::PROT_READ,
        )?;
        if self.mode != Mode::Full {
            let at = area.base + COUNTERS as u64;
            let file = file + CONTEXT_BYTES;
            self.duplicate(stopped, Master::Areas, file, COUNTER_BYTES, at, write)?;
        }
        match self.mode {
            Mode::Counts => Ok(()),
            Mode::Full => self.map_stream(stopped, area, write),
            Mode::Budget => self.map_budget(stopped, area),
        }
    }

    /// Maps what a thread's budget points into.
    fn map_budget(&mut self, stopped: &mut Stopped, area: &Area) -> Result<()> {
        let at = area.base + BUDGET as u64;
        let piece = u64::from(area.slot) * FILE_STRIDE + CONTEXT_BYTES + COUNTER_BYTES;
        for number in 0..BUDGET_BYTES / BUDGET_PIECE {
            let at = at + number * BUDGET_PIECE;
            self.map_again(stopped, Master::Areas, piece, BUDGET_PIECE, at)?;
        }
        let write = (libc::PROT_READ | libc::PROT_WRITE) as u64;
        let args = [at, BUDGET_BYTES, write, 0, 0, 0];
        self.checked(stopped, "a budget", libc::SYS_mprotect, args)?;
        self.areas.ours.push(at..at + BUDGET_BYTES);
        Ok(())
    }

    fn map_stream(&mut self, stopped: &mut Stopped, area: &Area, write: i32) -> Result<()> {
        let Some(layout) = self.stats.rows().map(StatsProcess::layout) else {
            return Ok(());
        };
        let stream = area.base + STREAM as u64;
        let offset = layout.slot_offset(area.slot);
        let bytes = layout.slot_bytes();
        self.duplicate(
            stopped,
            Master::Streams,
            offset,
            bytes,
            stream,
            libc::PROT_NONE,
        )?;
        for chunk in 0..CHUNKS {
            let at = stream + u64::from(chunk) * layout.chunk_stride();
            let args = [at, u64::from(layout.chunk_bytes), write as u64, 0, 0, 0];
            self.checked(stopped, "a stream", libc::SYS_mprotect, args)?;
        }
        Ok(())
    }

    /// Keeps everything of ours out of children that are made by `fork`.
    pub(super) fn keep_from_children(&mut self, stopped: &mut Stopped) -> Result<()> {
        let ranges = self.areas.ours[self.areas.kept_from_children..].to_vec();
        self.areas.kept_from_children = self.areas.ours.len();
        for range in ranges {
            let advice = libc::MADV_DONTFORK as u64;
            let args = [range.start, range.end - range.start, advice, 0, 0, 0];
            self.checked(stopped, "shared memory", libc::SYS_madvise, args)?;
        }
        Ok(())
    }
}

/// Target address of a place in a thread's stream.
pub(super) fn cursor_address(layout: ring::Layout, area: &Area, cursor: Cursor) -> u64 {
    let in_slot = layout.offset(cursor) - layout.slot_offset(cursor.slot);
    area.base + STREAM as u64 + in_slot
}

/// The place in a thread's stream that a target address means.
pub(super) fn cursor_at(layout: ring::Layout, area: &Area, address: u64) -> Option<Cursor> {
    let in_slot = address.checked_sub(area.base + STREAM as u64)?;
    layout
        .cursor(layout.slot_offset(area.slot).checked_add(in_slot)?)
        .filter(|cursor| cursor.slot == area.slot)
}
