//! What to boot, and by which protocol.

use std::path::{Path, PathBuf};

use super::bzimage::BzImage;
use super::error::BootError;
use super::linux::{self, COMMAND_LINE, COMMAND_LINE_MAX};
use super::start::Start;
use super::{acpi, elf, multiboot, pvh};
use crate::cpu::Processor;
use crate::memory::Ram;

/// Where a kernel is entered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Entry {
    /// A file with a multiboot header by multiboot; the kernel in a bzImage directly, where its compression is known; an ELF file by its
    /// PVH entry where it has one, else by the 64-bit one.
    #[default]
    Auto,
    /// The 64-bit entry of a bzImage: the kernel unpacks itself.
    Bzimage,
    /// The 64-bit entry of the kernel itself; one that is in a bzImage is unpacked by the host.
    Kernel,
    /// The 32-bit entry of the kernel's PVH note; one that is in a bzImage is unpacked by the host.
    Pvh,
    /// Multiboot 1.
    Multiboot,
}

/// A module of a multiboot kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its content.
    pub file: PathBuf,
    /// Its command line.
    pub text: String,
}

/// What to boot.
#[derive(Clone, Debug, Default)]
pub struct Boot {
    /// The kernel.
    pub kernel: PathBuf,
    /// The initial RAM disk; for a multiboot kernel, its first module.
    pub initrd: Option<PathBuf>,
    /// The kernel's command line.
    pub command_line: String,
    /// Where it is entered.
    pub entry: Entry,
    /// Modules of a multiboot kernel.
    pub modules: Vec<Module>,
}

/// Puts everything into memory and the processor at the kernel's entry.
///
/// # Errors
/// When a file is missing or no kernel, or does not fit.
pub fn prepare(processor: &mut Processor, boot: &Boot) -> Result<(), BootError> {
    let start = load(&mut processor.cpu.ram, boot)?;
    start.enter(processor);
    Ok(())
}

