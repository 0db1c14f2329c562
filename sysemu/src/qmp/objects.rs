//! The tree of objects: the machine, its processor, every device of the board, with their properties and lines.
//!
//! What a device shows comes from its own [`Object`]; nothing here knows a device. Fields of fields are
//! properties with a path, `channels[0].reload`.

use serde_json::{Map, Value, json};

use crate::board::pc::Pc;
use crate::cpu::Processor;
use crate::cpu::Register;
use crate::devices::device::Context;
use crate::devices::object::Object;
use crate::qmp::message::Failure;

/// A place in the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Root,
    Machine,
    Unattached,
    Peripheral,
    Processor,
    Device(String),
}

/// Kinds of what is no device.
const MACHINE: &str = "pc-machine";
const PROCESSOR: &str = "fits-x86_64-cpu";
const CONTAINER: &str = "container";
/// The readable name of the processor.
const PROCESSOR_NAME: &str = "cpu0";
/// Devices of users are also found below `/machine/peripheral`.
pub(crate) const USER_KIND: &str = "user-device";

/// The largest integer that a property is set to: times in it are far away, and sums of them cannot overflow.
const LARGEST: u64 = 1 << 53;

/// The tree of a machine.
#[derive(Debug)]
pub(crate) struct Tree<'a> {
    processor: &'a mut Processor,
    settings: &'a mut Map<String, Value>,
}

/// The properties of the machine itself. What programs set there to prepare a start is kept, and has no effect.
pub(crate) fn settings() -> Map<String, Value> {
    let Value::Object(settings) = json!({
        "usb": false,
        "graphics": false,
        "acpi": true,
        "dump-guest-core": true,
    }) else {
        return Map::new();
    };
    settings
}

impl<'a> Tree<'a> {
    pub(crate) fn new(processor: &'a mut Processor, settings: &'a mut Map<String, Value>) -> Self {
        Tree {
            processor,
            settings,
        }
    }

    fn board(&mut self) -> Option<&mut Pc> {
        self.processor.cpu.bus.as_any().downcast_mut::<Pc>()
    }

    fn devices(&mut self) -> Vec<String> {
        self.board()
            .map(|board| board.names().map(str::to_owned).collect())
            .unwrap_or_default()
    }

    /// What a path means: absolute, or the last part of one.
    pub(crate) fn resolve(&mut self, path: &str) -> Option<Node> {
        let devices = self.devices();
        let device = |name: &str| devices.iter().find(|&known| known == name).cloned();
        let numbered = |name: &str| {
            let number = name.strip_prefix("device[")?.strip_suffix(']')?;
            match number.parse::<usize>().ok()? {
                0 => Some(Node::Processor),
                number => devices.get(number - 1).cloned().map(Node::Device),
            }
        };
        let named = |name: &str| match name {
            PROCESSOR_NAME => Some(Node::Processor),
            _ => device(name).map(Node::Device),
        };
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        match (path.starts_with('/'), parts.as_slice()) {
            (true, []) => Some(Node::Root),
            (_, ["machine"]) => Some(Node::Machine),
            (true, ["machine", "unattached"]) | (false, ["unattached"]) => Some(Node::Unattached),
            (true, ["machine", "peripheral"]) | (false, ["peripheral"]) => Some(Node::Peripheral),
            (true, ["machine", "unattached", name]) | (false, ["unattached", name]) => {
                numbered(name)
            }
            (true, ["machine", "peripheral", name]) => device(name).map(Node::Device),
            (true, ["machine", name]) => named(name),
            (false, [name]) => named(name).or_else(|| numbered(name)),
            _ => None,
        }
    }

    fn found(&mut self, path: &str) -> Result<Node, Failure> {
        self.resolve(path)
            .ok_or_else(|| Failure::no_device(format!("Device '{path}' not found")))
    }

    /// `qom-list`.
    pub(crate) fn list(&mut self, path: &str) -> Result<Value, Failure> {
        let node = self.found(path)?;
        let kind = self.kind(&node);
        let mut entries = vec![entry("type", "string")];
        for (name, value) in self.properties(&node) {
            entries.push(entry(&name, type_of(&value)));
        }
        for (group, count) in self.inputs(&node) {
            let name = if group.is_empty() {
                format!("unnamed-gpio-in[0..{}]", count - 1)
            } else {
                format!("{group}[0..{}]", count - 1)
            };
            entries.push(entry(&name, "gpio"));
        }
        for (name, child) in self.children(&node) {
            entries.push(entry(&name, &format!("child<{}>", self.kind(&child))));
        }
        debug_assert!(!kind.is_empty());
        Ok(Value::Array(entries))
    }

