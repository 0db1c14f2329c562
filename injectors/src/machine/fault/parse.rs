//! From text to [`MachineFault`]: a recursive descent over `docs/machine-faults.md`, with the parts of faults of programs where they are the same.

use std::str::FromStr;

use super::{
    AccessKind, Array, Check, CheckFields, CheckKind, DiskFailure, DiskFault, ENTRIES,
    FrameFailure, Interrupt, InterruptFailure, MachineFault, Moment, NetworkFault, PartFailure,
    PartFault, Place, RegisterName, Registers, Restriction, Side, Way, What, When, check,
};
use crate::fault::parse::{
    Cursor, Room, call, change_within, duration, expect_colon, parse_number,
    place as virtual_place, seconds,
};
use crate::fault::{ParseError, did_you_mean, nearest};

/// Clocks that are wrong go less than so many times too fast.
const FASTEST: u64 = 1000;
/// Bytes of the longest Ethernet frame, without its check sequence.
const FRAME_BYTES: u16 = 1518;

type Result<T, E = ParseError> = std::result::Result<T, E>;

const LOCATIONS: [&str; 21] = [
    "reg", "mem", "row", "column", "bank", "rank", "wreg", "skip", "tlb", "pte", "pde", "pdpte",
    "pml4e", "mce", "disk", "net", "port", "mmio", "device", "irq", "power",
];

const MOMENTS: &str = "a number of retired instructions (1000), an address or symbol with an occurrence (do_exit:2), read=PLACE[:K], \
     write=PLACE[:K], access=PLACE[:K], call=NAME[:K] or time=SECONDS";

impl FromStr for MachineFault {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self> {
        let mut cursor = Cursor { text, at: 0 };
        let what = what(&mut cursor)?;
        let change_at = cursor.at;
        let whole = what.width() == 0;
        if whole && cursor.rest().starts_with(':') {
            return Err(cursor.error(format!(
                "{what} says what happens by itself: no operation or bits go with it"
            )));
        }
        let change = if whole {
            None
        } else {
            change_within(&mut cursor, &room(&what))?
        };
        let duration_at = cursor.at;
        let duration = duration(&mut cursor)?;
        if !cursor.eat('@') {
            return Err(missing_moment(&cursor, &what));
        }
        let (moment, seed) = moment(&mut cursor)?;
        let fault = MachineFault {
            what,
            change,
            duration,
            moment,
            seed,
        };
        check::change(&fault).map_err(|message| cursor.error_at(change_at, message))?;
        check::duration(&fault).map_err(|message| cursor.error_at(duration_at, message))?;
        check::seed(&fault).map_err(|message| cursor.error(message))?;
        Ok(fault)
    }
}

fn missing_moment(cursor: &Cursor, what: &What) -> ParseError {
    match cursor.rest() {
        "" => cursor.error(format!("'@' and the moment are missing: {MOMENTS}")),
        rest => cursor.error(format!(
            "'{rest}' is left over after {what}: expected '/' and a duration, or '@' and the moment"
        )),
    }
}

/// How many bits there are to be named.
fn room(what: &What) -> Room {
    let width = what.width();
    let last = width.saturating_sub(1);
    let sentence = match what {
        What::Memory(_) | What::Network(_) => format!(
            "one fault covers at most {width} bits ({} bytes), 0 to {last}",
            width / 8
        ),
        What::Device(_) => format!("the bits are those of each byte, 0 to {last}"),
        What::Array(..) => {
            format!("the bits are those of each 64-bit word, 0 to {last}")
        }
        What::Result(None) => format!("no register has more than {width} bits, 0 to {last}"),
        What::Register(register) | What::Result(Some(register)) => {
            let plural = if width == 1 { "" } else { "s" };
            format!("{register} has {width} bit{plural}, 0 to {last}")
        }
        _ => format!("it has {width} bits, 0 to {last}"),
    };
    Room { width, sentence }
}

