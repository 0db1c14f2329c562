//! Kinds of faults in a machine, and how faults of a kind are drawn: which place, which bit, which moment. What is drawn is the text of a fault, in the
//! grammar of machine faults.

use std::ops::Range;

use crate::resolve::Draw;

use super::pages::{Memory, PageKind, Pages};

/// A kind of fault: a row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A bit of a general register or of the instruction pointer.
    Register,
    /// A flag.
    Flag,
    /// A bit of a control register, of a system MSR or of a table's base.
    Control,
    /// A bit of the kernel's code.
    KernelText,
    /// A bit of the kernel's variables.
    KernelData,
    /// A bit of a page table.
    PageTable,
    /// A bit of what the kernel has allocated, or keeps for others: slabs, stacks, page cache.
    KernelMemory,
    /// A bit of the memory of the program whose page tables are loaded.
    UserMemory,
    /// A machine check of the memory scrubber about a page in use.
    Scrubber,
    /// A machine check at the next read of a page in use.
    Read,
    /// A corrected error in a page in use.
    Corrected,
    /// An error of a disk at its next read of a sector: uncorrectable, aborted or silent; once or from then on.
    Disk,
    /// A frame of a network card that is lost, doubled, late or wrong, once or from then on.
    Network,
    /// As it was written by hand.
    Given,
}

/// What becomes of a frame.
const NETWORK: [&str; 5] = ["drop", "duplicate", "reorder", "delay=0.05", "flip"];
/// What a disk does with a sector.
const DISK: [&str; 3] = ["read-unc", "read-abrt", "read-flip"];
/// General registers and the instruction pointer.
const REGISTERS: [&str; 17] = [
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15", "rip",
];
const FLAGS: [&str; 10] = ["cf", "pf", "af", "zf", "sf", "tf", "if", "df", "of", "ac"];
/// Registers of the system, with the bits that mean something there.
const CONTROL: [(&str, &[u8]); 12] = [
    ("cr0", &[0, 1, 2, 3, 5, 16, 18, 29, 30, 31]),
    ("cr3", &[12, 13, 14, 16, 20, 24, 27, 30, 36]),
    ("cr4", &[0, 2, 3, 4, 5, 6, 7, 9, 10, 11, 16, 18, 20, 21]),
    ("efer", &[0, 8, 10, 11]),
    ("lstar", &[0, 4, 8, 12, 16, 20, 24, 31, 40, 47]),
    ("star", &[32, 35, 36, 48, 51, 52]),
    ("fmask", &[8, 9, 10, 14, 18]),
    ("gs_base", &[0, 4, 8, 12, 16, 20, 24, 31, 40, 47]),
    ("fs_base", &[0, 4, 8, 12, 16, 20, 24, 31, 40, 47]),
    ("kernel_gs_base", &[0, 4, 8, 12, 16, 20, 24, 31, 40, 47]),
    ("gdtr_base", &[0, 4, 8, 12, 16, 20, 24, 31, 40, 47]),
    ("idtr_base", &[0, 4, 8, 12, 16, 20, 24, 31, 40, 47]),
];

impl Kind {
    /// All that can be drawn.
    pub const DRAWN: [Self; 13] = [
        Self::Register,
        Self::Flag,
        Self::Control,
        Self::KernelText,
        Self::KernelData,
        Self::PageTable,
        Self::KernelMemory,
        Self::UserMemory,
        Self::Scrubber,
        Self::Read,
        Self::Corrected,
        Self::Disk,
        Self::Network,
    ];

    /// Its name on the command line, in tables and in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Flag => "flag",
            Self::Control => "control",
            Self::KernelText => "kernel-text",
            Self::KernelData => "kernel-data",
            Self::PageTable => "page-table",
            Self::KernelMemory => "kernel-memory",
            Self::UserMemory => "user-memory",
            Self::Scrubber => "mce-scrubber",
            Self::Read => "mce-read",
            Self::Corrected => "mce-corrected",
            Self::Disk => "disk",
            Self::Network => "network",
            Self::Given => "given",
        }
    }

    /// The kind of that name.
    ///
    /// # Errors
    /// When there is none: a sentence.
    pub fn of_name(name: &str) -> Result<Self, String> {
        let found = Self::DRAWN.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| {
            format!(
                "there are no faults of kind \"{name}\"; the kinds are {}",
                Self::DRAWN.map(Self::name).join(", ")
            )
        })
    }

    fn page_kind(self) -> Option<PageKind> {
        match self {
            Self::KernelText => Some(PageKind::KernelText),
            Self::KernelData => Some(PageKind::KernelData),
            Self::PageTable => Some(PageKind::Table),
            Self::KernelMemory => Some(PageKind::Other),
            Self::UserMemory => Some(PageKind::User),
            _ => None,
        }
    }
}

/// A fault that was drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// Its kind.
    pub kind: Kind,
    /// Its text.
    pub fault: String,
}

/// From what faults are drawn.
#[derive(Clone, Debug)]
pub struct Space {
    /// Indices of instructions.
    window: Range<u64>,
    pages: Vec<(PageKind, Vec<u64>)>,
    /// Pages of programs, of the kernel's allocations and of its data: what an error of a memory module can hit.
    used: Vec<u64>,
    traffic: Traffic,
}

