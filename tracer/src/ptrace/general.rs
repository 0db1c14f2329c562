//! General registers by their number.

use super::Registers;

/// The general register with this number, in the order in which instructions encode them: rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 … r15.
/// Only the low four bits of the number count.
pub fn general(registers: &mut Registers, number: u8) -> &mut u64 {
    match number & 15 {
        0 => &mut registers.rax,
        1 => &mut registers.rcx,
        2 => &mut registers.rdx,
        3 => &mut registers.rbx,
        4 => &mut registers.rsp,
        5 => &mut registers.rbp,
        6 => &mut registers.rsi,
        7 => &mut registers.rdi,
        8 => &mut registers.r8,
        9 => &mut registers.r9,
        10 => &mut registers.r10,
        11 => &mut registers.r11,
        12 => &mut registers.r12,
        13 => &mut registers.r13,
        14 => &mut registers.r14,
        _ => &mut registers.r15,
    }
}