fn what(cursor: &mut Cursor) -> Result<What> {
    let at = cursor.at;
    let kind = cursor.word();
    let example = match kind {
        "reg" => "a register is missing: reg:rax, reg:cr3, reg:msr:0x10",
        _ => "a place is missing: 0x7f0000001000, SYMBOL+8 or phys=0x100000",
    };
    Ok(match kind {
        "wreg" => What::Result(result_register(cursor)?),
        "skip" => What::Skip,
        "power" => What::PowerCut,
        "reg" => {
            expect_colon(cursor, example)?;
            What::Register(register(cursor)?)
        }
        "mce" => {
            expect_colon(
                cursor,
                "which machine check? mce:srao, srar, ce or fatal, and a place",
            )?;
            What::Check(machine_check(cursor)?)
        }
        "port" | "mmio" => {
            expect_colon(
                cursor,
                "which registers? port:0x1f7:read:0, mmio:0xfec00000-0xfec00fff:dead",
            )?;
            What::Device(registers(cursor, kind == "mmio")?)
        }
        "device" => {
            expect_colon(cursor, "which device? device:serial0:dead")?;
            What::Part(part(cursor)?)
        }
        "irq" => {
            expect_colon(cursor, "which line? irq:4:lost")?;
            What::Interrupt(interrupt(cursor)?)
        }
        "disk" => {
            expect_colon(cursor, "which disk? disk:hda:2048:read-unc")?;
            What::Disk(disk(cursor)?)
        }
        "net" => {
            expect_colon(cursor, "which card? net:eth0:3:rx-drop")?;
            What::Network(network(cursor)?)
        }
        "mem" | "row" | "column" | "bank" | "rank" | "tlb" => {
            expect_colon(cursor, example)?;
            let place = place(cursor)?;
            let array = Array::ALL.into_iter().find(|array| array.name() == kind);
            match (array, kind) {
                (Some(array), _) => What::Array(array, place),
                (None, "mem") => What::Memory(place),
                _ => What::Translation(place),
            }
        }
        other => match (1..).zip(ENTRIES).find(|&(_, name)| name == other) {
            Some((level, _)) => {
                expect_colon(cursor, example)?;
                What::PageEntry(level, place(cursor)?)
            }
            None => {
                let near = nearest(other, LOCATIONS.into_iter());
                let message = format!(
                    "unknown location '{other}'{}; the locations are {}",
                    did_you_mean(&near),
                    LOCATIONS.join(", ")
                );
                return Err(cursor.error_at(at, message));
            }
        },
    })
}

fn register(cursor: &mut Cursor) -> Result<RegisterName> {
    let at = cursor.at;
    let name = cursor.word();
    if name == "msr" {
        expect_colon(cursor, "the number of the MSR is missing: reg:msr:0x10")?;
        let number = cursor.number("the number of the MSR")?;
        return u32::try_from(number)
            .map(RegisterName::model)
            .map_err(|_| cursor.error_at(at, "an MSR has a number of 32 bits"));
    }
    RegisterName::find(name).ok_or_else(|| {
        let near = nearest(name, RegisterName::names());
        let message = format!(
            "unknown register '{name}'{}; registers are rax … r15, rip, rflags and its flags (cf pf af zf sf tf if df of nt rf ac), cr0 cr2 cr3 cr4 \
             cr8, dr0 … dr7, es … gs, es_base … gs_base, gdtr_base, idtr_base, tr_base, xcr0, mxcsr, xmm/ymm0 … 15, st0 … st7, efer star lstar \
             fmask kernel_gs_base tsc_aux mcg_status pat, msr:NUMBER",
            did_you_mean(&near)
        );
        cursor.error_at(at, message)
    })
}

/// `:REGISTER`, if the next part is one.
fn result_register(cursor: &mut Cursor) -> Result<Option<RegisterName>> {
    let before = cursor.at;
    if !cursor.eat(':') {
        return Ok(None);
    }
    let found = RegisterName::find(cursor.peek());
    match found {
        Some(_) => {
            cursor.word();
        }
        None => cursor.at = before,
    }
    Ok(found)
}

/// An address, a symbol, or `phys=` and an address.
fn place(cursor: &mut Cursor) -> Result<Place> {
    let before = cursor.at;
    if cursor.eat_word("phys") && cursor.eat('=') {
        let at = cursor.at;
        let word = cursor.word();
        let address = word.strip_prefix("0x").and_then(|_| parse_number(word));
        return address.map(Place::Physical).ok_or_else(|| {
            let message = format!("'{word}' is no address: 0x and hexadecimal digits");
            cursor.error_at(at, message)
        });
    }
    cursor.at = before;
    virtual_place(cursor).map(Place::Virtual)
}

