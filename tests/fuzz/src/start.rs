//! The state that a sequence starts in.

use crate::machine::State;
use crate::places::{CONSTANTS, DATA, DATA_BYTES, LOW, MEMORY_BYTES, PAGE, STACK};
use crate::random::Random;
use fits_tracer::ptrace::{Registers, XState};

/// What the general registers (by encoding number) are for.
#[derive(Clone, Debug)]
pub struct Roles {
    /// They point into the data.
    pub pointers: Vec<u8>,
    /// They hold small numbers.
    pub small: Vec<u8>,
    /// They hold anything.
    pub values: Vec<u8>,
}

impl Roles {
    /// Random roles; the registers of string instructions tend to be fit for them.
    pub fn new(random: &mut Random) -> Self {
        let mut roles = Roles {
            pointers: Vec::new(),
            small: Vec::new(),
            values: Vec::new(),
        };
        for register in (0..16).filter(|&register| register != 4) {
            let (pointer, small) = match register {
                1 => (10, 80),
                5..=7 => (70, 80),
                _ => (30, 52),
            };
            match random.below(100) {
                roll if roll < pointer => roles.pointers.push(register),
                roll if roll < small => roles.small.push(register),
                _ => roles.values.push(register),
            }
        }
        let mut spare = [3, 8, 12].into_iter();
        for role in [&mut roles.pointers, &mut roles.small, &mut roles.values] {
            if role.is_empty() {
                role.extend(spare.next());
            }
        }
        roles
    }
}

/// Random registers and memory.
pub fn state(random: &mut Random, roles: &Roles, base: &State) -> State {
    let mut state = State {
        registers: registers(random, roles, &base.registers),
        extended: base.extended.clone(),
        memory: memory(random),
    };
    extended(random, &mut state.extended);
    state
}

fn pointer(random: &mut Random) -> u64 {
    let align = if random.chance(80) { !63 } else { !0 };
    let inside = |random: &mut Random, address: u64, bytes: u64| {
        let margin = 320;
        (address + margin + random.below((bytes - 2 * margin) as usize) as u64) & align
    };
    match random.below(100) {
        0..78 => inside(random, DATA, DATA_BYTES),
        78..86 => inside(random, CONSTANTS, PAGE),
        86..94 => inside(random, STACK, PAGE),
        94..97 => inside(random, LOW, PAGE),
        // The end of what is mapped.
        _ => (CONSTANTS + PAGE).wrapping_sub(random.below(80) as u64),
    }
}

fn registers(random: &mut Random, roles: &Roles, base: &Registers) -> Registers {
    const FLAGS: u64 = 0x8d5;
    let mut general = [0; 16];
    for (number, value) in general.iter_mut().enumerate() {
        *value = random.integer();
        if roles.small.contains(&(number as u8)) {
            *value = random.below(24) as u64;
        } else if roles.pointers.contains(&(number as u8)) {
            *value = pointer(random);
        }
    }
    general[4] = STACK + PAGE / 2 + 8 * random.below(32) as u64;
    if random.chance(3) {
        general[4] = pointer(random);
    }
    let mut registers = *base;
    set_general(&mut registers, &general);
    registers.eflags = 0x202 | random.bits() & FLAGS;
    if random.chance(6) {
        registers.eflags |= 1 << 10;
    }
    registers.fs_base = DATA + PAGE;
    registers.gs_base = DATA + PAGE + 512;
    registers.orig_rax = u64::MAX;
    registers
}

/// The general registers in encoding order.
#[must_use]
pub fn general(registers: &Registers) -> [u64; 16] {
    let r = registers;
    [
        r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi, r.r8, r.r9, r.r10, r.r11, r.r12,
        r.r13, r.r14, r.r15,
    ]
}

/// Sets the general registers from encoding order.
pub fn set_general(r: &mut Registers, values: &[u64; 16]) {
    [
        r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi, r.r8, r.r9, r.r10, r.r11, r.r12,
        r.r13, r.r14, r.r15,
    ] = *values;
}

