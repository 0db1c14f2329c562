//! The registers of the processor.

use serde::{Deserialize, Serialize};

use crate::bus::Bus;
use crate::cpu::breakpoint::Breakpoints;
use crate::cpu::broken::BrokenRegisters;
use crate::cpu::codemap::CodeMap;
use crate::cpu::flags::STATUS_RESET;
use crate::cpu::mca::BANKS;
use crate::cpu::tlb::Tlb;
use crate::cpu::translate::{Exchange, Jumps};
use crate::cpu::watch::Watches;
use crate::memory::Ram;

/// Index of the stack pointer in [`Context::regs`].
pub const RSP: usize = 4;
/// Index of a register that always reads 0: an absent base or index.
pub(crate) const ZERO: u8 = 16;
/// Index of the instruction pointer; while an instruction executes it points behind it.
pub const RIP: usize = 17;
/// Register numbers from here on are `ah`, `ch`, `dh`, `bh`.
pub(crate) const HIGH: u8 = 20;

/// What host stubs work on; the offsets are part of their code.
#[repr(C, align(64))]
#[derive(Clone, Debug)]
pub struct Context {
    /// General registers in encoding order, one that is always 0, [`RIP`].
    pub regs: [u64; 32],
    /// Status flags as `lahf; seto al` gives them: see [`crate::cpu::flags`].
    pub status: u16,
    /// The control word that SIMD stubs run with: all exceptions masked.
    pub(crate) run_mxcsr: u32,
    /// The control word of our own code.
    pub(crate) host_mxcsr: u32,
    /// The guest's MXCSR.
    pub mxcsr: u32,
    /// x87 and MMX, in the format of FXSAVE; its vector part is not used.
    pub fx: Fx,
    /// Vector registers.
    pub ymm: [[u8; 32]; 16],
    /// Where a memory operand lies while a stub runs.
    pub(crate) buffer: Buffer,
}

/// An FXSAVE area.
#[repr(C, align(64))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fx(pub [u8; 512]);

/// A memory operand.
#[repr(C, align(64))]
#[derive(Clone, Debug)]
pub(crate) struct Buffer(pub(crate) [u8; 128]);

/// MXCSR with everything masked.
pub(crate) const MXCSR_RESET: u32 = 0x1f80;

impl Context {
    fn new() -> Self {
        let mut context = Context {
            regs: [0; 32],
            status: STATUS_RESET,
            run_mxcsr: MXCSR_RESET,
            host_mxcsr: MXCSR_RESET,
            mxcsr: MXCSR_RESET,
            fx: Fx([0; 512]),
            ymm: [[0; 32]; 16],
            buffer: Buffer([0; 128]),
        };
        context.init_x87();
        context
    }

    /// The number of the register that is the top of the x87 stack.
    pub(crate) fn x87_top(&self) -> usize {
        usize::from(self.fx.0[3] >> 3 & 7)
    }

    /// What every MMX instruction does to the x87 state: top of stack 0, all registers valid.
    pub(crate) fn enter_mmx(&mut self) {
        // The image is in the order of the stack: with the top at 0 that is the order of the registers.
        let top = self.x87_top();
        self.fx.0[32..160].rotate_right(16 * top);
        self.fx.0[3] &= !0x38;
        self.fx.0[4] = 0xff;
    }

    /// What FNINIT leaves, with empty registers.
    pub(crate) fn init_x87(&mut self) {
        self.fx.0.fill(0);
        self.fx.0[0..2].copy_from_slice(&0x37f_u16.to_le_bytes());
        self.fx.0[24..28].copy_from_slice(&MXCSR_RESET.to_le_bytes());
    }
}

/// A segment register with its hidden part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// What programs see.
    pub selector: u16,
    /// Where it begins.
    pub base: u64,
    /// Its last byte, scaled by the granularity.
    pub limit: u32,
    /// Bits 40 to 55 of the descriptor: type, S, DPL, P, (limit), AVL, L, D, G.
    pub attributes: u16,
}

