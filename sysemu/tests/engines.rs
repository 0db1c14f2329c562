//! The same small payloads on both engines: real mode, long mode, ports, interrupts, HLT, and what ends a machine badly.
//!
//! Without /dev/kvm those tests say SKIPPED.

use std::io::Write;
use std::sync::{Arc, Mutex};

use fits_sysemu::board::console::{Console, Input};
use fits_sysemu::boot::Start;
use fits_sysemu::cpu::Stop;
use fits_sysemu::engine::Engine;
use fits_sysemu::kvm::KvmMachine;
use fits_sysemu::machine::Machine;
use fits_sysemu::memory::Ram;

const MEMORY: u64 = 2 << 20;
const REAL: u64 = 0x7c00;
const LONG: u64 = 0x1_0000;

/// What the guest prints.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0
            .lock()
            .expect("nobody panics")
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A payload: pieces of memory, and whether it is for long mode.
struct Payload {
    pieces: Vec<(u64, Vec<u8>)>,
    long: bool,
}

impl Payload {
    fn real(code: &[u8]) -> Self {
        Payload {
            pieces: vec![(REAL, code.to_vec())],
            long: false,
        }
    }

    fn long(code: &[u8]) -> Self {
        Payload {
            pieces: vec![(LONG, code.to_vec())],
            long: true,
        }
    }

    /// Puts it into memory.
    fn fill(&self, ram: &mut Ram) -> Start {
        for (address, bytes) in &self.pieces {
            ram.slice_mut(*address, bytes.len()).copy_from_slice(bytes);
        }
        if !self.long {
            return Start::real(REAL as u16);
        }
        let descriptors = [0, 0, 0x00af_9b00_0000_ffff_u64, 0x00cf_9300_0000_ffff];
        for (index, descriptor) in descriptors.into_iter().enumerate() {
            ram.write(0x500 + 8 * index as u64, descriptor);
        }
        ram.write(0x1000, 0x2003_u64);
        ram.write(0x2000, 0x3003_u64);
        ram.write(0x3000, 0x83_u64);
        Start::long(LONG, 0x500, 0x1000)
    }
}

fn console() -> (Console, Printed) {
    let printed = Printed::default();
    (
        Console::new(Box::new(printed.clone()), Input::None),
        printed,
    )
}

fn soft(payload: &Payload) -> (Stop, Vec<u8>) {
    let (console, printed) = console();
    let mut machine = Machine::new(MEMORY, console).expect("a machine");
    let start = payload.fill(&mut machine.processor().cpu.ram);
    machine.begin(&start);
    finish(&mut machine, &printed)
}

/// None without KVM.
fn kvm(payload: &Payload) -> Option<(Stop, Vec<u8>)> {
    let (console, printed) = console();
    match KvmMachine::begin(MEMORY, console, |ram| Ok(payload.fill(ram))) {
        Ok(mut machine) => Some(finish(&mut machine, &printed)),
        Err(error) => {
            assert!(error.to_string().contains("/dev/kvm"), "{error}");
            let _ = writeln!(std::io::stderr(), "SKIPPED: the kvm engine: {error}");
            None
        }
    }
}

fn finish(engine: &mut dyn Engine, printed: &Printed) -> (Stop, Vec<u8>) {
    let stop = engine.run(50_000_000);
    let printed = printed.0.lock().expect("nobody panics").clone();
    (stop, printed)
}

fn both(payload: &Payload, stop: &Stop, printed: &[u8]) {
    assert_eq!(soft(payload), (stop.clone(), printed.to_vec()), "soft");
    if let Some(result) = kvm(payload) {
        assert_eq!(result, (stop.clone(), printed.to_vec()), "kvm");
    }
}

#[test]
fn real_mode_computes_prints_and_exits() {
    // mov dx, 0x3f8; mov al, 'R'; out dx, al; mov ax, 5; add ax, 37; mov dx, 0x501; out dx, al; hlt
    let code = [
        0xba, 0xf8, 0x03, 0xb0, b'R', 0xee, 0xb8, 5, 0, 0x05, 37, 0, 0xba, 0x01, 0x05, 0xee, 0xf4,
    ];
    both(&Payload::real(&code), &Stop::DebugExit(42), b"R");
}

