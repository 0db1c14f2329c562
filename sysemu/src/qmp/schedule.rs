//! Events to come, by virtual time.

use std::collections::BTreeMap;

use crate::qmp::action::Notify;

/// Events that clients asked for. Those of one time happen in the order in which they were asked for.
#[derive(Debug, Default)]
pub struct Schedule {
    events: BTreeMap<(u64, u64), Notify>,
    asked: u64,
}

/// Events that may wait at a time; more is a client gone wild.
const MOST: usize = 1 << 20;

impl Schedule {
    /// Adds an event at an absolute time.
    ///
    /// # Errors
    /// When there are too many: a sentence.
    pub fn add(&mut self, time: u64, event: Notify) -> Result<(), String> {
        if self.events.len() == MOST {
            return Err(format!("{MOST} events wait already"));
        }
        self.events.insert((time, self.asked), event);
        self.asked += 1;
        Ok(())
    }

    /// When the next one is.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        self.events.keys().next().map(|&(time, _)| time)
    }

    /// The next one, if its time has come.
    pub fn due(&mut self, now: u64) -> Option<Notify> {
        let entry = self.events.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qmp::action::NotifyKind;

    fn event(id: u64) -> Notify {
        Notify {
            id,
            time: 0,
            relative: false,
            stop: true,
            kind: NotifyKind::Fault,
        }
    }

    #[test]
    fn events_come_by_time_and_then_in_order() {
        let mut schedule = Schedule::default();
        for (time, id) in [(20, 1), (10, 2), (20, 3)] {
            schedule.add(time, event(id)).expect("there is room");
        }
        assert_eq!(schedule.next(), Some(10));
        assert_eq!(schedule.due(9), None);
        let order: Vec<u64> = std::iter::from_fn(|| schedule.due(20))
            .map(|e| e.id)
            .collect();
        assert_eq!(order, [2, 1, 3]);
        assert!(schedule.is_empty());
    }
}
