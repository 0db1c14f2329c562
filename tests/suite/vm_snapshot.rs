//! Snapshots of a machine with a stock Debian kernel: restored at random points of its boot it goes on as if nothing had happened; one at the
//! prompt is restored a hundred times; the commands for files.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use fits_sysemu::board::console::{Console, Input};
use fits_sysemu::boot::Boot;
use fits_sysemu::cpu::{CpuState, Stop};
use fits_sysemu::machine::Machine;
use fits_sysemu::snapshot::{Records, file};
use xtask::guests::{Flavour, Guests};

use crate::vm::{fits, guests, text};

const MEMORY: u64 = 256 << 20;
const LINE: &str = "console=ttyS0 panic=-1";
const TYPED: &str =
    "uname -r\ncat /proc/uptime\nls /proc | head -3\necho $((6 * 7))\npoweroff -f\n";

#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl Printed {
    fn console(&self, input: Input) -> Console {
        Console::new(Box::new(self.clone()), input)
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

fn boot(guests: &Guests, printed: &Printed) -> Machine {
    let boot = Boot {
        kernel: guests.kernel(Flavour::Cloud),
        initrd: Some(guests.small_initrd()),
        command_line: LINE.into(),
        ..Boot::default()
    };
    let console = printed.console(Input::Fixed(TYPED.into()));
    Machine::boot(MEMORY, console, &boot).expect("the kernel is booted")
}

/// All that can be seen of a machine.
fn seen(machine: &mut Machine) -> (CpuState, u64, Vec<u8>) {
    let hash = machine.memory_hash();
    let cpu = &mut machine.processor().cpu;
    let mut records = Records::default();
    cpu.bus.save(&mut records);
    let devices = records.iter().flat_map(|record| record.bytes.clone());
    (cpu.state(), hash, devices.collect())
}

#[test]
fn restored_at_random_points_of_a_boot_it_goes_on_bit_for_bit() {
    let Some(guests) = guests() else {
        return;
    };
    let printed = Printed::default();
    let mut straight = boot(&guests, &printed);
    assert_eq!(straight.run(u64::MAX), Stop::PowerOff);
    let end = straight.retired();
    let expected = seen(&mut straight);
    drop(straight);
    // Fractions of the boot, drawn once and for all.
    let points = [0.137, 0.481, 0.968].map(|part: f64| (end as f64 * part) as u64);
    let again = Printed::default();
    let mut machine = boot(&guests, &again);
    let mut snapshots = Vec::new();
    for point in points {
        assert_eq!(machine.run(point), Stop::Limit);
        let snapshot = machine.snapshot().expect("a snapshot");
        snapshots.push((snapshot, again.bytes().len()));
    }
    assert_eq!(machine.run(u64::MAX), Stop::PowerOff);
    assert_eq!(seen(&mut machine), expected, "with snapshots taken");
    assert_eq!(again.bytes(), printed.bytes());
    drop(machine);
    for (snapshot, already) in &snapshots {
        let rest = Printed::default();
        let mut restored = Machine::restore(snapshot, rest.console(Input::None)).expect("restored");
        let from = restored.retired();
        assert_eq!(restored.run(u64::MAX), Stop::PowerOff);
        assert_eq!(seen(&mut restored), expected, "restored at {from}");
        assert_eq!(
            [&printed.bytes()[..*already], &rest.bytes()].concat(),
            printed.bytes()
        );
    }
}

/// Takes the snapshot at the prompt.
fn at_the_prompt(guests: &Guests, path: &str) {
    let (kernel, initrd) = (guests.kernel(Flavour::Cloud), guests.small_initrd());
    let output = fits(
        &[
            "--kernel",
            kernel.to_str().expect("a path"),
            "--initrd",
            initrd.to_str().expect("a path"),
            "--append",
            LINE,
            "--snapshot",
            path,
            "--snapshot-when",
            "/ # ",
            "--snapshot-stop",
            "--max-instructions",
            "4000000000",
        ],
        None,
    );
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains("taken after"),
        "{}",
        text(&output.stderr)
    );
    assert!(
        text(&output.stdout).ends_with("/ # "),
        "{}",
        text(&output.stdout)
    );
}

