//! Which bits of a register an instruction reads and overwrites, to the bit for general registers.

use fits_stats::facts::reads;
use fits_tracer::step::Decoded;
use iced_x86::{InstructionInfoFactory, Mnemonic, OpAccess, Register};

use super::state::part_of;
use crate::bits::Bits;
use crate::fault::Cell;

/// What an instruction does to the bits of one cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Touched {
    /// Read.
    pub(super) read: Bits,
    /// Overwritten for sure.
    pub(super) written: Bits,
    /// Perhaps read: what the kernel looks at in a system call, what `xsave` saves.
    pub(super) perhaps_read: bool,
}

impl Touched {
    fn both(bits: Bits) -> Self {
        Self {
            read: bits,
            written: bits,
            perhaps_read: false,
        }
    }
}

/// What `decoded` does to `cell`, in a thread whose x87 stack has its top at `top`.
pub(super) fn touched(
    decoded: &Decoded,
    cell: Cell,
    top: u8,
    factory: &mut InstructionInfoFactory,
) -> Touched {
    match cell {
        Cell::Rip => Touched::both(Bits::ones(64)),
        Cell::Flags => flags(decoded),
        Cell::FsBase | Cell::GsBase => segment_base(decoded, cell, factory),
        Cell::Mxcsr => mxcsr(decoded),
        _ => registers(decoded, cell, top, factory),
    }
}

fn registers(
    decoded: &Decoded,
    cell: Cell,
    top: u8,
    factory: &mut InstructionInfoFactory,
) -> Touched {
    let instruction = &decoded.instruction;
    let mut touched = special(decoded, cell);
    if matches!(
        instruction.mnemonic(),
        Mnemonic::Vzeroupper | Mnemonic::Vzeroall
    ) {
        return touched;
    }
    // What is pushed goes to the register below the top.
    let pushes = instruction.fpu_stack_increment_info().increment() < 0;
    for used in factory.info(instruction).used_registers() {
        let access = used.access();
        let Some((owner, offset, width)) = part_of(used.register(), top) else {
            continue;
        };
        let bits = Bits::ones(width).up(offset);
        if owner == cell && reads(access) {
            touched.read = touched.read | bits;
        }
        let target = match owner {
            Cell::X87(index) if pushes => Cell::X87((index + 7) % 8),
            other => other,
        };
        if target == cell && matches!(access, OpAccess::Write | OpAccess::ReadWrite) {
            touched.written = touched.written | whole_write(cell, bits, width);
        }
    }
    touched
}

/// A write of 32 bits of a general register, or of any of a mask register, clears the rest.
fn whole_write(cell: Cell, bits: Bits, width: u32) -> Bits {
    match cell {
        Cell::General(_) if width >= 32 => Bits::ones(64),
        Cell::Mask(_) => Bits::ones(64),
        _ => bits,
    }
}

/// What iced-x86 does not say.
fn special(decoded: &Decoded, cell: Cell) -> Touched {
    let mut touched = Touched::default();
    match (decoded.instruction.mnemonic(), cell) {
        (Mnemonic::Syscall, Cell::General(0)) => touched.read = Bits::ones(64),
        // rdi, rsi, rdx, r10, r8, r9: as many as the call has arguments.
        (Mnemonic::Syscall, Cell::General(2 | 6..=10)) => touched.perhaps_read = true,
        (Mnemonic::Vzeroupper, Cell::Vector(0..=15)) => {
            touched.written = Bits::range(128..=511);
        }
        (Mnemonic::Vzeroall, Cell::Vector(0..=15)) => touched.written = Bits::ones(512),
        (mnemonic, Cell::Vector(_) | Cell::Mask(_) | Cell::X87(_)) if saves_state(mnemonic) => {
            touched.perhaps_read = true;
        }
        _ => {}
    }
    touched
}

fn saves_state(mnemonic: Mnemonic) -> bool {
    use Mnemonic::{
        Fnsave, Fsave, Fxsave, Fxsave64, Xsave, Xsave64, Xsavec, Xsavec64, Xsaveopt, Xsaveopt64,
    };
    matches!(
        mnemonic,
        Fnsave
            | Fsave
            | Fxsave
            | Fxsave64
            | Xsave
            | Xsave64
            | Xsavec
            | Xsavec64
            | Xsaveopt
            | Xsaveopt64
    )
}

