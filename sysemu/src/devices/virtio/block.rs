//! virtio-blk (specification 1.1, 5.2): one queue, reads, writes, flushes, and the identity.

use std::io::{Read, Write};

use virtio_bindings::bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX,
    VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_FLUSH,
    VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT,
};
use virtio_bindings::virtio_ids::VIRTIO_ID_BLOCK;
use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT, Reader, Writer};

use super::transport::{Broken, Driven};
use crate::devices::medium::{Described, Medium, MediumError, SECTOR, check, describe};
use crate::memory::{Dma, GuestMemory, Written};
use crate::snapshot::{Component, decode, encode};

/// Nanoseconds from a notification to the end of the requests.
const LATENCY: u64 = 20_000;
/// Most segments of a request.
const SEGMENTS: u32 = 126;
/// Bytes of a request that is surely a mistake: more than any driver asks for at once.
const REQUEST_MAX: usize = 1 << 26;
const SERIAL: &[u8; 20] = b"FITS-VIRTIO-DISK\0\0\0\0";

/// A disk.
#[derive(Debug)]
pub struct Block {
    /// What it stores on.
    pub medium: Box<dyn Medium>,
    due: Option<u64>,
}

impl Block {
    /// A disk on that medium.
    #[must_use]
    pub fn new(medium: Box<dyn Medium>) -> Self {
        Block { medium, due: None }
    }

    /// Carries out one request: how many bytes were written to memory.
    fn request(
        &mut self,
        memory: &GuestMemory,
        chain: DescriptorChain<&GuestMemory>,
    ) -> Result<u32, Broken> {
        let mut reader = chain.clone().reader(memory)?;
        let mut writer = chain.writer(memory)?;
        // The last byte is the status.
        let room = writer.available_bytes().checked_sub(1).ok_or(Broken)?;
        let mut status = writer.split_at(room)?;
        let kind: u32 = reader.read_obj().map_err(|_| Broken)?;
        let _reserved: u32 = reader.read_obj().map_err(|_| Broken)?;
        let sector: u64 = reader.read_obj().map_err(|_| Broken)?;
        let result = match kind {
            VIRTIO_BLK_T_IN => self.read(sector, &mut writer),
            VIRTIO_BLK_T_OUT => self.write(sector, &mut reader),
            VIRTIO_BLK_T_FLUSH => self.medium.flush().map_err(|_| VIRTIO_BLK_S_IOERR),
            VIRTIO_BLK_T_GET_ID => {
                let length = room.min(SERIAL.len());
                writer
                    .write_all(&SERIAL[..length])
                    .map_err(|_| VIRTIO_BLK_S_IOERR)
            }
            _ => Err(VIRTIO_BLK_S_UNSUPP),
        };
        let code = result.err().unwrap_or(VIRTIO_BLK_S_OK);
        status.write_obj(code as u8).map_err(|_| Broken)?;
        Ok(writer.bytes_written() as u32 + 1)
    }

    /// Whether the request is for whole sectors that are on the disk.
    fn check(&self, sector: u64, bytes: usize) -> Result<(), u32> {
        let sectors = self.medium.sectors();
        let count = (bytes / SECTOR) as u64;
        let fits = sector <= sectors && count <= sectors - sector;
        if fits && bytes.is_multiple_of(SECTOR) && bytes <= REQUEST_MAX {
            Ok(())
        } else {
            Err(VIRTIO_BLK_S_IOERR)
        }
    }

    fn read(&mut self, sector: u64, writer: &mut Writer<'_, Written>) -> Result<(), u32> {
        let bytes = writer.available_bytes();
        self.check(sector, bytes)?;
        let mut data = vec![0; bytes];
        let result = self.medium.read(sector, &mut data);
        let good = match result {
            Ok(()) => bytes,
            Err(MediumError::Uncorrectable { lba }) => (lba - sector) as usize * SECTOR,
            Err(MediumError::Aborted) => 0,
        };
        writer
            .write_all(&data[..good])
            .map_err(|_| VIRTIO_BLK_S_IOERR)?;
        result.map_err(|_| VIRTIO_BLK_S_IOERR)
    }

    fn write(&mut self, sector: u64, reader: &mut Reader<'_, Written>) -> Result<(), u32> {
        let bytes = reader.available_bytes();
        self.check(sector, bytes)?;
        let mut data = vec![0; bytes];
        reader
            .read_exact(&mut data)
            .map_err(|_| VIRTIO_BLK_S_IOERR)?;
        self.medium
            .write(sector, &data)
            .map_err(|_| VIRTIO_BLK_S_IOERR)
    }
}

impl Driven for Block {
    fn kind(&self) -> &'static str {
        "virtio-blk-pci"
    }

    fn identity(&self) -> u16 {
        VIRTIO_ID_BLOCK as u16
    }

    fn class(&self) -> u32 {
        0x01_8000
    }

    fn features(&self) -> u64 {
        let read_only = u64::from(self.medium.read_only()) << VIRTIO_BLK_F_RO;
        1 << VIRTIO_BLK_F_SEG_MAX | 1 << VIRTIO_BLK_F_BLK_SIZE | 1 << VIRTIO_BLK_F_FLUSH | read_only
    }

    fn queues(&self) -> usize {
        1
    }

    fn configuration(&self) -> Vec<u8> {
        let mut bytes = vec![0; 60];
        bytes[..8].copy_from_slice(&self.medium.sectors().to_le_bytes());
        bytes[12..16].copy_from_slice(&SEGMENTS.to_le_bytes());
        bytes[20..24].copy_from_slice(&(SECTOR as u32).to_le_bytes());
        bytes
    }

    fn next_event(&self) -> Option<u64> {
        self.due
    }

    fn notified(&mut self, now: u64, _: usize) {
        self.due.get_or_insert(now + LATENCY);
    }

    fn advance(&mut self, now: u64, dma: &Dma, queues: &mut [Queue]) -> Result<bool, Broken> {
        if self.due.is_none_or(|due| due > now) {
            return Ok(false);
        }
        self.due = None;
        let memory = dma.memory();
        let queue = &mut queues[0];
        let mut any = false;
        while let Some(chain) = queue.iter(memory)?.next() {
            let head = chain.head_index();
            let written = self.request(memory, chain)?;
            queue.add_used(memory, head, written)?;
            any = true;
        }
        Ok(any)
    }

    fn reset(&mut self) {
        self.due = None;
    }
}

/// What is on the disk is not part of the state; it must be the same.
impl Component for Block {
    fn save(&self) -> Vec<u8> {
        encode(&(describe(&*self.medium), self.due))
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), String> {
        let (disk, due): (Described, Option<u64>) = decode(bytes)?;
        check(Some(&*self.medium), Some(disk))?;
        self.due = due;
        Ok(())
    }
}
