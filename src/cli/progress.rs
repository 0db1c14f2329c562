//! The progress line of a long run: instructions so far, rate, elapsed time; on a terminal only.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fits_tracer::backend::Progress;

/// How long a run is before it is called long.
const PATIENCE: Duration = Duration::from_secs(2);
const INTERVAL: Duration = Duration::from_millis(500);

/// A line that is kept up to date until this is dropped.
#[derive(Debug, Default)]
pub(crate) struct ProgressLine {
    running: Option<(Sender<()>, JoinHandle<()>)>,
}

impl ProgressLine {
    /// Starts the line if standard error is a terminal.
    pub(crate) fn start(progress: &Arc<Progress>) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::default();
        }
        let (stop, stopped) = channel();
        let progress = Arc::clone(progress);
        let thread = std::thread::spawn(move || {
            let started = Instant::now();
            let mut wait = PATIENCE;
            let mut shown = false;
            while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                show(&line(progress.instructions(), started.elapsed()));
                shown = true;
                wait = INTERVAL;
            }
            if shown {
                show("");
            }
        });
        Self {
            running: Some((stop, thread)),
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            // It has nothing to fail with.
            let _ = thread.join();
        }
    }
}

/// Replaces the line; the cursor stays at its start, so that the program's own output overwrites it.
fn show(line: &str) {
    // A terminal that is gone needs no progress.
    let _ = write!(std::io::stderr(), "\r\x1b[K{line}\r");
}

fn line(instructions: u64, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    let rate = instructions as f64 / elapsed.as_secs_f64().max(1e-3);
    format!(
        "fits: {} instructions, {}/s, {}:{:02}",
        scaled(instructions as f64),
        scaled(rate),
        seconds / 60,
        seconds % 60
    )
}

/// Three significant digits and a letter.
fn scaled(number: f64) -> String {
    let units = [(1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")];
    match units.iter().find(|unit| number >= unit.0) {
        Some((unit, letter)) => {
            let value = number / unit;
            let decimals = if value < 10.0 {
                2
            } else {
                usize::from(value < 100.0)
            };
            format!("{value:.decimals$}{letter}")
        }
        None => format!("{number:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_letter() {
        assert_eq!(scaled(999.0), "999");
        assert_eq!(scaled(45_678.0), "45.7 k");
        assert_eq!(scaled(1_234_000_000.0), "1.23 G");
        assert_eq!(
            line(3_000_000, Duration::from_secs(75)),
            "fits: 3.00 M instructions, 40.0 k/s, 1:15"
        );
    }
}
