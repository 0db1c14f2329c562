//! The PCI transport of version 1.0 and later (specification 1.1, 4.1): no legacy registers, interrupts by INTA.
//!
//! Behind base address register 0: the common configuration, the interrupt status, the device's configuration, and the notifications of its queues,
//! each in a page of its own.

use std::fmt::Debug;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use virtio_bindings::bindings::virtio_config::{
    VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_NEEDS_RESET,
    VIRTIO_F_VERSION_1,
};
use virtio_queue::{Queue, QueueState, QueueT};

use crate::devices::device::{Context, number, put};
use crate::devices::lines::Line;
use crate::devices::object::Object;
use crate::devices::pci::{Bar, Config, Function, Identity};
use crate::memory::Dma;
use crate::snapshot::{Component, decode, encode};

/// The queues of a device cannot be used any more: the driver has to reset it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

impl From<virtio_queue::Error> for Broken {
    fn from(_: virtio_queue::Error) -> Self {
        Broken
    }
}

/// What a transport drives: a device of one kind.
pub trait Driven: Component + Debug {
    /// What it is, in the words of users of QEMU.
    fn kind(&self) -> &'static str;

    /// Its number in the specification.
    fn identity(&self) -> u16;

    /// Its PCI class.
    fn class(&self) -> u32;

    /// The features it offers, without those of the transport.
    fn features(&self) -> u64;

    /// How many queues it has.
    fn queues(&self) -> usize;

    /// Its configuration.
    fn configuration(&self) -> Vec<u8>;

    /// When it next has something to do with its queues, once the driver is ready.
    fn next_event(&self) -> Option<u64>;

    /// The driver has put buffers into a queue.
    fn notified(&mut self, now: u64, queue: usize);

    /// Does what is due with the queues; whether buffers were given back.
    ///
    /// # Errors
    /// When a queue is not as the specification demands.
    fn advance(&mut self, now: u64, dma: &Dma, queues: &mut [Queue]) -> Result<bool, Broken>;

    /// The driver resets it.
    fn reset(&mut self);

    /// As for a device.
    fn wait(&mut self, _limit: std::time::Duration) -> bool {
        false
    }
}

const VENDOR: u16 = 0x1af4;
/// The device number of a modern device is its own plus this.
const FIRST_DEVICE: u16 = 0x1040;
/// Most buffers of a queue.
const QUEUE_SIZE: u16 = 256;
const PAGE: u32 = 0x1000;
const COMMON: u64 = 0;
const STATUS: u64 = 1;
const DEVICE: u64 = 2;
const NOTIFY: u64 = 3;
/// No MSI-X vector.
const NO_VECTOR: u64 = 0xffff;
/// Interrupt status: buffers were given back.
const USED: u8 = 1;
/// Interrupt status: the configuration or the status has changed.
const CHANGED: u8 = 2;
/// Vendor-specific capability.
const CAPABILITY: u8 = 9;
/// Where the fields of the capability for access by configuration space are.
const WINDOW_BAR: usize = 4;
const WINDOW_OFFSET: usize = 8;
const WINDOW_LENGTH: usize = 12;
const WINDOW_DATA: usize = 16;

/// What the common configuration remembers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Common {
    device_select: u32,
    driver_select: u32,
    driver_features: u64,
    status: u8,
    queue: u16,
    interrupt: u8,
}

/// A virtio device on the PCI bus.
#[derive(Debug)]
pub struct Virtio {
    config: Config,
    /// Where the capability for access by configuration space is.
    window: usize,
    line: Line,
    common: Common,
    queues: Vec<Queue>,
    /// The device.
    pub device: Box<dyn Driven>,
}

/// A capability that says where a structure is.
fn place(kind: u8, page: u64, length: u32) -> Vec<u8> {
    let mut body = vec![16, kind, 0, 0, 0, 0];
    body.extend_from_slice(&(page as u32 * PAGE).to_le_bytes());
    body.extend_from_slice(&length.to_le_bytes());
    body
}

