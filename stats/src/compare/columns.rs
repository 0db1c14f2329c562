//! Which columns identify a row, and which are compared.

use std::cmp::Ordering;

/// A column of a CSV file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) role: Role,
}

/// What a column is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Part of the key, a number: sorted by value.
    NumberKey,
    /// Part of the key, text.
    TextKey,
    /// Compared.
    Value,
    /// Compared where both levels fill it.
    Optional,
    /// Compared without the folders in it, which may legitimately differ.
    Path,
    /// Follows from the other rows of the file.
    Derived,
}

impl Role {
    pub(super) fn is_key(self) -> bool {
        matches!(self, Role::NumberKey | Role::TextKey)
    }

    /// The order of two fields of a key column.
    pub(super) fn order(self, a: &[u8], b: &[u8]) -> Ordering {
        // Numbers have no leading zeros, so the longer one is the larger one.
        let by_length = match self {
            Role::NumberKey => a.len().cmp(&b.len()),
            _ => Ordering::Equal,
        };
        by_length.then_with(|| a.cmp(b))
    }

    /// Whether two fields of a column that is no key say the same.
    pub(super) fn same(self, a: &[u8], b: &[u8]) -> bool {
        a == b
            || match self {
                Role::Optional => a.is_empty() || b.is_empty(),
                Role::Path => last_part(a) == last_part(b),
                Role::Derived => true,
                _ => false,
            }
    }
}

fn last_part(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

macro_rules! columns {
    ($($name:literal $role:ident),* $(,)?) => {
        &[$(Column { name: $name, role: Role::$role }),*]
    };
}

/// The columns of a file, or none if it is no CSV file.
pub(super) fn of(file: &str) -> Option<&'static [Column]> {
    Some(match file {
        "instructions.csv" => columns!(
            "pc" NumberKey, "module" Path, "offset" Value, "symbol" Value, "source" Path,
            "bytes" TextKey, "mnemonic" Value, "text" Value, "executions" Value,
        ),
        "registers.csv" => columns!(
            "register" TextKey, "reads" Value, "writes" Value, "live_fraction" Optional,
        ),
        "operand_bits.csv" => columns!(
            "pc" NumberKey, "operand" TextKey, "access" TextKey, "width" NumberKey,
            "bit" NumberKey, "ones" Value, "zeros" Value,
        ),
        "blocks.csv" => columns!("pc" NumberKey, "instructions" NumberKey, "executions" Value),
        "mix.csv" => columns!("mnemonic" TextKey, "executions" Value),
        "memory.csv" => columns!(
            "page" NumberKey, "region" Path, "reads" Value, "writes" Value, "bytes_read" Value,
            "bytes_written" Value,
        ),
        "syscalls.csv" => columns!(
            "number" NumberKey, "name" Value, "calls" Value, "errors" Value,
        ),
        "histograms.csv" => columns!(
            "histogram" TextKey, "percentile" Derived, "value" NumberKey, "count" Value,
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_sorted_by_value() {
        assert_eq!(Role::NumberKey.order(b"0xfff", b"0x1000"), Ordering::Less);
        assert_eq!(Role::TextKey.order(b"0xfff", b"0x1000"), Ordering::Greater);
    }

    #[test]
    fn folders_and_derived_values_do_not_matter() {
        assert!(Role::Path.same(b"/a/libc.so.6", b"/b/libc.so.6"));
        assert!(!Role::Path.same(b"/a/libc.so.6", b"/a/libm.so.6"));
        assert!(Role::Optional.same(b"", b"0.5"));
        assert!(!Role::Optional.same(b"0.25", b"0.5"));
        assert!(Role::Derived.same(b"1", b"2"));
    }
}
