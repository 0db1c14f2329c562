//! Guest code as the supervisor knows it, page by page, and which pages it has write-protected.
//!
//! A page that units were made from is either not writable by the guest, or we have taken its write permission: then the first
//! store faults, the page's units are forgotten, and it is writable again until something on it is executed.

use std::collections::BTreeMap;
use std::ops::Range;

use fits_stats::protocol::{self, Message};
use fits_tracer::process::{Mapping, maps};
use fits_tracer::ptrace::{Memory, Stopped};
use rustc_hash::FxHashMap;

use super::error::Result;
use super::supervisor::Supervisor;
use crate::unit::GuestCode;

pub(super) const PAGE: u64 = 4096;

/// A unit's guest code lies within so many bytes.
const UNIT_REACH: u64 = 1024;

/// A page that was rewritten so often is not translated any more.
const RESTLESS: u32 = 64;

/// The guest's code.
#[derive(Debug)]
pub(super) struct GuestPages {
    pub(super) memory: Memory,
    map: Option<Vec<Mapping>>,
    executable: Vec<(u64, u64)>,
    pages: FxHashMap<u64, Box<[u8]>>,
    /// Pages without their write permission, and the protection that the guest gave them.
    protected: BTreeMap<u64, i32>,
    rewrites: FxHashMap<u64, u32>,
}

impl GuestPages {
    pub(super) fn new(memory: Memory) -> Self {
        Self {
            memory,
            map: None,
            executable: Vec::new(),
            pages: FxHashMap::default(),
            protected: BTreeMap::new(),
            rewrites: FxHashMap::default(),
        }
    }

    /// Whether any page is write-protected by us.
    pub(super) fn has_protected(&self) -> bool {
        !self.protected.is_empty()
    }

    /// Whether code at `pc` can be translated: it is executable memory that we know to stay as it is.
    pub(super) fn holds(&self, pc: u64) -> bool {
        self.pages.contains_key(&(pc / PAGE))
    }

    /// Whether the page of `address` is write-protected by us.
    pub(super) fn is_protected(&self, address: u64) -> bool {
        self.protected.contains_key(&(address / PAGE))
    }

    /// Up to 15 bytes of executable memory at `pc`.
    pub(super) fn instruction(&self, pc: u64) -> Vec<u8> {
        let mut bytes = vec![0; 15];
        let mut length = self.read(pc, &mut bytes);
        if length < bytes.len() && self.is_executable(pc + length as u64) {
            length += self
                .memory
                .read_some(pc + length as u64, &mut bytes[length..])
                .unwrap_or_default();
        }
        bytes.truncate(length);
        bytes
    }

    /// By the map as it was read last.
    fn is_executable(&self, address: u64) -> bool {
        self.executable
            .iter()
            .any(|&(start, end)| (start..end).contains(&address))
    }

    /// Mappings in `range` have changed; `executable`: they may be so now.
    pub(super) fn remapped(&mut self, range: Range<u64>, executable: bool) {
        let overlaps = |&(start, end): &(u64, u64)| start < range.end && range.start < end;
        if executable || self.executable.iter().any(overlaps) {
            self.map = None;
        }
        self.forget(range.clone());
        let pages = range.start / PAGE..range.end.div_ceil(PAGE);
        self.protected.retain(|page, _| !pages.contains(page));
    }

    /// The bytes in `range` may have changed.
    pub(super) fn forget(&mut self, range: Range<u64>) {
        let pages = range.start / PAGE..range.end.div_ceil(PAGE);
        if pages.end - pages.start < self.pages.len() as u64 {
            pages.for_each(|page| drop(self.pages.remove(&page)));
        } else {
            self.pages.retain(|page, _| !pages.contains(page));
        }
    }

    /// The memory map as it was read last.
    pub(super) fn known_map(&self) -> &[Mapping] {
        self.map.as_deref().unwrap_or_default()
    }

    fn load(&mut self, page: u64) {
        let mut bytes = vec![0; PAGE as usize];
        if self.memory.read(page * PAGE, &mut bytes).is_ok() {
            self.pages.insert(page, bytes.into());
        }
    }
}

impl GuestCode for GuestPages {
    fn read(&self, pc: u64, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buffer.len() {
            let address = pc.wrapping_add(done as u64);
            let Some(page) = self.pages.get(&(address / PAGE)) else {
                break;
            };
            let from = &page[(address % PAGE) as usize..];
            let count = from.len().min(buffer.len() - done);
            buffer[done..done + count].copy_from_slice(&from[..count]);
            done += count;
        }
        done
    }
}

/// A mapping as the statistics process wants it.
fn described(mapping: &Mapping) -> protocol::Mapping {
    protocol::Mapping {
        start: mapping.start,
        end: mapping.end,
        offset: mapping.offset,
        executable: mapping.execute,
        name: mapping.path.clone(),
    }
}

