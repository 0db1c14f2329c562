//! Translating: every basic block of a real program's code, at each mode. No process is involved.
//!
//! Blocks begin where the ones before end, so most of them are such as programs have.

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use fits_dbt::mode::Mode;
use fits_dbt::translate::unit;
use fits_dbt::unit::{GuestCode, Request};

/// Half a megabyte of machine code that everybody has: that of this benchmark itself.
struct Code {
    pc: u64,
    bytes: Vec<u8>,
}

const SIZE: usize = 512 << 10;

fn main() {
    divan::main();
}

impl Code {
    fn own() -> Self {
        let path = std::env::current_exe().expect("the benchmark has a file");
        let file = std::fs::read(path).expect("the benchmark can read itself");
        let elf = goblin::elf::Elf::parse(&file).expect("the benchmark is an ELF file");
        let text = elf
            .section_headers
            .iter()
            .find(|header| elf.shdr_strtab.get_at(header.sh_name) == Some(".text"))
            .expect("the benchmark has code");
        let range = text.file_range().expect("code is in the file");
        let end = range.end.min(range.start + SIZE);
        Self {
            pc: 0x5555_5555_0000,
            bytes: file[range.start..end].to_vec(),
        }
    }
}

impl GuestCode for Code {
    fn read(&self, pc: u64, buffer: &mut [u8]) -> usize {
        let from = pc.wrapping_sub(self.pc) as usize;
        let rest = self.bytes.get(from..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        length
    }
}

fn translate_all(code: &Code, mode: Mode) -> usize {
    let end = code.pc + code.bytes.len() as u64;
    let (mut pc, mut emitted, mut id) = (code.pc, 0, 0);
    while pc < end {
        let request = Request {
            id,
            pc,
            prefix: None,
            host: 0x5554_0000_0000,
            mode,
            virtual_tsc: true,
        };
        let unit = unit(code, &request).expect("what the compiler wrote can be translated");
        emitted += unit.code.len();
        // What cannot be translated is left to the processor: it is one instruction, or padding.
        pc += u64::from(unit.guest_bytes.max(1));
        id += 1;
    }
    emitted
}

#[divan::bench(args = ["counts", "full", "budget"])]
fn blocks(bencher: Bencher, mode: &str) {
    let mode = match mode {
        "counts" => Mode::Counts,
        "full" => Mode::Full,
        _ => Mode::Budget,
    };
    let code = Code::own();
    bencher
        .counter(BytesCount::new(code.bytes.len()))
        .bench(|| translate_all(&code, mode));
}

#[divan::bench]
fn one_block(bencher: Bencher) {
    // mov rax,[rdi+8]; add rax,rsi; cmp rax,rdx; jne +5
    let bytes = [
        0x48, 0x8b, 0x47, 0x08, 0x48, 0x01, 0xf0, 0x48, 0x39, 0xd0, 0x75, 0x05,
    ];
    let code = Code {
        pc: 0x5555_5555_0000,
        bytes: bytes.to_vec(),
    };
    bencher
        .counter(ItemsCount::new(4usize))
        .bench(|| translate_all(&code, Mode::Counts));
}
