//! What can be chosen in a campaign file by a word, each with the text that it is written as.

use std::fmt;
use std::str::FromStr;

use crate::bits::Bits;
use crate::fault::{
    Duration, Fault, Location, MemoryPlace, Operation, RegisterName, did_you_mean, nearest,
};

/// A choice among a few words.
pub trait Words: Copy + PartialEq + Sized + 'static {
    /// All of them with their words.
    const WORDS: &'static [(Self, &'static str)];

    /// Its word.
    fn word(self) -> &'static str {
        let mut words = Self::WORDS.iter();
        words
            .find(|(value, _)| *value == self)
            .map_or("", |(_, word)| word)
    }

    /// The choice with that word.
    ///
    /// # Errors
    /// A sentence with the valid words.
    fn of_word(word: &str) -> Result<Self, String> {
        let found = Self::WORDS.iter().find(|(_, known)| *known == word);
        found.map(|(value, _)| *value).ok_or_else(|| {
            let all: Vec<&str> = Self::WORDS.iter().map(|(_, word)| *word).collect();
            unknown(word, &all)
        })
    }
}

/// `'foo' is none of a, b and c; did you mean …?`
fn unknown(word: &str, all: &[&str]) -> String {
    let near = nearest(word, all.iter().copied());
    format!(
        "'{word}' is none of {}{}",
        all.join(", "),
        did_you_mean(&near)
    )
}

/// Where runs with faults begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Near the fault where that is safe, and at the beginning where it is not.
    Auto,
    /// At the beginning.
    Fresh,
    /// Near the fault; a fault whose run cannot begin there is an error.
    Checkpoint,
}

impl Words for Start {
    const WORDS: &'static [(Self, &'static str)] = &[
        (Self::Auto, "auto"),
        (Self::Fresh, "fresh"),
        (Self::Checkpoint, "checkpoint"),
    ];
}

/// What is known without running it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pruning {
    /// Nothing.
    Off,
    /// What is overwritten before it is read is masked; faults between the same two accesses are one class.
    DefUse,
}

impl Words for Pruning {
    const WORDS: &'static [(Self, &'static str)] = &[(Self::Off, "off"), (Self::DefUse, "def-use")];
}

/// Which registers count at an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restriction {
    /// All that were named.
    Any,
    /// Those that the instruction writes, changed after it.
    Written,
    /// Those whose bits are read before they are overwritten.
    Live,
}

impl Words for Restriction {
    const WORDS: &'static [(Self, &'static str)] = &[
        (Self::Any, "any"),
        (Self::Written, "written"),
        (Self::Live, "live"),
    ];
}

/// By what a space is divided into strata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stratum {
    /// The function of the instruction.
    Function,
    /// The mnemonic of the instruction.
    Opcode,
    /// The class of the register that is changed.
    RegisterClass,
}

impl Words for Stratum {
    const WORDS: &'static [(Self, &'static str)] = &[
        (Self::Function, "function"),
        (Self::Opcode, "opcode"),
        (Self::RegisterClass, "register-class"),
    ];
}

/// Registers of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RegisterClass {
    /// rax … r15.
    General,
    /// cf pf af zf sf df of.
    Flags,
    /// The vector registers, in the widest form that the golden run's instructions name.
    Vector,
    /// st0 … st7.
    X87,
    /// k0 … k7.
    Mask,
    /// fs_base and gs_base.
    Segment,
    /// rip and mxcsr.
    Control,
}

impl Words for RegisterClass {
    const WORDS: &'static [(Self, &'static str)] = &[
        (Self::General, "general"),
        (Self::Flags, "flags"),
        (Self::Vector, "vector"),
        (Self::X87, "x87"),
        (Self::Mask, "mask"),
        (Self::Segment, "segment"),
        (Self::Control, "control"),
    ];
}

impl RegisterClass {
    /// The class that a register belongs to.
    #[must_use]
    pub fn of(register: RegisterName) -> Self {
        use crate::fault::Cell;
        match register.cell() {
            Cell::General(_) => Self::General,
            Cell::Flags => Self::Flags,
            Cell::Vector(_) => Self::Vector,
            Cell::X87(_) => Self::X87,
            Cell::Mask(_) => Self::Mask,
            Cell::FsBase | Cell::GsBase => Self::Segment,
            Cell::Rip | Cell::Mxcsr => Self::Control,
        }
    }
}