fn memory(random: &mut Random) -> Vec<u8> {
    let mut memory = Vec::with_capacity(MEMORY_BYTES);
    while memory.len() < MEMORY_BYTES {
        let word = match random.below(8) {
            0 => random.below(100) as u64,
            1 => double(random),
            2 => u64::from(float(random)) << 32 | u64::from(float(random)),
            _ => random.bits(),
        };
        memory.extend_from_slice(&word.to_le_bytes());
    }
    memory
}

fn double(random: &mut Random) -> u64 {
    match random.below(6) {
        0 => (random.below(1000) as f64 - 500.0).to_bits(),
        1 => random.pick(&[
            0,
            1 << 63,
            0x7ff0 << 48,
            0xfff0 << 48,
            0x7ff8 << 48,
            0x7ff4 << 48,
            1,
        ]),
        2 => (random.bits() >> 40) as f64 as u64,
        _ => (f64::from(random.bits() as i32) / 65536.0).to_bits(),
    }
}

fn float(random: &mut Random) -> u32 {
    match random.below(5) {
        0 => (random.below(1000) as f32 - 500.0).to_bits(),
        1 => random.pick(&[
            0,
            1 << 31,
            0x7f80 << 16,
            0xff80 << 16,
            0x7fc0 << 16,
            0x7fa0 << 16,
            1,
        ]),
        _ => (random.bits() as i16 as f32 / 64.0).to_bits(),
    }
}

fn extended(random: &mut Random, state: &mut XState) {
    for number in 0..32 {
        let mut value = [0; 64];
        let style = if number % 5 == 4 { 0 } else { random.below(6) };
        for (lane, bytes) in value.chunks_exact_mut(8).enumerate() {
            let word = match style {
                0 => random.below(200) as u64,
                1 => double(random),
                2 => u64::from(float(random)) << 32 | u64::from(float(random)),
                3 if lane >= 2 => 0,
                _ => random.bits(),
            };
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        state.set_zmm(number, &value);
    }
    for number in 0..8 {
        let mask = match random.below(4) {
            0 => u64::MAX,
            1 => random.bits() & 0xffff,
            _ => random.bits(),
        };
        state.set_k(number, mask);
    }
    for number in 0..8 {
        state.set_st(number, x87(random));
    }
    state.set_mxcsr(mxcsr(random));
    x87_control(random, state.bytes_mut());
}

fn mxcsr(random: &mut Random) -> u32 {
    const MASKED: u32 = 0x1f80;
    match random.below(10) {
        0..7 => MASKED,
        7 => MASKED | random.bits() as u32 & 0xe07f,
        8 => MASKED | random.bits() as u32 & 0x603f,
        _ => random.bits() as u32 & 0xffff,
    }
}

fn x87(random: &mut Random) -> [u8; 10] {
    let (mantissa, exponent) = match random.below(8) {
        0 => (0, random.pick(&[0, 0x8000])),
        1 => (1 << 63, random.pick(&[0x7fff, 0xffff])),
        2 => (3 << 62, random.pick(&[0x7fff, 0xffff])),
        3 => (random.bits(), random.bits() as u16),
        _ => (
            random.bits() | 1 << 63,
            (0x3fff + random.below(40) as u16 - 20) | (random.bits() as u16 & 0x8000),
        ),
    };
    let mut value = [0; 10];
    value[..8].copy_from_slice(&u64::to_le_bytes(mantissa));
    value[8..].copy_from_slice(&u16::to_le_bytes(exponent));
    value
}

/// Control word, status word and tags.
fn x87_control(random: &mut Random, bytes: &mut [u8]) {
    let control: u16 = match random.below(10) {
        0..8 => 0x37f,
        8 => 0x7f | random.bits() as u16 & 0xf00,
        _ => 0x40 | random.bits() as u16 & 0xf3f,
    };
    // The exception flags stay clear mostly: an unmasked one makes the next instruction fault.
    let flags = if random.chance(90) { 0 } else { 0x3f };
    let mut status = random.bits() as u16 & (0x7f00 | flags);
    if status & !control & 0x3f != 0 {
        // The error summary and the busy flag, as the processor has them then.
        status |= 0x8080;
    }
    let tags = if random.chance(50) {
        random.bits() as u8
    } else {
        0
    };
    bytes[0..2].copy_from_slice(&control.to_le_bytes());
    bytes[2..4].copy_from_slice(&status.to_le_bytes());
    bytes[4] = tags;
}
