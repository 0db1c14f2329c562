//! What instructions do, by family. Handlers are generic in operand size and kind; [`crate::cpu::decode`] picks the instance.

pub(crate) mod alu;
pub(crate) mod bits;
pub(crate) mod branch;
pub(crate) mod hosted;
pub(crate) mod masked;
pub(crate) mod moves;
pub(crate) mod ports;
pub(crate) mod stack;
pub(crate) mod string;
pub(crate) mod system;
pub(crate) mod xsave;
