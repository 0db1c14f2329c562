//! What a run to moments looks for: landmarks, each found in time that does not grow with how many there are.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use fits_stats::protocol::ThreadNumber;
use fits_stats::template::UnitId;
use fits_tracer::engine::{Found, Landmark, Moment};
use rustc_hash::FxHashMap;

/// So many arrivals before the one that is searched for, each is looked at.
const NEAR: u64 = 256;

/// Landmarks of one kind by what they are counted by, in falling order: the last is the next. With the number of each.
type Queue = Vec<(u64, usize)>;

/// System calls of one number.
#[derive(Debug, Default)]
struct Calls {
    seen: u64,
    queue: Queue,
}

/// What a run is made for.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// Where the run stops.
    pub(super) stop: Option<Moment>,
    /// What was found, in the order in which it was asked for.
    pub(super) found: Vec<Option<Found>>,
    /// How much of it is missing.
    open: usize,
    indices: FxHashMap<ThreadNumber, Queue>,
    arrivals: FxHashMap<(ThreadNumber, u64), Queue>,
    calls: FxHashMap<(ThreadNumber, u64), Calls>,
    /// Of each thread: by which index an address must be looked at again, since each arrival takes an instruction. Those in `near` are not here.
    due: FxHashMap<ThreadNumber, BinaryHeap<Reverse<(u64, u64)>>>,
    /// Instructions that begin a unit: its counter tells how often they were executed.
    pub(super) marks: BTreeMap<u64, Vec<UnitId>>,
    /// Marked instructions that are executed by themselves each time, since the arrival that is searched for is near: address and thread.
    near: BTreeSet<(u64, ThreadNumber)>,
}

impl Search {
    /// A run to a moment.
    pub(super) fn to(moment: Moment) -> Self {
        Self {
            stop: Some(moment),
            ..Self::default()
        }
    }

    /// A run to the last of several landmarks. Executions of the instructions in `counted` are counted.
    pub(super) fn of(
        landmarks: impl Iterator<Item = Landmark>,
        counted: impl Iterator<Item = u64>,
    ) -> Self {
        let mut search = Self::default();
        landmarks.for_each(|landmark| search.add(landmark));
        search.marks.extend(counted.map(|pc| (pc, Vec::new())));
        let queues = search
            .indices
            .values_mut()
            .chain(search.arrivals.values_mut());
        let queues = queues.chain(search.calls.values_mut().map(|calls| &mut calls.queue));
        queues.for_each(|queue| queue.sort_unstable_by_key(|&next| Reverse(next)));
        for (&(thread, address), queue) in &search.arrivals {
            let first = queue.last().map_or(0, |next| next.0);
            let due = search.due.entry(thread).or_default();
            due.push(Reverse((first.saturating_sub(1), address)));
        }
        search
    }

    fn add(&mut self, landmark: Landmark) {
        let number = self.found.len();
        self.found.push(None);
        self.open += 1;
        match landmark {
            Landmark::Index(moment) => {
                let queue = self.indices.entry(moment.thread).or_default();
                queue.push((moment.index, number));
            }
            Landmark::Arrival {
                thread,
                address,
                count,
            } => {
                self.marks.entry(address).or_default();
                let queue = self.arrivals.entry((thread, address)).or_default();
                queue.push((count, number));
            }
            Landmark::Call {
                thread,
                number: call,
                count,
            } => {
                let calls = self.calls.entry((thread, call)).or_default();
                calls.queue.push((count, number));
            }
            // Not searched for here.
            Landmark::Access { .. } => {}
        }
    }

    /// Everything was found.
    pub(super) fn is_complete(&self) -> bool {
        !self.found.is_empty() && self.open == 0
    }

    /// The next index at which a thread must be looked at. What lies before `retired` does not come any more.
    fn next_index(&mut self, thread: ThreadNumber, retired: u64) -> Option<u64> {
        let stop = self
            .stop
            .filter(|stop| stop.thread == thread && stop.index > retired);
        let wanted = self.indices.get_mut(&thread).and_then(|queue| {
            while queue.last().is_some_and(|next| next.0 <= retired) {
                queue.pop();
            }
            queue.last().map(|next| next.0)
        });
        stop.map(|stop| stop.index).into_iter().chain(wanted).min()
    }