/// What went through devices in the run without a fault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Disks, and the sectors that were read.
    pub disks: Vec<(String, Vec<u64>)>,
    /// Network cards, and how many frames they received and sent.
    pub cards: Vec<(u64, u64)>,
}

impl Space {
    /// The moments of a window, and the places that memory has at its beginning, with the page tables of `root`.
    #[must_use]
    pub fn new(window: Range<u64>, memory: &dyn Memory, root: u64) -> Self {
        let pages = Pages::look(memory, root);
        let kinds = [
            PageKind::Table,
            PageKind::KernelText,
            PageKind::KernelData,
            PageKind::User,
            PageKind::Other,
        ];
        let pages = kinds.map(|kind| (kind, pages.of(kind)));
        let used = pages.iter().flat_map(|(_, pages)| pages.iter().copied());
        let mut used: Vec<u64> = used.collect();
        used.sort_unstable();
        Space {
            window,
            used,
            pages: pages.into(),
            traffic: Traffic::default(),
        }
    }

    /// The same with what disks and network cards did.
    #[must_use]
    pub fn with_traffic(mut self, traffic: Traffic) -> Self {
        self.traffic = traffic;
        self.traffic.disks.retain(|(_, read)| !read.is_empty());
        self
    }

    /// The kinds for which there was traffic.
    pub fn traffic_kinds(&self) -> impl Iterator<Item = Kind> {
        let disks = !self.traffic.disks.is_empty();
        let cards = !self.streams().is_empty();
        let kinds = [(disks, Kind::Disk), (cards, Kind::Network)];
        kinds
            .into_iter()
            .filter_map(|(there, kind)| there.then_some(kind))
    }

    /// Cards and ways that frames went, with their number.
    fn streams(&self) -> Vec<(usize, &'static str, u64)> {
        let cards = self.traffic.cards.iter().enumerate();
        cards
            .flat_map(|(card, &(received, sent))| [(card, "rx", received), (card, "tx", sent)])
            .filter(|(_, _, frames)| *frames > 0)
            .collect()
    }

    fn pages(&self, kind: PageKind) -> &[u64] {
        let found = self.pages.iter().find(|(one, _)| *one == kind);
        found.map_or(&[], |(_, pages)| pages)
    }

    /// So many faults, the kinds in turn. The same seed gives the same list, and a longer one begins with it.
    ///
    /// # Errors
    /// When there is nothing of a kind, or nothing to draw from: a sentence.
    pub fn draw(&self, kinds: &[Kind], count: usize, seed: u64) -> Result<Vec<Drawn>, String> {
        if self.window.is_empty() {
            return Err("there are no instructions to inject faults at".into());
        }
        let mut draw = Draw::new(seed);
        kinds
            .iter()
            .cycle()
            .take(count)
            .map(|&kind| {
                let place = self.place(kind, &mut draw)?;
                let length = self.window.end - self.window.start;
                // What waits in a device from the beginning on meets the access that was drawn.
                let moment = match kind {
                    Kind::Disk | Kind::Network => self.window.start,
                    _ => self.window.start + draw.moment(length),
                };
                Ok(Drawn {
                    kind,
                    fault: format!("{place}@{moment}"),
                })
            })
            .collect()
    }

    fn place(&self, kind: Kind, draw: &mut Draw) -> Result<String, String> {
        if let Some(pages) = kind.page_kind() {
            let pages = self.pages(pages);
            if pages.is_empty() {
                return Err(format!(
                    "the guest has no {} now: leave that kind out",
                    kind.name()
                ));
            }
            let byte = pages[pick(draw, pages.len())] + draw.address(4096);
            return Ok(format!("mem:phys={byte:#x}:{}", draw.address(8)));
        }
        let check = |kind: &str, draw: &mut Draw| {
            if self.used.is_empty() {
                return Err("the guest has no memory in use".to_owned());
            }
            let page = self.used[pick(draw, self.used.len())];
            Ok(format!("mce:{kind}:phys={page:#x}"))
        };
        match kind {
            Kind::Register => {
                let name = REGISTERS[pick(draw, REGISTERS.len())];
                Ok(format!("reg:{name}:{}", draw.address(64)))
            }
            Kind::Flag => Ok(format!("reg:{}:0", FLAGS[pick(draw, FLAGS.len())])),
            Kind::Control => {
                let (name, bits) = CONTROL[pick(draw, CONTROL.len())];
                Ok(format!("reg:{name}:{}", bits[pick(draw, bits.len())]))
            }
            Kind::Scrubber => check("srao", draw),
            Kind::Read => check("srar", draw),
            Kind::Corrected => check("ce", draw),
            Kind::Disk => self.sector(draw),
            Kind::Network => self.frame(draw),
            _ => Err(format!("faults of kind {} are not drawn", kind.name())),
        }
    }

