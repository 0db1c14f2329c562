//! What is to be done next: filled by one thread, emptied by the workers'.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::campaign::point::Point;
use crate::experiment::outcome::Outcome;

/// An experiment that is to be made.
#[derive(Debug, Clone)]
pub(super) struct Task {
    /// With this fault.
    pub(super) point: Point,
    /// Whether it may begin near its fault.
    pub(super) near: bool,
    /// The outcome that it must have, if it is known already.
    pub(super) expected: Option<Outcome>,
}

#[derive(Debug, Default)]
struct Inside {
    tasks: VecDeque<Task>,
    closed: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Queue {
    inside: Mutex<Inside>,
    changed: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds tasks at the end.
    pub(super) fn add(&self, tasks: impl IntoIterator<Item = Task>) {
        self.lock().tasks.extend(tasks);
        self.changed.notify_all();
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.lock().tasks.len()
    }

    /// Drops what waits; nobody waits for more.
    pub(super) fn close(&self) {
        let mut inside = self.lock();
        inside.tasks.clear();
        inside.closed = true;
        drop(inside);
        self.changed.notify_all();
    }

    /// The next task; `None` when there will be no more.
    pub(super) fn take(&self) -> Option<Task> {
        let mut inside = self.lock();
        loop {
            if inside.closed {
                return None;
            }
            if let Some(task) = inside.tasks.pop_front() {
                return Some(task);
            }
            inside = self
                .changed
                .wait(inside)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}
