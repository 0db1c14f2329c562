//! What an instruction does to bits of a register or of memory: which it reads, which it overwrites for certain, and of which that can't be told.
//!
//! The one account of it: activation (`track`) and what a campaign knows without running (`campaign::prune`) both ask here. What is
//! called *overwritten* has a value afterwards that does not depend on the old one; what is neither read nor overwritten nor in doubt is
//! untouched: a bit there that is wrong before the instruction is wrong after it, and nothing else is.

use fits_stats::facts::reads;
use fits_tracer::step::Decoded;
use iced_x86::{
    FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register,
    RflagsBits,
};

use super::accesses::{Accessed, accesses};
use super::calls;
use super::state::{State, part_of};
use crate::bits::Bits;
use crate::fault::Cell;

/// Where bits are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Place {
    /// x87 registers by their physical number.
    Cell(Cell),
    /// First address; 64 bytes from there.
    Memory(u64),
}

/// What an instruction does to the bits of one place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Touched {
    /// Read.
    pub(crate) read: Bits,
    /// Overwritten for certain, whatever they held.
    pub(crate) written: Bits,
    /// Perhaps read: what the kernel looks at in a system call, what `xsave` saves.
    pub(crate) perhaps_read: Bits,
    /// Perhaps overwritten: under a condition or a mask, or with something that no manual defines.
    pub(crate) perhaps_written: Bits,
}

impl Touched {
    fn both(bits: Bits) -> Self {
        Self {
            read: bits,
            written: bits,
            ..Self::default()
        }
    }

    /// Everything may happen to everything.
    fn anything() -> Self {
        Self {
            perhaps_read: Bits::ones(Bits::WIDTH),
            perhaps_written: Bits::ones(Bits::WIDTH),
            ..Self::default()
        }
    }

    /// What is touched in any other way than by being overwritten unread.
    pub(crate) fn used(&self) -> Bits {
        self.read | self.perhaps_read | self.perhaps_written
    }
}

/// What `decoded`, about to execute in `state`, does to a place. For x87 registers `state` must hold the x87 state.
pub(crate) fn touched_place(
    decoded: &Decoded,
    place: Place,
    state: &State,
    factory: &mut InstructionInfoFactory,
) -> Touched {
    match place {
        Place::Cell(cell) => {
            let top = match cell {
                Cell::X87(_) => state.x87_top(),
                _ => 0,
            };
            touched(decoded, relative(cell, top), state, factory)
        }
        Place::Memory(address) => memory(decoded, address, state),
    }
}

/// What `decoded`, about to execute in `state`, does to `cell`; x87 registers are relative to the top of the stack.
pub(crate) fn touched(
    decoded: &Decoded,
    cell: Cell,
    state: &State,
    factory: &mut InstructionInfoFactory,
) -> Touched {
    let instruction = &decoded.instruction;
    let takes_all = is_call(decoded) && calls::takes_registers(state.registers.rax);
    if leaves_program(instruction) || takes_all {
        let mut touched = Touched::anything();
        touched.read = match cell {
            Cell::Rip | Cell::Flags | Cell::General(0) => Bits::ones(64),
            _ => Bits::ZERO,
        };
        return touched;
    }
    match cell {
        Cell::Rip => Touched::both(Bits::ones(64)),
        Cell::Flags => flags(decoded),
        Cell::FsBase | Cell::GsBase => segment_base(decoded, cell, factory),
        Cell::Mxcsr => mxcsr(decoded, factory),
        _ => registers(decoded, cell, state, factory),
    }
}

fn is_call(decoded: &Decoded) -> bool {
    decoded.instruction.mnemonic() == Mnemonic::Syscall
}

