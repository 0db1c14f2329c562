//! Spaces of a few instructions, counted by hand.

use std::path::Path;

use fits_stats::listing::ListedInstruction;
use iced_x86::{Decoder, DecoderOptions};

use super::*;
use crate::fault::Fault;

/// A few instructions: address, bytes, executions, function.
pub(in crate::campaign) type Code<'a> = &'a [(u64, &'a [u8], u64, &'a str)];

/// A loop that counts down, a byte, a vector, a push, a call, a store, jumps.
pub(in crate::campaign) const LOOP: Code<'static> = &[
    (0x1000, &[0xb8, 10, 0, 0, 0], 1, "main"), // mov eax,10: eax
    (0x1005, &[0x53], 1, "main"),              // push rbx: rsp
    (0x1006, &[0xff, 0xc8], 10, "main"),       // dec eax: eax, pf af zf sf of
    (0x1008, &[0x75, 0xfc], 10, "main"),       // jne 1006: nothing but rip
    (0x100a, &[0xb3, 1], 1, "main"),           // mov bl,1: bl
    (0x100c, &[0x0f, 0x58, 0xc1], 3, "vectors"), // addps xmm0,xmm1: xmm0
    (0x100f, &[0x89, 0x45, 0xfc], 2, "vectors"), // mov [rbp-4],eax: nothing
    (0x1012, &[0xe8, 0, 0, 0, 0], 2, "vectors"), // call 1017: rsp
    (0x1017, &[0x48, 0x01, 0xd8], 4, "last"),  // add rax,rbx: rax, cf pf af zf sf of
    (0x101a, &[0x90], 5, "last"),              // nop: nothing
    (0x101b, &[0x48, 0x8b, 0x03], 6, "last"),  // mov rax,[rbx]: rax
    (0x101e, &[0xeb, 0], 6, "last"),           // jmp 1020: nothing but rip
    (0x1020, &[0xf7, 0xe1], 7, "last"), // mul ecx: rax, rdx, six flags (undefined ones count as written)
];

fn rows(code: Code<'_>) -> Vec<ListedInstruction> {
    code.iter()
        .map(|&(pc, bytes, executions, symbol)| ListedInstruction {
            pc,
            module: "/bin/program".to_owned(),
            offset: Some(pc),
            symbol: symbol.to_owned(),
            source: format!("/src/{symbol}.c:{}", pc & 0xff),
            bytes: String::new(),
            text: String::new(),
            executions,
            instruction: Decoder::with_ip(64, bytes, pc, DecoderOptions::NONE).decode(),
        })
        .collect()
}

/// The campaign that a `[space]` and what follows it describe, and its space in some code.
pub(in crate::campaign) fn space_of(
    fields: &str,
    code: Code<'_>,
) -> Result<(Campaign, Space), SpaceError> {
    let text = format!("program = \"p\"\n[space]\n{fields}");
    let campaign = Campaign::parse(&text, Path::new("/"));
    let campaign = campaign.unwrap_or_else(|error| panic!("{error}\n{text}"));
    let rows = rows(code);
    let program = Program::of_sections(
        "/bin/program",
        &[
            (".init", 0..0x1000),
            (".text", 0x1000..0x101e),
            (".fini", 0x101e..0x2000),
        ],
    );
    let mut space = Builder::new(&campaign.space, &rows, &program).build()?;
    let instructions = code.iter().map(|(_, _, executions, _)| executions).sum();
    space.spans = spans(&campaign.space, &[(0, instructions)])?;
    space.by_index = campaign.space.indices.is_some();
    Ok((campaign, space))
}

fn points(fields: &str) -> u128 {
    match space_of(fields, LOOP) {
        Ok((_, space)) => space.points().unwrap(),
        Err(error) => panic!("{fields}: {error}"),
    }
}

const ALL: u128 = 1 + 1 + 10 + 10 + 1 + 3 + 2 + 2 + 4 + 5 + 6 + 6 + 7;

