//! Memory errors as a stock Debian kernel meets them: `tests/kernels/hold.c` holds a page, a machine check hits it, and the console says what the
//! kernel did. Each case boots the full kernel (the one with machine checks), so they run with `FITS_LONG=1` only.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fits_sysemu::boot::cpio::Archive;
use libtest_mimic::{Completion, Failed, Trial};
use serde_json::{Value, json};
use xtask::guests::{self, Flavour, Guests};

const INIT: &str = "#!/bin/sh\nmount -t proc proc /proc\nmount -t sysfs sysfs /sys\n\
                    [ \"$POLL\" ] && echo 1 > /sys/devices/system/machinecheck/machinecheck0/check_interval\nhold other &\nhold victim $HOLD\necho \"EXIT rc=$?\"\nwait\n\
                    grep HardwareCorrupted /proc/meminfo\nsleep 3\npoweroff -f\n";

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
        // The kernel reads the page for a program that writes it: it has a way out.
        "read-for-a-program",
        "HOLD=send",
        "mce:srar:0x10000000@call=sched_get_priority_max",
        &[
            "mce: Kernel accessed poison in user space at",
            "hold: the kernel has read -1 bytes: Bad address",
            "due to hardware memory corruption fault at 10000000",
            "EXIT rc=135",
            "hold: other is done, all is well",
            "HardwareCorrupted:     4 kB",
        ],
        &["victim is done", "Kernel panic"],
    ),
    (
        // The kernel reads a page of its own, of a file: it has none.
        "read-by-the-kernel",
        "HOLD=file",
        "mce:srar:0x10000000@call=sched_get_priority_max",
        &[
            "CPU 0: Machine Check Exception: 7 Bank 1: bd80000000000134",
            "RIP 10:<",
            "Machine check: Data load in unrecoverable area of kernel",
            "Kernel panic - not syncing: Fatal machine check",
        ],
        &["has read", "EXIT rc", "is done"],
    ),
    (
        "file-and-pipe-without-an-error",
        "\"HOLD=file send\"",
        "power@time=100000",
        &["hold: the kernel has read 4096 bytes: well", "EXIT rc=0"],
        &["Hardware Error", "SIGBUS", "Killing"],
    ),
    (
        "corrected-and-polled",
        "POLL=1",
        "mce:ce:0x10000000@call=sched_get_priority_max",
        &[
            "mce: [Hardware Error]: Machine check events logged",
            "mce: [Hardware Error]: CPU 0: Machine Check: 0 Bank 9: 8c0000000000009f",
            "mce: [Hardware Error]: TSC 0 ADDR ",
            " MISC 8c ",
            "mce: [Hardware Error]: PROCESSOR 0:60fb1 TIME ",
            " SOCKET 0 APIC 0 microcode 1",
            "hold: victim is done, all is well",
            "HardwareCorrupted:     0 kB",
        ],
        &["SIGBUS", "Killing", "Kernel panic"],
    ),
    (
        // The kernel looks every five minutes.
        "corrected-and-not-polled",
        "",
        "mce:ce:0x10000000@call=sched_get_priority_max",
        &["hold: victim is done, all is well"],
        &["Hardware Error", "SIGBUS", "Killing"],
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
        .map(|row| {
            Trial::ignorable_test(format!("memory-errors/{}", row.0), || {
                with_guests(|guests| run(guests, row))
            })
        })
        .chain([Trial::ignorable_test("memory-errors/by-monitor", || {
            with_guests(by_monitor)
        })])
        .collect()
}

fn with_guests(
    test: impl FnOnce(&Guests) -> Result<Completion, Failed>,
) -> Result<Completion, Failed> {
    if std::env::var_os("FITS_LONG").is_none() {
        return Ok(Completion::ignored_with("SKIPPED: long: set FITS_LONG=1"));
    }
    match guests::fetch(&guests::folder(&xtask::checkout()), &mut |_| ()) {
        Ok(guests) => test(&guests),
        Err(error) => Ok(Completion::ignored_with(format!(
            "SKIPPED: no guests: {error}"
        ))),
    }
}

/// A machine with the full kernel, which gets these words.
fn machine(guests: &Guests, folder: &Path, words: &str) -> Result<Command, Failed> {
    let initrd = initrd(guests, folder)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_fits"));
    command
        .arg("vm")
        .arg("--kernel")
        .arg(guests.kernel(Flavour::Full))
        .arg("--initrd")
        .arg(initrd)
        .arg("--append")
        .arg(format!(
            "console=ttyS0 nokaslr cryptomgr.notests panic=-1 {words}"
        ))
        .args(["--max-instructions", "12000000000"]);
    Ok(command)
}

