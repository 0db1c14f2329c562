//! Guest arithmetic executed as itself by the host's processor, which gives exact results and flags, undefined ones included.

#[expect(
    unsafe_code,
    reason = "single arithmetic instructions as inline assembly, without memory access"
)]
pub(crate) mod alu;
mod arena;
#[expect(unsafe_code, reason = "calls generated stubs")]
mod call;
mod stub;

pub(crate) use arena::Arena;
pub(crate) use call::{Stubs, run};
pub(crate) use stub::{Unit, plan};
