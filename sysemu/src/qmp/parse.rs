//! From a JSON value to an action: the table of commands, and what each one's arguments mean.

use serde_json::{Map, Value};

use crate::qmp::action::{
    Action, Form, Notify, NotifyKind, Place, Processor, Query, SnapshotStep, Space,
};
use crate::qmp::arguments::{Arguments, missing, spelled};
use crate::qmp::message::Failure;

/// A request, perhaps a wrong one.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// To be given back with the answer.
    pub id: Option<Value>,
    /// What to do.
    pub command: Result<Command, Failure>,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// The end of the negotiation.
    Capabilities,
    /// Everything else.
    Action(Action),
}

type Reader = fn(&mut Arguments) -> Result<Command, Failure>;

/// Every command: name, how its arguments are read, one line of help.
#[rustfmt::skip]
const COMMANDS: &[(&str, Reader, &str)] = &[
    ("qmp_capabilities", capabilities, "end the negotiation"),
    ("query-version", |_| query(Query::Version), "the version of the protocol and of fits"),
    ("query-commands", |_| query(Query::Commands), "the names of all commands"),
    ("query-status", |_| query(Query::Status), "whether the machine runs"),
    ("query-name", |_| query(Query::Name), "the name of the machine"),
    ("query-cpus-fast", |_| query(Query::Processors), "the processors"),
    ("query-memory-size-summary", |_| query(Query::MemorySize), "bytes of guest memory"),
    ("query-kvm", |_| query(Query::Kvm), "whether the processor is the host's"),
    ("query-target", |_| query(Query::Target), "the architecture"),
    ("query-jobs", |_| query(Query::Jobs), "jobs that have ended and were not dismissed"),
    ("query-faults", |_| query(Query::Faults), "what faults have done so far"),
    ("inject-fault", |a| action(Action::Inject(a.text("fault")?)), "a fault, in the words of fits vm --fault"),
    ("stop", |_| action(Action::Stop), "stop the machine"),
    ("cont", |_| action(Action::Continue), "let it go on"),
    ("quit", |_| action(Action::Quit), "end it"),
    ("system_reset", |_| action(Action::Reset), "press the reset button"),
    ("system_powerdown", |_| action(Action::PowerDown), "press the power button"),
    ("inject-nmi", |_| action(Action::Nmi), "raise a non-maskable interrupt"),
    ("human-monitor-command", monitor, "a line of the human monitor"),
    ("memsave", |a| save(a, Space::Virtual), "virtual memory into a file"),
    ("pmemsave", |a| save(a, Space::Physical), "physical memory into a file"),
    ("snapshot-save", |a| snapshot(a, SnapshotStep::Save), "keep the state of the machine"),
    ("snapshot-load", |a| snapshot(a, SnapshotStep::Load), "go back to a state"),
    ("snapshot-delete", |a| snapshot(a, SnapshotStep::Delete), "forget a state"),
    ("job-dismiss", |a| action(Action::DismissJob(a.text("id")?)), "forget a job that has ended"),
    ("qom-list", list_object, "properties and children of an object"),
    ("qom-get", get_property, "read a property"),
    ("qom-set", set_property, "set a property"),
    ("trigger_event", trigger_event, "an event some time from now, at which the machine stops"),
    ("write_mem", write_number, "write 1 to 8 bytes at a physical address"),
    ("read_mem", read_number, "read 1 to 8 bytes at a physical address"),
    ("inject_gpio", inject_gpio, "drive a line of a device"),
    ("time-notify", time_notify, "an event at a virtual time"),
    ("memread", |a| read_bytes(a, Space::Virtual), "read bytes at a virtual address"),
    ("memwrite", |a| write_bytes(a, Space::Virtual), "write bytes at a virtual address"),
    ("pmemread", |a| read_bytes(a, Space::Physical), "read bytes at a physical address"),
    ("pmemwrite", |a| write_bytes(a, Space::Physical), "write bytes at a physical address"),
    ("gpio-set", gpio_set, "drive a line of a device"),
];

