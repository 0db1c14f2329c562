//! System instructions and paging by small kernels.

mod kernel;

use dynasmrt::{DynasmApi, DynasmLabelApi, dynasm};
use fits_sysemu::bus::EmptyBus;
use fits_sysemu::cpu::state::{CS, RIP};
use fits_sysemu::cpu::{Processor, Stop};
use fits_sysemu::memory::Ram;
use kernel::{CODE, End, GDT, Kernel, NX, PAGE, PRESENT, SMAP, SMEP, TABLES, USER, WP, WRITABLE};

/// Entry, privilege, bits of CR0 and CR4, write, execute; and the error code, none where the access succeeds.
type Fault = (u64, u8, u64, u64, bool, bool, Option<u64>);

#[test]
fn page_faults_have_the_error_codes_of_the_architecture() {
    let all = PRESENT | WRITABLE | USER;
    let rows: &[Fault] = &[
        (PRESENT, 0, 0, 0, false, false, None),
        (0, 0, 0, 0, false, false, Some(0)),
        (0, 0, 0, 0, true, false, Some(2)),
        (PRESENT, 0, 0, 0, true, false, None),
        (PRESENT, 0, WP, 0, true, false, Some(3)),
        (all, 3, 0, 0, true, false, None),
        (PRESENT | WRITABLE, 3, 0, 0, false, false, Some(5)),
        (PRESENT | USER, 3, 0, 0, true, false, Some(7)),
        (0, 3, 0, 0, false, false, Some(4)),
        (all | NX, 3, 0, 0, false, true, Some(0x15)),
        (PRESENT | NX, 0, 0, 0, false, true, Some(0x11)),
        (all, 0, 0, SMEP, false, true, Some(0x11)),
        (all, 0, 0, SMAP, false, false, Some(1)),
        (all, 0, 0, SMAP, true, false, Some(3)),
        (all | 1 << 45, 0, 0, 0, false, false, Some(9)),
    ];
    for row in rows {
        let &(entry, cpl, cr0, cr4, write, execute, expected) = row;
        let mut kernel = Kernel::new();
        // The upper levels allow everything.
        kernel.map(if entry == 0 { 0 } else { entry | PAGE });
        kernel.processor.cpu.cr0 |= cr0;
        kernel.processor.cpu.cr4 |= cr4;
        kernel.privilege(cpl);
        let end = kernel.run(|ops| {
            dynasm!(ops; .arch x64; mov rax, PAGE as i32);
            if execute {
                dynasm!(ops; .arch x64; jmp rax);
            } else if write {
                dynasm!(ops; .arch x64; mov [rax + 8], rbx);
            } else {
                dynasm!(ops; .arch x64; mov rbx, [rax + 8]);
            }
        });
        let done = if cpl == 0 {
            End::Done
        } else {
            End::Exception(13, 0)
        };
        match expected {
            Some(code) => {
                assert_eq!(end, End::Exception(14, code), "{row:?}");
                let offset = if execute { 0 } else { 8 };
                assert_eq!(kernel.processor.cpu.cr2, PAGE + offset, "{row:?}");
            }
            // A user program's `hlt` faults.
            None => assert_eq!(end, done, "{row:?}"),
        }
    }
}

#[test]
fn accessed_and_dirty_bits_are_set_when_and_only_when() {
    for (write, bits) in [(false, 0x20), (true, 0x60)] {
        let mut kernel = Kernel::new();
        kernel.map(PAGE | 3);
        let end = kernel.run(|ops| {
            dynasm!(ops; .arch x64; mov rax, PAGE as i32; mov rbx, [rax]);
            if write {
                dynasm!(ops; .arch x64; mov [rax], rbx);
            }
        });
        assert_eq!(end, End::Done);
        let entry = kernel
            .processor
            .cpu
            .ram
            .read::<u64>(TABLES + 3 * 4096 + 8 * (PAGE >> 12));
        assert_eq!(entry, PAGE | 3 | bits);
    }
}

#[test]
fn invlpg_makes_a_changed_entry_count() {
    let mut kernel = Kernel::new();
    kernel.write(PAGE, 1);
    kernel.write(0x3_0000, 2);
    let entry = (TABLES + 3 * 4096 + 8 * (PAGE >> 12)) as i32;
    let end = kernel.run(|ops| {
        dynasm!(ops; .arch x64
            ; mov rax, PAGE as i32
            ; mov rbx, [rax]
            ; mov rcx, entry
            ; mov QWORD [rcx], 0x3_0003
            ; invlpg [rax]
            ; mov rdx, [rax]);
    });
    assert_eq!(end, End::Done);
    assert_eq!(kernel.processor.cpu.ctx.regs[3], 1);
    assert_eq!(kernel.processor.cpu.ctx.regs[2], 2);
}