fn machine_check(cursor: &mut Cursor) -> Result<Check> {
    let at = cursor.at;
    let word = cursor.word();
    let kind = CheckKind::ALL.into_iter().find(|kind| kind.name() == word);
    let Some(kind) = kind else {
        let message = format!(
            "unknown machine check '{word}': srao (found by the scrubber), srar (when the address is read), ce (corrected), fatal"
        );
        return Err(cursor.error_at(at, message));
    };
    expect_colon(
        cursor,
        "a place is missing: 0x7f0000001000, SYMBOL+8 or phys=0x100000",
    )?;
    let place = place(cursor)?;
    let mut fields = CheckFields::default();
    while cursor.eat(':') {
        check_field(cursor, &mut fields)?;
    }
    Ok(Check {
        kind,
        place,
        fields,
    })
}

fn check_field(cursor: &mut Cursor, fields: &mut CheckFields) -> Result<()> {
    let at = cursor.at;
    let name = cursor.word();
    if name == "broadcast" {
        fields.broadcast = true;
        return Ok(());
    }
    if !["bank", "status", "mcg", "misc"].contains(&name) {
        let message = format!(
            "unknown field '{name}' of a machine check; there are bank=, status=, mcg=, misc= and broadcast"
        );
        return Err(cursor.error_at(at, message));
    }
    cursor.value_of(name, "0x8c")?;
    let value_at = cursor.at;
    let number = cursor.number("the value")?;
    match name {
        "bank" => {
            let bank = u8::try_from(number).ok().filter(|bank| *bank < 10);
            let bank = bank.ok_or_else(|| {
                cursor.error_at(value_at, "there are 10 banks, 0 to 9".to_owned())
            })?;
            fields.bank = Some(bank);
        }
        "status" if number >> 63 == 0 => {
            let message = "a status without bit 63 is not valid, and no error at all";
            return Err(cursor.error_at(value_at, message));
        }
        "status" => fields.status = Some(number),
        "mcg" if number > 7 => {
            let message = "MCG_STATUS has 3 bits: RIPV (1), EIPV (2), MCIP (4)";
            return Err(cursor.error_at(value_at, message));
        }
        "mcg" => fields.global = Some(number),
        _ => fields.misc = Some(number),
    }
    Ok(())
}

/// `0x1f0-0x1f7:read`
fn registers(cursor: &mut Cursor, memory: bool) -> Result<Registers> {
    let at = cursor.at;
    let word = cursor.word();
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let range = parse_number(first).zip(parse_number(last));
    let highest = if memory { u64::MAX >> 1 } else { 0xffff };
    let Some((first, last)) = range.filter(|&(first, last)| first <= last && last <= highest)
    else {
        let message = format!("'{word}' names no registers: 0x1f7, or 0x1f0-0x1f7");
        return Err(cursor.error_at(at, message));
    };
    expect_colon(cursor, "what fails? read, write or dead: port:0x1f7:read:0")?;
    let at = cursor.at;
    let word = cursor.word();
    let side = Side::ALL.into_iter().find(|side| side.name() == word);
    let Some(side) = side else {
        let message =
            format!("unknown failure '{word}'; there are read and write, with bits, and dead");
        return Err(cursor.error_at(at, message));
    };
    Ok(Registers {
        first,
        last,
        memory,
        side,
    })
}

/// `serial0:dead`, `lapic:rate=1.01`
fn part(cursor: &mut Cursor) -> Result<PartFault> {
    let device = cursor.word().to_owned();
    expect_colon(
        cursor,
        "what fails? device:serial0:dead, device:lapic:rate=1.01",
    )?;
    let at = cursor.at;
    let failure = match cursor.word() {
        "dead" => PartFailure::Dead,
        "rate" => {
            cursor.value_of("rate", "1.01")?;
            let at = cursor.at;
            let rate = seconds(cursor)?;
            if rate.as_secs() >= FASTEST {
                let message = format!("a clock goes less than {FASTEST} times too fast");
                return Err(cursor.error_at(at, message));
            }
            PartFailure::Rate(rate)
        }
        word => {
            let message = format!("unknown failure '{word}'; there are dead and rate=");
            return Err(cursor.error_at(at, message));
        }
    };
    Ok(PartFault { device, failure })
}

