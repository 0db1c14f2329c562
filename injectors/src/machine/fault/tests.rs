//! The text form: what is written is read back, and what is wrong is said.

use super::{Check, CheckKind, MachineFault, Place, What};

/// Texts in their canonical form.
const CANONICAL: &[&str] = &[
    "reg:rax:3@1000000",
    "reg:zf@do_exit:2",
    "reg:cr3:12@time=1.5",
    "reg:gs_base:set=0x10@call=write:3",
    "reg:msr:0x1234:0@5",
    "reg:lstar:7@5",
    "reg:ymm3:random:0-255@7,seed=4",
    "reg:rsp:stuck1:3/permanent@9",
    "mem:phys=0x1000:byte0@1",
    "mem:jiffies+0x4:4-11@2",
    "mem:0x7f0000001000:set=0xff:0-7/permanent@3",
    "row:phys=0x100000:random:5@4,seed=1",
    "column:phys=0x100000:stuck0:5/permanent@4",
    "bank:phys=0x100000:random:8-15@4",
    "rank:phys=0x100000:random:8-15@4",
    "disk:hda:2048:read-unc/permanent@1",
    "disk:hdc:2048-2055:write-torn/3@time=1",
    "disk:vda:7:read-flip@1,seed=3",
    "net:eth0:1:rx-drop@0",
    "net:eth0:3:tx-duplicate/permanent@time=2.5",
    "net:eth1:1:rx-reorder/1of4@100",
    "net:eth0:2:tx-delay=0.25/3@100",
    "net:eth0:5:rx-flip@100,seed=2",
    "net:eth0:1:rx-bits=42:set=0x1f:0-7/permanent@100",
    "port:0x1f7:read:stuck1:0/permanent@1",
    "port:0x1f0-0x1f7:dead/permanent@1",
    "mmio:0xfec00000:write:4/3@1",
    "device:virtio-net0:dead/permanent@1",
    "device:lapic:rate=1.000001/permanent@time=2",
    "irq:4:lost/3@1",
    "irq:16:stuck1/permanent@1",
    "irq:4:spurious@1",
    "wreg:7@100",
    "wreg:rbx:63@0xffffffff81000000:7",
    "skip@100",
    "skip/3@100",
    "tlb:0x401000:13@100",
    "pte:0x401000:0@100",
    "pml4e:0x401000:63@100",
    "mce:srao:phys=0x2961000@time=4.7",
    "mce:srar:0x10000000@call=getppid,process=hello",
    "mce:ce:phys=0x2956000:bank=8:status=0x8c00000000000090:misc=0x86@10",
    "mce:fatal:init_task:mcg=0x4:broadcast@10",
    "power@write=phys=0x1000:3,bytes=8",
    "skip@access=counter,bytes=4,process=sh,mode=kernel",
];

#[test]
fn what_is_printed_is_read_back() {
    for text in CANONICAL {
        let canonical = text.replace(":byte0@", ":0-7@");
        let fault: MachineFault = text.parse().expect("a fault");
        assert_eq!(fault.to_string(), canonical);
        assert_eq!(canonical.parse(), Ok(fault));
    }
}

#[test]
fn other_spellings_mean_the_same() {
    for (text, canonical) in [
        ("reg:RAX:flip:3@1_000", "reg:rax:3@1000"),
        ("reg:msr:0xc0000082:7@5", "reg:lstar:7@5"),
        ("wreg:xor=0x80@100", "wreg:xor=0x80@100"),
        ("skip/transient@0", "skip@0"),
    ] {
        let fault: MachineFault = text.parse().expect("a fault");
        assert_eq!(fault.to_string(), canonical);
    }
}

#[test]
fn kinds_of_machine_checks_have_the_values_of_memory_errors() {
    for (kind, bank, status, global) in [
        (CheckKind::Scrubber, 9, 0xbd00_0000_0000_00c0_u64, 5),
        (CheckKind::Read, 1, 0xbd80_0000_0000_0134, 7),
        (CheckKind::Corrected, 9, 0x8c00_0000_0000_009f, 0),
        (CheckKind::Fatal, 1, 0xbe00_0000_0000_0134, 4),
    ] {
        let check = Check {
            kind,
            place: Place::Physical(0),
            fields: super::CheckFields::default(),
        };
        let values = check.values();
        assert_eq!(
            (values.bank, values.status, values.global, values.misc),
            (bank, status, global, 0x8c)
        );
    }
}

