//! Functions of a kernel: from a `System.map`, from the ELF file's own table, or from the table that the kernel keeps of itself (kallsyms).
//!
//! That table, as Linux 5.x to 6.3 lay it out, each part aligned to 8 bytes: offsets (`i32` each), their base (`u64`), the number of symbols
//! (`u32`), names, markers (`u32`: where in the names every 256th symbol is), in some versions
//! the order of the names (3 bytes each), token table (256 strings), token index (`u16` each). A name is a length
//! (one byte, or two with the highest bit of the first set) and that many tokens; the first letter of the text is the symbol's type.

use std::path::Path;

use super::bzimage::BzImage;
use super::elf;

/// A function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Where it begins.
    pub address: u64,
    /// Its name.
    pub name: String,
}

/// The kernel in a file, as an ELF file: what it is, or what is packed in it. None where it is something else.
#[must_use]
pub fn kernel_image(path: &Path) -> Option<Vec<u8>> {
    let image = std::fs::read(path).ok()?;
    if elf::is(&image) {
        return Some(image);
    }
    if !BzImage::is(&image) {
        return None;
    }
    BzImage::parse(&image).ok()?.kernel().ok()
}

/// Functions of a `System.map` (lines of address, type, name), by address. None where a line is something else.
#[must_use]
pub fn of_system_map(text: &str) -> Option<Vec<Symbol>> {
    let mut symbols = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (address, kind, name) = (words.next()?, words.next()?, words.next()?);
        let address = u64::from_str_radix(address, 16).ok()?;
        push(&mut symbols, address, kind.chars().next()?, name);
    }
    Some(sorted(symbols))
}

/// Functions of the table that the kernel has of itself; none where it has no table of a known layout.
#[must_use]
pub fn of_kernel(image: &[u8]) -> Option<Vec<Symbol>> {
    Table::find(image)?.symbols()
}

/// Functions of an ELF file's table; none where it has none.
#[must_use]
pub fn of_elf(image: &[u8]) -> Option<Vec<Symbol>> {
    if !elf::is(image) {
        return None;
    }
    let file = goblin::elf::Elf::parse(image).ok()?;
    let mut symbols = Vec::new();
    for symbol in &file.syms {
        let is_code = symbol.is_function() || symbol.st_type() == goblin::elf::sym::STT_NOTYPE;
        let name = file.strtab.get_at(symbol.st_name).unwrap_or_default();
        if is_code && !symbol.is_import() && !name.is_empty() {
            push(&mut symbols, symbol.st_value, 'T', name);
        }
    }
    (!symbols.is_empty()).then(|| sorted(symbols))
}

fn push(symbols: &mut Vec<Symbol>, address: u64, kind: char, name: &str) {
    if matches!(kind, 't' | 'T' | 'w' | 'W') {
        symbols.push(Symbol {
            address,
            name: name.to_owned(),
        });
    }
}

fn sorted(mut symbols: Vec<Symbol>) -> Vec<Symbol> {
    symbols.sort_by(|a, b| (a.address, &a.name).cmp(&(b.address, &b.name)));
    symbols.dedup_by_key(|symbol| symbol.address);
    symbols
}

/// The parts of the table, as offsets in the image.
struct Table<'a> {
    image: &'a [u8],
    tokens: Vec<&'a [u8]>,
    offsets: usize,
    base: u64,
    count: usize,
    names: usize,
}

fn word(image: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*image.get(at..)?.first_chunk()?))
}

/// Where the digits are in the token table: they stand for themselves in every kernel.
const DIGITS: &[u8] = b"0\x001\x002\x003\x004\x005\x006\x007\x008\x009\0";

impl<'a> Table<'a> {
    fn find(image: &'a [u8]) -> Option<Self> {
        let mut from = 0;
        while let Some(found) = find_bytes(&image[from..], DIGITS) {
            let digits = from + found;
            if let Some(table) = Self::around(image, digits) {
                return Some(table);
            }
            from = digits + 1;
        }
        None
    }

