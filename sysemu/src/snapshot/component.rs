//! What every part of a machine must be able to do to be in a snapshot.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::SnapshotError;

/// A part of a machine whose state is one record of a snapshot.
///
/// 1. `save` writes all that `load` needs for the machine to go on as if nothing had happened.
/// 2. What `save` writes depends on the state alone: equal states give equal bytes.
/// 3. Caches, and what is outside of the machine (files, sockets, terminals), are not part of the state.
/// 4. Whoever changes what `save` writes raises the version.
pub trait Component {
    /// The version of what `save` writes; a record with another one is refused.
    fn version(&self) -> u32 {
        1
    }
    /// The state.
    fn save(&self) -> Vec<u8>;
    /// Takes the state over.
    ///
    /// # Errors
    /// When the bytes are not such a state: what is wrong, as a fragment of a sentence. The component is then not to be used any more.
    fn load(&mut self, bytes: &[u8]) -> Result<(), String>;
}

/// A component that is nothing but its state: it becomes a [`Component`] by this alone.
pub trait State: Serialize + DeserializeOwned {
    /// The version of its fields.
    const VERSION: u32 = 1;
}

impl<T: State> Component for T {
    fn version(&self) -> u32 {
        T::VERSION
    }

    fn save(&self) -> Vec<u8> {
        encode(self)
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), String> {
        *self = decode(bytes)?;
        Ok(())
    }
}

/// A value as bytes of a record.
///
/// # Panics
/// When the value's type cannot be encoded at all (a map of unknown length), which is a mistake of its author.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("the state of a component has a fixed form")
}

/// The value of the bytes.
///
/// # Errors
/// When they are not exactly one such value: what is wrong, as a fragment of a sentence.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(format!("{} bytes are left over", rest.len())),
        Err(error) => Err(error.to_string()),
    }
}

/// One record of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Which component it is of: a path such as `pc/timer`.
    pub tag: String,
    /// The version of its form.
    pub version: u32,
    /// The state.
    pub bytes: Vec<u8>,
}

/// The records of a machine, in the order of its components.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    list: Vec<Record>,
}

impl Records {
    /// Adds the state of a component.
    ///
    /// # Panics
    /// When there is a component of that name already.
    pub fn put(&mut self, tag: &str, component: &dyn Component) {
        self.push(Record {
            tag: tag.to_owned(),
            version: component.version(),
            bytes: component.save(),
        });
    }

    /// Adds a record.
    ///
    /// # Panics
    /// When there is one of that name already.
    pub fn push(&mut self, record: Record) {
        assert!(
            self.get(&record.tag).is_none(),
            "two components are called {}",
            record.tag
        );
        self.list.push(record);
    }

    /// The record of that name.
    #[must_use]
    pub fn get(&self, tag: &str) -> Option<&Record> {
        self.list.iter().find(|record| record.tag == tag)
    }

    /// The record of that name, to be changed.
    pub fn get_mut(&mut self, tag: &str) -> Option<&mut Record> {
        self.list.iter_mut().find(|record| record.tag == tag)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Record> {
        self.list.iter()
    }

    /// Begins to give them back.
    #[must_use]
    pub fn loader(&self) -> Loader<'_> {
        Loader {
            records: self,
            taken: vec![false; self.list.len()],
        }
    }
}

/// Gives records back to components, and sees to it that none is left.
#[derive(Debug)]
pub struct Loader<'a> {
    records: &'a Records,
    taken: Vec<bool>,
}

impl<'a> Loader<'a> {
    /// Gives a component its state.
    ///
    /// # Errors
    /// When there is no such record, it has another version, or it is no such state.
    pub fn give(&mut self, tag: &str, component: &mut dyn Component) -> Result<(), SnapshotError> {
        let bytes = self.take(tag, component.version())?;
        component
            .load(bytes)
            .map_err(|reason| SnapshotError::Malformed {
                tag: tag.to_owned(),
                reason,
            })
    }

    /// The bytes of a record of that version.
    ///
    /// # Errors
    /// When there is no such record, or it has another version.
    pub fn take(&mut self, tag: &str, version: u32) -> Result<&'a [u8], SnapshotError> {
        let found = self.records.list.iter().position(|r| r.tag == tag);
        let index = found.ok_or_else(|| SnapshotError::Missing {
            tag: tag.to_owned(),
        })?;
        let record = &self.records.list[index];
        if record.version != version {
            return Err(SnapshotError::Version {
                tag: tag.to_owned(),
                found: record.version,
                known: version,
            });
        }
        self.taken[index] = true;
        Ok(&record.bytes)
    }

    /// Leaves a record alone on purpose.
    pub fn skip(&mut self, tag: &str) {
        for (record, taken) in self.records.list.iter().zip(&mut self.taken) {
            *taken |= record.tag == tag;
        }
    }

    /// All components have their states.
    ///
    /// # Errors
    /// When a record is left: the machine has no such component.
    pub fn finish(self) -> Result<(), SnapshotError> {
        let mut all = self.records.list.iter().zip(&self.taken);
        match all.find(|(_, taken)| !**taken) {
            Some((record, _)) => Err(SnapshotError::Unexpected {
                tag: record.tag.clone(),
            }),
            None => Ok(()),
        }
    }
}