/// A register, those of a class, or all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RegisterChoice {
    /// One.
    Name(RegisterName),
    /// A class.
    Class(RegisterClass),
    /// All classes; mask registers where the golden run's instructions name one.
    All,
}

impl FromStr for RegisterChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        if let Ok(class) = RegisterClass::of_word(text) {
            return Ok(Self::Class(class));
        }
        RegisterName::find(text).map(Self::Name).ok_or_else(|| {
            let classes = RegisterClass::WORDS.iter().map(|(_, word)| *word);
            let names = RegisterName::all().map(RegisterName::name);
            let near = nearest(text, classes.clone().chain(["all"]).chain(names));
            format!(
                "'{text}' is no register{}; choices are the classes {} and all, and registers: rax … r15 and their parts, rip, rflags, cf pf af zf sf df of, \
                 fs_base, gs_base, st0 … st7, mxcsr, xmm/ymm/zmm0 … 31, k0 … k7",
                did_you_mean(&near),
                classes.collect::<Vec<_>>().join(", "),
            )
        })
    }
}

impl fmt::Display for RegisterChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(register) => write!(f, "{register}"),
            Self::Class(class) => f.write_str(class.word()),
            Self::All => f.write_str("all"),
        }
    }
}

/// Memory: some bytes from a place on, or a random live byte of a region.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MemoryChoice {
    /// Where.
    pub place: MemoryPlace,
    /// How many bytes; 1 of a region.
    pub bytes: u32,
}

/// The most bytes that one entry names.
const MOST_BYTES: u32 = 1 << 24;

impl FromStr for MemoryChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (place, bytes) = match text.split_once(",bytes=") {
            Some((place, bytes)) => (place, Some(bytes)),
            None => (text, None),
        };
        if place.contains([':', '/', '@', ',', '=']) {
            return Err(format!(
                "'{text}' is no memory: heap, stack, data, an address (0x404028), a symbol (counter+8) or sp+16, with ,bytes=N for more than one byte"
            ));
        }
        let fault: Fault = format!("mem:{place}:0@0")
            .parse()
            .map_err(|error: crate::fault::ParseError| error.message)?;
        let Location::Memory(place) = fault.location else {
            return Err(format!("'{text}' is no memory"));
        };
        let bytes = match bytes {
            None => 1,
            Some(_) if matches!(place, MemoryPlace::Random(_)) => {
                return Err(format!(
                    "'{text}': of a region one random live byte is changed, no number of bytes goes with it"
                ));
            }
            Some(bytes) => match bytes.parse() {
                Ok(bytes @ 1..=MOST_BYTES) => bytes,
                _ => {
                    return Err(format!(
                        "'{text}': bytes must be a number from 1 to {MOST_BYTES}, not '{bytes}'"
                    ));
                }
            },
        };
        Ok(Self { place, bytes })
    }
}

impl fmt::Display for MemoryChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.place)?;
        match self.bytes {
            1 => Ok(()),
            bytes => write!(f, ",bytes={bytes}"),
        }
    }
}

/// A part of an instruction that can be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InstructionPart {
    /// A register that it reads.
    Source,
    /// A register that it writes.
    Destination,
    /// The value that it loads.
    Loaded,
    /// The value that it stores.
    Stored,
    /// The address that it loads from.
    LoadAddress,
    /// The address that it stores to.
    StoreAddress,
    /// Its bytes.
    Text,
    /// The direction of the branch.
    Direction,
    /// The target of the branch.
    Target,
    /// All of it: it is not executed.
    Skip,
}

impl Words for InstructionPart {
    const WORDS: &'static [(Self, &'static str)] = &[
        (Self::Source, "rreg"),
        (Self::Destination, "wreg"),
        (Self::Loaded, "rval"),
        (Self::Stored, "wval"),
        (Self::LoadAddress, "raddr"),
        (Self::StoreAddress, "waddr"),
        (Self::Text, "text"),
        (Self::Direction, "cf"),
        (Self::Target, "cf:target"),
        (Self::Skip, "skip"),
    ];
}