    fn around(image: &'a [u8], digits: usize) -> Option<Self> {
        let (start, tokens) = tokens(image, digits)?;
        let (names, count) = markers(image, start).find_map(|markers| names(image, &markers))?;
        let base_at = names.checked_sub(16)?;
        let base = u64::from_le_bytes(*image.get(base_at..)?.first_chunk()?);
        let offsets = base_at.checked_sub((4 * count).next_multiple_of(8))?;
        Some(Table {
            image,
            tokens,
            offsets,
            base,
            count,
            names,
        })
    }

    fn symbols(&self) -> Option<Vec<Symbol>> {
        let mut symbols = Vec::new();
        let mut at = self.names;
        for index in 0..self.count {
            let (length, start) = name_length(self.image, at)?;
            at = start + length;
            let packed = self.image.get(start..at)?;
            let text: Vec<u8> = packed
                .iter()
                .flat_map(|&token| self.tokens[usize::from(token)].iter().copied())
                .collect();
            let text = String::from_utf8(text).ok()?;
            let mut letters = text.chars();
            let kind = letters.next()?;
            let offset = word(self.image, self.offsets + 4 * index)?.cast_signed();
            // Not negative: an absolute address, of per-processor data.
            if offset < 0 {
                let address = self
                    .base
                    .wrapping_sub(1)
                    .wrapping_add_signed(-i64::from(offset));
                push(&mut symbols, address, kind, letters.as_str());
            }
        }
        Some(sorted(symbols))
    }
}

fn find_bytes(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let first = needle[0];
    let mut from = 0;
    loop {
        let found = from
            + haystack
                .get(from..)?
                .iter()
                .position(|&byte| byte == first)?;
        if haystack[found..].starts_with(needle) {
            return Some(found);
        }
        from = found + 1;
    }
}

/// Start of the token table and its strings, if the digits at `digits` are in one: the index behind it says so.
fn tokens(image: &[u8], digits: usize) -> Option<(usize, Vec<&[u8]>)> {
    let mut start = digits;
    for _ in 0..b'0' {
        let text = image.get(..start.checked_sub(1)?)?;
        start = text.iter().rposition(|&byte| byte == 0)? + 1;
    }
    let mut tokens = Vec::new();
    let mut at = start;
    for _ in 0..256 {
        let length = image.get(at..at + 64)?.iter().position(|&byte| byte == 0)?;
        tokens.push((at - start, &image[at..at + length]));
        at += length + 1;
    }
    // The first token may have padding before it that looks like an empty string's end.
    let index = at.next_multiple_of(8);
    let right = tokens.iter().enumerate().all(|(number, (offset, _))| {
        let found = image
            .get(index + 2 * number..)
            .and_then(|rest| rest.first_chunk());
        found.is_some_and(|bytes| usize::from(u16::from_le_bytes(*bytes)) == *offset)
    });
    right.then(|| (start, tokens.into_iter().map(|(_, token)| token).collect()))
}

/// Where in the names every 256th symbol is.
struct Markers {
    at: usize,
    values: Vec<u32>,
}

/// Places before the token table, which begins at `end`, that look like markers: they begin with 0 and increase, as many as there is room for.
fn markers(image: &[u8], end: usize) -> impl Iterator<Item = Markers> {
    const SEARCHED: usize = 4 << 20;
    let first = end.saturating_sub(SEARCHED).next_multiple_of(8);
    (first..end).step_by(8).rev().flat_map(move |at| {
        let room = end - at;
        // Alone; or with the order of the names behind them, 3 bytes a symbol, as Linux 6.2 and the later 6.1 have it.
        [room / 4, (room / 4).saturating_sub(1), (room + 767) / 772]
            .into_iter()
            .filter_map(move |count| increasing(image, at, count))
    })
}

fn increasing(image: &[u8], at: usize, count: usize) -> Option<Markers> {
    if count < 2 || word(image, at)? != 0 {
        return None;
    }
    let mut values = vec![0];
    for index in 1..count {
        let value = word(image, at + 4 * index)?;
        if value <= values[index - 1] {
            return None;
        }
        values.push(value);
    }
    Some(Markers { at, values })
}

