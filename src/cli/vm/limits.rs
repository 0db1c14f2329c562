//! When a run is ended from outside: after a time, after a number of instructions, by a signal, by a key.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use clap::Args;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::cli::CliError;

/// The flags that limit a run.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitFlags {
    /// Stop after this many seconds of real time
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Stop after this many instructions
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    pub(super) max_instructions: u64,
}

/// Who asked the machine to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// `--timeout`, with its seconds.
    Timeout(u64),
    /// A signal.
    Signal(i32),
    /// Ctrl-A x.
    Key,
}

const NOBODY: u8 = 0;
const TIMEOUT: u8 = 1;
const KEY: u8 = 2;

/// Asks the machine to stop, and remembers who was first.
#[derive(Clone, Debug)]
pub(super) struct Stopper {
    machine: Arc<AtomicBool>,
    asker: Arc<AtomicU8>,
    signals: [(i32, Arc<AtomicBool>); 3],
    seconds: u64,
}

impl Stopper {
    /// Watches signals and the clock from now on; `machine` is what stops the machine.
    pub(super) fn start(flags: &LimitFlags, machine: Arc<AtomicBool>) -> Result<Self, CliError> {
        let signals = [SIGINT, SIGTERM, SIGHUP].map(|signal| (signal, Arc::default()));
        for (signal, seen) in &signals {
            for flag in [seen, &machine] {
                signal_hook::flag::register(*signal, Arc::clone(flag)).map_err(|error| {
                    CliError::Machine(format!("cannot handle signals: {error}"))
                })?;
            }
        }
        let stopper = Stopper {
            machine,
            asker: Arc::default(),
            signals,
            seconds: flags.timeout.unwrap_or_default(),
        };
        if let Some(seconds) = flags.timeout {
            let stopper = stopper.clone();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_secs(seconds));
                stopper.stop(TIMEOUT);
            });
        }
        Ok(stopper)
    }

    /// The key to quit was pressed.
    pub(super) fn key(&self) {
        self.stop(KEY);
    }

    fn stop(&self, asker: u8) {
        // Only the first counts.
        let _ = self
            .asker
            .compare_exchange(NOBODY, asker, Ordering::Relaxed, Ordering::Relaxed);
        self.machine.store(true, Ordering::Relaxed);
    }

    /// Interrupts the machine, on nobody's account: it goes on with [`Stopper::go_on`].
    pub(super) fn interrupt(&self) {
        self.machine.store(true, Ordering::Relaxed);
    }

    /// The machine may go on, if nobody but us has asked it to stop.
    pub(super) fn go_on(&self) {
        self.machine.store(false, Ordering::Relaxed);
        let signaled = self
            .signals
            .iter()
            .any(|(_, seen)| seen.load(Ordering::Relaxed));
        if signaled || self.asker.load(Ordering::Relaxed) != NOBODY {
            self.machine.store(true, Ordering::Relaxed);
        }
    }

    /// Who asked.
    pub(super) fn asker(&self) -> Asker {
        let signal = self
            .signals
            .iter()
            .find(|(_, seen)| seen.load(Ordering::Relaxed));
        match (self.asker.load(Ordering::Relaxed), signal) {
            (TIMEOUT, _) => Asker::Timeout(self.seconds),
            (_, Some(&(signal, _))) => Asker::Signal(signal),
            _ => Asker::Key,
        }
    }
}
