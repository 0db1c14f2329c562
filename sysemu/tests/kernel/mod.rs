//! A small kernel for tests: code at a fixed place, page tables, and an interrupt table whose handlers halt, so that what was raised can be read off the
//! instruction pointer and the stack.

#![expect(
    clippy::precedence,
    reason = "descriptors and page-table entries are made by shifting"
)]
#![allow(dead_code, reason = "no test program uses all of it")]

use dynasmrt::x64::X64Relocation;
use dynasmrt::{VecAssembler, dynasm};
use fits_sysemu::bus::EmptyBus;
use fits_sysemu::cpu::state::{CS, RIP, RSP, SS, Segment};
use fits_sysemu::cpu::{Processor, Stage, Stop};
use fits_sysemu::memory::Ram;

pub(crate) const IDT: u64 = 0x1000;
pub(crate) const GDT: u64 = 0x2000;
pub(crate) const TSS: u64 = 0x3000;
pub(crate) const HANDLERS: u64 = 0x4000;
pub(crate) const STACK: u64 = 0x8000;
pub(crate) const CODE: u64 = 0x9000;
pub(crate) const TABLES: u64 = 0x1_0000;
/// Its page-table entry is the test's.
pub(crate) const PAGE: u64 = 0x2_0000;

pub(crate) const PRESENT: u64 = 1;
pub(crate) const WRITABLE: u64 = 2;
pub(crate) const USER: u64 = 4;
pub(crate) const NX: u64 = 1 << 63;
pub(crate) const WP: u64 = 1 << 16;
pub(crate) const SMEP: u64 = 1 << 20;
pub(crate) const SMAP: u64 = 1 << 21;

pub(crate) type Assembler = VecAssembler<X64Relocation>;

/// Test programs whose names end so make the files of the others modules of their own.
fn stage() -> Stage {
    if module_path!().contains("translated") {
        Stage::Translated
    } else {
        Stage::Interpreter
    }
}

pub(crate) struct Kernel {
    pub(crate) processor: Processor,
}

/// What the guest ended with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It reached its `hlt`.
    Done,
    /// Vector, and the word on top of the handler's stack.
    Exception(u8, u64),
}

impl Kernel {
    pub(crate) fn new() -> Self {
        let ram = Ram::new(2 << 20).expect("memory");
        let mut processor = Processor::new(ram, Box::new(EmptyBus)).expect("a host with AVX2");
        processor.set_stage(stage());
        processor.set_translation_threshold(0);
        let mut kernel = Kernel { processor };
        for vector in 0..256 {
            let target = HANDLERS + 16 * vector;
            kernel.write(
                IDT + 16 * vector,
                target & 0xffff | 0x08 << 16 | 0x8e00 << 32,
            );
            kernel.write(target, 0xf4);
        }
        for (index, descriptor) in [0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff]
            .into_iter()
            .enumerate()
        {
            kernel.write(GDT + 8 * index as u64, descriptor);
        }
        kernel.write(TSS + 4, STACK);
        for (table, next) in [(0, 1), (1, 2), (2, 3)] {
            kernel.write(TABLES + 4096 * table, TABLES + 4096 * next | 7);
        }
        for page in 0..512 {
            kernel.write(TABLES + 3 * 4096 + 8 * page, page << 12 | 3);
        }
        let cpu = &mut kernel.processor.cpu;
        cpu.gdtr.base = GDT;
        cpu.gdtr.limit = 23;
        cpu.idtr.base = IDT;
        cpu.idtr.limit = 0xfff;
        cpu.tr.base = TSS;
        cpu.tr.limit = 0x67;
        cpu.cr0 = 0x8000_0031;
        cpu.cr3 = TABLES;
        cpu.cr4 = 0x620;
        cpu.efer = 0xd01;
        kernel.privilege(0);
        kernel
    }

    pub(crate) fn write(&mut self, address: u64, value: u64) {
        self.processor
            .write_physical(address, &value.to_le_bytes())
            .expect("RAM");
    }

    pub(crate) fn map(&mut self, entry: u64) {
        self.write(TABLES + 3 * 4096 + 8 * (PAGE >> 12), entry);
    }

    pub(crate) fn privilege(&mut self, cpl: u8) {
        let level = u16::from(cpl);
        let segment = |selector: u16, attributes: u16| Segment {
            selector: selector | level,
            base: 0,
            limit: u32::MAX,
            attributes: attributes | level << 5,
        };
        let cpu = &mut self.processor.cpu;
        cpu.seg[CS] = segment(8, 0xa09b);
        cpu.seg[SS] = segment(16, 0xc093);
        cpu.cpl = cpl;
        if cpl == 3 {
            // Code and stack of the user.
            for page in [CODE, STACK - 4096] {
                self.write(TABLES + 3 * 4096 + 8 * (page >> 12), page | 7);
            }
        }
        self.processor.refresh();
    }

    pub(crate) fn run(&mut self, body: impl FnOnce(&mut Assembler)) -> End {
        let mut ops = Assembler::new(CODE as usize);
        body(&mut ops);
        dynasm!(ops; .arch x64; hlt);
        let code = ops.finalize().expect("it assembles");
        self.run_bytes(&code)
    }

    pub(crate) fn run_bytes(&mut self, code: &[u8]) -> End {
        self.processor.write_physical(CODE, code).expect("RAM");
        let cpu = &mut self.processor.cpu;
        cpu.ctx.regs[RIP] = CODE;
        cpu.ctx.regs[RSP] = STACK - 256;
        assert_eq!(self.processor.run(100_000), Stop::Halted);
        let cpu = &self.processor.cpu;
        let rip = cpu.ctx.regs[RIP];
        if rip >= CODE {
            return End::Done;
        }
        let top = cpu.ram.read::<u64>(cpu.ctx.regs[RSP]);
        End::Exception(((rip - 1 - HANDLERS) / 16) as u8, top)
    }
}
