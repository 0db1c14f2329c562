//! The one change: places are translated, bits changed, and what was changed is read back.

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Register,
};

use crate::bits::Bits;
use crate::fault;
use crate::fault::Change;
use crate::machine::fault::{Check, Family, Place, RegisterName, What};
use crate::machine::geometry::Geometry;
use crate::machine::process::translate;
use crate::machine::symbols::Symbols;
use crate::machine::target::Target;
use crate::resolve::draw::Draw;

/// What a change needs beside the machine.
#[derive(Debug)]
pub struct Context<'c> {
    /// Names.
    pub symbols: &'c Symbols,
    /// Rows and columns.
    pub geometry: Geometry,
    /// What is random.
    pub draw: &'c mut Draw,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// What was hit.
    pub place: String,
    /// Its value before.
    pub before: String,
    /// Its value after, read back.
    pub after: String,
    /// How it went.
    pub result: String,
}

/// A register that the instruction at the moment will have written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Which one.
    pub register: RegisterName,
    /// Where the processor stands when the instruction has completed; none for branches.
    pub next: Option<u64>,
}

const INJECTED: &str = "injected";

/// A virtual address, from an address or a symbol.
pub(super) fn linear(place: &fault::Place, symbols: &Symbols) -> Result<u64, String> {
    match place {
        fault::Place::Address(address) => Ok(*address),
        fault::Place::Symbol { name, offset } => {
            Ok(symbols.find(name)?.wrapping_add_signed(*offset))
        }
    }
}

fn root(target: &mut dyn Target) -> u64 {
    target.register(Family::Control(3)).map_or(0, Bits::low)
}

/// The physical address of a place now, which is RAM.
pub(super) fn physical(
    place: &Place,
    offset: u64,
    target: &mut dyn Target,
    symbols: &Symbols,
) -> Result<u64, String> {
    let address = match place {
        Place::Physical(address) => address.saturating_add(offset),
        Place::Virtual(place) => {
            let linear = linear(place, symbols)?.wrapping_add(offset);
            let root = root(target);
            translate(target, root, linear)
                .ok_or_else(|| format!("address {linear:#x} is not mapped at this moment"))?
        }
    };
    if address < target.memory_bytes() {
        Ok(address)
    } else {
        Err(format!("physical address {address:#x} is not RAM"))
    }
}

fn virtual_only(place: &Place, symbols: &Symbols) -> Result<u64, String> {
    match place {
        Place::Virtual(place) => linear(place, symbols),
        Place::Physical(_) => {
            Err("page tables and TLB know virtual addresses, not phys=".to_owned())
        }
    }
}

/// Changes a register, memory, a row, a column, a TLB or page-table entry.
pub(super) fn change(
    what: &What,
    change: &Change,
    target: &mut dyn Target,
    context: &mut Context<'_>,
) -> Result<Done, String> {
    match what {
        What::Register(register) | What::Result(Some(register)) => {
            change_register(*register, change, target, context)
        }
        What::Memory(place) => change_memory(place, change, target, context),
        What::Array(array, place) => {
            let at = physical(place, 0, target, context.symbols)?;
            let words = context.geometry.words(*array, at, target.memory_bytes());
            change_words(at, words, change, target, context)
        }
        What::Translation(place) => {
            let linear = virtual_only(place, context.symbols)?;
            let mask = change.mask(64).low();
            let before = target.redirect_translation(linear, mask)?;
            Ok(Done {
                place: format!("TLB entry of {linear:#x}"),
                before: format!("{before:#x}"),
                after: format!("{:#x}", before ^ mask),
                result: INJECTED.to_owned(),
            })
        }
        What::PageEntry(level, place) => change_entry(*level, place, change, target, context),
        What::Result(None)
        | What::Skip
        | What::Check(_)
        | What::Disk(_)
        | What::Network(_)
        | What::Part(_)
        | What::Device(_)
        | What::Interrupt(_)
        | What::PowerCut => Err("it has no bits to be changed".to_owned()),
    }
}

fn change_register(
    register: RegisterName,
    change: &Change,
    target: &mut dyn Target,
    context: &mut Context<'_>,
) -> Result<Done, String> {
    let absent = || format!("the processor has no {register}");
    let whole = target.register(register.family).ok_or_else(absent)?;
    let (lowest, width) = (u32::from(register.lowest), register.width());
    let part = Bits::ones(width).up(lowest);
    let old = (whole & part).down(lowest);
    let new = change.apply(old, width, context.draw.bits());
    target.set_register(register.family, whole & !part | new.up(lowest))?;
    let after = target.register(register.family).ok_or_else(absent)?;
    let after = (after & part).down(lowest);
    if after != new {
        target.set_register(register.family, whole)?;
        return Err(format!("{register} cannot hold {new}"));
    }
    Ok(Done {
        place: register.to_string(),
        before: old.to_string(),
        after: after.to_string(),
        result: INJECTED.to_owned(),
    })
}

