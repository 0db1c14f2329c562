//! A network that fails as it is told to: it stands between a card and what the card is connected to. Who tells it keeps a handle.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Network;

/// A frame that shall come after the next one goes alone when so many virtual nanoseconds have passed without one.
const PATIENCE: u64 = 100_000_000;

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the guest.
    Received,
    /// From the guest.
    Sent,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameFailure {
    /// A bit, counted from the first byte's bit 0 and modulo the bits of the frame, is wrong.
    Flipped(u64),
    /// Bits from a byte on are others; what is beyond the end of the frame is not.
    Changed {
        /// The first byte.
        at: usize,
        /// What becomes of bits that are 0, byte by byte.
        zeros: Vec<u8>,
        /// What becomes of bits that are 1.
        ones: Vec<u8>,
    },
    /// It is lost.
    Dropped,
    /// It comes twice.
    Duplicated,
    /// It comes after the next one.
    Reordered,
    /// It comes so many virtual nanoseconds later, and others overtake it.
    Delayed(u64),
}

/// A failure of some frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameRule {
    /// Which way they go.
    pub way: Way,
    /// The first one, from 1, counted from when the rule is given.
    pub first: u64,
    /// From there on the first `on` of every `period` frames fail.
    pub on: u64,
    /// See `on`; not 0.
    pub period: u64,
    /// For so many frames; none is for ever.
    pub frames: Option<u64>,
    /// What.
    pub failure: FrameFailure,
}

impl FrameRule {
    /// Whether the frame with that number fails.
    fn hits(&self, number: u64) -> bool {
        number.checked_sub(self.first).is_some_and(|passed| {
            self.frames.is_none_or(|frames| passed < frames) && passed % self.period < self.on
        })
    }
}

/// A rule, and how many frames it has seen.
#[derive(Debug)]
struct Armed {
    rule: FrameRule,
    seen: u64,
    used: u64,
}

#[derive(Debug, Default)]
struct Rules {
    armed: Vec<Armed>,
    received: u64,
    sent: u64,
}

/// The handle: failures that the network has, to be added to at any time.
#[derive(Clone, Debug, Default)]
pub struct FrameFailures(Arc<Mutex<Rules>>);

impl FrameFailures {
    /// Adds one.
    pub fn add(&self, rule: FrameRule) {
        self.lock().armed.push(Armed {
            rule,
            seen: 0,
            used: 0,
        });
    }

    /// Takes all away, and counts frames from 0.
    pub fn clear(&self) {
        *self.lock() = Rules::default();
    }

