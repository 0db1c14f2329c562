//! What a drive says of itself: the 256 words of IDENTIFY DEVICE (ATA/ATAPI-7, 6.17).

use crate::devices::ide::channel::Drive;
use crate::devices::medium::SECTOR;

/// Most sectors of one block of READ MULTIPLE and WRITE MULTIPLE.
pub const MULTIPLE_MAX: u8 = 16;
/// Heads of the geometry after power-on.
pub const HEADS: u16 = 16;
/// Sectors of a track after power-on.
pub const TRACK: u16 = 63;
const MODEL: &str = "FITS HARDDISK";
const FIRMWARE: &str = "1.0";

/// Sectors that 28 bits can address.
pub const LIMIT_28: u64 = 1 << 28;

/// Cylinders of a disk by the geometry after power-on.
#[must_use]
pub fn cylinders(sectors: u64) -> u16 {
    (sectors / u64::from(HEADS * TRACK)).clamp(1, 16_383) as u16
}

/// The words, as bytes.
#[must_use]
pub fn identify(drive: &Drive, sectors: u64, unit: usize) -> [u8; SECTOR] {
    let mut words = [0_u16; 256];
    let cylinders = cylinders(sectors);
    // Not removable.
    words[0] = 0x0040;
    (words[1], words[3], words[6]) = (cylinders, HEADS, TRACK);
    text(&mut words[10..20], &format!("FITS{:016}", unit + 1));
    text(&mut words[23..27], FIRMWARE);
    text(&mut words[27..47], MODEL);
    words[47] = 0x8000 | u16::from(MULTIPLE_MAX);
    // IORDY, LBA, DMA.
    words[49] = 1 << 11 | 1 << 9 | 1 << 8;
    words[50] = 1 << 14;
    (words[51], words[52]) = (0x0200, 0x0200);
    // Words 54 to 58, 64 to 70 and 88 are valid.
    words[53] = 7;
    let current = u32::from(drive.heads) * u32::from(drive.track);
    let current_cylinders = (sectors / u64::from(current)).min(65_535) as u16;
    (words[54], words[55], words[56]) = (current_cylinders, drive.heads, drive.track);
    put32(&mut words, 57, current * u32::from(current_cylinders));
    if drive.multiple != 0 {
        words[59] = 0x100 | u16::from(drive.multiple);
    }
    put32(&mut words, 60, sectors.min(LIMIT_28 - 1) as u32);
    words[63] = 7 | selected(drive.mode, 0x20);
    // PIO modes 3 and 4, cycles of 120 ns.
    words[64] = 3;
    words[65..69].fill(120);
    // ATA-4 to ATA-7.
    words[80] = 0xf0;
    words[81] = 0x16;
    // NOP, look-ahead, write cache; FLUSH CACHE EXT, FLUSH CACHE, 48 bits.
    words[82] = 1 << 14 | 1 << 6 | 1 << 5;
    words[83] = 1 << 14 | 1 << 13 | 1 << 12 | 1 << 10;
    words[84] = 1 << 14;
    words[85] = 1 << 14 | u16::from(drive.look_ahead) << 6 | u16::from(drive.write_cache) << 5;
    words[86] = words[83] & !(1 << 14);
    words[87] = 1 << 14;
    words[88] = 0x3f | selected(drive.mode, 0x40);
    // Diagnostics passed, the number by jumper, a cable of 80 conductors.
    words[93] = 1 << 14 | 1 << 13 | if unit & 1 == 0 { 0x0b } else { 0x0b00 };
    put32(&mut words, 100, sectors as u32);
    put32(&mut words, 102, (sectors >> 32) as u32);
    let mut bytes = [0; SECTOR];
    for (pair, word) in bytes.chunks_mut(2).zip(words) {
        pair.copy_from_slice(&word.to_le_bytes());
    }
    // Word 255: signature, and a checksum that makes the sum of all bytes 0.
    bytes[510] = 0xa5;
    let sum = bytes.iter().fold(0_u8, |sum, &byte| sum.wrapping_add(byte));
    bytes[511] = sum.wrapping_neg();
    bytes
}

/// The bit of the selected transfer mode, if it is of the kind given (as SET FEATURES has them).
fn selected(mode: u8, kind: u8) -> u16 {
    if mode & 0xf8 == kind {
        0x100 << (mode & 7)
    } else {
        0
    }
}

fn put32(words: &mut [u16; 256], at: usize, value: u32) {
    (words[at], words[at + 1]) = (value as u16, (value >> 16) as u16);
}

/// Text fills words with the first character in the high byte, and spaces at the end.
fn text(words: &mut [u16], text: &str) {
    let mut characters = text.bytes().chain(std::iter::repeat(b' '));
    for word in words {
        let high = characters.next().unwrap_or(b' ');
        let low = characters.next().unwrap_or(b' ');
        *word = u16::from_be_bytes([high, low]);
    }
}