    /// How many instructions a thread may execute before it must be looked at.
    pub(super) fn room(&mut self, thread: ThreadNumber, retired: u64) -> u64 {
        let index = self.next_index(thread, retired);
        let due = self.due.get(&thread).and_then(BinaryHeap::peek);
        let due = due.map(|&Reverse((index, _))| index);
        let next = index.into_iter().chain(due).min();
        next.map_or(u64::MAX, |next| next.saturating_sub(retired))
    }

    /// A thread stands at `moment`, before the instruction at `pc`, which it has executed so often before, if that is counted.
    pub(super) fn at(&mut self, moment: Moment, pc: u64, executed: Option<u64>) {
        let here = Found {
            moment,
            pc,
            arrivals: executed.map_or(0, |executed| executed + 1),
        };
        if let Some(queue) = self.indices.get_mut(&moment.thread) {
            take(queue, moment.index, here, &mut self.found, &mut self.open);
        }
        if let (Some(executed), Some(queue)) =
            (executed, self.arrivals.get_mut(&(moment.thread, pc)))
        {
            take(queue, executed + 1, here, &mut self.found, &mut self.open);
        }
    }

    /// A thread is about to make a system call.
    pub(super) fn calls(&mut self, moment: Moment, pc: u64, called: u64) {
        let Some(calls) = self.calls.get_mut(&(moment.thread, called)) else {
            return;
        };
        calls.seen += 1;
        let here = Found {
            moment,
            pc,
            arrivals: 0,
        };
        take(
            &mut calls.queue,
            calls.seen,
            here,
            &mut self.found,
            &mut self.open,
        );
    }

    /// Whether one of the marked instructions in `range` is executed by itself: the first.
    pub(super) fn first_near(&self, range: std::ops::Range<u64>) -> Option<u64> {
        let near = self.near.range((range.start, 0)..(range.end, 0)).next();
        near.map(|&(pc, _)| pc)
    }

    /// Has those marked instructions executed by themselves each time that a thread is about to arrive at as often as is searched for. `executed`
    /// tells how often it has executed one. The addresses for which that has changed.
    pub(super) fn approach(
        &mut self,
        thread: ThreadNumber,
        retired: u64,
        pc: u64,
        executed: impl Fn(&Self, u64) -> Option<u64>,
    ) -> Vec<u64> {
        let mut changed = Vec::new();
        if self.near.contains(&(pc, thread)) {
            self.place(thread, retired, pc, &executed, &mut changed);
        }
        loop {
            let Some(due) = self.due.get_mut(&thread) else {
                return changed;
            };
            let Some(&Reverse((index, address))) = due.peek() else {
                return changed;
            };
            if index > retired + NEAR {
                return changed;
            }
            due.pop();
            self.place(thread, retired, address, &executed, &mut changed);
        }
    }

    /// Decides when an address that is searched for has to be looked at next.
    fn place(
        &mut self,
        thread: ThreadNumber,
        retired: u64,
        address: u64,
        executed: &impl Fn(&Self, u64) -> Option<u64>,
        changed: &mut Vec<u64>,
    ) {
        let queue = self.arrivals.get(&(thread, address));
        let next = queue.and_then(|queue| queue.last()).map(|next| next.0);
        let left = next
            .zip(executed(self, address))
            .map(|(count, executed)| count.saturating_sub(executed + 1));
        let is_near = left.is_some_and(|left| left <= NEAR);
        let key = (address, thread);
        let was_near = if is_near {
            !self.near.insert(key)
        } else {
            self.near.remove(&key)
        };
        if was_near != is_near {
            changed.push(address);
        }
        if let Some(left) = left.filter(|_| !is_near) {
            let due = self.due.entry(thread).or_default();
            due.push(Reverse((retired + left, address)));
        }
    }
}

