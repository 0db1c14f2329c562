//! One channel: its registers (ATA/ATAPI-7, chapter 5; the bus master as in Intel 82371SB, 2.7), shared by up to two drives, and the movement of data.

use serde::{Deserialize, Serialize};

use crate::devices::device::Context;
use crate::devices::lines::Line;
use crate::devices::medium::{Medium, MediumError, SECTOR};

/// Bits of the status register.
pub mod status {
    /// Busy.
    pub const BUSY: u8 = 0x80;
    /// Ready.
    pub const READY: u8 = 0x40;
    /// Device fault.
    pub const FAULT: u8 = 0x20;
    /// Seek complete.
    pub const SEEK: u8 = 0x10;
    /// Data is wanted or there.
    pub const DATA: u8 = 0x08;
    /// The error register says more.
    pub const ERROR: u8 = 0x01;
    /// A drive that has nothing to do.
    pub const IDLE: u8 = READY | SEEK;
}

/// Bits of the error register.
pub mod error {
    /// Uncorrectable data.
    pub const UNCORRECTABLE: u8 = 0x40;
    /// There is no such sector.
    pub const NOT_FOUND: u8 = 0x10;
    /// Aborted.
    pub const ABORTED: u8 = 0x04;
    /// After a reset or a diagnostic: passed.
    pub const PASSED: u8 = 0x01;
}

/// Device control: interrupts off.
const NO_INTERRUPT: u8 = 2;
/// Device control: reset while set.
const SOFT_RESET: u8 = 4;
/// Device control: the previous contents of registers are read.
const HIGH_ORDER: u8 = 0x80;

/// Device register: logical block addresses.
pub(super) const LBA: u8 = 0x40;

/// Bus master command: run.
const START: u8 = 1;
/// Bus master status: running.
const ACTIVE: u8 = 1;
/// Bus master status: memory did not answer.
const MASTER_ERROR: u8 = 2;
/// Bus master status: the drive has interrupted.
const INTERRUPT: u8 = 4;
/// Bus master status: drives can do DMA (for software).
const CAPABLE: u8 = 0x60;

/// Nanoseconds from the start of a bus master to the end of a transfer: a fixed part, and one for each sector.
const DMA_LATENCY: (u64, u64) = (20_000, 1_000);
/// Sectors that a DMA transfer moves at once.
const CHUNK: u64 = 256;

/// A register that remembers what it held before, for addresses of 48 bits.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Register {
    /// Written last.
    pub current: u8,
    /// Written before that.
    pub previous: u8,
}

impl Register {
    fn push(&mut self, value: u8) {
        self.previous = self.current;
        self.current = value;
    }

    pub(super) fn set(&mut self, value: u8) {
        self.current = value;
    }
}

/// What commands have set in a drive.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Drive {
    /// Sectors of a block of READ MULTIPLE; 0 where that is off.
    pub multiple: u8,
    /// Transfer mode, as SET FEATURES has it.
    pub mode: u8,
    /// Heads.
    pub heads: u16,
    /// Sectors of a track.
    pub track: u16,
    /// Writes may stay in a cache.
    pub write_cache: bool,
    /// It reads ahead.
    pub look_ahead: bool,
}

impl Default for Drive {
    fn default() -> Self {
        Drive {
            multiple: super::identify::MULTIPLE_MAX,
            mode: 0x22,
            heads: super::identify::HEADS,
            track: super::identify::TRACK,
            write_cache: true,
            look_ahead: true,
        }
    }
}

/// Sectors that a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// The next one.
    pub lba: u64,
    /// How many are left.
    pub count: u64,
}

/// What the selected drive is doing.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub enum Transfer {
    /// Nothing.
    #[default]
    None,
    /// Software reads `buffer` from `at` on; then come more sectors, `block` at a time.
    In {
        /// The current block.
        buffer: Vec<u8>,
        /// How much of it is read.
        at: usize,
        /// What comes after it.
        rest: Extent,
        /// Sectors of a block.
        block: u64,
    },
    /// Software fills `buffer`, which is then written.
    Out {
        /// The current block.
        buffer: Vec<u8>,
        /// How much of it is filled.
        at: usize,
        /// This block and what comes after it.
        rest: Extent,
        /// Sectors of a block.
        block: u64,
    },
    /// It waits for the bus master.
    Dma {
        /// To the medium.
        write: bool,
        /// What.
        extent: Extent,
    },
}