#[test]
fn invlpg_of_any_part_of_a_large_page_drops_all_of_it() {
    let mut kernel = Kernel::new();
    // 2 MiB from 2 MiB on, at physical address 0.
    let entry = TABLES + 2 * 4096 + 8;
    kernel.write(entry, 0x83);
    let end = kernel.run(|ops| {
        dynasm!(ops; .arch x64
            ; mov rax, 0x22_0000
            ; mov rsi, 0x23_0000
            ; mov rbx, [rax]
            ; mov rbx, [rsi]
            ; mov rcx, entry as i32
            ; mov QWORD [rcx], 0
            ; invlpg [rax]
            ; mov rbx, [rsi + 8]);
    });
    assert_eq!(end, End::Exception(14, 0));
    assert_eq!(kernel.processor.cpu.cr2, 0x23_0008);
}

#[test]
fn code_that_was_written_is_executed_as_written() {
    let mut kernel = Kernel::new();
    // The loop changes the immediate of its own next instruction, in the same block.
    let end = kernel.run(|ops| {
        dynasm!(ops; .arch x64
            ; xor ebx, ebx
            ; mov ecx, 5
            ; lea rsi, [>changed]
            ; again:
            ; mov [rsi + 2], cl
            ; changed:
            ; add ebx, BYTE 100
            ; dec ecx
            ; jnz <again);
    });
    assert_eq!(end, End::Done);
    assert_eq!(kernel.processor.cpu.ctx.regs[3], 5 + 4 + 3 + 2 + 1);
}

#[test]
fn unknown_registers_and_instructions_fault() {
    let mut kernel = Kernel::new();
    let end = kernel.run(|ops| dynasm!(ops; .arch x64; mov ecx, 0x1234; rdmsr));
    assert_eq!(end, End::Exception(13, 0));
    assert_eq!(
        Kernel::new().run_bytes(&[0x0f, 0x0b]),
        End::Exception(6, CODE)
    );
    // EVEX: not announced.
    let evex = [0x62, 0xf1, 0x7c, 0x48, 0x58, 0xc1];
    assert_eq!(Kernel::new().run_bytes(&evex), End::Exception(6, CODE));
    // 16 bytes.
    let mut long = [0x66; 16];
    long[15] = 0x90;
    assert_eq!(Kernel::new().run_bytes(&long), End::Exception(13, 0));
}

#[test]
fn a_fault_without_a_handler_ends_the_machine() {
    let mut kernel = Kernel::new();
    kernel.processor.cpu.idtr.limit = 0;
    kernel
        .processor
        .write_physical(CODE, &[0x0f, 0x0b])
        .expect("RAM");
    kernel.processor.cpu.ctx.regs[RIP] = CODE;
    assert_eq!(kernel.processor.run(10), Stop::TripleFault { rip: CODE });
}

#[test]
fn a_task_gate_is_named_not_guessed() {
    let mut kernel = Kernel::new();
    // `callf` through a task segment: the descriptor of the task-state segment.
    kernel.write(GDT + 16, 0x0000_8900_0000_0067);
    let end = {
        kernel
            .processor
            .write_physical(CODE, &[0xff, 0x2c, 0x25, 0, 0, 2, 0])
            .expect("RAM");
        kernel.write(PAGE, 0x10_0000_0000);
        kernel.processor.cpu.ctx.regs[RIP] = CODE;
        kernel.processor.run(10)
    };
    let Stop::Unimplemented { rip, bytes, what } = end else {
        panic!("{end:?}");
    };
    assert_eq!((rip, bytes[0]), (CODE, 0xff));
    assert!(what.contains("gate or task"), "{what}");
}

#[test]
fn real_mode_reaches_protected_mode() {
    let ram = Ram::new(1 << 20).expect("memory");
    let mut processor = Processor::new(ram, Box::new(EmptyBus)).expect("a host with AVX2");
    // lgdt [0x7d00]; mov eax, cr0; or al, 1; mov cr0, eax; jmp 8:0x7c20
    let real = [
        0x0f, 0x01, 0x16, 0x00, 0x7d, 0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0, 0x66, 0xea,
        0x20, 0x7c, 0, 0, 8, 0,
    ];
    // mov ax, 16; mov ds, ax; mov dword [0x500], 0x12345678; hlt
    let protected = [
        0x66, 0xb8, 16, 0, 0x8e, 0xd8, 0xc7, 0x05, 0, 5, 0, 0, 0x78, 0x56, 0x34, 0x12, 0xf4,
    ];
    let mut write = |address, bytes: &[u8]| processor.write_physical(address, bytes).expect("RAM");
    write(0x7c00, &real);
    write(0x7c20, &protected);
    write(0x7d00, &[23, 0, 0, 0x7e, 0, 0]);
    write(0x7e08, &0x00cf_9b00_0000_ffff_u64.to_le_bytes());
    write(0x7e10, &0x00cf_9300_0000_ffff_u64.to_le_bytes());
    let cpu = &mut processor.cpu;
    cpu.seg[CS].selector = 0;
    cpu.seg[CS].base = 0;
    cpu.ctx.regs[RIP] = 0x7c00;
    processor.refresh();
    assert_eq!(processor.run(100), Stop::Halted);
    assert_eq!(processor.cpu.ram.read::<u32>(0x500), 0x1234_5678);
}
