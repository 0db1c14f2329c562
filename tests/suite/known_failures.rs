//! Cases that are known to fail, each with its reason: `tests/known_failures.txt`. They are run all the same, and one that
//! passes fails the suite until its line is gone: the list can only shrink.

use std::collections::HashMap;
use std::sync::LazyLock;

use libtest_mimic::{Completion, Failed};

use crate::table;

static KNOWN: LazyLock<HashMap<String, String>> = LazyLock::new(|| {
    let rows = table::rows::<2>(&table::tests_folder().join("known_failures.txt"));
    rows.unwrap_or_default()
        .into_iter()
        .map(|[name, reason]| (name, reason))
        .collect()
});

/// The verdict on a case, in view of what is known of it.
pub(crate) fn judge(name: &str, result: Result<Completion, String>) -> Result<Completion, Failed> {
    match (result, KNOWN.get(name)) {
        (Err(_), Some(reason)) => Ok(Completion::ignored_with(format!("known failure: {reason}"))),
        (Ok(Completion::Completed), Some(reason)) => Err(Failed::from(format!(
            "passes now, though known_failures.txt says: {reason}; take its line out"
        ))),
        (result, _) => result.map_err(Failed::from),
    }
}
