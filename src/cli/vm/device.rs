//! Devices that users write, as processes of their own.

use clap::Args;
use fits_sysemu::machine::Machine;
use fits_sysemu::user::{Remote, RemotePlacement, attach};

use crate::cli::CliError;

/// The flags of devices.
#[derive(Debug, Args)]
#[command(next_help_heading = "Devices")]
pub(crate) struct DeviceFlags {
    /// Attach a device whose process listens at a UNIX socket: socket=PATH with mmio=ADDRESS+SIZE or port=ADDRESS+SIZE, and perhaps irq=N, name=NAME, timeout=MS
    ///
    /// The machine waits for an answer no longer than the timeout (1000 ms); a device that is late, ends or talks nonsense reads all ones from then on.
    #[arg(long, value_name = "DEVICE")]
    device: Vec<RemotePlacement>,
}

impl DeviceFlags {
    /// Whether there are any.
    pub(super) fn asked(&self) -> bool {
        !self.device.is_empty()
    }

    /// Connects to all of them and switches them on.
    pub(super) fn attach(&self, machine: &mut Machine) -> Result<(), CliError> {
        for place in &self.device {
            let device = Remote::connect(place).map_err(CliError::Usage)?;
            attach(machine, &place.placement, Box::new(device)).map_err(CliError::Usage)?;
        }
        Ok(())
    }
}