    fn children(&mut self, node: &Node) -> Vec<(String, Node)> {
        let devices = self.devices();
        let named = devices
            .iter()
            .map(|name| (name.clone(), Node::Device(name.clone())));
        match node {
            Node::Root => vec![("machine".into(), Node::Machine)],
            Node::Machine => [
                ("unattached".into(), Node::Unattached),
                ("peripheral".into(), Node::Peripheral),
                (PROCESSOR_NAME.into(), Node::Processor),
            ]
            .into_iter()
            .chain(named)
            .collect(),
            Node::Unattached => std::iter::once(Node::Processor)
                .chain(devices.iter().cloned().map(Node::Device))
                .enumerate()
                .map(|(number, node)| (format!("device[{number}]"), node))
                .collect(),
            Node::Peripheral => {
                let all: Vec<_> = named.collect();
                all.into_iter()
                    .filter(|(_, node)| self.kind(node) == USER_KIND)
                    .collect()
            }
            Node::Processor | Node::Device(_) => Vec::new(),
        }
    }

    /// What an object is.
    pub(crate) fn kind(&mut self, node: &Node) -> String {
        match node {
            Node::Root | Node::Unattached | Node::Peripheral => CONTAINER.into(),
            Node::Machine => MACHINE.into(),
            Node::Processor => PROCESSOR.into(),
            Node::Device(name) => self
                .with_object(name, |object, _| object.kind().to_owned())
                .unwrap_or_else(|| name.clone()),
        }
    }

    /// Lets somebody look at what a device shows; none where it shows nothing.
    fn with_object<R>(
        &mut self,
        name: &str,
        look: impl FnOnce(&mut dyn Object, &mut Context) -> R,
    ) -> Option<R> {
        let now = self.processor.cpu.now();
        self.board()?.act(now, name, |device, context| {
            device.object().map(|object| look(object, context))
        })?
    }

    fn state(&mut self, node: &Node) -> Value {
        match node {
            Node::Machine => Value::Object(self.settings.clone()),
            Node::Processor => processor_state(self.processor),
            Node::Device(name) => self
                .with_object(name, |object, _| object.state())
                .unwrap_or_default(),
            Node::Root | Node::Unattached | Node::Peripheral => Value::Null,
        }
    }

    /// All properties, fields of fields by their paths.
    pub(crate) fn properties(&mut self, node: &Node) -> Vec<(String, Value)> {
        let mut found = Vec::new();
        flatten("", &self.state(node), &mut found);
        found
    }

    /// `qom-get`.
    pub(crate) fn get(&mut self, path: &str, property: &str) -> Result<Value, Failure> {
        let node = self.found(path)?;
        if property == "type" {
            return Ok(self.kind(&node).into());
        }
        let state = self.state(&node);
        let found = steps(property).and_then(|steps| {
            steps
                .iter()
                .try_fold(&state, |value, step| step.of(value))
                .filter(|_| !is_wiring(property))
                .cloned()
        });
        found.ok_or_else(|| self.no_property(&node, property))
    }

    fn no_property(&mut self, node: &Node, property: &str) -> Failure {
        Failure::new(format!(
            "Property '{}.{property}' not found",
            self.kind(node)
        ))
    }

    /// `qom-set`.
    pub(crate) fn set(&mut self, path: &str, property: &str, value: Value) -> Result<(), Failure> {
        let node = self.found(path)?;
        if property == "type" {
            return Err(Failure::new(
                "Insufficient permission to perform this operation",
            ));
        }
        let old = self.get(path, property)?;
        check_type(property, &old, &value)?;
        if let Node::Processor = node {
            return set_register(self.processor, property, &value);
        }
        let mut state = self.state(&node);
        let place = steps(property).and_then(|steps| {
            steps
                .iter()
                .try_fold(&mut state, |value, step| step.of_mut(value))
        });
        match place {
            Some(place) => *place = value,
            None => return Err(self.no_property(&node, property)),
        }
        match (node, state) {
            (Node::Machine, Value::Object(settings)) => {
                *self.settings = settings;
                Ok(())
            }
            (Node::Device(name), state) => self
                .with_object(&name, |object, context| object.set(context, state))
                .unwrap_or(Ok(()))
                .map_err(|reason| {
                    Failure::new(format!("Property '{property}' cannot be set: {reason}"))
                }),
            _ => Ok(()),
        }
    }