impl Virtio {
    /// A device after power-on.
    ///
    /// # Panics
    /// Never: the size of its queues is a power of two.
    #[must_use]
    pub fn new(device: Box<dyn Driven>, line: Line) -> Self {
        let mut config = Config::new(&Identity {
            vendor: VENDOR,
            device: FIRST_DEVICE + device.identity(),
            subsystem_vendor: VENDOR,
            subsystem: FIRST_DEVICE + device.identity(),
            class: device.class(),
            revision: 1,
        })
        .with_bar(0, Bar::Memory(4 * PAGE))
        .with_pin(1);
        config.add_capability(CAPABILITY, &place(1, COMMON, 0x38));
        config.add_capability(CAPABILITY, &place(3, STATUS, 1));
        config.add_capability(CAPABILITY, &place(4, DEVICE, PAGE));
        let mut notify = place(2, NOTIFY, PAGE);
        notify[0] = 20;
        notify.extend_from_slice(&4_u32.to_le_bytes());
        config.add_capability(CAPABILITY, &notify);
        let mut access = place(5, 0, 0);
        access[0] = 20;
        access.extend_from_slice(&[0; 4]);
        let window = config.add_capability(CAPABILITY, &access);
        config.allow(window + WINDOW_BAR, &[0xff]);
        config.allow(window + WINDOW_OFFSET, &[0xff; 12]);
        let queue = || Queue::new(QUEUE_SIZE).expect("a power of two");
        Virtio {
            queues: (0..device.queues()).map(|_| queue()).collect(),
            config,
            window,
            line,
            common: Common::default(),
            device,
        }
    }

    fn offered(&self) -> u64 {
        self.device.features() | 1 << VIRTIO_F_VERSION_1
    }

    fn running(&self) -> bool {
        u32::from(self.common.status) & (VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_NEEDS_RESET)
            == VIRTIO_CONFIG_S_DRIVER_OK
    }

    fn interrupt(&mut self, context: &mut Context, reason: u8) {
        self.common.interrupt |= reason;
        self.drive_line(context);
    }

    fn drive_line(&mut self, context: &mut Context) {
        let active = self.config.set_interrupt(self.common.interrupt != 0);
        context.lines.set(self.line, active);
    }

    fn restart(&mut self, context: &mut Context) {
        self.common = Common::default();
        for queue in &mut self.queues {
            queue.reset();
        }
        self.device.reset();
        self.drive_line(context);
    }

    /// The common configuration: offset and size of each field, and its value.
    fn common_field(&self, offset: u64) -> (u64, u64) {
        let common = &self.common;
        let half = |features: u64, select: u32| match select {
            0 | 1 => features >> (32 * select) & 0xffff_ffff,
            _ => 0,
        };
        let queue = self.queues.get(usize::from(common.queue));
        let of = |value: fn(&Queue) -> u64| queue.map_or(0, value);
        match offset {
            0x00..0x04 => (0x00, common.device_select.into()),
            0x04..0x08 => (0x04, half(self.offered(), common.device_select)),
            0x08..0x0c => (0x08, common.driver_select.into()),
            0x0c..0x10 => (0x0c, half(common.driver_features, common.driver_select)),
            0x10..0x12 => (0x10, NO_VECTOR),
            0x12..0x14 => (0x12, self.queues.len() as u64),
            0x14 => (0x14, common.status.into()),
            0x15 => (0x15, 0),
            0x16..0x18 => (0x16, common.queue.into()),
            0x18..0x1a => (0x18, of(|queue| queue.size().into())),
            0x1a..0x1c => (0x1a, NO_VECTOR),
            0x1c..0x1e => (0x1c, of(|queue| queue.ready().into())),
            0x1e..0x20 => (0x1e, common.queue.into()),
            0x20..0x28 => (0x20, of(Queue::desc_table)),
            0x28..0x30 => (0x28, of(Queue::avail_ring)),
            0x30..0x38 => (0x30, of(Queue::used_ring)),
            _ => (offset, 0),
        }
    }

