//! The human monitor: lines of words instead of JSON. The commands that people and shells use most, spelled as in QEMU.

use std::fmt::Write;

use serde_json::Value;

use crate::cpu::mca::{MachineCheck, Outcome, STATUS_ACTION_REQUIRED};
use crate::machine::Machine;
use crate::qmp::action::{Action, Place, Processor, SnapshotStep, Space};
use crate::qmp::control::Control;
use crate::qmp::memory;
use crate::qmp::message::Failure;
use crate::qmp::objects::Node;

const HELP: &[(&str, &str)] = &[
    ("help [command]", "show this, or one line of it"),
    (
        "info [what]",
        "show what can be asked about, or one thing of it",
    ),
    ("stop", "stop the machine"),
    ("cont | c", "let it go on"),
    ("quit | q", "end it"),
    ("system_reset", "press the reset button"),
    ("system_powerdown", "press the power button"),
    ("nmi", "raise a non-maskable interrupt"),
    (
        "mce [-b] cpu bank status mcgstatus addr misc",
        "report a hardware error to the guest (machine check)",
    ),
    (
        "xp /COUNTxSIZE addr",
        "show physical memory; SIZE is b, h, w or g",
    ),
    ("x /COUNTxSIZE addr", "show virtual memory"),
    ("gva2gpa addr", "the physical address of a virtual one"),
    ("i /SIZE port", "read a port; SIZE is b, h or w"),
    ("o /SIZE port value", "write a port"),
    ("savevm tag", "keep the state of the machine, in memory"),
    ("loadvm tag", "go back to a state"),
    ("delvm tag", "forget a state"),
    ("qom-list path", "properties and children of an object"),
    ("qom-get path property", "read a property"),
    ("qom-set path property value", "set a property"),
];

const INFO: &[(&str, &str)] = &[
    ("cpus", "the processors"),
    ("name", "the name of the machine"),
    ("qtree", "every device with its properties"),
    ("registers", "the registers of the processor"),
    ("snapshots", "the states that are kept"),
    ("status", "whether the machine runs, and its virtual time"),
    ("version", "the version of fits"),
];

/// Lines of a monitor end like this.
const END: &str = "\r\n";

