//! From text to [`Fault`]: a recursive descent over `docs/faults.md`.
//!
//! ```text
//! fault    = location [":" change] ["/" duration] "@" trigger
//! ```

use std::str::FromStr;

use fits_stats::write::syscall_name;

use super::change::{Change, Duration, Mask, Operation};
use super::error::{ParseError, did_you_mean, nearest};
use super::location::{
    Location, MemoryOperand, MemoryPlace, Place, RESERVED, Region, RegisterOperand,
};
use super::register::RegisterName;
use super::trigger::{Access, Arrival, Trigger, When};
use super::{Fault, check};
use crate::bits::Bits;

type Result<T, E = ParseError> = std::result::Result<T, E>;

/// What separates the parts of a fault.
const SEPARATORS: [char; 5] = [':', '/', '@', ',', '='];

const LOCATIONS: [&str; 10] = [
    "reg", "mem", "rreg", "wreg", "rval", "wval", "raddr", "waddr", "text", "cf",
];

const EVENTS: &str = "an instruction index (1000), an address or symbol with an occurrence (main:2, 0x401136), read=PLACE[:K], \
     write=PLACE[:K], call=NAME[:K], time=SECONDS or random";

/// Where we are in the text.
pub(crate) struct Cursor<'a> {
    pub(crate) text: &'a str,
    pub(crate) at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// An error about what begins at byte `at`.
    pub(crate) fn error_at(&self, at: usize, message: impl Into<String>) -> ParseError {
        ParseError {
            text: self.text.to_owned(),
            column: self.text[..at].chars().count() + 1,
            message: message.into(),
        }
    }

    pub(crate) fn error(&self, message: impl Into<String>) -> ParseError {
        self.error_at(self.at, message)
    }

    pub(crate) fn eat(&mut self, token: char) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len_utf8();
        }
        found
    }

    /// What comes up to the next separator, without taking it.
    pub(crate) fn peek(&self) -> &'a str {
        let rest = self.rest();
        &rest[..rest.find(SEPARATORS).unwrap_or(rest.len())]
    }

    pub(crate) fn word(&mut self) -> &'a str {
        let word = self.peek();
        self.at += word.len();
        word
    }

    /// Takes `token` if the text goes on with it as a whole word.
    pub(crate) fn eat_word(&mut self, token: &str) -> bool {
        let found = self.peek() == token;
        if found {
            self.at += token.len();
        }
        found
    }

    /// Takes `=` with what must follow `name`.
    pub(crate) fn value_of(&mut self, name: &str, example: &str) -> Result<()> {
        if self.eat('=') {
            return Ok(());
        }
        Err(self.error(format!("'{name}' needs a value: {name}={example}")))
    }

    /// A decimal number, or a hexadecimal one with 0x; `_` may part the digits.
    pub(crate) fn number(&mut self, what: &str) -> Result<u64> {
        let at = self.at;
        let word = self.word();
        parse_number(word).ok_or_else(|| {
            let message = match word {
                "" => format!("{what} is missing"),
                _ => format!("{what} must be a number up to 2^64-1, not '{word}'"),
            };
            self.error_at(at, message)
        })
    }

    /// `:K`, from 1; 1 if it is not there.
    pub(crate) fn count(&mut self) -> Result<u64> {
        if !self.eat(':') {
            return Ok(1);
        }
        let at = self.at;
        match self.number("the occurrence after ':'")? {
            0 => Err(self.error_at(at, "occurrences count from 1")),
            count => Ok(count),
        }
    }

    fn bits(&mut self, what: &str) -> Result<Bits> {
        let at = self.at;
        let word = self.word();
        parse_bits(word).ok_or_else(|| {
            let shown = if word.is_empty() { "nothing" } else { word };
            let message = format!(
                "{what} must be a number of at most 512 bits, decimal or hexadecimal (0x1f), not '{shown}'"
            );
            self.error_at(at, message)
        })
    }
}

fn digits(word: &str) -> Option<(u32, String)> {
    let (radix, digits) = match word.strip_prefix("0x").or(word.strip_prefix("0X")) {
        Some(digits) => (16, digits),
        None => (10, word),
    };
    let digits = digits.replace('_', "");
    let fine = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
    fine.then_some((radix, digits))
}