#[test]
fn points_of_the_state_are_executions_times_bits() {
    assert_eq!(points("registers = [\"rax\"]"), ALL * 64);
    assert_eq!(points("registers = [\"general\"]"), ALL * 16 * 64);
    assert_eq!(points("registers = [\"flags\"]"), ALL * 7);
    assert_eq!(points("registers = [\"rflags\"]"), ALL * 8);
    // No instruction names more than an xmm register.
    assert_eq!(points("registers = [\"vector\"]"), ALL * 16 * 128);
    assert_eq!(points("registers = [\"mask\"]"), ALL * 8 * 64);
    assert_eq!(
        points("registers = [\"segment\", \"control\"]"),
        ALL * (2 * 47 + 64 + 16)
    );
    assert_eq!(
        points("registers = [\"all\"]"),
        ALL * (16 * 64 + 7 + 16 * 128 + 8 * 80 + 2 * 47 + 64 + 16)
    );
    assert_eq!(
        points("registers = [\"rax\", \"general\"]"),
        ALL * 16 * 64,
        "rax is there once"
    );
    assert_eq!(
        points("memory = [\"sp+8,bytes=4\", \"0x4000\"]"),
        ALL * 5 * 8
    );
}

#[test]
fn masks_operations_and_durations_multiply() {
    let rax = "registers = [\"rax\"]\n";
    assert_eq!(points(&format!("{rax}masks = [\"burst=4\"]")), ALL * 61);
    assert_eq!(
        points(&format!("{rax}masks = [\"bits=2\", \"byte\", \"all\"]")),
        ALL * (2016 + 8 + 1)
    );
    assert_eq!(
        points(&format!(
            "{rax}operations = [\"stuck0\", \"stuck1\"]\ndurations = [\"transient\", \"10\", \"permanent\"]"
        )),
        ALL * 64 * 6
    );
    assert_eq!(points(&format!("{rax}bits = \"8-15\"")), ALL * 8);
    assert_eq!(points(&format!("{rax}bits = 63")), ALL);
    assert_eq!(
        points(&format!(
            "{rax}operations = [\"set=0xff\"]\nmasks = [\"byte\", \"all\"]"
        )),
        ALL * 9
    );
    assert_eq!(
        points("registers = [\"rax\", \"zf\"]\nbits = \"4-5\""),
        ALL * 2,
        "zf has only bit 0"
    );
}

#[test]
fn written_registers_are_those_of_each_instruction() {
    let general = points("registers = [\"general\"]\nrestrict = \"written\"");
    // mov, push, dec, mov bl, call, add, mov, mul twice: the full register each time.
    assert_eq!(general, 64 * (1 + 1 + 10 + 1 + 2 + 4 + 6 + 7 + 7));
    let flags = points("registers = [\"flags\"]\nrestrict = \"written\"");
    assert_eq!(flags, 5 * 10 + 6 * 4 + 6 * 7);
}

#[test]
fn parts_of_instructions_are_counted_as_the_instruction_names_them() {
    assert_eq!(
        points("instruction = [\"wreg:general\"]"),
        32 + 64 + 32 * 10 + 8 + 64 * 2 + 64 * 4 + 64 * 6 + 7 * 128
    );
    assert_eq!(points("instruction = [\"wreg:vector\"]"), 3 * 128);
    assert_eq!(points("instruction = [\"rreg:vector\"]"), 3 * 256);
    assert_eq!(points("instruction = [\"rreg:flags\"]"), 10, "jne reads zf");
    assert_eq!(points("instruction = [\"rval\"]"), 6 * 64);
    assert_eq!(
        points("instruction = [\"wval\"]"),
        64 + 2 * 32 + 2 * 64,
        "push, mov, call"
    );
    assert_eq!(
        points("instruction = [\"raddr\", \"waddr\"]"),
        64 * (6 + 1 + 2 + 2)
    );
    assert_eq!(points("instruction = [\"cf\"]"), 10);
    assert_eq!(points("instruction = [\"cf:target\"]"), 64 * (10 + 2 + 6));
    assert_eq!(points("instruction = [\"skip\"]"), ALL);
    let bytes: u128 = LOOP
        .iter()
        .map(|(_, bytes, executions, _)| bytes.len() as u128 * u128::from(*executions))
        .sum();
    assert_eq!(points("instruction = [\"text\"]"), 8 * bytes);
}

