//! Vector instructions that run as themselves. The guest's vector registers are kept in the host's of the same number from their first use in a
//! block to its end; so is MXCSR where there is arithmetic.

use super::block::Builder;
use super::layout;
use super::operands::plan;
use super::registers::CONTEXT;
use crate::cpu::op::{Handler, Op};
use crate::cpu::ops::hosted;
use dynasmrt::{DynasmApi, DynasmLabelApi, dynasm};
use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind};

/// Which of the guest's vector registers are in the host's now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cached {
    loaded: u16,
    /// Those that differ from the context.
    changed: u16,
    /// The host's MXCSR is the guest's.
    control: bool,
}

fn numbers(mask: u16) -> impl Iterator<Item = u8> {
    (0..16).filter(move |number| mask >> number & 1 != 0)
}

impl Builder<'_> {
    #[expect(
        clippy::useless_conversion,
        reason = "dynasm converts the numbers of registers"
    )]
    fn store(&mut self, mask: u16) {
        for n in numbers(mask) {
            dynasm!(self.code.ops; .arch x64
                ; vmovdqu [Rq(CONTEXT) + layout::YMM + 32 * i32::from(n)], Ry(n));
        }
    }

    #[expect(
        clippy::useless_conversion,
        reason = "dynasm converts the numbers of registers"
    )]
    fn load(&mut self, mask: u16) {
        for n in numbers(mask) {
            dynasm!(self.code.ops; .arch x64
                ; vmovdqu Ry(n), [Rq(CONTEXT) + layout::YMM + 32 * i32::from(n)]);
        }
    }

    /// Makes the context right, before code of ours runs.
    pub(super) fn put_vectors(&mut self, cached: Cached) {
        self.store(cached.changed);
        if cached.control {
            dynasm!(self.code.ops; .arch x64
                ; stmxcsr [rbp + layout::MXCSR]
                ; ldmxcsr [rbp + layout::HOST_MXCSR]);
        }
        if cached.loaded != 0 {
            dynasm!(self.code.ops; .arch x64; vzeroupper);
        }
    }

    /// Makes the host's registers what the block goes on with.
    pub(super) fn take_vectors(&mut self, cached: Cached) {
        self.load(cached.loaded);
        if cached.control {
            dynasm!(self.code.ops; .arch x64; ldmxcsr [rbp + layout::MXCSR]);
        }
    }

    /// Back to the context: the code that follows expects nothing in the host's registers.
    pub(super) fn flush_vectors(&mut self) {
        self.put_vectors(self.vectors);
        self.vectors = Cached::default();
    }

    /// Emits a vector instruction; false where it is none that can run here, and nothing was emitted.
    pub(super) fn vector(&mut self, i: &Instruction, site: usize) -> bool {
        let op = self.op(site);
        if !self.may_run(op) {
            return false;
        }
        if i.mnemonic() == Mnemonic::Vzeroupper {
            self.zero_upper();
            return true;
        }
        let Some((used, written)) = registers(i) else {
            return false;
        };
        let Some(mut plan) = plan(i) else {
            return false;
        };
        let (float, aligned) = (op.more & hosted::FLOAT != 0, op.more & hosted::ALIGNED != 0);
        let bytes = usize::from(op.aux);
        if float {
            self.take_control(site);
        }
        if let Some(memory) = &mut plan.memory {
            memory.bytes = bytes;
        }
        let access = plan
            .memory
            .map(|memory| self.aligned_access(i, memory.bytes, memory.write, aligned));
        self.load(used & !self.vectors.loaded);
        self.vectors.loaded |= used;
        self.vectors.changed |= written;
        self.execute(i, &plan);
        if let Some(access) = access {
            self.accessed(access, site);
        }
        true
    }

    /// Whether the operation is one that needs nothing but vector registers, and those are enabled.
    fn may_run(&self, op: &Op) -> bool {
        const ELSEWHERE: u32 = hosted::X87 | hosted::MMX | hosted::WAIT;
        let hosted = std::ptr::fn_addr_eq(op.run, hosted::run as Handler);
        let enabled = op.more & hosted::SSE != 0 && self.mode.sse()
            || op.more & hosted::AVX != 0 && self.mode.avx();
        hosted && op.more & ELSEWHERE == 0 && enabled
    }

    /// The guest's MXCSR becomes the host's, if it has all exceptions masked; else the interpreter executes the instruction, and the block ends.
    fn take_control(&mut self, site: usize) {
        if self.vectors.control {
            return;
        }
        const MASKS: i32 = 0x1f80;
        self.code.lose_flags();
        let unmasked = self.leaving_detour(site);
        dynasm!(self.code.ops; .arch x64
            ; mov r11d, [rbp + layout::MXCSR]
            ; not r11d
            ; test r11d, MASKS
            ; jne =>unmasked
            ; ldmxcsr [rbp + layout::MXCSR]);
        self.vectors.control = true;
    }

    /// `vzeroupper`.
    fn zero_upper(&mut self) {
        self.flush_vectors();
        dynasm!(self.code.ops; .arch x64; vpxor xmm0, xmm0, xmm0);
        for n in 0..16 {
            dynasm!(self.code.ops; .arch x64; vmovdqu [rbp + layout::YMM + 32 * n + 16], xmm0);
        }
    }
}

/// The vector registers that the instruction uses and writes; none where it also uses others that it does not name.
fn registers(i: &Instruction) -> Option<(u16, u16)> {
    let mut factory = InstructionInfoFactory::new();
    let (mut used, mut written) = (0, 0);
    for one in factory.info(i).used_registers() {
        let register = one.register().full_register();
        if register.is_vector_register() {
            let bit = 1_u16.checked_shl(register.number() as u32)?;
            used |= bit;
            if !matches!(one.access(), OpAccess::Read | OpAccess::CondRead) {
                written |= bit;
            }
        } else if register.is_gpr() {
            let named = (0..i.op_count()).any(|n| {
                i.op_kind(n) == OpKind::Register && i.op_register(n).full_register() == register
            });
            let address = [i.memory_base(), i.memory_index()]
                .iter()
                .any(|part| part.full_register() == register);
            if !named && !address {
                return None;
            }
        }
    }
    (used != 0).then_some((used, written))
}