/// Length of a name, and where it begins.
fn name_length(image: &[u8], at: usize) -> Option<(usize, usize)> {
    let first = usize::from(*image.get(at)?);
    if first & 0x80 == 0 {
        return Some((first, at + 1));
    }
    let second = usize::from(*image.get(at + 1)?);
    Some((first & 0x7f | second << 7, at + 2))
}

/// Names before their markers, and how many they are.
fn names(image: &[u8], markers: &Markers) -> Option<(usize, usize)> {
    const LONGEST: usize = 256 * 512;
    let last = *markers.values.last()? as usize;
    let highest = markers.at.checked_sub(last)? & !7;
    let most = 256 * markers.values.len();
    let mut at = highest;
    while at > highest.saturating_sub(LONGEST) && at > 8 {
        let count = word(image, at - 8)? as usize;
        let possible = count <= most && count > most - 256 && word(image, at - 4)? == 0;
        if possible && skip(image, at, 256) == Some(at + markers.values[1] as usize) {
            return Some((at, count));
        }
        at -= 8;
    }
    None
}

fn skip(image: &[u8], mut at: usize, names: usize) -> Option<usize> {
    for _ in 0..names {
        let (length, start) = name_length(image, at)?;
        at = start + length;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of `count` functions `f0`, `f1` …, 16 bytes apart, in the layout that is read.
    fn table(count: u32) -> Vec<u8> {
        let base = 0xffff_ffff_8100_0000_u64;
        let mut image = vec![7; 4096];
        for index in 0..count {
            image.extend_from_slice(&(-1 - 16 * index.cast_signed()).to_le_bytes());
        }
        image.resize(image.len().next_multiple_of(8), 0);
        image.extend_from_slice(&base.to_le_bytes());
        image.extend_from_slice(&u64::from(count).to_le_bytes());
        let (names, mut markers) = (image.len(), Vec::new());
        for index in 0..count {
            if index % 256 == 0 {
                markers.push((image.len() - names) as u32);
            }
            // Token 1 is "Tf".
            let digits = index.to_string();
            image.push(digits.len() as u8 + 1);
            image.push(1);
            image.extend_from_slice(digits.as_bytes());
        }
        image.resize(image.len().next_multiple_of(8), 0);
        for marker in markers {
            image.extend_from_slice(&marker.to_le_bytes());
        }
        image.resize(image.len().next_multiple_of(8), 0);
        let (start, mut index) = (image.len(), Vec::new());
        for token in 0..=255_u8 {
            index.push((image.len() - start) as u16);
            match token {
                1 => image.extend_from_slice(b"Tf"),
                b'0'..=b'9' => image.push(token),
                _ => image.extend_from_slice(b"xy"),
            }
            image.push(0);
        }
        image.resize(image.len().next_multiple_of(8), 0);
        for offset in index {
            image.extend_from_slice(&offset.to_le_bytes());
        }
        image
    }

    #[test]
    fn the_kernels_own_table_is_read() {
        for count in [300, 512, 700] {
            let symbols = of_kernel(&table(count)).expect("found");
            assert_eq!(symbols.len(), count as usize);
            assert_eq!(symbols[299].name, "f299");
            assert_eq!(symbols[299].address, 0xffff_ffff_8100_0000 + 16 * 299);
        }
        assert_eq!(of_kernel(&vec![0; 10_000]), None);
    }

    #[test]
    fn a_system_map_is_read_and_something_else_is_not() {
        let text = "ffffffff81000000 T _text\nffffffff81000010 t second\nffffffff82000000 D data\n";
        let symbols = of_system_map(text).expect("a map");
        let names: Vec<&str> = symbols.iter().map(|symbol| symbol.name.as_str()).collect();
        assert_eq!(names, ["_text", "second"]);
        assert_eq!(of_system_map("The real one is elsewhere\n"), None);
    }
}
