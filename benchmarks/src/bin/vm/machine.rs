//! One boot: an emulator, what it prints, and when.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::guest::Guest;

/// What executes the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Interpreter,
    Translated,
    Qemu,
}

impl Engine {
    pub(crate) const ALL: [Engine; 3] = [Engine::Interpreter, Engine::Translated, Engine::Qemu];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Engine::Interpreter => "fits, interpreter",
            Engine::Translated => "fits, translated",
            Engine::Qemu => "QEMU, TCG",
        }
    }

    fn command(self, fits: &Path, kernel: &Path, initrd: &Path) -> Command {
        const APPEND: &str = "console=ttyS0 panic=-1";
        let mut command = match self {
            Engine::Interpreter | Engine::Translated => {
                let mut command = Command::new(fits);
                let stage = if self == Engine::Interpreter {
                    "interpreter"
                } else {
                    "translated"
                };
                command.args(["vm", "--memory", "256M", "--stage", stage]);
                // As QEMU does it.
                command.args(["--entry", "bzimage", "--kernel"]);
                command.arg(kernel).arg("--initrd");
                command
            }
            Engine::Qemu => {
                let mut command = Command::new("qemu-system-x86_64");
                command.args(["-accel", "tcg", "-M", "pc", "-smp", "1", "-m", "256"]);
                command.args(["-nodefaults", "-display", "none", "-serial", "stdio"]);
                command.args(["-no-reboot", "-kernel"]);
                command.arg(kernel).arg("-initrd");
                command
            }
        };
        command.arg(initrd);
        command.args([
            if self == Engine::Qemu {
                "-append"
            } else {
                "--append"
            },
            APPEND,
        ]);
        command
    }
}

/// Its version, or that there is none.
pub(crate) fn qemu_version() -> String {
    let output = Command::new("qemu-system-x86_64").arg("--version").output();
    output.map_or_else(
        |_| "no QEMU".to_owned(),
        |output| {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.lines().next().unwrap_or("no QEMU").to_owned()
        },
    )
}

/// Seconds since the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time {
    pub(crate) wall: f64,
    /// Of the emulator, all its threads.
    pub(crate) cpu: f64,
}

/// A part of a boot.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) time: Time,
    /// Instructions of the guest, and iterations; 0 where they are not known.
    pub(crate) instructions: f64,
    pub(crate) iterations: f64,
}

/// All parts of the boots: the first is the way to the shell.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) parts: Vec<Part>,
    /// KiB that the emulator had at most, in any boot.
    pub(crate) peak: u64,
}

/// A running emulator.
struct Running {
    child: Child,
    start: Instant,
    printed: String,
}

impl Running {
    fn now(&self) -> Result<Time> {
        let path = format!("/proc/{}/stat", self.child.id());
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let fields: Vec<&str> = text
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let ticks = |index: usize| {
            fields
                .get(index)
                .and_then(|field| field.parse::<f64>().ok())
        };
        let (Some(user), Some(system)) = (ticks(11), ticks(12)) else {
            bail!("{path} has no processor times");
        };
        const TICKS_PER_SECOND: f64 = 100.0;
        Ok(Time {
            wall: self.start.elapsed().as_secs_f64(),
            cpu: (user + system) / TICKS_PER_SECOND,
        })
    }

    /// KiB that it had at most.
    fn peak(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let words = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = words.and_then(|words| words.split_whitespace().next()?.parse().ok());
        number.with_context(|| format!("{path} has no VmHWM"))
    }

    /// Waits for the guest to print something.
    fn more(&mut self) -> Result<()> {
        let mut buffer = [0; 4096];
        let output = self.child.stdout.as_mut();
        let output = output.context("standard output is a pipe")?;
        let count = output
            .read(&mut buffer)
            .context("cannot read the console")?;
        if count == 0 {
            bail!("the emulator ended: {}", self.printed);
        }
        let text = String::from_utf8_lossy(&buffer[..count]);
        self.printed.push_str(&text);
        Ok(())
    }

