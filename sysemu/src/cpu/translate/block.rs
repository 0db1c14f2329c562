//! One block on its way to native code: what all kinds of instructions share, memory access above all.

use super::assembler::{Assembler, encode};
use super::enter::Site;
use super::gates::Gates;
use super::layout;
use super::mode::Mode;
use super::registers::{CONTEXT, FIRST, Home, SECOND, home};
use super::vector::Cached;
use crate::cpu::op::Op;
use crate::cpu::state::FS;
use crate::cpu::tlb;
use dynasmrt::{DynamicLabel, DynasmApi, DynasmLabelApi, dynasm};
use iced_x86::{Code, Instruction, MemoryOperand, OpKind, Register};

/// A way out of the block that can be joined directly to other code.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exit {
    /// Where execution goes on, and in which mode.
    pub(super) target: u64,
    pub(super) mode: Mode,
    /// Where the distance of the jump is.
    pub(super) patch: u32,
    /// Where it goes while it is not joined.
    pub(super) stub: u32,
    /// For another page: code that looks whether it is still there.
    pub(super) check: Option<Check>,
}

/// Code in front of another page's code.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check {
    pub(super) start: u32,
    /// Where the page's place in the host is.
    pub(super) page: u32,
    /// Where the distance of its jump is.
    pub(super) patch: u32,
}

/// What an instruction's memory access does where the translation cache is of no help.
#[derive(Debug)]
struct Slow {
    label: DynamicLabel,
    missed: Option<Missed>,
    /// Where the block goes on; none where it is left.
    resume: Option<DynamicLabel>,
    site: usize,
    own_flags: bool,
    /// What is in the host's vector registers before, and must be after the interpreter has executed it.
    before: Cached,
    after: Cached,
}

/// A look-up that missed: the page may be one of which other bytes are watched.
#[derive(Clone, Copy, Debug)]
struct Missed {
    label: DynamicLabel,
    /// Where the block goes on after a hit.
    found: DynamicLabel,
    bytes: usize,
    write: bool,
    /// Of the look-up: the block may go on in another one.
    class: usize,
}

/// A jump to be given a stub.
#[derive(Debug)]
struct Leaving {
    label_patch: u32,
    target: u64,
    mode: Mode,
}

/// A block being translated.
#[derive(Debug)]
pub(super) struct Builder<'a> {
    pub(super) code: Assembler,
    pub(super) gates: Gates,
    pub(super) mode: Mode,
    pub(super) vectors: Cached,
    sites: &'a [Site],
    slow: Vec<Slow>,
    leaving: Vec<Leaving>,
    page: u64,
    /// Where the head goes if the budget is too small.
    short: DynamicLabel,
}

impl<'a> Builder<'a> {
    pub(super) fn new(
        start: u32,
        linear: u64,
        gates: Gates,
        mode: Mode,
        sites: &'a [Site],
    ) -> Self {
        let mut code = Assembler::new(start);
        let mut builder = Builder {
            short: code.label(),
            code,
            gates,
            mode,
            vectors: Cached::default(),
            sites,
            slow: Vec::new(),
            leaving: Vec::new(),
            page: linear >> 12,
        };
        builder.head();
        builder
    }

    /// The head: where the budget does not reach to the end of the block, it is left.
    fn head(&mut self) {
        let (short, count) = (self.short, self.sites.len() as i32);
        dynasm!(self.code.ops; .arch x64
            ; sub QWORD [rbp + layout::BUDGET], count
            ; js =>short);
    }

    /// Leaves the instruction to the interpreter.
    pub(super) fn interpret(&mut self, site: usize) {
        self.code.pack_flags();
        self.flush_vectors();
        self.code.constant(FIRST, self.site(site));
        self.code.call_gate(self.gates.interpret);
        self.code.flags_are_packed();
    }

    fn site(&self, index: usize) -> u64 {
        std::ptr::from_ref(&self.sites[index]) as u64
    }

