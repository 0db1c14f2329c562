//! When a snapshot of the machine is taken, and what is restored.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use fits_sysemu::board::hardware::Hardware;
use fits_sysemu::cpu::Stop;
use fits_sysemu::machine::Machine;
use fits_sysemu::snapshot::{Plugins, Snapshot, SnapshotError, file};

use super::device::DeviceFlags;
use super::limits::Stopper;
use crate::cli::CliError;

/// The flags of snapshots.
#[derive(Debug, Args)]
#[command(next_help_heading = "Snapshots")]
pub(crate) struct SnapshotFlags {
    /// Go on from a snapshot instead of booting; what is typed comes after what the guest had not read yet
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, conflicts_with_all = ["kernel", "initrd", "append", "memory"])]
    restore: Option<PathBuf>,
    /// Take a snapshot of the whole machine: at the end of the run (--max-instructions, --timeout, a signal), or when the next two flags say
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    snapshot: Option<PathBuf>,
    /// Take it when so many instructions have retired since power-on
    #[arg(
        long,
        value_name = "N",
        requires = "snapshot",
        conflicts_with = "snapshot_when"
    )]
    snapshot_at: Option<u64>,
    /// Take it as soon as the guest has printed this text
    #[arg(long, value_name = "TEXT", requires = "snapshot")]
    snapshot_when: Option<String>,
    /// End the run when it is taken
    #[arg(long, requires = "snapshot")]
    snapshot_stop: bool,
}

impl SnapshotFlags {
    /// Whether one is to be taken.
    pub(super) fn asked(&self) -> bool {
        self.snapshot.is_some()
    }

    /// Whether the machine goes on from one.
    pub(super) fn restores(&self) -> bool {
        self.restore.is_some()
    }

    /// The snapshot to go on from.
    pub(super) fn restored(&self) -> Result<Option<Snapshot>, SnapshotError> {
        self.restore.as_deref().map(file::read).transpose()
    }
}

/// A machine that goes on from a snapshot. Devices of users that are in it must be given again.
pub(super) fn restore(
    snapshot: &Snapshot,
    hardware: Hardware,
    devices: &DeviceFlags,
) -> Result<Machine, CliError> {
    let memory = snapshot.description()?.memory;
    let mut machine = Machine::new(memory, hardware).map_err(SnapshotError::Host)?;
    devices.attach(&mut machine)?;
    Plugins::default().restart(snapshot, &mut machine)?;
    Ok(machine)
}

/// Takes a snapshot when it is time to.
pub(super) struct Taker {
    path: Option<PathBuf>,
    at: Option<u64>,
    text: Option<Vec<u8>>,
    ends_run: bool,
    /// The text was printed, and asked the machine to stop.
    printed: Arc<AtomicBool>,
    stopper: Stopper,
}

impl Taker {
    pub(super) fn new(flags: &SnapshotFlags, stopper: &Stopper) -> Self {
        Taker {
            path: flags.snapshot.clone(),
            at: flags.snapshot_at,
            text: flags.snapshot_when.clone().map(String::into_bytes),
            ends_run: flags.snapshot_stop,
            printed: Arc::default(),
            stopper: stopper.clone(),
        }
    }

    /// Lets the text be seen among what goes to `output`.
    pub(super) fn watch(&self, output: impl Write + 'static) -> Box<dyn Write> {
        match &self.text {
            None => Box::new(output),
            Some(text) => Box::new(Watched {
                output,
                text: text.clone(),
                tail: Vec::new(),
                printed: Arc::clone(&self.printed),
                stopper: self.stopper.clone(),
            }),
        }
    }

    /// Up to where the machine may run.
    pub(super) fn next(&self, retired: u64) -> u64 {
        match self.at {
            Some(at) if self.path.is_some() && at > retired => at,
            _ => u64::MAX,
        }
    }

    /// Whether it is time.
    pub(super) fn is_due(&self, machine: &Machine, stop: &Stop) -> bool {
        self.path.is_some()
            && match stop {
                Stop::Limit => self.at == Some(machine.retired()),
                Stop::Asked => self.printed.load(Ordering::Relaxed),
                _ => false,
            }
    }

    /// Takes it. The machine can go on.
    pub(super) fn take(&mut self, machine: &mut Machine) -> Result<(), SnapshotError> {
        let Some(path) = self.path.take() else {
            return Ok(());
        };
        let snapshot = Plugins::default().checkpoint(machine)?;
        file::write(&path, &snapshot)?;
        let retired = machine.retired();
        eprintln!(
            "fits: snapshot {} taken after {retired} instructions",
            path.display()
        );
        if self.printed.swap(false, Ordering::Relaxed) {
            self.stopper.go_on();
        }
        Ok(())
    }

    /// Whether the run ends with it.
    pub(super) fn ends_run(&self) -> bool {
        self.ends_run
    }

    /// The run has ended: takes the snapshot that was to be taken then.
    pub(super) fn finish(
        &mut self,
        machine: &mut Machine,
        stop: Option<&Stop>,
    ) -> Result<(), CliError> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let waited = match (&self.text, self.at) {
            (Some(text), _) => Some(format!(
                "the guest did not print \"{}\"",
                String::from_utf8_lossy(text)
            )),
            (None, Some(at)) => Some(format!("{at} instructions did not retire")),
            (None, None) if matches!(stop, Some(Stop::Limit | Stop::Asked)) => None,
            (None, None) => Some("the machine has ended by itself".to_owned()),
        };
        match waited {
            None => Ok(self.take(machine)?),
            Some(why) => Err(CliError::Machine(format!(
                "snapshot {} was not taken: {why}",
                path.display()
            ))),
        }
    }
}

/// Output in which a text is looked for.
struct Watched<W> {
    output: W,
    text: Vec<u8>,
    /// What was written last, as much as the text is long.
    tail: Vec<u8>,
    printed: Arc<AtomicBool>,
    stopper: Stopper,
}

impl<W: Write> Write for Watched<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        for byte in bytes {
            if self.text.is_empty() {
                break;
            }
            if self.tail.len() == self.text.len() {
                self.tail.remove(0);
            }
            self.tail.push(*byte);
            if self.tail == self.text {
                // Once.
                self.text.clear();
                self.printed.store(true, Ordering::Relaxed);
                self.stopper.interrupt();
            }
        }
        self.output.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.output.flush()
    }
}