impl Segment {
    pub(crate) fn kind(self) -> u16 {
        self.attributes & 0x1f
    }
    pub(crate) fn dpl(self) -> u8 {
        (self.attributes >> 5 & 3) as u8
    }
    pub(crate) fn present(self) -> bool {
        self.attributes & 0x80 != 0
    }
    pub(crate) fn long(self) -> bool {
        self.attributes & 0x2000 != 0
    }
    pub(crate) fn big(self) -> bool {
        self.attributes & 0x4000 != 0
    }
    pub(crate) fn is_code(self) -> bool {
        self.attributes & 0x18 == 0x18
    }
    pub(crate) fn conforming(self) -> bool {
        self.attributes & 0x1c == 0x1c
    }
    /// Readable or writable, by kind.
    pub(crate) fn second(self) -> bool {
        self.attributes & 2 != 0
    }
}

/// Numbers of segment registers.
pub const ES: usize = 0;
/// Code segment.
pub const CS: usize = 1;
/// Stack segment.
pub const SS: usize = 2;
/// Data segment.
pub const DS: usize = 3;
/// Extra data segment.
pub const FS: usize = 4;
/// Extra data segment.
pub const GS: usize = 5;

/// How instructions are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum CodeSize {
    /// Real mode, and 16-bit protected mode.
    #[default]
    Bits16,
    /// 32-bit protected or compatibility mode.
    Bits32,
    /// 64-bit mode.
    Bits64,
}

/// A descriptor table register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Where it begins.
    pub base: u64,
    /// Its last byte.
    pub limit: u16,
}

/// Why a machine stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A fault while delivering a double fault: the processor shuts down.
    TripleFault {
        /// The instruction that began it.
        rip: u64,
    },
    /// An instruction that this processor does not implement.
    Unimplemented {
        /// Its address.
        rip: u64,
        /// Its bytes.
        bytes: Vec<u8>,
        /// What it is.
        what: String,
    },
    /// The guest switched itself off.
    PowerOff,
    /// The guest asked for a reset.
    Reset,
    /// Halted with interrupts off: nothing can wake it.
    Halted,
    /// The guest wrote to the debug exit port.
    DebugExit(u32),
    /// The power went.
    PowerCut,
    /// As many instructions as asked for have retired.
    Limit,
    /// Somebody outside asked to stop.
    Asked,
    /// The virtual time of [`crate::cpu::Processor::set_alarm`] has come.
    Alarm,
    /// An instruction is about to access memory that is watched: see [`Cpu::watch_memory`].
    Watched {
        /// Of the watch.
        number: u32,
        /// What it accesses.
        physical: u64,
        /// How many bytes.
        length: u64,
        /// Whether it writes.
        write: bool,
    },
    /// The next instruction is at an address of [`crate::cpu::Processor::set_breakpoints`].
    Breakpoint {
        /// Linear.
        address: u64,
    },
    /// A system call has entered the kernel, of which nothing has executed yet.
    SystemCall,
    /// CR3 was loaded.
    AddressSpace,
    /// As many exceptions and interrupts as [`crate::cpu::Processor::limit_deliveries`] allows have been delivered.
    Deliveries,
}

/// Model-specific registers that have a place of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Msrs {
    /// SYSCALL selectors.
    pub star: u64,
    /// SYSCALL entry of 64-bit code.
    pub lstar: u64,
    /// SYSCALL entry of compatibility code (kept, not used: as on Intel processors).
    pub cstar: u64,
    /// SYSCALL flag mask.
    pub fmask: u64,
    /// What SWAPGS exchanges with.
    pub kernel_gs_base: u64,
    /// What RDTSCP shows.
    pub tsc_aux: u64,
    /// SYSENTER code segment, stack, entry.
    pub sysenter: [u64; 3],
    /// Page attribute table.
    pub pat: u64,
    /// Added to the count of ticks to make the time-stamp counter.
    pub tsc_offset: u64,
    /// Memory type range registers: default type, fixed, variable.
    pub mtrr_default: u64,
    /// Fixed ranges.
    pub mtrr_fixed: [u64; 11],
    /// Variable ranges.
    pub mtrr_variable: [u64; 16],
    /// Machine-check status and control.
    pub mcg: [u64; 2],
    /// Machine-check banks: control, status, address, misc.
    pub mc_banks: [[u64; 4]; BANKS],
    /// IA32_MISC_ENABLE.
    pub misc_enable: u64,
    /// Microcode revision as last asked for.
    pub ucode: u64,
}

