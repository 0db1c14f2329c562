//! The IDE function on its registers, with a clock set by hand.

use super::*;
use crate::devices::device::Device;
use crate::devices::device::tests::{bench, read, write};
use crate::devices::ide::channel::{error, status};
use crate::devices::medium::SECTOR;
use crate::devices::medium::tests::Numbered;
use crate::devices::pci::PciDevice;
use crate::memory::Ram;

struct Bench {
    device: PciDevice,
    context: Context,
    ram: Ram,
}

const SECTORS: u64 = 300_000;
const TABLE: u64 = 0x1000;
const BUFFER: u64 = 0x2000;

impl Bench {
    fn with(change: impl FnOnce(&mut Numbered)) -> Self {
        let (ram, mut context) = bench();
        let mut disk = Numbered::new(SECTORS);
        change(&mut disk);
        let ide = Ide::new(&mut context.lines, [Some(Box::new(disk)), None, None, None]);
        Bench {
            device: PciDevice {
                function: Box::new(ide),
                number: 9,
            },
            context,
            ram,
        }
    }

    fn new() -> Self {
        Bench::with(|_| {})
    }

    fn get(&mut self, register: u64) -> u8 {
        read(&mut self.device, &mut self.context, register, 1) as u8
    }

    fn set(&mut self, register: u64, value: u8) {
        write(
            &mut self.device,
            &mut self.context,
            register,
            1,
            value.into(),
        );
    }

    /// A command with an address of 28 bits.
    fn command(&mut self, code: u8, lba: u32, count: u8) {
        let [low, mid, high, top] = lba.to_le_bytes();
        for (register, value) in [(6, 0xe0 | top), (2, count), (3, low), (4, mid), (5, high)] {
            self.set(register, value);
        }
        self.set(7, code);
    }

    /// A command with an address of 48 bits.
    fn wide(&mut self, code: u8, lba: u64, count: u16) {
        let address = lba.to_le_bytes();
        let count = count.to_le_bytes();
        self.set(6, 0x40);
        for (register, high, low) in [
            (2, count[1], count[0]),
            (3, address[3], address[0]),
            (4, address[4], address[1]),
            (5, address[5], address[2]),
        ] {
            self.set(register, high);
            self.set(register, low);
        }
        self.set(7, code);
    }

    /// The interrupt line, and the status, which acknowledges it.
    fn interrupt(&mut self) -> (bool, u8) {
        let level = self.context.lines.level(14);
        (level, self.get(7))
    }

    /// The number that the next sector on the data port holds.
    fn sector(&mut self) -> u64 {
        let mut words = (0..SECTOR / 2).map(|_| read(&mut self.device, &mut self.context, 0, 2));
        let number = (0..4).fold(0, |value, index| {
            value | words.next().expect("a word") << (16 * index)
        });
        words.for_each(drop);
        number
    }

    fn put_sector(&mut self, value: u16) {
        for _ in 0..SECTOR / 2 {
            write(&mut self.device, &mut self.context, 0, 2, value.into());
        }
    }

    /// Sets up a table of one stretch, and starts the bus master.
    fn start(&mut self, bytes: u32, to_memory: bool) {
        let entry = BUFFER | u64::from(bytes & 0xffff | 1 << 31) << 32;
        assert!(self.context.dma.write(TABLE, &entry.to_le_bytes()));
        let bar = PciDevice::bar(4);
        write(&mut self.device, &mut self.context, bar + 4, 4, TABLE);
        let direction = u64::from(to_memory) << 3;
        write(&mut self.device, &mut self.context, bar, 1, direction);
        write(&mut self.device, &mut self.context, bar, 1, direction | 1);
    }

    fn finish(&mut self) {
        self.context.now = self.device.next_event().expect("a transfer");
        self.device.advance(&mut self.context);
    }

    fn master(&mut self) -> u8 {
        self.get(PciDevice::bar(4) + 2)
    }

    fn registers(&mut self) -> [u8; 6] {
        std::array::from_fn(|index| self.get(index as u64 + 1))
    }
}

#[test]
fn after_power_on_there_is_the_signature_of_one_drive() {
    let mut bench = Bench::new();
    assert_eq!(bench.registers()[..5], [1, 1, 1, 0, 0]);
    assert_eq!(bench.get(7), status::IDLE);
    bench.set(6, 0xb0);
    assert_eq!(bench.get(7), 0, "there is no slave");
    bench.set(7, 0xec);
    assert_eq!(bench.interrupt(), (false, 0), "it does not answer");
    assert_eq!(
        bench.get(PciDevice::bar(2) + 7),
        0xff,
        "nor does the empty channel"
    );
}