pub(crate) fn parse_number(word: &str) -> Option<u64> {
    let (radix, digits) = digits(word)?;
    u64::from_str_radix(&digits, radix).ok()
}

fn parse_bits(word: &str) -> Option<Bits> {
    let (radix, digits) = digits(word)?;
    if radix == 10 {
        return digits.parse().ok().map(Bits::from_u64);
    }
    let digits = digits.trim_start_matches('0');
    if digits.len() > 128 {
        return None;
    }
    let digit = |digit: char| digit.to_digit(16).map(|value| value as u8);
    let nibbles: Vec<u8> = digits.chars().rev().filter_map(digit).collect();
    let bytes: Vec<u8> = nibbles
        .chunks(2)
        .map(|pair| pair[0] | pair.get(1).unwrap_or(&0) << 4)
        .collect();
    Some(Bits::from_bytes(&bytes))
}

impl FromStr for Fault {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self> {
        let mut cursor = Cursor { text, at: 0 };
        let location = location(&mut cursor)?;
        let change_at = cursor.at;
        let change = change(&mut cursor, &location)?;
        let duration_at = cursor.at;
        let duration = duration(&mut cursor)?;
        if !cursor.eat('@') {
            return Err(missing_trigger(&cursor, &location));
        }
        let (trigger, seed) = trigger(&mut cursor)?;
        let fault = Fault {
            location,
            change,
            duration,
            trigger,
            seed,
        };
        check::location(&fault).map_err(|message| cursor.error_at(change_at, message))?;
        check::duration(&fault).map_err(|message| cursor.error_at(duration_at, message))?;
        check::seed(&fault).map_err(|message| cursor.error(message))?;
        Ok(fault)
    }
}

fn missing_trigger(cursor: &Cursor, location: &Location) -> ParseError {
    match cursor.rest() {
        "" => cursor.error(format!("'@' and the moment are missing: {EVENTS}")),
        rest => cursor.error(format!(
            "'{rest}' is left over after {location}: expected {}'/' and a duration, or '@' and the moment",
            if location.is_whole() { "" } else { "':' and an operation or bits, " }
        )),
    }
}

fn location(cursor: &mut Cursor) -> Result<Location> {
    let at = cursor.at;
    let kind = cursor.word();
    Ok(match kind {
        "reg" => {
            let example = "a register is missing: reg:rax";
            expect_colon(cursor, example)?;
            Location::Register(register(cursor)?)
        }
        "mem" => {
            let example = "a place is missing: mem:0x404028, mem:SYMBOL+8, mem:sp+16, mem:heap, mem:stack or mem:data";
            expect_colon(cursor, example)?;
            Location::Memory(memory_place(cursor)?)
        }
        "rreg" => Location::Source(register_operand(cursor)?),
        "wreg" => Location::Destination(register_operand(cursor)?),
        "rval" => Location::Loaded(memory_operand(cursor)?),
        "wval" => Location::Stored(memory_operand(cursor)?),
        "raddr" => Location::LoadAddress(memory_operand(cursor)?),
        "waddr" => Location::StoreAddress(memory_operand(cursor)?),
        "text" => Location::Text,
        "cf" => branch(cursor),
        "skip" => Location::Skip,
        other => {
            let near = nearest(other, LOCATIONS.into_iter().chain(["skip"]));
            let message = format!(
                "unknown location '{other}'{}; the locations are {} and skip",
                did_you_mean(&near),
                LOCATIONS.join(", ")
            );
            return Err(cursor.error_at(at, message));
        }
    })
}

pub(crate) fn expect_colon(cursor: &mut Cursor, message: &str) -> Result<()> {
    if cursor.eat(':') {
        return Ok(());
    }
    Err(cursor.error(message))
}

fn branch(cursor: &mut Cursor) -> Location {
    let before = cursor.at;
    if cursor.eat(':') && cursor.eat_word("target") {
        return Location::Target;
    }
    cursor.at = before;
    Location::OtherDirection
}

