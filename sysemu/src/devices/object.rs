//! What a device shows of itself to people and tools: what it is, its registers by name, the lines that can be driven.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::devices::device::Context;

/// A thing in the tree of objects of a machine.
pub trait Object {
    /// What it is, in the words of users of QEMU where those have one.
    fn kind(&self) -> &'static str;

    /// Its state: an object whose fields are its registers.
    fn state(&self) -> Value;

    /// Takes a state over, one that [`Object::state`] gave with some values changed.
    ///
    /// # Errors
    /// When a value is none that the field can have: a fragment of a sentence. Nothing has changed then.
    fn set_state(&mut self, state: Value) -> Result<(), String>;

    /// The same, by somebody outside: what the device does because of it may need the board.
    ///
    /// # Errors
    /// The same.
    fn set(&mut self, _context: &mut Context, state: Value) -> Result<(), String> {
        self.set_state(state)
    }

    /// Groups of input lines, by name and how many there are; the one without a name is called "".
    fn inputs(&self) -> Vec<(String, usize)> {
        Vec::new()
    }

    /// Drives an input line, one of [`Object::inputs`].
    fn drive(&mut self, _context: &mut Context, _group: &str, _number: usize, _level: bool) {}
}

/// A device that is nothing but its registers: its fields are its properties.
pub trait Registers: Serialize + DeserializeOwned {
    /// As [`Object::kind`].
    const KIND: &'static str;
    /// As [`Object::inputs`].
    const INPUTS: &'static [(&'static str, usize)] = &[];

    /// As [`Object::drive`].
    fn drive(&mut self, _context: &mut Context, _group: &str, _number: usize, _level: bool) {}
}

impl<T: Registers> Object for T {
    fn kind(&self) -> &'static str {
        T::KIND
    }

    fn state(&self) -> Value {
        // A register that JSON has no form for would be a mistake of its author; the tree then shows none.
        serde_json::to_value(self).unwrap_or_default()
    }

    fn set_state(&mut self, state: Value) -> Result<(), String> {
        *self = serde_json::from_value(state).map_err(|error| error.to_string())?;
        Ok(())
    }

    fn inputs(&self) -> Vec<(String, usize)> {
        let inputs = T::INPUTS.iter();
        inputs
            .map(|&(name, count)| (name.to_owned(), count))
            .collect()
    }

    fn drive(&mut self, context: &mut Context, group: &str, number: usize, level: bool) {
        Registers::drive(self, context, group, number, level);
    }
}
