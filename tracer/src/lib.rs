//! The contract of a backend, controlled processes, and the ptrace backend.