/// The processor with its memory and bus.
pub struct Cpu {
    /// Registers that host stubs know.
    pub ctx: Context,
    /// RFLAGS without the status flags.
    pub rflags: u64,
    /// ES, CS, SS, DS, FS, GS.
    pub seg: [Segment; 6],
    /// Linear base by segment register, as the current mode uses it.
    pub(crate) lin: [u64; 6],
    /// Local descriptor table.
    pub ldtr: Segment,
    /// Task register.
    pub tr: Segment,
    /// Global descriptor table.
    pub gdtr: Table,
    /// Interrupt descriptor table.
    pub idtr: Table,
    /// Current privilege level.
    pub cpl: u8,
    /// How code is decoded.
    pub code_size: CodeSize,
    /// Segments are checked (not in 64-bit mode).
    pub(crate) segmented: bool,
    /// Which half of the TLB data accesses use: see [`crate::cpu::tlb`].
    pub(crate) class: usize,
    /// Control registers.
    pub cr0: u64,
    /// Page-fault address.
    pub cr2: u64,
    /// Page-table root.
    pub cr3: u64,
    /// Features.
    pub cr4: u64,
    /// Long mode, NX, SYSCALL.
    pub efer: u64,
    /// Extended state enabled.
    pub xcr0: u64,
    /// Debug registers.
    pub dr: [u64; 8],
    /// Model-specific registers.
    pub msr: Msrs,
    /// Retired instructions.
    pub retired: u64,
    /// Ticks that passed while halted.
    pub idle: u64,
    /// Interrupts are not taken before the next instruction (STI, MOV SS, POP SS).
    pub(crate) shadow: bool,
    /// Waiting for an interrupt.
    pub halted: bool,
    /// How many instructions of the current block may still execute; 0 ends it after this one.
    pub(crate) block_limit: usize,
    /// What [`Bus::interrupt_pending`] said last.
    pub(crate) pending: bool,
    /// Debug conditions found by the current instruction, to be raised after it.
    pub(crate) pending_debug: u64,
    /// A machine check waits to be delivered.
    pub(crate) machine_check: bool,
    /// A non-maskable interrupt waits to be delivered.
    pub(crate) nmi: bool,
    /// The handler of one is running: the next one waits for its IRET.
    pub(crate) nmi_blocked: bool,
    /// An interrupt or exception is being delivered.
    pub(crate) delivering: bool,
    /// How many events may still be delivered before the machine stops.
    pub(crate) deliveries: u64,
    /// Memory that somebody outside looks at.
    pub(crate) watches: Watches,
    /// Code that somebody outside looks at.
    pub(crate) breakpoints: Breakpoints,
    /// Devices' registers that are broken.
    pub(crate) broken: Vec<BrokenRegisters>,
    /// Why the machine stops.
    pub(crate) stop: Option<Stop>,
    pub(crate) tlb: Tlb,
    /// Targets of indirect jumps, and what translated code and the loop tell each other.
    pub(crate) jumps: Jumps,
    pub(crate) exchange: Exchange,
    /// Physical memory.
    pub ram: Ram,
    /// Which memory holds code that was decoded.
    pub(crate) code: CodeMap,
    /// Everything that is no memory.
    pub bus: Box<dyn Bus>,
}

impl std::fmt::Debug for Cpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cpu")
            .field("regs", &&self.ctx.regs[..18])
            .field("rflags", &self.rflags())
            .field("cpl", &self.cpl)
            .field("retired", &self.retired)
            .finish_non_exhaustive()
    }
}

