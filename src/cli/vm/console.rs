//! The guest's serial console on standard input and output, and in a file.

use std::cell::RefCell;
use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use clap::Args;
use fits_sysemu::board::console::Input;

use super::limits::Stopper;
use super::terminal::Keys;
use crate::cli::CliError;

/// The flags of the console.
#[derive(Debug, Args)]
#[command(next_help_heading = "Console")]
pub(crate) struct ConsoleFlags {
    /// Write what the guest prints to a file as well
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    console: Option<PathBuf>,
}

/// The first failure to write, for the end of the run.
pub(super) type Failure = Rc<RefCell<Option<CliError>>>;

/// Standard output, and the console's file beside it. What is written is kept until a line ends or the guest waits.
pub(super) struct Both {
    output: std::io::Stdout,
    file: Option<(PathBuf, File)>,
    line: Vec<u8>,
    sent: Instant,
    failure: Failure,
}

/// How long something may lie about that is no whole line.
const DELAY: Duration = Duration::from_millis(5);

impl Both {
    /// Creates the file.
    pub(super) fn open(flags: &ConsoleFlags) -> Result<Self, CliError> {
        let file = match &flags.console {
            Some(path) => {
                let file = File::create(path).map_err(CliError::file("create", path))?;
                Some((path.clone(), file))
            }
            None => None,
        };
        Ok(Both {
            output: std::io::stdout(),
            file,
            line: Vec::new(),
            sent: Instant::now(),
            failure: Failure::default(),
        })
    }

    /// Where a failure will be.
    pub(super) fn failure(&self) -> Failure {
        Rc::clone(&self.failure)
    }

    fn send(&mut self) {
        self.sent = Instant::now();
        let line = std::mem::take(&mut self.line);
        if let Some((path, file)) = &mut self.file {
            let result = file.write_all(&line);
            note(&self.failure, result, path);
        }
        let result = self
            .output
            .write_all(&line)
            .and_then(|()| self.output.flush());
        // A reader that has seen enough is no failure.
        if !matches!(&result, Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe) {
            note(&self.failure, result, "standard output".as_ref());
        }
    }
}

fn note(failure: &Failure, result: std::io::Result<()>, path: &std::path::Path) {
    if let Err(error) = result {
        failure
            .borrow_mut()
            .get_or_insert_with(|| CliError::file("write to", path)(error));
    }
}

impl Write for Both {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.line.extend_from_slice(bytes);
        if self.line.len() > 4000 || bytes.contains(&b'\n') {
            self.send();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        // The port flushes after each byte, the board when the guest idles.
        if !self.line.is_empty() && self.sent.elapsed() > DELAY {
            self.send();
        }
        Ok(())
    }
}

impl Drop for Both {
    fn drop(&mut self) {
        self.send();
    }
}

/// What the guest reads: all of a file, or what comes.
pub(super) fn input(stopper: &Stopper) -> Input {
    let stdin = std::io::stdin();
    let terminal = stdin.is_terminal();
    let regular = std::fs::metadata("/dev/stdin").is_ok_and(|data| data.is_file());
    if regular && !terminal {
        let mut bytes = Vec::new();
        return match stdin.lock().read_to_end(&mut bytes) {
            Ok(_) => Input::Fixed(bytes),
            Err(_) => Input::None,
        };
    }
    let (sender, receiver) = channel();
    let stopper = stopper.clone();
    std::thread::spawn(move || {
        let mut keys = Keys::default();
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = std::io::stdin().read(&mut buffer) {
            let typed = if terminal {
                keys.typed(&buffer[..count])
            } else {
                Some(buffer[..count].to_vec())
            };
            let Some(bytes) = typed else {
                stopper.key();
                break;
            };
            if sender.send(bytes).is_err() {
                break;
            }
        }
    });
    Input::Live(receiver)
}