    /// Emits `lea` of the instruction's memory operand to a host register, without the segment's base.
    pub(super) fn offset(&mut self, to: u8, i: &Instruction) {
        let base = i.memory_base();
        if matches!(base, Register::RIP | Register::EIP) {
            let mask = if base == Register::EIP {
                0xffff_ffff
            } else {
                u64::MAX
            };
            self.code.constant(to, i.memory_displacement64() & mask);
            return;
        }
        let short = base.size() == 4 || i.memory_index().size() == 4;
        if base == Register::None && i.memory_index() == Register::None {
            self.code.constant(to, i.memory_displacement64());
            return;
        }
        let plain = i.memory_index() == Register::None && i.memory_displacement64() == 0 && !short;
        let from = self.part(base, FIRST);
        if plain {
            self.code.copy(to, from.map_or(FIRST, register_number));
            return;
        }
        let index = self.part(i.memory_index(), SECOND);
        let full = |register: Option<Register>| register.unwrap_or(Register::None);
        let displacement = i.memory_displacement64();
        let operand = MemoryOperand::new(
            full(from),
            full(index),
            i.memory_index_scale(),
            displacement as i32 as i64,
            match (from, displacement) {
                (None, _) => 8,
                (_, 0) => 0,
                _ => 1,
            },
            false,
            Register::None,
        );
        let (code, register) = if short {
            (Code::Lea_r32_m, Register::EAX)
        } else {
            (Code::Lea_r64_m, Register::RAX)
        };
        let lea = Instruction::with2(code, register + u32::from(to), operand);
        let bytes = lea.ok().and_then(|lea| encode(&lea));
        self.code
            .bytes(&bytes.expect("every such address has an encoding"));
    }

    /// The host register that holds a part of an address, which is loaded to `scratch` where it is in memory.
    fn part(&mut self, guest: Register, scratch: u8) -> Option<Register> {
        if guest == Register::None {
            return None;
        }
        let number = guest.number() as u8;
        let host = match home(number) {
            Home::Host(host) => host,
            Home::Memory => {
                self.code.load_guest(scratch, number);
                scratch
            }
        };
        Some(Register::RAX + u32::from(host))
    }

    /// The linear address of the instruction's memory operand, to the first scratch register. The flags must be packed.
    fn linear(&mut self, i: &Instruction) {
        self.offset(FIRST, i);
        let segment = i.memory_segment().number();
        if segment >= FS {
            dynasm!(self.code.ops; .arch x64; add r11, [rbp + layout::segment_base(segment)]);
        }
    }

    /// Looks the instruction's memory operand up: afterwards the host's address is the sum of both scratch registers. The host's flags are
    /// lost. To be ended by [`Builder::accessed`].
    pub(super) fn access(&mut self, i: &Instruction, bytes: usize, write: bool) -> Access {
        self.aligned_access(i, bytes, write, false)
    }

    /// The same where an address that is no multiple of `bytes` is an error, if `aligned`.
    pub(super) fn aligned_access(
        &mut self,
        i: &Instruction,
        bytes: usize,
        write: bool,
        aligned: bool,
    ) -> Access {
        self.code.lose_flags();
        self.linear(i);
        let mut access = self.detour();
        if aligned {
            let (bits, slow) = ((bytes - 1) as i8, access.label);
            dynasm!(self.code.ops; .arch x64; test r11b, bits; jne =>slow);
        }
        self.look(bytes, write, &mut access);
        access
    }

    /// The same for the address in the first scratch register; the flags must be packed.
    pub(super) fn look_up(&mut self, bytes: usize, write: bool) -> Access {
        let mut access = self.detour();
        self.look(bytes, write, &mut access);
        access
    }

    fn look(&mut self, bytes: usize, write: bool, access: &mut Access) {
        let class = self.mode.class();
        let table = layout::data_table(class, write);
        let (label, found) = (self.code.label(), self.code.label());
        access.missed = Some(Missed {
            label,
            found,
            bytes,
            write,
            class,
        });
        const INDEX: i32 = ((tlb::ENTRIES - 1) << 4) as i32;
        dynasm!(self.code.ops; .arch x64
            ; rorx r15, r11, 8
            ; and r15d, INDEX
            ; xor r11, [rbp + r15 + table]
            ; cmp r11, (4096 - bytes) as i32
            ; ja =>label
            ; mov r15, [rbp + r15 + table + 8]);
        self.code.place(found);
    }