impl Cpu {
    /// A processor after reset: real mode, at the reset vector.
    #[must_use]
    pub fn new(ram: Ram, bus: Box<dyn Bus>) -> Box<Self> {
        let data = Segment {
            limit: 0xffff,
            attributes: 0x93,
            ..Segment::default()
        };
        let mut cpu = Box::new(Cpu {
            ctx: Context::new(),
            rflags: 2,
            seg: [data; 6],
            lin: [0; 6],
            ldtr: Segment {
                limit: 0xffff,
                attributes: 0x82,
                ..Segment::default()
            },
            tr: Segment {
                limit: 0xffff,
                attributes: 0x8b,
                ..Segment::default()
            },
            gdtr: Table {
                base: 0,
                limit: 0xffff,
            },
            idtr: Table {
                base: 0,
                limit: 0xffff,
            },
            cpl: 0,
            code_size: CodeSize::Bits16,
            segmented: true,
            class: 0,
            cr0: 0x6000_0010,
            cr2: 0,
            cr3: 0,
            cr4: 0,
            efer: 0,
            xcr0: 1,
            dr: [0, 0, 0, 0, 0, 0, 0xffff_0ff0, 0x400],
            msr: Msrs {
                pat: 0x0007_0406_0007_0406,
                misc_enable: 1,
                ucode: 1 << 32,
                ..Msrs::default()
            },
            retired: 0,
            idle: 0,
            shadow: false,
            halted: false,
            block_limit: 0,
            pending: false,
            pending_debug: 0,
            machine_check: false,
            nmi: false,
            nmi_blocked: false,
            delivering: false,
            deliveries: u64::MAX,
            watches: Watches::default(),
            breakpoints: Breakpoints::default(),
            broken: Vec::new(),
            stop: None,
            tlb: Tlb::new(ram.host_start()),
            jumps: Jumps::new(),
            exchange: Exchange::default(),
            code: CodeMap::new(ram.bytes()),
            ram,
            bus,
        });
        cpu.seg[CS] = Segment {
            selector: 0xf000,
            base: 0xffff_0000,
            limit: 0xffff,
            attributes: 0x9b,
        };
        cpu.ctx.regs[RIP] = 0xfff0;
        cpu.ctx.regs[2] = 0x0006_0fb1;
        cpu.update_mode();
        cpu
    }

    /// Virtual time in nanoseconds: one a retired instruction, and those that were spent halted.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.retired.wrapping_add(self.idle)
    }

    /// Stops the machine after the current instruction.
    pub(crate) fn stop_with(&mut self, stop: Stop) -> crate::cpu::trap::Trap {
        self.stop.get_or_insert(stop);
        self.block_limit = 0;
        crate::cpu::trap::Trap::stop()
    }

    /// In protected mode.
    #[must_use]
    pub fn protected(&self) -> bool {
        self.cr0 & 1 != 0
    }

    /// In long mode, 64-bit or compatibility.
    #[must_use]
    pub fn long_mode(&self) -> bool {
        self.efer & 0x400 != 0
    }

    /// Recomputes what depends on mode, privilege and segments.
    pub(crate) fn update_mode(&mut self) {
        let cs = self.seg[CS];
        self.code_size = if self.long_mode() && cs.long() {
            CodeSize::Bits64
        } else if self.protected() && cs.big() {
            CodeSize::Bits32
        } else {
            CodeSize::Bits16
        };
        let flat = self.code_size == CodeSize::Bits64;
        self.segmented = !flat;
        for (index, (lin, segment)) in self.lin.iter_mut().zip(&self.seg).enumerate() {
            *lin = if flat && index < FS { 0 } else { segment.base };
        }
        self.update_class();
        self.block_limit = 0;
    }

    /// Recomputes which part of the TLB data accesses use.
    pub(crate) fn update_class(&mut self) {
        use crate::cpu::flags::AC;
        use crate::cpu::tlb::{SLOW, SUPERVISOR, SUPERVISOR_AC, USER};
        let ac = self.rflags & AC != 0;
        self.class = if self.dr[7] & 0xff != 0 || (self.cpl == 3 && ac && self.cr0 & 1 << 18 != 0) {
            SLOW
        } else if self.cpl == 3 {
            USER
        } else if ac {
            SUPERVISOR_AC
        } else {
            SUPERVISOR
        };
    }
}
