//! A port that ends the machine with a status, for tests that run in it.

use serde::{Deserialize, Serialize};

use crate::cpu::Stop;
use crate::devices::device::{Context, Device, number};
use crate::devices::object::{Object, Registers};
use crate::snapshot::State;

/// The port.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct DebugExit;

impl State for DebugExit {}

impl Registers for DebugExit {
    const KIND: &'static str = "isa-debug-exit";
}

impl Device for DebugExit {
    fn read(&mut self, _: &mut Context, _: u64, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn write(&mut self, context: &mut Context, _: u64, data: &[u8]) {
        context.stop = Some(Stop::DebugExit(number(data) as u32));
    }

    fn reset(&mut self, _: &mut Context) {}

    fn object(&mut self) -> Option<&mut dyn Object> {
        Some(self)
    }
}
