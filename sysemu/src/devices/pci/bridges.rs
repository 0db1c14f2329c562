//! The bridges of an Intel 440FX with a PIIX3: host bridge, and ISA bridge with its routing of PCI interrupts to ISA lines.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::devices::device::Context;
use crate::devices::object::Object;
use crate::devices::pci::{Config, Function, Identity};
use crate::snapshot::State;

/// A bridge: nothing but configuration space.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bridge {
    config: Config,
}

impl State for Bridge {}

const INTEL: u16 = 0x8086;
/// Where the routing registers of the four PCI interrupts are.
const ROUTING: usize = 0x60;
/// In a routing register: not routed.
const UNROUTED: u8 = 0x80;
/// The ISA lines that firmware routes the four PCI interrupts to.
pub const FIRMWARE_ROUTING: [u8; 4] = [10, 11, 10, 11];

impl Bridge {
    /// The host bridge, 82441FX. Registers that configure a real memory controller can be written, and do nothing.
    #[must_use]
    pub fn host() -> Self {
        let mut config = Config::new(&Identity {
            vendor: INTEL,
            device: 0x1237,
            subsystem_vendor: 0,
            subsystem: 0,
            class: 0x06_0000,
            revision: 2,
        });
        // Programmable attributes, DRAM rows.
        config.allow(0x59, &[0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33]);
        config.put(0x59, &[0x30, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33]);
        Bridge { config }
    }

    /// The ISA bridge, 82371SB.
    #[must_use]
    pub fn isa() -> Self {
        let mut config = Config::new(&Identity {
            vendor: INTEL,
            device: 0x7000,
            subsystem_vendor: 0,
            subsystem: 0,
            class: 0x06_0100,
            revision: 0,
        })
        .multifunction();
        config.set_command(7);
        config.allow(ROUTING, &[0x8f; 4]);
        config.put(ROUTING, &FIRMWARE_ROUTING);
        Bridge { config }
    }

    fn is_isa(&self) -> bool {
        self.config.get(9, 3) == [0, 1, 6]
    }

    /// The ISA line that PCI interrupt `index` is routed to.
    #[must_use]
    pub fn route(&self, index: usize) -> Option<u8> {
        let value = self.config.byte(ROUTING + index);
        let line = value & 0xf;
        // 0, 1, 2, 8 and 13 are reserved.
        let possible = 0b1101_1110_1111_1000 >> line & 1 != 0;
        (value & UNROUTED == 0 && possible).then_some(line)
    }
}

impl Function for Bridge {
    fn config(&self) -> &Config {
        &self.config
    }

    fn config_mut(&mut self) -> &mut Config {
        &mut self.config
    }

    fn read(&mut self, _: &mut Context, _: usize, _: u64, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn write(&mut self, _: &mut Context, _: usize, _: u64, _: &[u8]) {}

    fn reset(&mut self, _: &mut Context) {}

    fn object(&self) -> &dyn Object {
        self
    }

    fn object_mut(&mut self) -> &mut dyn Object {
        self
    }
}

/// The routing registers, of the bridge that has them.
impl Object for Bridge {
    fn kind(&self) -> &'static str {
        if self.is_isa() { "PIIX3" } else { "i440FX" }
    }

    fn state(&self) -> Value {
        if self.is_isa() {
            json!({"routing": self.config.get(ROUTING, 4)})
        } else {
            json!({})
        }
    }

    fn set_state(&mut self, state: Value) -> Result<(), String> {
        if state["routing"] == self.state()["routing"] {
            return Ok(());
        }
        // The board has to hear of it.
        Err("configuration space is written at ports 0xcf8 and 0xcfc".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupts_are_routed_where_software_says() {
        let mut bridge = Bridge::isa();
        assert_eq!(bridge.route(1), Some(11));
        bridge.config_mut().write(0x61, &[5]);
        assert_eq!(bridge.route(1), Some(5));
        bridge.config_mut().write(0x61, &[0x80]);
        assert_eq!(bridge.route(1), None);
        bridge.config_mut().write(0x61, &[13]);
        assert_eq!(bridge.route(1), None, "reserved");
    }
}
