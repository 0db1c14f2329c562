//! Making a failing case short.

use crate::case::Case;
use crate::error::Error;
use crate::fuzz::Fuzzer;
use crate::runtime::Mismatch;

/// Drops instructions as long as something still differs.
///
/// # Errors
/// When the child can't go on.
pub fn minimise(
    fuzzer: &mut Fuzzer,
    case: Case,
    mismatch: Mismatch,
) -> Result<(Case, Mismatch), Error> {
    let totals = fuzzer.totals;
    let (mut case, mut mismatch) = (case, mismatch);
    let mut number = 0;
    while number < case.items.len() {
        let shorter = case.without(number);
        match fuzzer.run(&shorter)? {
            Some(found) => {
                (case, mismatch) = (shorter, found);
                number = 0;
            }
            None => number += 1,
        }
    }
    fuzzer.totals = totals;
    Ok((case, mismatch))
}
