//! An instruction executed against a wrong address, everything else as it would be.
//!
//! An explicit operand gets a free base register that holds the wrong address: the instruction is encoded anew, its bytes stand at its place for
//! this one step. An implicit one (the stack of `push`, the strings of `movs`) gets its address register moved for the step, and moved back by
//! as much afterwards.

use fits_tracer::step::Decoded;
use iced_x86::{
    Code, Encoder, Instruction, InstructionInfoFactory, MemorySize, Mnemonic, OpKind, Register,
};

use super::accesses::Accessed;
use super::machine::{LONGEST, Machine};
use super::state::{State, part_of};
use crate::bits::Bits;
use crate::fault::Cell;

/// What stands at the place of an instruction for one step.
#[derive(Debug)]
pub(super) struct Patch {
    pc: u64,
    next: u64,
    /// The original code, as long as the new one.
    original: Vec<u8>,
    /// Length of the new code, if there is some.
    length: u64,
    /// Registers that were given another content.
    moved: Vec<Moved>,
    calls: bool,
}

#[derive(Debug)]
struct Moved {
    cell: Cell,
    back: Back,
}

/// How a register gets the content that it would have.
#[derive(Clone, Copy, Debug)]
enum Back {
    /// The instruction does not touch it.
    To(Bits),
    /// The instruction moves it on.
    By(u64),
    /// The instruction loads it, but moves this one on.
    Other(Cell, u64),
    /// The instruction loads it.
    Loaded,
}

/// General registers in the order in which one is looked for; those that need no prefix first.
const SCRATCH: [Register; 15] = [
    Register::RBX,
    Register::RSI,
    Register::RDI,
    Register::RCX,
    Register::RDX,
    Register::RAX,
    Register::RBP,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];

/// Makes `decoded` access `wrong` in place of `access`.
pub(super) fn patch(
    machine: &mut Machine,
    decoded: &Decoded,
    access: &Accessed,
    all: &[Accessed],
    wrong: u64,
) -> Result<Patch, String> {
    let before = machine.state().map_err(|error| error.to_string())?;
    let mut after = before.clone();
    let mut patch = Patch {
        pc: decoded.pc,
        next: decoded.next(),
        original: Vec::new(),
        length: 0,
        moved: Vec::new(),
        calls: matches!(decoded.instruction.mnemonic(), Mnemonic::Call),
    };
    let explicit_memory = all
        .iter()
        .find(|other| other.operand.is_some() && is_plain_memory(decoded));
    let is_explicit = access.operand.is_some() && explicit_memory.is_some();
    let mut code = None;
    if is_explicit {
        code = Some(rebase(
            decoded,
            &mut machine.factory,
            &mut after,
            &mut patch,
            wrong,
        )?);
    } else {
        let delta = wrong.wrapping_sub(access.address);
        if let Some(explicit) = explicit_memory {
            // The other operand must not follow the register that is moved.
            let address = explicit.address;
            code = Some(rebase(
                decoded,
                &mut machine.factory,
                &mut after,
                &mut patch,
                address,
            )?);
        } else if pushes_stack_pointer(decoded) {
            code = Some(substitute(
                decoded,
                &mut machine.factory,
                &mut after,
                &mut patch,
            )?);
        }
        displace(decoded, access, delta, &mut after, &mut patch)?;
    }
    if let Some(code) = code {
        patch.length = code.len() as u64;
        patch.original = machine.read(decoded.pc, code.len())?;
        machine.write(decoded.pc, &code)?;
    }
    let changed = machine.change_state(&before, &after);
    if changed.is_err() {
        patch.undo_code(machine)?;
    }
    changed.map(|()| patch)
}

fn is_plain_memory(decoded: &Decoded) -> bool {
    let instruction = &decoded.instruction;
    (0..instruction.op_count()).any(|operand| instruction.op_kind(operand) == OpKind::Memory)
        && instruction.mnemonic() != Mnemonic::Xlatb
}

/// `push rsp`, `call rsp`.
fn pushes_stack_pointer(decoded: &Decoded) -> bool {
    let instruction = &decoded.instruction;
    matches!(instruction.mnemonic(), Mnemonic::Push | Mnemonic::Call)
        && instruction.op0_kind() == OpKind::Register
        && instruction.op0_register().full_register() == Register::RSP
}

