//! The 64-bit boot protocol of Linux (Documentation/arch/x86/boot.rst): a bzImage, or an ELF kernel.

use std::io::{Cursor, Read, Seek};
use std::path::{Path, PathBuf};

use linux_loader::loader::bzimage::BzImage;
use linux_loader::loader::elf::Elf;
use linux_loader::loader::{KernelLoader, KernelLoaderResult};
use vm_memory::GuestAddress;

use super::acpi;
use crate::cpu::Processor;
use crate::cpu::state::{CS, DS, ES, RIP, SS, Segment};

/// What to boot.
#[derive(Clone, Debug, Default)]
pub struct Boot {
    /// The kernel.
    pub kernel: PathBuf,
    /// The initial RAM disk.
    pub initrd: Option<PathBuf>,
    /// The kernel's command line.
    pub command_line: String,
}

/// Why a kernel cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// A file cannot be read.
    #[error("cannot read {what} {}: {source}", path.display())]
    Read {
        /// What it is.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no kernel.
    #[error("{} is not a kernel that can be booted: it is neither a bzImage with a 64-bit entry nor an x86-64 ELF file ({reason})", path.display())]
    NoKernel {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Memory is too small.
    #[error(
        "{need} bytes of guest memory are needed for kernel and initrd, {have} are there: give more with --memory"
    )]
    TooLittle {
        /// Bytes needed.
        need: u64,
        /// Bytes there.
        have: u64,
    },
    /// The command line is too long.
    #[error("the kernel's command line has {0} bytes: at most {max} are possible", max = COMMAND_LINE_MAX)]
    CommandLine(usize),
    /// Memory could not be written.
    #[error("{0}")]
    Memory(String),
}

const GDT: u64 = 0x500;
const PAGE_TABLES: u64 = 0x9000;
const ZERO_PAGE: u64 = 0x7000;
const COMMAND_LINE: u64 = 0x2_0000;
const COMMAND_LINE_MAX: usize = 2047;
/// Where kernels are put, and begin if they are ELF files without a say in it.
const KERNEL: u64 = 0x100_0000;
const LOW_END: u64 = 0x9_fc00;
const HIGH_START: u64 = 0x10_0000;

/// Offsets in the zero page.
const HEADER: usize = 0x1f1;
const SIGNATURE: [u8; 4] = *b"HdrS";

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, BootError> {
    std::fs::read(path).map_err(|source| BootError::Read {
        what,
        path: path.to_owned(),
        source,
    })
}

/// Where the kernel begins, what it occupies, and its setup header.
struct Loaded {
    entry: u64,
    end: u64,
    header: Vec<u8>,
}

/// Puts everything into memory and the processor at the kernel's entry.
///
/// # Errors
/// When a file is missing or no kernel, or does not fit.
pub fn prepare(processor: &mut Processor, boot: &Boot) -> Result<(), BootError> {
    if boot.command_line.len() > COMMAND_LINE_MAX {
        return Err(BootError::CommandLine(boot.command_line.len()));
    }
    let image = read("kernel", &boot.kernel)?;
    let initrd = match &boot.initrd {
        Some(path) => read("initrd", path)?,
        None => Vec::new(),
    };
    let have = processor.cpu.ram.bytes();
    let loaded = load(processor, &boot.kernel, &image)?;
    let size = initrd.len() as u64;
    let initrd_at = have.saturating_sub(size) & !0xfff;
    let need = loaded.end + size.next_multiple_of(4096);
    if initrd_at < loaded.end || have < need {
        return Err(BootError::TooLittle { need, have });
    }
    let write = |processor: &mut Processor, address: u64, bytes: &[u8]| {
        processor
            .write_physical(address, bytes)
            .map_err(BootError::Memory)
    };
    if !initrd.is_empty() {
        write(processor, initrd_at, &initrd)?;
    }
    let mut line = boot.command_line.clone().into_bytes();
    line.push(0);
    write(processor, COMMAND_LINE, &line)?;
    write(processor, acpi::AREA, &acpi::tables())?;
    let zero_page = zero_page(&loaded.header, have, initrd_at, size);
    write(processor, ZERO_PAGE, &zero_page)?;
    for (address, bytes) in page_tables() {
        write(processor, address, &bytes)?;
    }
    for (index, descriptor) in [0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff_u64]
        .into_iter()
        .enumerate()
    {
        write(
            processor,
            GDT + 8 * index as u64,
            &u64::to_le_bytes(descriptor),
        )?;
    }
    enter(processor, loaded.entry);
    Ok(())
}

