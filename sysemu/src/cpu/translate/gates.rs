//! Code that all translations share: the way in, the way out, and the call of the interpreter.

use super::enter::execute_address;
use super::layout::{self, PROCESSOR, STATUS};
use super::registers::{CONTEXT, FIRST, resident};
use crate::cpu::host::Arena;
use crate::cpu::tlb::{MARK, SLOW};
use dynasmrt::{DynasmApi, DynasmLabelApi, VecAssembler, dynasm, x64::X64Relocation};

type Assembler = VecAssembler<X64Relocation>;

/// Where the gates are in the code memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gates {
    /// `fn(processor, code)`: enters translated code; what it returns is 0 where the processor is already as the loop wants it.
    pub(super) enter: u32,
    /// Jumped to, with the instruction pointer stored: back to the loop.
    pub(super) leave: u32,
    /// Called with a site in the first scratch register: the interpreter executes its instruction.
    pub(super) interpret: u32,
    /// By class and whether it is a write. Called where the look-up of an address missed, with what that left in the scratch registers: where the page
    /// is marked but the access begins in none of the watched lines, they are as after a hit; else the first is 4096 or more.
    pub(super) unwatched: [[u32; 2]; SLOW],
}

/// Puts them into empty code memory; none where there is no room.
pub(super) fn emit(arena: &mut Arena) -> Option<Gates> {
    Some(Gates {
        enter: arena.add(&enter()?)?,
        leave: arena.add(&leave()?)?,
        interpret: arena.add(&interpret()?)?,
        unwatched: {
            let mut gates = [[0; 2]; SLOW];
            for (class, gates) in gates.iter_mut().enumerate() {
                for (write, gate) in [false, true].into_iter().zip(gates) {
                    *gate = arena.add(&unwatched(class, write)?)?;
                }
            }
            gates
        },
    })
}

fn assembler() -> Assembler {
    VecAssembler::new(0)
}

#[expect(
    clippy::useless_conversion,
    reason = "dynasm converts the numbers of registers"
)]
fn spill(ops: &mut Assembler) {
    for (guest, host) in resident() {
        dynasm!(ops; .arch x64; mov [BYTE Rq(CONTEXT) + 8 * guest as i8], Rq(host));
    }
    dynasm!(ops; .arch x64; mov [Rq(CONTEXT) + STATUS], ax);
}

#[expect(
    clippy::useless_conversion,
    reason = "dynasm converts the numbers of registers"
)]
fn reload(ops: &mut Assembler) {
    for (guest, host) in resident() {
        dynasm!(ops; .arch x64; mov Rq(host), [BYTE Rq(CONTEXT) + 8 * guest as i8]);
    }
    dynasm!(ops; .arch x64; movzx eax, WORD [Rq(CONTEXT) + STATUS]);
}

/// Six registers are saved, and the stack is aligned for calls.
fn enter() -> Option<Vec<u8>> {
    let mut ops = assembler();
    dynasm!(ops; .arch x64
        ; push rbx; push rbp; push r12; push r13; push r14; push r15; sub rsp, 8
        ; mov r11, rsi
        ; lea rbp, [rdi - PROCESSOR]);
    reload(&mut ops);
    dynasm!(ops; .arch x64; jmp r11);
    ops.finalize().ok()
}

fn restore(ops: &mut Assembler) {
    dynasm!(ops; .arch x64
        ; add rsp, 8; pop r15; pop r14; pop r13; pop r12; pop rbp; pop rbx; ret);
}

fn leave() -> Option<Vec<u8>> {
    let mut ops = assembler();
    spill(&mut ops);
    dynasm!(ops; .arch x64; mov eax, 1);
    restore(&mut ops);
    ops.finalize().ok()
}

#[expect(
    clippy::useless_conversion,
    reason = "dynasm converts the numbers of registers"
)]
fn interpret() -> Option<Vec<u8>> {
    let mut ops = assembler();
    spill(&mut ops);
    dynasm!(ops; .arch x64
        ; sub rsp, 8
        ; lea rdi, [rbp + PROCESSOR]
        ; mov rsi, Rq(FIRST)
        ; mov rax, QWORD execute_address() as i64
        ; call rax
        ; add rsp, 8
        ; test eax, eax
        ; jne >stopped);
    reload(&mut ops);
    dynasm!(ops; .arch x64; ret; stopped:; add rsp, 8; xor eax, eax);
    restore(&mut ops);
    ops.finalize().ok()
}

fn unwatched(class: usize, write: bool) -> Option<Vec<u8>> {
    let (table, lines) = (
        layout::data_table(class, write),
        layout::lines_table(class, write),
    );
    let mut ops = assembler();
    dynasm!(ops; .arch x64
        ; xor r11, MARK as i32
        ; cmp r11, 4096
        ; jae >other
        // The line's number becomes the low bits, which are all that the test uses.
        ; ror r11d, 6
        ; push r15
        ; mov r15, [rbp + r15 + lines]
        ; bt r15, r11
        ; pop r15
        ; jc >watched
        ; rol r11d, 6
        ; mov r15, [rbp + r15 + table + 8]
        ; ret
        ; watched:
        ; mov r11d, 4096
        ; other:
        ; ret);
    ops.finalize().ok()
}
