//! virtio on its registers and rings, as a driver sees them.

use super::*;
use crate::devices::device::Device;
use crate::devices::device::tests::{bench, read, write};
use crate::devices::medium::SECTOR;
use crate::devices::medium::tests::Numbered;
use crate::devices::network::Mac;
use crate::devices::network::tests::Looped;
use crate::devices::pci::PciDevice;
use crate::devices::virtio::{Block, Net};
use crate::memory::Ram;

const DESCRIPTORS: u64 = 0x1000;
const AVAILABLE: u64 = 0x2000;
const USED_RING: u64 = 0x3000;
/// Each queue's rings are so far from those of the one before.
const NEXT_QUEUE: u64 = 0x4000;
const BUFFERS: u64 = 0x2_0000;
const WRITABLE: u16 = 2;
const MORE: u16 = 1;

/// A driver.
struct Driver {
    device: PciDevice,
    context: Context,
    ram: Ram,
    available: [u16; 2],
}

fn page(page: u64) -> u64 {
    PciDevice::bar(0) + page * u64::from(PAGE)
}

impl Driver {
    fn new(device: Box<dyn Driven>) -> Self {
        let (ram, mut context) = bench();
        let line = context.lines.connect(16);
        let mut driver = Driver {
            device: PciDevice {
                function: Box::new(Virtio::new(device, line)),
                number: 24,
            },
            context,
            ram,
            available: [0; 2],
        };
        driver.begin();
        driver
    }

    fn get(&mut self, offset: u64, size: usize) -> u64 {
        read(&mut self.device, &mut self.context, offset, size)
    }

    fn set(&mut self, offset: u64, size: usize, value: u64) {
        write(&mut self.device, &mut self.context, offset, size, value);
    }

    /// Initialisation as the specification orders it (3.1.1).
    fn begin(&mut self) {
        let common = page(COMMON);
        self.set(common + 0x14, 1, 0);
        self.set(common + 0x14, 1, 3);
        for half in 0..2 {
            self.set(common, 4, half);
            let offered = self.get(common + 4, 4);
            self.set(common + 8, 4, half);
            self.set(common + 0xc, 4, offered);
        }
        self.set(common + 0x14, 1, 0xb);
        assert_eq!(self.get(common + 0x14, 1), 0xb, "the features are accepted");
        for queue in 0..self.get(common + 0x12, 2) {
            self.set(common + 0x16, 2, queue);
            assert_eq!(self.get(common + 0x18, 2), u64::from(QUEUE_SIZE));
            self.set(common + 0x18, 2, 8);
            let rings = queue * NEXT_QUEUE;
            self.set(common + 0x20, 8, DESCRIPTORS + rings);
            self.set(common + 0x28, 4, AVAILABLE + rings);
            self.set(common + 0x2c, 4, 0);
            self.set(common + 0x30, 8, USED_RING + rings);
            self.set(common + 0x1c, 2, 1);
        }
        self.set(common + 0x14, 1, 0xf);
    }

    /// Makes a chain of buffers (address, length, device writes) available from descriptor `first` on.
    fn offer(&mut self, queue: u64, first: u16, buffers: &[(u64, u32, bool)]) {
        let rings = queue * NEXT_QUEUE;
        for (index, (address, length, writable)) in buffers.iter().enumerate() {
            let number = first + index as u16;
            let at = DESCRIPTORS + rings + 16 * u64::from(number);
            let mut flags = if *writable { WRITABLE } else { 0 };
            if index + 1 < buffers.len() {
                flags |= MORE;
            }
            self.ram.write(at, *address);
            self.ram.write(at + 8, *length);
            self.ram.write(at + 12, flags);
            self.ram.write(at + 14, number + 1);
        }
        let count = &mut self.available[queue as usize];
        self.ram
            .write(AVAILABLE + rings + 4 + 2 * u64::from(*count % 8), first);
        *count += 1;
        self.ram.write(AVAILABLE + rings + 2, *count);
        self.set(page(NOTIFY) + 4 * queue, 2, queue);
    }

    fn advance(&mut self) {
        self.context.now = self.device.next_event().expect("something is due");
        self.device.advance(&mut self.context);
    }

