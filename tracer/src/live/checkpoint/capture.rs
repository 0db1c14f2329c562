//! The state of a stopped process, as far as it is understood.

use std::fs;
use std::ops::Range;

use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::descriptors::{Descriptor, Found, OpenFile, descriptors};
use super::regions::{PAGE, PageMap, Region, Source, regions};
use super::standing::Standing;
use crate::error::{Error, Result};
use crate::live::install::{Place, with_page};
use crate::process::{Status, maps, status};
use crate::ptrace::{Memory, Registers, XState};

/// How many words [`Registers`] has.
pub(super) const REGISTERS: usize = 27;
/// Which of them is rip.
pub(super) const RIP: usize = 16;

/// More private memory than this is not carried around: beginning afresh is faster, or as fast.
const LARGEST: u64 = 256 << 20;

/// More reserved memory than this is not searched for pages.
const RESERVED: u64 = 16 << 30;

/// The kernel's `struct sigaction`.
pub(super) type Action = [u8; 32];
/// Of signals.
type Actions = Vec<(i32, Action)>;
/// Size of the kernel's signal set.
pub(super) const SET: u64 = 8;

/// Why a process can't be taken along: one sentence without a beginning (`it uses timers`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(pub String);

/// The state of a process with one thread that stands between two instructions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    pub(super) form: Form,
    /// The content of [`Form::pages`], one after the other.
    pub(super) content: Vec<u8>,
    pub(super) xstate: XState,
}

/// All but memory and vector registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Form {
    pub(super) registers: [u64; REGISTERS],
    pub(super) blocked: u64,
    pub(super) actions: Vec<(i32, Action)>,
    /// `stack_t`: address, flags, size.
    pub(super) alternate: [u64; 3],
    pub(super) tid_address: Option<u64>,
    pub(super) robust_list: Option<(u64, u64)>,
    pub(super) tsc: u64,
    pub(super) random: u64,
    pub(super) brk: u64,
    pub(super) regions: Vec<Region>,
    /// Memory with a content of its own. What is not in it is as its source has it.
    pub(super) pages: Vec<Range<u64>>,
    pub(super) descriptors: Vec<Descriptor>,
    pub(super) open: Vec<OpenFile>,
    pub(super) directory: String,
    pub(super) umask: u32,
    pub(super) name: Vec<u8>,
}

pub(super) fn capture(
    standing: &mut Standing<'_>,
) -> Result<std::result::Result<Checkpoint, Refused>> {
    let pid = standing.stopped.tid();
    let sets = status(pid)?;
    if let Some(sentence) = hindrance(standing, &sets) {
        return Ok(Err(Refused(sentence)));
    }
    let found = match descriptors(pid, &standing.streams)? {
        Ok(found) => found,
        Err(sentence) => return Ok(Err(Refused(sentence))),
    };
    let regions = match regions(&maps(pid)?, standing.ours) {
        Ok(regions) => regions,
        Err(sentence) => return Ok(Err(Refused(sentence))),
    };
    let reserved: u64 = regions.iter().map(|one| one.end - one.start).sum();
    if reserved > RESERVED {
        return Ok(Err(Refused(format!(
            "it has reserved {} GiB of memory",
            reserved >> 30
        ))));
    }
    let memory = Memory::open(pid)?;
    let (pages, content) = match contents(pid, &memory, &regions)? {
        Ok(found) => found,
        Err(sentence) => return Ok(Err(Refused(sentence))),
    };
    let form = form(standing, &memory, &sets, regions, pages, found)?;
    let xstate = standing.stopped.xstate()?;
    Ok(Ok(Checkpoint {
        form,
        content,
        xstate,
    }))
}

fn hindrance(standing: &Standing<'_>, sets: &Status) -> Option<String> {
    if let Some(sentence) = standing.account.hindrance() {
        return Some(sentence.to_owned());
    }
    if let Some(sentence) = standing.hindrance {
        return Some(sentence.to_owned());
    }
    if sets.pending | sets.shared_pending != 0 {
        return Some("a signal is about to be delivered to it".to_owned());
    }
    if Status::holds(sets.ignored, libc::SIGTRAP) {
        return Some("it ignores SIGTRAP".to_owned());
    }
    None
}

/// The pages that have a content of their own, and that content.
#[expect(
    clippy::type_complexity,
    reason = "an error that is one, and a refusal"
)]
fn contents(
    pid: Pid,
    memory: &Memory,
    regions: &[Region],
) -> Result<std::result::Result<(Vec<Range<u64>>, Vec<u8>), String>> {
    let map = PageMap::open(pid)?;
    let mut pages: Vec<Range<u64>> = Vec::new();
    let mut content = Vec::new();
    for region in regions {
        if region.shared || matches!(region.source, Source::Kernel(_)) {
            continue;
        }
        for own in map.own(region.range())? {
            let from = content.len();
            let length = (own.end - own.start) as usize;
            if from as u64 + length as u64 > LARGEST {
                return Ok(Err(format!(
                    "it has more than {} MiB of memory",
                    LARGEST >> 20
                )));
            }
            content.resize(from + length, 0);
            memory.read(own.start, &mut content[from..])?;
            if region.source == Source::Anonymous {
                without_zeros(own, from, &mut pages, &mut content);
            } else {
                pages.push(own);
            }
        }
    }
    Ok(Ok((pages, content)))
}

