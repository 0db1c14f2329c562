//! What can be done to a machine from outside: machine checks, watched memory, stuck cells, breakpoints, registers, TLB entries. Each by a small
//! kernel that shows the effect, and that shows none without it.

mod kernel;

use dynasmrt::{DynasmApi, DynasmLabelApi, dynasm};
use fits_sysemu::cpu::mca::{MachineCheck, Outcome};
use fits_sysemu::cpu::state::{RIP, RSP};
use fits_sysemu::cpu::{Kinds, Register, Stop};
use kernel::{CODE, End, HANDLERS, Kernel, PAGE, PRESENT, STACK, USER, WRITABLE};

const SRAO: u64 = 0xbd00_0000_0000_00c0;
const SRAR: u64 = 0xbd80_0000_0000_0134;
const CORRECTED: u64 = 0x8c00_0000_0000_009f;
const MCE: u64 = 1 << 6;
const MACHINE_CHECK: u64 = HANDLERS + 16 * 18;

/// A kernel whose page is mapped and which has switched on all banks, unless it is told not to.
fn ready() -> Kernel {
    let mut kernel = Kernel::new();
    kernel.map(PAGE | PRESENT | WRITABLE | USER);
    let cpu = &mut kernel.processor.cpu;
    cpu.cr4 |= MCE;
    cpu.msr.mcg[1] = u64::MAX;
    cpu.msr
        .mc_banks
        .iter_mut()
        .for_each(|bank| bank[0] = u64::MAX);
    kernel
}

fn error(status: u64) -> MachineCheck {
    MachineCheck {
        bank: 9,
        status,
        mcg_status: 5,
        address: 0x5000,
        misc: 0x8c,
        broadcast: false,
    }
}

/// Loads code that reads [`PAGE`] into rax and halts.
fn load_reader(kernel: &mut Kernel) {
    // mov rax, [PAGE]; mov rbx, 7; hlt
    let code = [
        0x48, 0x8b, 0x04, 0x25, 0, 0, 2, 0, 0x48, 0xc7, 0xc3, 7, 0, 0, 0, 0xf4,
    ];
    load(kernel, &code);
}

/// Loads code that writes rax to [`PAGE`] and halts.
fn load_writer(kernel: &mut Kernel) {
    // mov [PAGE], rax; hlt
    load(kernel, &[0x48, 0x89, 0x04, 0x25, 0, 0, 2, 0, 0xf4]);
}

fn load(kernel: &mut Kernel, code: &[u8]) {
    kernel.processor.write_physical(CODE, code).expect("RAM");
    kernel.processor.cpu.ctx.regs[RIP] = CODE;
    kernel.processor.cpu.ctx.regs[RSP] = STACK - 256;
}

#[test]
fn an_uncorrected_error_fills_its_bank_and_raises_the_exception() {
    let mut kernel = ready();
    load_reader(&mut kernel);
    let outcome = kernel.processor.cpu.inject_machine_check(&error(SRAO));
    assert_eq!(outcome, Ok(Outcome::Raised));
    assert_eq!(kernel.processor.run(1000), Stop::Halted);
    let cpu = &kernel.processor.cpu;
    assert_eq!(cpu.ctx.regs[RIP], MACHINE_CHECK + 1);
    assert_eq!(cpu.msr.mc_banks[9], [u64::MAX, SRAO, 0x5000, 0x8c]);
    assert_eq!(cpu.msr.mcg[0], 5);
    // The frame's return address is the instruction that has not begun.
    assert_eq!(cpu.ram.read::<u64>(cpu.ctx.regs[RSP]), CODE);
}

#[test]
fn without_an_error_there_is_no_exception() {
    let mut kernel = ready();
    load_reader(&mut kernel);
    assert_eq!(kernel.processor.run(1000), Stop::Halted);
    assert_eq!(kernel.processor.cpu.ctx.regs[RIP], CODE + 16);
    assert_eq!(kernel.processor.cpu.ctx.regs[3], 7);
}

#[test]
fn a_machine_check_ends_a_halt_with_interrupts_on_or_off() {
    for interrupts in [0, 1 << 9] {
        let mut kernel = ready();
        load(&mut kernel, &[0xf4]);
        kernel.processor.cpu.rflags |= interrupts;
        assert_eq!(kernel.processor.run(1000), Stop::Halted);
        let outcome = kernel.processor.cpu.inject_machine_check(&error(SRAO));
        assert_eq!(outcome, Ok(Outcome::Raised));
        assert_eq!(kernel.processor.run(1000), Stop::Halted);
        assert_eq!(kernel.processor.cpu.ctx.regs[RIP], MACHINE_CHECK + 1);
    }
}

