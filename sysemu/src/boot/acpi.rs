//! ACPI tables: processor and interrupt controllers, power management, the sleep state that switches off.

use crate::board::pc::{IOAPIC, LAPIC, POWER};
use crate::devices::lines::PCI_LINE;
use crate::devices::pci::bridges::FIRMWARE_ROUTING;
use crate::devices::power::OFF;
use acpi_tables::Aml;
use acpi_tables::aml::{
    self, EISAName, IO, Interrupt, Name, Package, PackageBuilder, Path, ResourceTemplate, Scope,
};
use acpi_tables::sdt::Sdt;

/// Where the tables begin: the root pointer is searched for here, too.
pub(super) const AREA: u64 = 0xe_0000;

const OEM: [u8; 6] = *b"FITS  ";
const TABLE: [u8; 8] = *b"FITSPC  ";

fn table(signature: &[u8; 4], length: u32, revision: u8) -> Sdt {
    Sdt::new(*signature, length, revision, OEM, TABLE, 1)
}

/// The tables as bytes for [`AREA`].
pub(super) fn tables() -> Vec<u8> {
    let mut area = vec![0; 64];
    let dsdt = add(&mut area, dsdt().as_slice());
    let facs = add(&mut area, &facs());
    let fadt = add(&mut area, fadt(dsdt, facs).as_slice());
    let madt = add(&mut area, madt().as_slice());
    let mut xsdt = table(b"XSDT", 36, 1);
    for address in [fadt, madt] {
        xsdt.append_slice(&address.to_le_bytes());
    }
    let xsdt = add(&mut area, xsdt.as_slice());
    let mut root = Vec::new();
    acpi_tables::rsdp::Rsdp::new(OEM, xsdt).to_aml_bytes(&mut root);
    area[..root.len()].copy_from_slice(&root);
    area
}

/// Appends, aligned to 64 bytes: the address.
fn add(area: &mut Vec<u8>, bytes: &[u8]) -> u64 {
    area.resize(area.len().next_multiple_of(64), 0);
    let address = AREA + area.len() as u64;
    area.extend_from_slice(bytes);
    address
}

fn dsdt() -> Sdt {
    let mut code = Vec::new();
    let off = Package::new(vec![&OFF, &OFF, &aml::ZERO, &aml::ZERO]);
    Name::new(Path::new("_S5_"), &off).to_aml_bytes(&mut code);
    // The operating system says which interrupt controllers it uses: 0 the old ones, 1 the APICs.
    let model = Path::new("PICF");
    Name::new(Path::new("PICF"), &aml::ZERO).to_aml_bytes(&mut code);
    let keep = aml::Store::new(&model, &aml::Arg(0));
    aml::Method::new(Path::new("_PIC"), 1, false, vec![&keep]).to_aml_bytes(&mut code);
    let port_id = EISAName::new("PNP0501");
    let port = IO::new(0x3f8, 0x3f8, 0, 8);
    let line = Interrupt::new(true, true, false, false, 4);
    let resources = ResourceTemplate::new(vec![&port, &line]);
    let identity = Name::new(Path::new("_HID"), &port_id);
    let unique = Name::new(Path::new("_UID"), &aml::ZERO);
    let current = Name::new(Path::new("_CRS"), &resources);
    let serial = aml::Device::new(Path::new("COM1"), vec![&identity, &unique, &current]);

    let bridge_id = EISAName::new("PNP0A03");
    let buses = aml::AddressSpace::new_bus_number(0_u16, 0_u16);
    let configuration = IO::new(0xcf8, 0xcf8, 1, 8);
    let below = aml::AddressSpace::new_io(0_u16, 0xcf7_u16, None);
    let above = aml::AddressSpace::new_io(0xd00_u16, 0xffff_u16, None);
    let window = aml::AddressSpace::new_memory(
        aml::AddressSpaceCacheable::NotCacheable,
        true,
        0xc000_0000_u32,
        0xfebf_ffff_u32,
        None,
    );
    let bridge_resources =
        ResourceTemplate::new(vec![&buses, &configuration, &below, &above, &window]);
    let bridge_identity = Name::new(Path::new("_HID"), &bridge_id);
    let bridge_current = Name::new(Path::new("_CRS"), &bridge_resources);
    let apic_routing = routing(|interrupt| u32::from(PCI_LINE) + interrupt);
    let old_routing = routing(|interrupt| FIRMWARE_ROUTING[interrupt as usize].into());
    let apics = aml::Return::new(&apic_routing);
    let old = aml::Return::new(&old_routing);
    let model = Path::new("\\PICF");
    let uses_apics = aml::If::new(&model, vec![&apics]);
    let bridge_routing = aml::Method::new(Path::new("_PRT"), 0, false, vec![&uses_apics, &old]);
    let bridge = aml::Device::new(
        Path::new("PCI0"),
        vec![&bridge_identity, &unique, &bridge_current, &bridge_routing],
    );

    Scope::new(Path::new("\\_SB_"), vec![&bridge, &serial]).to_aml_bytes(&mut code);
    let mut dsdt = table(b"DSDT", 36, 2);
    dsdt.append_slice(&code);
    dsdt
}

