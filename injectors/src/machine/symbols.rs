//! The kernel's symbols, in the format of `System.map` and `/proc/kallsyms`: address, type, name.

use std::path::{Path, PathBuf};

use rustc_hash::FxHashMap;

use crate::fault::{did_you_mean, nearest};

/// Addresses by name.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    addresses: FxHashMap<String, u64>,
    source: Option<PathBuf>,
}

impl Symbols {
    /// Reads a file.
    ///
    /// # Errors
    /// When it can't be read, or a line is no symbol: a sentence with file and line.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read symbols {}: {error}", path.display()))?;
        let mut symbols = Self::parse(&text)
            .map_err(|(line, what)| format!("{}:{line}: {what}", path.display()))?;
        symbols.source = Some(path.to_owned());
        Ok(symbols)
    }

    /// Reads text; the line and the sentence where one is no symbol.
    fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut addresses = FxHashMap::default();
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() {
                continue;
            }
            let mut words = line.split_ascii_whitespace();
            let address = words
                .next()
                .and_then(|word| u64::from_str_radix(word, 16).ok());
            match (address, words.next(), words.next()) {
                (Some(address), Some(kind), Some(name)) if kind.len() == 1 => {
                    // The kernel's own come before those of modules.
                    addresses.entry(name.to_owned()).or_insert(address);
                }
                _ => {
                    let what = "a line has an address in hexadecimal, a letter and a name, as in System.map".to_owned();
                    return Err((number, what));
                }
            }
        }
        if !addresses.is_empty() && addresses.values().all(|&address| address == 0) {
            let what = "all addresses are 0: /proc/kallsyms shows them to root only".to_owned();
            return Err((1, what));
        }
        Ok(Symbols {
            addresses,
            source: None,
        })
    }

    /// The address of a symbol.
    ///
    /// # Errors
    /// When there is none of that name: a sentence.
    pub fn find(&self, name: &str) -> Result<u64, String> {
        if let Some(&address) = self.addresses.get(name) {
            return Ok(address);
        }
        let Some(source) = &self.source else {
            return Err(format!(
                "symbol '{name}': no symbols were given; a file as System.map or /proc/kallsyms is needed (--symbols)"
            ));
        };
        let near = nearest(name, self.addresses.keys().map(String::as_str));
        Err(format!(
            "{} has no symbol '{name}'{}",
            source.display(),
            did_you_mean(&near)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_maps_and_kallsyms_are_read() {
        let text = "ffffffff81000000 T _stext\n000000000001fbc0 A current_task\n\nffffffffc0000000 t _stext [ext4]\n";
        let symbols = Symbols::parse(text).expect("symbols");
        assert_eq!(symbols.find("_stext"), Ok(0xffff_ffff_8100_0000));
        assert_eq!(symbols.find("current_task"), Ok(0x1fbc0));
    }

    #[test]
    fn what_is_no_symbol_is_refused_with_its_line() {
        assert_eq!(Symbols::parse("1 T a\nrubbish\n").expect_err("no").0, 2);
        assert_eq!(Symbols::parse("1 T a\n1 TT b\n").expect_err("no").0, 2);
        assert!(Symbols::parse("0 T a\n0 T b\n").is_err());
        let missing = Symbols::default().find("jiffies").expect_err("none given");
        assert!(missing.contains("--symbols"), "{missing}");
    }

    #[test]
    fn a_name_that_is_nearly_right_is_suggested() {
        let mut symbols = Symbols::parse("1 T init_task\n").expect("symbols");
        symbols.source = Some("map".into());
        let message = symbols.find("init_tusk").expect_err("no such");
        assert!(message.contains("did you mean init_task?"), "{message}");
    }
}
