//! Executions by function.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use crate::write::ListedInstruction;

/// The instructions of one function together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionTotal {
    /// Path of the module, if there is one.
    pub module: Option<Arc<str>>,
    /// Name in the module; absent for code without symbols.
    pub symbol: Option<Arc<str>>,
    /// Executions of all its instructions.
    pub executions: u64,
    /// How many different instructions of it were executed.
    pub instructions: u64,
}

impl FunctionTotal {
    /// The name, empty if there is none.
    pub fn symbol(&self) -> &str {
        self.symbol.as_deref().unwrap_or_default()
    }

    /// The last part of the module's path, empty if there is no module.
    pub fn module_name(&self) -> &str {
        let path = self.module.as_deref().unwrap_or_default();
        path.rsplit('/').next().unwrap_or_default()
    }
}

/// All functions, the ones with the most executions first.
pub fn function_totals(rows: &[ListedInstruction]) -> Vec<FunctionTotal> {
    let mut totals: HashMap<_, (u64, u64)> = HashMap::new();
    for row in rows {
        let key = (row.location.module.as_ref(), row.location.symbol.as_ref());
        let total = totals.entry(key).or_default();
        total.0 += row.executions;
        total.1 += 1;
    }
    let mut functions: Vec<_> = totals
        .into_iter()
        .map(
            |((module, symbol), (executions, instructions))| FunctionTotal {
                module: module.cloned(),
                symbol: symbol.cloned(),
                executions,
                instructions,
            },
        )
        .collect();
    functions.sort_by(|a, b| {
        let key = |f: &FunctionTotal| (Reverse(f.executions), f.symbol.clone(), f.module.clone());
        key(a).cmp(&key(b))
    });
    functions
}
