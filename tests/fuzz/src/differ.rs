//! The first difference between two states.

use crate::machine::State;
use crate::places::REGIONS;
use crate::start::general;
use fits_tracer::ptrace::XState;

const NAMES: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15",
];

/// Flags that belong to the tracer: single-step and resume.
const NOT_THE_GUESTS: u64 = 1 << 8 | 1 << 16;

/// Parts of the XSAVE area that are left out, with the reason for each.
///
/// - opcode, address and operand address of the last x87 instruction: under the translator the address lies in translated code, and a
///   processor that keeps them only for exceptions loses them at every switch to the tracer;
/// - `mxcsr_mask` and the bytes for software: not registers;
/// - the header: which components the processor believes to be in their initial state changes with every switch to the tracer, and
///   ptrace gives the values of those all the same.
const LEFT_OUT: [(usize, usize); 3] = [(6, 24), (28, 32), (416, 576)];

/// The first difference, as text; `expected` is the bare CPU's.
#[must_use]
pub fn difference(expected: &State, got: &State) -> Option<String> {
    registers(expected, got)
        .or_else(|| extended(&expected.extended, &got.extended))
        .or_else(|| memory(&expected.memory, &got.memory))
}

fn registers(expected: &State, got: &State) -> Option<String> {
    let (left, right) = (&expected.registers, &got.registers);
    let flags = |flags: u64| flags & !NOT_THE_GUESTS;
    let general = NAMES
        .iter()
        .copied()
        .zip(general(left).into_iter().zip(general(right)));
    let rest = [
        ("rip", (left.rip, right.rip)),
        ("rflags", (flags(left.eflags), flags(right.eflags))),
        ("fs_base", (left.fs_base, right.fs_base)),
        ("gs_base", (left.gs_base, right.gs_base)),
    ];
    general
        .chain(rest)
        .find(|(_, (left, right))| left != right)
        .map(|(name, (left, right))| format!("{name}: {left:#x} natively, {right:#x} translated"))
}

fn extended(expected: &XState, got: &XState) -> Option<String> {
    let (left, right) = (expected.bytes(), got.bytes());
    let mut from = 0;
    for (gap, after) in LEFT_OUT.into_iter().chain([(left.len(), left.len())]) {
        if &left[from..gap] != right.get(from..gap)? {
            return Some(name_extended(expected, got, from..gap));
        }
        from = after;
    }
    None
}

fn name_extended(left: &XState, right: &XState, range: std::ops::Range<usize>) -> String {
    let numbers = [
        ("fcw", left.x87_control(), right.x87_control()),
        ("fsw", left.x87_status(), right.x87_status()),
        ("ftw", left.x87_tags().into(), right.x87_tags().into()),
    ];
    if let Some((name, left, right)) = numbers.into_iter().find(|(_, l, r)| l != r) {
        return format!("{name}: {left:#x} natively, {right:#x} translated");
    }
    if left.mxcsr() != right.mxcsr() {
        return format!(
            "mxcsr: {:#x} natively, {:#x} translated",
            left.mxcsr(),
            right.mxcsr()
        );
    }
    for number in 0..32 {
        if left.zmm(number) != right.zmm(number) {
            return vector(
                &format!("zmm{number}"),
                &left.zmm(number),
                &right.zmm(number),
            );
        }
        if number < 8 && left.k(number) != right.k(number) {
            return vector(
                &format!("k{number}"),
                &left.k(number).to_be_bytes(),
                &right.k(number).to_be_bytes(),
            );
        }
        if number < 8 && left.st(number) != right.st(number) {
            return vector(&format!("st{number}"), &left.st(number), &right.st(number));
        }
    }
    let at = range
        .clone()
        .find(|&at| left.bytes()[at] != right.bytes()[at])
        .unwrap_or(range.start);
    format!(
        "byte {at} of the XSAVE area: {:#x} natively, {:#x} translated",
        left.bytes()[at],
        right.bytes()[at]
    )
}

fn vector(name: &str, left: &[u8], right: &[u8]) -> String {
    format!("{name}: {} natively, {} translated", hex(left), hex(right))
}

/// Bytes as text, the lowest first.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn memory(expected: &[u8], got: &[u8]) -> Option<String> {
    if expected == got {
        return None;
    }
    let at = expected
        .iter()
        .zip(got)
        .position(|(left, right)| left != right)?;
    let region = REGIONS
        .iter()
        .find(|region| (region.offset..region.offset + region.bytes).contains(&(at as u64)))?;
    let address = region.address + (at as u64 - region.offset);
    let end = (at + 8).min(expected.len());
    Some(format!(
        "memory at {address:#x}: {} natively, {} translated",
        hex(&expected[at..end]),
        hex(&got[at..end])
    ))
}