    fn sector(&self, draw: &mut Draw) -> Result<String, String> {
        if self.traffic.disks.is_empty() {
            return Err(
                "the guest reads no disk in the run without a fault: leave that kind out, or give it a --disk".to_owned(),
            );
        }
        let (disk, sectors) = &self.traffic.disks[pick(draw, self.traffic.disks.len())];
        let sector = sectors[pick(draw, sectors.len())];
        let failure = DISK[pick(draw, DISK.len())];
        let times = ["", "/permanent"][pick(draw, 2)];
        Ok(format!("disk:{disk}:{sector}:{failure}{times}"))
    }

    fn frame(&self, draw: &mut Draw) -> Result<String, String> {
        let streams = self.streams();
        if streams.is_empty() {
            return Err(
                "no frame goes through a network card in the run without a fault: leave that kind out, or give the guest --net user".to_owned(),
            );
        }
        let (card, way, frames) = streams[pick(draw, streams.len())];
        let frame = 1 + draw.address(frames);
        let failure = NETWORK[pick(draw, NETWORK.len())];
        let times = ["", "/permanent"][pick(draw, 2)];
        Ok(format!("net:eth{card}:{frame}:{way}-{failure}{times}"))
    }
}

/// An index below `length`, which is not 0.
fn pick(draw: &mut Draw, length: usize) -> usize {
    draw.address(length as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    impl Memory for Nothing {
        fn bytes(&self) -> u64 {
            64 << 12
        }
        fn word(&self, physical: u64) -> u64 {
            // Tables in pages 1 to 4, for one page of a program and one of the kernel's image.
            match physical {
                0x1000 => 0x2007,
                0x2000 => 0x3007,
                0x3000 => 0x4007,
                0x4000 => 0xa007,
                _ => 0,
            }
        }
        fn is_zero(&self, page: u64) -> bool {
            page != 30
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_faults_and_a_longer_list_begins_with_them() {
        let space = Space::new(1000..2000, &Nothing, 0x1000);
        let kinds = [
            Kind::Register,
            Kind::UserMemory,
            Kind::Scrubber,
            Kind::PageTable,
        ];
        let some = space.draw(&kinds, 40, 7).expect("drawn");
        let more = space.draw(&kinds, 80, 7).expect("drawn");
        assert_eq!(some[..], more[..40]);
        assert_ne!(some, space.draw(&kinds, 40, 8).expect("drawn"));
        for (drawn, kind) in some.iter().zip(kinds.iter().cycle()) {
            assert_eq!(drawn.kind, *kind);
            let (place, moment) = drawn.fault.split_once('@').expect("a moment");
            assert!((1000..2000).contains(&moment.parse::<u64>().expect("a number")));
            match kind {
                Kind::Register => assert!(place.starts_with("reg:")),
                Kind::UserMemory => assert!(place.starts_with("mem:phys=0xa"), "{place}"),
                Kind::PageTable => assert!(place.starts_with("mem:phys=0x"), "{place}"),
                _ => assert!(place.starts_with("mce:srao:phys=0x"), "{place}"),
            }
        }
    }

    #[test]
    fn disks_and_cards_fail_where_there_was_traffic() {
        let space = Space::new(3..10, &Nothing, 0x1000).with_traffic(Traffic {
            disks: vec![("hda".to_owned(), vec![]), ("vda".to_owned(), vec![7])],
            cards: vec![(0, 0), (0, 2)],
        });
        let kinds: Vec<Kind> = space.traffic_kinds().collect();
        assert_eq!(kinds, [Kind::Disk, Kind::Network]);
        let drawn = space.draw(&kinds, 200, 0).expect("drawn");
        for one in &drawn {
            let start = match one.kind {
                Kind::Disk => ["disk:vda:7:read-"; 2],
                _ => ["net:eth1:1:tx-", "net:eth1:2:tx-"],
            };
            let fits = start.iter().any(|start| one.fault.starts_with(start));
            assert!(fits && one.fault.ends_with("@3"), "{}", one.fault);
            one.fault
                .parse::<crate::machine::MachineFault>()
                .expect("a fault");
        }
        for failure in NETWORK.iter().chain(&DISK) {
            assert!(
                drawn.iter().any(|one| one.fault.contains(failure)),
                "{failure}"
            );
        }
    }

    #[test]
    fn what_is_not_there_cannot_be_drawn() {
        let space = Space::new(0..10, &Nothing, 0x1000);
        let error = space
            .draw(&[Kind::KernelText], 1, 0)
            .expect_err("no kernel");
        assert!(error.contains("no kernel-text"), "{error}");
        let empty = Space::new(5..5, &Nothing, 0x1000);
        assert!(empty.draw(&[Kind::Flag], 1, 0).is_err());
        assert!(empty.draw(&[Kind::Disk], 1, 0).is_err());
        for (kind, said) in [(Kind::Disk, "reads no disk"), (Kind::Network, "no frame")] {
            let error = space.draw(&[kind], 1, 0).expect_err("nothing");
            assert!(error.contains(said), "{error}");
        }
        assert_eq!(space.traffic_kinds().count(), 0);
        assert!(Kind::of_name("tape").is_err_and(|text| text.contains("mce-read")));
        for kind in Kind::DRAWN {
            assert_eq!(Kind::of_name(kind.name()), Ok(kind));
        }
    }
}
