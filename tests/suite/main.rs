//! Tests of fits as a whole.
