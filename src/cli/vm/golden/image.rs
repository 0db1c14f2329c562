//! The kernel as a file with symbols, so that the statistics process finds functions in it as in any other program.

use std::io::Write;
use std::path::{Path, PathBuf};

use fits_injectors::experiment::outputs::hash;
use fits_stats::protocol::Mapping;
use fits_sysemu::boot::symbols::{self, Symbol};

use crate::cli::CliError;

/// Where kernel addresses begin.
const KERNEL: u64 = 0xffff_8000_0000_0000;
/// Where user addresses end.
const USER_END: u64 = 0x8000_0000_0000;

/// A piece of code of the kernel, as its file has it.
#[derive(Clone, Copy, Debug)]
struct Code {
    start: u64,
    end: u64,
    offset: u64,
}

/// A file in the user's cache, named by what is in it, so that results of two runs name the same file: the kernel with a table of its functions.
#[derive(Debug)]
pub(super) struct Image {
    path: PathBuf,
    code: Vec<Code>,
}

impl Image {
    /// Makes it; none where there are no symbols to be had.
    pub(super) fn make(kernel: &Path, given: Option<&Path>) -> Result<Option<Self>, CliError> {
        let Some(image) = symbols::kernel_image(kernel) else {
            return Ok(None);
        };
        let own = given.is_none();
        let functions = match given {
            Some(path) => Some(read_symbols(path)?),
            None => symbols::of_elf(&image).or_else(|| symbols::of_kernel(&image)),
        };
        let Some(functions) = functions else {
            return Ok(None);
        };
        let code = code(&image);
        if code.is_empty() || functions.is_empty() {
            return if own {
                Ok(None)
            } else {
                Err(CliError::Usage(
                    "the file of --symbols has no functions".into(),
                ))
            };
        }
        let path = kept(&with_symbols(image, &code, &functions))?;
        Ok(Some(Image { path, code }))
    }
}

/// Where such files are kept: the folder for caches of the user, or where there is none the one for temporary files.
fn cache() -> PathBuf {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    variable("XDG_CACHE_HOME")
        .or_else(|| Some(variable("HOME")?.join(".cache")))
        .filter(|path| path.is_absolute())
        .unwrap_or_else(std::env::temp_dir)
        .join("fits/kernels")
}

/// Keeps the file, if it is not there already: its path.
fn kept(image: &[u8]) -> Result<PathBuf, CliError> {
    let (hash, _) = hash(image).map_err(CliError::file("hash", "the kernel".as_ref()))?;
    let folder = cache().join(&hash[..16]);
    let path = folder.join("vmlinux");
    let failed = |error| CliError::file("write", &path)(error);
    if std::fs::read(&path).is_ok_and(|there| there == image) {
        return Ok(path);
    }
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(&folder).map_err(failed)?;
    file.write_all(image).map_err(failed)?;
    file.persist(&path).map_err(|error| failed(error.error))?;
    Ok(path)
}

fn read_symbols(path: &Path) -> Result<Vec<Symbol>, CliError> {
    let bytes = std::fs::read(path).map_err(CliError::file("read", path))?;
    symbols::of_elf(&bytes)
        .or_else(|| symbols::of_system_map(std::str::from_utf8(&bytes).ok()?))
        .ok_or_else(|| {
            CliError::Usage(format!(
                "{} is neither a System.map nor an ELF file with symbols",
                path.display()
            ))
        })
}

/// What is where in the guest's address spaces.
pub(super) fn mappings(image: Option<&Image>) -> Vec<Mapping> {
    let region = |start, end, name: &str| Mapping {
        start,
        end,
        offset: 0,
        executable: true,
        name: name.to_owned(),
    };
    let mut mappings = vec![
        region(0, USER_END, "[user]"),
        region(KERNEL, u64::MAX, "[kernel]"),
    ];
    if let Some(image) = image {
        let parts = image.code.iter().map(|code| Mapping {
            offset: code.offset,
            ..region(code.start, code.end, &image.path.to_string_lossy())
        });
        mappings.extend(parts);
    }
    mappings
}