#[test]
fn fields_replace_the_values_of_the_kind() {
    let fault: MachineFault = "mce:srao:phys=0x1000:bank=3:mcg=4@1"
        .parse()
        .expect("a fault");
    let What::Check(check) = fault.what else {
        panic!("{fault:?}");
    };
    assert_eq!((check.values().bank, check.values().global), (3, 4));
    assert_eq!(check.values().status, 0xbd00_0000_0000_00c0);
}

/// Text, column, part of the message.
const REFUSED: &[(&str, usize, &str)] = &[
    ("", 1, "unknown location ''"),
    ("rge:rax:3@1", 1, "did you mean reg?"),
    ("reg:rox:3@1", 5, "did you mean"),
    ("reg:rax@1", 8, "which bits of reg:rax?"),
    ("reg:cs:16@1", 8, "cs has 16 bits, 0 to 15"),
    ("reg:rax:3", 10, "'@' and the moment are missing"),
    ("reg:rax:3/permanent@1", 10, "stuck0, stuck1 or set"),
    ("mem:1000:3@1", 5, "is no address"),
    ("mem:phys=zz:3@1", 10, "is no address"),
    ("mem:phys=0x0:set=3@1", 13, "no width of its own"),
    ("skip:3@1", 5, "says what happens by itself"),
    ("skip/permanent@1", 5, "for a number of instructions"),
    ("tlb:0x1000:3@1", 11, "bits 12 to 39"),
    ("tlb:0x1000:12/3@1", 14, "until it is flushed"),
    ("mce:srxx:phys=0x0@1", 5, "unknown machine check 'srxx'"),
    ("mce:srao@1", 9, "a place is missing"),
    ("mce:srao:phys=0x0:bank=10@1", 24, "10 banks"),
    ("mce:srao:phys=0x0:status=0x1@1", 26, "bit 63"),
    ("mce:srao:phys=0x0/3@1", 18, "happens once"),
    ("port:0x10000:dead@1", 6, "names no registers"),
    ("port:0x60:dead:3@1", 15, "says what happens by itself"),
    ("port:0x60:read:8@1", 16, "0 to 7"),
    ("irq:20:lost@1", 5, "0 to 19"),
    ("irq:4:stuck1@1", 13, "/permanent"),
    ("irq:4:spurious/2@1", 15, "comes once"),
    ("disk:sda:1:read-unc@1", 6, "is no disk"),
    ("disk:hda:9-1:read-unc@1", 10, "names no sectors"),
    ("disk:hda:1:unc@1", 12, "unknown failure"),
    ("disk:hda:1:read-unc/1of3@1", 20, "a number of accesses"),
    ("net:wlan0:1:rx-drop@1", 5, "no network card"),
    ("net:eth0:0:rx-drop@1", 10, "counted from 1"),
    ("net:eth0:1:drop@1", 12, "unknown failure 'drop'"),
    ("net:eth0:1:rx-drop:3@1", 19, "says what happens by itself"),
    ("net:eth0:1:rx-delay@1", 20, "rx-delay=0.25"),
    ("net:eth0:1:rx-delay=0@1", 21, "no time is no delay"),
    ("net:eth0:1:tx-bits=1518:3@1", 20, "at most 1518 bytes"),
    ("net:eth0:1:tx-bits=3@1", 21, "which bits of"),
    ("net:eth0:1:tx-bits=3:random:0-7@1", 21, "rx-flip"),
    ("device:pit@1", 11, "what fails?"),
    ("device:pit:late@1", 12, "unknown failure 'late'"),
    (
        "device:pit:rate=1000/permanent@1",
        17,
        "less than 1000 times",
    ),
    ("device:pit:dead@1", 16, "/permanent"),
    ("power@", 7, "the moment is missing"),
    ("power@phys=0x1000", 7, "virtual addresses"),
    ("power@1,mode=idle", 9, "mode=user or mode=kernel"),
    ("power@1,seed=1", 15, "nothing here is"),
    ("power@1,bytes=2", 9, "goes with read="),
    ("power@read=phys=0x0,bytes=5000", 21, "from 1 to 4096"),
    (
        "power@call=wrote",
        12,
        "unknown system call 'wrote'; did you mean",
    ),
    ("power@1 ", 7, "must be a number"),
];

#[test]
fn a_wrong_text_is_answered_with_column_and_reason() {
    for (text, column, part) in REFUSED {
        let error = text.parse::<MachineFault>().expect_err(text);
        assert!(
            error.message.contains(part) && error.column == *column,
            "{text}: column {}: {}",
            error.column,
            error.message
        );
    }
}
