//! Both stages of the software processor against each other: programs that stress what only the second stage does, stopped at odd moments,
//! after each of which all state must be the same.

use dynasmrt::x64::X64Relocation;
use dynasmrt::{DynasmApi, DynasmLabelApi, VecAssembler, dynasm};
use fits_sysemu::bus::EmptyBus;
use fits_sysemu::cpu::state::{CS, RIP, RSP, SS, Segment};
use fits_sysemu::cpu::{Kinds, Processor, Stage, Stop};
use fits_sysemu::memory::Ram;

const CODE: u64 = 0x9000;
const STACK: u64 = 0x8000;
const TABLES: u64 = 0x1_0000;
/// The entries of the pages from 0 on.
const ENTRIES: u64 = TABLES + 3 * 4096;
const MEMORY: u64 = 2 << 20;

type Assembler = VecAssembler<X64Relocation>;

/// 64-bit mode, the first 2 MiB mapped to themselves.
fn processor(stage: Stage, code: &[(u64, Vec<u8>)]) -> Processor {
    let ram = Ram::new(MEMORY).expect("memory");
    let mut processor = Processor::new(ram, Box::new(EmptyBus)).expect("a host with AVX2");
    processor.set_stage(stage);
    processor.set_translation_threshold(1);
    let mut write = |address, bytes: &[u8]| processor.write_physical(address, bytes).expect("RAM");
    for (table, next) in [(0, 1), (1, 2), (2, 3)] {
        let entry: u64 = (TABLES + 4096 * next) | 7;
        write(TABLES + 4096 * table, &entry.to_le_bytes());
    }
    for page in 0..512_u64 {
        write(ENTRIES + 8 * page, &(page << 12 | 3).to_le_bytes());
    }
    for (address, bytes) in code {
        write(*address, bytes);
    }
    let cpu = &mut processor.cpu;
    let segment = |selector, attributes| Segment {
        selector,
        base: 0,
        limit: u32::MAX,
        attributes,
    };
    cpu.seg[CS] = segment(8, 0xa09b);
    cpu.seg[SS] = segment(16, 0xc093);
    cpu.cr0 = 0x8000_0031;
    cpu.cr3 = TABLES;
    cpu.cr4 = 0x4_0620;
    cpu.efer = 0xd01;
    cpu.xcr0 = 7;
    cpu.ctx.regs[RIP] = CODE;
    cpu.ctx.regs[RSP] = STACK;
    processor.refresh();
    processor
}

fn assembled(at: u64, body: impl FnOnce(&mut Assembler)) -> (u64, Vec<u8>) {
    let mut ops = Assembler::new(at as usize);
    body(&mut ops);
    (at, ops.finalize().expect("it assembles"))
}

/// Runs the code in both stages to its `hlt`, in pieces of changing length, and compares all state after each piece.
fn compare(code: &[(u64, Vec<u8>)]) -> Processor {
    let mut one = processor(Stage::Interpreter, code);
    let mut two = processor(Stage::Translated, code);
    for piece in 0.. {
        let limit = one.cpu.retired + 1 + piece * 37 % 101;
        let (first, second) = (one.run(limit), two.run(limit));
        assert_eq!(first, second);
        assert_eq!(one.cpu.state(), two.cpu.state());
        let all = MEMORY as usize;
        assert!(one.cpu.ram.slice(0, all) == two.cpu.ram.slice(0, all));
        if first == Stop::Halted {
            break;
        }
        assert_eq!(first, Stop::Limit);
        assert!(one.cpu.retired < 1_000_000, "it does not end");
    }
    assert!(two.translations() > 0);
    two
}

#[test]
fn loops_calls_and_indirect_jumps() {
    let end = compare(&[assembled(CODE, |ops| {
        dynasm!(ops; .arch x64
            ; mov ecx, 300
            ; xor r8d, r8d
            ; lea r10, [>double]
            ; lea r11, [>odd]
            ; again:
            ; mov edi, ecx
            ; test cl, 1
            ; je >even
            ; call r11
            ; jmp >next
            ; even:
            ; call >halve
            ; next:
            ; push r8
            ; push rcx
            ; call r10
            ; pop rcx
            ; pop r9
            ; add r8, rdi
            ; dec ecx
            ; jne <again
            ; mov [0x5000], r8
            ; hlt
            ; odd:
            ; imul rdi, rdi, 3
            ; ret
            ; halve:
            ; shr edi, 1
            ; adc r8, 0
            ; ret
            ; double:
            ; add edi, edi
            ; sbb r9d, r9d
            ; ret);
    })]);
    assert_ne!(end.cpu.ram.read::<u64>(0x5000), 0);
}