/// The bus master of a channel.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct BusMaster {
    command: u8,
    status: u8,
    table: u32,
    /// When its transfer will be done.
    due: Option<u64>,
}

/// All that a channel remembers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    pub(super) feature: Register,
    pub(super) count: Register,
    pub(super) low: Register,
    pub(super) mid: Register,
    pub(super) high: Register,
    pub(super) device: u8,
    pub(super) status: u8,
    pub(super) error: u8,
    control: u8,
    interrupt: bool,
    pub(super) drives: [Drive; 2],
    pub(super) transfer: Transfer,
    /// The command has an address of 48 bits.
    pub(super) wide: bool,
    master: BusMaster,
}

/// A channel.
#[derive(Debug)]
pub struct Channel {
    /// What it remembers.
    pub state: State,
    /// The drives' media; none where there is no drive.
    pub media: [Option<Box<dyn Medium>>; 2],
    line: Line,
    /// 0 or 1.
    pub(super) number: usize,
}

impl Channel {
    /// A channel after power-on.
    #[must_use]
    pub fn new(number: usize, line: Line) -> Self {
        let mut channel = Channel {
            state: State::default(),
            media: [None, None],
            line,
            number,
        };
        channel.signature();
        channel
    }

    /// The number of the selected drive.
    pub(super) fn selected(&self) -> usize {
        usize::from(self.state.device >> 4 & 1)
    }

    /// The state of the selected drive.
    pub(super) fn drive(&mut self) -> &mut Drive {
        let selected = self.selected();
        &mut self.state.drives[selected]
    }

    pub(super) fn medium(&mut self) -> Option<&mut Box<dyn Medium>> {
        let selected = self.selected();
        self.media[selected].as_mut()
    }

    fn empty(&self) -> bool {
        self.media.iter().all(Option::is_none)
    }

    fn absent(&self) -> bool {
        self.media[self.selected()].is_none()
    }

    /// What registers hold after a reset or diagnostic: that of an ATA drive.
    pub(super) fn signature(&mut self) {
        let state = &mut self.state;
        for (register, value) in [
            (&mut state.count, 1),
            (&mut state.low, 1),
            (&mut state.mid, 0),
            (&mut state.high, 0),
        ] {
            *register = Register {
                current: value,
                previous: 0,
            };
        }
        state.device = 0;
        state.error = error::PASSED;
        state.status = status::IDLE;
        state.transfer = Transfer::None;
    }

    /// The reset line.
    pub fn reset(&mut self, context: &mut Context) {
        self.state = State::default();
        self.signature();
        context.lines.set(self.line, false);
    }

    /// Reads a register of the command block; 0 is the data port, with any number of bytes.
    pub fn read(&mut self, context: &mut Context, register: u64, data: &mut [u8]) {
        if register == 0 {
            return self.read_data(context, data);
        }
        for (register, byte) in (register..8).zip(data) {
            *byte = self.read_register(context, register);
        }
    }

    fn read_register(&mut self, context: &mut Context, register: u64) -> u8 {
        if self.empty() {
            // Nobody drives the bus.
            return 0xff;
        }
        if register == 7 {
            let value = self.alternate_status();
            self.state.interrupt = false;
            context.lines.set(self.line, false);
            return value;
        }
        if self.absent() {
            // The other drive answers for it.
            return 0;
        }
        let state = &self.state;
        let of = |register: Register| {
            if state.control & HIGH_ORDER != 0 {
                register.previous
            } else {
                register.current
            }
        };
        match register {
            1 => state.error,
            2 => of(state.count),
            3 => of(state.low),
            4 => of(state.mid),
            5 => of(state.high),
            _ => state.device | 0xa0,
        }
    }

    /// Reads the status without acknowledging the interrupt.
    #[must_use]
    pub fn alternate_status(&self) -> u8 {
        if self.empty() {
            0xff
        } else if self.absent() {
            0
        } else {
            self.state.status
        }
    }