#[test]
fn identify_tells_model_size_and_a_right_checksum() {
    let mut bench = Bench::new();
    bench.command(0xec, 0, 0);
    assert_eq!(bench.interrupt(), (true, status::IDLE | status::DATA));
    let words: Vec<u16> = (0..256)
        .map(|_| read(&mut bench.device, &mut bench.context, 0, 2) as u16)
        .collect();
    assert_eq!(
        u32::from(words[60]) | u32::from(words[61]) << 16,
        SECTORS as u32
    );
    assert_eq!(
        u32::from(words[100]) | u32::from(words[101]) << 16,
        SECTORS as u32
    );
    assert_eq!(words[27].to_be_bytes(), *b"FI");
    let sum = words
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .fold(0_u8, u8::wrapping_add);
    assert_eq!(sum, 0);
    assert_eq!(bench.get(7), status::IDLE);
    bench.command(0xa1, 0, 0);
    assert_eq!(
        bench.interrupt(),
        (true, status::IDLE | status::ERROR),
        "no packets"
    );
    assert_eq!(bench.get(1), error::ABORTED);
}

#[test]
fn sectors_come_one_by_one_with_an_interrupt_each() {
    let mut bench = Bench::new();
    bench.command(0x20, 0x1_2345, 3);
    for lba in 0x1_2345..0x1_2348 {
        assert_eq!(bench.interrupt(), (true, status::IDLE | status::DATA));
        assert_eq!(bench.sector(), lba);
    }
    assert_eq!(bench.interrupt(), (false, status::IDLE));
}

#[test]
fn blocks_can_be_set_and_switched_off() {
    let mut bench = Bench::new();
    bench.command(0xc6, 0, 0);
    assert_eq!(bench.interrupt().1, status::IDLE);
    bench.command(0xc4, 100, 6);
    assert_eq!(bench.interrupt().1, status::IDLE | status::ERROR);
    bench.command(0xc6, 0, 3);
    assert_eq!(
        bench.interrupt().1,
        status::IDLE | status::ERROR,
        "no power of two"
    );
    bench.command(0xc6, 0, 4);
    assert_eq!(bench.interrupt().1, status::IDLE);
    bench.command(0xc4, 100, 6);
    assert!(bench.interrupt().0);
    assert_eq!(
        (0..4).map(|_| bench.sector()).collect::<Vec<_>>(),
        [100, 101, 102, 103]
    );
    assert_eq!(
        bench.interrupt(),
        (true, status::IDLE | status::DATA),
        "the second block"
    );
    assert_eq!((bench.sector(), bench.sector()), (104, 105));
    assert_eq!(bench.interrupt(), (false, status::IDLE));
}

#[test]
fn what_is_written_is_read_also_with_48_bits_and_cylinders() {
    let mut bench = Bench::new();
    bench.wide(0x34, 0x4_0001, 2);
    assert_eq!(
        bench.interrupt(),
        (false, status::IDLE | status::DATA),
        "it wants data"
    );
    bench.put_sector(0x1111);
    assert_eq!(bench.interrupt(), (true, status::IDLE | status::DATA));
    bench.put_sector(0x2222);
    assert_eq!(bench.interrupt(), (true, status::IDLE));
    bench.wide(0x24, 0x4_0001, 2);
    assert_eq!(
        (bench.sector(), bench.sector()),
        (0x1111_1111_1111_1111, 0x2222_2222_2222_2222)
    );
    // Cylinder 2, head 3, sector 4: (2 × 16 + 3) × 63 + 3.
    for (register, value) in [(6, 0xa3), (2, 1), (3, 4), (4, 2), (5, 0), (7, 0x20)] {
        bench.set(register, value);
    }
    assert_eq!(bench.sector(), 2208);
    // What was written first is read behind the high-order bit.
    bench.wide(0x24, 0x0300_0000_0000, 1);
    assert_eq!(
        bench.interrupt().1,
        status::IDLE | status::ERROR,
        "beyond the end"
    );
    assert_eq!(bench.get(1), error::NOT_FOUND);
    bench.set(PciDevice::bar(1) + 2, 0x80);
    assert_eq!(bench.get(5), 3);
}

#[test]
fn a_bus_master_fills_memory_and_says_so() {
    let mut bench = Bench::new();
    bench.command(0xc8, 5000, 2);
    bench.start(1024, true);
    assert_eq!(bench.master(), 1, "active");
    assert_eq!(bench.get(7) & status::DATA, status::DATA);
    bench.finish();
    assert_eq!(bench.master(), 4, "it has interrupted and is idle");
    assert_eq!(bench.interrupt(), (true, status::IDLE));
    assert_eq!(bench.ram.read::<u64>(BUFFER), 5000);
    assert_eq!(bench.ram.read::<u64>(BUFFER + 1016), 5001);
    assert!(
        bench.ram.take_written().contains(&(BUFFER, 1024)),
        "decoded code would be forgotten"
    );
    bench.set(PciDevice::bar(4) + 2, 4);
    assert_eq!(bench.master(), 0);
}

