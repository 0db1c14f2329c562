//! The text form: what is read is written back, and what is wrong is answered with a sentence.

use proptest::prelude::*;

use super::*;
use crate::bits::Bits;

fn parse(text: &str) -> Fault {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(text: &str) -> String {
    match text.parse::<Fault>() {
        Ok(fault) => panic!("{text} was read as {fault}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_is_short_is_written_back_as_it_is() {
    let texts = [
        "reg:rax:3@1000000",
        "reg:zf@12",
        "reg:zf:stuck1@12",
        "reg:al:stuck0:0-3/100@main",
        "reg:xmm3:set=0x1f:4-8,100@main+0x10:3",
        "reg:zmm31:511@0",
        "reg:st0:79/10of100@5,thread=2",
        "reg:rax:set=0xffffffffffffffff/permanent@12",
        "reg:rax:xor=0xff00@12",
        "reg:k1:random@random,seed=42",
        "reg:rip:all@1000,from=main:2",
        "mem:0x404028:3@1000",
        "mem:counter-0x8:stuck1:0-31/permanent@write=counter:2,bytes=8",
        "mem:sp+0x8:7@read=0x404028",
        "mem:sp:7@call=write:2",
        "mem:heap:0@time=0.25",
        "mem:heap+0:0@random+0",
        "mem:stack:random:8-15@call=999",
        "mem:data:1@random,from=main,seed=7",
        "rreg:3@5",
        "rreg:op1:3@5",
        "rreg:ebx:stuck0:3@5",
        "wreg:cf@5",
        "rval:op0:set=0x0@5",
        "wval:xor=0x1@5",
        "raddr:stuck1:12@5",
        "waddr:op0:63/7@5",
        "text:3@5",
        "text:set=0x90:0-7/permanent@main",
        "cf@5",
        "cf/permanent@5",
        "cf:target:4@5",
        "skip@5",
        "skip/3@5",
    ];
    for text in texts {
        assert_eq!(parse(text).to_string(), text);
    }
}

#[test]
fn other_ways_to_write_are_brought_to_one() {
    let cases = [
        ("reg:RAX:flip:3/transient@1_000", "reg:rax:3@1000"),
        ("reg:rax:7,5,6,1@1", "reg:rax:1,5-7@1"),
        ("reg:rax:byte1@1,thread=0", "reg:rax:8-15@1"),
        ("reg:zf:0@1", "reg:zf@1"),
        ("reg:rax:set=31@main+16:1", "reg:rax:set=0x1f@main+0x10"),
        ("mem:sp+16:0@call=1:1", "mem:sp+0x10:0@call=write"),
        ("mem:sp-8:0@time=1.500", "mem:sp-0x8:0@time=1.5"),
        (
            "mem:x:set=0x00001:0-7@read=x,bytes=1",
            "mem:x:set=0x1:0-7@read=x",
        ),
    ];
    for (text, canonical) in cases {
        assert_eq!(parse(text).to_string(), canonical);
        assert_eq!(parse(text), parse(canonical));
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_the_choices() {
    let cases = [
        (
            "reg:rox:3@5",
            "column 5: unknown register 'rox'; did you mean rax",
        ),
        (
            "rg:rax:3@5",
            "column 1: unknown location 'rg'; did you mean reg",
        ),
        (
            "reg:rax:64@5",
            "column 9: bit 64 is out of range: rax has 64 bits, 0 to 63",
        ),
        ("reg:al:8@5", "al has 8 bits, 0 to 7"),
        ("mem:x:512@5", "512 bits (64 bytes)"),
        ("text:120@5", "at most 15 bytes"),
        ("waddr:64@5", "an address has 64 bits"),
        ("reg:rax@5", "column 8: which bits of reg:rax?"),
        ("reg:rax:stuck0@5", "column 15: which bits?"),
        (
            "reg:rax:flop:3@5",
            "column 9: 'flop' is neither an operation",
        ),
        ("reg:rax:9-3@5", "3-9"),
        ("reg:rax:set=0x10:0-3@5", "0x10 does not fit into 4 bits"),
        ("reg:al:xor=0x100@5", "bit 8 is out of range: al has 8 bits"),
        ("reg:rax:xor=0@5", "changes nothing"),
        ("reg:rax:xor=1:3@5", "no mask goes with it"),
        ("reg:rax:set:3@5", "'set' needs a value: set=0x1f"),
        (
            "reg:rflags:9@5",
            "bit 9 of rflags is not the program's to change; it has bits 0 (cf)",
        ),
        (
            "reg:fs_base:47@5",
            "bit 47 is out of range: fs_base has 47 bits, 0 to 46",
        ),
        (
            "reg:mxcsr:16@5",
            "bit 16 is out of range: mxcsr has 16 bits, 0 to 15",
        ),
        ("mem:x:set=5@5", "as wide as you say"),
        ("mem:1234:0@5", "column 5: '1234' is no address"),
        ("mem:x+:0@5", "column 6: after a symbol comes + or -"),
        (
            "mem::0@5",
            "an address (0x401136) or a symbol (main+8) is missing",
        ),
        ("cf:3@5", "cf:target takes both"),
        ("skip:3@5", "skip says what happens by itself"),
        ("skip/permanent@5", "column 5: skip cannot be permanent"),
        ("reg:rax:3/0@5", "at least one instruction"),
        ("reg:rax:3/100of10@5", "10of100"),
        ("reg:rax:3/forever@5", "unknown duration 'forever'"),
        (
            "reg:rax:3",
            "column 10: '@' and the moment are missing: an instruction index",
        ),
        ("reg:rax:3@", "column 11: the moment is missing"),
        ("reg:rax:3@main:0", "occurrences count from 1"),
        (
            "reg:rax:3@heap",
            "'heap' is no place here; a symbol of that name is heap+0",
        ),
        ("reg:rax:3@reed=x", "unknown moment 'reed='"),
        (
            "reg:rax:3@call=wrote",
            "unknown system call 'wrote'; did you mean write",
        ),
        ("reg:rax:3@time=1s", "seconds with up to nine decimals"),
        ("reg:rax:3@5,bytes=8", "'bytes' goes with read= or write="),
        ("reg:rax:3@read=x,bytes=9", "bytes are from 1 to 8"),
        (
            "reg:rax:3@main,from=main",
            "'from' goes with an instruction index",
        ),
        ("reg:rax:3@5,thread=1,thread=2", "'thread' is there twice"),
        ("reg:rax:3@5,colour=red", "unknown option 'colour'"),
        ("reg:rax:3@5,seed=1", "nothing in this fault is random"),
        ("reg:rax:3@5:3", "':3' is left over"),
        (
            "reg:rax:3@99999999999999999999",
            "must be a number up to 2^64-1",
        ),
        ("rreg:rox:3@5", "unknown register 'rox'"),
        ("rval:op7:3@5", "at most five operands"),
        ("", "column 1: unknown location ''"),
        ("ré:3@5", "column 1"),
    ];
    for (text, sentence) in cases {
        let message = refusal(text);
        assert!(message.contains(sentence), "{text}: {message}");
    }
}

#[test]
fn a_change_touches_the_bits_of_its_mask_and_no_others() {
    let old = Bits::from_u64(0xa5);
    let drawn = Bits::from_u64(0xffff);
    let cases = [
        ("flip:0-3", 0xaa),
        ("stuck0:0-3", 0xa0),
        ("stuck1:0-3", 0xaf),
        ("set=0x2:0-3", 0xa2),
        ("set=0x3:3,6", 0xed),
        ("set=0x7", 0x07),
        ("xor=0xff", 0x5a),
        ("random:8-9", 0x3a5),
    ];
    for (text, new) in cases {
        let change = parse(&format!("reg:ax:{text}@1")).change.expect("a change");
        assert_eq!(change.apply(old, 16, drawn), Bits::from_u64(new), "{text}");
    }
}

#[test]
fn durations_say_when_they_are_there() {
    let active = |text: &str| -> Vec<u64> {
        let duration = parse(&format!("reg:rax:3{text}@1")).duration;
        (0..8).filter(|&retired| duration.active(retired)).collect()
    };
    assert_eq!(active(""), [0]);
    assert_eq!(active("/3"), [0, 1, 2]);
    assert_eq!(active("/2of4"), [0, 1, 4, 5]);
    assert_eq!(active("/permanent").len(), 8);
}

fn symbols() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z_][a-zA-Z0-9_.$]{0,12}",
        Just("heap".to_owned()),
        Just("random".to_owned())
    ]
}

fn places() -> impl Strategy<Value = Place> {
    prop_oneof![
        any::<u64>().prop_map(Place::Address),
        (symbols(), any::<i64>()).prop_map(|(name, offset)| Place::Symbol { name, offset }),
        symbols().prop_map(|name| Place::Symbol { name, offset: 0 }),
    ]
}

fn register_names() -> impl Strategy<Value = RegisterName> {
    proptest::sample::select(RegisterName::all().collect::<Vec<_>>())
}

fn register_operands() -> impl Strategy<Value = RegisterOperand> {
    prop_oneof![
        Just(RegisterOperand::First),
        (0u8..5).prop_map(RegisterOperand::Number),
        register_names().prop_map(RegisterOperand::Named),
    ]
}

fn memory_operands() -> impl Strategy<Value = MemoryOperand> {
    prop_oneof![
        Just(MemoryOperand::First),
        (0u8..5).prop_map(MemoryOperand::Number)
    ]
}

fn memory_places() -> impl Strategy<Value = MemoryPlace> {
    prop_oneof![
        places().prop_map(MemoryPlace::At),
        any::<i64>().prop_map(MemoryPlace::Stack),
        proptest::sample::select(Region::ALL.to_vec()).prop_map(MemoryPlace::Random),
    ]
}

fn locations() -> impl Strategy<Value = Location> {
    prop_oneof![
        register_names().prop_map(Location::Register),
        memory_places().prop_map(Location::Memory),
        register_operands().prop_map(Location::Source),
        register_operands().prop_map(Location::Destination),
        memory_operands().prop_map(Location::Loaded),
        memory_operands().prop_map(Location::Stored),
        memory_operands().prop_map(Location::LoadAddress),
        memory_operands().prop_map(Location::StoreAddress),
        Just(Location::Text),
        Just(Location::OtherDirection),
        Just(Location::Target),
        Just(Location::Skip),
    ]
}

/// A mask that the location has, as far as it goes.
fn fitting(location: &Location, bits: Bits) -> Bits {
    let changeable = match location {
        Location::Register(register)
        | Location::Source(RegisterOperand::Named(register))
        | Location::Destination(RegisterOperand::Named(register)) => register.changeable(),
        other => Bits::ones(other.width()),
    };
    let mask = bits & changeable;
    if mask.is_zero() { Bits::ones(1) } else { mask }
}

fn changes(location: Location) -> impl Strategy<Value = (Location, Option<Change>)> {
    let bits =
        || proptest::collection::vec(any::<u8>(), 64).prop_map(|bytes| Bits::from_bytes(&bytes));
    let sparse = (bits(), bits(), bits()).prop_map(|(a, b, c)| a & b & c);
    let operations = 0..6;
    (Just(location), operations, any::<bool>(), sparse, bits()).prop_map(
        |(location, operation, all, mask, number)| {
            if location.is_whole() {
                return (location, None);
            }
            let bits = fitting(&location, mask);
            let whole = fitting(&location, Bits::ones(Bits::WIDTH)) == Bits::ones(location.width());
            let can_be_all = whole && !matches!(location, Location::Memory(_));
            let one_bit = location.width() == 1;
            let all = one_bit || all && can_be_all;
            let mask = if all { Mask::All } else { Mask::Bits(bits) };
            let count = mask.bits(location.width()).count();
            let operation = match operation {
                0 => Operation::Flip,
                1 => Operation::Stuck0,
                2 => Operation::Stuck1,
                3 => Operation::Set(number & Bits::ones(count)),
                4 => Operation::Xor(bits),
                _ => Operation::Random,
            };
            let mask = match operation {
                Operation::Xor(_) => Mask::All,
                _ => mask,
            };
            (location, Some(Change { operation, mask }))
        },
    )
}

fn durations() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::Transient),
        (1..u64::MAX).prop_map(Duration::Instructions),
        (1..u64::MAX - 1, any::<u64>()).prop_map(|(on, more)| Duration::Intermittent {
            on,
            period: on.saturating_add(more.max(1)),
        }),
        Just(Duration::Permanent),
    ]
}

