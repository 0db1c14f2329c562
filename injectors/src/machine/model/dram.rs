//! Faults of DRAM by the rates of field studies, and what the memory controller's code makes of them.
//!
//! Rates are FIT (failures in 10^9 hours) of a device of 1 Gbit, as commonly tabulated from V. Sridharan and D. Liberty, "A Study of DRAM Failures in the
//! Field", SC 2012.

use super::ecc::{Code, DATA_DEVICES, DEVICES, LANE, Verdict};
use super::placeholder::{at, at_seed};
use super::random::Random;
use crate::machine::MachineFault;
use crate::machine::geometry::{Cell, Geometry};
use crate::machine::scheduler::Source;

/// What of a device fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// One cell.
    Bit,
    /// What the device gives for one address.
    Word,
    /// One cell in every row of a bank.
    Column,
    /// A row of a bank.
    Row,
    /// A bank.
    Bank,
    /// Two banks.
    MultiBank,
    /// The same device of every rank.
    MultiRank,
}

impl Mode {
    /// All, from small to large.
    pub const ALL: [Self; 7] = [
        Self::Bit,
        Self::Word,
        Self::Column,
        Self::Row,
        Self::Bank,
        Self::MultiBank,
        Self::MultiRank,
    ];

    /// Its name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bit => "bit",
            Self::Word => "word",
            Self::Column => "column",
            Self::Row => "row",
            Self::Bank => "bank",
            Self::MultiBank => "multi-bank",
            Self::MultiRank => "multi-rank",
        }
    }

    /// Only one of the device's bits is wrong in a word.
    fn single(self) -> bool {
        matches!(self, Self::Bit | Self::Column)
    }
}

/// FIT of a device: transient and permanent, by mode.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates(pub [[f64; 2]; 7]);

impl Rates {
    /// The field study's.
    pub const FIELD_2012: Self = Rates([
        [14.2, 18.6],
        [1.4, 0.3],
        [1.4, 5.6],
        [0.2, 8.2],
        [0.8, 10.0],
        [0.3, 1.4],
        [0.9, 2.8],
    ]);

    /// All together.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.0.iter().flatten().sum()
    }

    /// One of them, each as likely as its rate: mode, and whether it is permanent.
    pub(super) fn draw(&self, random: &mut Random) -> (Mode, bool) {
        let mut rest = random.fraction() * self.total();
        for (mode, rates) in Mode::ALL.into_iter().zip(self.0) {
            for (permanent, rate) in [false, true].into_iter().zip(rates) {
                if rest < rate {
                    return (mode, permanent);
                }
                rest -= rate;
            }
        }
        (Mode::Bit, false)
    }
}

/// A model of DRAM.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dram {
    /// Of each device.
    pub rates: Rates,
    /// Hours in the field that one virtual second stands for.
    pub hours: f64,
    /// What protects it.
    pub code: Code,
    /// Virtual seconds between two rounds of the scrubber; none without one.
    pub scrub: Option<f64>,
}

/// A fault of a device: which cells of its rank, and which of the device's bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The device, from 0; from [`DATA_DEVICES`] on they hold check bits.
    pub device: usize,
    /// None is all.
    pub rank: Option<u64>,
    /// A bit for each bank.
    pub banks: u64,
    /// None is all.
    pub row: Option<u64>,
    /// None is all.
    pub column: Option<u64>,
    /// Wrong bits of the device in a representative word.
    pub lanes: u8,
    /// It stays, whatever is written.
    pub permanent: bool,
    /// What failed.
    pub mode: Mode,
}

fn common(one: Option<u64>, other: Option<u64>) -> Option<Option<u64>> {
    match (one, other) {
        (Some(one), Some(other)) if one != other => None,
        (one, other) => Some(one.or(other)),
    }
}