impl Control {
    /// Carries a line out; what it prints.
    pub(crate) fn monitor(&mut self, machine: &mut Machine, line: &str) -> Result<String, Failure> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let action = match words.as_slice() {
            [] => return Ok(String::new()),
            ["help" | "?"] => return Ok(table(HELP, "")),
            ["help" | "?", "info"] | ["info"] => return Ok(table(INFO, "info ")),
            ["help" | "?", command] => return Ok(help(command)),
            ["info", what] => return Ok(self.info(machine, what)),
            ["mce", rest @ ..] => return Ok(self.machine_check(machine, rest)),
            ["xp", format, address] => return Ok(dump(machine, Space::Physical, format, address)),
            ["i", format, port] => return Ok(port_in(machine, format, port)),
            ["o", format, port, value] => return Ok(port_out(machine, format, port, value)),
            ["x", format, address] => return Ok(dump(machine, Space::Virtual, format, address)),
            ["gva2gpa", address] => return Ok(translate(machine, address)),
            ["qom-list", path] => return Ok(self.list_words(machine, path)),
            ["qom-get", path, property] => Action::GetProperty {
                path: (*path).into(),
                property: (*property).into(),
            },
            ["qom-set", path, property, value] => Action::SetProperty {
                path: (*path).into(),
                property: (*property).into(),
                value: serde_json::from_str(value).unwrap_or_else(|_| Value::from(*value)),
            },
            ["savevm", tag] => kept(SnapshotStep::Save, tag),
            ["loadvm", tag] => kept(SnapshotStep::Load, tag),
            ["delvm", tag] => kept(SnapshotStep::Delete, tag),
            ["stop"] => Action::Stop,
            ["cont" | "c"] => Action::Continue,
            ["quit" | "q"] => Action::Quit,
            ["system_reset"] => Action::Reset,
            ["system_powerdown"] => Action::PowerDown,
            ["nmi"] => Action::Nmi,
            [command, ..] if HELP.iter().any(|(usage, _)| names(usage, command)) => {
                return Ok(format!("{command}: wrong arguments{END}{}", help(command)));
            }
            [command, ..] => return Ok(format!("unknown command: '{command}'{END}")),
        };
        Ok(match self.execute(machine, &action) {
            Ok(Value::Object(empty)) if empty.is_empty() => String::new(),
            Ok(value) => format!("{value}{END}"),
            Err(failure) => error(&failure.sentence),
        })
    }

    fn info(&mut self, machine: &mut Machine, what: &str) -> String {
        let mut text = String::new();
        match what {
            "name" => text.push_str("fits"),
            "version" => text.push_str(env!("CARGO_PKG_VERSION")),
            "cpus" => {
                let _ = write!(text, "* CPU #0: thread_id={}", std::process::id());
            }
            "status" => {
                let _ = write!(
                    text,
                    "VM status: {} (virtual time {} ns, {} instructions)",
                    self.state.name(),
                    machine.now(),
                    machine.retired()
                );
            }
            "registers" => {
                let properties = self.tree(machine).properties(&Node::Processor);
                let lines: Vec<String> = properties.iter().map(shown).collect();
                text = lines.join(END);
            }
            "snapshots" => {
                let tags: Vec<&str> = self.snapshots.keys().map(String::as_str).collect();
                text = tags.join(END);
            }
            "qtree" => text = self.device_tree(machine),
            _ => return format!("unknown command: 'info {what}'{END}"),
        }
        text + END
    }

    fn device_tree(&mut self, machine: &mut Machine) -> String {
        let mut lines = Vec::new();
        let mut tree = self.tree(machine);
        for number in 1.. {
            let path = format!("/machine/unattached/device[{number}]");
            let Some(node) = tree.resolve(&path) else {
                break;
            };
            let name = match &node {
                Node::Device(name) => name.clone(),
                _ => String::new(),
            };
            lines.push(format!("dev: {}, id \"{name}\"", tree.kind(&node)));
            for property in tree.properties(&node) {
                lines.push(format!("  {}", shown(&property)));
            }
        }
        lines.join(END)
    }

    fn list_words(&mut self, machine: &mut Machine, path: &str) -> String {
        match self.tree(machine).list(path) {
            Err(failure) => error(&failure.sentence),
            Ok(list) => list
                .as_array()
                .into_iter()
                .flatten()
                .map(|entry| {
                    let word = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
                    format!("{} ({}){END}", word("name"), word("type"))
                })
                .collect(),
        }
    }

    /// `mce [-b] cpu bank status mcgstatus addr misc`.
    fn machine_check(&mut self, machine: &mut Machine, words: &[&str]) -> String {
        let (broadcast, words) = match words {
            ["-b", rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        let numbers: Option<Vec<u64>> = words.iter().map(|word| number(word)).collect();
        let Some(&[processor, bank, status, mcg_status, address, misc]) = numbers.as_deref() else {
            return format!("mce: wrong arguments{END}{}", help("mce"));
        };
        if processor != 0 {
            return error(&format!(
                "there is no processor {processor}: there is one, 0"
            ));
        }
        let check = MachineCheck {
            bank: u8::try_from(bank).unwrap_or(u8::MAX),
            status,
            mcg_status,
            address,
            misc,
            broadcast,
        };
        match machine.processor().cpu.inject_machine_check(&check) {
            Err(sentence) => error(&sentence),
            Ok(outcome) => {
                self.memory_failure(outcome, status);
                match outcome {
                    Outcome::Raised | Outcome::Recorded => String::new(),
                    other => format!("CPU 0: {}{END}", other.describe()),
                }
            }
        }
    }

    /// The event that goes with an error.
    fn memory_failure(&mut self, outcome: Outcome, status: u64) {
        let (action, recursive) = match outcome {
            Outcome::Raised | Outcome::Recorded => ("inject", false),
            Outcome::Lost => ("ignore", true),
            Outcome::Shutdown => ("reset", true),
            _ => return,
        };
        let required = status & STATUS_ACTION_REQUIRED != 0;
        let data = serde_json::json!({
            "recipient": "guest",
            "action": action,
            "flags": {"action-required": required, "recursive": recursive},
        });
        self.server.event("MEMORY_FAILURE", Some(data));
    }
}

fn kept(step: SnapshotStep, tag: &str) -> Action {
    Action::Snapshot {
        step,
        job: None,
        tag: tag.to_owned(),
    }
}

fn error(sentence: &str) -> String {
    format!("Error: {sentence}{END}")
}

fn shown((name, value): &(String, Value)) -> String {
    match value.as_u64() {
        Some(number) => format!("{name} = {number} ({number:#x})"),
        None => format!("{name} = {value}"),
    }
}

fn table(rows: &[(&str, &str)], prefix: &str) -> String {
    rows.iter()
        .map(|(usage, text)| format!("{prefix}{usage} -- {text}{END}"))
        .collect()
}

/// Whether a line of help is about a command.
fn names(usage: &str, command: &str) -> bool {
    let before = usage.split(['[', '/']).next().unwrap_or(usage);
    let alternatives = before.contains('|');
    if alternatives {
        before.split('|').any(|name| name.trim() == command)
    } else {
        before.split_whitespace().next() == Some(command)
    }
}

fn help(command: &str) -> String {
    match HELP.iter().find(|(usage, _)| names(usage, command)) {
        Some(row) => table(&[*row], ""),
        None => format!("unknown command: '{command}'{END}"),
    }
}

/// A number as people write it: decimal, or hexadecimal behind 0x.
fn number(word: &str) -> Option<u64> {
    match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    }
}

