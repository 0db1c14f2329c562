//! What is refused although the grammar allows it, with the reason. The table is in `docs/faults.md`.

use super::Fault;
use super::change::{Change, Duration, Mask, Operation};
use super::location::{Location, RegisterOperand};
use super::register::RegisterName;
use crate::bits::Bits;

type Check = Result<(), String>;

/// How many bits a location has, as a sentence.
pub(super) fn width(location: &Location) -> String {
    let width = location.width();
    let last = width.saturating_sub(1);
    match location {
        Location::Text => format!("an instruction has at most 15 bytes, bits 0 to {last}"),
        Location::LoadAddress(_) | Location::StoreAddress(_) | Location::Target => {
            format!("an address has {width} bits, 0 to {last}")
        }
        Location::OtherDirection | Location::Skip => format!("{location} has no bits"),
        Location::Register(register)
        | Location::Source(RegisterOperand::Named(register))
        | Location::Destination(RegisterOperand::Named(register)) => {
            format!("{register} has {width} bit{}, 0 to {last}", plural(width))
        }
        _ => format!(
            "one fault covers at most {width} bits ({} bytes), 0 to {last}",
            width / 8
        ),
    }
}

fn plural(count: u32) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// Why a location takes no operation.
pub(super) fn whole(location: &Location) -> String {
    let other = match location {
        Location::OtherDirection => " (cf:target takes both)",
        _ => "",
    };
    format!("{location} says what happens by itself: no operation or bits go with it{other}")
}

/// Whether the location, the operation and the bits go together.
pub(super) fn location(fault: &Fault) -> Check {
    let location = &fault.location;
    match (&fault.change, location.is_whole()) {
        (Some(_), true) => Err(whole(location)),
        (None, true) => Ok(()),
        (None, false) => Err(format!(
            "which bits of {location}? after ':' comes a mask (3, 3,7, 4-11, byte2, all) or an operation"
        )),
        (Some(change), false) => bits(location, change),
    }
}

fn bits(location: &Location, change: &Change) -> Check {
    let mask = change.mask(location.width());
    if let Operation::Xor(number) = change.operation {
        if change.mask != Mask::All {
            return Err("xor names its bits itself: no mask goes with it".to_owned());
        }
        if number.is_zero() {
            return Err("xor with 0 changes nothing".to_owned());
        }
    }
    if mask.width() > location.width() {
        let bit = mask.width() - 1;
        return Err(format!("bit {bit} is out of range: {}", width(location)));
    }
    let unbounded = change.mask == Mask::All && !matches!(change.operation, Operation::Xor(_));
    if unbounded && !has_own_width(location) {
        return Err(format!(
            "{location} is as wide as you say: after the operation comes a mask such as 0-31 for four bytes"
        ));
    }
    if let Operation::Set(number) = change.operation
        && number.width() > mask.count()
    {
        return Err(format!(
            "{number} does not fit into {} bit{}",
            mask.count(),
            plural(mask.count())
        ));
    }
    match location {
        Location::Register(register)
        | Location::Source(RegisterOperand::Named(register))
        | Location::Destination(RegisterOperand::Named(register)) => changeable(*register, mask),
        _ => Ok(()),
    }
}

/// Whether `all` means something: memory has no end of its own.
fn has_own_width(location: &Location) -> bool {
    !matches!(location, Location::Memory(_))
}

fn changeable(register: RegisterName, mask: Bits) -> Check {
    let refused = mask & !register.changeable();
    let Some(bit) = refused.iter().next() else {
        return Ok(());
    };
    Err(format!(
        "bit {bit} of {register} is not the program's to change; it has bits 0 (cf), 2 (pf), 4 (af), 6 (zf), 7 (sf), 10 (df), 11 (of) and 18 (ac)"
    ))
}

/// Whether the duration goes with the rest.
pub(super) fn duration(fault: &Fault) -> Check {
    match (&fault.location, fault.duration) {
        (Location::Skip, Duration::Permanent) => {
            Err("skip cannot be permanent: no instruction would be executed any more".to_owned())
        }
        _ => Ok(()),
    }
}

/// Whether there is something to draw.
pub(super) fn seed(fault: &Fault) -> Check {
    if fault.seed.is_some() && !fault.draws() {
        return Err(
            "nothing in this fault is random: a seed goes with the operation random, a region or the moment random"
                .to_owned(),
        );
    }
    Ok(())
}