#[test]
fn halted_with_interrupts_off_is_the_end() {
    // cli; hlt
    both(&Payload::real(&[0xfa, 0xf4]), &Stop::Halted, b"");
}

#[test]
fn long_mode_writes_memory_and_reads_it_back() {
    // mov rax, 0x123456789; mov [0x20000], rax; xor eax, eax; mov al, [0x20000]; mov edx, 0x501; out dx, al; hlt
    let code = [
        0x48, 0xb8, 0x89, 0x67, 0x45, 0x23, 1, 0, 0, 0, 0x48, 0x89, 0x04, 0x25, 0, 0, 2, 0, 0x31,
        0xc0, 0x8a, 0x04, 0x25, 0, 0, 2, 0, 0xba, 1, 5, 0, 0, 0xee, 0xf4,
    ];
    both(&Payload::long(&code), &Stop::DebugExit(0x89), b"");
}

#[test]
fn the_timer_interrupts_a_halted_processor() {
    let mut code = Vec::new();
    // Interrupt controller: vectors from 8 on, only line 0. Timer: 1193 ticks, which is a millisecond.
    for (port, value) in [
        (0x20, 0x11),
        (0x21, 8),
        (0x21, 4),
        (0x21, 1),
        (0x21, 0xfe),
        (0x43, 0x34),
        (0x40, 0xa9),
        (0x40, 4),
    ] {
        // mov al, value; out port, al
        code.extend_from_slice(&[0xb0, value, 0xe6, port]);
    }
    // sti; again: hlt; cmp byte [0x600], 3; jb again; mov dx, 0x501; mov al, [0x600]; out dx, al; hlt
    code.extend_from_slice(&[
        0xfb, 0xf4, 0x80, 0x3e, 0, 6, 3, 0x72, 0xf8, 0xba, 1, 5, 0xa0, 0, 6, 0xee, 0xf4,
    ]);
    let mut payload = Payload::real(&code);
    // inc byte [0x600]; mov al, 0x20; out 0x20, al; iret
    let handler = vec![0xfe, 0x06, 0, 6, 0xb0, 0x20, 0xe6, 0x20, 0xcf];
    payload.pieces.push((0x7e00, handler));
    payload.pieces.push((4 * 8, vec![0x00, 0x7e, 0, 0]));
    both(&payload, &Stop::DebugExit(3), b"");
}

#[test]
fn a_fault_without_handlers_is_a_triple_fault() {
    // ud2, with an empty interrupt table
    let payload = Payload::long(&[0x0f, 0x0b]);
    assert_eq!(soft(&payload).0, Stop::TripleFault { rip: LONG });
    if let Some((stop, _)) = kvm(&payload) {
        assert!(matches!(stop, Stop::TripleFault { .. }), "{stop:?}");
    }
}

#[test]
fn what_kvm_cannot_emulate_is_named_with_its_bytes() {
    // cmpxchg16b [0x20000]; mov edx, 0x501; mov al, 9; out dx, al
    let code = [
        0x48, 0x0f, 0xc7, 0x0c, 0x25, 0, 0, 2, 0, 0xba, 1, 5, 0, 0, 0xb0, 9, 0xee,
    ];
    let payload = Payload::long(&code);
    assert_eq!(soft(&payload).0, Stop::DebugExit(9));
    // A KVM on bare hardware executes it; a nested one may have to emulate it, and does not know it.
    match kvm(&payload) {
        None | Some((Stop::DebugExit(9), _)) => {}
        Some((Stop::Unimplemented { rip, bytes, what }, _)) => {
            assert!(what.contains("KVM_EXIT_INTERNAL_ERROR"), "{what}");
            assert_eq!((rip, &bytes[..4]), (LONG, &code[..4]));
        }
        Some((stop, _)) => panic!("{stop:?}"),
    }
}
