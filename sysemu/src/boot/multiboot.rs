//! Multiboot 1 (the GNU Multiboot Specification, version 0.6.96): small kernels that begin in 32-bit protected mode, with modules.

use goblin::elf::program_header::PT_LOAD;

use super::linux::{COMMAND_LINE, GDT, HIGH_START, LOW_END, Range, ZERO_PAGE};
use super::start::{DESCRIPTORS_32, Start};
use crate::memory::Ram;

const MAGIC: u32 = 0x1bad_b002;
/// What the kernel finds in EAX.
const BOOTED: u64 = 0x2bad_b002;
/// The header lies in the first 8 KiB.
const SEARCHED: usize = 8192;

const ADDRESSES: u32 = 1 << 16;
/// Requirements that are met whatever the kernel does: aligned modules, sizes of memory.
const KNOWN: u32 = 0b11;

const INFORMATION: u64 = ZERO_PAGE;
const MODULES: u64 = ZERO_PAGE + 0x100;
const MODULES_MAX: usize = 32;
const MEMORY_MAP: u64 = ZERO_PAGE + 0x400;
const NAME: u64 = ZERO_PAGE + 0x600;
/// Text of modules lies behind the command line, 2 KiB each at most.
const TEXTS: u64 = COMMAND_LINE + 0x800;

/// A piece of the file and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    offset: u64,
    file_bytes: u64,
    address: u64,
    memory_bytes: u64,
}

/// A kernel with a multiboot header.
#[derive(Clone, Debug)]
pub(super) struct Kernel<'a> {
    image: &'a [u8],
    pieces: Vec<Piece>,
    entry: u64,
}

/// A module: its content and its text.
#[derive(Clone, Debug)]
pub(super) struct Module {
    pub(super) content: Vec<u8>,
    pub(super) text: String,
}

