//! Returns inside a unit: where they go is known, if the unit has pushed the address itself and nothing can have changed it since.
//!
//! The stack pointer is followed as a distance from its value at the unit's entry. A call inside the unit leaves a *frame*: where its return
//! address lies, and what it is. A store that may touch a frame makes all of them unknown, since the address of most stores is not known.
//! (Another thread's store may as well have come before the call, as long as this one has not told it of the call by a store elsewhere.)

use fits_stats::facts::{access_bytes, writes};
use iced_x86::{Instruction, Mnemonic, OpKind, Register, UsedMemory};

use super::decode::Guest;

const ADDRESS_BYTES: i64 = 8;

struct Frame {
    /// Where the return address lies.
    at: i64,
    address: u64,
}

/// The stack, as far as a unit's instructions tell.
#[derive(Default)]
struct Stack {
    /// What the stack pointer is beyond its value at the entry.
    pointer: i64,
    frames: Vec<Frame>,
}

/// Where the return goes that is the last of these instructions, which are executed one after the other.
pub(super) fn target(guests: &[Guest]) -> Option<u64> {
    let (last, before) = guests.split_last()?;
    if last.instruction.mnemonic() != Mnemonic::Ret {
        return None;
    }
    let mut stack = Stack::default();
    for guest in before {
        stack.execute(guest);
    }
    let frame = stack.frames.last()?;
    (frame.at == stack.pointer).then_some(frame.address)
}

impl Stack {
    fn execute(&mut self, guest: &Guest) {
        let instruction = &guest.instruction;
        for used in guest
            .facts
            .memory
            .iter()
            .filter(|used| writes(used.access()))
        {
            self.store(instruction, used);
        }
        if instruction.is_vsib() {
            self.frames.clear();
        }
        match moved(guest) {
            Some(by) => self.pointer = self.pointer.wrapping_add(by),
            None => self.frames.clear(),
        }
        if instruction.is_call_near() {
            self.frames.push(Frame {
                at: self.pointer,
                address: instruction.next_ip(),
            });
        }
        // What lies below the stack pointer is nobody's.
        let pointer = self.pointer;
        self.frames.retain(|frame| frame.at >= pointer);
    }

    fn store(&mut self, instruction: &Instruction, used: &UsedMemory) {
        let on_stack = used.base() == Register::RSP
            && used.index() == Register::None
            && used.segment() == Register::SS
            && !instruction.is_string_instruction();
        let bytes = access_bytes(instruction, used) as i64;
        // Of `push`, iced-x86 gives the address with the stack pointer before it.
        let from = self.pointer.wrapping_add(used.displacement() as i64);
        let beside = |frame: &Frame| {
            frame.at >= from.wrapping_add(bytes) || frame.at + ADDRESS_BYTES <= from
        };
        if !on_stack || bytes == 0 || !self.frames.iter().all(beside) {
            self.frames.clear();
        }
    }
}

/// By how much an instruction moves the stack pointer; none if that is not known.
fn moved(guest: &Guest) -> Option<i64> {
    let instruction = &guest.instruction;
    if !guest.facts.writes.iter().any(|reg| reg.name() == "rsp") {
        return Some(0);
    }
    let names_it = |operand| {
        instruction.op_kind(operand) == OpKind::Register
            && instruction.op_register(operand) == Register::RSP
    };
    let amount = || {
        instruction
            .try_immediate(1)
            .ok()
            .map(|amount| amount as i64)
    };
    match instruction.mnemonic() {
        Mnemonic::Pop if instruction.op0_kind() == OpKind::Register && !names_it(0) => {
            Some(instruction.stack_pointer_increment().into())
        }
        Mnemonic::Push | Mnemonic::Call | Mnemonic::Ret => {
            Some(instruction.stack_pointer_increment().into())
        }
        Mnemonic::Add if names_it(0) => amount(),
        Mnemonic::Sub if names_it(0) => amount()?.checked_neg(),
        Mnemonic::Lea
            if names_it(0)
                && instruction.memory_base() == Register::RSP
                && instruction.memory_index() == Register::None =>
        {
            Some(instruction.memory_displacement64() as i64)
        }
        _ => None,
    }
}