    /// Reads until `text` has been printed; what is behind it stays for the next time.
    fn wait_for(&mut self, text: &str) -> Result<Time> {
        loop {
            if let Some(at) = self.printed.find(text) {
                self.printed.drain(..at + text.len());
                return self.now();
            }
            let more = self.more();
            more.with_context(|| format!("waiting for {text:?}"))?;
        }
    }

    fn line(&mut self) -> Result<String> {
        while !self.printed.contains('\n') {
            self.more().context("waiting for the end of a line")?;
        }
        Ok(self.printed.lines().next().unwrap_or_default().to_owned())
    }

    fn send(&mut self, text: &str) -> Result<()> {
        let input = self
            .child
            .stdin
            .as_mut()
            .context("standard input is a pipe")?;
        input.write_all(text.as_bytes())?;
        input.flush()?;
        Ok(())
    }
}

/// Boots the small kernel to the shell and runs the loops with their lengths divided; then boots the full one to the shell.
pub(crate) fn measure(
    engine: Engine,
    fits: &Path,
    guest: &Guest,
    divisor: u32,
) -> Result<Measured> {
    let command = |kernel| engine.command(fits, kernel, &guest.initrd);
    let small = boot(command(&guest.kernel), |running| {
        let mut parts = vec![to_the_shell(running, "to the shell")?];
        loops(running, divisor, &mut parts)?;
        Ok(parts)
    })
    .with_context(|| engine.name())?;
    let full = boot(command(&guest.full), |running| {
        Ok(vec![to_the_shell(running, "full kernel to the shell")?])
    })
    .with_context(|| engine.name())?;
    Ok(Measured {
        parts: [small.parts, full.parts].concat(),
        peak: small.peak.max(full.peak),
    })
}

/// Starts an emulator, does this with it, and switches the guest off.
fn boot(
    mut command: Command,
    measure: impl FnOnce(&mut Running) -> Result<Vec<Part>>,
) -> Result<Measured> {
    let child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .context("cannot start the emulator")?;
    let mut running = Running {
        child,
        start: Instant::now(),
        printed: String::new(),
    };
    let measured = measure(&mut running).and_then(|parts| {
        let peak = running.peak()?;
        running.send("poweroff -f\n")?;
        running.wait_for("Power down")?;
        Ok(Measured { parts, peak })
    });
    if measured.is_err() {
        running.child.kill().context("cannot end the emulator")?;
    }
    let status = running.child.wait().context("cannot wait")?;
    let measured = measured?;
    if !status.success() {
        bail!("the emulator ended with {status}");
    }
    Ok(measured)
}

const LOOPS: [&str; 5] = ["integer", "memory", "branch", "vector", "system calls"];

fn to_the_shell(running: &mut Running, name: &str) -> Result<Part> {
    Ok(Part {
        name: name.to_owned(),
        time: running.wait_for("/ # ")?,
        instructions: 0.0,
        iterations: 0.0,
    })
}

fn loops(running: &mut Running, divisor: u32, parts: &mut Vec<Part>) -> Result<()> {
    running.send(&format!("vm_loops {divisor}\n"))?;
    for name in LOOPS {
        let begin = running.wait_for(&format!("BEGIN {name}\r\n"))?;
        let end = running.wait_for(&format!("END {name}"))?;
        let line = running.line()?;
        let mut numbers = line.split_whitespace().map(str::parse::<f64>);
        let (Some(Ok(instructions)), Some(Ok(iterations))) = (numbers.next(), numbers.next())
        else {
            bail!("the guest printed {line:?} behind a loop");
        };
        parts.push(Part {
            name: name.into(),
            time: Time {
                wall: end.wall - begin.wall,
                cpu: end.cpu - begin.cpu,
            },
            instructions,
            iterations,
        });
    }
    running.wait_for("/ # ")?;
    Ok(())
}