/// Whether it goes to the kernel or elsewhere by another way than `syscall`, where nothing is known.
fn leaves_program(instruction: &Instruction) -> bool {
    use Mnemonic::{Iret, Iretd, Iretq, Retf, Sysenter, Sysexit, Sysret};
    let flow = matches!(
        instruction.flow_control(),
        FlowControl::Interrupt | FlowControl::Exception | FlowControl::XbeginXabortXend
    );
    flow || matches!(
        instruction.mnemonic(),
        Iret | Iretd | Iretq | Retf | Sysenter | Sysexit | Sysret
    ) || instruction.is_call_far()
        || instruction.is_call_far_indirect()
        || instruction.is_jmp_far()
        || instruction.is_jmp_far_indirect()
        || instruction.is_privileged()
}

fn registers(
    decoded: &Decoded,
    cell: Cell,
    state: &State,
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
    let top = match cell {
        Cell::X87(_) => state.x87_top(),
        _ => 0,
    };
    let sure = !instruction.is_vsib() && !loads_state(instruction.mnemonic());
    // What is pushed goes to the register below the top.
    let pushes = instruction.fpu_stack_increment_info().increment() < 0;
    let mut uses_x87 = false;
    for used in factory.info(instruction).used_registers() {
        let access = used.access();
        let register = used.register();
        uses_x87 |= register.is_st() || register.is_mm();
        let Some((owner, offset, width)) = part_of(register, top) else {
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
        if target != cell {
            continue;
        }
        match access {
            OpAccess::Write | OpAccess::ReadWrite if sure => {
                touched.written = touched.written | whole_write(cell, bits, width);
            }
            OpAccess::Write
            | OpAccess::ReadWrite
            | OpAccess::CondWrite
            | OpAccess::ReadCondWrite => {
                touched.perhaps_written = touched.perhaps_written | whole_write(cell, bits, width);
            }
            _ => {}
        }
    }
    if matches!(cell, Cell::X87(_)) && (uses_x87 || is_x87(instruction.mnemonic())) {
        // Tags, the top and the other ten bits of an mm register change beside what tables name.
        touched.perhaps_written = touched.perhaps_written | Bits::ones(80) & !touched.written;
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
        // rdi, rsi, rdx, r10, r8, r9, as many as the call has arguments; the stack pointer for an alternate stack.
        (Mnemonic::Syscall, Cell::General(2 | 4 | 6..=10)) => {
            touched.perhaps_read = Bits::ones(64);
        }
        (Mnemonic::Vzeroupper, Cell::Vector(0..=15)) => {
            touched.written = Bits::range(128..=511);
        }
        (Mnemonic::Vzeroall, Cell::Vector(0..=15)) => touched.written = Bits::ones(512),
        (mnemonic, Cell::Vector(_) | Cell::Mask(_) | Cell::X87(_)) if saves_state(mnemonic) => {
            touched.perhaps_read = Bits::ones(512);
        }
        (mnemonic, Cell::Vector(_) | Cell::Mask(_) | Cell::X87(_)) if loads_state(mnemonic) => {
            touched.perhaps_written = Bits::ones(512);
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

fn loads_state(mnemonic: Mnemonic) -> bool {
    use Mnemonic::{Frstor, Fxrstor, Fxrstor64, Xrstor, Xrstor64};
    matches!(mnemonic, Frstor | Fxrstor | Fxrstor64 | Xrstor | Xrstor64)
}

fn is_x87(mnemonic: Mnemonic) -> bool {
    let name = format!("{mnemonic:?}");
    name.starts_with('F') || matches!(mnemonic, Mnemonic::Emms | Mnemonic::Wait)
}

/// Bits of `rflags` for a set of iced-x86's flags.
fn flag_bits(set: u32) -> Bits {
    const PLACES: [(u32, u32); 8] = [
        (RflagsBits::CF, 0),
        (RflagsBits::PF, 2),
        (RflagsBits::AF, 4),
        (RflagsBits::ZF, 6),
        (RflagsBits::SF, 7),
        (RflagsBits::DF, 10),
        (RflagsBits::OF, 11),
        (RflagsBits::AC, 18),
    ];
    let mut bits = Bits::ZERO;
    let there = PLACES.iter().filter(|(flag, _)| set & flag != 0);
    there.for_each(|&(_, place)| bits.set(place));
    bits
}

/// The flag that makes misaligned accesses fault.
const ALIGNMENT: u32 = 18;

fn flags(decoded: &Decoded) -> Touched {
    let instruction = &decoded.instruction;
    let mnemonic = instruction.mnemonic();
    let all = matches!(
        mnemonic,
        Mnemonic::Pushf | Mnemonic::Pushfd | Mnemonic::Pushfq | Mnemonic::Syscall
    );
    let modified = flag_bits(instruction.rflags_modified());
    // What the manual leaves open may be what it was.
    let open = flag_bits(instruction.rflags_undefined());
    let written = if fits_stats::facts::may_leave_flags(instruction) {
        Bits::ZERO
    } else {
        modified & !open
    };
    let accesses = !decoded.facts.memory.is_empty() || instruction.is_vsib();
    Touched {
        read: if all {
            Bits::ones(64)
        } else {
            flag_bits(instruction.rflags_read())
        },
        written,
        perhaps_read: if accesses {
            Bits::range(ALIGNMENT..=ALIGNMENT)
        } else {
            Bits::ZERO
        },
        perhaps_written: modified & !written,
    }
}

fn segment_base(decoded: &Decoded, cell: Cell, factory: &mut InstructionInfoFactory) -> Touched {
    let instruction = &decoded.instruction;
    let (segment, read, write) = match cell {
        Cell::FsBase => (Register::FS, Mnemonic::Rdfsbase, Mnemonic::Wrfsbase),
        _ => (Register::GS, Mnemonic::Rdgsbase, Mnemonic::Wrgsbase),
    };
    let mut touched = Touched::default();
    let info = factory.info(instruction);
    let mut memory = info.used_memory().iter();
    let addressed = memory.any(|used| used.segment() == segment);
    if addressed || instruction.mnemonic() == read {
        touched.read = Bits::ones(64);
    }
    if instruction.mnemonic() == write {
        touched.written = Bits::ones(64);
    }
    let mut used = info.used_registers().iter();
    if used.any(|used| used.register() == segment && used.access() != OpAccess::Read) {
        // A new selector brings a base with it.
        touched.perhaps_written = Bits::ones(64);
    }
    if is_call(decoded) {
        touched.perhaps_read = Bits::ones(64);
    }
    touched
}

/// Bits 0 to 5 of `mxcsr` say what happened: only an instruction that stores `mxcsr` reads them.
const STICKY: u64 = 0x3f;

fn mxcsr(decoded: &Decoded, factory: &mut InstructionInfoFactory) -> Touched {
    let mut touched = Touched::default();
    let instruction = &decoded.instruction;
    match instruction.mnemonic() {
        Mnemonic::Stmxcsr | Mnemonic::Vstmxcsr => touched.read = Bits::ones(32),
        Mnemonic::Ldmxcsr | Mnemonic::Vldmxcsr => touched.written = Bits::ones(32),
        mnemonic if saves_state(mnemonic) => touched.perhaps_read = Bits::ones(32),
        mnemonic if loads_state(mnemonic) => touched.perhaps_written = Bits::ones(32),
        mnemonic => {
            let mut used = factory.info(instruction).used_registers().iter();
            if used.any(|used| used.register().is_vector_register()) {
                // No table says which of them look at it, or set bits in it.
                touched.perhaps_written = Bits::ones(32);
            }
            if computes(mnemonic) {
                touched.read = Bits::from_u64(0xffff & !STICKY);
                touched.perhaps_written = Bits::ones(32);
            }
        }
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

/// What `decoded`, about to execute in `state`, does to the 64 bytes at `address`.
pub(crate) fn memory(decoded: &Decoded, address: u64, state: &State) -> Touched {
    let mut touched = if unknown_memory(decoded) {
        Touched::anything()
    } else {
        Touched::default()
    };
    if is_call(decoded)
        && let Some((start, length)) = calls::reads_memory(&state.registers)
    {
        touched.read = touched.read | overlap(address, start, length);
    }
    // The instruction itself is fetched.
    touched.read = touched.read | overlap(address, decoded.pc, decoded.bytes.len() as u64);
    for access in accesses(decoded, state) {
        let (start, length) = access.range(state);
        let bits = overlap(address, start, length);
        if access.reads {
            touched.read = touched.read | bits;
        }
        if access.writes && surely_writes(decoded, &access) {
            touched.written = touched.written | bits;
        } else if access.writes {
            touched.perhaps_written = touched.perhaps_written | bits;
        }
    }
    touched
}

/// Whether an instruction may touch memory beside what [`accesses`] gives.
pub(crate) fn unknown_memory(decoded: &Decoded) -> bool {
    use Mnemonic::{Bt, Btc, Btr, Bts, Enqcmd, Enqcmds, Enter, Movdir64b};
    let instruction = &decoded.instruction;
    let mnemonic = instruction.mnemonic();
    let register = instruction.op1_kind() == OpKind::Register;
    let bit_string = matches!(mnemonic, Bt | Btc | Btr | Bts) && register;
    let unsized_access = |used: &iced_x86::UsedMemory| {
        let size = fits_stats::facts::access_bytes(instruction, used);
        size == 0 && (reads(used.access()) || fits_stats::facts::writes(used.access()))
    };
    is_call(decoded)
        || leaves_program(instruction)
        || instruction.is_vsib()
        || bit_string && !decoded.facts.memory.is_empty()
        || saves_state(mnemonic)
        || loads_state(mnemonic)
        || matches!(mnemonic, Enter | Enqcmd | Enqcmds | Movdir64b)
        || decoded.facts.memory.iter().any(unsized_access)
        || decoded.facts.rep && narrow(instruction)
}

/// A string instruction that counts with `ecx`.
fn narrow(instruction: &Instruction) -> bool {
    use OpKind::{MemoryESEDI, MemorySegEDI, MemorySegESI};
    let narrow = |kind| matches!(kind, MemoryESEDI | MemorySegEDI | MemorySegESI);
    (0..instruction.op_count()).any(|operand| narrow(instruction.op_kind(operand)))
}

fn surely_writes(decoded: &Decoded, access: &Accessed) -> bool {
    use Mnemonic::{Movsb, Movsd, Movsq, Movsw, Stosb, Stosd, Stosq, Stosw};
    let instruction = &decoded.instruction;
    if decoded.facts.rep {
        return matches!(
            instruction.mnemonic(),
            Movsb | Movsw | Movsd | Movsq | Stosb | Stosw | Stosd | Stosq
        );
    }
    let unconditional = matches!(access.used.access(), OpAccess::Write | OpAccess::ReadWrite);
    unconditional && !instruction.has_op_mask()
}

/// Which bits of the 64 bytes at `address` lie in a range.
pub(crate) fn overlap(address: u64, start: u64, length: u64) -> Bits {
    // How far the range begins after the first byte, or ends.
    let (begin, end) = match start.wrapping_sub(address) {
        after if after < 64 => (after, after.saturating_add(length).min(64)),
        _ => {
            let into = address.wrapping_sub(start);
            (0, length.saturating_sub(into).min(64))
        }
    };
    if begin >= end {
        return Bits::ZERO;
    }
    Bits::range(8 * begin as u32..=8 * end as u32 - 1)
}

/// An x87 register by its physical number.
pub(crate) fn physical(cell: Cell, top: u8) -> Cell {
    match cell {
        Cell::X87(index) => Cell::X87((index + top) % 8),
        other => other,
    }
}

/// A physical x87 register relative to the top of the stack.
pub(crate) fn relative(cell: Cell, top: u8) -> Cell {
    match cell {
        Cell::X87(number) => Cell::X87((number + 8 - top) % 8),
        other => other,
    }
}
