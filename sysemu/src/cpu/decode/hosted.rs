//! Everything that the host executes as itself.

use super::Full;
use crate::cpu::cpuid::announces;
use crate::cpu::host::{Stubs, Unit, plan};
use crate::cpu::op::Op;
use crate::cpu::ops::{hosted, system};
use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind};

/// Plans a stub; `#UD` for what is not announced, an order to stop for what can't be one.
pub(super) fn decode(i: &Instruction, op: &mut Op, stubs: &mut Stubs) -> Result<(), Full> {
    if !i.cpuid_features().iter().all(|&feature| announces(feature)) {
        op.run = system::undefined;
        return Ok(());
    }
    if i.mnemonic() == Mnemonic::Wait {
        op.more = hosted::X87 | hosted::WAITS | hosted::WAIT;
        op.run = hosted::run;
        return Ok(());
    }
    let plain = i.flow_control() == FlowControl::Next
        && !i.is_privileged()
        && (0..i.op_count()).all(|n| i.op_kind(n) != OpKind::Memory || !i.is_vsib());
    let Some(plan) = plan(i).filter(|_| plain) else {
        op.run = system::missing;
        return Ok(());
    };
    let mut more = match plan.unit {
        Unit::Integer => 0,
        Unit::X87 { waits, control } => {
            hosted::X87
                | if waits { hosted::WAITS } else { 0 }
                | if control { hosted::CONTROL } else { 0 }
        }
        Unit::Mmx => hosted::MMX,
        Unit::Sse => hosted::SSE,
        Unit::Avx => hosted::AVX,
    };
    if plan.float {
        more |= hosted::FLOAT;
    }
    if let Some(memory) = plan.memory {
        op.aux = memory.bytes;
        for (set, bit) in [
            (memory.read, hosted::READ),
            (memory.write, hosted::WRITE),
            (memory.aligned, hosted::ALIGNED),
        ] {
            more |= if set { bit } else { 0 };
        }
    }
    op.more = more;
    let offset = stubs.add(plan.code).ok_or(Full)?;
    op.imm = stubs.entry(offset).ok_or(Full)?.bits();
    op.run = hosted::run;
    Ok(())
}