fn register(cursor: &mut Cursor) -> Result<RegisterName> {
    let at = cursor.at;
    let name = cursor.word();
    RegisterName::find(name).ok_or_else(|| {
        let near = nearest(name, RegisterName::all().map(RegisterName::name));
        let message = format!(
            "unknown register '{name}'{}; registers are rax … r15 and their parts, rip, rflags, cf pf af zf sf of df, \
             fs_base, gs_base, st0 … st7, mxcsr, xmm/ymm/zmm0 … 31, k0 … k7",
            did_you_mean(&near)
        );
        cursor.error_at(at, message)
    })
}

fn operand_number(cursor: &mut Cursor) -> Result<Option<u8>> {
    let at = cursor.at;
    let Some(digits) = cursor.peek().strip_prefix("op") else {
        return Ok(None);
    };
    let Ok(number) = digits.parse::<u8>() else {
        return Ok(None);
    };
    if number > 4 {
        return Err(cursor.error_at(at, "an instruction has at most five operands: op0 … op4"));
    }
    cursor.word();
    Ok(Some(number))
}

/// `:opN` or `:REGISTER`, if the next part is one; otherwise it is an operation or a mask.
fn register_operand(cursor: &mut Cursor) -> Result<RegisterOperand> {
    let before = cursor.at;
    if !cursor.eat(':') {
        return Ok(RegisterOperand::First);
    }
    if let Some(number) = operand_number(cursor)? {
        return Ok(RegisterOperand::Number(number));
    }
    if let Some(register) = RegisterName::find(cursor.peek()) {
        cursor.word();
        return Ok(RegisterOperand::Named(register));
    }
    if looks_like_change(cursor.peek()) {
        cursor.at = before;
        return Ok(RegisterOperand::First);
    }
    // Neither: it is the name of a register that there is not.
    register(cursor).map(RegisterOperand::Named)
}

fn looks_like_change(word: &str) -> bool {
    OPERATIONS.contains(&word)
        || ["", "all"].contains(&word)
        || word.starts_with("byte")
        || word.starts_with(|first: char| first.is_ascii_digit())
}

fn memory_operand(cursor: &mut Cursor) -> Result<MemoryOperand> {
    let before = cursor.at;
    if cursor.eat(':')
        && let Some(number) = operand_number(cursor)?
    {
        return Ok(MemoryOperand::Number(number));
    }
    cursor.at = before;
    Ok(MemoryOperand::First)
}

fn memory_place(cursor: &mut Cursor) -> Result<MemoryPlace> {
    let at = cursor.at;
    let word = cursor.peek();
    if let Some(region) = Region::ALL.into_iter().find(|region| region.name() == word) {
        cursor.word();
        return Ok(MemoryPlace::Random(region));
    }
    if word == "sp" || word.starts_with("sp+") || word.starts_with("sp-") {
        cursor.word();
        return match parse_offset(&word[2..]) {
            Some(offset) => Ok(MemoryPlace::Stack(offset)),
            None => Err(cursor.error_at(at, "after sp comes + or - and a number of bytes: sp+16")),
        };
    }
    place(cursor).map(MemoryPlace::At)
}

/// `+8`, `-0x10` or nothing.
fn parse_offset(text: &str) -> Option<i64> {
    if text.is_empty() {
        return Some(0);
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+')?),
    };
    let size = parse_number(digits)?;
    if negative {
        0i64.checked_sub_unsigned(size)
    } else {
        i64::try_from(size).ok()
    }
}

/// An address, or a symbol with a distance.
pub(crate) fn place(cursor: &mut Cursor) -> Result<Place> {
    let at = cursor.at;
    let word = cursor.word();
    if word.is_empty() {
        return Err(cursor.error_at(at, "an address (0x401136) or a symbol (main+8) is missing"));
    }
    if word.starts_with(|first: char| first.is_ascii_digit()) {
        let address = word
            .strip_prefix("0x")
            .or(word.strip_prefix("0X"))
            .and_then(|_| parse_number(word));
        return address.map(Place::Address).ok_or_else(|| {
            let message = format!("'{word}' is no address: 0x and up to 16 hexadecimal digits");
            cursor.error_at(at, message)
        });
    }
    let split = word.find(['+', '-']).unwrap_or(word.len());
    let (name, offset) = word.split_at(split);
    let fine = |letter: char| letter.is_alphanumeric() || "_.$".contains(letter);
    if name.is_empty() || !name.chars().all(fine) {
        let message = format!("'{word}' is neither an address (0x401136) nor a symbol (main+8)");
        return Err(cursor.error_at(at, message));
    }
    let Some(distance) = parse_offset(offset) else {
        let message = format!("after a symbol comes + or - and a number of bytes, not '{offset}'");
        return Err(cursor.error_at(at + split, message));
    };
    if RESERVED.contains(&name) && offset.is_empty() {
        let message = format!("'{name}' is no place here; a symbol of that name is {name}+0");
        return Err(cursor.error_at(at, message));
    }
    Ok(Place::Symbol {
        name: name.to_owned(),
        offset: distance,
    })
}

