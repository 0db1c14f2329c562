//! Statistics of golden runs: what an instruction touches, how traces are laid out, how they are counted, and the
//! files that come out.
//!
//! - [`facts`], [`register`]: what one instruction reads and writes; shared by all backends.
//! - [`template`], [`protocol`]: how a backend describes translated code and reports what ran.
//! - [`ring`], [`client`], [`process`]: the streams, the supervisor's side, the statistics process.
//! - [`collect`]: from messages and streams to the result.
//! - [`model`]: the result of a golden run.
//! - [`symbols`], [`functions`]: modules, functions and source lines of addresses; code put together by function.
//! - [`write`](mod@write), [`summary`]: the files of a golden run, and what the terminal shows of it.
//! - [`folder`], [`listing`], [`compare`](mod@compare): golden folders read again, two of them compared.
//! - [`report`]: a golden folder as a page for the browser.

pub mod client;
pub mod collect;
pub mod compare;
pub mod facts;
pub mod folder;
pub mod frame;
pub mod functions;
pub mod listing;
pub mod model;
pub mod pictures;
pub mod process;
pub mod protocol;
pub mod register;
pub mod report;
pub mod ring;
pub mod summary;
pub mod symbols;
pub mod template;
pub mod write;

#[cfg(test)]
mod testing;
