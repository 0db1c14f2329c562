//! Verdicts against real experiments: the proof of a campaign's own pruning.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::campaign::point::Point;
use crate::experiment::outcome::Outcome;
use crate::experiment::record::{EndRecord, Record};
use crate::experiment::session::{Session, SessionError};
use crate::resolve::Draw;

/// A point whose real experiment says something else than what was known without it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disagreement {
    /// Number of the point in the plan.
    pub number: u64,
    /// Its fault.
    pub fault: String,
    /// What was known: `overwritten`, `constant`, or `class of N`, and the outcome that this means.
    pub known: String,
    /// What the experiment gave, with its reason.
    pub real: String,
}

/// One check: a point, and what it must give.
struct Check<'a> {
    point: &'a Point,
    /// The point of its class that is run in any case; `None`: it must be masked.
    first: Option<&'a Point>,
}

/// Runs `count` of the points whose outcome is known without running them, drawn from `seed`, and compares: a point with a verdict must be masked,
/// a later point of a class must end like the first one. `run` makes an experiment; an outcome that does not count (not reached, invalid)
/// disagrees too. What does not agree.
///
/// # Errors
/// Those of `run`.
pub fn validate<E>(
    points: &[Point],
    count: usize,
    seed: u64,
    mut run: impl FnMut(&Point) -> Result<Record, E>,
) -> Result<Vec<Disagreement>, E> {
    let mut checks = known(points);
    let mut draw = Draw::new(seed);
    let mut firsts: BTreeMap<u64, Record> = BTreeMap::new();
    let mut all = Vec::new();
    for _ in 0..count.min(checks.len()) {
        let chosen = draw.moment(checks.len() as u64) as usize;
        let check = checks.swap_remove(chosen);
        let record = run(check.point)?;
        let (known, agrees) = match check.first {
            None => {
                let known = verdict(check.point);
                (known, record.outcome == Outcome::Masked)
            }
            Some(first) => {
                let golden = match firsts.remove(&first.number) {
                    Some(golden) => golden,
                    None => run(first)?,
                };
                let known = format!("class of {}, which gave {}", first.number, told(&golden));
                let agrees = same(&golden, &record);
                firsts.insert(first.number, golden);
                (known, agrees)
            }
        };
        if !agrees {
            all.push(Disagreement {
                number: check.point.number,
                fault: check.point.fault.clone(),
                known,
                real: told(&record),
            });
        }
    }
    Ok(all)
}

impl Session {
    /// The same with experiments of this session.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub fn validate_pruning(
        &mut self,
        points: &[Point],
        count: usize,
        seed: u64,
    ) -> Result<Vec<Disagreement>, SessionError> {
        validate(points, count, seed, |point| {
            let faults = point.found.map(|found| (point.fault.clone(), found));
            let faults = faults.into_iter().collect();
            self.experiment(point.number as usize, faults)
        })
    }
}

/// All points whose outcome is known without running them.
fn known(points: &[Point]) -> Vec<Check<'_>> {
    let mut firsts: BTreeMap<u64, &Point> = BTreeMap::new();
    let mut all = Vec::new();
    for point in points.iter().filter(|point| point.found.is_some()) {
        if point.verdict.is_some() {
            all.push(Check { point, first: None });
        } else if let Some(class) = point.class {
            match firsts.get(&class) {
                Some(first) => all.push(Check {
                    point,
                    first: Some(first),
                }),
                None => {
                    firsts.insert(class, point);
                }
            }
        }
    }
    all
}

fn verdict(point: &Point) -> String {
    let verdict = match point.verdict {
        Some(crate::campaign::point::Verdict::Constant) => "constant",
        _ => "overwritten",
    };
    format!("{verdict}: masked")
}

/// Whether two runs ended in the same way: outcome, status or signal, and where they crashed. (Of masked ones, one may have been ended early.)
fn same(one: &Record, other: &Record) -> bool {
    let same_end = one.outcome == Outcome::Masked || ending(one) == ending(other);
    one.outcome == other.outcome && one.outcome.is_counted() && same_end
}

fn ending(record: &Record) -> Option<EndRecord> {
    let mut end = record.end.clone();
    if let Some(EndRecord::Signaled { site, .. }) = &mut end {
        *site = Default::default();
    }
    end
}

fn told(record: &Record) -> String {
    format!("{} ({})", record.outcome, record.reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::point::Verdict;
    use crate::experiment::session::blank;
    use fits_tracer::engine::{Found, Moment};

    fn point(number: u64, class: Option<u64>, verdict: Option<Verdict>) -> Point {
        Point {
            number,
            fault: format!("reg:rax:{number}@5"),
            found: Some(Found {
                moment: Moment {
                    thread: 0,
                    index: 5,
                },
                pc: 0x1000,
                arrivals: 1,
            }),
            weight: 1.0,
            stratum: None,
            class,
            verdict,
        }
    }

    /// Checks all that is known, with these outcomes.
    fn disagreeing(points: &[Point], outcomes: &[Outcome]) -> Vec<u64> {
        let run = |point: &Point| {
            let outcome = outcomes[point.number as usize];
            Ok::<_, ()>(blank(0, Vec::new(), outcome, "so".to_owned()))
        };
        let found = validate(points, 100, 1, run).unwrap();
        let mut numbers: Vec<u64> = found.iter().map(|one| one.number).collect();
        numbers.sort_unstable();
        numbers
    }

    #[test]
    fn what_is_not_masked_or_not_as_its_class_disagrees() {
        let points = [
            point(0, None, Some(Verdict::Overwritten)),
            point(1, Some(3), None),
            point(2, Some(3), None),
            point(3, None, None),
            point(4, None, Some(Verdict::Constant)),
        ];
        use Outcome::{Crash, Invalid, Masked, Sdc};
        let fine = [Masked, Crash, Crash, Sdc, Masked];
        assert_eq!(disagreeing(&points, &fine), [] as [u64; 0]);
        let wrong = [Sdc, Crash, Sdc, Masked, Invalid];
        assert_eq!(disagreeing(&points, &wrong), [0, 2, 4]);
        // Two experiments that could not be carried out have not agreed.
        let invalid = [Masked, Invalid, Invalid, Sdc, Masked];
        assert_eq!(disagreeing(&points, &invalid), [2]);
    }

    #[test]
    fn the_seed_chooses() {
        let points: Vec<Point> = (0..50)
            .map(|number| point(number, None, Some(Verdict::Overwritten)))
            .collect();
        let chosen = |seed| {
            let mut numbers = Vec::new();
            let run = |point: &Point| {
                numbers.push(point.number);
                Ok::<_, ()>(blank(0, Vec::new(), Outcome::Masked, String::new()))
            };
            assert!(validate(&points, 5, seed, run).unwrap().is_empty());
            numbers
        };
        assert_eq!(chosen(7), chosen(7));
        assert_ne!(chosen(7), chosen(8));
        assert_eq!(chosen(7).len(), 5);
    }
}
