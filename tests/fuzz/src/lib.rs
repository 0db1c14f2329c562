//! A differential fuzzer: random instruction sequences on the bare CPU, by single-step, and under the translator.
//!
//! A [`case`] is a sequence and a random state, both from a seed. [`native`] executes it on the bare CPU in a traced
//! child ([`machine`], [`child`]) and keeps the state after every instruction. [`runtime`] then executes it translated, in the same
//! child: at both levels, in units of one instruction and in whole units, stopping after each unit or with
//! everything linked; after each stop [`differ`] compares the whole state, and [`rows`] what the units recorded about their operands. [`fuzz`]
//! drives all of this, and [`minimise`] makes a failing case short. [`soft`] gives the same sequences to the software processor of the
//! virtual machine.

pub mod accept;
pub mod case;
#[expect(unsafe_code, reason = "forks the child and shares memory with it")]
mod child;
pub mod codes;
pub mod differ;
pub mod error;
pub mod fuzz;
pub mod machine;
pub mod minimise;
pub mod native;
pub mod operands;
pub mod places;
pub mod random;
pub mod report;
pub mod rows;
pub mod runtime;
pub mod soft;
pub mod start;
