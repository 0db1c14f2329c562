//! Input files for the behaviour corpus: always the same bytes, from a seed.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A small generator of numbers (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

const SYLLABLES: [&str; 16] = [
    "ka", "lo", "mi", "nu", "re", "ta", "so", "vi", "ber", "dan", "gol", "hem", "jur", "pel",
    "qua", "zin",
];

fn word(numbers: &mut Numbers) -> String {
    (0..1 + numbers.below(4))
        .map(|_| SYLLABLES[numbers.below(16) as usize])
        .collect()
}

/// The folder with the inputs; made on first use.
pub(crate) fn folder() -> Result<&'static Path, String> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOLDER
        .get_or_init(|| make().map_err(|error| format!("cannot make the inputs: {error}")))
        .as_deref()
        .map_err(Clone::clone)
}

fn make() -> std::io::Result<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("inputs");
    fs::create_dir_all(folder.join("tree"))?;
    let mut numbers = Numbers(20);
    fs::write(folder.join("text.txt"), text(&mut numbers, 2_000_000))?;
    fs::write(folder.join("small.txt"), text(&mut numbers, 100_000))?;
    let bytes: Vec<u8> = (0..1_000_000u64)
        .map(|i| mixed_byte(&mut numbers, i))
        .collect();
    fs::write(folder.join("data.bin"), bytes)?;
    let mut table = Vec::new();
    for row in 0..20_000 {
        let (a, b, c) = (
            word(&mut numbers),
            numbers.below(1_000_000),
            numbers.below(1000),
        );
        writeln!(table, "{row},{a},{b},{}.{c:03}", b % 97)?;
    }
    fs::write(folder.join("table.csv"), table)?;
    for file in 0..20 {
        fs::write(
            folder.join(format!("tree/{file}.txt")),
            text(&mut numbers, 20_000),
        )?;
    }
    Ok(folder)
}

/// Half noise, half runs that a compressor finds.
fn mixed_byte(numbers: &mut Numbers, index: u64) -> u8 {
    if (index >> 12) & 1 == 0 {
        numbers.next() as u8
    } else {
        (index >> 5) as u8
    }
}

fn text(numbers: &mut Numbers, size: usize) -> String {
    let mut text = String::with_capacity(size + 100);
    while text.len() < size {
        for _ in 0..3 + numbers.below(12) {
            text += &word(numbers);
            text.push(' ');
        }
        text += &numbers.below(100_000).to_string();
        text.push('\n');
    }
    text
}