/// The physical addresses of `count` bytes.
fn addresses(
    place: &Place,
    count: u64,
    target: &mut dyn Target,
    symbols: &Symbols,
) -> Result<Vec<u64>, String> {
    (0..count)
        .map(|offset| physical(place, offset, target, symbols))
        .collect()
}

fn gather(addresses: &[u64], target: &dyn Target) -> Bits {
    let mut bytes = vec![0; addresses.len()];
    for (&at, byte) in addresses.iter().zip(&mut bytes) {
        target.read(at, std::slice::from_mut(byte));
    }
    Bits::from_bytes(&bytes)
}

fn change_memory(
    place: &Place,
    change: &Change,
    target: &mut dyn Target,
    context: &mut Context<'_>,
) -> Result<Done, String> {
    let count = change.mask(Bits::WIDTH).width().div_ceil(8);
    let addresses = addresses(place, count.into(), target, context.symbols)?;
    let old = gather(&addresses, target);
    let new = change.apply(old, 8 * count, context.draw.bits());
    for (&at, byte) in addresses.iter().zip(new.to_bytes(addresses.len())) {
        target.write(at, &[byte]);
    }
    let after = gather(&addresses, target);
    if after != new {
        return Err(format!(
            "memory holds {after} and not {new}: a cell is stuck"
        ));
    }
    Ok(Done {
        place: format!("phys={:#x}", addresses[0]),
        before: old.to_string(),
        after: after.to_string(),
        result: INJECTED.to_owned(),
    })
}

fn change_words(
    at: u64,
    words: impl Iterator<Item = u64>,
    change: &Change,
    target: &mut dyn Target,
    context: &mut Context<'_>,
) -> Result<Done, String> {
    let (mut seen, mut changed) = (0_u64, 0_u64);
    for word in words {
        let mut bytes = [0; 8];
        if !target.read(word, &mut bytes) {
            continue;
        }
        seen += 1;
        let old = Bits::from_bytes(&bytes);
        let new = change.apply(old, 64, context.draw.bits());
        if new != old {
            target.write(word, &new.low().to_le_bytes());
            changed += 1;
        }
    }
    Ok(Done {
        place: format!("phys={at:#x}"),
        result: format!("{INJECTED}: {changed} of {seen} words changed"),
        ..Done::default()
    })
}

fn change_entry(
    level: u8,
    place: &Place,
    change: &Change,
    target: &mut dyn Target,
    context: &mut Context<'_>,
) -> Result<Done, String> {
    let linear = virtual_only(place, context.symbols)?;
    let (at, size) = target.page_entry(linear, level).ok_or_else(|| {
        format!("address {linear:#x} is not reached through an entry of level {level}")
    })?;
    let mut bytes = vec![0; usize::from(size)];
    target.read(at, &mut bytes);
    let old = Bits::from_bytes(&bytes);
    let new = change.apply(old, 64, context.draw.bits());
    target.write(at, &new.to_bytes(bytes.len()));
    target.forget_translation(linear);
    Ok(Done {
        place: format!("phys={at:#x}"),
        before: old.to_string(),
        after: new.to_string(),
        result: INJECTED.to_owned(),
    })
}

/// The bytes that are stuck while a fault of memory lasts: address, mask, value.
pub(super) fn stuck_bytes(
    what: &What,
    change: &Change,
    target: &mut dyn Target,
    context: &mut Context<'_>,
) -> Result<Vec<(u64, u8, u8)>, String> {
    let words: Vec<u64> = match what {
        What::Memory(place) => {
            let mask = change.mask(Bits::WIDTH);
            let count = mask.width().div_ceil(8);
            let value = change.apply(Bits::ZERO, 8 * count, Bits::ZERO);
            let addresses = addresses(place, count.into(), target, context.symbols)?;
            let masks = mask.to_bytes(addresses.len());
            let values = value.to_bytes(addresses.len());
            return Ok(zip_stuck(&addresses, &masks, &values));
        }
        What::Array(array, place) => {
            let at = physical(place, 0, target, context.symbols)?;
            context
                .geometry
                .words(*array, at, target.memory_bytes())
                .collect()
        }
        _ => return Err("only memory has cells that stick".to_owned()),
    };
    let masks = change.mask(64).to_bytes(8);
    let values = change.apply(Bits::ZERO, 64, Bits::ZERO).to_bytes(8);
    Ok(words
        .into_iter()
        .flat_map(|word| {
            let addresses: Vec<u64> = (word..word + 8).collect();
            zip_stuck(&addresses, &masks, &values)
        })
        .collect())
}