fn translate(machine: &mut Machine, address: &str) -> String {
    let Some(linear) = number(address) else {
        return error(&format!("'{address}' is no address"));
    };
    let cpu = &machine.processor().cpu;
    match cpu.walk(cpu.cr3, linear).1 {
        Some(physical) => format!("gpa: {physical:#x}{END}"),
        None => format!("Unmapped{END}"),
    }
}

/// How many values of how many bytes: `/4xw`, `/4wx`, `/g`.
fn format_of(text: &str) -> Option<(u64, u64)> {
    let text = text.strip_prefix('/')?;
    let letters = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let count = &text[..text.len() - letters.len()];
    let count = if count.is_empty() {
        1
    } else {
        count.parse().ok()?
    };
    let mut size = 4;
    for letter in letters.chars() {
        size = match letter {
            'b' => 1,
            'h' => 2,
            'w' => 4,
            'g' => 8,
            'x' => size,
            _ => return None,
        };
    }
    (1..=1024).contains(&count).then_some((count, size))
}

/// The port and size of an access; none where there are no such.
fn port_of(format: &str, port: &str) -> Option<(u16, u8)> {
    let (count, size) = format_of(format)?;
    let port = u16::try_from(number(port)?).ok()?;
    (count == 1 && size <= 4).then_some((port, size as u8))
}

const PORT_USAGE: &str = "wrong arguments: /b, /h or /w and a port, such as /b 0x3f8";

fn port_in(machine: &mut Machine, format: &str, port: &str) -> String {
    let Some((port, size)) = port_of(format, port) else {
        return format!("{PORT_USAGE}{END}");
    };
    let now = machine.now();
    let value = machine.processor().cpu.bus.port_in(now, port, size);
    format!(
        "port{} [{port:#06x}] = {value:#x}{END}",
        ["b", "w", "l"][usize::from(size / 2)]
    )
}

fn port_out(machine: &mut Machine, format: &str, port: &str, value: &str) -> String {
    let (Some((port, size)), Some(value)) = (port_of(format, port), number(value)) else {
        return format!("{PORT_USAGE} 0x41{END}");
    };
    let now = machine.now();
    machine
        .processor()
        .cpu
        .bus
        .port_out(now, port, size, value as u32);
    String::new()
}

fn dump(machine: &mut Machine, space: Space, format: &str, address: &str) -> String {
    let (Some((count, size)), Some(address)) = (format_of(format), number(address)) else {
        return format!(
            "wrong arguments: /COUNTxSIZE and an address, such as /4xg 0x1000 (at most 1024 values){END}"
        );
    };
    let place = Place {
        space,
        address,
        processor: Processor::Number(0),
    };
    let bytes = memory::read(machine.processor(), &place, count * size);
    let mut text = String::new();
    let per_line = 16 / size as usize;
    for (index, value) in bytes.chunks(size as usize).enumerate() {
        if index % per_line == 0 {
            let at = address.wrapping_add(index as u64 * size);
            let _ = write!(text, "{}{at:016x}:", if index == 0 { "" } else { END });
        }
        let value = crate::qmp::objects::low(value);
        let _ = write!(text, " 0x{value:0width$x}", width = 2 * size as usize);
    }
    text + END
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_and_numbers_are_those_of_the_monitor() {
        assert_eq!(format_of("/4xg"), Some((4, 8)));
        assert_eq!(format_of("/b"), Some((1, 1)));
        assert_eq!(format_of("/2000x"), None);
        assert_eq!(format_of("4x"), None);
        assert_eq!(number("0xBD000000000000C0"), Some(0xbd00_0000_0000_00c0));
        assert_eq!(number("0xg"), None);
    }

    #[test]
    fn help_finds_commands_by_every_name() {
        assert!(help("q").starts_with("quit | q"));
        assert!(help("mce").starts_with("mce [-b]"));
        assert!(help("xp").starts_with("xp /"));
        assert!(help("fly").starts_with("unknown command"));
    }
}
