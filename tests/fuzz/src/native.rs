//! The bare CPU: a sequence by single-step, with the state after every instruction.

use crate::accept::acceptable;
use crate::case::Layout;
use crate::error::Error;
use crate::machine::{Fault, Halt, Machine, State};
use crate::places::{CODE, CODE_BYTES, CONSTANTS, PAGE};
use fits_dbt::layout::TSC_START;
use fits_tracer::step::{DecodeCache, Decoded, View};
use iced_x86::{FlowControl, Instruction, Mnemonic};
use std::rc::Rc;

/// A sequence that has not ended by then is cut.
const LONGEST: usize = 40;

/// Flags that a sequence must not change: single-step, nested task, alignment check, and the one that tells whether there is a `cpuid`
/// (which ptrace can't put back).
const FORBIDDEN_FLAGS: u64 = 1 << 8 | 1 << 14 | 1 << 18 | 1 << 21;

/// Segment bases from here on can be had by `wrgsbase`, but ptrace can't set them.
const LAST_BASE: u64 = 0x7fff_ffff_f000;

/// What happened on the bare CPU.
#[derive(Debug)]
pub struct Trace {
    /// The states: before the first instruction, after it, …
    pub states: Vec<State>,
    /// The instructions that retired; one fewer than states.
    pub steps: Vec<Rc<Decoded>>,
    /// How it ended.
    pub end: End,
    /// Bytes of memory (offset, length) that are not compared after the last instruction.
    pub ignored: Option<(usize, usize)>,
}

/// How a sequence ended.
#[derive(Debug)]
pub enum End {
    /// The next instruction raised this, with this state.
    Fault(Fault, Box<State>),
    /// It left the code.
    Left,
    /// It was cut before the next instruction.
    Cut,
}

impl Trace {
    /// The state before instruction `index`, or at the fault.
    #[must_use]
    pub fn before(&self, index: usize) -> Option<&State> {
        self.states.get(index)
    }
}

/// Executes the sequence.
///
/// # Errors
/// When the child ended.
pub fn run(machine: &mut Machine, layout: &Layout) -> Result<Trace, Error> {
    machine.shared().code.copy_from_slice(&layout.code);
    machine.load(&layout.start)?;
    let mut trace = Trace {
        states: vec![machine.state()?],
        steps: Vec::new(),
        end: End::Cut,
        ignored: None,
    };
    let mut cache = DecodeCache::default();
    let mut tsc = TSC_START;
    while trace.steps.len() < LONGEST {
        let before = &trace.states[trace.states.len() - 1].registers;
        let inside = before.rip.wrapping_sub(CODE);
        if inside >= CODE_BYTES {
            trace.end = End::Left;
            break;
        }
        let rest = &layout.code[inside as usize..];
        let decoded = match cache.get(before.rip) {
            Some(decoded) => Some(decoded),
            None => cache.decode(before.rip, &rest[..rest.len().min(15)]),
        };
        let instruction = decoded.as_ref().map(|decoded| &decoded.instruction);
        if instruction.is_some_and(|i| !i.is_invalid() && acceptable(i).is_err()) {
            break;
        }
        if instruction.is_some_and(|i| changes_forbidden_flags(i, &trace.states[trace.steps.len()]))
        {
            break;
        }
        if is_return_on_constants(instruction.map(|i| i.mnemonic()), before.rsp) {
            break;
        }
        let valid = instruction.filter(|i| !i.is_invalid());
        match machine.step(valid, &mut tsc)? {
            Halt::Trap => {}
            Halt::Fault(fault) if is_wild_branch(valid, fault) || leaves_half_a_frame(valid) => {
                break;
            }
            Halt::Fault(fault) => {
                trace.end = End::Fault(fault, Box::new(machine.state()?));
                break;
            }
            Halt::Hang => break,
        }
        let state = machine.state()?;
        let bases = state.registers.fs_base.max(state.registers.gs_base);
        let Some(decoded) = decoded.filter(|_| bases < LAST_BASE) else {
            break;
        };
        let shown = shows_code_address(decoded.instruction.mnemonic());
        if shown {
            trace.ignored = shown_bytes(&decoded, &trace.states[trace.steps.len()]);
        }
        trace.steps.push(decoded);
        trace.states.push(state);
        if shown {
            break;
        }
    }
    Ok(trace)
}

fn changes_forbidden_flags(instruction: &Instruction, before: &State) -> bool {
    let bytes = match instruction.mnemonic() {
        Mnemonic::Popf => 2,
        Mnemonic::Popfd | Mnemonic::Popfq => 8,
        _ => return false,
    };
    let Some(popped) = crate::places::read(&before.memory, before.registers.rsp, bytes) else {
        return true;
    };
    let mut new = before.registers.eflags.to_le_bytes();
    new[..bytes].copy_from_slice(&popped);
    (u64::from_le_bytes(new) ^ before.registers.eflags) & FORBIDDEN_FLAGS != 0
}

/// A translated return writes below the stack pointer, which needs a writable stack.
fn is_return_on_constants(mnemonic: Option<Mnemonic>, rsp: u64) -> bool {
    mnemonic == Some(Mnemonic::Ret) && rsp.wrapping_sub(CONSTANTS) < PAGE
}

/// A faulting `enter` has written part of its frame, from which it read; what is left depends on how often it was begun.
fn leaves_half_a_frame(instruction: Option<&Instruction>) -> bool {
    instruction.is_some_and(|i| i.mnemonic() == Mnemonic::Enter)
}

/// A branch to an address that is not canonical faults at the branch; translated, it is taken, and the fault is the runtime's to
/// make up.
fn is_wild_branch(instruction: Option<&Instruction>, fault: Fault) -> bool {
    const SI_KERNEL: i32 = 0x80;
    let leaves = instruction.is_some_and(|i| {
        matches!(
            i.flow_control(),
            FlowControl::IndirectBranch | FlowControl::IndirectCall | FlowControl::Return
        )
    });
    leaves && fault.signal == libc::SIGSEGV && fault.code == SI_KERNEL
}

/// Where the formats of `fnstenv`, `fnsave` and `fxsave` have the pointers of the last x87 instruction.
fn shown_bytes(decoded: &Decoded, before: &State) -> Option<(usize, usize)> {
    const FROM: u64 = 6;
    let to = match decoded.instruction.mnemonic() {
        Mnemonic::Fxsave | Mnemonic::Fxsave64 => 24,
        _ => 28,
    };
    let view = View {
        registers: &before.registers,
        xstate: None,
    };
    let used = decoded.facts.memory.first()?;
    let address = used.virtual_address(0, |register, _, _| Some(view.address_part(register)))?;
    let (offset, rest) = crate::places::find(address.wrapping_add(FROM))?;
    Some((offset, rest.min((to - FROM) as usize)))
}

/// Instructions that store the address of the last x87 instruction, which under the translator is one in its code.
#[must_use]
pub fn shows_code_address(mnemonic: Mnemonic) -> bool {
    use Mnemonic::{Fnsave, Fnstenv, Fsave, Fstenv, Fxsave, Fxsave64};
    matches!(
        mnemonic,
        Fnsave | Fnstenv | Fsave | Fstenv | Fxsave | Fxsave64
    )
}