#[test]
fn flags_live_across_memory_accesses_and_blocks() {
    compare(&[assembled(CODE, |ops| {
        dynasm!(ops; .arch x64
            ; mov ecx, 200
            ; xor ebx, ebx
            ; again:
            ; add bl, 0x71
            ; mov rax, [0x5000 + rcx * 8]
            ; adc [0x6000 + rcx * 8], rbx
            ; inc DWORD [0x5000]
            ; setc [0x5100]
            ; cmovo rdx, [0x5000]
            ; rcl rbx, 3
            ; pushfq
            ; pop r15
            ; xor [0x5200], r15
            ; cmp BYTE [0x5000 + rcx], 3
            ; jp >parity
            ; xadd [0x5300], rbx
            ; parity:
            ; lock cmpxchg [0x5308], rcx
            ; dec ecx
            ; jns <again
            ; hlt);
    })]);
}

#[test]
fn flags_as_a_whole() {
    compare(&[assembled(CODE, |ops| {
        dynasm!(ops; .arch x64
            ; mov ecx, 300
            ; again:
            ; imul eax, ecx, 0x12345677
            ; add eax, ecx
            ; pushfq
            ; cli
            ; std
            ; sti
            ; nop
            ; pushfq
            ; pop rbx
            ; xor [0x5000], rbx
            ; and eax, 0xcd5
            ; or eax, 0x202
            ; push rax
            ; popfq
            ; setnp dl
            ; rcl rdx, 2
            ; popfq
            ; sbb [0x5008], rdx
            ; stac
            ; mov rsi, [0x5008]
            ; clac
            ; lea r9, [rsi + rcx * 2 + 5]
            ; xor r9d, esi
            ; dec ecx
            ; jne <again
            ; hlt);
    })]);
}

#[test]
fn divisions_and_their_faults() {
    // Vector 0 goes to a handler that leaves the loop.
    let mut code = vec![
        assembled(CODE, |ops| {
            dynasm!(ops; .arch x64
                ; mov ecx, 100
                ; again:
                ; mov eax, 0x1234567
                ; cdq
                ; idiv ecx
                ; mov r15, rax
                ; mov rax, -5
                ; cqo
                ; idiv rcx
                ; mov edx, 5
                ; mov [0x5000], rcx
                ; div QWORD [0x5000]
                ; mul r15
                ; dec ecx
                ; jmp <again);
        }),
        assembled(0xa000, |ops| dynasm!(ops; .arch x64; hlt)),
    ];
    let gate: u64 = 0xa000 | 8 << 16 | 0x8e00 << 32;
    code.push((0, gate.to_le_bytes().to_vec()));
    code.push((0x2008, 0x00af_9b00_0000_ffff_u64.to_le_bytes().to_vec()));
    let mut one = processor(Stage::Interpreter, &code);
    let mut two = processor(Stage::Translated, &code);
    for processor in [&mut one, &mut two] {
        processor.cpu.idtr.limit = 0xfff;
        processor.cpu.gdtr.base = 0x2000;
        processor.cpu.gdtr.limit = 23;
        assert_eq!(processor.run(100_000), Stop::Halted);
    }
    assert_eq!(one.cpu.state(), two.cpu.state());
    assert_eq!(one.cpu.ctx.regs[1], 5, "5 * 2^64 / 5 does not fit");
}