    /// Writes a register of the command block.
    pub fn write(&mut self, context: &mut Context, register: u64, data: &[u8]) {
        if register == 0 {
            return self.write_data(context, data);
        }
        for (register, &value) in (register..8).zip(data) {
            self.write_register(context, register, value);
        }
    }

    fn write_register(&mut self, context: &mut Context, register: u64, value: u8) {
        let state = &mut self.state;
        state.control &= !HIGH_ORDER;
        match register {
            1 => state.feature.push(value),
            2 => state.count.push(value),
            3 => state.low.push(value),
            4 => state.mid.push(value),
            5 => state.high.push(value),
            6 => state.device = value,
            _ => {
                if state.control & SOFT_RESET == 0 {
                    state.interrupt = false;
                    context.lines.set(self.line, false);
                    self.execute(context, value);
                }
            }
        }
    }

    /// Writes device control.
    pub fn write_control(&mut self, context: &mut Context, value: u8) {
        let before = std::mem::replace(&mut self.state.control, value);
        if value & SOFT_RESET != 0 {
            self.state.status = status::BUSY;
            self.state.transfer = Transfer::None;
            self.state.interrupt = false;
            self.state.master.due = None;
        } else if before & SOFT_RESET != 0 {
            self.signature();
            for drive in &mut self.state.drives {
                drive.multiple = Drive::default().multiple;
            }
        }
        self.drive_line(context);
    }

    fn drive_line(&mut self, context: &mut Context) {
        let active = self.state.interrupt && self.state.control & NO_INTERRUPT == 0;
        context.lines.set(self.line, active);
    }

    /// The selected drive interrupts.
    pub(super) fn interrupt(&mut self, context: &mut Context) {
        self.state.interrupt = true;
        if self.state.control & NO_INTERRUPT == 0 {
            self.state.master.status |= INTERRUPT;
        }
        self.drive_line(context);
    }

    /// The command is done.
    pub(super) fn finish(&mut self, context: &mut Context) {
        self.state.transfer = Transfer::None;
        self.state.status = status::IDLE;
        self.interrupt(context);
    }

    /// The command has failed.
    pub(super) fn fail(&mut self, context: &mut Context, code: u8) {
        self.state.transfer = Transfer::None;
        self.state.error = code;
        self.state.status = status::IDLE | status::ERROR;
        self.interrupt(context);
    }

    /// The medium has failed: registers name the sector.
    fn fail_medium(&mut self, context: &mut Context, reason: MediumError, write: bool) {
        match reason {
            MediumError::Uncorrectable { lba } => {
                self.name_sector(lba);
                if write {
                    // There is no code for a sector that cannot be written: a fault of the device.
                    self.fail(context, error::ABORTED);
                    self.state.status = status::READY | status::FAULT | status::ERROR;
                } else {
                    self.fail(context, error::UNCORRECTABLE);
                }
            }
            MediumError::Aborted => self.fail(context, error::ABORTED),
        }
    }

    /// Begins a transfer by the data port, to software.
    pub(super) fn begin_in(&mut self, context: &mut Context, rest: Extent, block: u64) {
        let count = rest.count.min(block);
        let mut buffer = vec![0; count as usize * SECTOR];
        let Some(medium) = self.medium() else { return };
        if let Err(reason) = medium.read(rest.lba, &mut buffer) {
            return self.fail_medium(context, reason, false);
        }
        let rest = Extent {
            lba: rest.lba + count,
            count: rest.count - count,
        };
        self.offer(context, buffer, rest, block);
    }

    /// Lets software read a buffer.
    pub(super) fn offer(
        &mut self,
        context: &mut Context,
        buffer: Vec<u8>,
        rest: Extent,
        block: u64,
    ) {
        self.state.transfer = Transfer::In {
            buffer,
            at: 0,
            rest,
            block,
        };
        self.state.status = status::IDLE | status::DATA;
        self.interrupt(context);
    }

    fn read_data(&mut self, context: &mut Context, data: &mut [u8]) {
        let Transfer::In {
            buffer,
            at,
            rest,
            block,
        } = &mut self.state.transfer
        else {
            return data.fill(if self.empty() { 0xff } else { 0 });
        };
        let count = data.len().min(buffer.len() - *at);
        data.fill(0);
        data[..count].copy_from_slice(&buffer[*at..*at + count]);
        *at += count;
        if *at < buffer.len() {
            return;
        }
        let (rest, block) = (*rest, *block);
        if rest.count == 0 {
            self.state.transfer = Transfer::None;
            self.state.status = status::IDLE;
        } else {
            self.begin_in(context, rest, block);
        }
    }

