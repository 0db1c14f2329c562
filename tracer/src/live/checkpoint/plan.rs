//! Which system calls make a freshly launched process equal to a checkpoint.

use std::collections::BTreeSet;
use std::ops::Range;
use std::os::fd::RawFd;

use super::batch::{Batch, Expect};
use super::capture::{Form, SET};
use super::descriptors::{LockKind, OpenFile, Origin};
use super::regions::{PAGE, Region, Source};

/// `AT_FDCWD` as an argument.
const HERE: u64 = libc::AT_FDCWD as i64 as u64;
const NO_FD: u64 = u64::MAX;
/// Numbers of descriptors that are moved out of the way are at least this.
const ASIDE: RawFd = 700;

/// What a freshly launched process is like.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) regions: Vec<Region>,
    /// Where the memory that `brk` moves the end of begins.
    pub(super) brk: u64,
    /// Pages with a content of their own in private memory.
    pub(super) own: Vec<Range<u64>>,
    pub(super) descriptors: Vec<RawFd>,
    pub(super) ignored: Vec<i32>,
    pub(super) directory: String,
    pub(super) umask: u32,
    pub(super) name: Vec<u8>,
}

/// The calls, to be made with their room at `base`. `Err`: a sentence about what can't be made equal.
pub(super) fn plan(form: &Form, fresh: Fresh, base: u64) -> Result<Batch, String> {
    let mut batch = Batch::new(base);
    let mut used: BTreeSet<RawFd> = fresh.descriptors.iter().copied().collect();
    let present = grow(form, &fresh, &mut batch)?;
    map(form, &present, &fresh.own, &mut used, &mut batch)?;
    open(form, &fresh, &mut used, &mut batch);
    rest(form, &fresh, &mut batch);
    Ok(batch)
}

/// Moves the end of the heap, and lets the stack grow. What is mapped then.
fn grow(form: &Form, fresh: &Fresh, batch: &mut Batch) -> Result<Vec<Region>, String> {
    let mut present = fresh.regions.clone();
    if form.brk != fresh.brk {
        let brk = form.brk;
        batch.call(
            "move the end of the heap",
            libc::SYS_brk,
            [brk],
            Expect::Value(brk),
        );
        let (start, end) = (
            fresh.brk.next_multiple_of(PAGE),
            form.brk.next_multiple_of(PAGE),
        );
        if end > start {
            present.push(Region {
                start,
                end,
                protection: libc::PROT_READ | libc::PROT_WRITE,
                shared: false,
                source: Source::Anonymous,
            });
        }
    }
    let is_stack = |one: &&Region| one.source == Source::Stack;
    let wanted = form.regions.iter().find(is_stack);
    let stack = present.iter_mut().find(|one| one.source == Source::Stack);
    let (Some(wanted), Some(stack)) = (wanted, stack) else {
        return Err("it has no stack".to_owned());
    };
    if wanted.start < stack.start {
        // The kernel writes there, and lets the stack grow for it.
        batch.call(
            "let the stack grow",
            libc::SYS_time,
            [wanted.start],
            Expect::Done,
        );
        stack.start = wanted.start;
    }
    present.sort_by_key(|one| one.start);
    Ok(present)
}

/// Makes what is mapped equal.
fn map(
    form: &Form,
    present: &[Region],
    own: &[Range<u64>],
    used: &mut BTreeSet<RawFd>,
    batch: &mut Batch,
) -> Result<(), String> {
    let steps = steps(&form.regions, present)?;
    for (range, step) in &steps {
        if let Step::Unmap = step {
            let args = [range.start, range.end - range.start];
            batch.call("unmap memory", libc::SYS_munmap, args, Expect::Value(0));
        }
    }
    let mut open: Option<(&str, RawFd)> = None;
    for (range, step) in &steps {
        let length = range.end - range.start;
        match step {
            Step::Map(region) => {
                let (fd, offset) = match &region.source {
                    Source::File(path, origin) => {
                        let fd = map_file(path, &mut open, used, batch);
                        (fd as u64, range.start.wrapping_sub(*origin))
                    }
                    _ => (NO_FD, 0),
                };
                let anonymous = if fd == NO_FD { libc::MAP_ANONYMOUS } else { 0 };
                let sharing = if region.shared {
                    libc::MAP_SHARED
                } else {
                    libc::MAP_PRIVATE
                };
                let flags = (libc::MAP_FIXED | anonymous | sharing) as u64;
                let args = [
                    range.start,
                    length,
                    region.protection as u64,
                    flags,
                    fd,
                    offset,
                ];
                batch.call(
                    "map memory",
                    libc::SYS_mmap,
                    args,
                    Expect::Value(range.start),
                );
            }
            Step::Protect(protection) => {
                let args = [range.start, length, *protection as u64];
                batch.call("protect memory", libc::SYS_mprotect, args, Expect::Value(0));
            }
            Step::Keep | Step::Unmap => {}
        }
    }
    close_file(&mut open, used, batch);
    // Pages that the loading of the program has changed and that are as their source has them later.
    let kept = |page: u64| {
        steps.iter().any(|(range, step)| {
            range.contains(&page) && matches!(step, Step::Keep | Step::Protect(_))
        })
    };
    for page in own
        .iter()
        .flat_map(|range| range.clone().step_by(PAGE as usize))
    {
        let stays = form.pages.iter().any(|range| range.contains(&page));
        if !stays && kept(page) {
            let args = [page, PAGE, libc::MADV_DONTNEED as u64];
            batch.call("forget a page", libc::SYS_madvise, args, Expect::Value(0));
        }
    }
    Ok(())
}

