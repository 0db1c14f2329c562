//! A small guest for tests of snapshots: real mode, with the timer interrupting a loop that fills memory, and a dot on the console at each
//! interrupt.

#![allow(dead_code, reason = "not every test program uses all of it")]

use std::io::Write;
use std::sync::{Arc, Mutex};

use fits_sysemu::board::console::{Console, Input};
use fits_sysemu::cpu::state::{CS, RIP};
use fits_sysemu::cpu::{CpuState, Stop};
use fits_sysemu::machine::Machine;
use fits_sysemu::snapshot::Records;

/// RAM of the machine.
pub(crate) const MEMORY: u64 = 4 << 20;
/// Where the guest lies.
pub(crate) const CODE: u64 = 0x1000;
/// The low byte of the address of the interrupt handler.
pub(crate) const HANDLER: u8 = 0x59;

/// Sets up stack, controllers and timer, then counts.
#[rustfmt::skip]
const GUEST: &[u8] = &[
    0xfa,                                     // cli
    0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xd0,       // xor ax, ax; mov ds, ax; mov ss, ax
    0xbc, 0x00, 0x80,                         // mov sp, 0x8000
    0x66, 0xb9, 0x1b, 0, 0, 0, 0x0f, 0x32,    // mov ecx, 0x1b; rdmsr
    0x66, 0x25, 0xff, 0xf7, 0xff, 0xff,       // and eax, ~0x800: no local APIC
    0x0f, 0x30,                               // wrmsr
    0xc7, 0x06, 0x20, 0x00, HANDLER, 0x10,    // mov word [0x20], handler
    0xc7, 0x06, 0x22, 0x00, 0x00, 0x00,       // mov word [0x22], 0
    0xb0, 0x11, 0xe6, 0x20, 0xb0, 0x08, 0xe6, 0x21, // the interrupt controller
    0xb0, 0x04, 0xe6, 0x21, 0xb0, 0x01, 0xe6, 0x21,
    0xb0, 0xfe, 0xe6, 0x21,
    0xb0, 0x34, 0xe6, 0x43, 0xb0, 0x50, 0xe6, 0x40, // the timer, every 67 microseconds
    0xb0, 0x00, 0xe6, 0x40,
    0xfb,                                     // sti
    0x66, 0xff, 0x06, 0x00, 0x20,             // inc dword [0x2000]
    0x88, 0x87, 0x00, 0x30,                   // mov [bx + 0x3000], al
    0x04, 0x07, 0x43,                         // add al, 7; inc bx
    0x81, 0xe3, 0xff, 0x0f,                   // and bx, 0xfff
    0xeb, 0xee,                               // jmp
    // The handler.
    0x50, 0x52,                               // push ax; push dx
    0x66, 0xff, 0x06, 0x04, 0x20,             // inc dword [0x2004]
    0xba, 0xf8, 0x03, 0xb0, 0x2e, 0xee,       // mov dx, 0x3f8; mov al, '.'; out dx, al
    0xb0, 0x20, 0xe6, 0x20,                   // end of interrupt
    0x5a, 0x58, 0xcf,                         // pop dx; pop ax; iret
];

/// What a machine prints.
#[derive(Clone, Default)]
pub(crate) struct Printed(Arc<Mutex<Vec<u8>>>);

impl Printed {
    /// A console that prints here.
    pub(crate) fn console(&self) -> Console {
        Console::new(Box::new(self.clone()), Input::None)
    }
    /// All of it.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().expect("no panic").clone()
    }
}

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A machine with the guest, about to begin.
pub(crate) fn machine(printed: &Printed) -> Machine {
    let mut machine = Machine::new(MEMORY, printed.console()).expect("a machine");
    let processor = machine.processor();
    processor.write_physical(CODE, GUEST).expect("RAM");
    processor.cpu.seg[CS].selector = 0;
    processor.cpu.seg[CS].base = 0;
    processor.cpu.ctx.regs[RIP] = CODE;
    processor.refresh();
    machine
}

/// All that can be seen of a machine.
pub(crate) fn seen(machine: &mut Machine) -> (CpuState, u64, Vec<u8>) {
    let hash = machine.memory_hash();
    let cpu = &mut machine.processor().cpu;
    let mut records = Records::default();
    cpu.bus.save(&mut records);
    let devices = records
        .iter()
        .flat_map(|record| [record.tag.as_bytes(), &record.bytes].concat())
        .collect();
    (cpu.state(), hash, devices)
}

/// Runs to that instruction.
pub(crate) fn run_to(machine: &mut Machine, limit: u64) {
    assert_eq!(machine.run(limit), Stop::Limit);
    assert_eq!(machine.retired(), limit);
}