/// Names and help of all commands.
pub fn commands() -> impl Iterator<Item = (&'static str, &'static str)> {
    COMMANDS.iter().map(|&(name, _, help)| (name, help))
}

/// Reads a value of the stream.
#[must_use]
pub fn request(bytes: &[u8]) -> Request {
    match serde_json::from_slice(bytes) {
        Err(error) => refused(None, format!("JSON parse error, {error}")),
        Ok(Value::Object(object)) => object_request(object),
        Ok(_) => refused(None, "QMP input must be a JSON object".into()),
    }
}

/// A request that is none.
#[must_use]
pub fn refused(id: Option<Value>, sentence: String) -> Request {
    Request {
        id,
        command: Err(Failure::new(sentence)),
    }
}

fn object_request(mut object: Map<String, Value>) -> Request {
    let id = object.remove("id");
    Request {
        command: command(object),
        id,
    }
}

fn command(mut object: Map<String, Value>) -> Result<Command, Failure> {
    let name = match object.remove("execute") {
        Some(Value::String(name)) => name,
        Some(_) => return Err(Failure::new("QMP input member 'execute' must be a string")),
        None => return Err(Failure::new("QMP input lacks member 'execute'")),
    };
    let arguments = match object.remove("arguments") {
        None => Map::new(),
        Some(Value::Object(arguments)) => arguments,
        Some(_) => {
            return Err(Failure::new(
                "QMP input member 'arguments' must be an object",
            ));
        }
    };
    if let Some(member) = object.keys().next() {
        return Err(Failure::new(format!(
            "QMP input member '{member}' is unexpected"
        )));
    }
    let wanted = spelled(&name);
    let Some((_, reader, _)) = COMMANDS.iter().find(|(known, ..)| spelled(known) == wanted) else {
        return Err(Failure::no_command(format!(
            "The command {name} has not been found"
        )));
    };
    let mut arguments = Arguments::new(arguments)?;
    let command = reader(&mut arguments)?;
    arguments.finish()?;
    Ok(command)
}

fn action(action: Action) -> Result<Command, Failure> {
    Ok(Command::Action(action))
}

fn query(query: Query) -> Result<Command, Failure> {
    action(Action::Query(query))
}

fn capabilities(arguments: &mut Arguments) -> Result<Command, Failure> {
    // None is offered, so none can be enabled.
    if let Ok(enable) = arguments.any("enable") {
        let asked = enable.as_array().and_then(|list| list.first());
        if let Some(name) = asked {
            return Err(Failure::new(format!("Capability {name} not available")));
        }
    }
    Ok(Command::Capabilities)
}

fn monitor(arguments: &mut Arguments) -> Result<Command, Failure> {
    let line = arguments.text("command-line")?;
    one_processor(arguments.optional_count("cpu-index")?)?;
    action(Action::Monitor(line))
}

/// Refuses a processor that the machine does not have.
fn one_processor(index: Option<u64>) -> Result<(), Failure> {
    match index {
        None | Some(0) => Ok(()),
        Some(_) => Err(Failure::new("Parameter 'cpu-index' expects a CPU number")),
    }
}

fn save(arguments: &mut Arguments, space: Space) -> Result<Command, Failure> {
    let saved = Action::SaveMemory {
        space,
        address: arguments.bits("val")?,
        size: arguments.count("size")?,
        file: arguments.text("filename")?,
    };
    one_processor(arguments.optional_count("cpu-index")?)?;
    action(saved)
}

fn snapshot(arguments: &mut Arguments, step: SnapshotStep) -> Result<Command, Failure> {
    let action_of = Action::Snapshot {
        step,
        job: Some(arguments.text("job-id")?),
        tag: arguments.text("tag")?,
    };
    // Where it is kept is decided here: in memory.
    let _ = (arguments.any("vmstate"), arguments.any("devices"));
    action(action_of)
}

