//! The dynamic binary translator and its out-of-process supervisor.
