//! `fits vm`: a stock Debian kernel on the software processor, and what is refused.
//!
//! The guests are those of `cargo xtask guests`. A boot is 1.4 thousand million instructions, on a free processor 1 second
//! translated and 6 interpreted.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use fits_sysemu::board::console::{Console, Input};
use fits_sysemu::boot::linux::Boot;
use fits_sysemu::cpu::{Stage, Stop};
use fits_sysemu::machine::Machine;
use fits_sysemu::snapshot::Records;
use xtask::guests::{self, Flavour, Guests};

const TYPED: &str =
    "uname -a\nls /proc | head -3\ncat /proc/interrupts\necho $((6 * 7))\npoweroff -f\n";

/// Kernels and initial RAM disks; none where they can't be had, which is said in a way that the test runner doesn't swallow.
pub(crate) fn guests() -> Option<Guests> {
    let folder = guests::folder(&xtask::checkout());
    match guests::fetch(&folder, &mut |_| ()) {
        Ok(guests) => Some(guests),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "SKIPPED: no guests: {error}");
            None
        }
    }
}

pub(crate) fn fits(arguments: &[&str], typed: Option<&Path>) -> Output {
    let input = match typed {
        Some(path) => Stdio::from(std::fs::File::open(path).expect("the input is there")),
        None => Stdio::null(),
    };
    Command::new(env!("CARGO_BIN_EXE_fits"))
        .arg("vm")
        .args(arguments)
        .stdin(input)
        .output()
        .expect("fits starts")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_stock_kernel_boots_to_a_shell_and_powers_off_twice_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(guests) = guests() else {
        return;
    };
    let (kernel, initrd) = (guests.kernel(Flavour::Cloud), guests.small_initrd());
    let typed = folder.path().join("typed");
    std::fs::write(&typed, TYPED).expect("the input is written");
    let run = || {
        fits(
            &[
                "--kernel",
                kernel.to_str().expect("a path"),
                "--initrd",
                initrd.to_str().expect("a path"),
                "--append",
                "console=ttyS0 panic=-1",
                "--max-instructions",
                "6000000000",
                "--summary",
            ],
            Some(&typed),
        )
    };
    let (one, two) = (run(), run());
    let console = text(&one.stdout);
    assert_eq!(one.status.code(), Some(0), "{}{console}", text(&one.stderr));
    for expected in [
        "READY",
        "/ # ",
        "IO-APIC   4-edge      ttyS0",
        "\n42\r",
        "reboot: Power down",
    ] {
        assert!(console.contains(expected), "no {expected:?} in {console}");
    }
    for unexpected in ["Oops", "BUG:", "WARNING:", "Call Trace"] {
        assert!(!console.contains(unexpected), "{unexpected:?} in {console}");
    }
    assert_eq!(text(&one.stderr), text(&two.stderr));
    assert_eq!(console, text(&two.stdout));
}

/// A machine with that guest, input already typed.
fn machine(kernel: &Path, initrd: &Path, stage: Stage, printed: &Printed) -> Machine {
    let boot = Boot {
        kernel: kernel.to_owned(),
        initrd: Some(initrd.to_owned()),
        command_line: "console=ttyS0 panic=-1".to_owned(),
    };
    let input = Input::Fixed(TYPED.as_bytes().to_vec());
    let console = Console::new(Box::new(printed.clone()), input);
    let mut machine = Machine::boot(160 << 20, console, &boot).expect("it is ready to boot");
    machine.processor().set_stage(stage);
    machine
}

/// What a machine prints.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Registers, memory and devices of a boot in both stages, compared at moments that fall anywhere in blocks.
#[test]
fn both_stages_boot_the_same_at_every_moment() {
    const STEP: u64 = 14_999_777;
    let Some(guests) = guests() else {
        return;
    };
    let (kernel, initrd) = (guests.kernel(Flavour::Cloud), guests.small_initrd());
    let printed = [Printed::default(), Printed::default()];
    let mut one = machine(&kernel, &initrd, Stage::Interpreter, &printed[0]);
    let mut two = machine(&kernel, &initrd, Stage::Translated, &printed[1]);
    for limit in (STEP..).step_by(STEP as usize) {
        let (stop, other) = (one.run(limit), two.run(limit));
        assert_eq!(stop, other, "before {limit}");
        let (first, second) = (&mut one.processor().cpu, &mut two.processor().cpu);
        assert_eq!(first.state(), second.state(), "at {limit}");
        let bytes = first.ram.bytes() as usize;
        let same = first.ram.slice(0, bytes) == second.ram.slice(0, bytes);
        assert!(same, "memory differs at {limit}");
        let records = [first, second].map(|cpu| {
            let mut records = Records::default();
            cpu.bus.save(&mut records);
            records
        });
        assert!(records[0] == records[1], "devices differ at {limit}");
        if stop != Stop::Limit {
            assert_eq!(stop, Stop::PowerOff);
            break;
        }
    }
    assert!(one.retired() > 500_000_000);
    assert!(two.processor().translations() > 1000);
    let [first, second] = printed.map(|printed| printed.0.lock().expect("no panic").clone());
    assert!(text(&first).contains("reboot: Power down"));
    assert_eq!(text(&first), text(&second));
}

#[test]
fn what_is_no_kernel_is_refused_with_a_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("not-a-kernel");
    std::fs::write(&file, vec![7; 4096]).expect("written");
    let path = file.to_str().expect("a path");
    for (arguments, status, sentence) in [
        (
            vec!["--kernel", path],
            126,
            "is not a kernel that can be booted",
        ),
        (
            vec!["--kernel", "/nowhere"],
            126,
            "cannot read kernel /nowhere",
        ),
        (
            vec!["--kernel", path, "--initrd", "/nowhere"],
            126,
            "cannot read initrd /nowhere",
        ),
        (vec!["--kernel", path, "--memory", "5G"], 2, "at most 3 GiB"),
        (vec!["--kernel", path, "--memory", "lots"], 2, "is no size"),
    ] {
        let output = fits(&arguments, None);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
        assert!(
            text(&output.stderr).contains(sentence),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
        assert!(output.stdout.is_empty());
    }
}