fn interrupt(cursor: &mut Cursor) -> Result<Interrupt> {
    let at = cursor.at;
    let number = cursor.number("the interrupt line")?;
    let line = u8::try_from(number).ok().filter(|line| *line < 20);
    let Some(line) = line else {
        return Err(cursor.error_at(at, "lines are 0 to 19: 16 to 19 are those of PCI"));
    };
    expect_colon(cursor, "what fails? irq:4:lost")?;
    let at = cursor.at;
    let word = cursor.word();
    let failure = InterruptFailure::ALL
        .into_iter()
        .find(|failure| failure.name() == word);
    match failure {
        Some(failure) => Ok(Interrupt { line, failure }),
        None => {
            let message =
                format!("unknown failure '{word}'; there are lost, spurious, stuck0, stuck1");
            Err(cursor.error_at(at, message))
        }
    }
}

fn disk(cursor: &mut Cursor) -> Result<DiskFault> {
    let at = cursor.at;
    let disk = cursor.word();
    let named = disk.len() == 3
        && (disk.starts_with("hd") || disk.starts_with("vd"))
        && disk.ends_with(|last: char| last.is_ascii_lowercase());
    if !named {
        let message =
            format!("'{disk}' is no disk: hda … hdd are those of IDE, vda, vdb … those of virtio");
        return Err(cursor.error_at(at, message));
    }
    expect_colon(cursor, "a sector is missing: disk:hda:2048:read-unc")?;
    let at = cursor.at;
    let word = cursor.word();
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let sectors = parse_number(first).zip(parse_number(last));
    let Some((first, last)) = sectors.filter(|(first, last)| first <= last) else {
        let message = format!("'{word}' names no sectors: 2048, or 2048-2055");
        return Err(cursor.error_at(at, message));
    };
    expect_colon(cursor, "what fails? disk:hda:2048:read-unc")?;
    let at = cursor.at;
    let word = cursor.word();
    let failure = DiskFailure::ALL.into_iter().find(|one| one.name() == word);
    let Some(failure) = failure else {
        let names = DiskFailure::ALL.map(DiskFailure::name);
        let near = nearest(word, names.into_iter());
        let message = format!(
            "unknown failure '{word}'{}; there are {}",
            did_you_mean(&near),
            names.join(", ")
        );
        return Err(cursor.error_at(at, message));
    };
    Ok(DiskFault {
        disk: disk.to_owned(),
        first,
        last,
        failure,
    })
}

/// `eth0:3:rx-drop`
fn network(cursor: &mut Cursor) -> Result<NetworkFault> {
    let at = cursor.at;
    let word = cursor.word();
    let card = word
        .strip_prefix("eth")
        .and_then(|number| number.parse().ok());
    let Some(card) = card else {
        let message = format!("'{word}' is no network card: eth0, eth1 and so on");
        return Err(cursor.error_at(at, message));
    };
    expect_colon(cursor, "the first frame is missing: net:eth0:3:rx-drop")?;
    let at = cursor.at;
    let frame = cursor.number("the first frame")?;
    if frame == 0 {
        return Err(cursor.error_at(at, "frames are counted from 1"));
    }
    expect_colon(cursor, "what fails? net:eth0:3:rx-drop")?;
    let at = cursor.at;
    let word = cursor.word();
    let names = FrameFailure::ALL.map(FrameFailure::name);
    let found = Way::split(word).and_then(|(way, name)| {
        let failure = FrameFailure::ALL.into_iter().find(|one| one.name() == name);
        Some((way, failure?))
    });
    let Some((way, failure)) = found else {
        let message = format!(
            "unknown failure '{word}'; there are rx- (to the guest) and tx- (from it) with {}",
            names.join(", ")
        );
        return Err(cursor.error_at(at, message));
    };
    let failure = match failure {
        FrameFailure::Bits(_) => {
            cursor.value_of(word, "34")?;
            let at = cursor.at;
            let byte = cursor.number("the first byte")?;
            let byte = u16::try_from(byte).ok().filter(|byte| *byte < FRAME_BYTES);
            FrameFailure::Bits(byte.ok_or_else(|| {
                cursor.error_at(at, format!("a frame has at most {FRAME_BYTES} bytes"))
            })?)
        }
        FrameFailure::Delay(_) => {
            cursor.value_of(word, "0.25")?;
            let at = cursor.at;
            let time = seconds(cursor)?;
            if time.is_zero() {
                return Err(cursor.error_at(at, "no time is no delay"));
            }
            FrameFailure::Delay(time)
        }
        whole => whole,
    };
    Ok(NetworkFault {
        card,
        frame,
        way,
        failure,
    })
}