impl Extent {
    /// A fault of a mode, anywhere in a module.
    pub(super) fn draw(
        (mode, permanent): (Mode, bool),
        geometry: &Geometry,
        random: &mut Random,
    ) -> Self {
        let device = random.below(DEVICES as u64) as usize;
        let rank = random.below(1 << geometry.rank_bits);
        let banks = 1 << geometry.bank_bits;
        let first = random.below(banks);
        let second = (first + 1 + random.below(banks.saturating_sub(1))) % banks;
        let row = random.below(1 << geometry.row_bits);
        let column = random.below(1 << geometry.column_bits);
        let lanes = if mode.single() {
            1 << random.below(LANE.into())
        } else {
            1 + random.below((1 << LANE) - 1) as u8
        };
        let small = matches!(mode, Mode::Bit | Mode::Word);
        Extent {
            device,
            rank: (mode != Mode::MultiRank).then_some(rank),
            banks: match mode {
                Mode::MultiRank => u64::MAX >> (64 - banks),
                Mode::MultiBank => 1 << first | 1 << second,
                _ => 1 << first,
            },
            row: (small || mode == Mode::Row).then_some(row),
            column: (small || mode == Mode::Column).then_some(column),
            lanes,
            permanent,
            mode,
        }
    }

    /// A word that both hit in the same code word, if there is one.
    #[must_use]
    pub fn meet(&self, other: &Extent, code: Code) -> Option<Cell> {
        let bank = self.banks & other.banks;
        let rank = common(self.rank, other.rank)?;
        let row = common(self.row, other.row)?;
        let beats = code.beats();
        let columns = common(
            self.column.map(|column| column / beats),
            other.column.map(|column| column / beats),
        )?;
        (bank != 0).then(|| Cell {
            rank: rank.unwrap_or(0),
            bank: u64::from(bank.trailing_zeros()),
            row: row.unwrap_or(0),
            column: self
                .column
                .or(other.column)
                .or(columns.map(|column| column * beats))
                .unwrap_or(0),
        })
    }

    /// A word that it hits; free coordinates are drawn.
    fn word(&self, geometry: &Geometry, random: &mut Random) -> Cell {
        Cell {
            rank: self
                .rank
                .unwrap_or_else(|| random.below(1 << geometry.rank_bits)),
            bank: u64::from(self.banks.trailing_zeros()),
            row: self
                .row
                .unwrap_or_else(|| random.below(1 << geometry.row_bits)),
            column: self
                .column
                .unwrap_or_else(|| random.below(1 << geometry.column_bits)),
        }
    }

    /// Its wrong bits in the beat of a column.
    fn beat(&self, column: u64) -> super::ecc::Pattern {
        let wrong = u128::from(self.lanes) << (LANE as usize * self.device);
        if self.column.unwrap_or(column) & 1 == 0 {
            [wrong, 0]
        } else {
            [0, wrong]
        }
    }

    /// What the code makes of it alone.
    #[must_use]
    pub fn judge(&self, code: Code) -> Verdict {
        let pattern = match code {
            Code::ChipKill => self.beat(0),
            _ => [self.beat(0)[0] | self.beat(0)[1], 0],
        };
        code.judge(pattern)
    }

    /// What the code makes of it and others, which meet it in one code word.
    #[must_use]
    pub fn judge_with(&self, other: &Extent, code: Code) -> Verdict {
        let (one, two) = (self.beat(0), other.beat(0));
        match code {
            Code::ChipKill => code.judge([one[0] ^ two[0], one[1] ^ two[1]]),
            _ => code.judge([one[0] ^ one[1] ^ two[0] ^ two[1], 0]),
        }
    }
}

/// Faults of a module as the machine meets them.
#[derive(Debug)]
pub(super) struct Errors {
    dram: Dram,
    geometry: Geometry,
    random: Random,
    /// Virtual seconds.
    now: f64,
    /// Faults that are there, with the time since when.
    present: Vec<(f64, Extent)>,
}

/// The part of a model that DRAM draws from.
const PART: u64 = 1 << 32;

impl Errors {
    pub(super) fn new(dram: &Dram, geometry: Geometry, seed: u64) -> Self {
        Errors {
            dram: *dram,
            geometry,
            random: Random::new(seed, PART),
            now: 0.0,
            present: Vec::new(),
        }
    }

    /// Mean virtual seconds between two faults of the module.
    fn mean(&self) -> f64 {
        let devices = (DEVICES << self.geometry.rank_bits) as f64;
        1e9 / (self.dram.rates.total() * devices * self.dram.hours)
    }