fn arrivals() -> impl Strategy<Value = Arrival> {
    (places(), 1..u64::MAX).prop_map(|(place, count)| Arrival { place, count })
}

fn moments() -> impl Strategy<Value = When> {
    let from = || proptest::option::of(arrivals());
    let access = prop_oneof![Just(Access::Read), Just(Access::Write)];
    prop_oneof![
        (any::<u64>(), from()).prop_map(|(index, from)| When::Index { index, from }),
        arrivals().prop_map(When::Arrival),
        (access, places(), 1u8..=8, 1..u64::MAX).prop_map(|(access, place, bytes, count)| {
            When::Access {
                access,
                place,
                bytes,
                count,
            }
        }),
        (0u64..500, 1..u64::MAX).prop_map(|(number, count)| When::Call { number, count }),
        (any::<u64>(), 0u32..1_000_000_000)
            .prop_map(|(seconds, rest)| When::Time(std::time::Duration::new(seconds, rest))),
        from().prop_map(|from| When::Random { from }),
    ]
}

fn faults() -> impl Strategy<Value = Fault> {
    let located = locations().prop_flat_map(changes);
    (located, durations(), any::<u32>(), moments(), any::<u64>()).prop_map(
        |((location, change), duration, thread, when, seed)| {
            let skip = location == Location::Skip && duration == Duration::Permanent;
            let mut fault = Fault {
                duration: if skip { Duration::Transient } else { duration },
                location,
                change,
                trigger: Trigger { thread, when },
                seed: None,
            };
            fault.seed = (fault.draws() && seed % 2 == 0).then_some(seed);
            fault
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_the_same_fault(fault in faults()) {
        let text = fault.to_string();
        let read: Fault = text.parse().map_err(|error| TestCaseError::fail(format!("{error}")))?;
        prop_assert_eq!(&read, &fault, "{}", text);
        prop_assert_eq!(read.to_string(), text);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "[a-z0-9:/@,=+x-]{0,40}|\\PC{0,20}") {
        if let Ok(fault) = text.parse::<Fault>() {
            prop_assert_eq!(fault.to_string().parse::<Fault>(), Ok(fault));
        }
    }
}

#[test]
fn the_examples_of_the_documentation_are_faults() {
    let text = include_str!("../../../docs/faults.md");
    let mut examples = 0;
    for block in text.split("```fault\n").skip(1) {
        for line in block.split("```").next().unwrap_or_default().lines() {
            parse(line);
            examples += 1;
        }
    }
    assert!(examples > 10);
}
