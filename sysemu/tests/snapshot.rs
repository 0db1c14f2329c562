//! Snapshots of a machine with a small guest: what is restored goes on like what was never interrupted; what cannot be restored is refused.

mod small;

use std::path::Path;

use fits_sysemu::cpu::Stop;
use fits_sysemu::machine::Machine;
use fits_sysemu::snapshot::{Record, Snapshot, file};
use small::{CODE, Printed, machine, run_to, seen};

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
        three.load(&second).expect("taken back");
        // A stuck counter, a breakpoint and a watch are outside of the state.
        let processor = three.processor();
        processor.cpu.stick(0x2000, 0xff, 0x55);
        processor.set_breakpoints(&[u64::from(u16::from(small::HANDLER) + 0x1000)]);
        assert!(matches!(three.run(END), Stop::Breakpoint { .. }));
        // The guest's code is rewritten, so that code which was decoded must be forgotten.
        three
            .processor()
            .write_physical(CODE, &[0xf4; 256])
            .expect("RAM");
        three.load(&second).expect("taken back");
        assert_eq!(three.retired(), 300_000);
        run_to(&mut three, END);
        assert_eq!(seen(&mut three), expected);
    }
    // From one snapshot to another, whose memory is another image.
    three.load(&first).expect("taken to it");
    assert_eq!(three.retired(), 100_000);
    run_to(&mut three, END);
    assert_eq!(seen(&mut three), expected);
    let mut small = Machine::new(2 << 20, nobody.console()).expect("a machine");
    let error = small.load(&first).expect_err("less memory");
    assert_eq!(
        error.to_string(),
        "the snapshot is of another machine: record \"machine\" says 4194304 bytes of memory, not 2097152"
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
    more.records_mut().push(Record {
        tag: "pc/flux".into(),
        version: 1,
        bytes: Vec::new(),
    });
    let error = Machine::restore(&more, Printed::default().console()).expect_err("no such device");
    assert!(error.to_string().contains("it has a record \"pc/flux\""));
}

/// What restoring says after one record was changed.
fn changed(snapshot: &Snapshot, tag: &str, change: impl FnOnce(&mut Record)) -> String {
    let mut snapshot = snapshot.clone();
    let record = snapshot.records_mut().get_mut(tag).expect("such a record");
    change(record);
    match Machine::restore(&snapshot, Printed::default().console()) {
        Ok(_) => format!("{tag}: accepted"),
        Err(error) => error.to_string(),
    }
}