fn load(processor: &mut Processor, path: &Path, image: &[u8]) -> Result<Loaded, BootError> {
    let no_kernel = |reason: String| BootError::NoKernel {
        path: path.to_owned(),
        reason,
    };
    let have = processor.cpu.ram.bytes();
    if image.starts_with(b"\x7fELF") {
        let end =
            elf_end(image).ok_or_else(|| no_kernel("its program headers are damaged".into()))?;
        if end > have {
            return Err(BootError::TooLittle { need: end, have });
        }
        let loaded = load_with::<Elf>(processor, None, image).map_err(no_kernel)?;
        return Ok(Loaded {
            entry: loaded.kernel_load.0,
            end: end.next_multiple_of(4096),
            header: Vec::new(),
        });
    }
    if image.len() < 0x268 || image[0x202..0x206] != SIGNATURE {
        return Err(no_kernel("it has no setup header".into()));
    }
    let field = |at: usize| {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&image[at..at + 4]);
        u32::from_le_bytes(bytes)
    };
    if field(0x236) & 1 == 0 || field(0x206) & 0xffff < 0x20c {
        return Err(no_kernel("it has no 64-bit entry".into()));
    }
    let setup = (u64::from(image[HEADER].max(4)) + 1) * 512;
    let expected = setup + 16 * u64::from(field(0x1f4));
    if (image.len() as u64) < expected {
        return Err(no_kernel(format!(
            "it is truncated: {} of {expected} bytes",
            image.len()
        )));
    }
    let end = KERNEL + u64::from(field(0x260));
    if end > have {
        return Err(BootError::TooLittle { need: end, have });
    }
    load_with::<BzImage>(processor, Some(GuestAddress(KERNEL)), image).map_err(no_kernel)?;
    let header_end = 0x202 + usize::from(image[0x201]);
    Ok(Loaded {
        entry: KERNEL + 0x200,
        end: end.next_multiple_of(4096),
        header: image[HEADER..header_end.min(0x290)].to_vec(),
    })
}

fn load_with<L: KernelLoader>(
    processor: &Processor,
    offset: Option<GuestAddress>,
    image: &[u8],
) -> Result<KernelLoaderResult, String> {
    let mut file = Cursor::new(image);
    let memory = processor.cpu.ram.guest_memory();
    L::load(memory, offset, &mut file, Some(GuestAddress(HIGH_START)))
        .map_err(|error| format!("{error}"))
}

/// The end of the last segment in memory.
fn elf_end(image: &[u8]) -> Option<u64> {
    let word = |at: u64, length: usize| -> Option<u64> {
        let mut cursor = Cursor::new(image);
        cursor.seek(std::io::SeekFrom::Start(at)).ok()?;
        let mut bytes = [0; 8];
        cursor.read_exact(&mut bytes[..length]).ok()?;
        Some(u64::from_le_bytes(bytes))
    };
    let (table, size, count) = (word(32, 8)?, word(54, 2)?, word(56, 2)?);
    let mut end = 0;
    for index in 0..count {
        let at = table.checked_add(index * size)?;
        if word(at, 4)? == 1 {
            let (start, length) = (word(at.checked_add(24)?, 8)?, word(at.checked_add(40)?, 8)?);
            end = end.max(start.checked_add(length)?);
        }
    }
    Some(end)
}

/// `struct boot_params`.
fn zero_page(header: &[u8], memory: u64, initrd: u64, initrd_bytes: u64) -> Vec<u8> {
    let mut page = vec![0; 4096];
    let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x70, &acpi::AREA.to_le_bytes());
    if header.is_empty() {
        put(0x1fe, &0xaa55_u16.to_le_bytes());
        put(0x202, &SIGNATURE);
        put(0x206, &0x20f_u16.to_le_bytes());
    } else {
        put(HEADER, header);
    }
    // An unregistered loader, which loads high.
    put(0x210, &[0xff, 1]);
    put(0x218, &(initrd as u32).to_le_bytes());
    put(0x21c, &(initrd_bytes as u32).to_le_bytes());
    put(0x228, &(COMMAND_LINE as u32).to_le_bytes());
    let ranges = [
        (0, LOW_END, 1_u32),
        (LOW_END, HIGH_START - LOW_END, 2),
        (HIGH_START, memory - HIGH_START, 1),
    ];
    put(0x1e8, &[ranges.len() as u8]);
    for (index, (start, length, kind)) in ranges.into_iter().enumerate() {
        let at = 0x2d0 + 20 * index;
        put(at, &start.to_le_bytes());
        put(at + 8, &length.to_le_bytes());
        put(at + 16, &kind.to_le_bytes());
    }
    page
}

/// The first 4 GiB, identity-mapped by 2 MiB pages.
fn page_tables() -> Vec<(u64, Vec<u8>)> {
    const RIGHTS: u64 = 3;
    const LARGE: u64 = 0x80;
    let pointers = PAGE_TABLES + 0x1000;
    let directories = PAGE_TABLES + 0x2000;
    let words = |values: &mut dyn Iterator<Item = u64>| {
        values.flat_map(u64::to_le_bytes).collect::<Vec<u8>>()
    };
    vec![
        (PAGE_TABLES, words(&mut std::iter::once(pointers | RIGHTS))),
        (
            pointers,
            words(&mut (0..4).map(|n| (directories + 4096 * n) | RIGHTS)),
        ),
        (
            directories,
            words(&mut (0..2048).map(|n| (n << 21) | RIGHTS | LARGE)),
        ),
    ]
}

/// Long mode, flat segments, interrupts off.
fn enter(processor: &mut Processor, entry: u64) {
    let cpu = &mut processor.cpu;
    let segment = |selector, attributes| Segment {
        selector,
        base: 0,
        limit: u32::MAX,
        attributes,
    };
    for register in [ES, SS, DS] {
        cpu.seg[register] = segment(0x18, 0xc093);
    }
    cpu.seg[CS] = segment(0x10, 0xa09b);
    cpu.gdtr.base = GDT;
    cpu.gdtr.limit = 31;
    cpu.idtr.limit = 0;
    cpu.cr0 = 0x8000_0011;
    cpu.cr3 = PAGE_TABLES;
    cpu.cr4 = 0x20;
    cpu.efer = 0x500;
    cpu.ctx.regs[..16].fill(0);
    cpu.ctx.regs[6] = ZERO_PAGE;
    cpu.ctx.regs[RIP] = entry;
    cpu.set_rflags(2);
    processor.refresh();
}
