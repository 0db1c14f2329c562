//! Statistics of golden runs: facts about instructions, trace records, the ring, the collector, the files.

pub mod model;
