//! The control socket.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use clap::Args;
use fits_sysemu::boot::Boot;
use fits_sysemu::cpu::Stop;
use fits_sysemu::machine::Machine;
use fits_sysemu::qmp::{Address, Control, Ended, Level, Server, Trace};

use super::faults::{Faults, Shared};
use crate::cli::CliError;

/// The flags of the control socket.
#[derive(Debug, Args)]
#[command(next_help_heading = "Control")]
pub(crate) struct QmpFlags {
    /// Listen for clients of QEMU's machine protocol: unix:PATH, tcp:HOST:PORT or HOST:PORT, with the options server, wait=on, wait=off
    ///
    /// Without wait=off the machine starts when a client has connected. A UNIX socket is open to its owner alone, a TCP port to everybody who can reach it.
    #[arg(long, value_name = "PLACE", conflicts_with = "snapshot")]
    qmp: Option<Address>,
    /// Do not start the machine: a client does, with cont
    #[arg(short = 'S', requires = "qmp")]
    paused: bool,
    /// Write what clients ask for, answers and events to a file, each with its virtual time
    #[arg(long, value_name = "FILE", requires = "qmp", value_hint = clap::ValueHint::FilePath)]
    qmp_trace: Option<PathBuf>,
    /// How much is traced: 1 is what is done and events, 2 every message; without --qmp-trace on standard error
    #[arg(long, value_name = "LEVEL", requires = "qmp", value_parser = level)]
    qmp_debug: Option<Level>,
}

fn level(text: &str) -> Result<Level, String> {
    match text {
        "0" => Ok(Level::Nothing),
        "1" => Ok(Level::Actions),
        "2" => Ok(Level::Messages),
        _ => Err("a level is 0, 1 or 2".into()),
    }
}

impl QmpFlags {
    /// Whether there is to be a socket.
    pub(super) fn asked(&self) -> bool {
        self.qmp.is_some()
    }

    /// Listens from now on, where that was asked for. `boot` is what a reset starts again; none where the machine goes on from a
    /// snapshot, which a reset then ends.
    /// `faults` are those that clients add to.
    pub(super) fn control(
        &self,
        boot: Option<Boot>,
        faults: Option<&Rc<RefCell<Faults>>>,
    ) -> Result<Option<Control>, CliError> {
        let Some(address) = &self.qmp else {
            return Ok(None);
        };
        let server = Server::listen(address, self.trace()?).map_err(CliError::Machine)?;
        if address.wait && !self.paused {
            eprintln!("fits: waiting for a client at {}", address.kind);
        }
        let control = Control::new(server, self.paused, address.wait, boot);
        Ok(Some(match faults {
            Some(faults) => control.carried_by(Box::new(Shared(Rc::clone(faults)))),
            None => control,
        }))
    }

    fn trace(&self) -> Result<Trace, CliError> {
        match (&self.qmp_trace, self.qmp_debug) {
            (Some(path), level) => Trace::file(path, level.unwrap_or(Level::Messages))
                .map_err(CliError::file("create", path)),
            (None, Some(level)) => Ok(Trace::to(Box::new(std::io::stderr()), level)),
            (None, None) => Ok(Trace::default()),
        }
    }
}

/// Runs the machine as clients want it; none where one of them ended it.
pub(super) fn carry_on(mut control: Control, machine: &mut Machine, limit: u64) -> Option<Stop> {
    match control.run(machine, limit) {
        Ended::Quit => None,
        Ended::Stopped(stop) => Some(stop),
    }
}
