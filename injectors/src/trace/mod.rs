//! What a fault did: two runs, one without and one with it, compared instruction by instruction from the moment on.
//!
//! - `record`: the path of the thread in focus, and its state at chosen distances.
//! - `divergence`: where the second run leaves the path of the first, and how far its state is off.
//! - `render`: that as text.
//!
//! The runs are made one after the other, so that both have the same process number. Both are stepped natively, at about
//! 5 µs an instruction: what lies beyond [`TraceOptions::steps`] is not looked at, and the result says so.

pub mod divergence;
pub mod record;
pub mod render;

pub use divergence::{Divergence, compare};
pub use record::{Recording, TraceOptions, record};
pub use render::Trace;