/// Keeps what is not zero of the range whose content begins at `from`.
fn without_zeros(own: Range<u64>, from: usize, pages: &mut Vec<Range<u64>>, content: &mut Vec<u8>) {
    const ZEROS: [u8; PAGE as usize] = [0; PAGE as usize];
    let mut kept = from;
    for (number, start) in (own.start..own.end).step_by(PAGE as usize).enumerate() {
        let at = from + number * PAGE as usize;
        if content[at..at + PAGE as usize] == ZEROS {
            continue;
        }
        content.copy_within(at..at + PAGE as usize, kept);
        kept += PAGE as usize;
        match pages.last_mut() {
            Some(last) if last.end == start => last.end += PAGE,
            _ => pages.push(start..start + PAGE),
        }
    }
    content.truncate(kept);
}

fn form(
    standing: &mut Standing<'_>,
    memory: &Memory,
    sets: &Status,
    regions: Vec<Region>,
    pages: Vec<Range<u64>>,
    found: Found,
) -> Result<Form> {
    let pid = standing.stopped.tid();
    let brk = standing.call(libc::SYS_brk, [0; 6])?.cast_unsigned();
    let (actions, alternate) = handlers(standing, memory, sets)?;
    let read = |name: &str| {
        let path = format!("/proc/{pid}/{name}");
        fs::read(&path).map_err(|source| Error::Proc { path, source })
    };
    let path = format!("/proc/{pid}/cwd");
    let directory = fs::read_link(&path).map_err(|source| Error::Proc { path, source })?;
    let mut name = read("comm")?;
    name.pop_if(|last| *last == b'\n');
    Ok(Form {
        registers: to_words(&standing.registers),
        blocked: standing.stopped.signal_mask()? | standing.blocked,
        actions,
        alternate,
        tid_address: standing.account.tid_address,
        robust_list: standing.account.robust_list,
        tsc: standing.tsc.clone().read(),
        random: standing.random.position(),
        brk,
        regions,
        pages,
        descriptors: found.descriptors,
        open: found.open,
        directory: directory.to_string_lossy().into_owned(),
        umask: umask(&String::from_utf8_lossy(&read("status")?)),
        name,
    })
}

pub(super) fn umask(status: &str) -> u32 {
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    let value = line.and_then(|text| u32::from_str_radix(text.trim(), 8).ok());
    value.unwrap_or(0o022)
}

/// What the kernel does with signals, and the alternate stack.
fn handlers(
    standing: &mut Standing<'_>,
    memory: &Memory,
    sets: &Status,
) -> Result<(Actions, [u64; 3])> {
    let place = standing.syscall.map_or(Place::Anywhere, Place::At);
    with_page(standing.stopped, place, |stopped, page| {
        let mut actions = Vec::new();
        for signal in 1..=64 {
            if !Status::holds(sets.caught | sets.ignored, signal) {
                continue;
            }
            let args = [signal as u64, 0, page, SET, 0, 0];
            place.call(stopped, libc::SYS_rt_sigaction, args)?;
            let mut action = [0; 32];
            memory.read(page, &mut action)?;
            actions.push((signal, action));
        }
        place.call(stopped, libc::SYS_sigaltstack, [0, page, 0, 0, 0, 0])?;
        let word = |offset| memory.read_u64(page + offset);
        let flags = word(8)? & 0xffff_ffff & !(libc::SS_ONSTACK as u64);
        Ok((actions, [word(0)?, flags, word(16)?]))
    })
}

macro_rules! words {
    ($($name:ident)*) => {
        fn to_words(registers: &Registers) -> [u64; REGISTERS] {
            [$(registers.$name),*]
        }

        /// The registers that these words are of, whatever else `registers` held.
        pub(super) fn from_words(registers: &mut Registers, words: [u64; REGISTERS]) {
            [$(registers.$name),*] = words;
        }
    };
}

words! {
    r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs gs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_not_kept() {
        let page = PAGE as usize;
        let mut content = vec![9; page];
        content.resize(5 * page, 0);
        content[2 * page] = 1;
        content[3 * page + 5] = 2;
        let mut pages = Vec::new();
        without_zeros(0x10_000..0x14_000, page, &mut pages, &mut content);
        assert_eq!(pages.len(), 1);
        assert_eq!(pages[0], 0x11_000..0x13_000);
        assert_eq!(content.len(), 3 * page);
        assert_eq!((content[page], content[2 * page + 5]), (1, 2));
    }

    #[test]
    fn the_umask_is_found() {
        assert_eq!(umask("Name:\tx\nUmask:\t0077\n"), 0o077);
    }
}
