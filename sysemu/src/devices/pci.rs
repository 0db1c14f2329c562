//! PCI configuration space by ports 0xcf8 and 0xcfc: one bus with the host bridge (i440FX) on it.

/// Vendor 8086, device 1237, class host bridge.
const HOST_BRIDGE: [(u8, u32); 3] = [(0, 0x1237_8086), (4, 0), (8, 0x0600_0002)];

/// The bus.
#[derive(Clone, Debug, Default)]
pub struct Pci {
    address: u32,
}

impl Pci {
    /// Reads `size` bytes at an offset from port 0xcf8.
    #[must_use]
    pub fn read(&self, offset: u16, size: u8) -> u32 {
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

    /// Writes; the host bridge has nothing to configure.
    pub fn write(&mut self, offset: u16, size: u8, value: u32) {
        if offset == 0 && size == 4 {
            self.address = value & 0x80ff_fffc;
        }
    }
}
