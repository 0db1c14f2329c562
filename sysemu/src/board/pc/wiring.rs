//! What is on the board, at which places, and with which lines: the table of `board/pc.rs`, put together.

use std::collections::HashMap;

use super::{DEBUG_EXIT, IOAPIC, ISA_BRIDGE, LAPIC, POWER, Pc, Place, TIMER_LINE, Target};
use crate::board::attached::Clock;
use crate::board::console::Console;
use crate::board::hardware::{Card, Hardware};
use crate::board::map::Map;
use crate::devices::device::{Context, Device};
use crate::devices::exit::DebugExit;
use crate::devices::ide::Ide;
use crate::devices::ioapic::IoApic;
use crate::devices::keyboard::Keyboard;
use crate::devices::lapic::Lapic;
use crate::devices::medium::Medium;
use crate::devices::pci::bridges::Bridge;
use crate::devices::pci::{Function, PciBus, PciDevice};
use crate::devices::pic::Pics;
use crate::devices::pit::Pit;
use crate::devices::port92::Port92;
use crate::devices::power::Power;
use crate::devices::rtc::Rtc;
use crate::devices::virtio::{Block, Driven, Net, Virtio};
use crate::memory::Dma;

const SERIAL_LINE: u8 = 4;
const POWER_LINE: u8 = 9;
const FPU_LINE: u8 = 13;
/// The first PCI device that is not part of the board.
pub const FIRST_SLOT: u8 = 3;

impl Pc {
    /// A board after power-on, whose devices reach RAM through `dma`.
    ///
    /// # Panics
    /// With more virtio devices than [`crate::board::hardware::VIRTIO_MAX`].
    #[must_use]
    pub fn new(hardware: Hardware, dma: Dma) -> Self {
        let mut pc = Pc::bare(Context::new(dma));
        pc.place_controllers();
        pc.attach_isa(hardware.console);
        pc.attach_board_functions(hardware.ide);
        pc.attach_virtio(hardware.virtio_disks, hardware.cards);
        pc.set_levels();
        pc
    }

    /// A board with nothing on it but the interrupt controllers.
    fn bare(mut context: Context) -> Self {
        Pc {
            fpu_line: context.lines.connect(FPU_LINE),
            context,
            lapic: Lapic::after_firmware(),
            lapic_clock: Clock::default(),
            ioapic: IoApic::default(),
            pics: Pics::default(),
            attached: Vec::new(),
            ports: Map::default(),
            memory: Map::default(),
            pci: PciBus::default(),
            pci_ports: Map::default(),
            pci_memory: Map::default(),
            pci_routing: [None; 4],
            next_event: u64::MAX,
        }
    }

    fn place_controllers(&mut self) {
        let ports = Place::ports;
        let page = |start| Place::memory(start..start + 0x1000);
        let places = [
            (Target::Lapic, page(LAPIC)),
            (Target::IoApic, page(IOAPIC)),
            (Target::Pics, ports(0x20..0x22, 0)),
            (Target::Pics, ports(0xa0..0xa2, 2)),
            (Target::Pics, ports(0x4d0..0x4d2, 4)),
            (Target::Pci, ports(0xcf8..0xd00, 0)),
        ];
        for (target, place) in places {
            self.place("", target, place).expect("the board is empty");
        }
    }

    fn attach_isa(&mut self, console: Console) {
        let ports = Place::ports;
        let lines = &mut self.context.lines;
        let pit = Pit::new(lines.connect(TIMER_LINE));
        let console = console.wired(lines.connect(SERIAL_LINE));
        let power = Power::new(lines.connect(POWER_LINE));
        let devices: [(&str, Box<dyn Device>, Vec<Place>); 7] = [
            (
                "pit",
                Box::new(pit),
                vec![ports(0x40..0x44, 0), ports(0x61..0x62, 4)],
            ),
            (
                "keyboard",
                Box::new(Keyboard::default()),
                vec![ports(0x60..0x61, 0), ports(0x64..0x65, 1)],
            ),
            ("rtc", Box::new(Rtc::default()), vec![ports(0x70..0x72, 0)]),
            ("port92", Box::new(Port92), vec![ports(0x92..0x93, 0)]),
            ("serial0", Box::new(console), vec![ports(0x3f8..0x400, 0)]),
            (
                "debug-exit",
                Box::new(DebugExit),
                vec![ports(DEBUG_EXIT..DEBUG_EXIT + 4, 0)],
            ),
            (
                "power",
                Box::new(power),
                vec![ports(POWER..POWER + 0x10, 0)],
            ),
        ];
        for (name, device, places) in devices {
            self.attach(name, device, places)
                .expect("the board's own devices do not overlap");
        }
    }

    fn attach_board_functions(&mut self, disks: [Option<Box<dyn Medium>>; 4]) {
        let ports = Place::ports;
        let ide = Ide::new(&mut self.context.lines, disks);
        let bar = PciDevice::bar;
        let legacy = [
            ports(0x1f0..0x1f8, bar(0)),
            ports(0x3f6..0x3f7, bar(1) + 2),
            ports(0x170..0x178, bar(2)),
            ports(0x376..0x377, bar(3) + 2),
        ];
        let functions: [(&str, u8, Box<dyn Function>); 3] = [
            ("host-bridge", 0, Box::new(Bridge::host())),
            ("isa-bridge", ISA_BRIDGE, Box::new(Bridge::isa())),
            ("ide0", ISA_BRIDGE + 1, Box::new(ide)),
        ];
        for (name, number, function) in functions {
            let places = if name == "ide0" { &legacy[..] } else { &[] };
            self.attach_function(name, number, function, places.to_vec())
                .expect("the board's own functions do not overlap");
        }
    }

    fn attach_virtio(&mut self, disks: Vec<Box<dyn Medium>>, cards: Vec<Card>) {
        let disks = disks.into_iter().map(|disk| {
            let device: Box<dyn Driven> = Box::new(Block::new(disk));
            ("virtio-blk", device)
        });
        let cards = cards.into_iter().map(|card| {
            let device: Box<dyn Driven> = Box::new(Net::new(card.mac, card.network));
            ("virtio-net", device)
        });
        let mut count = HashMap::new();
        for (kind, device) in disks.chain(cards) {
            let number = self
                .pci
                .free_device(FIRST_SLOT)
                .expect("a free place: see Hardware")
                << 3;
            let index = count.entry(kind).or_insert(0);
            let line = self.pci_line(number);
            let function = Box::new(Virtio::new(device, line));
            self.attach_function(&format!("{kind}{index}"), number, function, Vec::new())
                .expect("names are numbered");
            *index += 1;
        }
    }

    /// As firmware does: lines that PCI interrupts are routed to are level-triggered.
    fn set_levels(&mut self) {
        for line in self.pci_routing.into_iter().flatten() {
            let chip = usize::from(line >> 3);
            let levels = self.pics.levels(chip) | 1 << (line & 7);
            self.pics.set_levels(chip, levels);
        }
    }
}
