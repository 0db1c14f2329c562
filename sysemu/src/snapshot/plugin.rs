//! Checkpoints with plug-ins: whoever acts on a machine from outside (faults, user-written devices, monitors) hears of checkpoints and
//! restarts, and has its own state in the image.
//!
//! | | events, in this order | plug-ins |
//! |---|---|---|
//! | checkpoint | `pre_suspend` (each may refuse), `disconnect`, `pre_checkpoint` | in order of registration |
//! | | the image is made, with a record `plugin/NAME` for each | |
//! | | `reconnect`, `resume` | in reverse order |
//! | restart | machine and plug-ins take their states over | in order of registration |
//! | | `reconnect`, `restart` | in reverse order |
//!
//! So a plug-in that builds on an earlier one finds it working whenever it is itself at work. A checkpoint that fails on the way is undone: those that have
//! heard `disconnect` hear `reconnect`, those that have agreed hear `resume`.

use std::fmt::Debug;

use super::Snapshot;
use super::component::{Component, Record};
use super::error::SnapshotError;
use crate::machine::Machine;

/// Why a plug-in cannot do what an event asks: a fragment of a sentence.
pub type Refusal = String;

/// Who wants to hear of checkpoints. Its [`Component`] is what it keeps in the image.
///
/// The machine stands between two instructions in all events.
pub trait Plugin: Component + Debug {
    /// Its name, by which its record is found again.
    fn name(&self) -> &str;

    /// A checkpoint is wanted.
    ///
    /// # Errors
    /// When it must not be now: the reason. Nothing has happened then.
    fn pre_suspend(&mut self, _machine: &mut Machine) -> Result<(), Refusal> {
        Ok(())
    }

    /// Lets go of what stands for hardware outside (a process, a socket), having brought its state in.
    ///
    /// # Errors
    /// When that fails: the checkpoint is given up.
    fn disconnect(&mut self, _machine: &mut Machine) -> Result<(), Refusal> {
        Ok(())
    }

    /// The image is about to be made.
    ///
    /// # Errors
    /// When that must not be: the checkpoint is given up.
    fn pre_checkpoint(&mut self, _machine: &mut Machine) -> Result<(), Refusal> {
        Ok(())
    }

    /// Takes hold of hardware outside again: the same after a checkpoint, perhaps another one after a restart.
    ///
    /// # Errors
    /// When that fails.
    fn reconnect(&mut self, _machine: &mut Machine) -> Result<(), Refusal> {
        Ok(())
    }

    /// The machine goes on after a checkpoint.
    fn resume(&mut self, _machine: &mut Machine) {}

    /// The machine goes on from an image. `known`: it was there when the image was made, and has its state from it.
    ///
    /// # Errors
    /// When it cannot go on.
    fn restart(&mut self, _machine: &mut Machine, _known: bool) -> Result<(), Refusal> {
        Ok(())
    }
}

/// Plug-ins in order of registration.
#[derive(Debug, Default)]
pub struct Plugins {
    list: Vec<Box<dyn Plugin>>,
    without: Vec<String>,
}

fn tag(name: &str) -> String {
    format!("plugin/{name}")
}

fn refused(plugin: &dyn Plugin, event: &'static str, reason: Refusal) -> SnapshotError {
    SnapshotError::Plugin {
        plugin: plugin.name().to_owned(),
        event,
        reason,
    }
}

impl Plugins {
    /// Adds one, after all others.
    ///
    /// # Errors
    /// When there is one of that name already: a sentence.
    pub fn register(&mut self, plugin: Box<dyn Plugin>) -> Result<(), String> {
        if self.list.iter().any(|other| other.name() == plugin.name()) {
            return Err(format!("there is a plug-in \"{}\" already", plugin.name()));
        }
        self.list.push(plugin);
        Ok(())
    }

    /// A restart goes on without the plug-in of that name, which the image has a state of.
    pub fn leave_out(&mut self, name: &str) {
        self.without.push(tag(name));
    }