fn word(image: &[u8], at: usize) -> Option<u32> {
    let bytes = image.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// Offset and flags of the header.
fn header(image: &[u8]) -> Option<(usize, u32)> {
    (0..image.len().min(SEARCHED)).step_by(4).find_map(|at| {
        let (magic, flags, sum) = (word(image, at)?, word(image, at + 4)?, word(image, at + 8)?);
        let right = magic == MAGIC && magic.wrapping_add(flags).wrapping_add(sum) == 0;
        right.then_some((at, flags))
    })
}

/// Whether a file has a multiboot header.
pub(super) fn is(image: &[u8]) -> bool {
    header(image).is_some()
}

impl<'a> Kernel<'a> {
    /// Reads header and segments.
    ///
    /// # Errors
    /// A reason why it cannot be booted.
    pub(super) fn parse(image: &'a [u8]) -> Result<Self, String> {
        let (at, flags) = header(image).ok_or("it has no multiboot header")?;
        let unknown = flags & 0xffff & !KNOWN;
        if unknown != 0 {
            return Err(format!(
                "its multiboot header requires what is not offered (flags {unknown:#x}; a video mode is 0x4)"
            ));
        }
        let (pieces, entry) = if flags & ADDRESSES != 0 {
            by_addresses(image, at)
                .ok_or("the addresses in its multiboot header contradict each other")?
        } else {
            by_segments(image)?
        };
        for piece in &pieces {
            let end = piece.offset.checked_add(piece.file_bytes);
            if end.is_none_or(|end| end > image.len() as u64) {
                let have = image.len();
                return Err(format!(
                    "it is truncated: a segment lies beyond its {have} bytes"
                ));
            }
            if piece.address < HIGH_START && piece.address + piece.memory_bytes > LOW_END {
                return Err(format!(
                    "a segment lies at {:#x}, in memory of the firmware",
                    piece.address
                ));
            }
        }
        Ok(Kernel {
            image,
            pieces,
            entry,
        })
    }

    /// The end of what it occupies.
    pub(super) fn end(&self) -> u64 {
        let ends = self
            .pieces
            .iter()
            .map(|piece| piece.address + piece.memory_bytes);
        ends.max().unwrap_or(0).max(HIGH_START)
    }

    /// What all modules need, behind the kernel.
    pub(super) fn end_with(&self, modules: &[Module]) -> u64 {
        modules
            .iter()
            .fold(self.end().next_multiple_of(4096), |end, module| {
                (end + module.content.len() as u64).next_multiple_of(4096)
            })
    }

    /// Puts kernel, modules and information into memory, where they fit ([`Kernel::end_with`]).
    ///
    /// # Errors
    /// When there are too many modules or their texts are too long: a sentence.
    pub(super) fn load(
        &self,
        ram: &mut Ram,
        modules: &[Module],
        map: &[Range],
    ) -> Result<Start, String> {
        for piece in &self.pieces {
            let from = &self.image[piece.offset as usize..][..piece.file_bytes as usize];
            // A machine that was reset still has in its memory what was there.
            let place = ram.slice_mut(piece.address, piece.memory_bytes as usize);
            place[..from.len()].copy_from_slice(from);
            place[from.len()..].fill(0);
        }
        load_modules(ram, self.end(), modules)?;
        describe(ram, modules.len(), map);
        for (index, descriptor) in DESCRIPTORS_32.into_iter().enumerate() {
            ram.write(GDT + 8 * index as u64, descriptor);
        }
        let mut start = Start::protected(self.entry, GDT);
        start.registers[0] = BOOTED;
        start.registers[3] = INFORMATION;
        Ok(start)
    }
}

/// The layout that the header itself gives: for files that are no ELF files.
fn by_addresses(image: &[u8], at: usize) -> Option<(Vec<Piece>, u64)> {
    let field = |index: usize| word(image, at + 12 + 4 * index).map(u64::from);
    let (header, load, load_end) = (field(0)?, field(1)?, field(2)?);
    let (bss_end, entry) = (field(3)?, field(4)?);
    let offset = (at as u64).checked_sub(header.checked_sub(load)?)?;
    let file_bytes = match load_end {
        0 => (image.len() as u64).checked_sub(offset)?,
        end => end.checked_sub(load)?,
    };
    let memory_bytes = match bss_end {
        0 => file_bytes,
        end => end.checked_sub(load)?.max(file_bytes),
    };
    let piece = Piece {
        offset,
        file_bytes,
        address: load,
        memory_bytes,
    };
    Some((vec![piece], entry))
}

fn by_segments(image: &[u8]) -> Result<(Vec<Piece>, u64), String> {
    let elf = goblin::elf::Elf::parse(image).map_err(|error| {
        format!("it has a multiboot header without addresses and is no ELF file: {error}")
    })?;
    if elf.header.e_machine != goblin::elf::header::EM_386 {
        return Err("it is a multiboot kernel, but not a 32-bit ELF file".into());
    }
    let pieces = elf
        .program_headers
        .iter()
        .filter(|segment| segment.p_type == PT_LOAD)
        .map(|segment| Piece {
            offset: segment.p_offset,
            file_bytes: segment.p_filesz,
            address: segment.p_paddr,
            memory_bytes: segment.p_memsz.max(segment.p_filesz),
        })
        .collect();
    Ok((pieces, elf.entry))
}

fn load_modules(ram: &mut Ram, end: u64, modules: &[Module]) -> Result<(), String> {
    if modules.len() > MODULES_MAX {
        return Err(format!(
            "{} modules: at most {MODULES_MAX} are possible",
            modules.len()
        ));
    }
    let mut address = end.next_multiple_of(4096);
    let mut text_at = TEXTS;
    for (index, module) in modules.iter().enumerate() {
        let length = module.content.len();
        ram.slice_mut(address, length)
            .copy_from_slice(&module.content);
        let text = module.text.as_bytes();
        if text_at + text.len() as u64 >= LOW_END - 0x1000 {
            return Err("the texts of the modules are too long".into());
        }
        ram.slice_mut(text_at, text.len()).copy_from_slice(text);
        let words = [address, address + length as u64, text_at, 0];
        for (word, value) in words.into_iter().enumerate() {
            ram.write(MODULES + 16 * index as u64 + 4 * word as u64, value as u32);
        }
        address = (address + length as u64).next_multiple_of(4096);
        text_at += text.len() as u64 + 1;
    }
    Ok(())
}

/// The information structure: memory, command line, modules, memory map, name of the loader.
fn describe(ram: &mut Ram, modules: usize, map: &[Range]) {
    const MEMORY: u32 = 1;
    const LINE: u32 = 1 << 2;
    const LOADED: u32 = 1 << 3;
    const MAP: u32 = 1 << 6;
    const LOADER: u32 = 1 << 9;
    const ENTRY: u32 = 24;
    let high = ram.bytes() - HIGH_START;
    let fields = [
        (0, MEMORY | LINE | LOADED | MAP | LOADER),
        (4, (LOW_END >> 10) as u32),
        (8, (high >> 10) as u32),
        (16, COMMAND_LINE as u32),
        (20, modules as u32),
        (24, MODULES as u32),
        (44, ENTRY * map.len() as u32),
        (48, MEMORY_MAP as u32),
        (64, NAME as u32),
    ];
    for (at, value) in fields {
        ram.write(INFORMATION + at, value);
    }
    ram.slice_mut(NAME, 5).copy_from_slice(b"fits\0");
    for (index, range) in map.iter().enumerate() {
        let at = MEMORY_MAP + u64::from(ENTRY) * index as u64;
        ram.write(at, ENTRY - 4);
        ram.write(at + 4, range.start);
        ram.write(at + 12, range.bytes);
        ram.write(at + 20, range.kind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A flat kernel: header with addresses, then code.
    fn kernel(flags: u32) -> Vec<u8> {
        let load = 0x10_0000_u32;
        let mut image = Vec::new();
        let sum = 0_u32.wrapping_sub(MAGIC).wrapping_sub(flags);
        for word in [MAGIC, flags, sum, load, load, 0, load + 0x3000, load + 32] {
            image.extend_from_slice(&word.to_le_bytes());
        }
        image.extend_from_slice(&[0xf4; 16]);
        image
    }

    #[test]
    fn a_flat_kernel_is_loaded_with_its_modules() {
        let image = kernel(ADDRESSES | KNOWN);
        let kernel = Kernel::parse(&image).expect("a kernel");
        assert_eq!(kernel.end(), 0x10_3000);
        let mut ram = Ram::new(2 << 20).expect("memory");
        let modules = [
            Module {
                content: b"first".to_vec(),
                text: "one 1".into(),
            },
            Module {
                content: vec![9; 5000],
                text: String::new(),
            },
        ];
        assert_eq!(kernel.end_with(&modules), 0x10_6000);
        let start = kernel.load(&mut ram, &modules, &[]).expect("loaded");
        assert_eq!((start.rip, start.registers[0]), (0x10_0020, 0x2bad_b002));
        let info = start.registers[3];
        assert_eq!(ram.read::<u32>(info + 20), 2);
        let list = u64::from(ram.read::<u32>(info + 24));
        let (first, text) = (ram.read::<u32>(list), ram.read::<u32>(list + 8));
        assert_eq!(ram.slice(first.into(), 5), b"first");
        assert_eq!(ram.slice(text.into(), 6), b"one 1\0");
        let second = (ram.read::<u32>(list + 16), ram.read::<u32>(list + 20));
        assert_eq!(second, (0x10_4000, 0x10_4000 + 5000));
    }

    #[test]
    fn what_is_asked_for_and_not_offered_is_refused() {
        let error = Kernel::parse(&kernel(ADDRESSES | 4)).expect_err("a video mode");
        assert!(error.contains("flags 0x4"), "{error}");
        let error = Kernel::parse(&kernel(KNOWN)).expect_err("neither addresses nor ELF");
        assert!(error.contains("is no ELF file"), "{error}");
        let mut wrong = kernel(ADDRESSES);
        wrong[8] ^= 1;
        assert!(!is(&wrong));
    }
}
