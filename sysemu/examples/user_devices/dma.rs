//! A DMA engine. Registers of 8 bytes: 0 source, 8 destination, 16 length, 24 a write starts it, a read gives 0 idle, 1 busy, 2 done, 3 failed. It
//! moves a byte in a nanosecond and raises its interrupt at the end.

use fits_sysemu::user::{Board, Fault, UserDevice};

const MOVE: u32 = 0;
const BUSY: u64 = 1;
const DONE: u64 = 2;
const FAILED: u64 = 3;
/// Bytes that it moves at most.
const MOST: u64 = 4096;

/// The engine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dma {
    registers: [u64; 3],
    status: u64,
    /// Which bit of the first byte is flipped, counted from 1.
    flip: u64,
    /// How many bytes are not moved.
    short: u64,
    lost: bool,
}

impl Dma {
    fn transfer(&self, board: &mut dyn Board) -> u64 {
        let [source, destination, length] = self.registers;
        let mut data = vec![0; length.min(MOST) as usize];
        if !board.read_memory(source, &mut data) {
            return FAILED;
        }
        data.truncate(data.len().saturating_sub(self.short as usize));
        if let (1..=8, Some(byte)) = (self.flip, data.first_mut()) {
            *byte ^= 1 << (self.flip - 1);
        }
        if board.write_memory(destination, &data) {
            DONE
        } else {
            FAILED
        }
    }
}

impl UserDevice for Dma {
    fn kind(&self) -> String {
        "dma-engine".into()
    }

    fn load(&mut self, _: &mut dyn Board, offset: u64, _: u8) -> u64 {
        match offset {
            24 => self.status,
            _ => self
                .registers
                .get(offset as usize / 8)
                .copied()
                .unwrap_or(0),
        }
    }

    fn store(&mut self, board: &mut dyn Board, offset: u64, _: u8, value: u64) {
        if offset == 24 {
            board.irq_assert(false);
            self.status = BUSY;
            board.waitfor(MOVE, self.registers[2].max(1));
        } else if let Some(register) = self.registers.get_mut(offset as usize / 8) {
            *register = value;
        }
    }

    fn wake(&mut self, board: &mut dyn Board, _: u32) {
        if self.status == BUSY && !self.lost {
            self.status = self.transfer(board);
            board.irq_assert(true);
        }
    }

    fn reset(&mut self, _: &mut dyn Board) {
        self.registers = [0; 3];
        self.status = 0;
    }

    fn faults(&self) -> Vec<Fault> {
        [
            (
                "flip",
                "this bit of the first byte is flipped, counted from 1",
            ),
            ("short", "this many bytes are not moved"),
            ("lost", "it is never done"),
        ]
        .map(|(name, text)| Fault {
            name: name.into(),
            text: text.into(),
        })
        .into()
    }

    fn inject(&mut self, _: &mut dyn Board, fault: &str, value: u64) -> Result<(), String> {
        match fault {
            "flip" if value > 8 => return Err("a byte has 8 bits".into()),
            "flip" => self.flip = value,
            "short" => self.short = value,
            _ => self.lost = value != 0,
        }
        Ok(())
    }

    fn save(&self) -> Vec<u8> {
        let [source, destination, length] = self.registers;
        [
            source,
            destination,
            length,
            self.status,
            self.flip,
            self.short,
            self.lost.into(),
        ]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        let words: Vec<u64> = bytes
            .chunks_exact(8)
            .filter_map(|word| Some(u64::from_le_bytes(word.try_into().ok()?)))
            .collect();
        let &[source, destination, length, status, flip, short, lost] = words.as_slice() else {
            return Err(format!(
                "{} bytes are no state of a DMA engine",
                bytes.len()
            ));
        };
        *self = Dma {
            registers: [source, destination, length],
            status,
            flip,
            short,
            lost: lost != 0,
        };
        Ok(())
    }
}