fn list_object(arguments: &mut Arguments) -> Result<Command, Failure> {
    action(Action::ListObject(arguments.text("path")?))
}

fn get_property(arguments: &mut Arguments) -> Result<Command, Failure> {
    action(Action::GetProperty {
        path: arguments.text("path")?,
        property: arguments.text("property")?,
    })
}

fn set_property(arguments: &mut Arguments) -> Result<Command, Failure> {
    action(Action::SetProperty {
        path: arguments.text("path")?,
        property: arguments.text("property")?,
        value: arguments.any("value")?,
    })
}

fn trigger_event(arguments: &mut Arguments) -> Result<Command, Failure> {
    action(Action::Notify(Notify {
        id: arguments.count("event_id")?,
        time: arguments.count("time_ns")?,
        relative: true,
        stop: true,
        kind: NotifyKind::Fault,
    }))
}

fn time_notify(arguments: &mut Arguments) -> Result<Command, Failure> {
    action(Action::Notify(Notify {
        id: arguments.count("event_id")?,
        time: arguments.count("time_ns")?,
        relative: arguments.optional_truth("relative")?.unwrap_or(false),
        stop: arguments.optional_truth("pause")?.unwrap_or(false),
        kind: NotifyKind::Time,
    }))
}

/// The place of an access: `qom` is asked before `cpu`, and without both it is the first processor.
fn place(arguments: &mut Arguments, space: Space) -> Result<Place, Failure> {
    let address = arguments.bits("addr")?;
    let number = arguments.optional_count("cpu")?;
    // An attribute of accesses that nothing here depends on.
    arguments.optional_truth("debug")?;
    let processor = match arguments.optional_text("qom")? {
        Some(path) => Processor::Path(path),
        None => Processor::Number(number.unwrap_or(0)),
    };
    Ok(Place {
        space,
        address,
        processor,
    })
}

fn number_size(arguments: &mut Arguments) -> Result<u64, Failure> {
    match arguments.count("size")? {
        size @ 1..=8 => Ok(size),
        size => Err(Failure::new(format!(
            "Parameter 'size' expects a number of bytes from 1 to 8, not {size}"
        ))),
    }
}

fn read_number(arguments: &mut Arguments) -> Result<Command, Failure> {
    action(Action::Read {
        place: place(arguments, Space::Physical)?,
        size: number_size(arguments)?,
        form: Form::Number,
    })
}

fn write_number(arguments: &mut Arguments) -> Result<Command, Failure> {
    let size = number_size(arguments)?;
    let value = arguments.bits("val")?;
    action(Action::Write {
        place: place(arguments, Space::Physical)?,
        bytes: value.to_le_bytes()[..size as usize].to_vec(),
    })
}

/// As many bytes as fit into an answer whose line stays under 64 KiB, which is what client libraries read.
const MOST_BYTES: u64 = 8192;

fn read_bytes(arguments: &mut Arguments, space: Space) -> Result<Command, Failure> {
    let place = place(arguments, space)?;
    let size = arguments.count("size")?;
    if size > MOST_BYTES {
        return Err(Failure::new(format!(
            "Parameter 'size' expects at most {MOST_BYTES} bytes: read in pieces, or use pmemsave"
        )));
    }
    action(Action::Read {
        place,
        size,
        form: Form::Bytes,
    })
}

fn write_bytes(arguments: &mut Arguments, space: Space) -> Result<Command, Failure> {
    action(Action::Write {
        place: place(arguments, space)?,
        bytes: arguments.bytes("bytes")?,
    })
}

fn inject_gpio(arguments: &mut Arguments) -> Result<Command, Failure> {
    let device = arguments.text("device_name")?;
    gpio(arguments, device, "num", "val")
}

fn gpio_set(arguments: &mut Arguments) -> Result<Command, Failure> {
    let device = arguments.text("path")?;
    gpio(arguments, device, "number", "value")
}