#[test]
fn vzeroupper_writes_upper_halves_and_reads_nothing() {
    let code: Code<'_> = &[(0x1000, &[0xc5, 0xf8, 0x77], 3, "main")];
    let points = |fields: &str| space_of(fields, code).map(|(_, space)| space.points());
    assert_eq!(
        points("instruction = [\"wreg\"]").unwrap(),
        Some(3 * 16 * 128)
    );
    assert_eq!(
        points("population = \"refine\"").unwrap(),
        Some(3 * 16 * 128)
    );
    assert!(points("instruction = [\"rreg\"]").is_err());
}

#[test]
fn refine_is_the_text_and_what_writes_a_register() {
    let (_, space) = space_of("population = \"refine\"", LOOP).unwrap();
    let sites: Vec<u64> = space.sites.iter().map(|site| site.pc).collect();
    // Without jne, the store, nop; jmp and mul are beyond .text.
    assert_eq!(
        sites,
        [
            0x1000, 0x1005, 0x1006, 0x100a, 0x100c, 0x1012, 0x1017, 0x101b
        ]
    );
    assert_eq!(space.executions(), 1 + 1 + 10 + 1 + 3 + 2 + 4 + 6);
    assert_eq!(
        space.points(),
        Some(32 + 64 + 10 * (32 + 5) + 8 + 3 * 128 + 2 * 64 + 4 * (64 + 6) + 6 * 64)
    );
    // Every execution weighs the same, and in it every destination register.
    for site in &space.sites {
        assert_eq!(space.shape(site).weight, WHOLE, "{:#x}", site.pc);
    }
    let add = space.shape(&space.sites[6]);
    let weight = |class: &str| {
        add.choices
            .iter()
            .filter(|choice| choice.class() == class)
            .map(|choice| choice.weight)
            .sum::<u128>()
    };
    assert_eq!(weight("general"), WHOLE / 2);
    assert_eq!(weight("flags"), WHOLE / 2);
}

#[test]
fn regions_are_intersections_and_excludes_go_out() {
    let rax = "registers = [\"rax\"]\n";
    let count = |region: &str| points(&format!("{rax}{region}")) / 64;
    assert_eq!(
        count("[space.region]\nfunctions = [\"main\", \"vectors\"]"),
        23 + 7
    );
    assert_eq!(
        count("[space.region]\nfunctions = [\"main\"]\naddresses = [\"0x1006-0x1009\"]"),
        20
    );
    assert_eq!(
        count("[space.region]\nmodules = [\"program\"]\n[space.exclude]\nfunctions = [\"last\"]"),
        30
    );
    assert_eq!(count("[space.region]\nsections = [\".fini\"]"), 13);
    assert_eq!(
        count("[space.region]\nlines = [\"main.c:6-8\", \"src/last.c\"]"),
        20 + 28
    );
    assert_eq!(
        count(
            "[space.exclude]\nlines = [\"main.c\", \"vectors.c\"]\naddresses = [\"0x1020-0x1021\"]"
        ),
        21
    );
}

