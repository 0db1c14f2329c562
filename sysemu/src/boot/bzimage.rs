//! A bzImage: its setup header, and the kernel that is compressed in it (Documentation/arch/x86/boot.rst).

use std::io::Read;

/// Offset of the setup header in the file and in the zero page.
pub(super) const HEADER: usize = 0x1f1;
/// At 0x202.
pub(super) const SIGNATURE: [u8; 4] = *b"HdrS";

/// A bzImage with a 64-bit entry that is all there.
#[derive(Clone, Copy, Debug)]
pub(super) struct BzImage<'a> {
    image: &'a [u8],
}

impl<'a> BzImage<'a> {
    /// Whether it looks like one.
    pub(super) fn is(image: &[u8]) -> bool {
        image.len() >= 0x268 && image[0x202..0x206] == SIGNATURE
    }

    /// Checks the header.
    ///
    /// # Errors
    /// A reason why it cannot be booted.
    pub(super) fn parse(image: &'a [u8]) -> Result<Self, String> {
        let parsed = BzImage { image };
        if parsed.word(0x236) & 1 == 0 || parsed.word(0x206) & 0xffff < 0x20c {
            return Err("it is a bzImage without a 64-bit entry".into());
        }
        let expected = parsed.setup_bytes() as u64 + 16 * u64::from(parsed.word(0x1f4));
        if (image.len() as u64) < expected {
            let have = image.len();
            return Err(format!("it is truncated: {have} of {expected} bytes"));
        }
        Ok(parsed)
    }

    fn word(&self, at: usize) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.image[at..at + 4]);
        u32::from_le_bytes(bytes)
    }

    /// The real-mode part.
    fn setup_bytes(&self) -> usize {
        let sectors = self.image[HEADER];
        512 * (1 + if sectors == 0 {
            4
        } else {
            usize::from(sectors)
        })
    }

    /// Memory that the kernel needs from its address on, to unpack itself.
    pub(super) fn memory_needed(&self) -> u64 {
        self.word(0x260).into()
    }

    /// The last address that the initrd may occupy.
    pub(super) fn initrd_limit(&self) -> u64 {
        self.word(0x22c).into()
    }

    /// What the zero page takes over.
    pub(super) fn header(&self) -> &'a [u8] {
        let end = 0x202 + usize::from(self.image[0x201]);
        &self.image[HEADER..end.clamp(HEADER, 0x290)]
    }

    /// The kernel inside, an ELF file, decompressed.
    ///
    /// # Errors
    /// A sentence: the format is not known, or the data are damaged.
    pub(super) fn kernel(&self) -> Result<Vec<u8>, String> {
        let start = self.setup_bytes() + self.word(0x248) as usize;
        let length = self.word(0x24c) as usize;
        let payload = start
            .checked_add(length)
            .and_then(|end| self.image.get(start..end))
            .filter(|payload| payload.len() > 8)
            .ok_or("its header does not say where the compressed kernel is")?;
        let (data, size) = payload.split_at(length - 4);
        let mut bytes = [0; 4];
        bytes.copy_from_slice(size);
        decompress(data, u32::from_le_bytes(bytes) as usize)
    }
}

/// More than any kernel has.
const LARGEST: usize = 1 << 30;

/// The formats that Linux can be compressed with, by their first bytes.
fn decompress(data: &[u8], size: usize) -> Result<Vec<u8>, String> {
    if size > LARGEST {
        return Err(format!("the kernel inside claims to have {size} bytes"));
    }
    let mut kernel = Vec::with_capacity(size);
    let damaged = |error: &dyn std::fmt::Display| format!("the kernel inside is damaged: {error}");
    let mut from = |reader: &mut dyn Read| {
        reader
            .take(LARGEST as u64)
            .read_to_end(&mut kernel)
            .map(|_| ())
            .map_err(|error| damaged(&error))
    };
    match data {
        [0x1f, 0x8b, ..] => from(&mut flate2::read::GzDecoder::new(data))?,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            from(&mut lzma_rust2::XzReader::new(data, false))?;
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let mut reader =
                ruzstd::decoding::StreamingDecoder::new(data).map_err(|error| damaged(&error))?;
            from(&mut reader)?;
        }
        [0x02, 0x21, 0x4c, 0x18, rest @ ..] => kernel = lz4(rest).map_err(|text| damaged(&text))?,
        _ => {
            let first = &data[..4];
            return Err(format!(
                "the kernel inside is compressed in a way that is not known (it begins with {first:02x?}; gzip, XZ, LZ4 and Zstandard are)"
            ));
        }
    }
    if kernel.len() != size {
        let have = kernel.len();
        return Err(format!(
            "the kernel inside is damaged: it has {have} bytes, {size} were announced"
        ));
    }
    Ok(kernel)
}

/// The legacy frame of LZ4: blocks with their compressed size before them, each of at most 8 MiB when unpacked.
fn lz4(mut data: &[u8]) -> Result<Vec<u8>, String> {
    const BLOCK: usize = 8 << 20;
    let mut kernel = Vec::new();
    let mut block = vec![0; BLOCK];
    while let Some((size, rest)) = data.split_first_chunk::<4>() {
        let size = u32::from_le_bytes(*size) as usize;
        let (packed, next) = rest.split_at_checked(size).ok_or("a block is cut off")?;
        let unpacked = lz4_flex::block::decompress_into(packed, &mut block)
            .map_err(|error| error.to_string())?;
        kernel.extend_from_slice(&block[..unpacked]);
        data = next;
    }
    Ok(kernel)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn text() -> Vec<u8> {
        (0..50_000_u32)
            .flat_map(|n| (n / 7).to_le_bytes())
            .collect()
    }

    #[test]
    fn gzip_and_lz4_are_unpacked() {
        let text = text();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).expect("memory");
        let gzip = gzip.finish().expect("memory");
        assert_eq!(decompress(&gzip, text.len()), Ok(text.clone()));

        let mut framed = vec![0x02, 0x21, 0x4c, 0x18];
        for part in text.chunks(100_000) {
            let packed = lz4_flex::block::compress(part);
            framed.extend_from_slice(&(packed.len() as u32).to_le_bytes());
            framed.extend_from_slice(&packed);
        }
        assert_eq!(decompress(&framed, text.len()), Ok(text));
    }

    #[test]
    fn damage_is_a_sentence() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text()).expect("memory");
        let gzip = gzip.finish().expect("memory");
        for (data, part) in [
            (&gzip[..gzip.len() / 2], "damaged"),
            (b"\x02\x21\x4c\x18\xff\xff\xff\x7fabc", "a block is cut off"),
            (b"\xfd7zXZ\0garbage", "damaged"),
            (b"\x28\xb5\x2f\xfdgarbage", "damaged"),
            (b"plain text", "compressed in a way that is not known"),
        ] {
            let error = decompress(data, 10).expect_err("refused");
            assert!(error.contains(part), "{error}");
        }
        let error = decompress(&gzip, 10).expect_err("another size");
        assert!(error.contains("200000 bytes, 10 were announced"), "{error}");
    }
}
