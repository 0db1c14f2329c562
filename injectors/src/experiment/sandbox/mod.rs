//! Where experiments run, so that a program gone wrong can harm nobody.
//!
//! - `namespaces`: the worker leaves the host's namespaces; `devices`, `sockets`: what it must not find there.
//! - `mounts`: the file system of one experiment.
//! - `place`: that, or without namespaces a private copy of the working directory.
//! - `privileged`: a thread for what needs privileges that the rest gives up.
//! - `kill`, `guard`: what the program started is found, limited together, and ended.
//! - `sys`: the unsafe part.
//!
//! The design is in `docs/design/sandbox.md`.

mod devices;
mod error;
mod guard;
mod kill;
mod mounts;
mod namespaces;
mod place;
mod privileged;
mod sockets;
#[expect(
    unsafe_code,
    reason = "fork, and some requests for which there is no safe binding"
)]
pub(crate) mod sys;

pub use error::SandboxError;
pub use guard::Exceeded;
pub(crate) use guard::Guard;
pub(crate) use kill::Scope;
pub(crate) use namespaces::enter;
pub(crate) use place::{Layer, Place};
pub(crate) use privileged::Privileged;
