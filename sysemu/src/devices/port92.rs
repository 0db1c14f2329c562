//! System control port A (0x92): the fast reset. The address line A20, its other bit, is always on.

use serde::{Deserialize, Serialize};

use crate::cpu::Stop;
use crate::devices::device::{Context, Device};
use crate::devices::object::{Object, Registers};
use crate::snapshot::State;

/// The port.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Port92;

const RESET: u8 = 1;
const A20: u8 = 2;

impl State for Port92 {}

impl Registers for Port92 {
    const KIND: &'static str = "port92";
}

impl Device for Port92 {
    fn read(&mut self, _: &mut Context, _: u64, data: &mut [u8]) {
        data.fill(A20);
    }

    fn write(&mut self, context: &mut Context, _: u64, data: &[u8]) {
        if data[0] & RESET != 0 {
            context.stop = Some(Stop::Reset);
        }
    }

    fn reset(&mut self, _: &mut Context) {}

    fn object(&mut self) -> Option<&mut dyn Object> {
        Some(self)
    }
}