/// The instruction with a free register as the base of its memory operand, which holds `address`.
fn rebase(
    decoded: &Decoded,
    factory: &mut InstructionInfoFactory,
    state: &mut State,
    patch: &mut Patch,
    address: u64,
) -> Result<Vec<u8>, String> {
    let mut instruction = decoded.instruction;
    instruction.set_code(with_modrm(instruction.code()));
    let by_stack = matches!(
        instruction.memory_base().full_register(),
        Register::RSP | Register::RBP
    );
    instruction.set_memory_index(Register::None);
    instruction.set_memory_index_scale(1);
    instruction.set_memory_displacement64(0);
    instruction.set_memory_displ_size(0);
    instruction.set_segment_prefix(Register::None);
    // A register that only formed the address is free.
    instruction.set_memory_base(Register::None);
    let mut free = free_registers(&instruction, factory);
    // A wrong address that is not canonical faults differently by a stack register.
    let wanted = if by_stack {
        free.find(|register| *register == Register::RBP)
    } else {
        free.next()
    };
    let scratch = wanted
        .or_else(|| free_registers(&instruction, factory).next())
        .ok_or("no register is free to hold the wrong address")?;
    instruction.set_memory_base(scratch);
    occupy(scratch, Bits::from_u64(address), state, patch);
    encode(&instruction, decoded)
}

/// The instruction with another register in place of the stack pointer that it pushes.
fn substitute(
    decoded: &Decoded,
    factory: &mut InstructionInfoFactory,
    state: &mut State,
    patch: &mut Patch,
) -> Result<Vec<u8>, String> {
    let mut instruction = decoded.instruction;
    let scratch = free_registers(&instruction, factory)
        .next()
        .ok_or("no register is free to hold the stack pointer")?;
    instruction.set_op0_register(scratch);
    let pushed = state.get(Cell::General(4));
    occupy(scratch, pushed, state, patch);
    encode(&instruction, decoded)
}

fn encode(instruction: &Instruction, decoded: &Decoded) -> Result<Vec<u8>, String> {
    let mut encoder = Encoder::new(64);
    let failed = |error| format!("the instruction cannot be given another address: {error}");
    encoder.encode(instruction, decoded.pc).map_err(failed)?;
    let code = encoder.take_buffer();
    if code.len() > LONGEST {
        return Err("the instruction has no room for another address".to_owned());
    }
    Ok(code)
}

/// Registers that the instruction does not touch.
fn free_registers(
    instruction: &Instruction,
    factory: &mut InstructionInfoFactory,
) -> std::vec::IntoIter<Register> {
    let used: Vec<Register> = factory
        .info(instruction)
        .used_registers()
        .iter()
        .map(|used| used.register().full_register())
        .collect();
    let high = (0..instruction.op_count()).any(|operand| {
        matches!(
            instruction.op_register(operand),
            Register::AH | Register::BH | Register::CH | Register::DH
        )
    });
    let fits = |register: &Register| {
        let needs_prefix = *register as u32 >= Register::R8 as u32;
        !(used.contains(register) || high && needs_prefix)
    };
    let free: Vec<Register> = SCRATCH.into_iter().filter(fits).collect();
    free.into_iter()
}

fn occupy(register: Register, value: Bits, state: &mut State, patch: &mut Patch) {
    if let Some((cell, _, _)) = part_of(register, 0) {
        let back = Back::To(state.get(cell));
        patch.moved.push(Moved { cell, back });
        state.set(cell, value);
    }
}

/// Moves the register that forms an implicit address.
fn displace(
    decoded: &Decoded,
    access: &Accessed,
    delta: u64,
    state: &mut State,
    patch: &mut Patch,
) -> Result<(), String> {
    let instruction = &decoded.instruction;
    let refused = matches!(
        instruction.mnemonic(),
        Mnemonic::Enter | Mnemonic::Iretq | Mnemonic::Iretd | Mnemonic::Iret
    );
    let place = part_of(access.used.base(), 0).filter(|_| !refused);
    let Some((cell, _, 64)) = place else {
        return Err(format!(
            "the implicit address of {instruction} cannot be changed"
        ));
    };
    let loads_itself = instruction.op0_kind() == OpKind::Register
        && instruction.mnemonic() == Mnemonic::Pop
        && instruction.op0_register().full_register() == access.used.base();
    let back = if instruction.mnemonic() == Mnemonic::Leave {
        Back::Other(Cell::General(4), delta)
    } else if loads_itself {
        Back::Loaded
    } else {
        Back::By(delta)
    };
    patch.moved.push(Moved { cell, back });
    let moved = state.get(cell).low().wrapping_add(delta);
    state.set(cell, Bits::from_u64(moved));
    Ok(())
}