    fn write_common(&mut self, context: &mut Context, offset: u64, data: &[u8]) {
        let value = number(data);
        let low = Some(value as u32);
        let high = (data.len() == 8).then_some((value >> 32) as u32);
        let common = &mut self.common;
        match offset {
            0x00 => common.device_select = value as u32,
            0x08 => common.driver_select = value as u32,
            0x0c if common.driver_select < 2 => {
                let shift = 32 * common.driver_select;
                common.driver_features = common.driver_features & !(0xffff_ffff << shift)
                    | (value & 0xffff_ffff) << shift;
            }
            0x14 => self.set_status(context, value as u8),
            0x16 => common.queue = value as u16,
            _ => {
                let Some(queue) = self.queues.get_mut(usize::from(common.queue)) else {
                    return;
                };
                match offset {
                    0x18 => queue.set_size(value as u16),
                    0x1c => queue.set_ready(value == 1),
                    0x20 => queue.set_desc_table_address(low, high),
                    0x24 => queue.set_desc_table_address(None, low),
                    0x28 => queue.set_avail_ring_address(low, high),
                    0x2c => queue.set_avail_ring_address(None, low),
                    0x30 => queue.set_used_ring_address(low, high),
                    0x34 => queue.set_used_ring_address(None, low),
                    _ => {}
                }
            }
        }
    }

    fn set_status(&mut self, context: &mut Context, value: u8) {
        if value == 0 {
            return self.restart(context);
        }
        let features_ok = VIRTIO_CONFIG_S_FEATURES_OK as u8;
        let mut value = value;
        let before = self.common.status;
        if value & features_ok & !before != 0 {
            let accepted = self.common.driver_features;
            let modern = accepted >> VIRTIO_F_VERSION_1 & 1 != 0;
            if accepted & !self.offered() != 0 || !modern {
                value &= !features_ok;
            }
        }
        // A driver cannot take back that the device is broken.
        self.common.status = value | before & VIRTIO_CONFIG_S_NEEDS_RESET as u8;
    }

    fn notify(&mut self, context: &mut Context, offset: u64) {
        let queue = (offset / 4) as usize;
        if queue < self.queues.len() && self.running() {
            self.device.notified(context.now, queue);
        }
    }
}

impl Function for Virtio {
    fn config(&self) -> &Config {
        &self.config
    }

    fn config_mut(&mut self) -> &mut Config {
        &mut self.config
    }

    fn read(&mut self, context: &mut Context, _: usize, offset: u64, data: &mut [u8]) {
        let (page, at) = (offset / u64::from(PAGE), offset % u64::from(PAGE));
        match page {
            COMMON => {
                let (start, value) = self.common_field(at);
                put(data, value >> (8 * (at - start)));
            }
            STATUS => {
                // Reading acknowledges.
                put(data, u64::from(std::mem::take(&mut self.common.interrupt)));
                self.drive_line(context);
            }
            DEVICE => {
                let bytes = self.device.configuration();
                for (at, byte) in (at as usize..).zip(data) {
                    *byte = bytes.get(at).copied().unwrap_or(0);
                }
            }
            _ => data.fill(0),
        }
    }

    fn write(&mut self, context: &mut Context, _: usize, offset: u64, data: &[u8]) {
        let (page, at) = (offset / u64::from(PAGE), offset % u64::from(PAGE));
        match page {
            COMMON => self.write_common(context, at, data),
            NOTIFY => self.notify(context, at),
            // The configurations of these devices cannot be written.
            _ => {}
        }
    }

    fn before_config_read(&mut self, context: &mut Context, at: usize) {
        let data_at = self.window + WINDOW_DATA;
        if (data_at..data_at + 4).contains(&at)
            && let Some((offset, length)) = self.window_access()
        {
            let mut data = [0; 4];
            self.read(context, 0, offset, &mut data[..length]);
            self.config.put(data_at, &data);
        }
    }

    fn configured(&mut self, context: &mut Context, at: usize, length: usize) {
        let data_at = self.window + WINDOW_DATA;
        if at < data_at + 4
            && data_at < at + length
            && let Some((offset, length)) = self.window_access()
        {
            let mut data = [0; 4];
            data[..length].copy_from_slice(self.config.get(data_at, length));
            self.write(context, 0, offset, &data[..length]);
        }
        // Interrupts may have been switched off or on.
        self.drive_line(context);
    }

    fn next_event(&self) -> Option<u64> {
        if self.running() {
            self.device.next_event()
        } else {
            None
        }
    }

    fn advance(&mut self, context: &mut Context) {
        if !self.running() {
            return;
        }
        match self
            .device
            .advance(context.now, &context.dma, &mut self.queues)
        {
            Ok(false) => {}
            Ok(true) => self.interrupt(context, USED),
            Err(Broken) => {
                self.common.status |= VIRTIO_CONFIG_S_NEEDS_RESET as u8;
                self.interrupt(context, CHANGED);
            }
        }
    }

