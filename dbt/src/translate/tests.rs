//! What the translator emits, as text.

use super::*;
use crate::unit::ExitKind;
use fits_stats::template::UnitTemplate;
use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};

struct Code {
    pc: u64,
    bytes: Vec<u8>,
}

impl GuestCode for Code {
    fn read(&self, pc: u64, buffer: &mut [u8]) -> usize {
        let from = pc.wrapping_sub(self.pc) as usize;
        let rest = self.bytes.get(from..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        length
    }
}

const PC: u64 = 0x5555_5555_5000;

pub(super) fn translate(bytes: &[u8], mode: Mode) -> Unit {
    let code = Code {
        pc: PC,
        bytes: bytes.to_vec(),
    };
    let host = 0x5555_0000_0000;
    let request = Request {
        id: 7,
        pc: PC,
        prefix: None,
        host,
        mode,
        virtual_tsc: true,
    };
    unit(&code, &request).expect("the unit translates")
}

pub(super) fn text(unit: &Unit) -> Vec<String> {
    let mut decoder = Decoder::with_ip(64, &unit.code, 0x5555_0000_0000, DecoderOptions::NONE);
    let mut formatter = IntelFormatter::new();
    let end = unit
        .exits
        .iter()
        .map(|exit| exit.trap)
        .min()
        .unwrap_or(u32::MAX);
    let mut lines = Vec::new();
    while decoder.can_decode() && (decoder.position() as u32) < end {
        let mut line = String::new();
        formatter.format(&decoder.decode(), &mut line);
        lines.push(line);
    }
    lines
}

fn kinds(unit: &Unit) -> Vec<ExitKind> {
    unit.exits.iter().map(|exit| exit.kind).collect()
}

#[test]
fn a_compare_hides_the_counter() {
    // mov eax,[rdi]; cmp eax,ebx; jne +2
    let unit = translate(&[0x8b, 0x07, 0x39, 0xd8, 0x75, 0x02], Mode::Counts);
    let text = text(&unit);
    assert_eq!(text[0], "mov eax,[rdi]");
    assert_eq!(text[1], "inc qword ptr gs:[200038h]");
    assert_eq!(text[2], "cmp eax,ebx");
    assert!(text[3].starts_with("jne"), "{text:?}");
    assert_eq!(
        kinds(&unit),
        [ExitKind::Direct(PC + 8), ExitKind::Direct(PC + 6)]
    );
}

#[test]
fn a_call_pushes_the_guests_return_address() {
    let unit = translate(&[0xe8, 0x10, 0, 0, 0], Mode::Counts);
    assert!(
        text(&unit)
            .iter()
            .any(|line| line.starts_with("push qword ptr ["))
    );
    assert!(
        unit.code
            .windows(8)
            .any(|bytes| bytes == (PC + 5).to_le_bytes())
    );
    assert_eq!(kinds(&unit), [ExitKind::Direct(PC + 0x15)]);
}

#[test]
fn a_syscall_ends_the_unit_before_it() {
    let unit = translate(&[0xb8, 1, 0, 0, 0, 0x0f, 0x05], Mode::Counts);
    assert_eq!(kinds(&unit), [ExitKind::Syscall(PC + 5)]);
    let UnitTemplate {
        ends_block,
        instructions,
        ..
    } = unit.template;
    assert!(!ends_block);
    assert_eq!(instructions.len(), 1);
}

#[test]
fn unreadable_code_is_left_to_the_slow_path() {
    let unit = translate(&[], Mode::Counts);
    assert_eq!(kinds(&unit), [ExitKind::Slow(PC)]);
    assert!(unit.template.instructions.is_empty());
}

#[test]
fn full_captures_what_cannot_be_derived() {
    // mov eax,[rdi]; add eax,ebx; shl eax,3; mov [rsi],eax; ret
    let bytes = [0x8b, 0x07, 0x01, 0xd8, 0xc1, 0xe0, 0x03, 0x89, 0x06, 0xc3];
    let unit = translate(&bytes, Mode::Full);
    let text = text(&unit);
    // The shifted value needs no store of its own.
    let stores = text
        .iter()
        .filter(|line| line.starts_with("mov [r15"))
        .count();
    assert_eq!(stores, 6, "{text:#?}"); // eax loaded, ebx, rdi, rsi, the sum, rsp
    assert_eq!(unit.template.memory.len(), 3);
    let shl = &unit.template.instructions[2];
    assert_eq!(shl.values.len(), 2);
    assert_eq!(
        shl.values[1].len(),
        2,
        "zeros, then bits of the sum: {:?}",
        shl.values[1]
    );
}

#[test]
fn a_unit_that_uses_r15_moves_the_cursor() {
    // add r15,[rdi]; jmp r15
    let unit = translate(&[0x4c, 0x03, 0x3f, 0x41, 0xff, 0xe7], Mode::Full);
    let text = text(&unit);
    assert!(
        text.iter().any(|line| line == "mov r15,gs:[78h]"),
        "{text:#?}"
    );
    assert!(
        text.iter().any(|line| line == "mov gs:[78h],r15"),
        "{text:#?}"
    );
    assert!(unit.points.iter().any(|point| point.cursor != 15));
}

#[test]
fn the_row_header_names_unit_and_length() {
    let unit = translate(&[0x01, 0xd8, 0xc3], Mode::Full);
    let header = fits_stats::template::row_header(7, unit.template.row_bytes as usize);
    let text = text(&unit);
    let store = format!("mov dword ptr [r15],{header:X}h");
    assert!(text.contains(&store), "{text:#?}");
}

#[test]
fn a_trace_leaves_by_its_side_with_a_template_of_its_own() {
    // add eax,ebx; jne +2; add eax,ecx; ret
    let bytes = [0x01, 0xd8, 0x75, 0x02, 0x01, 0xc8, 0xc3];
    let code = Code {
        pc: PC,
        bytes: bytes.to_vec(),
    };
    let host = 0x5555_0000_0000;
    for mode in [Mode::Counts, Mode::Full] {
        let request = Request {
            id: 7,
            pc: PC,
            prefix: None,
            host,
            mode,
            virtual_tsc: true,
        };
        let unit = trace(&code, &request, &[PC + 4]).expect("the trace translates");
        assert_eq!(unit.template.starts, [2]);
        assert_eq!(
            unit.template.blocks(4).collect::<Vec<_>>(),
            [(PC, 2), (PC + 4, 2)]
        );
        assert_eq!(unit.template.blocks(1).collect::<Vec<_>>(), [(PC, 1)]);
        assert_eq!(unit.sides.len(), 1);
        assert_eq!(unit.sides[0].id, 8);
        assert_eq!(unit.sides[0].instructions.len(), 2);
        assert!(unit.sides[0].ends_block);
        assert_eq!(kinds(&unit), [ExitKind::Direct(PC + 6)]);
    }
}

#[test]
fn a_return_pops_the_guests_address_and_looks_it_up() {
    for mode in [Mode::Counts, Mode::Full] {
        let text = text(&translate(&[0xc3], mode));
        let find = |start: &str| text.iter().position(|line| line.starts_with(start));
        let (pop, jump) = (find("pop rcx"), find("jmp qword ptr gs:[rcx*8+180000h]"));
        assert!(pop.is_some() && pop < jump, "{text:#?}");
    }
}

#[test]
fn a_budget_is_checked_before_and_taken_after() {
    // add eax,ebx; mov ecx,[rdi]; jne +2
    let bytes = [0x01, 0xd8, 0x8b, 0x0f, 0x75, 0x02];
    let text = text(&translate(&bytes, Mode::Budget));
    assert_eq!(text[0], "mov [r15-3],r15b");
    let lea = text.iter().position(|line| line == "lea r15,[r15-3]");
    let jump = text.iter().position(|line| line.starts_with("jne"));
    assert!(lea.is_some() && lea < jump, "{text:#?}");
}

#[test]
fn a_side_takes_what_was_executed() {
    // add eax,ebx; jne +2; add eax,ecx; ret
    let code = Code {
        pc: PC,
        bytes: vec![0x01, 0xd8, 0x75, 0x02, 0x01, 0xc8, 0xc3],
    };
    let request = request(Mode::Budget);
    let text = text(&trace(&code, &request, &[PC + 4]).expect("the trace translates"));
    assert_eq!(text[0], "mov [r15-4],r15b");
    assert!(
        text.iter().any(|line| line == "lea r15,[r15-2]"),
        "{text:#?}"
    );
    assert!(
        text.iter().any(|line| line == "lea r15,[r15-4]"),
        "{text:#?}"
    );
    assert!(
        !text.iter().any(|line| line.starts_with("inc")),
        "{text:#?}"
    );
}

/// For what stands at [`PC`].
fn request(mode: Mode) -> Request {
    Request {
        id: 7,
        pc: PC,
        prefix: None,
        host: 0x5555_0000_0000,
        mode,
        virtual_tsc: true,
    }
}

/// The unit that begins at [`PC`] and goes on along a path.
fn along(bytes: &[u8], mode: Mode, path: &[u64]) -> Unit {
    let code = Code {
        pc: PC,
        bytes: bytes.to_vec(),
    };
    let request = request(mode);
    trace(&code, &request, path).expect("the trace translates")
}

/// `call` to behind a `ret`, where these instructions stand with a `ret` behind them.
fn calling(called: &[u8]) -> Vec<u8> {
    let call_and_return = [0xe8, 0x01, 0x00, 0x00, 0x00, 0xc3];
    [&call_and_return, called, &[0xc3]].concat()
}

#[test]
fn a_unit_goes_on_behind_a_return_whose_address_it_has_pushed() {
    // Nothing; mov eax,[rdi]; push rbx, pop rbx; sub rsp,8, mov [rsp],eax, add rsp,8; lea rsp,[rsp-16], lea rsp,[rsp+16]
    let safe: [&[u8]; 5] = [
        &[],
        &[0x8b, 0x07],
        &[0x53, 0x5b],
        &[
            0x48, 0x83, 0xec, 0x08, 0x89, 0x04, 0x24, 0x48, 0x83, 0xc4, 0x08,
        ],
        &[0x48, 0x8d, 0x64, 0x24, 0xf0, 0x48, 0x8d, 0x64, 0x24, 0x10],
    ];
    for mode in [Mode::Counts, Mode::Budget, Mode::Full] {
        for called in safe {
            let unit = along(&calling(called), mode, &[PC + 6, PC + 5]);
            assert_eq!(unit.template.starts.len(), 2, "{mode:?} {called:x?}");
            let text = text(&unit);
            assert!(
                text.iter().any(|line| line == "lea rsp,[rsp+8]"),
                "{text:#?}"
            );
            let lookups = text.iter().filter(|line| line.contains("180000h"));
            assert_eq!(lookups.count(), 1, "{text:#?}");
        }
    }
}

#[test]
fn a_unit_ends_at_a_return_whose_address_may_be_another_one() {
    // mov [rdi],eax; mov [rsp+4],eax; add rsp,8; push rax; mov rsp,rax; rep stosb; scatter
    let unsafe_: [&[u8]; 7] = [
        &[0x89, 0x07],
        &[0x89, 0x44, 0x24, 0x04],
        &[0x48, 0x83, 0xc4, 0x08],
        &[0x50],
        &[0x48, 0x89, 0xc4],
        &[0xf3, 0xaa],
        &[0x62, 0xf2, 0x7d, 0x49, 0xa0, 0x04, 0x0f],
    ];
    for called in unsafe_ {
        let unit = along(&calling(called), Mode::Counts, &[PC + 6, PC + 5]);
        assert_eq!(unit.template.starts.len(), 1, "{called:x?}");
    }
    // It returns elsewhere than the path says.
    let unit = along(&calling(&[]), Mode::Counts, &[PC + 6, PC + 6]);
    assert_eq!(unit.template.starts.len(), 1);
}

#[test]
fn a_unit_that_uses_r15_has_an_entry_and_exits_that_leave_the_budget_elsewhere() {
    // add r15,rbx; jne +2
    let unit = translate(&[0x49, 0x01, 0xdf, 0x75, 0x02], Mode::Budget);
    let entry = unit.warm_entry.expect("an entry");
    assert_eq!(entry.cursor, 11);
    let text = text(&unit);
    assert!(text.contains(&"mov [r11-2],r11b".to_owned()), "{text:#?}");
    assert!(text.contains(&"lea r11,[r11-2]".to_owned()), "{text:#?}");
    assert_eq!(unit.exits.len(), 2);
    for exit in &unit.exits {
        let warm = exit.warm.expect("two jumps");
        assert!(warm.at < warm.otherwise && exit.link.is_some_and(|link| warm.otherwise < link));
    }
    let point = unit
        .points
        .iter()
        .rfind(|point| point.offset <= entry.offset);
    let point = point.expect("a state");
    assert_eq!((point.instruction, point.cursor), (0, 11));
    let moved: Vec<u8> = point.moved.iter().map(|moved| moved.register).collect();
    assert_eq!(moved, [11]);
    let plain = translate(&[0x48, 0x01, 0xd8, 0x75, 0x02], Mode::Budget);
    assert!(plain.warm_entry.is_none() && plain.exits.iter().all(|exit| exit.warm.is_none()));
}

#[test]
fn a_region_goes_from_block_to_block_and_returns_to_where_it_has_called() {
    // call +4; dec ecx; jne -9; ret | inc r15; ret
    let bytes = [
        0xe8, 0x05, 0x00, 0x00, 0x00, 0xff, 0xc9, 0x75, 0xf7, 0xc3, 0x49, 0xff, 0xc7, 0xc3,
    ];
    let code = Code {
        pc: PC,
        bytes: bytes.to_vec(),
    };
    let request = request(Mode::Budget);
    let blocks = [0, 10, 5, 9].map(|offset| HotBlock {
        pc: PC + offset,
        executions: 10,
    });
    let unit = region(&code, &request, &blocks).expect("the region translates");
    let text = text(&unit);
    let heads: Vec<u64> = unit.heads.iter().map(|head| head.pc - PC).collect();
    assert_eq!(heads, [0, 10, 5, 9]);
    // No block has the budget in r15, since one of them needs that.
    assert!(unit.heads.iter().all(|head| head.cursor == 11));
    // Only the block that is gone back to tests, for all that can be executed before it is gone back to.
    let tests: Vec<_> = text.iter().filter(|line| line.ends_with(",r11b")).collect();
    assert_eq!(tests, ["mov [r11-6],r11b"], "{text:#?}");
    // What the call, the function, and what it returns to execute is taken off together.
    let owed: Vec<u16> = unit.heads.iter().map(|head| head.owed).collect();
    assert_eq!(owed, [0, 1, 3, 0]);
    for taken in ["lea r11,[r11-5]", "lea r11,[r11-3]", "lea r11,[r11-1]"] {
        assert!(text.contains(&taken.to_owned()), "{taken}: {text:#?}");
    }
    // The return compares with the one place that it can return to; the table is for others.
    assert!(text.iter().any(|line| line.starts_with("jrcxz")));
    assert_eq!(unit.sides.len(), 2);
    let lengths: Vec<usize> = unit
        .sides
        .iter()
        .map(|side| side.instructions.len())
        .collect();
    assert_eq!(lengths, [3, 6]);
}

#[test]
fn a_block_that_no_region_can_have_begins_none() {
    // jrcxz +2; inc eax; ret
    let code = Code {
        pc: PC,
        bytes: vec![0xe3, 0x02, 0xff, 0xc0, 0xc3],
    };
    let request = request(Mode::Budget);
    let blocks = [0, 2, 4].map(|offset| HotBlock {
        pc: PC + offset,
        executions: 10,
    });
    let unit = region(&code, &request, &blocks).expect("the region translates");
    assert!(unit.template.instructions.is_empty() && unit.heads.is_empty());
}