/// A PCI routing table: for all devices and their four pins, the interrupt that `line` gives for one of the bus's four.
fn routing(line: impl Fn(u32) -> u32) -> PackageBuilder {
    let mut table = PackageBuilder::new();
    for (device, pin) in (0..32_u32).flat_map(|device| (0..4_u32).map(move |pin| (device, pin))) {
        let address = device << 16 | 0xffff;
        let interrupt = line((device + pin) & 3);
        table.add_element(&Package::new(vec![&address, &pin, &aml::ZERO, &interrupt]));
    }
    table
}

fn facs() -> [u8; 64] {
    let mut facs = [0; 64];
    facs[..4].copy_from_slice(b"FACS");
    facs[4] = 64;
    facs[32] = 2;
    facs
}

/// Fixed ACPI description table, revision 3: offsets as in the ACPI specification, 5.2.9.
fn fadt(dsdt: u64, facs: u64) -> Sdt {
    const WBINVD: u32 = 1;
    const C1: u32 = 1 << 2;
    const NO_POWER_BUTTON: u32 = 1 << 4;
    const NO_SLEEP_BUTTON: u32 = 1 << 5;
    const RESET_REGISTER: u32 = 1 << 10;
    let mut fadt = table(b"FACP", 244, 3);
    let power = u32::from(POWER);
    fadt.write_u32(36, facs as u32);
    fadt.write_u32(40, dsdt as u32);
    fadt.write_u16(46, 9);
    fadt.write_u32(56, power);
    fadt.write_u32(64, power + 4);
    fadt.write_u32(76, power + 8);
    fadt.write_u8(88, 4);
    fadt.write_u8(89, 2);
    fadt.write_u8(91, 4);
    // Latencies that say: no C2, no C3.
    fadt.write_u16(96, 101);
    fadt.write_u16(98, 1001);
    fadt.write_u8(108, 0x32);
    // Legacy devices; no VGA. The keyboard controller has no devices.
    fadt.write_u16(109, 1 | 4);
    fadt.write_u32(
        112,
        WBINVD | C1 | NO_POWER_BUTTON | NO_SLEEP_BUTTON | RESET_REGISTER,
    );
    gas(&mut fadt, 116, 8, 0xcf9);
    fadt.write_u8(128, 6);
    fadt.write_u64(132, facs);
    fadt.write_u64(140, dsdt);
    gas(&mut fadt, 148, 32, power.into());
    gas(&mut fadt, 172, 16, u64::from(power) + 4);
    gas(&mut fadt, 208, 32, u64::from(power) + 8);
    fadt
}

/// A generic address in port space.
fn gas(table: &mut Sdt, at: usize, bits: u8, port: u64) {
    table.write_u8(at, 1);
    table.write_u8(at + 1, bits);
    table.write_u8(at + 3, bits / 8);
    table.write_u64(at + 4, port);
}

/// Multiple APIC description table.
fn madt() -> Sdt {
    let mut madt = table(b"APIC", 44, 3);
    madt.write_u32(36, LAPIC as u32);
    // There are the old controllers, too.
    madt.write_u32(40, 1);
    // Processor 0.
    madt.append_slice(&[0, 8, 0, 0, 1, 0, 0, 0]);
    let mut ioapic = vec![1, 12, 0, 0];
    ioapic.extend_from_slice(&(IOAPIC as u32).to_le_bytes());
    ioapic.extend_from_slice(&[0; 4]);
    madt.append_slice(&ioapic);
    // The timer is at pin 2; power management is level-triggered.
    madt.append_slice(&[2, 10, 0, 0, 2, 0, 0, 0, 0, 0]);
    madt.append_slice(&[2, 10, 0, 9, 9, 0, 0, 0, 0x0d, 0]);
    madt
}