/// What is changed beforehand, the status, what becomes of it, what the bank's status is afterwards.
type Rule = (&'static str, fn(&mut Kernel), u64, Outcome, u64);

const OVERFLOW: u64 = 1 << 62;

#[test]
fn delivery_follows_the_rules_of_the_architecture() {
    let nothing = |_: &mut Kernel| {};
    let rules: [Rule; 10] = [
        ("uncorrected", nothing, SRAO, Outcome::Raised, SRAO),
        (
            "the bank is disabled",
            |k| k.processor.cpu.msr.mc_banks[9][0] = 1,
            SRAO,
            Outcome::Disabled,
            0,
        ),
        (
            "everything is disabled",
            |k| k.processor.cpu.msr.mcg[1] = 0,
            SRAO,
            Outcome::Disabled,
            0,
        ),
        (
            "CR4.MCE is clear",
            |k| k.processor.cpu.cr4 &= !MCE,
            SRAO,
            Outcome::Shutdown,
            0,
        ),
        (
            "required action while one is in progress",
            |k| k.processor.cpu.msr.mcg[0] = 4,
            SRAR,
            Outcome::Shutdown,
            0,
        ),
        (
            "optional action while one is in progress",
            |k| k.processor.cpu.msr.mcg[0] = 4,
            SRAO,
            Outcome::Lost,
            0,
        ),
        (
            "the bank is full",
            |k| k.processor.cpu.msr.mc_banks[9][1] = CORRECTED,
            SRAO,
            Outcome::Raised,
            SRAO | OVERFLOW,
        ),
        (
            "corrected",
            nothing,
            CORRECTED,
            Outcome::Recorded,
            CORRECTED,
        ),
        (
            "corrected, with reporting of uncorrected ones disabled",
            |k| k.processor.cpu.msr.mcg[1] = 0,
            CORRECTED,
            Outcome::Recorded,
            CORRECTED,
        ),
        (
            "corrected over uncorrected",
            |k| k.processor.cpu.msr.mc_banks[9][1] = SRAO,
            CORRECTED,
            Outcome::Overflowed,
            SRAO | OVERFLOW,
        ),
    ];
    for (name, prepare, status, expected, bank) in rules {
        let mut kernel = ready();
        load_reader(&mut kernel);
        prepare(&mut kernel);
        let outcome = kernel.processor.cpu.inject_machine_check(&error(status));
        assert_eq!(outcome, Ok(expected), "{name}");
        assert_eq!(kernel.processor.cpu.msr.mc_banks[9][1], bank, "{name}");
        let stop = kernel.processor.run(1000);
        let rip = kernel.processor.cpu.ctx.regs[RIP];
        match expected {
            Outcome::Shutdown => assert_eq!(stop, Stop::TripleFault { rip: CODE }, "{name}"),
            Outcome::Raised => assert_eq!(rip, MACHINE_CHECK + 1, "{name}"),
            _ => assert_eq!(rip, CODE + 16, "{name}"),
        }
    }
}

#[test]
fn what_is_no_machine_check_is_refused() {
    let mut kernel = ready();
    let cpu = &mut kernel.processor.cpu;
    let wrong_bank = MachineCheck {
        bank: 10,
        ..error(SRAO)
    };
    let refused = cpu.inject_machine_check(&wrong_bank).expect_err("10 banks");
    assert!(refused.contains("bank 10 does not exist"), "{refused}");
    let refused = cpu.inject_machine_check(&error(0xc0)).expect_err("invalid");
    assert!(refused.contains("bit 63 must be set"), "{refused}");
}

#[test]
fn a_watched_read_stops_before_the_instruction_and_goes_on_after_it() {
    let mut kernel = ready();
    kernel.write(PAGE, 0x1234);
    load_reader(&mut kernel);
    let reads = Kinds {
        reads: true,
        writes: false,
    };
    kernel.processor.cpu.watch_memory(5, PAGE + 4, 1, reads);
    let stop = kernel.processor.run(1000);
    let expected = Stop::Watched {
        number: 5,
        physical: PAGE,
        length: 8,
        write: false,
    };
    assert_eq!(stop, expected);
    let cpu = &kernel.processor.cpu;
    assert_eq!((cpu.ctx.regs[RIP], cpu.retired), (CODE, 0));
    assert_eq!(kernel.processor.run(1000), Stop::Halted);
    assert_eq!(kernel.processor.cpu.ctx.regs[0], 0x1234);
}

#[test]
fn a_machine_check_at_a_watched_read_is_precise() {
    let mut kernel = ready();
    load_reader(&mut kernel);
    let reads = Kinds {
        reads: true,
        writes: false,
    };
    kernel.processor.cpu.ctx.regs[0] = 99;
    kernel.processor.cpu.watch_memory(1, PAGE, 8, reads);
    assert!(matches!(kernel.processor.run(1000), Stop::Watched { .. }));
    let srar = MachineCheck {
        bank: 1,
        mcg_status: 7,
        ..error(SRAR)
    };
    let outcome = kernel.processor.cpu.inject_machine_check(&srar);
    assert_eq!(outcome, Ok(Outcome::Raised));
    assert_eq!(kernel.processor.run(1000), Stop::Halted);
    let cpu = &kernel.processor.cpu;
    assert_eq!(cpu.ctx.regs[RIP], MACHINE_CHECK + 1);
    assert_eq!(cpu.ram.read::<u64>(cpu.ctx.regs[RSP]), CODE);
    assert_eq!(cpu.ctx.regs[0], 99, "the read has not happened");
}

#[test]
fn accesses_beside_what_is_watched_and_of_the_other_kind_go_on() {
    for (offset, reads, writes) in [(8, true, true), (0, false, true)] {
        let mut kernel = ready();
        kernel.write(PAGE, 3);
        load_reader(&mut kernel);
        let kinds = Kinds { reads, writes };
        kernel
            .processor
            .cpu
            .watch_memory(1, PAGE + offset, 8, kinds);
        assert_eq!(kernel.processor.run(1000), Stop::Halted);
        assert_eq!(kernel.processor.cpu.ctx.regs[0], 3);
    }
}

#[test]
fn every_write_to_a_watched_address_is_seen_until_the_watch_ends() {
    let mut kernel = ready();
    let writes = Kinds {
        reads: false,
        writes: true,
    };
    kernel.processor.cpu.watch_memory(1, PAGE, 8, writes);
    // again: mov [PAGE], rcx; loop again; hlt
    load(
        &mut kernel,
        &[0x48, 0x89, 0x0c, 0x25, 0, 0, 2, 0, 0xe2, 0xf6, 0xf4],
    );
    kernel.processor.cpu.ctx.regs[1] = 10;
    let mut hits = 0;
    while kernel.processor.run(1000) != Stop::Halted {
        hits += 1;
        if hits == 6 {
            kernel.processor.cpu.unwatch(1);
        }
    }
    assert_eq!(hits, 6);
    assert_eq!(kernel.processor.cpu.ram.read::<u64>(PAGE), 1);
}

#[test]
fn every_instruction_that_reads_what_it_writes_back_is_a_read() {
    let mut kernel = ready();
    let reads = Kinds {
        reads: true,
        writes: false,
    };
    kernel.processor.cpu.watch_memory(1, PAGE, 8, reads);
    // again: add [PAGE], rcx; loop again; hlt
    load(
        &mut kernel,
        &[0x48, 0x01, 0x0c, 0x25, 0, 0, 2, 0, 0xe2, 0xf6, 0xf4],
    );
    kernel.processor.cpu.ctx.regs[1] = 10;
    let mut hits = 0;
    while kernel.processor.run(1000) != Stop::Halted {
        hits += 1;
    }
    assert_eq!(hits, 10);
    assert_eq!(kernel.processor.cpu.ram.read::<u64>(PAGE), 55);
}

#[test]
fn a_repeated_instruction_is_one_access_of_a_watch() {
    let mut kernel = ready();
    let writes = Kinds {
        reads: false,
        writes: true,
    };
    kernel.processor.cpu.watch_memory(1, PAGE, 64, writes);
    // mov edi, PAGE; mov ecx, 8; rep stosq; hlt
    load(
        &mut kernel,
        &[0xbf, 0, 0, 2, 0, 0xb9, 8, 0, 0, 0, 0xf3, 0x48, 0xab, 0xf4],
    );
    kernel.processor.cpu.ctx.regs[0] = 0x55;
    assert!(matches!(kernel.processor.run(1000), Stop::Watched { .. }));
    assert_eq!(kernel.processor.run(1000), Stop::Halted);
    assert_eq!(kernel.processor.cpu.ram.read::<u64>(PAGE + 56), 0x55);
}

/// Each way to read one byte of a page that the TLB already knows, and where it begins: it is seen where any of its bytes is watched, also at the other end
/// of the next line.
#[test]
fn every_access_that_reaches_a_watched_byte_is_seen_and_none_that_does_not() {
    type Body = fn(&mut kernel::Assembler, i32);
    let ways: [(u64, Body); 5] = [
        (1, |ops, at| dynasm!(ops; .arch x64; mov al, [at])),
        (8, |ops, at| dynasm!(ops; .arch x64; mov rax, [at])),
        // It reads what it writes back.
        (4, |ops, at| dynasm!(ops; .arch x64; add DWORD [at], 1)),
        (32, |ops, at| dynasm!(ops; .arch x64; vmovdqu ymm0, [at])),
        (
            16,
            |ops, at| dynasm!(ops; .arch x64; lea rsi, [at]; lea rdi, [PAGE as i32 + 0x800]; mov ecx, 16; rep movsb),
        ),
    ];
    for (length, way) in ways {
        for start in [0, 30, 48, 57, 63, 64, 65, 96, 127, 128] {
            for watched in [63, 64, 95, 127] {
                let mut kernel = ready();
                let cpu = &mut kernel.processor.cpu;
                cpu.cr4 |= 0x4_0000;
                cpu.xcr0 = 7;
                kernel.processor.refresh();
                let mut ops = kernel::Assembler::new(CODE as usize);
                // Both tables know the page.
                dynasm!(ops; .arch x64; mov rax, [PAGE as i32 + 0x700]; mov [PAGE as i32 + 0x700], rax);
                way(&mut ops, (PAGE + start) as i32);
                dynasm!(ops; .arch x64; hlt);
                load(&mut kernel, &ops.finalize().expect("it assembles"));
                let reads = Kinds {
                    reads: true,
                    writes: false,
                };
                assert_eq!(kernel.processor.run(2), Stop::Limit);
                kernel
                    .processor
                    .cpu
                    .watch_memory(1, PAGE + watched, 1, reads);
                let stop = kernel.processor.run(100);
                let reaches = start <= watched && watched < start + length;
                let seen = matches!(
                    stop,
                    Stop::Watched {
                        number: 1,
                        write: false,
                        ..
                    }
                );
                assert_eq!(
                    seen, reaches,
                    "{length} bytes from {start}, byte {watched}: {stop:?}"
                );
                if seen {
                    assert_eq!(kernel.processor.run(100), Stop::Halted);
                }
            }
        }
    }
}

#[test]
fn a_stuck_cell_keeps_its_bits_whatever_is_written() {
    for (mask, value, expected) in [
        (0x0f, 0x05, 0xf5),
        (0x80, 0x00, 0x7f),
        (0xff, 0x00, 0x00),
        (0, 0, 0xff),
    ] {
        let mut kernel = ready();
        kernel.processor.cpu.stick(PAGE + 2, mask, value);
        load_writer(&mut kernel);
        kernel.processor.cpu.ctx.regs[0] = u64::MAX;
        assert_eq!(kernel.processor.run(1000), Stop::Halted);
        let ram = &kernel.processor.cpu.ram;
        assert_eq!(ram.read::<u8>(PAGE + 2), expected);
        assert_eq!(ram.read::<u8>(PAGE + 1), 0xff);
        assert_eq!(ram.read::<u8>(PAGE + 3), 0xff);
    }
}

#[test]
fn a_stuck_cell_is_wrong_at_once_and_for_writes_from_outside() {
    let mut kernel = ready();
    kernel.processor.cpu.stick(PAGE, 1, 1);
    assert_eq!(kernel.processor.cpu.ram.read::<u8>(PAGE), 1);
    kernel.write(PAGE, 0);
    assert_eq!(kernel.processor.cpu.ram.read::<u8>(PAGE), 1);
    kernel.processor.cpu.stick(PAGE, 0, 0);
    kernel.write(PAGE, 0);
    assert_eq!(kernel.processor.cpu.ram.read::<u8>(PAGE), 0);
}

#[test]
fn a_breakpoint_stops_before_its_instruction_also_in_the_middle_of_a_known_block() {
    let mut kernel = ready();
    load_reader(&mut kernel);
    assert_eq!(kernel.processor.run(1000), Stop::Halted);
    load_reader(&mut kernel);
    kernel.processor.cpu.halted = false;
    let before = kernel.processor.cpu.retired;
    kernel.processor.set_breakpoints(&[CODE + 8]);
    let stop = kernel.processor.run(1000);
    assert_eq!(stop, Stop::Breakpoint { address: CODE + 8 });
    assert_eq!(kernel.processor.cpu.retired, before + 1);
    assert_eq!(kernel.processor.run(1000), Stop::Halted);
    assert_eq!(kernel.processor.cpu.ctx.regs[3], 7);
    // None at that offset of another page, and none any more once they are taken away.
    for others in [&[PAGE + 8][..], &[]] {
        load_reader(&mut kernel);
        kernel.processor.cpu.halted = false;
        kernel.processor.set_breakpoints(others);
        assert_eq!(kernel.processor.run(1000), Stop::Halted);
    }
}

#[test]
fn an_alarm_stops_at_its_virtual_time() {
    let mut kernel = ready();
    // again: jmp again
    load(&mut kernel, &[0xeb, 0xfe]);
    kernel.processor.set_alarm(1234);
    assert_eq!(kernel.processor.run(5000), Stop::Alarm);
    assert_eq!(kernel.processor.cpu.now(), 1234);
    assert_eq!(kernel.processor.run(5000), Stop::Limit);
}

#[test]
fn loads_of_cr3_stop_where_asked() {
    for (asked, expected) in [(true, Stop::AddressSpace), (false, Stop::Halted)] {
        let mut kernel = ready();
        kernel.processor.stop_at(false, asked);
        let mut code = Vec::new();
        // mov rax, cr3; mov cr3, rax; hlt
        code.extend([0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8, 0xf4]);
        load(&mut kernel, &code);
        assert_eq!(kernel.processor.run(1000), expected);
    }
}

#[test]
fn every_register_keeps_what_it_is_given() {
    let mut registers: Vec<Register> = (0..16).map(Register::General).collect();
    registers.extend((0..16).map(Register::Vector));
    registers.extend((0..6).map(Register::SegmentBase));
    registers.extend([2, 3].map(Register::Control));
    registers.extend([
        Register::InstructionPointer,
        Register::GdtBase,
        Register::IdtBase,
        Register::TaskBase,
        Register::Model(0xc000_0082),
        Register::Model(0x401),
    ]);
    for register in registers {
        let mut kernel = Kernel::new();
        let cpu = &mut kernel.processor.cpu;
        let mut value = cpu.register(register).expect("there is one");
        value[0] ^= 0x10;
        cpu.set_register(register, &value).expect("it can be set");
        assert_eq!(cpu.register(register), Some(value), "{register:?}");
    }
    let mut kernel = Kernel::new();
    let cpu = &mut kernel.processor.cpu;
    assert_eq!(cpu.register(Register::General(16)), None);
    assert!(cpu.set_register(Register::Model(0x9999), &[0; 32]).is_err());
}

#[test]
fn a_changed_register_is_what_the_next_instruction_uses() {
    for flip in [0, 1_u64 << 4] {
        let mut kernel = ready();
        let end = kernel.run(|ops| dynasm!(ops; .arch x64; mov rax, 5; add rax, rax));
        assert_eq!(end, End::Done);
        kernel.processor.cpu.halted = false;
        kernel.processor.cpu.ctx.regs[RIP] = CODE;
        let retired = kernel.processor.cpu.retired;
        assert_eq!(kernel.processor.run(retired + 1), Stop::Limit);
        let cpu = &mut kernel.processor.cpu;
        let mut value = cpu.register(Register::General(0)).expect("rax");
        value[0] ^= flip as u8;
        cpu.set_register(Register::General(0), &value).expect("rax");
        assert_eq!(kernel.processor.run(retired + 100), Stop::Halted);
        assert_eq!(kernel.processor.cpu.ctx.regs[0], 2 * (5 ^ flip));
    }
}

#[test]
fn a_wrong_tlb_entry_reads_another_page_until_it_is_flushed() {
    for wrong in [false, true] {
        let mut kernel = ready();
        kernel.write(PAGE, 1);
        kernel.write(PAGE + 0x4000, 2);
        load_reader(&mut kernel);
        if wrong {
            let (page, changed) = kernel
                .processor
                .cpu
                .redirect_tlb(PAGE, 0x4000)
                .expect("both are RAM");
            assert_eq!(page, PAGE);
            assert!(changed >= 2, "{changed}");
        }
        assert_eq!(kernel.processor.run(1000), Stop::Halted);
        assert_eq!(kernel.processor.cpu.ctx.regs[0], if wrong { 2 } else { 1 });
        kernel.processor.refresh();
        kernel.processor.cpu.halted = false;
        load_reader(&mut kernel);
        assert_eq!(kernel.processor.run(1000), Stop::Halted);
        assert_eq!(kernel.processor.cpu.ctx.regs[0], 1);
    }
    let refused = ready().processor.cpu.redirect_tlb(PAGE, 1 << 39);
    assert!(refused.expect_err("no RAM").contains("is not RAM"));
}

#[test]
fn a_walk_names_every_entry_and_leaves_no_trace() {
    let mut kernel = ready();
    let before = kernel.processor.cpu.ram.slice(0, 1 << 20).to_vec();
    let cpu = &kernel.processor.cpu;
    let (entries, physical) = cpu.walk(cpu.cr3, PAGE + 0x123);
    let levels: Vec<u8> = entries.iter().map(|entry| entry.level).collect();
    assert_eq!(levels, [4, 3, 2, 1]);
    assert_eq!(physical, Some(PAGE + 0x123));
    assert_eq!(entries[3].value & !0xfff, PAGE);
    assert_eq!(cpu.ram.slice(0, 1 << 20), before);
    kernel.map(0);
    let cpu = &kernel.processor.cpu;
    assert_eq!(cpu.walk(cpu.cr3, PAGE).1, None);
}

/// Whatever system register is wrong in whatever bit, the machine ends in one of its own ways.
#[test]
fn no_flip_of_a_system_register_breaks_the_machine_itself() {
    let mut registers: Vec<Register> = [0, 2, 3, 4, 8].map(Register::Control).to_vec();
    registers.extend((0..6).flat_map(|n| [Register::SegmentBase(n), Register::Selector(n)]));
    registers.extend([0, 1, 2, 3, 6, 7].map(Register::Debug));
    registers.extend([0xc000_0080, 0xc000_0081, 0xc000_0101, 0x1b, 0x277].map(Register::Model));
    registers.extend([
        Register::Flags,
        Register::InstructionPointer,
        Register::GdtBase,
        Register::IdtBase,
        Register::TaskBase,
        Register::Xcr0,
        Register::Mxcsr,
    ]);
    for register in registers {
        for bit in 0..64 {
            let mut kernel = ready();
            let done = kernel.run(|ops| {
                dynasm!(ops
                    ; .arch x64
                    ; mov ecx, 40
                    ;again:
                    ; push rcx
                    ; mov [PAGE as i32], rcx
                    ; pop rax
                    ; addsd xmm0, [PAGE as i32]
                    ; str ax
                    ; mov ds, ax
                    ; loop <again
                );
            });
            assert!(matches!(done, End::Done | End::Exception(..)));
            kernel.processor.cpu.halted = false;
            kernel.processor.cpu.ctx.regs[RIP] = CODE;
            let retired = kernel.processor.cpu.retired;
            kernel.processor.run(retired + 3);
            let cpu = &mut kernel.processor.cpu;
            let mut value = cpu.register(register).expect("there is one");
            value[bit / 8] ^= 1 << (bit % 8);
            cpu.set_register(register, &value).expect("it can be set");
            kernel.processor.run(retired + 2000);
        }
    }
}

#[test]
fn a_guest_that_only_raises_exceptions_is_stopped_by_their_number() {
    // The handler of the invalid opcode begins with one.
    let mut kernel = ready();
    kernel.write(HANDLERS + 16 * 6, 0x0b0f);
    load(&mut kernel, &[0x0f, 0x0b]);
    kernel.processor.limit_deliveries(100);
    assert_eq!(kernel.processor.run(100), Stop::Deliveries);
    assert_eq!(kernel.processor.cpu.retired, 0);
    assert_eq!(kernel.processor.deliveries_left(), 0);
    // One that goes on is not stopped.
    let mut kernel = ready();
    kernel.processor.limit_deliveries(2);
    assert_eq!(kernel.run_bytes(&[0x0f, 0x0b]), End::Exception(6, CODE));
    assert_eq!(kernel.processor.deliveries_left(), 1);
}