fn map_file<'a>(
    path: &'a str,
    open: &mut Option<(&'a str, RawFd)>,
    used: &mut BTreeSet<RawFd>,
    batch: &mut Batch,
) -> RawFd {
    if let Some((_, fd)) = open.filter(|(name, _)| *name == path) {
        return fd;
    }
    close_file(open, used, batch);
    let fd = open_path(path, libc::O_RDONLY | libc::O_CLOEXEC, used, batch);
    *open = Some((path, fd));
    fd
}

fn close_file(open: &mut Option<(&str, RawFd)>, used: &mut BTreeSet<RawFd>, batch: &mut Batch) {
    if let Some((_, fd)) = open.take() {
        close(fd, used, batch);
    }
}

/// What is to be done with a range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step<'a> {
    Keep,
    Unmap,
    Protect(i32),
    Map(&'a Region),
}

/// From what is mapped to what is to be mapped.
fn steps<'a>(
    wanted: &'a [Region],
    present: &[Region],
) -> Result<Vec<(Range<u64>, Step<'a>)>, String> {
    let mut bounds: Vec<u64> = wanted
        .iter()
        .chain(present)
        .flat_map(|one| [one.start, one.end])
        .collect();
    bounds.sort_unstable();
    bounds.dedup();
    let mut steps: Vec<(Range<u64>, Step<'_>)> = Vec::new();
    for pair in bounds.windows(2) {
        let (start, end) = (pair[0], pair[1]);
        let Some(step) = step(at(wanted, start), at(present, start))? else {
            continue;
        };
        match steps.last_mut() {
            Some((range, last)) if range.end == start && *last == step => range.end = end,
            _ => steps.push((start..end, step)),
        }
    }
    Ok(steps)
}

fn at(regions: &[Region], address: u64) -> Option<&Region> {
    let index = regions.partition_point(|one| one.end <= address);
    regions.get(index).filter(|one| one.start <= address)
}

fn step<'a>(
    wanted: Option<&'a Region>,
    present: Option<&Region>,
) -> Result<Option<Step<'a>>, String> {
    let special = |one: &Region| matches!(one.source, Source::Kernel(_) | Source::Stack);
    Ok(Some(match (wanted, present) {
        (None, None) => return Ok(None),
        (Some(wanted), Some(present)) if wanted.is_like(present) => {
            if wanted.protection == present.protection {
                Step::Keep
            } else {
                Step::Protect(wanted.protection)
            }
        }
        (wanted, present) if wanted.is_some_and(special) || present.is_some_and(special) => {
            return Err("memory that the kernel itself has mapped lies elsewhere".to_owned());
        }
        (None, Some(_)) => Step::Unmap,
        (Some(wanted), _) => Step::Map(wanted),
    }))
}

/// The lowest number that is free, as the kernel gives it.
fn lowest(used: &BTreeSet<RawFd>, from: RawFd) -> RawFd {
    (from..).find(|fd| !used.contains(fd)).unwrap_or(from)
}

fn open_path(path: &str, flags: i32, used: &mut BTreeSet<RawFd>, batch: &mut Batch) -> RawFd {
    let fd = lowest(used, 0);
    used.insert(fd);
    let place = batch.path(path);
    let args = [HERE, place, flags as u64, 0];
    batch.call(
        "open a file",
        libc::SYS_openat,
        args,
        Expect::Value(fd as u64),
    );
    fd
}

