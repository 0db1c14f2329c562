//! The arguments of a command, with checks whose sentences are those that clients of the protocol know.
//!
//! Clients of different generations spell arguments with underscores or with dashes; both are the same here.

use serde_json::{Map, Value};

use crate::qmp::message::Failure;

/// The one spelling that is compared.
#[must_use]
pub(crate) fn spelled(name: &str) -> String {
    name.replace('-', "_")
}

/// Arguments that were not yet taken.
#[derive(Debug)]
pub(crate) struct Arguments {
    rest: Map<String, Value>,
}

impl Arguments {
    /// Of a command's object.
    pub(crate) fn new(given: Map<String, Value>) -> Result<Self, Failure> {
        let mut rest = Map::new();
        for (name, value) in given {
            if rest.insert(spelled(&name), value).is_some() {
                return Err(Failure::new(format!(
                    "Parameter '{name}' is given twice, in both spellings"
                )));
            }
        }
        Ok(Arguments { rest })
    }

    /// Nothing may be left.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        match self.rest.keys().next() {
            None => Ok(()),
            Some(name) => Err(Failure::new(format!("Parameter '{name}' is unexpected"))),
        }
    }

    /// An argument of any type; null counts as absent, as clients send it so.
    fn take(&mut self, name: &str) -> Option<Value> {
        self.rest
            .remove(&spelled(name))
            .filter(|value| !value.is_null())
    }

    /// Takes an argument that need not be there.
    fn optional<T>(
        &mut self,
        name: &str,
        expected: &str,
        convert: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        convert(&value).map(Some).ok_or_else(|| {
            Failure::new(format!(
                "Invalid parameter type for '{name}', expected: {expected}"
            ))
        })
    }

    /// A value of any type.
    pub(crate) fn any(&mut self, name: &str) -> Result<Value, Failure> {
        self.rest
            .remove(&spelled(name))
            .ok_or_else(|| missing(name))
    }

    /// Text.
    pub(crate) fn text(&mut self, name: &str) -> Result<String, Failure> {
        self.optional_text(name)?.ok_or_else(|| missing(name))
    }

    /// Text.
    pub(crate) fn optional_text(&mut self, name: &str) -> Result<Option<String>, Failure> {
        self.optional(name, "string", |value| value.as_str().map(str::to_owned))
    }

    /// An integer of 64 bits, signed or not: its bits.
    pub(crate) fn bits(&mut self, name: &str) -> Result<u64, Failure> {
        self.optional_bits(name)?.ok_or_else(|| missing(name))
    }

    /// The same.
    pub(crate) fn optional_bits(&mut self, name: &str) -> Result<Option<u64>, Failure> {
        self.optional(name, "integer", |value| {
            value
                .as_u64()
                .or_else(|| value.as_i64().map(i64::cast_unsigned))
        })
    }

    /// An integer that is not negative.
    pub(crate) fn count(&mut self, name: &str) -> Result<u64, Failure> {
        self.optional_count(name)?.ok_or_else(|| missing(name))
    }

    /// The same.
    pub(crate) fn optional_count(&mut self, name: &str) -> Result<Option<u64>, Failure> {
        let value = self.optional(name, "integer", |value| {
            value
                .as_u64()
                .map(Ok)
                .or_else(|| value.as_i64().map(|_| Err(())))
        })?;
        match value {
            None => Ok(None),
            Some(Ok(count)) => Ok(Some(count)),
            Some(Err(())) => Err(Failure::new(format!(
                "Parameter '{name}' expects a non-negative value"
            ))),
        }
    }

    /// A truth value; clients send numbers too.
    pub(crate) fn optional_truth(&mut self, name: &str) -> Result<Option<bool>, Failure> {
        self.optional(name, "boolean", |value| {
            value
                .as_bool()
                .or_else(|| value.as_i64().map(|number| number != 0))
        })
    }

    /// A list of bytes.
    pub(crate) fn bytes(&mut self, name: &str) -> Result<Vec<u8>, Failure> {
        let convert = |value: &Value| {
            value
                .as_array()?
                .iter()
                .map(|byte| u8::try_from(byte.as_u64()?).ok())
                .collect()
        };
        self.optional(name, "list of integers from 0 to 255", convert)?
            .ok_or_else(|| missing(name))
    }
}

pub(crate) fn missing(name: &str) -> Failure {
    Failure::new(format!("Parameter '{name}' is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn arguments(value: Value) -> Arguments {
        let Value::Object(object) = value else {
            unreachable!("an object was given")
        };
        Arguments::new(object).expect("no argument is there twice")
    }

    #[test]
    fn both_spellings_are_the_same() {
        for name in ["time-ns", "time_ns"] {
            let mut given = arguments(json!({name: 5}));
            assert_eq!(given.count("time_ns"), Ok(5));
            assert_eq!(given.finish(), Ok(()));
        }
        let Value::Object(twice) = json!({"time-ns": 1, "time_ns": 2}) else {
            unreachable!("it is an object")
        };
        assert!(Arguments::new(twice).is_err());
    }

    #[test]
    fn sentences_are_those_of_the_protocol() {
        let mut given = arguments(json!({"a": "x", "b": -1, "c": 1}));
        let sentence = |failure: Failure| failure.sentence;
        assert_eq!(
            given.bits("a").map_err(sentence),
            Err("Invalid parameter type for 'a', expected: integer".into())
        );
        assert_eq!(
            given.count("b").map_err(sentence),
            Err("Parameter 'b' expects a non-negative value".into())
        );
        assert_eq!(
            given.text("d").map_err(sentence),
            Err("Parameter 'd' is missing".into())
        );
        assert_eq!(
            given.finish().map_err(sentence),
            Err("Parameter 'c' is unexpected".into())
        );
    }

    #[test]
    fn integers_have_64_bits_with_and_without_sign() {
        let mut given = arguments(json!({"a": -1, "b": u64::MAX, "c": 1.5}));
        assert_eq!(given.bits("a"), Ok(u64::MAX));
        assert_eq!(given.bits("b"), Ok(u64::MAX));
        assert!(given.bits("c").is_err());
    }
}