    /// Index, and the last entry's length, of a used ring.
    fn used(&self, queue: u64) -> (u16, u32) {
        let ring = USED_RING + queue * NEXT_QUEUE;
        let index = self.ram.read::<u16>(ring + 2);
        let last = u64::from(index.wrapping_sub(1) % 8);
        (index, self.ram.read::<u32>(ring + 4 + 8 * last + 4))
    }

    /// A request to a disk: the status byte.
    fn request(&mut self, kind: u32, sector: u64, length: u32) -> u8 {
        self.ram.write(BUFFERS, kind);
        self.ram.write(BUFFERS + 8, sector);
        self.ram.write(BUFFERS + 0x800, 0xff_u8);
        let data = (BUFFERS + 0x1000, length, kind == 0 || kind == 8);
        let mut buffers = vec![(BUFFERS, 16, false), data, (BUFFERS + 0x800, 1, true)];
        buffers.retain(|(_, length, _)| *length != 0);
        self.offer(0, 0, &buffers);
        self.advance();
        assert!(self.context.lines.level(16), "it interrupts");
        assert_eq!(self.get(page(STATUS), 1), u64::from(USED));
        assert!(!self.context.lines.level(16), "reading acknowledges");
        self.ram.read::<u8>(BUFFERS + 0x800)
    }
}

fn disk(change: impl FnOnce(&mut Numbered)) -> Driver {
    let mut medium = Numbered::new(1000);
    change(&mut medium);
    Driver::new(Box::new(Block::new(Box::new(medium))))
}

#[test]
fn a_disk_reads_writes_and_flushes() {
    let mut driver = disk(|_| {});
    assert_eq!(driver.get(page(DEVICE), 8), 1000, "capacity");
    assert_eq!(driver.request(0, 40, 1024), 0);
    assert_eq!(driver.used(0), (1, 1025));
    assert_eq!(driver.ram.read::<u64>(BUFFERS + 0x1000 + 512), 41);
    assert!(
        driver
            .ram
            .take_written()
            .iter()
            .any(|(at, length)| { *at <= BUFFERS + 0x1000 && at + length >= BUFFERS + 0x1400 }),
        "decoded code would be forgotten"
    );
    driver.ram.write(BUFFERS + 0x1000, 0x1234_u64);
    assert_eq!(driver.request(1, 50, SECTOR as u32), 0);
    driver.ram.write(BUFFERS + 0x1000, 0_u64);
    assert_eq!(driver.request(4, 0, 0), 0, "flush");
    assert_eq!(driver.request(0, 50, SECTOR as u32), 0);
    assert_eq!(driver.ram.read::<u64>(BUFFERS + 0x1000), 0x1234);
    assert_eq!(driver.request(8, 0, 20), 0, "identity");
    assert_eq!(driver.ram.slice(BUFFERS + 0x1000, 4), b"FITS");
}

#[test]
fn what_a_disk_cannot_do_is_an_error_of_the_request() {
    let mut driver = disk(|medium| medium.bad = vec![7]);
    assert_eq!(driver.request(0, 999, 1024), 1, "beyond the end");
    assert_eq!(driver.request(0, u64::MAX, 512), 1);
    assert_eq!(driver.request(0, 1, 100), 1, "no whole sector");
    assert_eq!(driver.request(0, 6, 1024), 1, "a bad sector");
    assert_eq!(
        driver.ram.read::<u64>(BUFFERS + 0x1000),
        6,
        "what was before it"
    );
    assert_eq!(driver.request(99, 0, 512), 2, "unknown");
    let mut driver = disk(|medium| medium.read_only = true);
    driver.set(page(COMMON), 4, 0);
    assert_eq!(
        driver.get(page(COMMON) + 4, 4) >> 5 & 1,
        1,
        "it says that it is read-only"
    );
    assert_eq!(driver.request(1, 0, 512), 1);
}

