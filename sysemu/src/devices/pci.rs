//! PCI configuration space by ports 0xcf8 and 0xcfc: one bus with the host bridge (i440FX) on it.
//!
//! | offset | register |
//! |---|---|
//! | 0 | address |
//! | 1, as a byte | reset control |
//! | 4 | data |

use serde::{Deserialize, Serialize};

use crate::cpu::Stop;
use crate::devices::device::{Context, Device, number, put};
use crate::snapshot::State;

/// Vendor 8086, device 1237, class host bridge.
const HOST_BRIDGE: [(u8, u32); 3] = [(0, 0x1237_8086), (4, 0), (8, 0x0600_0002)];

/// The bus.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Pci {
    address: u32,
}

impl State for Pci {}

impl Pci {
    fn register(&self, offset: u64, size: usize) -> u32 {
        if offset < 4 {
            return if offset == 0 && size == 4 {
                self.address
            } else {
                u32::MAX
            };
        }
        if self.address & 1 << 31 == 0 || self.address & 0x00ff_ff00 != 0 {
            return u32::MAX;
        }
        let register = (self.address & 0xfc) as u8;
        let value = HOST_BRIDGE
            .iter()
            .find(|(at, _)| *at == register)
            .map_or(0, |(_, value)| *value);
        value >> (8 * (offset & 3))
    }
}

impl Device for Pci {
    fn read(&mut self, _: &mut Context, offset: u64, data: &mut [u8]) {
        let register = self.register(offset, data.len());
        put(data, register.into());
    }

    fn write(&mut self, context: &mut Context, offset: u64, data: &[u8]) {
        const RESET: u64 = 4;
        match (offset, data.len()) {
            (0, 4) => self.address = number(data) as u32 & 0x80ff_fffc,
            (1, 1) if number(data) & RESET != 0 => context.stop = Some(Stop::Reset),
            _ => {}
        }
    }

    fn reset(&mut self, _: &mut Context) {
        *self = Pci::default();
    }
}