    fn reset(&mut self, context: &mut Context) {
        self.restart(context);
    }

    fn wait(&mut self, limit: std::time::Duration) -> bool {
        self.device.wait(limit)
    }

    fn object(&self) -> &dyn Object {
        self
    }

    fn object_mut(&mut self) -> &mut dyn Object {
        self
    }
}

impl Virtio {
    /// What the capability for access by configuration space selects: an offset, and 1, 2 or 4 bytes.
    fn window_access(&self) -> Option<(u64, usize)> {
        let field = |at: usize| number(self.config.get(self.window + at, 4));
        let length = field(WINDOW_LENGTH) as usize;
        let valid = self.config.byte(self.window + WINDOW_BAR) == 0 && matches!(length, 1 | 2 | 4);
        valid.then(|| (field(WINDOW_OFFSET) & u64::from(4 * PAGE - 1), length))
    }
}

/// A queue, as it is saved.
#[derive(Serialize, Deserialize)]
struct SavedQueue {
    next_avail: u16,
    next_used: u16,
    size: u16,
    ready: bool,
    tables: [u64; 3],
}

#[derive(Serialize, Deserialize)]
struct Saved {
    config: Config,
    common: Common,
    queues: Vec<SavedQueue>,
    device: Vec<u8>,
}

/// What driver and device have agreed on, and where the queues are.
impl Object for Virtio {
    fn kind(&self) -> &'static str {
        self.device.kind()
    }

    fn state(&self) -> Value {
        let queues = self.queues.iter().map(Queue::state);
        let queues = queues.map(|state| {
            json!({
                "size": state.size,
                "ready": state.ready,
                "next_available": state.next_avail,
                "next_used": state.next_used,
                "descriptors": state.desc_table,
                "available": state.avail_ring,
                "used": state.used_ring,
            })
        });
        json!({
            "common": self.common,
            "features": self.device.features() | 1 << VIRTIO_F_VERSION_1,
            "configuration": self.device.configuration(),
            "queues": queues.collect::<Vec<_>>(),
        })
    }

    fn set_state(&mut self, mut state: Value) -> Result<(), String> {
        let common = state["common"].take();
        let mut old = self.state();
        old["common"].take();
        if ["features", "configuration", "queues"]
            .iter()
            .any(|field| state[*field] != old[*field])
        {
            return Err("of a virtio device only the common registers can be set".into());
        }
        self.common = serde_json::from_value(common).map_err(|error| error.to_string())?;
        Ok(())
    }

    fn set(&mut self, context: &mut Context, state: Value) -> Result<(), String> {
        self.set_state(state)?;
        self.drive_line(context);
        Ok(())
    }
}

impl Component for Virtio {
    fn version(&self) -> u32 {
        self.device.version()
    }

    fn save(&self) -> Vec<u8> {
        let queues = self.queues.iter().map(Queue::state);
        let queues = queues.map(|state| SavedQueue {
            next_avail: state.next_avail,
            next_used: state.next_used,
            size: state.size,
            ready: state.ready,
            tables: [state.desc_table, state.avail_ring, state.used_ring],
        });
        encode(&Saved {
            config: self.config.clone(),
            common: self.common.clone(),
            queues: queues.collect(),
            device: self.device.save(),
        })
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), String> {
        let saved: Saved = decode(bytes)?;
        if saved.queues.len() != self.queues.len() {
            return Err(format!("it has {} queues", saved.queues.len()));
        }
        for (queue, saved) in self.queues.iter_mut().zip(saved.queues) {
            let [desc_table, avail_ring, used_ring] = saved.tables;
            let state = QueueState {
                max_size: QUEUE_SIZE,
                next_avail: saved.next_avail,
                next_used: saved.next_used,
                event_idx_enabled: false,
                size: saved.size,
                ready: saved.ready,
                desc_table,
                avail_ring,
                used_ring,
            };
            *queue = Queue::try_from(state).map_err(|error| error.to_string())?;
        }
        self.config = saved.config;
        self.common = saved.common;
        self.device.load(&saved.device)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
pub(crate) mod tests;
