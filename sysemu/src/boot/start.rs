//! How a processor begins, for either engine: the state that a boot protocol asks for.

use crate::cpu::Processor;
use crate::cpu::state::{CS, RIP, Segment, Table};

/// The registers that a boot protocol speaks of; all others are as after reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Where execution begins.
    pub rip: u64,
    /// General registers in encoding order.
    pub registers: [u64; 16],
    /// ES, CS, SS, DS, FS, GS.
    pub segments: [Segment; 6],
    /// Task register.
    pub task: Segment,
    /// Global descriptor table.
    pub descriptors: Table,
    /// CR0.
    pub cr0: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// Extended features.
    pub efer: u64,
}

/// Selectors that the Linux protocol prescribes.
const CODE: u16 = 0x10;
const DATA: u16 = 0x18;

/// What the descriptor table of [`Start::protected`] and [`Start::long`] must have: null, null, code of that many bits, data.
pub(super) const DESCRIPTORS_64: [u64; 4] = [0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];
/// The same with 32-bit code.
pub(super) const DESCRIPTORS_32: [u64; 4] = [0, 0, 0x00cf_9b00_0000_ffff, 0x00cf_9300_0000_ffff];

impl Start {
    /// Real mode, all segments at 0.
    #[must_use]
    pub fn real(ip: u16) -> Self {
        let segment = |attributes| Segment {
            limit: 0xffff,
            attributes,
            ..Segment::default()
        };
        let mut segments = [segment(0x93); 6];
        segments[CS] = segment(0x9b);
        Start {
            rip: ip.into(),
            registers: [0; 16],
            segments,
            task: segment(0x8b),
            descriptors: Table {
                base: 0,
                limit: 0xffff,
            },
            cr0: 0x10,
            cr3: 0,
            cr4: 0,
            efer: 0,
        }
    }

    /// Protected mode with flat 32-bit segments, no paging.
    #[must_use]
    pub fn protected(eip: u64, descriptors: u64) -> Self {
        Start {
            cr0: 0x11,
            ..flat(eip, descriptors, 0xc09b)
        }
    }

    /// Long mode with these page tables.
    #[must_use]
    pub fn long(rip: u64, descriptors: u64, page_tables: u64) -> Self {
        Start {
            cr0: 0x8000_0011,
            cr3: page_tables,
            cr4: 0x20,
            efer: 0x500,
            ..flat(rip, descriptors, 0xa09b)
        }
    }

    /// Puts the software processor into this state.
    pub(crate) fn enter(&self, processor: &mut Processor) {
        let cpu = &mut processor.cpu;
        cpu.seg = self.segments;
        cpu.tr = self.task;
        cpu.gdtr = self.descriptors;
        cpu.idtr = Table {
            base: 0,
            limit: if self.cr0 & 1 == 0 { 0x3ff } else { 0 },
        };
        (cpu.cr0, cpu.cr3, cpu.cr4) = (self.cr0, self.cr3, self.cr4);
        cpu.efer = self.efer;
        cpu.ctx.regs[..16].copy_from_slice(&self.registers);
        cpu.ctx.regs[RIP] = self.rip;
        cpu.set_rflags(2);
        processor.refresh();
    }
}

fn flat(rip: u64, descriptors: u64, code: u16) -> Start {
    let segment = |selector, attributes| Segment {
        selector,
        base: 0,
        limit: u32::MAX,
        attributes,
    };
    let mut segments = [segment(DATA, 0xc093); 6];
    segments[CS] = segment(CODE, code);
    Start {
        rip,
        registers: [0; 16],
        segments,
        task: Segment {
            limit: 0x67,
            attributes: 0x8b,
            ..Segment::default()
        },
        descriptors: Table {
            base: descriptors,
            limit: 31,
        },
        cr0: 0,
        cr3: 0,
        cr4: 0,
        efer: 0,
    }
}
