//! The supervisor: a ptrace parent that lets the target run translated code, and is asleep nearly always.
//!
//! `backend` starts runs. `supervisor` waits for stops; each kind of stop has its module:
//! - `traps`: translated code has come to an exit that leads nowhere yet. `translating` finds or makes the next unit.
//! - `slow`: one instruction in the guest's own state, for what can't be translated.
//! - `calls`: system calls, executed by the guest's own `syscall` instruction; `mappings`, `make_way`, `emulated` and `hidden` are the special ones.
//! - `masks`: the one signal that must never be blocked. `births`: threads and children; `image`: `execve`; `ends`: how threads and the run end.
//! - `hot`: blocks that are executed often are joined.
//! - `signals`: delivery at unit boundaries, which `boundary` runs to; `faults`: precise faults in translated code.
//!
//! Below them: `area` (memory that we map into the target), `pages` (guest code and its protection), `guest` (from the state of
//! the machine to that of the guest and back), `thread`, `report` (to the statistics process, which `collector` knows).
//! `budget` counts instructions, so that a thread can be stopped after any number of them; `handover` leaves the translator there, `takeover` is the way back.
//! `search` is what such a run looks for, `walk` a run past many moments; `seek` is the engine made of it, `limits` what it may use.
//!
//! Invariant: outside translated code a thread has the guest's own registers, rip included, so that whatever the kernel does
//! to it (signal frames, restarted calls, new threads and children, core dumps) is what it would do natively.

mod area;
mod backend;
mod births;
mod boundary;
mod budget;
mod calls;
mod collector;
mod emulated;
mod ends;
mod error;
mod faults;
mod guest;
mod handover;
mod hidden;
mod hot;
mod image;
mod limits;
mod make_way;
mod mappings;
mod masks;
mod pages;
mod report;
mod search;
mod seek;
mod signals;
mod slow;
mod supervisor;
mod takeover;
mod thread;
mod translating;
mod traps;
mod walk;
mod wild;

pub use backend::Translator;
pub use seek::TranslatorEngine;