    fn inputs(&mut self, node: &Node) -> Vec<(String, usize)> {
        match node {
            Node::Processor => vec![("nmi".into(), 1)],
            Node::Device(name) => self
                .with_object(name, |object, _| object.inputs())
                .unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    /// Drives a line.
    pub(crate) fn drive(
        &mut self,
        path: &str,
        group: Option<&str>,
        number: u64,
        level: bool,
    ) -> Result<(), Failure> {
        let node = match self.resolve(path) {
            Some(node @ (Node::Processor | Node::Device(_))) => node,
            _ => return Err(Failure::new(format!("Device '{path}' is not a device"))),
        };
        // As the framework's own server says it, spelling included.
        let missing = || {
            let shown = group.unwrap_or("unnammed");
            Failure::new(format!("GPIO '{shown}' doesn't exists"))
        };
        let wanted = match group {
            None | Some("unnamed-gpio-in") => "",
            Some(name) => name,
        };
        let inputs = self.inputs(&node);
        let (group, count) = inputs
            .into_iter()
            .find(|(name, _)| name == wanted)
            .ok_or_else(missing)?;
        let number = usize::try_from(number)
            .ok()
            .filter(|&number| number < count)
            .ok_or_else(missing)?;
        let Node::Device(name) = node else {
            if level {
                self.processor.inject_nmi();
            }
            return Ok(());
        };
        let now = self.processor.cpu.now();
        if let Some(board) = self.board() {
            board.act(now, &name, |device, context| {
                if let Some(object) = device.object() {
                    object.drive(context, &group, number, level);
                }
            });
        }
        Ok(())
    }
}

fn entry(name: &str, kind: &str) -> Value {
    json!({"name": name, "type": kind})
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "bool",
        Value::Number(_) | Value::Null => "int",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "struct",
    }
}

/// Which line a device is soldered to is no property: it cannot change.
fn is_wiring(property: &str) -> bool {
    let field = property.split(['.', '[']).next();
    field == Some("line") || field == Some("lines_of")
}

fn flatten(prefix: &str, value: &Value, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let path = if prefix.is_empty() {
                    name.clone()
                } else {
                    format!("{prefix}.{name}")
                };
                if !is_wiring(&path) {
                    flatten(&path, field, found);
                }
            }
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            for (index, item) in items.iter().enumerate() {
                flatten(&format!("{prefix}[{index}]"), item, found);
            }
        }
        _ if prefix.is_empty() => {}
        _ => found.push((prefix.to_owned(), value.clone())),
    }
}

/// A step of the path to a property.
#[derive(Debug, PartialEq, Eq)]
enum Step<'a> {
    Field(&'a str),
    Item(usize),
}

impl Step<'_> {
    fn of<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        match self {
            Step::Field(name) => value.get(name),
            Step::Item(index) => value.get(index),
        }
    }

    fn of_mut<'v>(&self, value: &'v mut Value) -> Option<&'v mut Value> {
        match self {
            Step::Field(name) => value.get_mut(name),
            Step::Item(index) => value.get_mut(index),
        }
    }
}

/// The steps of a path such as `channels[0].reload`, `[1].mask`; none where it is no path.
fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let mut found = Vec::new();
    for part in path.split('.') {
        let mut pieces = part.split('[');
        let name = pieces.next()?;
        if !name.is_empty() {
            found.push(Step::Field(name));
        }
        for piece in pieces {
            found.push(Step::Item(piece.strip_suffix(']')?.parse().ok()?));
        }
    }
    Some(found)
}

/// A value must be of the type of the old one; an integer where none is there.
fn check_type(property: &str, old: &Value, new: &Value) -> Result<(), Failure> {
    let same = match (old, new) {
        (Value::Number(_) | Value::Null, Value::Number(_)) => {
            return match new.as_u64() {
                Some(value)
                    if value <= LARGEST || old.as_u64().is_some_and(|old| old > LARGEST) =>
                {
                    Ok(())
                }
                Some(_) if property_is_register(property) => Ok(()),
                _ if property_is_register(property) && new.is_i64() => Ok(()),
                _ => Err(Failure::new(format!(
                    "Parameter '{property}' expects an integer from 0 to {LARGEST}"
                ))),
            };
        }
        (Value::Null, Value::Null) => true,
        (Value::Array(old), Value::Array(new)) => {
            old.len() == new.len()
                && new.iter().all(|item| {
                    item.as_u64().is_some_and(|value| value <= LARGEST) || item.is_boolean()
                })
        }
        _ => std::mem::discriminant(old) == std::mem::discriminant(new),
    };
    if same {
        return Ok(());
    }
    let expected = match type_of(old) {
        "int" => "integer",
        "bool" => "boolean",
        other => other,
    };
    Err(Failure::new(format!(
        "Invalid parameter type for '{property}', expected: {expected}"
    )))
}

const GENERAL: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15",
];

