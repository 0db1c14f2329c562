//! Rows of a plan made of intervals: one for each class that has to be run, one for each interval that is known.

use fits_tracer::engine::{Found, Moment};
use rustc_hash::FxHashMap;

use super::{Interval, Window};
use crate::bits::Bits;
use crate::campaign::point::{Point, Verdict};
use crate::fault::Operation;
use crate::resolve::Draw;

/// The rows for one fault of `operation` (flip, stuck at 0 or 1, once) in each bit at each moment of the intervals. Their weights add up to the
/// points of the intervals.
///
/// A row that has to be run stands for all moments of its interval, and goes into the last of them. A row that is known stands for all bits and
/// moments of its interval too, and names one of these, drawn from `seed`. `found` holds where the moments lie, by index.
#[must_use]
pub fn points_of(
    intervals: &[Interval],
    window: Window,
    operation: Operation,
    found: &FxHashMap<u64, Found>,
    seed: u64,
) -> Vec<Point> {
    let mut rows = Rows {
        thread: window.thread,
        operation,
        found,
        draw: Draw::new(seed),
        points: Vec::new(),
    };
    for interval in intervals {
        rows.add(interval);
    }
    rows.points
}

/// The moments that [`points_of`] may name.
#[must_use]
pub(super) fn moments(window: Window) -> Vec<Moment> {
    let thread = window.thread;
    (window.from..window.to)
        .map(|index| Moment { thread, index })
        .collect()
}

struct Rows<'a> {
    thread: u32,
    operation: Operation,
    found: &'a FxHashMap<u64, Found>,
    draw: Draw,
    points: Vec<Point>,
}

impl Rows<'_> {
    fn add(&mut self, interval: &Interval) {
        // Bits that have the value already do not change, whatever becomes of them.
        let constant = match self.operation {
            Operation::Stuck0 => interval.bits & !interval.value,
            Operation::Stuck1 => interval.bits & interval.value,
            _ => Bits::ZERO,
        };
        self.known(interval, constant, Verdict::Constant);
        let changing = interval.bits & !constant;
        match interval.fate.verdict() {
            Some(verdict) => self.known(interval, changing, verdict),
            None => changing.iter().for_each(|bit| self.live(interval, bit)),
        }
    }

    /// One row for all of some bits at all moments of an interval.
    fn known(&mut self, interval: &Interval, bits: Bits, verdict: Verdict) {
        if bits.is_zero() {
            return;
        }
        let drawn = self.draw.address(u64::from(bits.count()));
        let bit = bits.iter().nth(drawn as usize).unwrap_or_default();
        let index = interval.from + self.draw.moment(interval.to - interval.from);
        let weight = (interval.to - interval.from) as f64 * f64::from(bits.count());
        self.push(interval, bit, index, weight, Some(verdict));
    }

    /// A row that has to be run.
    fn live(&mut self, interval: &Interval, bit: u32) {
        let weight = (interval.to - interval.from) as f64;
        self.push(interval, bit, interval.to - 1, weight, None);
    }

    fn push(
        &mut self,
        interval: &Interval,
        bit: u32,
        index: u64,
        weight: f64,
        verdict: Option<Verdict>,
    ) {
        let operation = match self.operation {
            Operation::Stuck0 => "stuck0:",
            Operation::Stuck1 => "stuck1:",
            _ => "",
        };
        let thread = match self.thread {
            0 => String::new(),
            thread => format!(",thread={thread}"),
        };
        let location = &interval.location;
        self.points.push(Point {
            number: self.points.len() as u64,
            fault: format!("{location}:{operation}{bit}@{index}{thread}"),
            found: self.found.get(&index).copied(),
            weight,
            stratum: None,
            // It is the only row of its class.
            class: None,
            verdict,
        });
    }
}