fn close(fd: RawFd, used: &mut BTreeSet<RawFd>, batch: &mut Batch) {
    used.remove(&fd);
    batch.call(
        "close a file",
        libc::SYS_close,
        [fd as u64],
        Expect::Value(0),
    );
}

fn duplicate(
    from: RawFd,
    to: RawFd,
    close_on_exec: bool,
    used: &mut BTreeSet<RawFd>,
    batch: &mut Batch,
) {
    used.insert(to);
    let flags = if close_on_exec { libc::O_CLOEXEC } else { 0 };
    let args = [from as u64, to as u64, flags as u64];
    batch.call(
        "copy a descriptor",
        libc::SYS_dup3,
        args,
        Expect::Value(to as u64),
    );
}

/// Opens files under the numbers that they are to have.
fn open(form: &Form, fresh: &Fresh, used: &mut BTreeSet<RawFd>, batch: &mut Batch) {
    let has = |number: RawFd, open: usize| {
        form.descriptors
            .iter()
            .any(|one| one.number == number && one.open == open)
    };
    // What it began with and has under other numbers only is put aside first.
    let mut sources: Vec<Option<RawFd>> = Vec::new();
    for (index, file) in form.open.iter().enumerate() {
        sources.push(match file.origin {
            Origin::Inherited(number) if has(number, index) => Some(number),
            Origin::Inherited(number) => {
                let aside = lowest(used, ASIDE);
                used.insert(aside);
                let args = [number as u64, libc::F_DUPFD_CLOEXEC as u64, ASIDE as u64];
                batch.call(
                    "copy a descriptor",
                    libc::SYS_fcntl,
                    args,
                    Expect::Value(aside as u64),
                );
                Some(aside)
            }
            Origin::Path(_) => None,
        });
    }
    for &number in &fresh.descriptors {
        if !form.descriptors.iter().any(|one| one.number == number) {
            close(number, used, batch);
        }
    }
    for (index, file) in form.open.iter().enumerate() {
        let mut source = sources[index];
        for one in form.descriptors.iter().filter(|one| one.open == index) {
            match (source, &file.origin) {
                (Some(from), _) if from == one.number => {}
                (Some(from), _) => duplicate(from, one.number, one.close_on_exec, used, batch),
                (None, Origin::Path(path)) => {
                    let opened = open_path(path, file.flags | libc::O_CLOEXEC, used, batch);
                    if opened != one.number {
                        duplicate(opened, one.number, one.close_on_exec, used, batch);
                        close(opened, used, batch);
                    }
                    source = Some(one.number);
                }
                (None, Origin::Inherited(_)) => {}
            }
            let flags = if one.close_on_exec {
                libc::FD_CLOEXEC
            } else {
                0
            };
            let args = [one.number as u64, libc::F_SETFD as u64, flags as u64];
            batch.call("mark a descriptor", libc::SYS_fcntl, args, Expect::Value(0));
        }
        if let Some(aside) = sources[index].filter(|&fd| fd >= ASIDE && !has(fd, index)) {
            close(aside, used, batch);
        }
    }
    // Closing a file takes locks away: they come last.
    for (index, file) in form.open.iter().enumerate() {
        if let Some(one) = form.descriptors.iter().find(|one| one.open == index) {
            place(file, one.number, batch);
        }
    }
}

/// Position, flags and locks of an open file.
fn place(file: &OpenFile, number: RawFd, batch: &mut Batch) {
    let fd = number as u64;
    if let (Origin::Inherited(_), Some(_)) = (&file.origin, file.position) {
        let args = [fd, libc::F_SETFL as u64, file.flags as u64];
        batch.call(
            "set the flags of a file",
            libc::SYS_fcntl,
            args,
            Expect::Value(0),
        );
    }
    if let Some(position) = file.position {
        let args = [fd, position, libc::SEEK_SET as u64];
        batch.call(
            "place a file",
            libc::SYS_lseek,
            args,
            Expect::Value(position),
        );
    }
    for lock in &file.locks {
        match lock.kind {
            LockKind::Whole => {
                let operation = if lock.write {
                    libc::LOCK_EX
                } else {
                    libc::LOCK_SH
                };
                let args = [fd, (operation | libc::LOCK_NB) as u64];
                batch.call("lock a file", libc::SYS_flock, args, Expect::Value(0));
            }
            LockKind::Process => {
                let kind = if lock.write {
                    libc::F_WRLCK
                } else {
                    libc::F_RDLCK
                } as u64;
                let length = lock.last.map_or(0, |last| last - lock.start + 1);
                // `struct flock`: kind and origin (two bytes each), start, length, whose.
                let words = [kind & 0xffff, lock.start, length, 0];
                let at = batch.data(&words.map(u64::to_le_bytes).concat());
                let args = [fd, libc::F_SETLK as u64, at];
                batch.call("lock a file", libc::SYS_fcntl, args, Expect::Value(0));
            }
        }
    }
}