#[test]
fn what_is_not_there_is_said() {
    let rax = "registers = [\"rax\"]\n";
    for (fields, sentence) in [
        (
            "registers = [\"rax\"]\n[space.region]\nfunctions = [\"mian\"]",
            "[space.region] functions: no instruction of a function 'mian' was executed in the golden run; did you mean main?",
        ),
        (
            "registers = [\"rax\"]\n[space.region]\nsections = [\".txt\"]",
            "[space.region] sections: /bin/program has no section '.txt'; did you mean .text?; it has .init, .text, .fini",
        ),
        (
            "registers = [\"rax\"]\n[space.region]\nmodules = [\"libc.so.6\"]",
            "[space.region] modules: no instruction of a file 'libc.so.6' was executed in the golden run; there are those of /bin/program",
        ),
        (
            "registers = [\"rax\"]\n[space.region]\nlines = [\"main.c:200\"]",
            "[space.region] lines: no instruction of main.c:200 was executed",
        ),
        (
            "registers = [\"rax\"]\n[space.region]\naddresses = [\"0x9000-0x9001\"]",
            "[space.region] addresses: no instruction in 0x9000-0x9001",
        ),
        (
            "registers = [\"rax\"]\nthreads = [1]",
            "[space] threads: there is no thread 1: the program has 1 thread in its golden run",
        ),
        (
            "registers = [\"rax\"]\nindices = \"58-99\"",
            "[space] indices: 58-99 is beyond the end: the threads retire at most 58 instructions, 0 to 57",
        ),
        (
            "instruction = [\"cf\"]\n[space.region]\nfunctions = [\"last\"]",
            "the space has no points: no executed instruction of the region has such a location",
        ),
        (
            "registers = [\"rax\"]\n[space.region]\nfunctions = [\"main\"]\naddresses = [\"0x1017-0x1018\"]",
            "the space has no points: no executed instruction is in the region",
        ),
    ] {
        let error = space_of(fields, LOOP).map(|_| ()).unwrap_err().to_string();
        assert!(
            error.contains(sentence),
            "{fields}\n  {error}\n  lacks {sentence}"
        );
    }
    let (_, space) = space_of(
        &format!("{rax}[space.exclude]\nfunctions = [\"mian\"]"),
        LOOP,
    )
    .unwrap();
    assert!(
        space.warnings[0]
            .contains("[space.exclude] functions: no instruction of a function 'mian'"),
        "{:?}",
        space.warnings
    );
}

#[test]
fn code_that_changed_is_left_out_where_it_matters() {
    let mut code = LOOP.to_vec();
    // The same address, first as nop, then as dec eax.
    code.insert(3, (0x1006, &[0x66, 0x90], 5, "main"));
    let (_, same) = space_of("registers = [\"rax\"]", &code).unwrap();
    assert_eq!(
        same.points(),
        Some((ALL + 5) * 64),
        "a register is there whatever the instruction"
    );
    let (_, space) = space_of("instruction = [\"wreg\"]", &code).unwrap();
    assert!(space.sites.iter().all(|site| site.pc != 0x1006));
    assert!(
        space.warnings[0].contains("15 executions at 1 addresses"),
        "{:?}",
        space.warnings
    );
}

/// Every point of a space is a fault of its own, and can be read.
#[test]
fn every_point_is_a_fault() {
    for fields in [
        "population = \"refine\"",
        "registers = [\"rflags\", \"eax\", \"mxcsr\"]\nmasks = [\"bit\", \"burst=3\", \"bits=2\", \"byte\", \"all\"]\noperations = [\"flip\", \"random\", \"stuck0\", \"set=1\"]\ndurations = [\"transient\", \"10of100\"]",
        "memory = [\"sp+8,bytes=3\", \"0x4000\", \"table-8,bytes=2\"]\nmasks = [\"bit\", \"all\"]",
        "instruction = [\"rreg\", \"wreg\", \"rval\", \"wval\", \"raddr\", \"waddr\", \"text\", \"cf\", \"cf:target\", \"skip\"]",
    ] {
        let (_, space) = space_of(fields, LOOP).unwrap();
        let mut all = std::collections::HashSet::new();
        let mut counted = 0;
        for site in &space.sites {
            for choice in &space.shape(site).choices {
                for number in 0..choice.points {
                    let occasion = Occasion {
                        thread: 0,
                        pc: site.pc,
                        occurrence: 1,
                    };
                    let text = space.fault(choice, number, &occasion, 7).to_string();
                    let read = text.parse::<Fault>().map(|fault| fault.to_string());
                    assert_eq!(read.as_deref(), Ok(text.as_str()), "{fields}");
                    counted += 1;
                    all.insert(text);
                }
            }
        }
        assert_eq!(all.len(), counted, "{fields}");
    }
}