fn zip_stuck(addresses: &[u64], masks: &[u8], values: &[u8]) -> Vec<(u64, u8, u8)> {
    addresses
        .iter()
        .zip(masks)
        .zip(values)
        .filter(|((_, mask), _)| **mask != 0)
        .map(|((&at, &mask), &value)| (at, mask, value & mask))
        .collect()
}

/// Tells the processor of an error.
pub(super) fn machine_check(
    check: &Check,
    target: &mut dyn Target,
    symbols: &Symbols,
) -> Result<Done, String> {
    let address = physical(&check.place, 0, target, symbols)?;
    let values = check.values();
    let result = target.machine_check(&values, address)?;
    Ok(Done {
        place: format!("phys={address:#x}"),
        after: format!(
            "bank {} status {:#x} mcg_status {:#x} misc {:#x}",
            values.bank, values.status, values.global, values.misc
        ),
        result,
        ..Done::default()
    })
}

/// The instruction that would begin next.
fn instruction(target: &mut dyn Target) -> Result<Instruction, String> {
    let read = |target: &mut dyn Target, family| target.register(family).map_or(0, Bits::low);
    let rip = read(target, Family::InstructionPointer);
    let bits = target.code_bits();
    let base = if bits == 64 {
        0
    } else {
        read(target, Family::Base(1))
    };
    let root = root(target);
    let mut bytes = Vec::new();
    for offset in 0..15 {
        let linear = rip.wrapping_add(base).wrapping_add(offset);
        let mut byte = [0];
        match target.translate(root, linear) {
            Some(at) if target.read(at, &mut byte) => bytes.push(byte[0]),
            _ => break,
        }
    }
    let mut decoder = Decoder::with_ip(bits, &bytes, rip, DecoderOptions::NONE);
    let instruction = decoder.decode();
    if instruction.is_invalid() {
        return Err(format!("there is no instruction at {rip:#x}"));
    }
    Ok(instruction)
}

/// Skips the next instruction.
pub(super) fn skip(target: &mut dyn Target) -> Result<Done, String> {
    let instruction = instruction(target)?;
    target.skip(instruction.len() as u64);
    Ok(Done {
        place: format!("{:#x}", instruction.ip()),
        before: instruction.to_string(),
        after: "skipped".to_owned(),
        result: INJECTED.to_owned(),
    })
}

/// The register that the next instruction writes: the one that is wanted, or the first, explicit operands before implicit ones.
pub(super) fn destination(
    wanted: Option<RegisterName>,
    target: &mut dyn Target,
) -> Result<Destination, String> {
    let instruction = instruction(target)?;
    let written = written_registers(&instruction);
    let found = match wanted {
        Some(wanted) => written.into_iter().find(|one| one.family == wanted.family),
        None => written.into_iter().next(),
    };
    let Some(found) = found else {
        let which = wanted.map_or("no register".to_owned(), |one| format!("not {one}"));
        return Err(format!("'{instruction}' writes {which}"));
    };
    let straight = instruction.flow_control() == FlowControl::Next;
    Ok(Destination {
        register: wanted.unwrap_or(found),
        next: straight.then(|| instruction.next_ip()),
    })
}

fn written_registers(instruction: &Instruction) -> Vec<RegisterName> {
    let mut factory = InstructionInfoFactory::new();
    let info = factory.info(instruction);
    let explicit = (0..instruction.op_count())
        .filter(|&operand| fits_stats::facts::writes(info.op_access(operand)))
        .map(|operand| instruction.op_register(operand));
    let implicit = info
        .used_registers()
        .iter()
        .filter(|used| fits_stats::facts::writes(used.access()))
        .map(|used| used.register());
    explicit.chain(implicit).filter_map(name).collect()
}

fn name(register: Register) -> Option<RegisterName> {
    if register.is_gpr() {
        return Some(RegisterName::general(
            register.full_register().number() as u8
        ));
    }
    if register.is_xmm() {
        return Some(RegisterName::vector(register.number() as u8, 128));
    }
    if register.is_ymm() {
        return Some(RegisterName::vector(register.number() as u8, 256));
    }
    None
}