/// Signal handlers and what else the kernel keeps.
fn rest(form: &Form, fresh: &Fresh, batch: &mut Batch) {
    let reset = fresh.ignored.iter().copied();
    let reset = reset.filter(|signal| !form.actions.iter().any(|one| one.0 == *signal));
    let reset = reset.map(|signal| (signal, [0; 32]));
    for (signal, action) in form.actions.iter().copied().chain(reset) {
        let at = batch.data(&action);
        let args = [signal as u64, at, 0, SET];
        batch.call(
            "set a signal handler",
            libc::SYS_rt_sigaction,
            args,
            Expect::Value(0),
        );
    }
    if form.alternate[1] & libc::SS_DISABLE as u64 == 0 {
        let at = batch.data(&form.alternate.map(u64::to_le_bytes).concat());
        batch.call(
            "set the alternate stack",
            libc::SYS_sigaltstack,
            [at, 0],
            Expect::Value(0),
        );
    }
    if let Some(address) = form.tid_address {
        batch.call(
            "set the address of its number",
            libc::SYS_set_tid_address,
            [address],
            Expect::Done,
        );
    }
    if let Some((address, length)) = form.robust_list {
        let args = [address, length];
        batch.call(
            "set the list of its locks",
            libc::SYS_set_robust_list,
            args,
            Expect::Value(0),
        );
    }
    if form.directory != fresh.directory {
        let at = batch.path(&form.directory);
        batch.call(
            "change to its directory",
            libc::SYS_chdir,
            [at],
            Expect::Value(0),
        );
    }
    if form.umask != fresh.umask {
        let umask = u64::from(form.umask);
        let before = u64::from(fresh.umask);
        batch.call(
            "set the umask",
            libc::SYS_umask,
            [umask],
            Expect::Value(before),
        );
    }
    if form.name != fresh.name {
        let mut name = form.name.clone();
        name.push(0);
        let at = batch.data(&name);
        let args = [libc::PR_SET_NAME as u64, at];
        batch.call("set its name", libc::SYS_prctl, args, Expect::Value(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(start: u64, end: u64, protection: i32, source: Source) -> Region {
        Region {
            start,
            end,
            protection,
            shared: false,
            source,
        }
    }

    #[test]
    fn only_what_differs_is_changed() {
        let file = || Source::File("/bin/x".to_owned(), 0x1000);
        let present = [
            region(0x1000, 0x3000, 1, file()),
            region(0x3000, 0x5000, 3, file()),
            region(0x8000, 0x9000, 3, Source::Anonymous),
        ];
        let wanted = [
            region(0x1000, 0x3000, 1, file()),
            region(0x3000, 0x4000, 1, file()),
            region(0x4000, 0x6000, 3, Source::Anonymous),
        ];
        let found = steps(&wanted, &present).unwrap();
        let expected = [
            (0x1000..0x3000, Step::Keep),
            (0x3000..0x4000, Step::Protect(1)),
            (0x4000..0x6000, Step::Map(&wanted[2])),
            (0x8000..0x9000, Step::Unmap),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_the_kernel_has_mapped_stays_where_it_is() {
        let vdso = |start| {
            region(
                start,
                start + 0x1000,
                5,
                Source::Kernel("[vdso]".to_owned()),
            )
        };
        assert!(steps(&[vdso(0x1000)], &[vdso(0x1000)]).is_ok());
        assert!(steps(&[vdso(0x1000)], &[vdso(0x2000)]).is_err());
    }

    #[test]
    fn numbers_are_the_lowest_free_ones() {
        let used = BTreeSet::from([0, 1, 3]);
        assert_eq!((lowest(&used, 0), lowest(&used, 3)), (2, 4));
    }
}