fn gpio(
    arguments: &mut Arguments,
    device: String,
    number: &str,
    level: &str,
) -> Result<Command, Failure> {
    action(Action::Gpio {
        device,
        group: arguments
            .optional_text("gpio")?
            .filter(|name| !name.is_empty()),
        number: arguments.optional_count(number)?.unwrap_or(0),
        level: arguments
            .optional_truth(level)?
            .ok_or_else(|| missing(level))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action_of(text: &str) -> Action {
        match request(text.as_bytes()).command {
            Ok(Command::Action(action)) => action,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn sentence(text: &str) -> String {
        request(text.as_bytes())
            .command
            .expect_err("it is refused")
            .sentence
    }

    #[test]
    fn every_generation_of_the_client_means_the_same() {
        let place = |processor| Place {
            space: Space::Physical,
            address: 2_097_152,
            processor,
        };
        let write = |processor| Action::Write {
            place: place(processor),
            bytes: vec![0xef, 0xbe, 0xad, 0xde],
        };
        for (text, expected) in [
            (
                r#"{"execute":"write_mem","arguments":{"size":4,"addr":2097152,"val":3735928559,"cpu":0,"debug":false}}"#,
                write(Processor::Number(0)),
            ),
            (
                r#"{"execute":"write-mem","arguments":{"size":4,"addr":2097152,"val":3735928559}}"#,
                write(Processor::Number(0)),
            ),
            (
                r#"{"execute":"write_mem","arguments":{"size":4,"addr":2097152,"val":3735928559,"qom":"/x","debug":true}}"#,
                write(Processor::Path("/x".into())),
            ),
            (
                r#"{"execute":"pmemwrite","arguments":{"addr":2097152,"bytes":[239,190,173,222]}}"#,
                write(Processor::Number(0)),
            ),
        ] {
            assert_eq!(action_of(text), expected, "{text}");
        }
        for text in [
            r#"{"execute":"inject_gpio","arguments":{"device_name":"p","gpio":"","num":3,"val":1}}"#,
            r#"{"execute":"inject-gpio","arguments":{"device-name":"p","num":3,"val":true}}"#,
            r#"{"execute":"gpio-set","arguments":{"path":"p","number":3,"value":true}}"#,
        ] {
            let expected = Action::Gpio {
                device: "p".into(),
                group: None,
                number: 3,
                level: true,
            };
            assert_eq!(action_of(text), expected, "{text}");
        }
    }

    #[test]
    fn wrong_requests_get_sentences() {
        for (text, expected) in [
            ("[]", "QMP input must be a JSON object"),
            ("{}", "QMP input lacks member 'execute'"),
            (
                r#"{"execute":1}"#,
                "QMP input member 'execute' must be a string",
            ),
            (
                r#"{"execute":"stop","arguments":[]}"#,
                "QMP input member 'arguments' must be an object",
            ),
            (
                r#"{"execute":"stop","more":1}"#,
                "QMP input member 'more' is unexpected",
            ),
            (
                r#"{"execute":"stop","arguments":{"now":1}}"#,
                "Parameter 'now' is unexpected",
            ),
            (r#"{"execute":"fly"}"#, "The command fly has not been found"),
            (
                r#"{"execute":"trigger_event","arguments":{"event_id":0}}"#,
                "Parameter 'time_ns' is missing",
            ),
            (
                r#"{"execute":"read_mem","arguments":{"addr":0,"size":9}}"#,
                "Parameter 'size' expects a number of bytes from 1 to 8, not 9",
            ),
        ] {
            assert_eq!(sentence(text), expected, "{text}");
        }
        assert!(sentence("{nonsense}").starts_with("JSON parse error, "));
        // Deeper than anything sensible: an error, not an overflow of the stack.
        assert!(sentence(&"[".repeat(100_000)).starts_with("JSON parse error, "));
    }

    #[test]
    fn the_id_comes_back_with_an_error_too() {
        let request = request(br#"{"execute":"fly","id":{"n":[1]}}"#);
        assert_eq!(request.id, Some(serde_json::json!({"n": [1]})));
    }
}
