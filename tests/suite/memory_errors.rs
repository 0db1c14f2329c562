//! Memory errors as a stock Debian kernel meets them: `tests/kernels/hold.c` holds a page, a machine check hits it, and the console says what the
//! kernel did. Each case boots the full kernel (the one with machine checks), so they run with `FITS_LONG=1` only.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fits_sysemu::boot::cpio::Archive;
use libtest_mimic::{Completion, Failed, Trial};
use xtask::guests::{self, Flavour, Guests};

const INIT: &str = "#!/bin/sh\nmount -t proc proc /proc\nhold other &\nhold victim $HOLD\necho \"EXIT rc=$?\"\nwait\n\
                    grep HardwareCorrupted /proc/meminfo\nsleep 1\npoweroff -f\n";

/// Name, words for the guest's command line, fault, what the console must say, what it must not say.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

const KILLED: &str = "Sending SIGBUS to hold";

const ROWS: &[Row] = &[
    (
        "none",
        "",
        "power@time=100000",
        &[
            "hold: victim is done, all is well",
            "EXIT rc=0",
            "hold: other is done, all is well",
            "HardwareCorrupted:     0 kB",
        ],
        &["Hardware Error", "SIGBUS", "Killing"],
    ),
    (
        "scrubber",
        "",
        "mce:srao:0x10000000@call=sched_get_priority_max",
        &[
            "Machine check events logged",
            "recovery action for dirty LRU page: Recovered",
            "due to hardware memory corruption fault at 10000000",
            "EXIT rc=135",
            "hold: other is done, all is well",
            "HardwareCorrupted:     4 kB",
        ],
        &["victim is done", "Kernel panic"],
    ),
    (
        "scrubber-handled",
        "HOLD=handle",
        "mce:srao:0x10000000@call=sched_get_priority_max",
        &[
            "hold: SIGBUS code 4 at 0x10000000, 12 bits",
            "EXIT rc=42",
            "hold: other is done, all is well",
        ],
        &["victim is done", "Kernel panic"],
    ),
    (
        "scrubber-broadcast",
        "",
        "mce:srao:0x10000000:broadcast@call=sched_get_priority_max",
        &[
            "due to hardware memory corruption fault at 10000000",
            "EXIT rc=135",
            "hold: other is done, all is well",
            "HardwareCorrupted:     4 kB",
        ],
        &["victim is done", "Kernel panic"],
    ),
    (
        "scrubber-early",
        "HOLD=early",
        "mce:srao:0x10000000@call=sched_get_priority_max",
        &[
            "Memory failure: ",
            "Sending SIGBUS to hold:",
            "due to hardware memory corruption",
            "EXIT rc=135",
            "hold: other is done, all is well",
            "HardwareCorrupted:     4 kB",
        ],
        &["victim is done", "Kernel panic", "fault at 10000000"],
    ),
    (
        "scrubber-early-handled",
        "\"HOLD=handle early\"",
        "mce:srao:0x10000000@call=sched_get_priority_max",
        &[
            "hold: SIGBUS code 5 at 0x10000000, 12 bits",
            "EXIT rc=42",
            "hold: other is done, all is well",
        ],
        &["victim is done", "Kernel panic"],
    ),
    (
        "scrubber-untouched",
        "HOLD=leave",
        "mce:srao:0x10000000@call=sched_get_priority_max",
        &[
            "recovery action for dirty LRU page: Recovered",
            "hold: victim has left its page alone",
            "EXIT rc=0",
            "hold: other is done, all is well",
            "HardwareCorrupted:     4 kB",
        ],
        &["SIGBUS", "Killing", "Kernel panic"],
    ),
    (
        "read",
        "",
        "mce:srar:0x10000000@call=sched_get_priority_max",
        &[
            "Machine Check Exception: 7 Bank 1: bd80000000000134",
            "Uncorrected hardware memory error in user-access at",
            KILLED,
            "EXIT rc=135",
            "hold: other is done, all is well",
        ],
        &["victim is done", "Kernel panic"],
    ),
    (
        "fatal",
        "",
        "mce:fatal:0x10000000@call=sched_get_priority_max",
        &[
            "Processor context corrupt",
            "Kernel panic - not syncing: Fatal",
        ],
        &["EXIT rc", "is done"],
    ),
    (
        "silent",
        "",
        "mem:0x10000000:0@call=sched_get_priority_max",
        &["is wrong", "EXIT rc=3", "hold: other is done, all is well"],
        &["Hardware Error", "SIGBUS"],
    ),
];

pub(crate) fn trials() -> Vec<Trial> {
    ROWS.iter()
        .map(|row| Trial::ignorable_test(format!("memory-errors/{}", row.0), || run(row)))
        .collect()
}

fn run(&(_, words, fault, said, unsaid): &Row) -> Result<Completion, Failed> {
    if std::env::var_os("FITS_LONG").is_none() {
        return Ok(Completion::ignored_with("SKIPPED: long: set FITS_LONG=1"));
    }
    let guests = match guests::fetch(&guests::folder(&xtask::checkout()), &mut |_| ()) {
        Ok(guests) => guests,
        Err(error) => {
            return Ok(Completion::ignored_with(format!(
                "SKIPPED: no guests: {error}"
            )));
        }
    };
    let folder = tempfile::tempdir()?;
    let initrd = initrd(&guests, folder.path())?;
    let output = Command::new(env!("CARGO_BIN_EXE_fits"))
        .arg("vm")
        .arg("--kernel")
        .arg(guests.kernel(Flavour::Full))
        .arg("--initrd")
        .arg(initrd)
        .arg("--append")
        .arg(format!(
            "console=ttyS0 nokaslr cryptomgr.notests panic=-1 {words}"
        ))
        .args(["--max-instructions", "12000000000", "--fault", fault])
        .stdin(Stdio::null())
        .output()?;
    let console = String::from_utf8_lossy(&output.stdout);
    for part in said {
        if !console.contains(part) {
            return Err(format!("no {part:?} in {console}").into());
        }
    }
    match unsaid.iter().find(|part| console.contains(**part)) {
        Some(part) => Err(format!("{part:?} in {console}").into()),
        None => Ok(Completion::Completed),
    }
}

/// Busybox and the program that holds a page.
fn initrd(guests: &Guests, folder: &Path) -> Result<PathBuf, Failed> {
    let program = folder.join("hold");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels/hold.c");
    let compiled = Command::new("gcc")
        .args(["-O1", "-static", "-o"])
        .arg(&program)
        .arg(source)
        .status()?;
    if !compiled.success() {
        return Err("hold.c does not compile".into());
    }
    let mut archive = Archive::default();
    for path in ["bin", "dev", "proc"] {
        archive.directory(path);
    }
    archive.file("bin/busybox", 0o755, &std::fs::read(guests.busybox())?);
    archive.file("bin/hold", 0o755, &std::fs::read(program)?);
    for name in ["sh", "mount", "grep", "sleep", "poweroff"] {
        archive.link(&format!("bin/{name}"), "busybox");
    }
    archive.character_device("dev/console", 5, 1);
    // The shell gives it to what runs in the background.
    archive.character_device("dev/null", 1, 3);
    archive.file("init", 0o755, INIT.as_bytes());
    let initrd = folder.join("initrd");
    std::fs::write(&initrd, archive.finish())?;
    Ok(initrd)
}
