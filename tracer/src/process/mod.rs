//! What Linux tells about a process.
//!
//! - `maps`: the memory map.
//! - `status`: `/proc/PID/status`: signal sets and thread group.

mod maps;
mod status;

pub use maps::{Mapping, maps, parse_maps};
pub use status::{Status, status, thread_group};