/// A part of instructions; of `rreg` and `wreg`, perhaps only some registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InstructionChoice {
    /// Which part.
    pub part: InstructionPart,
    /// Which registers.
    pub registers: Option<RegisterChoice>,
}

impl FromStr for InstructionChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(part) = InstructionPart::of_word(text) {
            return Ok(Self {
                part,
                registers: None,
            });
        }
        let (word, register) = text.split_once(':').unwrap_or((text, ""));
        let part = InstructionPart::of_word(word)?;
        if !matches!(part, InstructionPart::Source | InstructionPart::Destination) {
            return Err(format!(
                "'{text}': only rreg and wreg take a register or a class of registers after ':'"
            ));
        }
        Ok(Self {
            part,
            registers: Some(register.parse()?),
        })
    }
}

impl fmt::Display for InstructionChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.part.word())?;
        match self.registers {
            Some(registers) => write!(f, ":{registers}"),
            None => Ok(()),
        }
    }
}

/// Which bits of a location are changed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MaskChoice {
    /// One bit.
    Bit,
    /// One byte.
    Byte,
    /// All bits.
    All,
    /// So many neighbours.
    Burst(u32),
    /// So many bits anywhere.
    Bits(u32),
}

/// The most bits of a burst.
const LONGEST_BURST: u32 = 64;
/// The most bits anywhere: the number of combinations must be countable.
const MOST_BITS: u32 = 8;

impl FromStr for MaskChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str, most: u32| match digits.parse() {
            Ok(number) if (2..=most).contains(&number) => Ok(number),
            _ => Err(format!(
                "'{text}': the number of bits must be from 2 to {most}"
            )),
        };
        match (text, text.split_once('=')) {
            ("bit", _) => Ok(Self::Bit),
            ("byte", _) => Ok(Self::Byte),
            ("all", _) => Ok(Self::All),
            (_, Some(("burst", digits))) => number(digits, LONGEST_BURST).map(Self::Burst),
            (_, Some(("bits", digits))) => number(digits, MOST_BITS).map(Self::Bits),
            _ => Err(format!(
                "'{text}' is no mask; choices are bit, byte, all, burst=N (N neighbours) and bits=N (N bits anywhere)"
            )),
        }
    }
}

impl fmt::Display for MaskChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bit => f.write_str("bit"),
            Self::Byte => f.write_str("byte"),
            Self::All => f.write_str("all"),
            Self::Burst(bits) => write!(f, "burst={bits}"),
            Self::Bits(bits) => write!(f, "bits={bits}"),
        }
    }
}

/// An operation as it is written in faults: `flip`, `stuck0`, `stuck1`, `random`, `set=NUMBER`.
///
/// # Errors
/// A sentence with the valid operations.
pub(super) fn parse_operation(text: &str) -> Result<Operation, String> {
    let refused = || {
        let near = nearest(text, ["flip", "stuck0", "stuck1", "random"].into_iter());
        format!(
            "'{text}' is no operation{}; choices are flip, stuck0, stuck1, random and set=NUMBER",
            did_you_mean(&near)
        )
    };
    match text {
        "flip" => Ok(Operation::Flip),
        "stuck0" => Ok(Operation::Stuck0),
        "stuck1" => Ok(Operation::Stuck1),
        "random" => Ok(Operation::Random),
        _ if text.starts_with("set=") && !text.contains([':', '/', '@', ',']) => {
            let fault = format!("reg:zmm0:{text}@0").parse::<Fault>();
            let change = fault.map_err(|error| error.message)?.change;
            change.map(|change| change.operation).ok_or_else(refused)
        }
        _ => Err(refused()),
    }
}

/// What [`parse_operation`] reads.
#[must_use]
pub(super) fn operation_text(operation: Operation) -> String {
    match operation {
        Operation::Flip => "flip".to_owned(),
        Operation::Stuck0 => "stuck0".to_owned(),
        Operation::Stuck1 => "stuck1".to_owned(),
        Operation::Random => "random".to_owned(),
        Operation::Set(number) => format!("set={number}"),
        Operation::Xor(number) => format!("xor={number}"),
    }
}

/// How many bits `set=` needs at least.
#[must_use]
pub(super) fn operation_width(operation: Operation) -> u32 {
    match operation {
        Operation::Set(number) => Bits::width(number),
        _ => 0,
    }
}

