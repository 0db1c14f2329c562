//! The instructions to choose from, in classes, so that the thousands of vector instructions don't crowd out the others.

use crate::accept::may_generate;
use crate::random::Random;
use iced_x86::{Code, CpuidFeature, EncodingKind, FlowControl, OpCodeOperandKind};

/// A class of instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// General registers.
    Integer,
    /// Branches, calls, returns.
    Branch,
    /// `push`, `pop`, `enter`, `leave`, `pushf` …
    Stack,
    /// `movs`, `stos` …
    Text,
    /// x87.
    X87,
    /// MMX.
    Mmx,
    /// Vectors, legacy encoding.
    Sse,
    /// Vectors, VEX (and what else is left) encoding.
    Avx,
    /// Vectors, EVEX encoding.
    Avx512,
}

/// How often each class is chosen, in percent.
const WEIGHTS: [(Class, usize); 9] = [
    (Class::Integer, 46),
    (Class::Branch, 10),
    (Class::Stack, 8),
    (Class::Text, 4),
    (Class::X87, 5),
    (Class::Mmx, 3),
    (Class::Sse, 8),
    (Class::Avx, 7),
    (Class::Avx512, 9),
];

/// All codes by class.
#[derive(Clone, Debug)]
pub struct Codes([Vec<Code>; WEIGHTS.len()]);

impl Codes {
    /// All codes that may be generated and for which `supported` holds.
    pub fn new(mut supported: impl FnMut(Code) -> bool) -> Self {
        let mut classes: [Vec<Code>; WEIGHTS.len()] = Default::default();
        for code in Code::values() {
            if may_generate(code) && supported(code) {
                classes[class(code) as usize].push(code);
            }
        }
        Codes(classes)
    }

    /// A random code.
    pub fn pick(&self, random: &mut Random) -> Code {
        let mut roll = random.below(100);
        for (class, weight) in WEIGHTS {
            if roll < weight && !self.0[class as usize].is_empty() {
                return random.pick(&self.0[class as usize]);
            }
            roll = roll.saturating_sub(weight);
        }
        Code::Nopd
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn class(code: Code) -> Class {
    use CpuidFeature::{FPU, FPU287, FPU387, MMX};
    let info = code.op_code();
    if code.flow_control() != FlowControl::Next {
        return Class::Branch;
    }
    if info.is_stack_instruction() || makes_frames(code) {
        return Class::Stack;
    }
    if info.op_kinds().iter().any(|kind| is_text(*kind)) {
        return Class::Text;
    }
    let features = code.cpuid_features();
    if features.iter().any(|f| matches!(*f, FPU | FPU287 | FPU387)) {
        return Class::X87;
    }
    if features.contains(&MMX) || info.op_kinds().iter().any(|kind| is_mmx(*kind)) {
        return Class::Mmx;
    }
    match info.encoding() {
        EncodingKind::EVEX => Class::Avx512,
        EncodingKind::Legacy if info.op_kinds().iter().any(|kind| is_vector(*kind)) => Class::Sse,
        EncodingKind::Legacy => Class::Integer,
        _ if info.op_kinds().iter().any(|kind| is_vector(*kind)) => Class::Avx,
        _ => Class::Integer,
    }
}

/// Instructions on the stack that iced-x86 does not call so.
fn makes_frames(code: Code) -> bool {
    matches!(code, Code::Leaveq | Code::Enterq_imm16_imm8)
}

fn is_text(kind: OpCodeOperandKind) -> bool {
    use OpCodeOperandKind::{es_rDI, seg_rDI, seg_rSI};
    matches!(kind, es_rDI | seg_rDI | seg_rSI)
}

fn is_mmx(kind: OpCodeOperandKind) -> bool {
    use OpCodeOperandKind::{mm_or_mem, mm_reg, mm_rm};
    matches!(kind, mm_or_mem | mm_reg | mm_rm)
}

fn is_vector(kind: OpCodeOperandKind) -> bool {
    let name = format!("{kind:?}");
    ["xmm", "ymm", "zmm", "k_", "kp1", "vsib"]
        .iter()
        .any(|part| name.contains(part))
}