fn run(guests: &Guests, &(_, words, fault, said, unsaid): &Row) -> Result<Completion, Failed> {
    let folder = tempfile::tempdir()?;
    let output = machine(guests, folder.path(), words)?
        .args(["--fault", fault])
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
    for path in ["bin", "dev", "proc", "sys"] {
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

/// What the kernel says of the errors of [`by_monitor`], as on another emulator whose monitor was told the same; its page, its process and the time are
/// the test's own.
const BY_MONITOR: &[&str] = &[
    "mce: [Hardware Error]: Machine check events logged",
    "mce: [Hardware Error]: CPU 0: Machine Check: 0 Bank 9: 8c0000000000009f",
    "mce: [Hardware Error]: TSC 0 ADDR PAGE000 MISC 8c",
    "mce: [Hardware Error]: PROCESSOR 0:60fb1 TIME now SOCKET 0 APIC 0 microcode 1",
    "mce: [Hardware Error]: Machine check events logged",
    "Memory failure: 0xPAGE: recovery action for dirty LRU page: Recovered",
    "MCE: Killing hold:PID due to hardware memory corruption fault at 10000000",
];

/// A client of the control socket tells the monitor of a corrected error in a page that a process holds, which the kernel finds by polling, and then
/// of one that the memory scrubber has found: the process is killed when it reads the page.
fn by_monitor(guests: &Guests) -> Result<Completion, Failed> {
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("socket");
    let mut child = machine(guests, folder.path(), "POLL=1 HOLD=where")?
        .args([
            "--qmp",
            &format!("unix:{},server,wait=off", socket.display()),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let typed = child.stdin.take().ok_or("it has an input")?;
    let output = child.stdout.take().ok_or("it has an output")?;
    let talked = talk(&socket, typed, BufReader::new(output));
    if talked.is_err() {
        child.kill()?;
    }
    let status = child.wait()?;
    let (console, page) = talked?;
    let line = |line: &str| {
        let line = line
            .split_once("] ")
            .map_or(line, |(_, line)| line)
            .trim_end();
        let about = ["mce:", "Memory failure:", "MCE:"].iter();
        let about = about.clone().any(|begin| line.starts_with(begin));
        about.then(|| line.replace(&page, "PAGE"))
    };
    let said: Vec<String> = console.lines().filter_map(line).map(anonymous).collect();
    if said != BY_MONITOR {
        return Err(format!("{said:#?}\n{console}").into());
    }
    for part in [
        "EXIT rc=135",
        "hold: other is done, all is well",
        "HardwareCorrupted:     4 kB",
    ] {
        if !console.contains(part) {
            return Err(format!("no {part:?} in {console}").into());
        }
    }
    if !status.success() {
        return Err(format!("fits ended with {status}: {console}").into());
    }
    Ok(Completion::Completed)
}

/// A line without the time of day and the number of a process.
fn anonymous(line: String) -> String {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    for at in 1..words.len() {
        if words[at - 1] == "TIME" {
            words[at] = "now".into();
        } else if words[at].starts_with("hold:") && words[at - 1] == "Killing" {
            words[at] = "hold:PID".into();
        }
    }
    words.join(" ")
}

/// What the machine prints, and the number of the page in hexadecimal digits.
fn talk(
    socket: &Path,
    mut typed: impl Write,
    mut output: impl BufRead,
) -> Result<(String, String), Failed> {
    let mut console = String::new();
    let mut until = |text: &str| -> Result<String, Failed> {
        let mut line = String::new();
        while output.read_line(&mut line)? != 0 {
            console.push_str(&line);
            if line.contains(text) {
                return Ok(line);
            }
            line.clear();
        }
        Err(format!("no {text:?} in {console}").into())
    };
    let line = until("hold: physical 0x")?;
    let (_, page) = line.split_once("0x").ok_or("an address")?;
    let page = page.trim().strip_suffix("000").ok_or("a page")?.to_owned();
    let stream = UnixStream::connect(socket)?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let mut call = |command: Value| -> Result<(Value, Vec<Value>), Failed> {
        writeln!(&stream, "{command}")?;
        let mut events = Vec::new();
        loop {
            let mut line = String::new();
            answers.read_line(&mut line)?;
            let message: Value = serde_json::from_str(&line)?;
            if message.get("return").is_some() || message.get("error").is_some() {
                return Ok((message, events));
            }
            events.push(message);
        }
    };
    call(json!({"execute": "qmp_capabilities"}))?;
    let mut monitor = |line: &str| -> Result<(String, Vec<Value>), Failed> {
        let arguments = json!({"command-line": line});
        let (answer, events) =
            call(json!({"execute": "human-monitor-command", "arguments": arguments}))?;
        let said = answer["return"].as_str().ok_or("a text")?;
        Ok((said.to_owned(), events))
    };
    let (said, _) = monitor("mce 0 99 0x8c0000000000009f 0 0 0")?;
    if !said.contains("bank 99 does not exist") {
        return Err(format!("{said:?}").into());
    }
    for (command, seen) in [
        (
            format!("mce 0 9 0x8c0000000000009f 0x0 0x{page}000 0x8c"),
            "microcode 1",
        ),
        (
            format!("mce -b 0 9 0xbd000000000000c0 0x5 0x{page}000 0x8c"),
            "Recovered",
        ),
    ] {
        let (said, events) = monitor(&command)?;
        let told = events
            .iter()
            .find(|event| event["event"] == "MEMORY_FAILURE");
        let data = told.map(|event| &event["data"]);
        let flags = json!({"recursive": false, "action-required": false});
        let expected = json!({"recipient": "guest", "action": "inject", "flags": flags});
        if !said.is_empty() || data != Some(&expected) {
            return Err(format!("{command}: {said:?} {events:?}").into());
        }
        until(seen)?;
    }
    writeln!(typed)?;
    // Its input stays open until the machine has ended.
    let mut rest = String::new();
    output.read_to_string(&mut rest)?;
    drop(typed);
    Ok((console + &rest, page))
}