    /// How many frames failed so far.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.lock().armed.iter().map(|armed| armed.used).sum()
    }

    /// How many frames have gone that way.
    #[must_use]
    pub fn frames(&self, way: Way) -> u64 {
        match way {
            Way::Received => self.lock().received,
            Way::Sent => self.lock().sent,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Rules> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The failures that a frame meets; they are used by that.
    fn meet(&self, way: Way) -> Vec<FrameFailure> {
        let mut rules = self.lock();
        match way {
            Way::Received => rules.received += 1,
            Way::Sent => rules.sent += 1,
        }
        let mut met = Vec::new();
        for armed in rules.armed.iter_mut().filter(|one| one.rule.way == way) {
            armed.seen += 1;
            if armed.rule.hits(armed.seen) {
                armed.used += 1;
                met.push(armed.rule.failure.clone());
            }
        }
        met
    }
}

/// Frames that go one way.
#[derive(Debug, Default)]
struct Stream {
    /// They can go on.
    ready: VecDeque<Vec<u8>>,
    /// They wait for a time.
    delayed: Vec<(u64, Vec<u8>)>,
    /// They wait for the next one, or for a time.
    overtaken: Vec<(u64, Vec<u8>)>,
}

impl Stream {
    /// A frame comes, and meets failures.
    fn pass(&mut self, now: u64, mut frame: Vec<u8>, met: &[FrameFailure]) {
        let (mut copies, mut delay, mut waits) = (1, 0, false);
        for failure in met {
            match failure {
                FrameFailure::Dropped => copies = 0,
                FrameFailure::Duplicated => copies *= 2,
                FrameFailure::Delayed(time) => delay += time,
                FrameFailure::Reordered => waits = true,
                FrameFailure::Flipped(bit) => flip(&mut frame, *bit),
                FrameFailure::Changed { at, zeros, ones } => {
                    let bytes = frame.iter_mut().skip(*at);
                    for (byte, (zero, one)) in bytes.zip(zeros.iter().zip(ones)) {
                        *byte = !*byte & zero | *byte & one;
                    }
                }
            }
        }
        let copies = std::iter::repeat_n(frame, copies);
        if delay > 0 {
            let at = now.saturating_add(delay);
            self.delayed.extend(copies.map(|frame| (at, frame)));
        } else if waits {
            let at = now.saturating_add(PATIENCE);
            self.overtaken.extend(copies.map(|frame| (at, frame)));
        } else {
            self.ready.extend(copies);
            let overtaken = self.overtaken.drain(..);
            self.ready.extend(overtaken.map(|(_, frame)| frame));
        }
    }

    /// The next frame that can go on now.
    fn next(&mut self, now: u64) -> Option<Vec<u8>> {
        for waiting in [&mut self.delayed, &mut self.overtaken] {
            waiting.sort_by_key(|(at, _)| *at);
            let due = waiting.partition_point(|(at, _)| *at <= now);
            self.ready
                .extend(waiting.drain(..due).map(|(_, frame)| frame));
        }
        self.ready.pop_front()
    }

    /// When there is one.
    fn due(&self) -> Option<u64> {
        let waiting = self.delayed.iter().chain(&self.overtaken);
        let ready = (!self.ready.is_empty()).then_some(0);
        waiting.map(|(at, _)| *at).chain(ready).min()
    }
}

fn flip(frame: &mut [u8], bit: u64) {
    if !frame.is_empty() {
        let bit = (bit % (8 * frame.len() as u64)) as usize;
        frame[bit / 8] ^= 1 << (bit % 8);
    }
}

/// A network with failures.
#[derive(Debug)]
pub struct FaultyNetwork {
    network: Box<dyn Network>,
    failures: FrameFailures,
    received: Stream,
    sent: Stream,
}

impl FaultyNetwork {
    /// Puts failures in front of a network.
    #[must_use]
    pub fn new(network: Box<dyn Network>, failures: FrameFailures) -> Self {
        FaultyNetwork {
            network,
            failures,
            received: Stream::default(),
            sent: Stream::default(),
        }
    }

    /// Sends what can be sent now.
    fn flush(&mut self, now: u64) {
        while let Some(frame) = self.sent.next(now) {
            self.network.send(now, &frame);
        }
    }
}

impl Network for FaultyNetwork {
    fn send(&mut self, now: u64, frame: &[u8]) {
        let met = self.failures.meet(Way::Sent);
        self.sent.pass(now, frame.to_vec(), &met);
        self.flush(now);
    }

    fn receive(&mut self, now: u64) -> Option<Vec<u8>> {
        self.flush(now);
        loop {
            if let Some(frame) = self.received.next(now) {
                return Some(frame);
            }
            let frame = self.network.receive(now)?;
            let met = self.failures.meet(Way::Received);
            self.received.pass(now, frame, &met);
        }
    }

    fn next_event(&self, look_at: u64) -> Option<u64> {
        let held = [self.received.due(), self.sent.due()];
        let held = held.into_iter().flatten().map(|at| at.max(look_at));
        held.chain(self.network.next_event(look_at)).min()
    }

    fn wait(&mut self, limit: Duration) -> bool {
        self.network.wait(limit)
    }

    fn reset(&mut self) {
        self.received = Stream::default();
        self.sent = Stream::default();
        self.network.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::network::tests::Looped;

    const NONE: [u8; 0] = [];

    fn rule(way: Way, first: u64, failure: FrameFailure) -> FrameRule {
        FrameRule {
            way,
            first,
            on: 1,
            period: 1,
            frames: Some(1),
            failure,
        }
    }

    fn network(rules: &[FrameRule]) -> FaultyNetwork {
        let failures = FrameFailures::default();
        for rule in rules {
            failures.add(rule.clone());
        }
        FaultyNetwork::new(Box::new(Looped::default()), failures)
    }

    /// The first bytes of the frames that come back at a time.
    fn back(network: &mut FaultyNetwork, now: u64) -> Vec<u8> {
        std::iter::from_fn(|| network.receive(now))
            .map(|frame| frame[0])
            .collect()
    }

    fn send(network: &mut FaultyNetwork, numbers: std::ops::Range<u8>) {
        for number in numbers {
            network.send(0, &[number; 60]);
        }
    }

    #[test]
    fn each_way_has_its_failures() {
        for way in [Way::Received, Way::Sent] {
            for (failure, expected) in [
                (FrameFailure::Dropped, [0, 1, 3].as_slice()),
                (FrameFailure::Duplicated, &[0, 1, 2, 2, 3]),
                (FrameFailure::Reordered, &[0, 1, 3, 2]),
                (FrameFailure::Delayed(500), &[0, 1, 3]),
                (FrameFailure::Flipped(480 + 7), &[0, 1, 0x82, 3]),
            ] {
                let mut wire = network(&[rule(way, 3, failure.clone())]);
                send(&mut wire, 0..4);
                assert_eq!(back(&mut wire, 0), expected, "{way:?} {failure:?}");
                assert_eq!(wire.failures.used(), 1);
                assert_eq!(wire.failures.frames(Way::Sent), 4);
            }
        }
    }

    #[test]
    fn a_delayed_frame_comes_when_its_time_has_come() {
        for way in [Way::Received, Way::Sent] {
            let mut wire = network(&[rule(way, 1, FrameFailure::Delayed(500))]);
            send(&mut wire, 0..2);
            assert_eq!(back(&mut wire, 0), [1]);
            assert_eq!(wire.next_event(100), Some(500));
            assert_eq!(back(&mut wire, 499), NONE);
            assert_eq!(back(&mut wire, 500), [0]);
            assert_eq!(wire.next_event(600), None);
        }
    }

    #[test]
    fn the_last_frame_cannot_be_overtaken_for_ever_and_a_reset_drops_what_waits() {
        let mut wire = network(&[FrameRule {
            frames: None,
            ..rule(Way::Received, 1, FrameFailure::Reordered)
        }]);
        send(&mut wire, 0..1);
        assert_eq!(back(&mut wire, 0), NONE);
        assert_eq!(wire.next_event(0), Some(PATIENCE));
        assert_eq!(back(&mut wire, PATIENCE), [0]);
        send(&mut wire, 1..2);
        assert_eq!(back(&mut wire, PATIENCE), NONE);
        wire.reset();
        assert_eq!(back(&mut wire, 10 * PATIENCE), NONE);
    }

    #[test]
    fn every_second_of_the_frames_from_the_third_on_fails_and_bits_beyond_the_end_do_not_matter() {
        let changed = FrameFailure::Changed {
            at: 59,
            zeros: vec![0xf0, 0xff],
            ones: vec![0xff, 0xff],
        };
        let mut wire = network(&[FrameRule {
            period: 2,
            frames: None,
            ..rule(Way::Sent, 3, changed)
        }]);
        send(&mut wire, 0..6);
        let last: Vec<u8> = std::iter::from_fn(|| wire.receive(0))
            .inspect(|frame| assert_eq!(frame.len(), 60))
            .map(|frame| frame[59])
            .collect();
        assert_eq!(last, [0, 1, 0xf2, 3, 0xf4, 5]);
    }

    #[test]
    fn without_a_failure_nothing_differs() {
        let mut wire = network(&[rule(Way::Sent, 7, FrameFailure::Dropped)]);
        send(&mut wire, 0..6);
        assert_eq!(back(&mut wire, 0), [0, 1, 2, 3, 4, 5]);
        assert_eq!(wire.failures.used(), 0);
        assert_eq!(wire.failures.frames(Way::Received), 6);
        wire.failures.clear();
        assert_eq!(wire.failures.frames(Way::Received), 0);
    }
}
