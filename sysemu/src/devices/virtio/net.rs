//! virtio-net (specification 1.1, 5.1): one pair of queues, no offloads.

use std::io::{Read, Write};

use virtio_bindings::bindings::virtio_net::{
    VIRTIO_NET_F_MAC, VIRTIO_NET_F_STATUS, VIRTIO_NET_S_LINK_UP,
};
use virtio_bindings::virtio_ids::VIRTIO_ID_NET;
use virtio_queue::{Queue, QueueOwnedT, QueueT};

use super::transport::{Broken, Driven};
use crate::devices::network::{FRAME_MAX, Mac, Network};
use crate::memory::Dma;
use crate::snapshot::{Component, decode, encode};

const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
/// Bytes of the header before each frame.
const HEADER: usize = 12;
/// Nanoseconds from a notification to the frames on the wire.
const LATENCY: u64 = 5_000;
/// How often frames are looked for, in virtual nanoseconds.
const PERIOD: u64 = 100_000;
/// Frames received at once.
const BURST: usize = 64;

/// A network card.
#[derive(Debug)]
pub struct Net {
    mac: Mac,
    /// What it is connected to.
    pub network: Box<dyn Network>,
    /// When frames to be sent are taken from the queue.
    send_at: Option<u64>,
    /// When it next looks for frames.
    look_at: u64,
    /// A frame for which there was no buffer.
    kept: Option<Vec<u8>>,
}

impl Net {
    /// A card with that address on that network.
    #[must_use]
    pub fn new(mac: Mac, network: Box<dyn Network>) -> Self {
        Net {
            mac,
            network,
            send_at: None,
            look_at: 0,
            kept: None,
        }
    }

    fn send(&mut self, now: u64, dma: &Dma, queue: &mut Queue) -> Result<bool, Broken> {
        let memory = dma.memory();
        let mut any = false;
        while let Some(chain) = queue.iter(memory)?.next() {
            let head = chain.head_index();
            let mut reader = chain.reader(memory)?;
            let bytes = reader.available_bytes();
            if bytes > HEADER && bytes <= HEADER + FRAME_MAX {
                let mut frame = vec![0; bytes];
                reader.read_exact(&mut frame).map_err(|_| Broken)?;
                self.network.send(now, &frame[HEADER..]);
            }
            queue.add_used(memory, head, 0)?;
            any = true;
        }
        Ok(any)
    }

    fn receive(&mut self, now: u64, dma: &Dma, queue: &mut Queue) -> Result<bool, Broken> {
        let memory = dma.memory();
        let mut any = false;
        for _ in 0..BURST {
            if !queue.ready() {
                break;
            }
            let Some(frame) = self.kept.take().or_else(|| self.network.receive(now)) else {
                break;
            };
            let Some(chain) = queue.iter(memory)?.next() else {
                self.kept = Some(frame);
                break;
            };
            let head = chain.head_index();
            let mut writer = chain.writer(memory)?;
            let mut header = [0; HEADER];
            // One buffer holds the whole frame.
            header[10] = 1;
            let fits = writer.available_bytes() >= HEADER + frame.len();
            let written = if fits {
                writer.write_all(&header).map_err(|_| Broken)?;
                writer.write_all(&frame).map_err(|_| Broken)?;
                HEADER + frame.len()
            } else {
                0
            };
            queue.add_used(memory, head, written as u32)?;
            any = true;
        }
        Ok(any)
    }
}

impl Driven for Net {
    fn kind(&self) -> &'static str {
        "virtio-net-pci"
    }

    fn identity(&self) -> u16 {
        VIRTIO_ID_NET as u16
    }

    fn class(&self) -> u32 {
        0x02_0000
    }

    fn features(&self) -> u64 {
        1 << VIRTIO_NET_F_MAC | 1 << VIRTIO_NET_F_STATUS
    }

    fn queues(&self) -> usize {
        2
    }

    fn configuration(&self) -> Vec<u8> {
        let mut bytes = self.mac.0.to_vec();
        bytes.extend_from_slice(&(VIRTIO_NET_S_LINK_UP as u16).to_le_bytes());
        bytes.resize(12, 0);
        bytes
    }

    fn next_event(&self) -> Option<u64> {
        let arrival = if self.kept.is_some() {
            Some(self.look_at)
        } else {
            self.network.next_event(self.look_at)
        };
        self.send_at.into_iter().chain(arrival).min()
    }

    fn notified(&mut self, now: u64, queue: usize) {
        if queue == TRANSMIT {
            self.send_at.get_or_insert(now + LATENCY);
        }
    }

    fn advance(&mut self, now: u64, dma: &Dma, queues: &mut [Queue]) -> Result<bool, Broken> {
        let mut any = false;
        if self.send_at.is_some_and(|at| at <= now) {
            self.send_at = None;
            any |= self.send(now, dma, &mut queues[TRANSMIT])?;
        }
        any |= self.receive(now, dma, &mut queues[RECEIVE])?;
        self.look_at = now + PERIOD;
        Ok(any)
    }

    fn reset(&mut self) {
        self.send_at = None;
        self.kept = None;
    }

    fn wait(&mut self, limit: std::time::Duration) -> bool {
        self.network.wait(limit)
    }
}

/// What is under way on the network is lost with a snapshot, as frames may be.
impl Component for Net {
    fn save(&self) -> Vec<u8> {
        encode(&(self.mac.0, self.send_at, self.look_at, &self.kept))
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), String> {
        let (mac, send_at, look_at, kept) = decode(bytes)?;
        self.mac = Mac(mac);
        self.send_at = send_at;
        self.look_at = look_at;
        self.kept = kept;
        self.network.reset();
        Ok(())
    }
}
