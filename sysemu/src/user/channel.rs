//! Several devices behind one range of addresses: an access goes to the device that has the address.

use std::ops::Range;

use super::device::{Board, Fault, UserDevice};

/// Behaviours of each device on the channel; the channel numbers them device by device.
const BEHAVIOURS: u32 = 1 << 16;

/// A channel. Its devices share its interrupt line, which is active while any of them drives it.
#[derive(Debug, Default)]
pub struct Channel {
    devices: Vec<Routed>,
}

#[derive(Debug)]
struct Routed {
    range: Range<u64>,
    device: Box<dyn UserDevice>,
    level: bool,
}

impl Channel {
    /// A channel with no device.
    #[must_use]
    pub fn new() -> Self {
        Channel::default()
    }

    /// Adds a device, which sees offsets from 0 on.
    ///
    /// # Errors
    /// When the range is empty, overlaps another one, or 4096 devices are there: a sentence.
    pub fn add(&mut self, range: Range<u64>, device: Box<dyn UserDevice>) -> Result<(), String> {
        let overlaps =
            |other: &Routed| other.range.start < range.end && range.start < other.range.end;
        if range.is_empty() || self.devices.iter().any(overlaps) {
            return Err(format!(
                "the range {range:#x?} of a channel is empty or in use"
            ));
        }
        if self.devices.len() == 4096 {
            return Err("a channel has at most 4096 devices".into());
        }
        self.devices.push(Routed {
            range,
            device,
            level: false,
        });
        Ok(())
    }

    /// Lets a device act, with the channel between it and the board.
    fn with<R>(
        &mut self,
        board: &mut dyn Board,
        index: usize,
        act: impl FnOnce(&mut dyn UserDevice, &mut dyn Board) -> R,
    ) -> R {
        let others = self
            .devices
            .iter()
            .enumerate()
            .any(|(other, routed)| other != index && routed.level);
        let routed = &mut self.devices[index];
        let mut between = Between {
            board,
            others,
            level: &mut routed.level,
            first: index as u32 * BEHAVIOURS,
        };
        act(&mut *routed.device, &mut between)
    }

    /// Who has an access, and the offset in it.
    fn find(&self, offset: u64, size: u8) -> Option<(usize, u64)> {
        let end = offset.checked_add(size.into())?;
        let index = self
            .devices
            .iter()
            .position(|routed| routed.range.start <= offset && end <= routed.range.end)?;
        Some((index, offset - self.devices[index].range.start))
    }
}

/// The board as a device on a channel sees it.
struct Between<'a> {
    board: &'a mut dyn Board,
    /// Another device drives the line.
    others: bool,
    level: &'a mut bool,
    first: u32,
}

impl Board for Between<'_> {
    fn now(&self) -> u64 {
        self.board.now()
    }

    fn irq_assert(&mut self, level: bool) {
        *self.level = level;
        self.board.irq_assert(level || self.others);
    }

    fn waitfor(&mut self, behaviour: u32, duration: u64) {
        self.board
            .waitfor(self.first + behaviour % BEHAVIOURS, duration);
    }

    fn read_memory(&mut self, address: u64, bytes: &mut [u8]) -> bool {
        self.board.read_memory(address, bytes)
    }

    fn write_memory(&mut self, address: u64, bytes: &[u8]) -> bool {
        self.board.write_memory(address, bytes)
    }

    fn reset_machine(&mut self) {
        self.board.reset_machine();
    }
}

impl UserDevice for Channel {
    fn kind(&self) -> String {
        let kinds: Vec<String> = self
            .devices
            .iter()
            .map(|routed| routed.device.kind())
            .collect();
        format!("channel of {}", kinds.join(", "))
    }

    fn start(&mut self, board: &mut dyn Board) {
        for index in 0..self.devices.len() {
            self.with(board, index, |device, board| device.start(board));
        }
    }

    fn load(&mut self, board: &mut dyn Board, offset: u64, size: u8) -> u64 {
        match self.find(offset, size) {
            Some((index, at)) => {
                self.with(board, index, |device, board| device.load(board, at, size))
            }
            None => u64::MAX,
        }
    }

    fn store(&mut self, board: &mut dyn Board, offset: u64, size: u8, value: u64) {
        if let Some((index, at)) = self.find(offset, size) {
            self.with(board, index, |device, board| {
                device.store(board, at, size, value)
            });
        }
    }

    fn port_in(&mut self, board: &mut dyn Board, offset: u64, size: u8) -> u64 {
        match self.find(offset, size) {
            Some((index, at)) => self.with(board, index, |device, board| {
                device.port_in(board, at, size)
            }),
            None => u64::MAX,
        }
    }

    fn port_out(&mut self, board: &mut dyn Board, offset: u64, size: u8, value: u64) {
        if let Some((index, at)) = self.find(offset, size) {
            self.with(board, index, |device, board| {
                device.port_out(board, at, size, value)
            });
        }
    }

    fn wake(&mut self, board: &mut dyn Board, behaviour: u32) {
        let index = (behaviour / BEHAVIOURS) as usize;
        if index < self.devices.len() {
            self.with(board, index, |device, board| {
                device.wake(board, behaviour % BEHAVIOURS)
            });
        }
    }

    fn reset(&mut self, board: &mut dyn Board) {
        for index in 0..self.devices.len() {
            self.devices[index].level = false;
            self.with(board, index, |device, board| device.reset(board));
        }
    }

    /// Those of all devices, each behind the number of its device.
    fn faults(&self) -> Vec<Fault> {
        let mut all = Vec::new();
        for (index, routed) in self.devices.iter().enumerate() {
            all.extend(routed.device.faults().into_iter().map(|fault| Fault {
                name: format!("{index}-{}", fault.name),
                text: fault.text,
            }));
        }
        all
    }

    fn inject(&mut self, board: &mut dyn Board, fault: &str, value: u64) -> Result<(), String> {
        let found = fault
            .split_once('-')
            .and_then(|(index, name)| Some((index.parse::<usize>().ok()?, name)))
            .filter(|(index, _)| *index < self.devices.len());
        let (index, name) = found.ok_or_else(|| format!("there is no fault {fault}"))?;
        self.with(board, index, |device, board| {
            device.inject(board, name, value)
        })
    }

    fn save(&self) -> Vec<u8> {
        let states: Vec<(bool, Vec<u8>)> = self
            .devices
            .iter()
            .map(|routed| (routed.level, routed.device.save()))
            .collect();
        crate::snapshot::encode(&states)
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        let states: Vec<(bool, Vec<u8>)> = crate::snapshot::decode(bytes)?;
        if states.len() != self.devices.len() {
            return Err(format!(
                "the state of a channel with {} devices",
                states.len()
            ));
        }
        for (routed, (level, state)) in self.devices.iter_mut().zip(&states) {
            routed.level = *level;
            routed.device.restore(state)?;
        }
        Ok(())
    }

    fn failed(&self) -> Option<String> {
        let failed: Vec<String> = self
            .devices
            .iter()
            .filter_map(|routed| routed.device.failed())
            .collect();
        (!failed.is_empty() && failed.len() == self.devices.len()).then(|| failed.join("; "))
    }
}