#[test]
fn a_bus_master_writes_what_is_in_memory() {
    let mut bench = Bench::new();
    assert!(bench.context.dma.write(BUFFER, &[0x5a; 512]));
    bench.wide(0x35, 77, 1);
    bench.start(512, false);
    bench.finish();
    assert_eq!(bench.interrupt(), (true, status::IDLE));
    bench.command(0x20, 77, 1);
    assert_eq!(bench.sector(), 0x5a5a_5a5a_5a5a_5a5a);
}

#[test]
fn a_table_that_is_too_short_too_long_or_outside_of_memory_shows() {
    let mut bench = Bench::new();
    bench.command(0xc8, 0, 2);
    bench.start(512, true);
    bench.finish();
    assert_eq!(bench.master(), 0, "too short: idle, no interrupt");
    assert_eq!(bench.interrupt(), (false, status::IDLE | status::DATA));
    bench.command(0xc8, 0, 1);
    bench.start(1024, true);
    bench.finish();
    assert_eq!(bench.master(), 5, "too long: active, interrupt");
    bench.command(0xc8, 0, 1);
    let entry = 0xffff_0000_u64 | 0x8000_0200 << 32;
    bench.start(512, true);
    assert!(bench.context.dma.write(TABLE, &entry.to_le_bytes()));
    bench.finish();
    assert_eq!(bench.master() & 3, 2, "no memory there");
}

#[test]
fn a_bad_sector_is_named_exactly() {
    let mut bench = Bench::with(|disk| disk.bad = vec![4800]);
    // As the guest's readahead and its retry do.
    for (lba, count) in [(4754, 128), (4794, 8)] {
        bench.command(0xc8, lba, count);
        bench.start(0x1_0000, true);
        bench.finish();
        assert_eq!(bench.interrupt(), (true, status::IDLE | status::ERROR));
        assert_eq!(
            bench.registers(),
            [error::UNCORRECTABLE, count, 0xc0, 0x12, 0, 0xe0]
        );
        assert_eq!(bench.master(), 4, "idle, interrupt");
        bench.set(PciDevice::bar(4) + 2, 4);
    }
    assert_eq!(
        bench.ram.read::<u64>(BUFFER + 5 * 512),
        4799,
        "those before it were read"
    );
    bench.wide(0x24, 4799, 2);
    assert_eq!(bench.sector(), 4799);
    assert_eq!(bench.interrupt(), (true, status::IDLE | status::ERROR));
    assert_eq!(bench.registers()[2..5], [0xc0, 0x12, 0]);
    bench.command(0x30, 4800, 1);
    bench.put_sector(0);
    let fault = status::READY | status::FAULT | status::ERROR;
    assert_eq!(
        bench.interrupt(),
        (true, fault),
        "a sector that cannot be written"
    );
}

#[test]
fn a_read_only_disk_aborts_writes() {
    let mut bench = Bench::with(|disk| disk.read_only = true);
    for code in [0x30, 0xca] {
        bench.command(code, 0, 1);
        assert_eq!(bench.interrupt(), (true, status::IDLE | status::ERROR));
        assert_eq!(bench.get(1), error::ABORTED);
    }
}

#[test]
fn interrupts_can_be_switched_off_and_a_reset_ends_a_command() {
    let mut bench = Bench::new();
    let control = PciDevice::bar(1) + 2;
    bench.set(control, 2);
    bench.command(0x20, 1, 2);
    assert!(!bench.context.lines.level(14));
    assert_eq!(bench.get(control), status::IDLE | status::DATA);
    bench.set(control, 0);
    assert!(bench.context.lines.level(14), "it was still pending");
    bench.set(control, 4);
    assert_eq!(bench.get(7), status::BUSY);
    bench.set(control, 0);
    assert_eq!(bench.get(7), status::IDLE);
    assert_eq!(bench.registers()[..5], [1, 1, 1, 0, 0]);
    bench.command(0x90, 5, 5);
    assert_eq!(bench.get(1), error::PASSED, "diagnostics");
    for (feature, count, good) in [
        (0x03, 0x22, true),
        (0x03, 0x46, false),
        (0x82, 0, true),
        (0x99, 0, false),
    ] {
        bench.set(1, feature);
        bench.command(0xef, 0, count);
        assert_eq!(
            bench.interrupt().1 & status::ERROR == 0,
            good,
            "{feature:#x}"
        );
    }
    bench.command(0xe7, 0, 0);
    assert_eq!(bench.interrupt(), (true, status::IDLE));
}