    /// A slow way for an instruction without memory access. To be ended by [`Builder::accessed`].
    pub(super) fn detour(&mut self) -> Access {
        Access {
            label: self.code.label(),
            missed: None,
            resume: self.code.label(),
            before: self.vectors,
        }
    }

    /// The slow way of an instruction after which the block is left.
    pub(super) fn leaving_detour(&mut self, site: usize) -> DynamicLabel {
        let label = self.code.label();
        self.slow.push(Slow {
            label,
            missed: None,
            resume: None,
            site,
            own_flags: false,
            before: self.vectors,
            after: Cached::default(),
        });
        label
    }

    /// Whether no instruction of the block follows that of the site.
    pub(super) fn is_last(&self, site: usize) -> bool {
        site + 1 == self.sites.len()
    }

    /// The operation of a site.
    pub(super) fn op(&self, site: usize) -> &'a Op {
        &self.sites[site].op
    }

    /// The instruction at `site` is done where its access was quick; where it was not, the interpreter executes all of it, and joins here.
    pub(super) fn accessed(&mut self, access: Access, site: usize) {
        self.code.place(access.resume);
        self.slow.push(Slow {
            label: access.label,
            missed: access.missed,
            resume: Some(access.resume),
            site,
            own_flags: self.code.flags_own_only(),
            before: access.before,
            after: self.vectors,
        });
    }

    /// A jump that goes to `target` by way of a stub until it is joined to its translation.
    pub(super) fn leave_to(&mut self, target: u64, mode: Mode) {
        self.code.ops.push(0xe9);
        self.leaving(target, mode);
    }

    /// The same under a condition (its number in opcodes).
    pub(super) fn leave_if(&mut self, condition: u8, target: u64, mode: Mode) {
        self.code.ops.extend([0x0f, 0x80 + condition]);
        self.leaving(target, mode);
    }

    fn leaving(&mut self, target: u64, mode: Mode) {
        let label_patch = self.code.here();
        self.code.ops.push_i32(0);
        self.leaving.push(Leaving {
            label_patch,
            target,
            mode,
        });
    }

    /// Jumps to the address in the first scratch register; the flags must be packed.
    pub(super) fn leave_indirectly(&mut self) {
        self.flush_vectors();
        dynasm!(self.code.ops; .arch x64; mov [rbp + layout::RIP], r11);
        if let Some(number) = self.mode.jump_table() {
            let jumps = layout::jump_table(number);
            let fetches = layout::fetch_table(self.mode);
            const JUMP: i32 = (super::jumps::ENTRIES - 1) as i32;
            const INDEX: i32 = ((tlb::ENTRIES - 1) << 4) as i32;
            dynasm!(self.code.ops; .arch x64
                ; mov r15d, r11d
                ; and r15d, JUMP
                ; shl r15d, 5
                ; cmp [rbp + r15 + jumps], r11
                ; jne >miss
                ; rorx r11, r11, 8
                ; and r11d, INDEX
                ; vmovdqu xmm0, [rbp + r11 + fetches]
                ; vpxor xmm0, xmm0, [rbp + r15 + jumps + 16]
                ; vptest xmm0, xmm0
                ; jne >miss
                ; jmp QWORD [rbp + r15 + jumps + 8]
                ; miss:);
        }
        self.code.jump_gate(self.gates.leave);
    }

    /// Leaves to the loop: the instruction pointer is in the context already.
    pub(super) fn leave_anywhere(&mut self) {
        self.flush_vectors();
        self.code.jump_gate(self.gates.leave);
    }

    /// Everything that is out of the way, and where the block can be joined to others; `first` is the number of its first link.
    pub(super) fn tail(mut self, first: usize) -> Option<(Vec<u8>, Vec<Exit>)> {
        for slow in std::mem::take(&mut self.slow) {
            self.slow_path(slow);
        }
        self.code.place(self.short);
        let count = self.sites.len() as i32;
        dynasm!(self.code.ops; .arch x64; add QWORD [rbp + layout::BUDGET], count);
        self.code.store_rip(self.sites[0].rip);
        self.code.jump_gate(self.gates.leave);
        let mut exits = Vec::new();
        for (index, leaving) in std::mem::take(&mut self.leaving).into_iter().enumerate() {
            let stub = self.code.here();
            dynasm!(self.code.ops; .arch x64
                ; mov DWORD [rbp + layout::LINK], (first + index + 1) as i32);
            self.code.store_rip(leaving.target);
            self.code.jump_gate(self.gates.leave);
            let other_page = leaving.target >> 12 != self.page;
            let check = other_page.then(|| self.check(leaving.target, leaving.mode, stub));
            exits.push(Exit {
                target: leaving.target,
                mode: leaving.mode,
                patch: leaving.label_patch,
                stub,
                check,
            });
        }
        let start = self.code.start();
        let mut code = self.code.finish()?;
        for exit in &exits {
            let at = (exit.patch - start) as usize;
            let distance = exit.stub.wrapping_sub(exit.patch + 4);
            code[at..at + 4].copy_from_slice(&distance.to_le_bytes());
        }
        Some((code, exits))
    }

    fn slow_path(&mut self, slow: Slow) {
        if let Some(missed) = slow.missed {
            let gate = self.gates.unwatched[missed.class][usize::from(missed.write)];
            let found = missed.found;
            self.code.place(missed.label);
            self.code.call_gate(gate);
            dynasm!(self.code.ops; .arch x64
                ; cmp r11, (4096 - missed.bytes) as i32
                ; jbe =>found);
        }
        self.code.place(slow.label);
        self.put_vectors(slow.before);
        self.code.constant(FIRST, self.site(slow.site));
        self.code.call_gate(self.gates.interpret);
        self.take_vectors(slow.after);
        if slow.own_flags {
            dynasm!(self.code.ops; .arch x64; add al, 127; sahf);
        }
        match slow.resume {
            Some(resume) => dynasm!(self.code.ops; .arch x64; jmp =>resume),
            None => {
                // Those behind it have not begun.
                let rest = (self.sites.len() - slow.site - 1) as i32;
                dynasm!(self.code.ops; .arch x64; add QWORD [rbp + layout::BUDGET], rest);
                self.code.jump_gate(self.gates.leave);
            }
        }
    }

    /// Looks whether the fetch table still says that the target's page is where it was.
    fn check(&mut self, target: u64, mode: Mode, stub: u32) -> Check {
        let start = self.code.here();
        let entry = layout::fetch_entry(mode, target);
        self.code.constant(SECOND, target & !0xfff);
        dynasm!(self.code.ops; .arch x64; cmp [rbp + entry], r15);
        self.code.jump_if_not_equal(stub);
        dynasm!(self.code.ops; .arch x64; mov r15, QWORD 0);
        let page = self.code.here() - 8;
        dynasm!(self.code.ops; .arch x64; cmp [rbp + entry + 8], r15);
        self.code.jump_if_not_equal(stub);
        self.code.jump_gate(stub);
        Check {
            start,
            page,
            patch: self.code.here() - 4,
        }
    }
}

/// An access on its way.
#[derive(Debug)]
pub(super) struct Access {
    label: DynamicLabel,
    missed: Option<Missed>,
    resume: DynamicLabel,
    before: Cached,
}

impl Access {
    /// The slow way of the instruction: it must not have changed anything yet, and the flags must be packed.
    pub(super) fn label(&self) -> DynamicLabel {
        self.label
    }
}

fn register_number(register: Register) -> u8 {
    register.number() as u8
}

/// Whether an operand is in memory.
pub(super) fn has_memory(i: &Instruction) -> bool {
    (0..i.op_count()).any(|n| i.op_kind(n) == OpKind::Memory)
}

const _: () = assert!(CONTEXT == 5 && FIRST == 11 && SECOND == 15);