const OPERATIONS: [&str; 6] = ["flip", "stuck0", "stuck1", "set", "xor", "random"];

/// How much room for bits there is, and the sentence that says so.
pub(crate) struct Room {
    /// In bits; 1 is a flag.
    pub(crate) width: u32,
    /// `rax has 64 bits, 0 to 63`.
    pub(crate) sentence: String,
}

fn change(cursor: &mut Cursor, location: &Location) -> Result<Option<Change>> {
    if location.is_whole() && cursor.rest().starts_with(':') {
        cursor.eat(':');
        return Err(cursor.error(check::whole(location)));
    }
    let room = Room {
        width: location.width(),
        sentence: check::width(location),
    };
    change_within(cursor, &room)
}

/// `:` and an operation, a mask, or both; none where there is no `:`, but for a flag, which is flipped.
pub(crate) fn change_within(cursor: &mut Cursor, room: &Room) -> Result<Option<Change>> {
    if !cursor.eat(':') {
        return Ok(default_change(room));
    }
    let operation = match cursor.peek() {
        word if OPERATIONS.contains(&word) => operation(cursor)?,
        _ => {
            return mask(cursor, room).map(|mask| {
                Some(Change {
                    operation: Operation::Flip,
                    mask,
                })
            });
        }
    };
    let mask = if cursor.eat(':') {
        mask(cursor, room)?
    } else {
        Mask::All
    };
    if mask == Mask::All && !all_is_meant(operation, room) {
        let message = "which bits? after the operation comes a mask: 3, 3,7, 4-11, byte2 or all";
        let explicit = cursor.text[..cursor.at].ends_with(":all");
        if !explicit {
            return Err(cursor.error(message));
        }
    }
    Ok(Some(Change { operation, mask }))
}

/// A flag alone has one bit, which needs no number.
fn default_change(room: &Room) -> Option<Change> {
    (room.width == 1).then_some(Change {
        operation: Operation::Flip,
        mask: Mask::All,
    })
}

fn all_is_meant(operation: Operation, room: &Room) -> bool {
    room.width == 1
        || matches!(
            operation,
            Operation::Set(_) | Operation::Xor(_) | Operation::Random
        )
}

fn operation(cursor: &mut Cursor) -> Result<Operation> {
    Ok(match cursor.word() {
        "stuck0" => Operation::Stuck0,
        "stuck1" => Operation::Stuck1,
        "random" => Operation::Random,
        "set" => {
            cursor.value_of("set", "0x1f")?;
            Operation::Set(cursor.bits("the value of set")?)
        }
        "xor" => {
            cursor.value_of("xor", "0x1f")?;
            Operation::Xor(cursor.bits("the value of xor")?)
        }
        _ => Operation::Flip,
    })
}

fn mask(cursor: &mut Cursor, room: &Room) -> Result<Mask> {
    if cursor.eat_word("all") {
        return Ok(Mask::All);
    }
    let mut bits = Bits::ZERO;
    loop {
        bits = bits | mask_part(cursor, room)?;
        if !cursor.eat(',') {
            // A flag has one bit, however it is named.
            let flag = room.width == 1;
            return Ok(if flag { Mask::All } else { Mask::Bits(bits) });
        }
    }
}

