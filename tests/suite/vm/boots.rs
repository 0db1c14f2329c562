//! Stock kernels, by every entry.

use xtask::guests::Flavour;

use super::{fits, guests, path, skipped, text};

pub(super) const TYPED: &str = "uname -a\nls /proc | head -3\ncat /proc/interrupts\ndate; sleep 2; date\necho $((6 * 7))\ndmesg | grep -c 'Call Trace'\npoweroff -f\n";

fn check_console(console: &str, expected: &[&str]) {
    for expected in expected {
        assert!(console.contains(expected), "no {expected:?} in {console}");
    }
    for unexpected in ["Oops", "BUG:", "WARNING:", "Call Trace:"] {
        assert!(!console.contains(unexpected), "{unexpected:?} in {console}");
    }
}

#[test]
fn a_stock_kernel_boots_to_a_shell_and_powers_off_twice_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(guests) = guests() else {
        return;
    };
    let typed = folder.path().join("typed");
    std::fs::write(&typed, TYPED).expect("the input is written");
    let log = folder.path().join("console");
    let run = || {
        fits(
            &[
                "--kernel",
                path(&guests.kernel(Flavour::Cloud)),
                "--initrd",
                path(&guests.small_initrd()),
                "--append",
                "console=ttyS0 panic=-1",
                "--max-instructions",
                "6000000000",
                "--console",
                path(&log),
                "--summary",
            ],
            Some(&typed),
        )
    };
    let (one, two) = (run(), run());
    let console = text(&one.stdout);
    assert_eq!(one.status.code(), Some(0), "{}{console}", text(&one.stderr));
    let expected = [
        "READY",
        "/ # ",
        "IO-APIC   4-edge      ttyS0",
        "\n42\r",
        "reboot: Power down",
    ];
    check_console(&console, &expected);
    let dates: Vec<&str> = console
        .lines()
        .filter(|line| line.contains(" UTC 20"))
        .collect();
    let seconds = |line: &str| {
        let time = line
            .split(' ')
            .find(|word| word.contains(':'))
            .expect("a time");
        time[6..8].parse::<u64>().expect("a number")
    };
    assert_eq!(seconds(dates[1]), (seconds(dates[0]) + 2) % 60, "{dates:?}");
    assert_eq!(text(&one.stderr), text(&two.stderr));
    assert_eq!(console, text(&two.stdout));
    assert_eq!(std::fs::read(&log).expect("kept"), two.stdout);
}

/// The first lines are enough: what comes after them does not depend on the entry.
#[test]
fn every_entry_reaches_the_kernel() {
    let Some(guests) = guests() else {
        return;
    };
    for (flavour, entry, instructions) in [
        (Flavour::Cloud, "kernel", "40000000"),
        (Flavour::Cloud, "pvh", "40000000"),
        (Flavour::Cloud, "bzimage", "600000000"),
        (Flavour::Full, "auto", "40000000"),
        (Flavour::Full, "pvh", "40000000"),
    ] {
        let kernel = guests.kernel(flavour);
        let output = fits(
            &[
                "--kernel",
                path(&kernel),
                "--entry",
                entry,
                "--append",
                "console=ttyS0 earlyprintk=serial,ttyS0,115200 nokaslr",
                "--max-instructions",
                instructions,
            ],
            None,
        );
        let console = text(&output.stdout);
        assert_eq!(output.status.code(), Some(124), "{flavour:?} {entry}");
        for expected in ["Linux version 6.", "earlyprintk=serial", "BIOS-e820"] {
            assert!(
                console.contains(expected) || entry == "pvh" && expected == "BIOS-e820",
                "{flavour:?} {entry}: no {expected:?} in {console}"
            );
        }
    }
}

#[test]
fn the_full_kernel_unpacks_itself_and_loads_all_its_modules() {
    if std::env::var_os("FITS_LONG").is_none() {
        skipped(
            "the boot of the full kernel by its own decompressor takes half a minute (FITS_LONG=1)",
        );
        return;
    }
    let Some(guests) = guests() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let typed = folder.path().join("typed");
    std::fs::write(&typed, "lsmod\npoweroff -f\n").expect("the input is written");
    let output = fits(
        &[
            "--kernel",
            path(&guests.kernel(Flavour::Full)),
            "--initrd",
            path(&guests.initrd(Flavour::Full)),
            "--entry",
            "bzimage",
        ],
        Some(&typed),
    );
    let console = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{console}");
    let expected = [
        "READY",
        "ext4 ",
        "ata_piix ",
        "virtio_net ",
        "reboot: Power down",
    ];
    check_console(&console, &expected);
    assert!(!console.contains("cannot load"), "{console}");
}

/// A kernel boots to its shell with a thousand addresses watched all over memory, many of which it accesses, and with none: all of memory is the same.
#[test]
fn a_thousand_armed_addresses_change_nothing() {
    let Some(guests) = guests() else {
        return;
    };
    let armed = (0..1000_u64).flat_map(|number| {
        let place = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (256 << 20)) & !7;
        // So many accesses of one address do not come.
        let fault = format!("power@access=phys={place:#x}:1000000000,bytes=8");
        ["--fault".to_owned(), fault]
    });
    let armed: Vec<String> = armed.collect();
    let kernel = guests.kernel(Flavour::Cloud);
    let initrd = guests.initrd(Flavour::Cloud);
    let run = |faults: &[String]| {
        let mut arguments = vec!["--kernel", path(&kernel), "--initrd", path(&initrd)];
        arguments.extend(["--append", "console=ttyS0 nokaslr cryptomgr.notests"]);
        arguments.extend(["--memory", "256M", "--max-instructions", "2000000000"]);
        arguments.push("--summary");
        arguments.extend(faults.iter().map(String::as_str));
        let output = fits(&arguments, None);
        let said = text(&output.stderr);
        let memory = said.lines().find(|line| line.contains(", memory "));
        (text(&output.stdout), memory.expect("a hash").to_owned())
    };
    let plain = run(&[]);
    assert!(plain.0.contains("READY"), "{}", plain.0);
    assert_eq!(run(&armed), plain);
}