    /// The plug-in of that name.
    pub fn get(&mut self, name: &str) -> Option<&mut dyn Plugin> {
        let found = self.list.iter_mut().find(|plugin| plugin.name() == name)?;
        Some(&mut **found)
    }

    /// Makes an image of the machine and all plug-ins; the machine can go on afterwards.
    ///
    /// # Errors
    /// When a plug-in refuses, or the image cannot be made: machine and plug-ins go on as if nothing had been asked.
    pub fn checkpoint(&mut self, machine: &mut Machine) -> Result<Snapshot, SnapshotError> {
        let mut agreed = 0;
        let mut disconnected = 0;
        let mut result = self.prepare(machine, &mut agreed, &mut disconnected);
        let image = result.and_then(|()| self.image(machine));
        result = self.go_on(machine, agreed, disconnected);
        let image = image?;
        result.map(|()| image)
    }

    fn prepare(
        &mut self,
        machine: &mut Machine,
        agreed: &mut usize,
        disconnected: &mut usize,
    ) -> Result<(), SnapshotError> {
        for plugin in &mut self.list {
            plugin
                .pre_suspend(machine)
                .map_err(|reason| SnapshotError::Vetoed {
                    plugin: plugin.name().to_owned(),
                    reason,
                })?;
            *agreed += 1;
        }
        for plugin in &mut self.list {
            // Also one that fails half-way is connected again.
            *disconnected += 1;
            plugin
                .disconnect(machine)
                .map_err(|reason| refused(&**plugin, "disconnect", reason))?;
        }
        for plugin in &mut self.list {
            plugin
                .pre_checkpoint(machine)
                .map_err(|reason| refused(&**plugin, "pre-checkpoint", reason))?;
        }
        Ok(())
    }

    fn image(&self, machine: &mut Machine) -> Result<Snapshot, SnapshotError> {
        let mut snapshot = machine.snapshot()?;
        for plugin in &self.list {
            snapshot.records.push(Record {
                tag: tag(plugin.name()),
                version: plugin.version(),
                bytes: plugin.save(),
            });
        }
        Ok(snapshot)
    }

    /// After an image, or instead of it. All hear of it, whatever the others say; the first failure is the one to tell.
    fn go_on(
        &mut self,
        machine: &mut Machine,
        agreed: usize,
        disconnected: usize,
    ) -> Result<(), SnapshotError> {
        let mut result = Ok(());
        for plugin in self.list[..disconnected].iter_mut().rev() {
            let reconnected = plugin
                .reconnect(machine)
                .map_err(|reason| refused(&**plugin, "reconnect", reason));
            result = result.and(reconnected);
        }
        for plugin in self.list[..agreed].iter_mut().rev() {
            plugin.resume(machine);
        }
        result
    }

    /// Takes a machine with the same hardware, and all plug-ins, to the state of an image. Plug-ins that the image does not know begin afresh.
    ///
    /// # Errors
    /// When the image is of another version or machine, has the state of a plug-in that is neither there nor left out, or a plug-in cannot go on:
    /// the machine is then not to be used.
    pub fn restart(
        &mut self,
        snapshot: &Snapshot,
        machine: &mut Machine,
    ) -> Result<(), SnapshotError> {
        let mut loader = snapshot.records().loader();
        machine.load_parts(snapshot, &mut loader)?;
        let mut known = Vec::new();
        for plugin in &mut self.list {
            let tag = tag(plugin.name());
            let kept = snapshot.records().get(&tag).is_some();
            if kept {
                loader.give(&tag, &mut **plugin)?;
            }
            known.push(kept);
        }
        for tag in &self.without {
            loader.skip(tag);
        }
        loader.finish()?;
        for plugin in self.list.iter_mut().rev() {
            plugin
                .reconnect(machine)
                .map_err(|reason| refused(&**plugin, "reconnect", reason))?;
        }
        for (plugin, known) in self.list.iter_mut().zip(known).rev() {
            plugin
                .restart(machine, known)
                .map_err(|reason| refused(&**plugin, "restart", reason))?;
        }
        Ok(())
    }
}