/// A duration as it is written in faults, `transient` included.
///
/// # Errors
/// A sentence with the valid durations.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let refused = || {
        format!(
            "'{text}' is no duration; choices are transient, a number of instructions (100), 10of100 and permanent"
        )
    };
    if text.contains([':', '/', '@', ',', '=']) {
        return Err(refused());
    }
    let fault = format!("reg:rax:0/{text}@0").parse::<Fault>();
    fault.map(|fault| fault.duration).map_err(|_| refused())
}

/// What [`parse_duration`] reads.
#[must_use]
pub(super) fn duration_text(duration: Duration) -> String {
    match duration {
        Duration::Transient => "transient".to_owned(),
        other => other.to_string().trim_start_matches('/').to_owned(),
    }
}

/// Lines of a source file, first and last included.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SourceLines {
    /// The end of its path: `sort.c`, `src/sort.c`.
    pub file: String,
    /// First and last line; `None`: all.
    pub lines: Option<(u32, u32)>,
}

impl FromStr for SourceLines {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || {
            format!(
                "'{text}' are no source lines: FILE:LINE, FILE:FIRST-LAST or FILE (sort.c:10-40)"
            )
        };
        let (file, lines) = match text.rsplit_once(':') {
            Some((file, lines)) => (file, Some(parse_range(lines).ok_or_else(refused)?)),
            None => (text, None),
        };
        if file.is_empty() {
            return Err(refused());
        }
        let lines = match lines {
            None => None,
            Some((first, last)) => {
                let number = |line: u64| u32::try_from(line).map_err(|_| refused());
                Some((number(first)?, number(last)?))
            }
        };
        Ok(Self {
            file: file.to_owned(),
            lines,
        })
    }
}

impl SourceLines {
    /// Whether `source`, as golden runs write it (`path:line`), is one of them.
    #[must_use]
    pub fn contain(&self, source: &str) -> bool {
        let Some((path, line)) = source.rsplit_once(':') else {
            return false;
        };
        let whole_name = path
            .strip_suffix(self.file.as_str())
            .is_some_and(|before| before.is_empty() || before.ends_with('/'));
        let line: u32 = line.parse().unwrap_or_default();
        whole_name
            && self
                .lines
                .is_none_or(|(first, last)| (first..=last).contains(&line))
    }
}

impl fmt::Display for SourceLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        match self.lines {
            None => Ok(()),
            Some((first, last)) if first == last => write!(f, ":{first}"),
            Some((first, last)) => write!(f, ":{first}-{last}"),
        }
    }
}

/// `3` or `3-7`, the second not before the first.
fn parse_range(text: &str) -> Option<(u64, u64)> {
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (first.parse().ok()?, last.parse().ok()?),
        None => {
            let only = text.parse().ok()?;
            (only, only)
        }
    };
    (first <= last).then_some((first, last))
}

/// Indices of instructions, first and last included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IndexRange {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

impl FromStr for IndexRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = parse_range(&text.replace('_', ""));
        let (first, last) = found.ok_or_else(|| {
            format!("'{text}' are no indices: FIRST-LAST, both decimal and included, FIRST not above LAST (0-999999)")
        })?;
        Ok(Self { first, last })
    }
}

impl fmt::Display for IndexRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// Numbers of bits, first and last included: `0-31`, `7`.
///
/// # Errors
/// A sentence.
pub(super) fn parse_bits(text: &str) -> Result<(u32, u32), String> {
    match parse_range(text) {
        Some((first, last)) if last < u64::from(Bits::WIDTH) => Ok((first as u32, last as u32)),
        _ => Err(format!(
            "'{text}' are no bits: FIRST-LAST or one number, from 0 to {}",
            Bits::WIDTH - 1
        )),
    }
}

/// An address range: `0x401000-0x402000`, the end not included.
///
/// # Errors
/// A sentence.
pub(super) fn parse_addresses(text: &str) -> Result<(u64, u64), String> {
    let address = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    let range = text
        .split_once('-')
        .and_then(|(start, end)| Some((address(start)?, address(end)?)));
    match range {
        Some((start, end)) if start < end => Ok((start, end)),
        _ => Err(format!(
            "'{text}' is no address range: 0xSTART-0xEND, the end not included and above the start"
        )),
    }
}