#[test]
fn a_snapshot_at_the_prompt_is_restored_a_hundred_times() {
    let Some(guests) = guests() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("prompt");
    let name = path.to_str().expect("a path");
    at_the_prompt(&guests, name);
    by_command(folder.path(), name);
    let snapshot = file::read(&path).expect("a snapshot");
    let mut first = None;
    let mut slowest = 0.0_f64;
    for round in 0..100 {
        let printed = Printed::default();
        let console = printed.console(Input::Fixed("echo $((6 * 7))\n".into()));
        let started = Instant::now();
        let mut machine = Machine::restore(&snapshot, console).expect("restored");
        slowest = slowest.max(started.elapsed().as_secs_f64());
        let limit = machine.retired() + 5_000_000;
        assert_eq!(machine.run(limit), Stop::Limit);
        let console = text(&printed.bytes());
        assert!(console.contains("\n42\r"), "round {round}: {console}");
        // Hashing all of memory takes longer than all the rest.
        let state = machine.processor().cpu.state();
        let hash = (round % 20 == 0).then(|| machine.memory_hash());
        let (console, state, hash) = (console, state, hash);
        let (one, two, three) = first.get_or_insert_with(|| (console.clone(), state.clone(), hash));
        assert_eq!(*one, console, "round {round}");
        assert_eq!(*two, state, "round {round}");
        assert!(hash.is_none() || *three == hash, "round {round}");
    }
    println!(
        "a copy of a machine of 256 MiB: at most {:.2} ms",
        slowest * 1e3
    );
}

/// The commands for files, and the same run twice from one.
fn by_command(folder: &Path, name: &str) {
    let typed = folder.join("typed");
    std::fs::write(&typed, TYPED).expect("written");
    let run = || fits(&["--restore", name, "--summary"], Some(&typed));
    let (one, two) = (run(), run());
    assert_eq!(one.status.code(), Some(0), "{}", text(&one.stderr));
    assert!(
        text(&one.stdout).contains("\n42\r"),
        "{}",
        text(&one.stdout)
    );
    assert!(text(&one.stdout).contains("reboot: Power down"));
    assert_eq!((&one.stdout, &one.stderr), (&two.stdout, &two.stderr));
    let list = fits(
        &["snapshot", "list", folder.to_str().expect("a path")],
        None,
    );
    assert!(
        text(&list.stdout).starts_with("prompt "),
        "{}",
        text(&list.stdout)
    );
    assert_eq!(text(&list.stdout).lines().count(), 1);
    let info = fits(&["snapshot", "info", name], None);
    for record in [
        "machine",
        "cpu",
        "pc/serial0",
        "memory         268435456 bytes",
    ] {
        assert!(
            text(&info.stdout).contains(record),
            "{}",
            text(&info.stdout)
        );
    }
    let damaged = folder.join("damaged");
    let mut bytes = std::fs::read(name).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&damaged, &bytes).expect("written");
    let damaged = damaged.to_str().expect("a path");
    refused(
        &["--restore", damaged],
        126,
        "the checksum of record \"ram\" is wrong",
    );
    refused(
        &["snapshot", "info", damaged],
        126,
        "the checksum of record \"ram\" is wrong",
    );
    let typed = typed.to_str().expect("a path");
    refused(
        &["--restore", typed],
        126,
        "is not the snapshot of a machine",
    );
    refused(
        &["snapshot", "delete", typed],
        126,
        "is not the snapshot of a machine",
    );
    let deleted = fits(&["snapshot", "delete", damaged], None);
    assert_eq!(deleted.status.code(), Some(0), "{}", text(&deleted.stderr));
    assert!(!Path::new(damaged).exists());
    assert!(Path::new(typed).exists());
    refused(
        &["--restore", name, "--memory", "128M"],
        2,
        "cannot be used with",
    );
    refused(
        &["--restore", name, "--snapshot-stop"],
        2,
        "--snapshot <FILE>",
    );
    let never = [
        "--restore",
        name,
        "--snapshot",
        damaged,
        "--snapshot-when",
        "never",
        "--max-instructions",
        "2000000000",
    ];
    refused(
        &never,
        125,
        "was not taken: the guest did not print \"never\"",
    );
    assert!(!Path::new(damaged).exists());
}

fn refused(arguments: &[&str], status: i32, sentence: &str) {
    let output = fits(arguments, None);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
    assert!(said.contains(sentence), "{arguments:?}: {said}");
}