/// `3`, `4-11` or `byte2`.
fn mask_part(cursor: &mut Cursor, room: &Room) -> Result<Bits> {
    let at = cursor.at;
    let word = cursor.word();
    let range = if let Some(number) = word.strip_prefix("byte") {
        let first = number
            .parse::<u32>()
            .ok()
            .and_then(|byte| byte.checked_mul(8));
        first.and_then(|first| Some((first, first.checked_add(7)?)))
    } else if let Some((first, last)) = word.split_once('-') {
        first.parse().ok().zip(last.parse().ok())
    } else {
        word.parse().ok().map(|bit| (bit, bit))
    };
    let Some((first, last)) = range else {
        let near = nearest(word, OPERATIONS.into_iter());
        let message = format!(
            "'{word}' is neither an operation ({}) nor a mask (3, 3,7, 4-11, byte2, all){}",
            OPERATIONS.join(", "),
            did_you_mean(&near)
        );
        return Err(cursor.error_at(at, message));
    };
    if first > last {
        let message = format!("a burst goes from its lowest bit up: {last}-{first}");
        return Err(cursor.error_at(at, message));
    }
    let width = room.width;
    if last >= width {
        let message = format!("bit {last} is out of range: {}", room.sentence);
        return Err(cursor.error_at(at, message));
    }
    Ok(Bits::range(first..=last))
}

pub(crate) fn duration(cursor: &mut Cursor) -> Result<Duration> {
    if !cursor.eat('/') {
        return Ok(Duration::Transient);
    }
    let at = cursor.at;
    let word = cursor.word();
    let duration = match word {
        "permanent" => Some(Duration::Permanent),
        "transient" => Some(Duration::Transient),
        _ => match word.split_once("of") {
            Some((on, period)) => parse_number(on)
                .zip(parse_number(period))
                .map(|(on, period)| Duration::Intermittent { on, period }),
            None => parse_number(word).map(Duration::Instructions),
        },
    };
    match duration {
        Some(Duration::Instructions(0)) => {
            Err(cursor.error_at(at, "a duration has at least one instruction"))
        }
        Some(Duration::Intermittent { on, period }) if on == 0 || on >= period => Err(cursor
            .error_at(
                at,
                "of each period, at least one instruction and not all: 10of100",
            )),
        Some(duration) => Ok(duration),
        None => Err(cursor.error_at(
            at,
            format!(
                "unknown duration '{word}': a number of instructions (100), 10of100 (the first 10 of every 100), \
                 permanent or transient"
            ),
        )),
    }
}

fn trigger(cursor: &mut Cursor) -> Result<(Trigger, Option<u64>)> {
    let mut when = event(cursor)?;
    let (mut thread, mut seed) = (None, None);
    while cursor.eat(',') {
        let at = cursor.at;
        let name = cursor.word();
        let twice = match name {
            "thread" => {
                cursor.value_of("thread", "1")?;
                let number = cursor.number("the number of the thread")?;
                let number = u32::try_from(number)
                    .map_err(|_| cursor.error_at(at, "there are fewer threads than that"))?;
                thread.replace(number).is_some()
            }
            "seed" => {
                cursor.value_of("seed", "42")?;
                seed.replace(cursor.number("the seed")?).is_some()
            }
            "from" => {
                cursor.value_of("from", "main")?;
                let arrival = arrival(cursor)?;
                from(&mut when, arrival).map_err(|message| cursor.error_at(at, message))?
            }
            "bytes" => {
                cursor.value_of("bytes", "8")?;
                let bytes = cursor.number("the number of bytes")?;
                set_bytes(&mut when, bytes).map_err(|message| cursor.error_at(at, message))?
            }
            other => {
                let message = format!(
                    "unknown option '{other}' of the moment; there are from=PLACE[:K], thread=N, bytes=N, seed=N"
                );
                return Err(cursor.error_at(at, message));
            }
        };
        if twice {
            return Err(cursor.error_at(at, format!("'{name}' is there twice")));
        }
    }
    if !cursor.rest().is_empty() {
        let message = format!("'{}' is left over after the moment", cursor.rest());
        return Err(cursor.error(message));
    }
    let thread = thread.unwrap_or_default();
    Ok((Trigger { thread, when }, seed))
}