/// A page with code is mapped elsewhere, and what was translated for its old place must not be reached by jumps from another page.
#[test]
fn jumps_to_a_page_that_is_mapped_elsewhere() {
    let target =
        |value: i32| move |ops: &mut Assembler| dynasm!(ops; .arch x64; add rbx, value; ret);
    let end = compare(&[
        assembled(CODE, |ops| {
            dynasm!(ops; .arch x64
                ; xor ebx, ebx
                ; mov r14d, 4
                ; lea rsi, [0xc000]
                ; again:
                ; mov ecx, 10
                ; inner:
                ; call extern 0xc000
                ; call rsi
                ; dec ecx
                ; jne <inner
                // The page's entry: between 0xc000 and 0xd000.
                ; xor DWORD [(ENTRIES + 8 * 0xc) as i32], 0x1000
                ; invlpg [rsi]
                ; dec r14d
                ; jne <again
                ; hlt);
        }),
        assembled(0xc000, target(1)),
        assembled(0xd000, target(100)),
    ]);
    assert_eq!(end.cpu.ctx.regs[3], 2 * 20 + 2 * 2000);
}

#[test]
fn code_that_changes_itself_while_it_is_linked() {
    let end = compare(&[assembled(CODE, |ops| {
        dynasm!(ops; .arch x64
            ; xor ebx, ebx
            ; mov ecx, 100
            ; lea rsi, [>changed]
            ; again:
            ; call >changed
            ; test cl, 7
            ; jne >same
            ; add BYTE [rsi + 2], 1
            ; same:
            ; dec ecx
            ; jne <again
            ; hlt
            ; changed:
            ; add ebx, BYTE 1
            ; ret);
    })]);
    let expected: u64 = (1..=100_u64)
        .map(|n| 1 + (n..=100).filter(|m| *m > n && m % 8 == 0).count() as u64)
        .sum();
    assert_eq!(end.cpu.ctx.regs[3], expected);
}

#[test]
fn vectors_and_floats() {
    compare(&[assembled(CODE, |ops| {
        dynasm!(ops; .arch x64
            ; mov ecx, 60
            ; mov eax, 3
            ; cvtsi2sd xmm1, eax
            ; again:
            ; cvtsi2sd xmm0, ecx
            ; divsd xmm0, xmm1
            ; addsd xmm2, xmm0
            ; movupd [0x5000 + rcx * 8], xmm2
            ; vpaddd ymm3, ymm3, [0x5000]
            ; vmovdqu [0x5ff0], ymm3
            ; pxor xmm4, xmm3
            ; movd r9d, xmm4
            ; movaps [0x6000], xmm4
            ; vpshufd xmm3, xmm4, 0x1b
            ; ucomisd xmm2, xmm1
            ; jp >next
            ; sqrtsd xmm2, xmm2
            ; next:
            ; stmxcsr [0x6100]
            ; dec ecx
            ; jne <again
            ; hlt);
    })]);
}

#[test]
fn floats_with_an_exception_unmasked() {
    compare(&[assembled(CODE, |ops| {
        dynasm!(ops; .arch x64
            // Division by zero, which does not happen, is unmasked in every other round.
            ; mov DWORD [0x6200], 0x1d80
            ; mov ecx, 90
            ; again:
            ; xor DWORD [0x6200], 0x200
            ; ldmxcsr [0x6200]
            ; mov ebx, 7
            ; cvtsi2sd xmm0, ecx
            ; mulsd xmm1, xmm0
            ; inc ebx
            ; addsd xmm1, xmm0
            ; movsd [0x5000 + rcx * 8], xmm1
            ; add r12, rbx
            ; dec ecx
            ; jne <again
            ; hlt);
    })]);
}

