//! Guest memory as clients see it. An access that leads nowhere is silent, as in the framework: it reads 0, and writes are dropped.

use std::io::Write;

use crate::cpu::Processor;
use crate::qmp::action::{Place, Space};
use crate::qmp::message::Failure;

const PAGE: u64 = 4096;

/// The physical address of `address`; none where the page is not mapped.
fn physical(processor: &Processor, space: Space, address: u64) -> Option<u64> {
    match space {
        Space::Physical => Some(address),
        Space::Virtual => processor.cpu.walk(processor.cpu.cr3, address).1,
    }
}

/// Reads bytes.
pub(crate) fn read(processor: &mut Processor, place: &Place, size: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size as usize);
    for (address, length) in pieces(place.address, size) {
        match physical(processor, place.space, address) {
            Some(at) => bytes
                .extend(&processor.read_outside(at, length).to_le_bytes()[..usize::from(length)]),
            None => bytes.resize(bytes.len() + usize::from(length), 0),
        }
    }
    bytes
}

/// Writes bytes.
pub(crate) fn write(processor: &mut Processor, place: &Place, bytes: &[u8]) {
    let mut rest = bytes;
    for (address, length) in pieces(place.address, bytes.len() as u64) {
        let (piece, more) = rest.split_at(length.into());
        rest = more;
        if let Some(at) = physical(processor, place.space, address) {
            let mut value = [0; 8];
            value[..piece.len()].copy_from_slice(piece);
            processor.write_outside(at, length, u64::from_le_bytes(value));
        }
    }
}

/// Accesses of 1, 2, 4 or 8 aligned bytes, as large as possible: registers of devices are reached by one access of their own size.
fn pieces(address: u64, size: u64) -> impl Iterator<Item = (u64, u8)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let (at, rest) = (address.wrapping_add(done), size - done);
        let length = [8_u64, 4, 2, 1]
            .into_iter()
            .find(|&length| length <= rest && at.is_multiple_of(length))?;
        done += length;
        Some((at, length as u8))
    })
}

/// Writes guest memory into a file, which is whole or absent.
pub(crate) fn save(
    processor: &mut Processor,
    space: Space,
    address: u64,
    size: u64,
    file: &str,
) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("Could not write '{file}': {error}"));
    let ram = processor.cpu.ram.bytes();
    if size > ram.max(PAGE) {
        return Err(Failure::new(format!(
            "Parameter 'size' expects at most the {ram} bytes of guest memory"
        )));
    }
    let temporary = format!("{file}.part");
    let mut output = std::io::BufWriter::new(std::fs::File::create(&temporary).map_err(failed)?);
    let mut done = 0;
    while done < size {
        let at = address.wrapping_add(done);
        let length = (PAGE - at % PAGE).min(size - done);
        let found =
            physical(processor, space, at).filter(|&at| processor.cpu.ram.contains(at, length));
        let Some(start) = found else {
            // Nobody needs half of it.
            let _ = std::fs::remove_file(&temporary);
            return Err(Failure::new(format!(
                "Invalid addr {at:#018x}/size {size} specified"
            )));
        };
        let written = output.write_all(processor.cpu.ram.slice(start, length as usize));
        written.map_err(failed)?;
        done += length;
    }
    output.flush().map_err(failed)?;
    std::fs::rename(&temporary, file).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::pieces;

    #[test]
    fn accesses_are_aligned_and_as_large_as_possible() {
        let list = |address, size| pieces(address, size).collect::<Vec<_>>();
        assert_eq!(list(0x1000, 8), [(0x1000, 8)]);
        assert_eq!(list(0x1001, 7), [(0x1001, 1), (0x1002, 2), (0x1004, 4)]);
        assert_eq!(list(0x1004, 4), [(0x1004, 4)]);
        assert_eq!(list(0x1000, 3), [(0x1000, 2), (0x1002, 1)]);
        assert_eq!(list(u64::MAX, 2), [(u64::MAX, 1), (0, 1)]);
    }
}
