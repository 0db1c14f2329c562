//! One experiment as reports see it: what happened, and by what it can be put together with others.

use fits_tracer::engine::Moment;

use crate::campaign::point::{Point, Verdict};
use crate::campaign::store::opcode;
use crate::experiment::outcome::Outcome;
use crate::experiment::record::{EndRecord, Record};
use crate::fault::{Duration, Fault, Location, Operation, RegisterOperand};

/// What is known of the place of an instruction in the program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Site {
    /// Its function; `sub_…` if it has no symbol.
    pub function: String,
    /// `file:line`, or empty.
    pub source: String,
    /// The instruction, disassembled.
    pub text: String,
}

/// One experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its place in the plan.
    pub number: u64,
    /// The fault, with everything decided.
    pub fault: String,
    /// How many points of the fault space it stands for.
    pub weight: f64,
    /// The stratum it was drawn in.
    pub stratum: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
    /// Why that is so.
    pub reason: String,
    /// How it is known, if it was not run.
    pub known: Option<String>,
    /// Thread and instructions retired.
    pub moment: Option<Moment>,
    /// The instruction that came next.
    pub pc: Option<u64>,
    /// Its place.
    pub site: Site,
    /// What it is counted under.
    pub keys: Keys,
    /// The signal that ended it.
    pub signal: Option<String>,
    /// Whether what was changed was read: `yes`, `no`, `unknown`; empty if it was not run.
    pub activated: String,
    /// Instructions from the fault to the crash or detection, where they are known.
    pub latency: Option<u64>,
    /// Processor time, seconds; 0 if it was not run.
    pub cpu_seconds: f64,
    /// The command that repeats it.
    pub replay: String,
}

/// What an experiment is counted under, by [`Dimension`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    /// Location, operation and duration: `reg flip`, `mem stuck1 permanent`.
    pub kind: String,
    /// The register, or the kind of place that is none.
    pub register: String,
    /// The changed bit, if it is one.
    pub bit: Option<u32>,
}

/// By what experiments are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dimension {
    /// Location, operation and duration.
    Kind,
    /// The register.
    Register,
    /// The bit.
    Bit,
    /// A range of bits.
    BitClass,
    /// The function of the instruction.
    Function,
    /// Its source line.
    Source,
    /// Its mnemonic.
    Opcode,
    /// The tenth of the thread's instructions.
    Time,
    /// The stratum.
    Stratum,
}

impl Dimension {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 9] = [
        Self::Kind,
        Self::Register,
        Self::Bit,
        Self::BitClass,
        Self::Function,
        Self::Source,
        Self::Opcode,
        Self::Time,
        Self::Stratum,
    ];

    /// The name of its table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::Register => "register",
            Self::Bit => "bit",
            Self::BitClass => "bit_class",
            Self::Function => "function",
            Self::Source => "source",
            Self::Opcode => "opcode",
            Self::Time => "time",
            Self::Stratum => "stratum",
        }
    }

    /// Its title.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Kind => "Fault kind",
            Self::Register => "Register",
            Self::Bit => "Bit",
            Self::BitClass => "Bit class",
            Self::Function => "Function",
            Self::Source => "Source line",
            Self::Opcode => "Opcode",
            Self::Time => "Time in the run",
            Self::Stratum => "Stratum",
        }
    }
}

/// A value of a dimension: sorted by the number first, which orders what has an order of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Its place among the others.
    pub order: u64,
    /// As shown.
    pub text: String,
}

impl Row {
    /// An experiment that was run.
    #[must_use]
    pub fn ran(point: &Point, record: &Record, site: Site) -> Self {
        Self {
            outcome: record.outcome,
            reason: record.reason.clone(),
            signal: match &record.end {
                Some(EndRecord::Signaled { name, .. }) => Some(name.clone()),
                _ => None,
            },
            activated: record.activated.clone(),
            latency: record.latency,
            cpu_seconds: record.cpu_seconds,
            replay: record.replay.clone(),
            ..Self::known(point, record.outcome, None, site)
        }
    }

    /// One whose outcome is known without a run.
    #[must_use]
    pub fn known(point: &Point, outcome: Outcome, known: Option<String>, site: Site) -> Self {
        Self {
            number: point.number,
            fault: point.fault.clone(),
            weight: point.weight,
            stratum: point.stratum.clone(),
            outcome,
            reason: point.verdict.map(sentence).unwrap_or_default().to_owned(),
            known,
            moment: point.found.map(|found| found.moment),
            pc: point.found.map(|found| found.pc),
            site,
            keys: Keys::of(&point.fault),
            signal: None,
            activated: String::new(),
            latency: None,
            cpu_seconds: 0.0,
            replay: String::new(),
        }
    }

