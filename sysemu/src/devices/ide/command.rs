//! The commands of an ATA drive (ATA/ATAPI-7, chapter 6): the general feature set without packets, 28 and 48 bits, PIO and DMA.

use super::channel::{Channel, Extent, LBA, error};
use super::identify::{LIMIT_28, MULTIPLE_MAX, identify};
use crate::devices::device::Context;

/// How a command moves its sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// By the data port, one sector at a time.
    Single,
    /// By the data port, in blocks.
    Multiple,
    /// By the bus master.
    Dma,
    /// Not at all: read and not given.
    Verify,
}

/// What a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Move {
        write: bool,
        how: How,
        wide: bool,
    },
    Flush,
    Identify,
    Diagnostic,
    SetFeatures,
    SetMultiple,
    SetGeometry,
    NativeMax {
        wide: bool,
    },
    CheckPower,
    /// Succeeds without effect.
    Nothing,
    /// Is not supported.
    Unknown,
}

fn moving(write: bool, how: How, wide: bool) -> Command {
    Command::Move { write, how, wide }
}

fn decode(code: u8) -> Command {
    match code {
        0x20 | 0x21 => moving(false, How::Single, false),
        0x24 => moving(false, How::Single, true),
        0x25 => moving(false, How::Dma, true),
        0x27 => Command::NativeMax { wide: true },
        0x29 => moving(false, How::Multiple, true),
        0x30 | 0x31 => moving(true, How::Single, false),
        0x34 => moving(true, How::Single, true),
        0x35 => moving(true, How::Dma, true),
        0x39 => moving(true, How::Multiple, true),
        0x40 | 0x41 => moving(false, How::Verify, false),
        0x42 => moving(false, How::Verify, true),
        0x90 => Command::Diagnostic,
        0x91 => Command::SetGeometry,
        0xc4 => moving(false, How::Multiple, false),
        0xc5 => moving(true, How::Multiple, false),
        0xc6 => Command::SetMultiple,
        0xc8 | 0xc9 => moving(false, How::Dma, false),
        0xca | 0xcb => moving(true, How::Dma, false),
        0xe5 => Command::CheckPower,
        0xe7 | 0xea => Command::Flush,
        0xec => Command::Identify,
        0xef => Command::SetFeatures,
        0xf8 => Command::NativeMax { wide: false },
        // Recalibrate, seek, standby, idle, sleep.
        0x10..=0x1f | 0x70..=0x7f | 0xe0..=0xe3 | 0xe6 | 0x94..=0x97 => Command::Nothing,
        _ => Command::Unknown,
    }
}

impl Channel {
    /// The selected drive gets a command.
    pub(super) fn execute(&mut self, context: &mut Context, code: u8) {
        let command = decode(code);
        if self.medium().is_none() && command != Command::Diagnostic {
            return;
        }
        self.state.error = 0;
        self.state.wide = false;
        match command {
            Command::Move { write, how, wide } => self.move_sectors(context, write, how, wide),
            Command::Flush => self.flush(context),
            Command::Identify => self.identify(context),
            Command::Diagnostic => {
                self.signature();
                self.interrupt(context);
            }
            Command::SetFeatures => self.set_features(context),
            Command::SetMultiple => self.set_multiple(context),
            Command::SetGeometry => {
                let (head, track) = (self.state.device & 0xf, self.state.count.current);
                let drive = self.drive();
                drive.heads = u16::from(head) + 1;
                drive.track = u16::from(track).max(1);
                self.finish(context);
            }
            Command::NativeMax { wide } => {
                let last = self.sectors().saturating_sub(1);
                self.state.wide = wide;
                self.name_sector(if wide { last } else { last.min(LIMIT_28 - 1) });
                self.finish(context);
            }
            Command::CheckPower => {
                // Active.
                self.state.count.set(0xff);
                self.finish(context);
            }
            Command::Nothing => self.finish(context),
            Command::Unknown => self.fail(context, error::ABORTED),
        }
    }

    fn sectors(&mut self) -> u64 {
        self.medium().map_or(0, |medium| medium.sectors())
    }

