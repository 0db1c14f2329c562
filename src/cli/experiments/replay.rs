//! The command that repeats an experiment.

use fits_injectors::experiment::session::Isolate;

use super::conduct::Conduct;
use crate::cli::golden::BackendChoice;

/// `faults` in their concrete form; `input` is the flag for standard input.
pub(crate) fn command(conduct: &Conduct, input: Option<&str>, faults: &[String]) -> String {
    let mut words = vec!["fits".to_owned(), "inject".to_owned()];
    let mut flag = |name: &str, value: String| {
        words.push(name.to_owned());
        words.push(value);
    };
    if conduct.backend == BackendChoice::Ptrace {
        flag("--backend", "ptrace".to_owned());
    }
    if let Some(input) = input {
        flag("--stdin", input.to_owned());
    }
    match conduct.isolate {
        Isolate::Auto => {}
        Isolate::On => flag("--isolate", "on".to_owned()),
        Isolate::Off => flag("--isolate", "off".to_owned()),
    }
    for folder in &conduct.writable {
        flag("--writable", folder.display().to_string());
    }
    let limits = [
        ("--max-processes", conduct.max_processes),
        ("--max-memory", conduct.max_memory),
        ("--max-file", conduct.max_file),
        ("--max-disk", conduct.max_disk),
        ("--hang-instructions", conduct.hang_instructions),
    ];
    for (name, value) in limits {
        if let Some(value) = value {
            flag(name, value.to_string());
        }
    }
    if let Some(seconds) = conduct.reference_limit {
        flag("--reference-limit", seconds.to_string());
    }
    for (name, value, usual) in [
        ("--hang-factor", conduct.hang_factor, 10.0),
        ("--hang-floor", conduct.hang_floor, 1.0),
    ] {
        if value != usual {
            flag(name, value.to_string());
        }
    }
    for status in &conduct.detect_exit {
        flag("--detect-exit", status.to_string());
    }
    for pattern in &conduct.detect_output {
        flag("--detect-output", pattern.clone());
    }
    if let Some(symbol) = &conduct.detect_symbol {
        flag("--detect-symbol", symbol.clone());
    }
    if let Some(command) = &conduct.compare {
        flag("--compare", command.clone());
    }
    if conduct.window != fits_injectors::drive::WINDOW {
        flag("--window", conduct.window.to_string());
    }
    for fault in faults {
        flag("--fault", fault.clone());
    }
    let switches = [
        ("--single-step", conduct.single_step),
        ("--raw-environment", conduct.raw_environment),
        ("--dry-run", conduct.dry_run),
    ];
    words.extend(conduct.trace.map(|steps| format!("--trace={steps}")));
    for (name, given) in switches {
        if given {
            words.push(name.to_owned());
        }
    }
    words.push("--".to_owned());
    words.extend(conduct.words());
    let quoted: Vec<_> = words.iter().map(|word| quoted(word)).collect();
    quoted.join(" ")
}

/// For a shell.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._+-/:@,=%".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(quoted("reg:rax:3@1000,seed=2"), "reg:rax:3@1000,seed=2");
        assert_eq!(quoted("two words"), "'two words'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