    /// What the scrubber has removed by now is gone.
    fn scrub(&mut self) {
        let Some(period) = self.dram.scrub else {
            return;
        };
        let last = (self.now / period).floor() * period;
        self.present
            .retain(|(since, fault)| fault.permanent || *since > last);
    }

    /// The faults of the machine that a fault of a device makes.
    fn effects(&mut self, fault: &Extent) -> Option<Vec<MachineFault>> {
        let code = self.dram.code;
        let word = fault.word(&self.geometry, &mut self.random);
        if code == Code::None {
            return Some(vec![self.corruption(fault, word)?]);
        }
        let partner = self.present.iter().find_map(|(_, other)| {
            let other_device = other.device != fault.device;
            let meeting = fault.meet(other, code)?;
            other_device.then_some((*other, meeting))
        });
        let (verdict, word) = match partner {
            Some((other, meeting)) => (fault.judge_with(&other, code), meeting),
            None => (fault.judge(code), word),
        };
        let address = self.geometry.address(word);
        match verdict {
            Verdict::Clean => None,
            Verdict::Corrected => Some(vec![
                at(&format!("mce:ce:phys={address:#x}"), self.now).ok()?,
            ]),
            Verdict::Silent => Some(vec![self.corruption(fault, word)?]),
            Verdict::Detected => {
                let read = format!("mce:srar:phys={address:#x}/permanent");
                let mut faults = vec![at(&read, self.now).ok()?];
                if let Some(period) = self.dram.scrub {
                    let next = (self.now / period).floor() * period + period;
                    faults.push(at(&format!("mce:srao:phys={address:#x}"), next).ok()?);
                }
                Some(faults)
            }
        }
    }

    /// Silent corruption of what the device holds; none where it holds check bits, or nothing becomes wrong.
    fn corruption(&mut self, fault: &Extent, word: Cell) -> Option<MachineFault> {
        if fault.device >= DATA_DEVICES {
            return None;
        }
        let address = self.geometry.address(word);
        let low = LANE as usize * fault.device;
        let lanes = format!("{low}-{}", low + LANE as usize - 1);
        let bit = low + fault.lanes.trailing_zeros() as usize;
        let stuck = if self.random.below(2) == 0 {
            "stuck0"
        } else {
            "stuck1"
        };
        let (wrong, seed) = (u64::from(fault.lanes) << low, self.random.below(u64::MAX));
        let text = match (fault.mode, fault.permanent) {
            (Mode::Bit, false) => format!("mem:phys={address:#x}:{bit}"),
            (Mode::Bit, true) => format!("mem:phys={address:#x}:{stuck}:{bit}/permanent"),
            (Mode::Word, false) => format!("mem:phys={address:#x}:xor={wrong:#x}"),
            (Mode::Word, true) => format!("mem:phys={address:#x}:{stuck}:{lanes}/permanent"),
            (Mode::Column, true) => format!("column:phys={address:#x}:{stuck}:{bit}/permanent"),
            (Mode::Row, true) => format!("row:phys={address:#x}:{stuck}:{lanes}/permanent"),
            // Of larger parts the content is lost; what is written afterwards stays.
            (mode, _) => {
                let (array, bits) = match mode {
                    Mode::Column => ("column", bit.to_string()),
                    Mode::Row => ("row", lanes),
                    Mode::MultiRank => ("rank", lanes),
                    _ => ("bank", lanes),
                };
                let text = format!("{array}:phys={address:#x}:random:{bits}");
                return at_seed(&text, self.now, seed).ok();
            }
        };
        at(&text, self.now).ok()
    }
}

/// Faults in a row that have no effect at all before the model gives up: its rates have none that do.
const PATIENCE: usize = 10_000;

impl Source for Errors {
    fn next(&mut self) -> Option<Vec<MachineFault>> {
        for _ in 0..PATIENCE {
            self.now += self.mean() * self.random.exponential();
            self.scrub();
            let kind = self.dram.rates.draw(&mut self.random);
            let fault = Extent::draw(kind, &self.geometry, &mut self.random);
            let effects = self.effects(&fault);
            self.present.push((self.now, fault));
            if effects.is_some() {
                return effects;
            }
        }
        None
    }
}