/// Takes those out of a queue that are at `count`, or before it, where they were missed.
fn take(queue: &mut Queue, count: u64, here: Found, found: &mut [Option<Found>], open: &mut usize) {
    while let Some(&(next, number)) = queue.last()
        && next <= count
    {
        queue.pop();
        if next == count {
            found[number] = Some(here);
            *open -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(index: u64) -> Moment {
        Moment { thread: 0, index }
    }

    #[test]
    fn indices_come_in_order_whatever_order_they_were_asked_in() {
        let landmarks = [30, 10, 20, 10].map(|index| Landmark::Index(moment(index)));
        let mut search = Search::of(landmarks.into_iter(), std::iter::empty());
        assert_eq!(search.room(0, 0), 10);
        search.at(moment(10), 0x1000, None);
        assert_eq!(search.room(0, 10), 10);
        // One that was missed does not hold up the others.
        assert_eq!(search.room(0, 25), 5);
        search.at(moment(30), 0x1001, None);
        let found: Vec<_> = search
            .found
            .iter()
            .map(|one| one.map(|one| one.pc))
            .collect();
        assert_eq!(found, [Some(0x1001), Some(0x1000), None, Some(0x1000)]);
        assert!(!search.is_complete());
    }

    #[test]
    fn arrivals_are_looked_at_before_they_can_come() {
        let arrival = |count| Landmark::Arrival {
            thread: 0,
            address: 0x5000,
            count,
        };
        let landmarks = [arrival(1000), arrival(1001)];
        let mut search = Search::of(landmarks.into_iter(), std::iter::empty());
        assert!(search.approach(0, 0, 0, |_, _| Some(0)).is_empty());
        assert_eq!(search.room(0, 0), 999);
        // After 800 instructions it has come by 100 times: 899 more can come.
        assert!(search.approach(0, 800, 0, |_, _| Some(100)).is_empty());
        assert_eq!(search.room(0, 800), 899);
        // Near: each time by itself, until both were found.
        assert_eq!(search.approach(0, 1699, 0, |_, _| Some(900)), [0x5000]);
        assert_eq!(search.first_near(0x4ff0..0x5001), Some(0x5000));
        assert_eq!(search.room(0, 1699), u64::MAX);
        search.at(moment(1800), 0x5000, Some(999));
        assert!(
            search
                .approach(0, 1800, 0x5000, |_, _| Some(999))
                .is_empty()
        );
        search.at(moment(1810), 0x5000, Some(1000));
        assert_eq!(
            search.approach(0, 1810, 0x5000, |_, _| Some(1000)),
            [0x5000]
        );
        assert_eq!(search.first_near(0..u64::MAX), None);
        assert!(search.is_complete());
    }

    #[test]
    fn calls_are_counted_by_number() {
        let call = |number, count| Landmark::Call {
            thread: 0,
            number,
            count,
        };
        let mut search = Search::of([call(1, 2), call(0, 1)].into_iter(), std::iter::empty());
        for (index, number) in [(5, 1), (6, 0), (7, 1)] {
            search.calls(moment(index), 0x1000, number);
        }
        let found: Vec<_> = search
            .found
            .iter()
            .flatten()
            .map(|one| one.moment.index)
            .collect();
        assert_eq!(found, [7, 6]);
        assert!(search.is_complete());
    }

    /// A hundred thousand moments take as long per moment as a thousand.
    #[test]
    fn many_moments_are_not_searched_one_by_one() {
        let count = 100_000;
        let landmarks = (0..count).map(|index| Landmark::Index(moment(10 * index)));
        let mut search = Search::of(landmarks, std::iter::empty());
        let began = std::time::Instant::now();
        for index in 0..count {
            search.at(moment(10 * index), 0x1000, None);
            assert_eq!(
                search.room(0, 10 * index),
                if index + 1 < count { 10 } else { u64::MAX }
            );
        }
        assert!(search.is_complete());
        assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    }
}