    /// The sectors that the registers name.
    fn extent(&mut self, wide: bool) -> Extent {
        let (heads, track) = (self.drive().heads, self.drive().track);
        let state = &self.state;
        let three = |low, mid, high| u64::from(u32::from_le_bytes([low, mid, high, 0]));
        let current = three(state.low.current, state.mid.current, state.high.current);
        let head = u64::from(state.device & 0xf);
        if wide {
            let previous = three(state.low.previous, state.mid.previous, state.high.previous);
            let count = u16::from_le_bytes([state.count.current, state.count.previous]);
            return Extent {
                lba: current | previous << 24,
                count: if count == 0 { 0x1_0000 } else { count.into() },
            };
        }
        let lba = if state.device & LBA != 0 {
            current | head << 24
        } else {
            // Sectors of a track are numbered from 1; one that is 0 is not on the disk.
            ((current >> 8) * u64::from(heads) + head)
                .wrapping_mul(track.into())
                .wrapping_add(current & 0xff)
                .wrapping_sub(1)
        };
        let count = match state.count.current {
            0 => 256,
            count => count.into(),
        };
        Extent { lba, count }
    }

    /// Puts the address of a sector into the registers, in the form of the command.
    pub(super) fn name_sector(&mut self, lba: u64) {
        let (heads, track) = (u64::from(self.drive().heads), u64::from(self.drive().track));
        let state = &mut self.state;
        let bytes = if state.wide || state.device & LBA != 0 {
            lba.to_le_bytes()
        } else {
            let (cylinder, head) = (lba / track / heads, lba / track % heads);
            (lba % track + 1 | cylinder << 8 | head << 24).to_le_bytes()
        };
        state.low.set(bytes[0]);
        state.mid.set(bytes[1]);
        state.high.set(bytes[2]);
        if state.wide {
            state.low.previous = bytes[3];
            state.mid.previous = bytes[4];
            state.high.previous = bytes[5];
        } else {
            state.device = state.device & 0xf0 | bytes[3] & 0xf;
        }
    }

    fn move_sectors(&mut self, context: &mut Context, write: bool, how: How, wide: bool) {
        self.state.wide = wide;
        let extent = self.extent(wide);
        let sectors = self.sectors();
        if extent.lba >= sectors || extent.count > sectors - extent.lba {
            if extent.lba < sectors {
                self.name_sector(sectors);
            }
            return self.fail(context, error::NOT_FOUND);
        }
        if write && self.medium().is_some_and(|medium| medium.read_only()) {
            return self.fail(context, error::ABORTED);
        }
        let block = match how {
            How::Multiple => u64::from(self.drive().multiple),
            _ => 1,
        };
        match how {
            // SET MULTIPLE MODE was never given.
            How::Multiple if block == 0 => self.fail(context, error::ABORTED),
            How::Dma => self.begin_dma(context, write, extent),
            How::Verify => self.verify(context, extent),
            _ if write => self.begin_out(extent, block),
            _ => self.begin_in(context, extent, block),
        }
    }

    fn identify(&mut self, context: &mut Context) {
        let (sectors, unit) = (self.sectors(), 2 * self.number + self.selected());
        let words = identify(self.drive(), sectors, unit);
        let nothing = Extent { lba: 0, count: 0 };
        self.offer(context, words.to_vec(), nothing, 1);
    }

    fn flush(&mut self, context: &mut Context) {
        let flushed = self.medium().is_none_or(|medium| medium.flush().is_ok());
        if flushed {
            self.finish(context);
        } else {
            self.fail(context, error::ABORTED);
        }
    }

    fn set_multiple(&mut self, context: &mut Context) {
        let count = self.state.count.current;
        if count > MULTIPLE_MAX || count != 0 && !count.is_power_of_two() {
            return self.fail(context, error::ABORTED);
        }
        self.drive().multiple = count;
        self.finish(context);
    }

    fn set_features(&mut self, context: &mut Context) {
        let mode = self.state.count.current;
        match self.state.feature.current {
            0x02 => self.drive().write_cache = true,
            0x82 => {
                self.drive().write_cache = false;
                return self.flush(context);
            }
            0x55 => self.drive().look_ahead = false,
            0xaa => self.drive().look_ahead = true,
            // PIO default, PIO with flow control, multi-word DMA, Ultra DMA.
            0x03 if matches!(mode, 0..=1 | 0x08..=0x0c | 0x20..=0x22 | 0x40..=0x45) => {
                if mode >= 0x20 {
                    self.drive().mode = mode;
                }
            }
            // Keep settings over a reset, or not: nothing is lost by one.
            0x66 | 0xcc => {}
            _ => return self.fail(context, error::ABORTED),
        }
        self.finish(context);
    }
}
