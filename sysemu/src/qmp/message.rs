//! What the server says: the greeting, answers, errors, events. Each is one object on a line.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// The version of QEMU's protocol that clients find: the generation whose commands are spoken here.
const PROTOCOL: (u32, u32, u32) = (7, 2, 0);

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// One of the protocol's classes.
    pub class: Class,
    /// A sentence.
    pub sentence: String,
}

/// Classes of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Anything else.
    Generic,
    /// There is no such command, or not now.
    NoCommand,
    /// There is no such device.
    NoDevice,
}

impl Failure {
    /// Of the most frequent class.
    #[must_use]
    pub fn new(sentence: impl Into<String>) -> Self {
        Failure {
            class: Class::Generic,
            sentence: sentence.into(),
        }
    }

    /// There is no such command.
    #[must_use]
    pub fn no_command(sentence: impl Into<String>) -> Self {
        Failure {
            class: Class::NoCommand,
            sentence: sentence.into(),
        }
    }

    /// There is no such device.
    #[must_use]
    pub fn no_device(sentence: impl Into<String>) -> Self {
        Failure {
            class: Class::NoDevice,
            sentence: sentence.into(),
        }
    }
}

/// What a client sees first.
#[must_use]
pub fn greeting() -> Value {
    json!({"QMP": {"version": version(), "capabilities": []}})
}

/// The version, as `query-version` gives it too.
#[must_use]
pub fn version() -> Value {
    let (major, minor, micro) = PROTOCOL;
    json!({
        "qemu": {"major": major, "minor": minor, "micro": micro},
        "package": concat!("fits ", env!("CARGO_PKG_VERSION")),
    })
}

/// The answer to a command.
#[must_use]
pub fn answer(id: Option<&Value>, result: &Result<Value, Failure>) -> Value {
    let mut object = match result {
        Ok(value) => json!({"return": value}),
        Err(failure) => {
            let class = match failure.class {
                Class::Generic => "GenericError",
                Class::NoCommand => "CommandNotFound",
                Class::NoDevice => "DeviceNotFound",
            };
            json!({"error": {"class": class, "desc": failure.sentence}})
        }
    };
    if let Some(id) = id {
        object["id"] = id.clone();
    }
    object
}

/// An event; its time is the host's, as the protocol has it. Virtual times are in `data`.
#[must_use]
pub fn event(name: &str, data: Option<Value>) -> Value {
    // A clock before 1970 is shown as 1970.
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut object = json!({
        "event": name,
        "timestamp": {"seconds": now.as_secs(), "microseconds": now.subsec_micros()},
    });
    if let Some(data) = data {
        object["data"] = data;
    }
    object
}
