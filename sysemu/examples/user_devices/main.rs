//! Devices written in Rust, as processes of their own: `user_devices sensor|dma|watchdog SOCKET`.
//!
//! `fits vm --device socket=SOCKET,mmio=0xfd000000+0x1000,irq=5` puts one into a machine. The same devices can be attached in the machine's own
//! process, with `fits_sysemu::user::attach`.

mod dma;
mod sensor;
mod watchdog;

use std::os::unix::net::UnixListener;
use std::process::ExitCode;

use fits_sysemu::user::{UserDevice, serve};

fn device(name: &str) -> Option<Box<dyn UserDevice>> {
    Some(match name {
        "sensor" => Box::new(sensor::Sensor::default()),
        "dma" => Box::new(dma::Dma::default()),
        "watchdog" => Box::new(watchdog::Watchdog::default()),
        _ => return None,
    })
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, path] = arguments.as_slice() else {
        eprintln!("usage: user_devices sensor|dma|watchdog SOCKET");
        return ExitCode::from(2);
    };
    let Some(mut device) = device(name) else {
        eprintln!("there is no device {name}: sensor, dma, watchdog");
        return ExitCode::from(2);
    };
    let served = UnixListener::bind(path).and_then(|listener| {
        let (stream, _) = listener.accept()?;
        serve(&stream, &mut *device)
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{path}: {error}");
            ExitCode::FAILURE
        }
    }
}
