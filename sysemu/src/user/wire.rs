//! What a machine and the process of a device say to each other: a JSON object on a line, see `docs/device-protocol.md`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of the protocol.
pub(super) const PROTOCOL: u32 = 1;
/// The longest line, in bytes.
pub(super) const LONGEST: usize = 256 << 10;
/// The most bytes of guest memory in one message.
pub(super) const MOST_BYTES: usize = 64 << 10;

/// From the machine. Each is answered by any number of [`Act`]s and one [`Done`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub(super) enum Request {
    Hello {
        protocol: u32,
        name: String,
    },
    Start {
        now: u64,
    },
    Load {
        now: u64,
        offset: u64,
        size: u8,
    },
    Store {
        now: u64,
        offset: u64,
        size: u8,
        value: u64,
    },
    In {
        now: u64,
        offset: u64,
        size: u8,
    },
    Out {
        now: u64,
        offset: u64,
        size: u8,
        value: u64,
    },
    Wake {
        now: u64,
        behaviour: u32,
    },
    Reset {
        now: u64,
    },
    Inject {
        now: u64,
        fault: String,
        value: u64,
    },
    Save,
    Restore {
        state: Value,
    },
}

/// From the device, while it handles a request: what it does to the machine. Reads and writes are answered by a [`Memory`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub(super) enum Act {
    Irq { level: bool },
    Waitfor { behaviour: u32, ns: u64 },
    Read { address: u64, length: usize },
    Write { address: u64, bytes: String },
    Reset,
}

/// The answer to a read or write of guest memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory {
    /// Whether all of it was RAM.
    pub(super) ok: bool,
    /// What was read, two hexadecimal digits a byte.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) bytes: String,
}

/// From the device: a request is handled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Done {
    /// The value of a load or of a port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<u64>,
    /// What the device is: the answer to hello.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<String>,
    /// The protocol it speaks: the answer to hello.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) protocol: Option<u32>,
    /// The faults it can have: the answer to hello.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) faults: Vec<Declared>,
    /// Its state: the answer to save.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) state: Option<Value>,
    /// Why an injection or a restore failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

/// A fault that a device can have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Declared {
    pub(super) name: String,
    #[serde(default)]
    pub(super) text: String,
}

/// What a device says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Act(Act),
    Done(Box<Done>),
}

impl Said {
    /// Reads a line.
    pub(super) fn read(line: &[u8]) -> Result<Self, String> {
        let shown = || String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
        let value: Value = serde_json::from_slice(line)
            .map_err(|error| format!("it said no JSON, {error}: {}", shown()))?;
        let said = if value.get("do").is_some() {
            serde_json::from_value(value).map(Said::Act)
        } else if let Some(done) = value.get("done") {
            serde_json::from_value(done.clone()).map(Said::Done)
        } else {
            return Err(format!("it said neither do nor done: {}", shown()));
        };
        said.map_err(|error| format!("it said what is not in the protocol, {error}: {}", shown()))
    }
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// And back; none where they are no such digits.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_those_of_the_manual() {
        let request = Request::Store {
            now: 5,
            offset: 8,
            size: 4,
            value: 9,
        };
        let text = serde_json::to_string(&request).expect("JSON");
        assert_eq!(
            text,
            r#"{"op":"store","now":5,"offset":8,"size":4,"value":9}"#
        );
        assert_eq!(
            Said::read(br#"{"do":"waitfor","behaviour":1,"ns":50}"#),
            Ok(Said::Act(Act::Waitfor {
                behaviour: 1,
                ns: 50
            }))
        );
        let done = Done {
            value: Some(7),
            ..Done::default()
        };
        assert_eq!(
            Said::read(br#"{"done":{"value":7}}"#),
            Ok(Said::Done(Box::new(done)))
        );
        for text in [
            "",
            "7",
            "{}",
            r#"{"done":{"x":1}}"#,
            r#"{"do":"fly"}"#,
            r#"{"done":{"value":-1}}"#,
        ] {
            assert!(Said::read(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn bytes_are_hexadecimal() {
        assert_eq!(hex(&[0, 0xa5]), "00a5");
        assert_eq!(unhex("00a5"), Some(vec![0, 0xa5]));
        for text in ["0", "0g", "é"] {
            assert_eq!(unhex(text), None);
        }
    }
}