/// Puts everything into memory of a machine that has not run: the state to begin with.
///
/// # Errors
/// When a file is missing or no kernel, or does not fit.
pub fn load(ram: &mut Ram, boot: &Boot) -> Result<Start, BootError> {
    let image = read("kernel", &boot.kernel)?;
    if boot.command_line.len() > COMMAND_LINE_MAX {
        return Err(BootError::CommandLine(boot.command_line.len()));
    }
    fits("any kernel needs", linux::HIGH_START + 4096, ram)?;
    write_line(ram, &boot.command_line);
    let tables = acpi::tables();
    ram.slice_mut(acpi::AREA, tables.len())
        .copy_from_slice(&tables);
    let multiboot = match boot.entry {
        Entry::Auto => !BzImage::is(&image) && multiboot::is(&image),
        entry => entry == Entry::Multiboot,
    };
    if multiboot {
        return load_multiboot(ram, boot, &image);
    }
    if !boot.modules.is_empty() {
        return Err(BootError::Modules);
    }
    let initrd = match &boot.initrd {
        Some(path) => read("initrd", path)?,
        None => Vec::new(),
    };
    load_linux(ram, boot, &image, &initrd)
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, BootError> {
    std::fs::read(path).map_err(|source| BootError::Read {
        what,
        path: path.to_owned(),
        source,
    })
}

fn fits(what: &'static str, need: u64, ram: &Ram) -> Result<(), BootError> {
    let have = ram.bytes();
    if need > have {
        return Err(BootError::TooLittle { what, need, have });
    }
    Ok(())
}

fn write_line(ram: &mut Ram, line: &str) {
    let target = ram.slice_mut(COMMAND_LINE, line.len() + 1);
    target[..line.len()].copy_from_slice(line.as_bytes());
    target[line.len()] = 0;
}

fn load_multiboot(ram: &mut Ram, boot: &Boot, image: &[u8]) -> Result<Start, BootError> {
    let no_kernel = |reason| BootError::NoKernel {
        path: boot.kernel.clone(),
        reason,
    };
    let kernel = multiboot::Kernel::parse(image).map_err(no_kernel)?;
    let mut modules = Vec::new();
    if let Some(path) = &boot.initrd {
        modules.push(multiboot::Module {
            content: read("initrd", path)?,
            text: path.display().to_string(),
        });
    }
    for module in &boot.modules {
        modules.push(multiboot::Module {
            content: read("module", &module.file)?,
            text: module.text.clone(),
        });
    }
    fits("the kernel needs", kernel.end(), ram)?;
    fits("kernel and modules need", kernel.end_with(&modules), ram)?;
    let map = linux::memory_map(ram.bytes());
    kernel.load(ram, &modules, &map).map_err(no_kernel)
}

/// How Linux is entered, once it is in memory.
enum Way {
    Long(u64),
    Pvh(u64),
}

fn load_linux(ram: &mut Ram, boot: &Boot, image: &[u8], initrd: &[u8]) -> Result<Start, BootError> {
    let no_kernel = |reason: String| BootError::NoKernel {
        path: boot.kernel.clone(),
        reason,
    };
    let mut header = &[][..];
    let mut limit = u64::from(u32::MAX);
    let (way, end) = if elf::is(image) {
        if boot.entry == Entry::Bzimage {
            return Err(no_kernel(
                "it is an ELF file, and has no bzImage entry".into(),
            ));
        }
        load_elf(ram, image, boot, linux::HIGH_START)?
    } else if BzImage::is(image) {
        let packed = BzImage::parse(image).map_err(no_kernel)?;
        header = packed.header();
        limit = packed.initrd_limit();
        load_bzimage(ram, boot, image, packed)?
    } else {
        return Err(no_kernel(
            "it is neither a bzImage, nor an x86-64 ELF file, nor a multiboot kernel".into(),
        ));
    };
    let initrd = linux::place_initrd(ram, initrd, end, limit)?;
    let map = linux::memory_map(ram.bytes());
    Ok(match way {
        Way::Long(entry) => linux::start(ram, entry, header, initrd, &map),
        Way::Pvh(entry) => pvh::start(ram, entry, initrd, &map),
    })
}

fn load_bzimage(
    ram: &mut Ram,
    boot: &Boot,
    image: &[u8],
    packed: BzImage<'_>,
) -> Result<(Way, u64), BootError> {
    let end = linux::KERNEL + packed.memory_needed();
    fits("the kernel needs", end, ram)?;
    let unpacked = match boot.entry {
        Entry::Bzimage => None,
        Entry::Auto => packed.kernel().ok(),
        _ => Some(packed.kernel().map_err(|reason| BootError::NoKernel {
            path: boot.kernel.clone(),
            reason,
        })?),
    };
    match unpacked {
        Some(kernel) => {
            let boot = Boot {
                // The header of a bzImage speaks for its kernel: the entry that goes with it.
                entry: match boot.entry {
                    Entry::Auto => Entry::Kernel,
                    entry => entry,
                },
                kernel: boot.kernel.clone(),
                ..Boot::default()
            };
            load_elf(ram, &kernel, &boot, end)
        }
        None => {
            linux::load_bzimage(ram, image).map_err(|reason| BootError::NoKernel {
                path: boot.kernel.clone(),
                reason,
            })?;
            Ok((Way::Long(linux::KERNEL + 0x200), end))
        }
    }
}

/// Loads an ELF kernel; it occupies memory to `end` at least.
fn load_elf(ram: &Ram, image: &[u8], boot: &Boot, end: u64) -> Result<(Way, u64), BootError> {
    let no_kernel = |reason: String| BootError::NoKernel {
        path: boot.kernel.clone(),
        reason,
    };
    fits("the kernel needs", elf::end(image).map_err(no_kernel)?, ram)?;
    let loaded = elf::load(ram, image).map_err(no_kernel)?;
    let way = match (boot.entry, loaded.pvh) {
        (Entry::Pvh | Entry::Auto, Some(entry)) => Way::Pvh(entry),
        (Entry::Pvh, None) => return Err(no_kernel("it has no PVH entry".into())),
        _ => Way::Long(loaded.entry),
    };
    Ok((way, loaded.end.max(end.next_multiple_of(4096))))
}
