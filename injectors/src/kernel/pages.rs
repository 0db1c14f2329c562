//! What lies where in the guest's memory, read off the page tables of the moment (Intel SDM volume 3, 4-level paging) and Linux's layout of
//! addresses on x86-64, in which the kernel's image is mapped above 0xffffffff80000000.

use std::collections::{BTreeMap, HashSet};

/// What a physical page is to a Linux kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PageKind {
    /// A page table.
    Table,
    /// The kernel's image, executable.
    KernelText,
    /// The kernel's image, not executable.
    KernelData,
    /// Mapped for the program whose page tables are loaded.
    User,
    /// Everything else that is not zero: what the kernel has allocated, the page cache, other programs.
    Other,
}

const PRESENT: u64 = 1;
const USER: u64 = 4;
const LARGE: u64 = 0x80;
const NX: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const PAGE: u64 = 4096;
/// Where the kernel's image is mapped, and above it its modules.
const KERNEL_IMAGE: u64 = 0xffff_ffff_8000_0000;

/// Kinds of pages, by physical page number.
#[derive(Clone, Debug, Default)]
pub struct Pages {
    kinds: BTreeMap<u64, PageKind>,
}

/// Physical memory to be read.
pub trait Memory {
    /// Its size in bytes.
    fn bytes(&self) -> u64;
    /// The word at a physical address that is a multiple of 8; 0 where there is no memory.
    fn word(&self, physical: u64) -> u64;
    /// Whether all of the page is zero.
    fn is_zero(&self, page: u64) -> bool;
}

/// What the entries on the way allow.
#[derive(Clone, Copy)]
struct Rights {
    user: bool,
    execute: bool,
}

struct Walk<'a> {
    memory: &'a dyn Memory,
    kinds: BTreeMap<u64, PageKind>,
    /// Tables with their levels: each is looked at once, however many entries lead to it.
    looked: HashSet<(u64, u32)>,
    pages: u64,
}

impl Walk<'_> {
    fn mark(&mut self, page: u64, kind: PageKind) {
        if page < self.pages {
            // What is a table stays one, although the kernel can reach it by another address.
            self.kinds
                .entry(page)
                .and_modify(|known| *known = (*known).min(kind))
                .or_insert(kind);
        }
    }

    fn table(&mut self, physical: u64, level: u32, base: u64, rights: Rights) {
        if physical >= self.pages * PAGE || !self.looked.insert((physical, level)) {
            return;
        }
        self.mark(physical / PAGE, PageKind::Table);
        let span = 1 << (12 + 9 * (level - 1));
        for index in 0..512 {
            let entry = self.memory.word(physical + 8 * index);
            let mut linear = base + index * span;
            if level == 4 && index >= 256 {
                linear |= 0xffff << 48;
            }
            if entry & PRESENT == 0 {
                continue;
            }
            let rights = Rights {
                user: rights.user && entry & USER != 0,
                execute: rights.execute && entry & NX == 0,
            };
            if level > 1 && entry & LARGE == 0 {
                self.table(entry & ADDRESS, level - 1, linear, rights);
            } else {
                self.leaf(entry & ADDRESS & !(span - 1), span, linear, rights);
            }
        }
    }

    fn leaf(&mut self, physical: u64, span: u64, linear: u64, rights: Rights) {
        let kind = if rights.user && linear >> 63 == 0 {
            PageKind::User
        } else if linear >= KERNEL_IMAGE && rights.execute {
            PageKind::KernelText
        } else if linear >= KERNEL_IMAGE {
            PageKind::KernelData
        } else {
            return;
        };
        for page in physical / PAGE..(physical + span) / PAGE {
            self.mark(page, kind);
        }
    }
}

impl Pages {
    /// Looks through memory with the page tables of `root`, a value of CR3. A root that is no table gives pages of no kind but [`PageKind::Other`].
    #[must_use]
    pub fn look(memory: &dyn Memory, root: u64) -> Self {
        let pages = memory.bytes() / PAGE;
        let mut walk = Walk {
            memory,
            kinds: BTreeMap::new(),
            looked: HashSet::new(),
            pages,
        };
        let all = Rights {
            user: true,
            execute: true,
        };
        walk.table(root & ADDRESS, 4, 0, all);
        for page in 0..pages {
            if !walk.kinds.contains_key(&page) && !memory.is_zero(page) {
                walk.kinds.insert(page, PageKind::Other);
            }
        }
        Pages { kinds: walk.kinds }
    }

    /// The physical addresses of all pages of a kind, in order.
    #[must_use]
    pub fn of(&self, kind: PageKind) -> Vec<u64> {
        self.kinds
            .iter()
            .filter(|(_, one)| **one == kind)
            .map(|(page, _)| page * PAGE)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Words(Vec<u64>);

    impl Memory for Words {
        fn bytes(&self) -> u64 {
            8 * self.0.len() as u64
        }
        fn word(&self, physical: u64) -> u64 {
            self.0.get(physical as usize / 8).copied().unwrap_or(0)
        }
        fn is_zero(&self, page: u64) -> bool {
            self.0[page as usize * 512..][..512]
                .iter()
                .all(|word| *word == 0)
        }
    }

    #[test]
    fn pages_are_what_the_tables_say() {
        let mut memory = Words(vec![0; 4096 * 512]);
        let mut set = |page: usize, index: usize, value: u64| memory.0[page * 512 + index] = value;
        // The root in page 1; a program's page 10 by tables 2, 3, 4.
        set(1, 0, 0x2000 | 7);
        set(2, 0, 0x3000 | 7);
        set(3, 0, 0x4000 | 7);
        set(4, 5, 0xa000 | 7 | NX);
        // Mapped there, but not for programs, and one that is not present.
        set(4, 6, 0xb000 | 3);
        set(4, 7, 0xc000);
        // The kernel's image by tables 5 and 6: 2 MiB of text at 2 MiB, data at 4 MiB.
        set(1, 511, 0x5000 | 3);
        set(5, 510, 0x6000 | 3);
        set(6, 0, 0x20_0000 | LARGE | 3);
        set(6, 1, 0x40_0000 | LARGE | 3 | NX);
        // A table that leads nowhere, and a page that only has something in it.
        set(1, 300, 0x7fff_f000 | 3);
        set(20, 0, 1);
        let pages = Pages::look(&memory, 0x1000);
        let numbers = |kind| -> Vec<u64> { pages.of(kind).iter().map(|at| at / PAGE).collect() };
        assert_eq!(numbers(PageKind::Table), [1, 2, 3, 4, 5, 6]);
        assert_eq!(numbers(PageKind::User), [10]);
        assert_eq!(
            numbers(PageKind::KernelText),
            (512..1024).collect::<Vec<_>>()
        );
        assert_eq!(
            numbers(PageKind::KernelData),
            (1024..1536).collect::<Vec<_>>()
        );
        assert_eq!(numbers(PageKind::Other), [20]);
    }

    #[test]
    fn wrong_roots_end() {
        // A root whose every entry leads back to itself.
        let mut memory = Words(vec![0; 4 * 512]);
        memory.0[512..1024].fill(0x1000 | 7);
        assert_eq!(Pages::look(&memory, 0x1000).of(PageKind::Table), [0x1000]);
        assert!(
            Pages::look(&memory, 0x7000_0000)
                .of(PageKind::Table)
                .is_empty()
        );
    }
}