fn moment(cursor: &mut Cursor) -> Result<(Moment, Option<u64>)> {
    let mut when = when(cursor)?;
    let mut restriction = Restriction::default();
    let (mut seed, mut seen) = (None, Vec::new());
    while cursor.eat(',') {
        let at = cursor.at;
        let name = cursor.word();
        if seen.contains(&name) {
            return Err(cursor.error_at(at, format!("'{name}' is there twice")));
        }
        seen.push(name);
        match name {
            "seed" => {
                cursor.value_of("seed", "42")?;
                seed = Some(cursor.number("the seed")?);
            }
            "bytes" => {
                cursor.value_of("bytes", "8")?;
                let wanted = cursor.number("the number of bytes")?;
                set_bytes(&mut when, wanted).map_err(|message| cursor.error_at(at, message))?;
            }
            "process" => {
                cursor.value_of("process", "sh")?;
                let name = cursor.word();
                if name.is_empty() || name.len() > 15 {
                    return Err(cursor.error_at(at, "a process has a name of 1 to 15 bytes"));
                }
                restriction.process = Some(name.to_owned());
            }
            "mode" => {
                cursor.value_of("mode", "user")?;
                restriction.user = Some(match cursor.word() {
                    "user" => true,
                    "kernel" => false,
                    _ => return Err(cursor.error_at(at, "mode=user or mode=kernel")),
                });
            }
            other => {
                let message = format!(
                    "unknown option '{other}' of the moment; there are process=NAME, mode=user, mode=kernel, bytes=N, seed=N"
                );
                return Err(cursor.error_at(at, message));
            }
        }
    }
    if !cursor.rest().is_empty() {
        let message = format!("'{}' is left over after the moment", cursor.rest());
        return Err(cursor.error(message));
    }
    Ok((Moment { when, restriction }, seed))
}

fn set_bytes(when: &mut When, wanted: u64) -> Result<(), String> {
    let When::Access { bytes, .. } = when else {
        return Err("'bytes' goes with read=, write= or access=".to_owned());
    };
    match u16::try_from(wanted) {
        Ok(wanted @ 1..=4096) => {
            *bytes = wanted;
            Ok(())
        }
        _ => Err("bytes are from 1 to 4096".to_owned()),
    }
}

fn when(cursor: &mut Cursor) -> Result<When> {
    let at = cursor.at;
    let word = cursor.peek();
    if word.is_empty() {
        return Err(cursor.error(format!("the moment is missing: {MOMENTS}")));
    }
    let named = cursor.text[at + word.len()..].starts_with('=');
    if named && word != "phys" {
        cursor.word();
        cursor.eat('=');
        return named_moment(cursor, at, word);
    }
    let digits = word.starts_with(|first: char| first.is_ascii_digit());
    if digits && !word.starts_with("0x") && !word.starts_with("0X") {
        return cursor
            .number("the number of instructions")
            .map(When::Instruction);
    }
    let place = place(cursor)?;
    if matches!(place, Place::Physical(_)) {
        let message =
            "code is executed at virtual addresses: an address without phys=, or a symbol";
        return Err(cursor.error_at(at, message));
    }
    let count = cursor.count()?;
    Ok(When::Execution { place, count })
}

fn named_moment(cursor: &mut Cursor, at: usize, name: &str) -> Result<When> {
    let kind = AccessKind::ALL.into_iter().find(|kind| kind.name() == name);
    if let Some(kind) = kind {
        let place = place(cursor)?;
        let count = cursor.count()?;
        return Ok(When::Access {
            kind,
            place,
            bytes: 1,
            count,
        });
    }
    match name {
        "call" => {
            let number = call(cursor)?;
            let count = cursor.count()?;
            Ok(When::Call { number, count })
        }
        "time" => seconds(cursor).map(When::Time),
        other => {
            let message = format!("unknown moment '{other}='; a moment is {MOMENTS}");
            Err(cursor.error_at(at, message))
        }
    }
}
