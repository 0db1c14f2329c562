//! Snapshots of a machine with a small guest: real mode, with the timer interrupting a loop that fills memory, a dot on the console at
//! each interrupt. What is restored goes on like what was never interrupted; what cannot be restored is refused.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use fits_sysemu::board::console::{Console, Input};
use fits_sysemu::cpu::state::{CS, RIP};
use fits_sysemu::cpu::{CpuState, Stop};
use fits_sysemu::machine::Machine;
use fits_sysemu::snapshot::{Snapshot, file};

const MEMORY: u64 = 4 << 20;
const CODE: u64 = 0x1000;
const HANDLER: u8 = 0x59;

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
struct Printed(Arc<Mutex<Vec<u8>>>);

impl Printed {
    fn console(&self) -> Console {
        Console::new(Box::new(self.clone()), Input::None)
    }
    fn bytes(&self) -> Vec<u8> {
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

fn machine(printed: &Printed) -> Machine {
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
fn seen(machine: &mut Machine) -> (CpuState, u64, Vec<u8>) {
    let hash = machine.memory_hash();
    let cpu = &mut machine.processor().cpu;
    let mut records = fits_sysemu::snapshot::Records::default();
    cpu.bus.save(&mut records);
    let devices = records
        .iter()
        .flat_map(|record| [record.tag.as_bytes(), &record.bytes].concat())
        .collect();
    (cpu.state(), hash, devices)
}

fn run_to(machine: &mut Machine, limit: u64) {
    assert_eq!(machine.run(limit), Stop::Limit);
    assert_eq!(machine.retired(), limit);
}

const END: u64 = 2_000_000;
/// Among them moments right before, in and after an interrupt.
const MOMENTS: [u64; 9] = [
    1, 40, 41, 67_000, 67_087, 67_093, 67_101, 500_003, 1_999_999,
];

#[test]
fn what_is_restored_goes_on_as_if_nothing_had_happened() {
    let printed = Printed::default();
    let mut straight = machine(&printed);
    run_to(&mut straight, END);
    let expected = seen(&mut straight);
    assert!(printed.bytes().len() > 20, "the timer has interrupted");
    let folder = tempfile::tempdir().expect("a folder");
    for moment in MOMENTS {
        let first = Printed::default();
        let mut stopped = machine(&first);
        run_to(&mut stopped, moment);
        let before = seen(&mut stopped);
        let snapshot = stopped.snapshot().expect("a snapshot");
        assert_eq!(seen(&mut stopped), before, "taking it changes nothing");
        let path = folder.path().join("a.snapshot");
        file::write(&path, &snapshot).expect("written");
        for snapshot in [&snapshot, &file::read(&path).expect("read")] {
            let second = Printed::default();
            let mut restored = Machine::restore(snapshot, second.console()).expect("restored");
            assert_eq!(seen(&mut restored), before);
            run_to(&mut restored, END);
            assert_eq!(seen(&mut restored), expected, "restored at {moment}");
            assert_eq!([first.bytes(), second.bytes()].concat(), printed.bytes());
        }
        // What has been restored from it has not touched it, nor the machine.
        assert_eq!(seen(&mut stopped), before);
        run_to(&mut stopped, END);
        assert_eq!(seen(&mut stopped), expected);
    }
}

#[test]
fn a_copy_of_a_copy_and_a_machine_that_was_taken_back() {
    let printed = Printed::default();
    let mut straight = machine(&printed);
    run_to(&mut straight, END);
    let expected = seen(&mut straight);
    let nobody = Printed::default();
    let mut one = machine(&nobody);
    run_to(&mut one, 100_000);
    let first = one.snapshot().expect("a snapshot");
    let mut two = Machine::restore(&first, nobody.console()).expect("restored");
    // Nothing was written: the same image.
    let same = two.snapshot().expect("a snapshot");
    let mut other = Machine::restore(&same, nobody.console()).expect("restored");
    run_to(&mut two, 300_000);
    let second = two.snapshot().expect("a snapshot");
    let mut three = Machine::restore(&second, nobody.console()).expect("restored");
    for machine in [&mut two, &mut three, &mut other] {
        run_to(machine, END);
        assert_eq!(seen(machine), expected);
    }
    for _ in 0..3 {
        // The guest's code is rewritten, so that code which was decoded must be forgotten.
        three
            .processor()
            .write_physical(CODE, &[0xf4; 256])
            .expect("RAM");
        three.rewind(&second).expect("taken back");
        assert_eq!(three.retired(), 300_000);
        run_to(&mut three, END);
        assert_eq!(seen(&mut three), expected);
    }
    assert!(three.rewind(&first).is_err(), "it was not restored from it");
    assert!(
        one.rewind(&first).is_ok(),
        "a machine is a copy of its own last snapshot"
    );
}

fn saved(folder: &Path) -> (Snapshot, Vec<u8>) {
    let mut machine = machine(&Printed::default());
    run_to(&mut machine, 1000);
    let snapshot = machine.snapshot().expect("a snapshot");
    let path = folder.join("whole");
    file::write(&path, &snapshot).expect("written");
    (snapshot, std::fs::read(&path).expect("read"))
}

fn refusal(path: &Path, bytes: &[u8]) -> String {
    std::fs::write(path, bytes).expect("written");
    match file::read(path) {
        Ok(snapshot) => match Machine::restore(&snapshot, Printed::default().console()) {
            Ok(_) => String::from("accepted"),
            Err(error) => error.to_string(),
        },
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_damaged_byte_and_every_truncation_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_, whole) = saved(folder.path());
    let path = folder.path().join("damaged");
    assert_eq!(refusal(&path, &whole), "accepted");
    for at in (0..whole.len()).filter(|at| *at < 300 || at % 61 == 0 || at + 40 > whole.len()) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        let sentence = refusal(&path, &bytes);
        assert_ne!(sentence, "accepted", "byte {at}");
        assert!(sentence.contains("snapshot"), "{sentence}");
        if at < 300 || at % 7 == 0 {
            let sentence = refusal(&path, &whole[..at]);
            assert!(
                sentence.contains("truncated") || sentence.contains("not the snapshot"),
                "{at}: {sentence}"
            );
        }
    }
}

#[test]
fn other_versions_and_other_machines_are_refused_with_the_name_of_the_record() {
    let folder = tempfile::tempdir().expect("a folder");
    let (snapshot, whole) = saved(folder.path());
    let path = folder.path().join("changed");
    let mut format = whole.clone();
    format[8] += 1;
    assert!(refusal(&path, &format).contains("has format 2"));
    assert!(refusal(&path, b"something else").contains("is not the snapshot of a machine"));
    for record in snapshot.records().iter() {
        let sentences = [
            changed(&snapshot, &record.tag, |r| r.version += 1),
            changed(&snapshot, &record.tag, |r| r.tag.push('x')),
            changed(&snapshot, &record.tag, |r| r.bytes.clear()),
            changed(&snapshot, &record.tag, |r| r.bytes.push(0)),
        ];
        let expected = [
            format!("its record \"{}\" has version 2", record.tag),
            format!("it has no record \"{}\"", record.tag),
            format!("record \"{}\" of the snapshot cannot be used", record.tag),
            format!("record \"{}\" of the snapshot cannot be used", record.tag),
        ];
        // A device without state has nothing that could be cut off.
        let skipped = record.bytes.is_empty().then_some(2);
        for (index, (sentence, expected)) in sentences.iter().zip(expected).enumerate() {
            assert!(
                Some(index) == skipped || sentence.contains(&expected),
                "{sentence:?}: {expected:?}"
            );
        }
    }
    let mut more = snapshot.clone();
    more.records_mut().push(fits_sysemu::snapshot::Record {
        tag: "pc/flux".into(),
        version: 1,
        bytes: Vec::new(),
    });
    let error = Machine::restore(&more, Printed::default().console()).expect_err("no such device");
    assert!(error.to_string().contains("it has a record \"pc/flux\""));
}

/// What restoring says after one record was changed.
fn changed(
    snapshot: &Snapshot,
    tag: &str,
    change: impl FnOnce(&mut fits_sysemu::snapshot::Record),
) -> String {
    let mut snapshot = snapshot.clone();
    let record = snapshot.records_mut().get_mut(tag).expect("such a record");
    change(record);
    match Machine::restore(&snapshot, Printed::default().console()) {
        Ok(_) => format!("{tag}: accepted"),
        Err(error) => error.to_string(),
    }
}