    /// Begins a transfer by the data port, from software.
    pub(super) fn begin_out(&mut self, rest: Extent, block: u64) {
        self.state.transfer = Transfer::Out {
            buffer: vec![0; rest.count.min(block) as usize * SECTOR],
            at: 0,
            rest,
            block,
        };
        self.state.status = status::IDLE | status::DATA;
    }

    fn write_data(&mut self, context: &mut Context, data: &[u8]) {
        let Transfer::Out {
            buffer,
            at,
            rest,
            block,
        } = &mut self.state.transfer
        else {
            return;
        };
        let count = data.len().min(buffer.len() - *at);
        buffer[*at..*at + count].copy_from_slice(&data[..count]);
        *at += count;
        if *at < buffer.len() {
            return;
        }
        let (buffer, rest, block) = (std::mem::take(buffer), *rest, *block);
        if let Err(reason) = self.store(rest.lba, &buffer) {
            return self.fail_medium(context, reason, true);
        }
        let written = (buffer.len() / SECTOR) as u64;
        if written == rest.count {
            return self.finish(context);
        }
        let rest = Extent {
            lba: rest.lba + written,
            count: rest.count - written,
        };
        self.begin_out(rest, block);
        self.interrupt(context);
    }

    /// Reads without giving.
    pub(super) fn verify(&mut self, context: &mut Context, extent: Extent) {
        let mut buffer = vec![0; extent.count as usize * SECTOR];
        let Some(medium) = self.medium() else { return };
        match medium.read(extent.lba, &mut buffer) {
            Ok(()) => self.finish(context),
            Err(reason) => self.fail_medium(context, reason, false),
        }
    }

    /// Writes to the medium, through the cache where that is on.
    fn store(&mut self, lba: u64, data: &[u8]) -> Result<(), MediumError> {
        let through = !self.drive().write_cache;
        let medium = self.medium().ok_or(MediumError::Aborted)?;
        medium.write(lba, data)?;
        if through { medium.flush() } else { Ok(()) }
    }

    /// Begins a transfer by the bus master.
    pub(super) fn begin_dma(&mut self, context: &mut Context, write: bool, extent: Extent) {
        self.state.transfer = Transfer::Dma { write, extent };
        self.state.status = status::IDLE | status::DATA;
        self.schedule(context);
    }

    fn schedule(&mut self, context: &mut Context) {
        if let (Transfer::Dma { extent, .. }, true) =
            (&self.state.transfer, self.state.master.command & START != 0)
        {
            let (fixed, each) = DMA_LATENCY;
            self.state.master.due = Some(context.now + fixed + each * extent.count);
        }
    }

    /// When it next acts by itself.
    #[must_use]
    pub fn next_event(&self) -> Option<u64> {
        self.state.master.due
    }

    /// Carries out the transfer that is due; `enabled` is whether the function may be master of the bus.
    pub fn advance(&mut self, context: &mut Context, enabled: bool) {
        if self.state.master.due.is_none_or(|due| due > context.now) {
            return;
        }
        self.state.master.due = None;
        let (Transfer::Dma { write, extent }, true) = (&self.state.transfer, enabled) else {
            return;
        };
        let (write, mut extent) = (*write, *extent);
        let mut pieces = Pieces::new(self.state.master.table);
        while extent.count > 0 {
            let count = extent.count.min(CHUNK);
            match self.move_chunk(context, &mut pieces, write, extent.lba, count) {
                Ok(()) => {}
                Err(Broken::Medium(reason)) => {
                    self.state.master.status &= !ACTIVE;
                    return self.fail_medium(context, reason, write);
                }
                Err(Broken::Memory) => {
                    self.state.master.status = self.state.master.status & !ACTIVE | MASTER_ERROR;
                    return self.fail(context, error::ABORTED);
                }
                Err(Broken::Short) => {
                    // The drive waits for more, and software will time out.
                    self.state.master.status &= !ACTIVE;
                    return;
                }
            }
            extent.lba += count;
            extent.count -= count;
        }
        if pieces.at_end() {
            self.state.master.status &= !ACTIVE;
        }
        self.finish(context);
    }

