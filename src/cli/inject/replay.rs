//! The command that repeats an experiment.

use super::options::{InjectArgs, IsolateChoice};
use crate::cli::golden::BackendChoice;

/// `faults` in their concrete form; `input` is the flag for standard input.
pub(super) fn command(args: &InjectArgs, input: Option<&str>, faults: &[String]) -> String {
    let mut words = vec!["fits".to_owned(), "inject".to_owned()];
    let mut flag = |name: &str, value: String| {
        words.push(name.to_owned());
        words.push(value);
    };
    if args.backend == BackendChoice::Ptrace {
        flag("--backend", "ptrace".to_owned());
    }
    if let Some(input) = input {
        flag("--stdin", input.to_owned());
    }
    match args.isolate {
        IsolateChoice::Auto => {}
        IsolateChoice::On => flag("--isolate", "on".to_owned()),
        IsolateChoice::Off => flag("--isolate", "off".to_owned()),
    }
    for folder in &args.writable {
        flag("--writable", folder.display().to_string());
    }
    let limits = [
        ("--max-processes", args.max_processes),
        ("--max-memory", args.max_memory),
        ("--max-file", args.max_file),
        ("--max-disk", args.max_disk),
        ("--hang-instructions", args.hang_instructions),
    ];
    for (name, value) in limits {
        if let Some(value) = value {
            flag(name, value.to_string());
        }
    }
    for (name, value, usual) in [
        ("--hang-factor", args.hang_factor, 10.0),
        ("--hang-floor", args.hang_floor, 1.0),
    ] {
        if value != usual {
            flag(name, value.to_string());
        }
    }
    for status in &args.detect_exit {
        flag("--detect-exit", status.to_string());
    }
    for pattern in &args.detect_output {
        flag("--detect-output", pattern.clone());
    }
    if let Some(symbol) = &args.detect_symbol {
        flag("--detect-symbol", symbol.clone());
    }
    if let Some(command) = &args.compare {
        flag("--compare", command.clone());
    }
    if args.window != fits_injectors::drive::WINDOW {
        flag("--window", args.window.to_string());
    }
    for fault in faults {
        flag("--fault", fault.clone());
    }
    let switches = [
        ("--single-step", args.single_step),
        ("--raw-environment", args.raw_environment),
        ("--dry-run", args.dry_run),
    ];
    words.extend(args.trace.map(|steps| format!("--trace={steps}")));
    for (name, given) in switches {
        if given {
            words.push(name.to_owned());
        }
    }
    words.push("--".to_owned());
    let typed = std::iter::once(&args.program).chain(&args.arguments);
    words.extend(typed.map(|word| word.to_string_lossy().into_owned()));
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