fn field(image: &[u8], at: u64, bytes: usize) -> Option<u64> {
    let at = usize::try_from(at).ok()?;
    let mut word = [0; 8];
    word[..bytes].copy_from_slice(image.get(at..at.checked_add(bytes)?)?);
    Some(u64::from_le_bytes(word))
}

/// Executable segments.
fn code(image: &[u8]) -> Vec<Code> {
    const LOAD: u64 = 1;
    const EXECUTABLE: u64 = 1;
    let header = |at, bytes| field(image, at, bytes).unwrap_or_default();
    let (table, size, count) = (header(32, 8), header(54, 2), header(56, 2));
    (0..count)
        .map(|index| table.saturating_add(index * size))
        .filter(|&at| header(at, 4) == LOAD && header(at + 4, 4) & EXECUTABLE != 0)
        .map(|at| Code {
            start: header(at + 16, 8),
            end: header(at + 16, 8).saturating_add(header(at + 32, 8)),
            offset: header(at + 8, 8),
        })
        .collect()
}

/// The file with section headers of ours in place of its own: code, symbols, their names.
fn with_symbols(mut image: Vec<u8>, code: &[Code], functions: &[Symbol]) -> Vec<u8> {
    let mut names = vec![0];
    // Type FUNC, binding GLOBAL; section number as below.
    const FUNCTION: u8 = 0x12;
    let mut table = vec![0; 24];
    for (index, function) in functions.iter().enumerate() {
        let Some(section) = code
            .iter()
            .position(|code| (code.start..code.end).contains(&function.address))
        else {
            continue;
        };
        let end = functions.get(index + 1).map_or(code[section].end, |next| {
            next.address.min(code[section].end)
        });
        table.extend_from_slice(&(names.len() as u32).to_le_bytes());
        table.extend_from_slice(&[FUNCTION, 0]);
        table.extend_from_slice(&(section as u16 + 1).to_le_bytes());
        table.extend_from_slice(&function.address.to_le_bytes());
        table.extend_from_slice(&(end - function.address).to_le_bytes());
        names.extend_from_slice(function.name.as_bytes());
        names.push(0);
    }
    let section_names = b"\0.text\0.symtab\0.strtab\0.shstrtab\0";
    let mut place = |bytes: &[u8]| {
        image.resize(image.len().next_multiple_of(8), 0);
        let at = image.len() as u64;
        image.extend_from_slice(bytes);
        (at, bytes.len() as u64)
    };
    let (symbols, strings, headings) = (place(&table), place(&names), place(section_names));
    // name, type, flags, address, (offset, size), link, info, alignment, entry size
    let mut sections = vec![[0_u64; 10]];
    for code in code {
        sections.push([
            1,
            1,
            6,
            code.start,
            code.offset,
            code.end - code.start,
            0,
            0,
            16,
            0,
        ]);
    }
    let strings_number = code.len() as u64 + 2;
    sections.push([7, 2, 0, 0, symbols.0, symbols.1, strings_number, 1, 8, 24]);
    sections.push([15, 3, 0, 0, strings.0, strings.1, 0, 0, 1, 0]);
    sections.push([23, 3, 0, 0, headings.0, headings.1, 0, 0, 1, 0]);
    let mut headers = Vec::new();
    for [
        name,
        kind,
        flags,
        address,
        offset,
        size,
        link,
        info,
        align,
        entry,
    ] in &sections
    {
        headers.extend_from_slice(&(*name as u32).to_le_bytes());
        headers.extend_from_slice(&(*kind as u32).to_le_bytes());
        for word in [flags, address, offset, size] {
            headers.extend_from_slice(&word.to_le_bytes());
        }
        headers.extend_from_slice(&(*link as u32).to_le_bytes());
        headers.extend_from_slice(&(*info as u32).to_le_bytes());
        headers.extend_from_slice(&align.to_le_bytes());
        headers.extend_from_slice(&entry.to_le_bytes());
    }
    let (at, _) = place(&headers);
    image[40..48].copy_from_slice(&at.to_le_bytes());
    image[58..60].copy_from_slice(&64_u16.to_le_bytes());
    image[60..62].copy_from_slice(&(sections.len() as u16).to_le_bytes());
    image[62..64].copy_from_slice(&(sections.len() as u16 - 1).to_le_bytes());
    image
}