/// The forms of `mov` that hold a whole address have no base register; others do the same.
fn with_modrm(code: Code) -> Code {
    match code {
        Code::Mov_AL_moffs8 => Code::Mov_r8_rm8,
        Code::Mov_AX_moffs16 => Code::Mov_r16_rm16,
        Code::Mov_EAX_moffs32 => Code::Mov_r32_rm32,
        Code::Mov_RAX_moffs64 => Code::Mov_r64_rm64,
        Code::Mov_moffs8_AL => Code::Mov_rm8_r8,
        Code::Mov_moffs16_AX => Code::Mov_rm16_r16,
        Code::Mov_moffs32_EAX => Code::Mov_rm32_r32,
        Code::Mov_moffs64_RAX => Code::Mov_rm64_r64,
        other => other,
    }
}

impl Patch {
    fn undo_code(&self, machine: &Machine) -> Result<(), String> {
        if self.original.is_empty() {
            return Ok(());
        }
        machine.write(self.pc, &self.original)
    }

    /// The instruction has retired: everything but the effect of the wrong address becomes what it would be.
    pub(super) fn retired(&self, machine: &mut Machine) -> Result<(), String> {
        self.undo_code(machine)?;
        let before = machine.state().map_err(|error| error.to_string())?;
        let mut after = before.clone();
        let behind = self.pc.wrapping_add(self.length);
        if self.length > 0 && before.registers.rip == behind {
            after.registers.rip = self.next;
        }
        if self.length > 0 && self.calls {
            // It has pushed the address behind its new form.
            machine.write(before.registers.rsp, &self.next.to_le_bytes())?;
        }
        for moved in &self.moved {
            moved.undo(&before, &mut after);
        }
        machine.change_state(&before, &after)
    }

    /// A handler has been entered instead: the state that it sees, and may return to, becomes what it would be.
    pub(super) fn interrupted(&self, machine: &mut Machine) -> Result<(), String> {
        self.undo_code(machine)?;
        let frame = machine.state().map_err(|error| error.to_string())?;
        for moved in &self.moved {
            let Cell::General(number) = moved.cell else {
                continue;
            };
            let place = frame.registers.rsp.wrapping_add(frame_offset(number));
            let saved = machine.read(place, 8)?;
            let saved = Bits::from_bytes(&saved).low();
            let original = match moved.back {
                Back::To(value) => value.low(),
                Back::By(delta) | Back::Other(_, delta) => saved.wrapping_sub(delta),
                Back::Loaded => continue,
            };
            machine.write(place, &original.to_le_bytes())?;
        }
        Ok(())
    }
}

impl Moved {
    fn undo(&self, before: &State, after: &mut State) {
        let back_by =
            |cell: Cell, delta: u64| Bits::from_u64(before.get(cell).low().wrapping_sub(delta));
        match self.back {
            Back::To(value) => after.set(self.cell, value),
            Back::By(delta) => after.set(self.cell, back_by(self.cell, delta)),
            Back::Other(cell, delta) => after.set(cell, back_by(cell, delta)),
            Back::Loaded => {}
        }
    }
}

/// Where a signal frame has a general register, from rsp at the handler's entry.
fn frame_offset(number: u8) -> u64 {
    /// Return address, then `struct ucontext` up to its registers.
    const REGISTERS: u64 = 8 + 40;
    let slot = match number {
        0 => 13,
        1 => 14,
        2 => 12,
        3 => 11,
        4 => 15,
        5 => 10,
        6 => 9,
        7 => 8,
        high => u64::from(high) - 8,
    };
    REGISTERS + 8 * slot
}

/// Whether an instruction has an address that can be told: gathers and scatters have many.
pub(super) fn has_many(decoded: &Decoded) -> bool {
    decoded.instruction.is_vsib() && decoded.instruction.memory_size() != MemorySize::Unknown
}