/// Accesses of all kinds to pages of which other bytes are watched: nothing is stopped at, and everything is as without the watches, also which
/// accessed bits are set when the kernel clears them without a flush.
#[test]
fn pages_of_which_other_bytes_are_watched() {
    let code = [assembled(CODE, |ops| {
        dynasm!(ops; .arch x64
            ; mov r14d, 40
            ; again:
            ; mov rax, [0x5000]
            ; add [0x5008], rax
            ; inc BYTE [0x503f]
            ; push rax
            ; pop rbx
            ; vmovdqu ymm1, [0x5020]
            ; vpaddd ymm1, ymm1, ymm2
            ; vmovdqu [0x5010], ymm1
            ; movaps xmm2, [0x5020]
            ; cmpxchg [0x5018], rcx
            // The block ends where look-ups are in another table than here, which does not know that the page can be written.
            ; mov [0x5048], rsi
            ; stac
            ; add [0x6050], rsi
            ; jmp >on
            ; on:
            ; clac
            // Across the end of the page.
            ; mov [0x5ffc], r14
            ; mov rdx, [0x5ffd]
            // Up to a watched line, over it by bytes, and from behind it.
            ; lea rdi, [0x5400]
            ; mov ecx, 0x20
            ; rep stosq
            ; lea rsi, [0x5400]
            ; lea rdi, [0x6100]
            ; mov ecx, 0x100
            ; rep movsb
            ; lea rsi, [0x5000]
            ; lea rdi, [0x6400]
            ; mov ecx, 0x20
            ; rep movsq
            // The accessed and dirty bits of the two pages, which the TLB still holds.
            ; and QWORD [(ENTRIES + 8 * 5) as i32], BYTE !0x60
            ; and QWORD [(ENTRIES + 8 * 6) as i32], BYTE !0x60
            ; mov r9, [0x5000]
            ; mov [0x5100], r9
            ; mov r10, [0x6400]
            ; mov r8, [(ENTRIES + 8 * 5) as i32]
            ; add r15, r8
            ; xor r15, [(ENTRIES + 8 * 6) as i32]
            ; rol r15, 5
            ; test r14d, 3
            ; jne >next
            ; invlpg [0x5000]
            ; next:
            ; dec r14d
            ; jne <again
            ; hlt);
    })];
    let both = Kinds {
        reads: true,
        writes: true,
    };
    let end = |stage, watched: bool| {
        let mut processor = processor(stage, &code);
        assert_eq!(processor.run(20), Stop::Limit);
        if watched {
            // Behind what is stored there, and beside what is copied.
            for (number, at) in [0x5300, 0x53ff, 0x5500, 0x5ff7, 0x60ff, 0x6200]
                .into_iter()
                .enumerate()
            {
                processor.cpu.watch_memory(number as u32, at, 1, both);
            }
            processor.cpu.stick(0x6900, 0xff, 0);
        }
        assert_eq!(processor.run(600), Stop::Limit);
        if watched {
            for number in 0..3 {
                processor.cpu.unwatch(number);
            }
        }
        assert_eq!(processor.run(100_000), Stop::Halted);
        processor
    };
    let plain = end(Stage::Interpreter, false);
    assert_ne!(plain.cpu.ctx.regs[15], 0);
    for (stage, watched) in [
        (Stage::Interpreter, true),
        (Stage::Translated, false),
        (Stage::Translated, true),
    ] {
        let other = end(stage, watched);
        assert_eq!(plain.cpu.state(), other.cpu.state(), "{stage:?} {watched}");
        let all = MEMORY as usize;
        assert!(
            plain.cpu.ram.slice(0, all) == other.cpu.ram.slice(0, all),
            "{stage:?} {watched}"
        );
    }
}

/// A guest that runs astray executes all of its memory once: what is decoded of it stays within a bound, and nothing else changes.
#[test]
fn code_that_is_executed_once_does_not_stay_for_ever() {
    // Zeros are `add [rax], al`, and in the last page the loop ends.
    let code = [
        assembled(CODE, |ops| {
            dynasm!(ops; .arch x64
                ; mov eax, 0x5000
                ; mov ecx, 3
                ; again:
                ; mov edx, 0x2_0000
                ; jmp rdx);
        }),
        assembled(0x3_f000, |ops| {
            dynasm!(ops; .arch x64
                ; dec ecx
                ; je >done
                ; mov edx, CODE as i32 + 10
                ; jmp rdx
                ; done:
                ; hlt);
        }),
    ];
    let mut ends = Vec::new();
    for stage in [Stage::Interpreter, Stage::Translated] {
        for most in [usize::MAX, 1000] {
            let mut processor = processor(stage, &code);
            processor.set_most_decoded(most);
            let mut seen = 0;
            loop {
                let stop = processor.run(processor.cpu.retired + 500);
                seen = seen.max(processor.decoded());
                if stop == Stop::Halted {
                    break;
                }
                assert_eq!(stop, Stop::Limit);
            }
            let bound = if most == usize::MAX {
                usize::MAX
            } else {
                most + 64
            };
            assert!(seen <= bound, "{seen} decoded instructions");
            assert!(most != usize::MAX || seen > 60_000, "{seen}");
            ends.push(processor.cpu.state());
        }
    }
    assert!(ends.iter().all(|end| *end == ends[0]));
}