    fn move_chunk(
        &mut self,
        context: &mut Context,
        pieces: &mut Pieces,
        write: bool,
        lba: u64,
        count: u64,
    ) -> Result<(), Broken> {
        let mut data = vec![0; count as usize * SECTOR];
        if write {
            pieces.each(context, data.len(), |context, address, from, to| {
                context.dma.read(address, &mut data[from..to])
            })?;
            return self.store(lba, &data).map_err(Broken::Medium);
        }
        let medium = self.medium().ok_or(Broken::Medium(MediumError::Aborted))?;
        let result = medium.read(lba, &mut data);
        let good = match result {
            Ok(()) => data.len(),
            Err(MediumError::Uncorrectable { lba: bad }) => (bad - lba) as usize * SECTOR,
            Err(MediumError::Aborted) => 0,
        };
        pieces.each(context, good, |context, address, from, to| {
            context.dma.write(address, &data[from..to])
        })?;
        result.map_err(Broken::Medium)
    }

    /// Reads the bus master's registers.
    #[must_use]
    pub fn read_master(&self, register: u64) -> u8 {
        let master = &self.state.master;
        match register {
            0 => master.command,
            2 => master.status,
            4..8 => master.table.to_le_bytes()[register as usize - 4],
            _ => 0,
        }
    }

    /// Writes them.
    pub fn write_master(&mut self, context: &mut Context, register: u64, value: u8) {
        let master = &mut self.state.master;
        match register {
            0 => {
                let started = value & !master.command & START != 0;
                master.command = value & 9;
                if started {
                    master.status |= ACTIVE;
                    self.schedule(context);
                } else if value & START == 0 {
                    master.status &= !ACTIVE;
                    master.due = None;
                }
            }
            2 => {
                let kept =
                    master.status & ACTIVE | master.status & !value & (MASTER_ERROR | INTERRUPT);
                master.status = kept | value & CAPABLE;
            }
            4..8 => {
                let mut bytes = master.table.to_le_bytes();
                bytes[register as usize - 4] = value;
                master.table = u32::from_le_bytes(bytes) & !3;
            }
            _ => {}
        }
    }
}

/// Why a transfer of a bus master did not go on.
enum Broken {
    Medium(MediumError),
    /// An address is no RAM.
    Memory,
    /// The table ends too early.
    Short,
}

/// The table of a bus master: physical stretches of memory.
struct Pieces {
    table: u64,
    address: u64,
    left: usize,
    last: bool,
}

impl Pieces {
    fn new(table: u32) -> Self {
        Pieces {
            table: table.into(),
            address: 0,
            left: 0,
            last: false,
        }
    }

    /// All of the table was used.
    fn at_end(&self) -> bool {
        self.last && self.left == 0
    }

    /// Calls `transfer` with a physical address and the part of the data for it, until `length` bytes are moved.
    fn each(
        &mut self,
        context: &mut Context,
        length: usize,
        mut transfer: impl FnMut(&mut Context, u64, usize, usize) -> bool,
    ) -> Result<(), Broken> {
        let mut done = 0;
        while done < length {
            if self.left == 0 {
                self.next(context)?;
            }
            let count = self.left.min(length - done);
            if !transfer(context, self.address, done, done + count) {
                return Err(Broken::Memory);
            }
            done += count;
            self.address += count as u64;
            self.left -= count;
        }
        Ok(())
    }

    fn next(&mut self, context: &mut Context) -> Result<(), Broken> {
        if self.last {
            return Err(Broken::Short);
        }
        let mut entry = [0; 8];
        if !context.dma.read(self.table, &mut entry) {
            return Err(Broken::Memory);
        }
        let word = |at: usize| u16::from_le_bytes([entry[at], entry[at + 1]]);
        self.address = u64::from(word(0) & !1) | u64::from(word(2)) << 16;
        self.left = match word(4) & !1 {
            0 => 0x1_0000,
            count => count.into(),
        };
        self.last = word(6) & 0x8000 != 0;
        self.table += 8;
        Ok(())
    }
}