/// Whether there was one already.
fn from(when: &mut When, arrival: Arrival) -> Result<bool, String> {
    match when {
        When::Index { from, .. } | When::Random { from } => Ok(from.replace(arrival).is_some()),
        _ => Err("'from' goes with an instruction index or with random".to_owned()),
    }
}

fn set_bytes(when: &mut When, wanted: u64) -> Result<bool, String> {
    let When::Access { bytes, .. } = when else {
        return Err("'bytes' goes with read= or write=".to_owned());
    };
    match u8::try_from(wanted) {
        Ok(wanted @ 1..=8) => Ok(std::mem::replace(bytes, wanted) != 1),
        _ => Err("bytes are from 1 to 8".to_owned()),
    }
}

fn event(cursor: &mut Cursor) -> Result<When> {
    let at = cursor.at;
    let word = cursor.peek();
    if word.is_empty() {
        return Err(cursor.error(format!("the moment is missing: {EVENTS}")));
    }
    let named = cursor.text[at + word.len()..].starts_with('=');
    if named {
        cursor.word();
        cursor.eat('=');
        return named_event(cursor, at, word);
    }
    if word == "random" {
        cursor.word();
        return Ok(When::Random { from: None });
    }
    let decimal = word.starts_with(|first: char| first.is_ascii_digit())
        && !word.starts_with("0x")
        && !word.starts_with("0X");
    if decimal {
        let index = cursor.number("the instruction index")?;
        return Ok(When::Index { index, from: None });
    }
    arrival(cursor).map(When::Arrival)
}

pub(crate) fn arrival(cursor: &mut Cursor) -> Result<Arrival> {
    let place = place(cursor)?;
    let count = cursor.count()?;
    Ok(Arrival { place, count })
}

fn named_event(cursor: &mut Cursor, at: usize, name: &str) -> Result<When> {
    match name {
        "read" | "write" => {
            let access = if name == "read" {
                Access::Read
            } else {
                Access::Write
            };
            let Arrival { place, count } = arrival(cursor)?;
            Ok(When::Access {
                access,
                place,
                bytes: 1,
                count,
            })
        }
        "call" => {
            let number = call(cursor)?;
            let count = cursor.count()?;
            Ok(When::Call { number, count })
        }
        "time" => time(cursor),
        other => {
            let message = format!("unknown moment '{other}='; a moment is {EVENTS}");
            Err(cursor.error_at(at, message))
        }
    }
}

/// The highest number that may be a system call's: those with names are below.
const CALLS: std::ops::Range<u64> = 0..1024;

pub(crate) fn call(cursor: &mut Cursor) -> Result<u64> {
    let at = cursor.at;
    let word = cursor.word();
    if let Some(number) = parse_number(word) {
        return Ok(number);
    }
    let found = CALLS
        .into_iter()
        .find(|&number| !word.is_empty() && syscall_name(number) == word);
    found.ok_or_else(|| {
        let near = nearest(
            word,
            CALLS.map(syscall_name).filter(|name| !name.is_empty()),
        );
        let message = format!(
            "unknown system call '{word}'{}; a number is fine too",
            did_you_mean(&near)
        );
        cursor.error_at(at, message)
    })
}

fn time(cursor: &mut Cursor) -> Result<When> {
    seconds(cursor).map(When::Time)
}

/// Seconds with up to nine decimals.
pub(crate) fn seconds(cursor: &mut Cursor) -> Result<std::time::Duration> {
    let at = cursor.at;
    let word = cursor.word();
    let (whole, fraction) = word.split_once('.').unwrap_or((word, ""));
    let nanoseconds = (fraction.len() <= 9 && fraction.bytes().all(|digit| digit.is_ascii_digit()))
        .then(|| format!("{fraction:0<9}").parse::<u32>().ok())
        .flatten();
    let whole = Some(whole)
        .filter(|whole| whole.bytes().all(|digit| digit.is_ascii_digit()))
        .and_then(|whole| whole.parse::<u64>().ok());
    match whole.zip(nanoseconds) {
        Some((seconds, nanoseconds)) => Ok(std::time::Duration::new(seconds, nanoseconds)),
        None => Err(cursor.error_at(
            at,
            format!("'{word}' is no time: seconds with up to nine decimals, time=0.25"),
        )),
    }
}