    /// What it is counted under; `length` is the number of instructions of the longest thread. `None`: it has nothing of that kind.
    #[must_use]
    pub fn key(&self, dimension: Dimension, length: u64) -> Option<Key> {
        let named = |text: &str| {
            (!text.is_empty()).then(|| Key {
                order: 0,
                text: text.to_owned(),
            })
        };
        match dimension {
            Dimension::Kind => named(&self.keys.kind),
            Dimension::Register => named(&self.keys.register),
            Dimension::Bit => self.keys.bit.map(|bit| Key {
                order: u64::from(bit),
                text: bit.to_string(),
            }),
            Dimension::BitClass => self.keys.bit.map(bit_class),
            Dimension::Function => named(&self.site.function),
            Dimension::Source => named(&self.site.source),
            Dimension::Opcode => named(opcode(&self.site.text)),
            Dimension::Time => self.moment.and_then(|moment| tenth(moment.index, length)),
            Dimension::Stratum => named(self.stratum.as_deref().unwrap_or_default()),
        }
    }
}

fn sentence(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Overwritten => "all changed bits are overwritten before they are read",
        Verdict::Constant => "the bits have that value already, for as long as the fault lasts",
    }
}

/// Powers of two from a byte up: where numbers are small, the higher a bit the more it does.
fn bit_class(bit: u32) -> Key {
    const STARTS: [u32; 8] = [0, 8, 16, 32, 64, 128, 256, 512];
    let place = STARTS.partition_point(|start| *start <= bit) - 1;
    let end = STARTS.get(place + 1).map_or(u32::MAX, |end| end - 1);
    Key {
        order: place as u64,
        text: format!("{}-{end}", STARTS[place]),
    }
}

fn tenth(index: u64, length: u64) -> Option<Key> {
    let share = u128::from(index) * 10 / u128::from(length.max(1));
    let place = share.min(9) as u64;
    (length > 0).then(|| Key {
        order: place,
        text: format!("{}-{} %", place * 10, place * 10 + 10),
    })
}

impl Keys {
    /// Of a fault in its text form; nothing if it has none.
    fn of(text: &str) -> Self {
        let Ok(fault) = text.parse::<Fault>() else {
            return Self::default();
        };
        let location = &fault.location;
        let whole = location.to_string();
        let word = match location {
            Location::Target => whole.as_str(),
            _ => whole.split(':').next().unwrap_or_default(),
        };
        let operation = fault.change.map(|change| operation(change.operation));
        let duration = match fault.duration {
            Duration::Transient => None,
            Duration::Permanent => Some("permanent"),
            Duration::Intermittent { .. } => Some("intermittent"),
            Duration::Instructions(_) => Some("lasting"),
        };
        let parts: Vec<&str> = [Some(word), operation, duration]
            .into_iter()
            .flatten()
            .collect();
        let register = match location {
            Location::Register(register)
            | Location::Source(RegisterOperand::Named(register))
            | Location::Destination(RegisterOperand::Named(register)) => register.to_string(),
            _ => word.to_owned(),
        };
        let bits = fault.change.map(|change| change.mask(location.width()));
        let mut runs = bits.map(|bits| bits.runs()).unwrap_or_default().into_iter();
        let bit = match (runs.next(), runs.next()) {
            (Some(run), None) if run.start() == run.end() => Some(*run.start()),
            _ => None,
        };
        Self {
            kind: parts.join(" "),
            register,
            bit,
        }
    }
}

fn operation(operation: Operation) -> &'static str {
    match operation {
        Operation::Flip => "flip",
        Operation::Stuck0 => "stuck0",
        Operation::Stuck1 => "stuck1",
        Operation::Set(_) => "set",
        Operation::Xor(_) => "xor",
        Operation::Random => "random",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> (String, String, Option<u32>) {
        let keys = Keys::of(text);
        (keys.kind, keys.register, keys.bit)
    }

    #[test]
    fn faults_are_told_apart_by_kind_register_and_bit() {
        let is = |text: &str, kind: &str, register: &str, bit| {
            assert_eq!(
                key(text),
                (kind.to_owned(), register.to_owned(), bit),
                "{text}"
            );
        };
        is("reg:rax:3@1000", "reg flip", "rax", Some(3));
        is("wreg:zmm3:511@0x401000:7", "wreg flip", "zmm3", Some(511));
        is(
            "mem:0x4000:stuck1:1,5/permanent@10",
            "mem stuck1 permanent",
            "mem",
            None,
        );
        is("reg:zf@10", "reg flip", "zf", Some(0));
        is("skip@0x401000:7", "skip", "skip", None);
        is("cf:target:set=0x1000@7", "cf:target set", "cf:target", None);
        is("nonsense", "", "", None);
    }

    #[test]
    fn bits_and_times_fall_into_classes() {
        let class = |bit| bit_class(bit).text;
        assert_eq!(class(0), "0-7");
        assert_eq!(class(8), "8-15");
        assert_eq!(class(63), "32-63");
        assert_eq!(class(511), "256-511");
        let text = |index, length| tenth(index, length).map(|key| key.text);
        assert_eq!(text(0, 100).as_deref(), Some("0-10 %"));
        assert_eq!(text(99, 100).as_deref(), Some("90-100 %"));
        assert_eq!(text(100, 100).as_deref(), Some("90-100 %"));
        assert_eq!(text(0, 0), None);
    }
}