fn flags(decoded: &Decoded) -> Touched {
    let place = |name: &str| match name {
        "cf" => Some(0),
        "pf" => Some(2),
        "af" => Some(4),
        "zf" => Some(6),
        "sf" => Some(7),
        "df" => Some(10),
        "of" => Some(11),
        "ac" => Some(18),
        _ => None,
    };
    let bits = |set: &[fits_stats::register::Reg]| {
        let mut bits = Bits::ZERO;
        set.iter()
            .filter_map(|reg| place(reg.name()))
            .for_each(|bit| bits.set(bit));
        bits
    };
    let mnemonic = decoded.instruction.mnemonic();
    let all = matches!(
        mnemonic,
        Mnemonic::Pushf | Mnemonic::Pushfd | Mnemonic::Pushfq | Mnemonic::Syscall
    );
    Touched {
        read: if all {
            Bits::ones(64)
        } else {
            bits(&decoded.facts.reads)
        },
        written: bits(&decoded.facts.kills),
        perhaps_read: false,
    }
}

fn segment_base(decoded: &Decoded, cell: Cell, factory: &mut InstructionInfoFactory) -> Touched {
    let instruction = &decoded.instruction;
    let (segment, read, write) = match cell {
        Cell::FsBase => (Register::FS, Mnemonic::Rdfsbase, Mnemonic::Wrfsbase),
        _ => (Register::GS, Mnemonic::Rdgsbase, Mnemonic::Wrgsbase),
    };
    let mut touched = Touched::default();
    let addressed = factory
        .info(instruction)
        .used_memory()
        .iter()
        .any(|used| used.segment() == segment);
    if addressed || instruction.mnemonic() == read {
        touched.read = Bits::ones(64);
    }
    if instruction.mnemonic() == write {
        touched.written = Bits::ones(64);
    }
    touched.perhaps_read = instruction.mnemonic() == Mnemonic::Syscall;
    touched
}

/// Bits 0 to 5 of `mxcsr` say what happened: only an instruction that stores `mxcsr` reads them.
const STICKY: u64 = 0x3f;

fn mxcsr(decoded: &Decoded) -> Touched {
    let mut touched = Touched::default();
    match decoded.instruction.mnemonic() {
        Mnemonic::Stmxcsr | Mnemonic::Vstmxcsr => touched.read = Bits::ones(32),
        Mnemonic::Ldmxcsr | Mnemonic::Vldmxcsr => touched.written = Bits::ones(32),
        mnemonic if saves_state(mnemonic) => touched.perhaps_read = true,
        mnemonic if computes(mnemonic) => touched.read = Bits::from_u64(0xffff & !STICKY),
        _ => {}
    }
    touched
}

/// Whether it computes with SSE or AVX floating-point numbers: by its name, since no table says which instructions look at `mxcsr`.
fn computes(mnemonic: Mnemonic) -> bool {
    let name = format!("{mnemonic:?}").to_lowercase();
    let name = name.strip_prefix('v').unwrap_or(&name);
    let floats = ["ps", "pd", "ss", "sd", "ph", "sh"];
    let moves = [
        "mov",
        "and",
        "or",
        "xor",
        "shuf",
        "unpck",
        "blend",
        "broadcast",
        "perm",
        "extract",
        "insert",
        "mask",
        "gather",
        "scatter",
        "compress",
        "expand",
        "test",
        "align",
        "lods",
        "scas",
        "stos",
        "cmps",
    ];
    if name.starts_with("cvt") || name.starts_with("comis") || name.starts_with("ucomis") {
        return true;
    }
    let string = matches!(
        mnemonic,
        Mnemonic::Cmpsb | Mnemonic::Cmpsw | Mnemonic::Cmpsq
    );
    let compares = name.starts_with("cmpp") || name.starts_with("cmps") && !string;
    let ends = floats.iter().any(|end| name.ends_with(end)) && name.len() > 4;
    ends && (compares || !moves.iter().any(|start| name.starts_with(start)))
}