#[test]
fn a_broken_ring_asks_for_a_reset() {
    let mut driver = disk(|_| {});
    // A request whose status cannot be written.
    driver.offer(0, 0, &[(BUFFERS, 16, false)]);
    driver.advance();
    assert_eq!(driver.get(page(COMMON) + 0x14, 1), 0x4f);
    assert_eq!(driver.get(page(STATUS), 1), u64::from(CHANGED));
    assert_eq!(driver.device.next_event(), None);
    driver.available = [0; 2];
    driver.ram.write(AVAILABLE + 2, 0_u16);
    driver.ram.write(USED_RING + 2, 0_u16);
    driver.begin();
    assert_eq!(driver.request(0, 3, 512), 0, "it works again");
}

#[test]
fn features_that_are_not_offered_are_refused() {
    let mut driver = disk(|_| {});
    let common = page(COMMON);
    for (low, high, accepted) in [(1 << 31, 1, false), (0, 0, false), (0, 1, true)] {
        driver.set(common + 0x14, 1, 0);
        for (half, features) in [low, high].into_iter().enumerate() {
            driver.set(common + 8, 4, half as u64);
            driver.set(common + 0xc, 4, features);
        }
        driver.set(common + 0x14, 1, 0xb);
        assert_eq!(driver.get(common + 0x14, 1) & 8 != 0, accepted);
    }
}

#[test]
fn registers_are_reached_by_configuration_space_too() {
    let mut driver = disk(|_| {});
    let function = &mut driver.device.function;
    let mut at = usize::from(function.config().byte(0x34));
    while function.config().byte(at + 3) != 5 {
        at = function.config().byte(at + 1).into();
    }
    let offset = 2 * PAGE;
    function.config_mut().write(at + 8, &offset.to_le_bytes());
    function.config_mut().write(at + 12, &4_u32.to_le_bytes());
    function.before_config_read(&mut driver.context, at + 16);
    assert_eq!(function.config().get(at + 16, 4), 1000_u32.to_le_bytes());
    let status = 0x14_u32;
    function.config_mut().write(at + 8, &status.to_le_bytes());
    function.config_mut().write(at + 12, &1_u32.to_le_bytes());
    function.config_mut().write(at + 16, &[0]);
    function.configured(&mut driver.context, at + 16, 1);
    assert_eq!(
        driver.get(page(COMMON) + 0x14, 1),
        0,
        "the device was reset"
    );
}

#[test]
fn a_saved_device_goes_on() {
    let mut driver = disk(|_| {});
    assert_eq!(driver.request(0, 1, 512), 0);
    let saved = driver.device.save();
    let mut other = disk(|_| {});
    other
        .ram
        .slice_mut(0, 0x1_0000)
        .copy_from_slice(driver.ram.slice(0, 0x1_0000));
    other.available = driver.available;
    other.device.load(&saved).expect("the same machine");
    assert_eq!(other.device.save(), saved);
    assert_eq!(other.request(0, 5, 512), 0);
    assert_eq!(other.used(0), (2, 513));
    let mut small = Driver::new(Box::new(Block::new(Box::new(Numbered::new(10)))));
    assert!(small.device.load(&saved).is_err(), "another disk");
}

#[test]
fn a_card_sends_and_receives_frames_behind_a_header() {
    let mut driver = Driver::new(Box::new(Net::new(
        Mac::numbered(0),
        Box::new(Looped::default()),
    )));
    assert_eq!(driver.get(page(DEVICE), 4), 0x1200_5452);
    driver
        .ram
        .slice_mut(BUFFERS + 12, 60)
        .copy_from_slice(&[0x5a; 60]);
    driver.offer(1, 0, &[(BUFFERS, 12, false), (BUFFERS + 12, 60, false)]);
    driver.advance();
    assert_eq!(driver.used(1), (1, 0), "sent");
    assert_eq!(driver.used(0).0, 0, "there is no buffer yet");
    driver.offer(0, 0, &[(BUFFERS + 0x1000, 1530, true)]);
    driver.advance();
    assert_eq!(driver.used(0), (1, 72));
    assert_eq!(driver.ram.slice(BUFFERS + 0x1000 + 12, 60), [0x5a; 60]);
    assert_eq!(
        driver.ram.read::<u8>(BUFFERS + 0x1000 + 10),
        1,
        "one buffer"
    );
    assert!(driver.context.lines.level(16));
}