/// The registers of 64 bits that are properties of the processor.
fn registers() -> impl Iterator<Item = (String, Register)> {
    let general = (0..)
        .zip(GENERAL)
        .map(|(number, name)| (name, Register::General(number)));
    let others = [
        ("rip", Register::InstructionPointer),
        ("rflags", Register::Flags),
        ("cr0", Register::Control(0)),
        ("cr2", Register::Control(2)),
        ("cr3", Register::Control(3)),
        ("cr4", Register::Control(4)),
        ("cr8", Register::Control(8)),
        ("dr0", Register::Debug(0)),
        ("dr1", Register::Debug(1)),
        ("dr2", Register::Debug(2)),
        ("dr3", Register::Debug(3)),
        ("dr6", Register::Debug(6)),
        ("dr7", Register::Debug(7)),
        ("fs_base", Register::SegmentBase(4)),
        ("gs_base", Register::SegmentBase(5)),
        ("gdt_base", Register::GdtBase),
        ("idt_base", Register::IdtBase),
        ("xcr0", Register::Xcr0),
        ("mxcsr", Register::Mxcsr),
        ("efer", Register::Model(0xc000_0080)),
    ];
    let vectors = (0..16).map(|number| (format!("ymm{number}"), Register::Vector(number)));
    general
        .chain(others)
        .map(|(name, register)| (name.to_owned(), register))
        .chain(vectors)
}

fn property_is_register(property: &str) -> bool {
    registers().any(|(name, _)| name == property)
}

fn processor_state(processor: &mut Processor) -> Value {
    let cpu = &mut processor.cpu;
    let mut state = Map::new();
    for (name, register) in registers() {
        let Some(bytes) = cpu.register(register) else {
            continue;
        };
        let value = match register {
            Register::Vector(_) => bytes
                .iter()
                .rev()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
                .into(),
            _ => low(&bytes).into(),
        };
        state.insert(name, value);
    }
    state.insert("halted".into(), cpu.halted.into());
    state.insert("cpl".into(), cpu.cpl.into());
    state.insert("retired".into(), cpu.retired.into());
    state.insert("apic-id".into(), 0.into());
    state.insert("realized".into(), true.into());
    Value::Object(state)
}

/// The low 64 bits of a register.
pub(crate) fn low(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .take(8)
        .rev()
        .fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}

fn set_register(processor: &mut Processor, name: &str, value: &Value) -> Result<(), Failure> {
    let Some((_, register)) = registers().find(|(known, _)| known == name) else {
        return Err(Failure::new(
            "Insufficient permission to perform this operation",
        ));
    };
    let mut bytes = [0; 32];
    match value {
        Value::String(text) => bytes = vector(name, text)?,
        _ => {
            let number = value
                .as_u64()
                .or_else(|| value.as_i64().map(i64::cast_unsigned))
                .unwrap_or_default();
            bytes[..8].copy_from_slice(&number.to_le_bytes());
        }
    }
    processor
        .cpu
        .set_register(register, &bytes)
        .map_err(Failure::new)?;
    processor.refresh();
    Ok(())
}

/// A vector register as it is shown: 64 hexadecimal digits, the most significant first.
fn vector(name: &str, text: &str) -> Result<[u8; 32], Failure> {
    let digits = text.as_bytes();
    let mut bytes = [0; 32];
    let valid = digits.len() == 64 && digits.iter().all(u8::is_ascii_hexdigit);
    if !valid {
        return Err(Failure::new(format!(
            "Parameter '{name}' expects 64 hexadecimal digits"
        )));
    }
    let digit = |at: usize| char::from(digits[at]).to_digit(16).unwrap_or_default() as u8;
    for (index, byte) in bytes.iter_mut().rev().enumerate() {
        *byte = digit(2 * index) << 4 | digit(2 * index + 1);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_fields_have_paths() {
        let state =
            json!({"channels": [{"mode": 1}, {"mode": 2}], "ram": [1, 2], "line": {"number": 3}});
        let mut found = Vec::new();
        flatten("", &state, &mut found);
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["channels[0].mode", "channels[1].mode", "ram"]);
        for (path, expected) in [("channels[1].mode", json!(2)), ("ram[1]", json!(2))] {
            let value = steps(path)
                .expect("a path")
                .iter()
                .try_fold(&state, |value, step| step.of(value));
            assert_eq!(value, Some(&expected));
        }
        assert_eq!(steps("a[x]"), None);
        assert_eq!(
            steps("[1].mask"),
            Some(vec![Step::Item(1), Step::Field("mask")])
        );
    }

    #[test]
    fn vectors_are_written_as_they_are_shown() {
        let text = "00".repeat(31) + "a5";
        let bytes = vector("ymm0", &text).expect("64 digits");
        assert_eq!((bytes[0], bytes[1]), (0xa5, 0));
        assert!(vector("ymm0", "a5").is_err());
    }
}