impl Supervisor<'_> {
    /// Makes the code of a unit at `pc` readable for the translator. Without `stopped` only what takes no change of protection.
    /// False if that is not possible.
    pub(super) fn prepare(&mut self, mut stopped: Option<&mut Stopped>, pc: u64) -> Result<bool> {
        let last = pc.saturating_add(UNIT_REACH - 1) / PAGE;
        let mut ready = true;
        for page in pc / PAGE..=last {
            if !self.code.pages.contains_key(&page) {
                ready &= self.prepare_page(stopped.as_deref_mut(), page)?;
            }
        }
        Ok(ready)
    }

    fn prepare_page(&mut self, stopped: Option<&mut Stopped>, page: u64) -> Result<bool> {
        let Some(mapping) = self.mapping(page * PAGE)?.filter(|mapping| mapping.execute) else {
            return Ok(true);
        };
        if mapping.shared {
            // Who else writes to it can't be known.
            return Ok(true);
        }
        if mapping.write {
            if self
                .code
                .rewrites
                .get(&page)
                .is_some_and(|&times| times >= RESTLESS)
            {
                return Ok(true);
            }
            let Some(stopped) = stopped else {
                return Ok(false);
            };
            self.protect(stopped, page, &mapping)?;
        }
        self.code.load(page);
        Ok(true)
    }

    /// The mapping at `address`.
    fn mapping(&mut self, address: u64) -> Result<Option<Mapping>> {
        if self.code.map.is_none() {
            self.read_map()?;
        }
        let map = self.code.map.as_deref().unwrap_or_default();
        let index = map.partition_point(|mapping| mapping.end <= address);
        Ok(map.get(index).filter(|one| one.contains(address)).cloned())
    }

    /// Reads the memory map anew, and tells the statistics process of it if executable memory has changed.
    pub(super) fn read_map(&mut self) -> Result<()> {
        let map = maps(self.code.memory.pid())?;
        let executable: Vec<_> = map
            .iter()
            .filter(|mapping| mapping.execute && !self.areas.is_ours(mapping.start))
            .map(|mapping| (mapping.start, mapping.end))
            .collect();
        if executable != self.code.executable {
            self.code.executable = executable;
            self.send_mappings(&map)?;
        }
        self.code.map = Some(map);
        Ok(())
    }

    /// Tells the statistics process what is mapped where.
    fn send_mappings(&mut self, map: &[Mapping]) -> Result<()> {
        let ours = |mapping: &&Mapping| !self.areas.is_ours(mapping.start);
        let mappings = map.iter().filter(ours).map(described).collect();
        Ok(self.stats.send(|| Message::Mappings(mappings))?)
    }

    /// Sends the map as it is now, if it can still be read.
    pub(super) fn send_last_mappings(&mut self) -> Result<()> {
        match maps(self.code.memory.pid()) {
            Ok(map) if !map.is_empty() => self.send_mappings(&map),
            _ => Ok(()),
        }
    }

    fn protect(&mut self, stopped: &mut Stopped, page: u64, mapping: &Mapping) -> Result<()> {
        let given = (i32::from(mapping.read) * libc::PROT_READ)
            | libc::PROT_WRITE
            | (i32::from(mapping.execute) * libc::PROT_EXEC);
        let taken = given & !libc::PROT_WRITE;
        self.remote(
            stopped,
            libc::SYS_mprotect,
            [page * PAGE, PAGE, taken as u64, 0, 0, 0],
        )?;
        self.code.protected.insert(page, given);
        Ok(())
    }

    /// Gives a page back the protection that the guest gave it, and forgets its code. False if it was not protected by us.
    pub(super) fn unprotect(&mut self, stopped: &mut Stopped, address: u64) -> Result<bool> {
        let page = address / PAGE;
        let Some(given) = self.code.protected.remove(&page) else {
            return Ok(false);
        };
        *self.code.rewrites.entry(page).or_default() += 1;
        self.remote(
            stopped,
            libc::SYS_mprotect,
            [page * PAGE, PAGE, given as u64, 0, 0, 0],
        )?;
        // It may have been read while the page was protected.
        self.code.map = None;
        let range = page * PAGE..(page + 1) * PAGE;
        self.code.forget(range.clone());
        self.cache.invalidate(range);
        Ok(true)
    }

    /// [`Supervisor::unprotect`] for all pages, before the kernel writes where it likes.
    pub(super) fn unprotect_all(&mut self, stopped: &mut Stopped) -> Result<()> {
        self.unprotect_range(stopped, 0..u64::MAX)
    }

    /// [`Supervisor::unprotect`] for all pages of a range.
    pub(super) fn unprotect_range(
        &mut self,
        stopped: &mut Stopped,
        range: Range<u64>,
    ) -> Result<()> {
        let pages = range.start / PAGE..range.end.div_ceil(PAGE);
        let pages: Vec<u64> = self.code.protected.range(pages).map(|one| *one.0).collect();
        for page in pages {
            self.unprotect(stopped, page * PAGE)?;
        }
        Ok(())
    }

    /// Gives all pages of a child that was forked their protection back; the parent's stay as they are.
    pub(super) fn unprotect_child(&self, child: &mut Stopped) -> Result<()> {
        for (&page, &given) in &self.code.protected {
            child.remote_syscall(
                libc::SYS_mprotect,
                [page * PAGE, PAGE, given as u64, 0, 0, 0],
            )?;
        }
        Ok(())
    }
}
