//! The tables of a campaign: outcomes by kind of fault, with intervals; and what kernel faults do to programs.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use super::export::Row;
use super::outcome::{KernelSide, Outcome, UserSide};
use crate::campaign::statistics::{Interval, wilson};

/// Of all intervals.
pub const CONFIDENCE: f64 = 0.95;

/// Counts of one row.
#[derive(Clone, Debug, Default)]
struct Counts {
    outcomes: BTreeMap<Outcome, u64>,
}

impl Counts {
    fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(&outcome).copied().unwrap_or(0)
    }

    fn counted(&self) -> u64 {
        let counted = self.outcomes.iter().filter(|(one, _)| one.is_counted());
        counted.map(|(_, count)| count).sum()
    }

    fn share(&self, outcome: Outcome) -> Option<Interval> {
        let all = self.counted();
        (all > 0 && outcome.is_counted()).then(|| wilson(self.count(outcome), all, CONFIDENCE))
    }
}

/// All tables.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    kinds: BTreeMap<String, Counts>,
    all: Counts,
    /// By kind, mode at the moment, and side.
    propagation: BTreeMap<String, BTreeMap<UserSide, u64>>,
    sides: BTreeMap<(KernelSide, UserSide), u64>,
}

impl Tables {
    /// Counts experiments.
    #[must_use]
    pub fn of(rows: &[Row]) -> Self {
        let mut tables = Tables::default();
        for row in rows {
            let kind = tables.kinds.entry(row.kind.clone()).or_default();
            *kind.outcomes.entry(row.outcome).or_default() += 1;
            *tables.all.outcomes.entry(row.outcome).or_default() += 1;
            let (Some(kernel), Some(user)) = (row.kernel, row.user) else {
                continue;
            };
            let row_of = tables.propagation.entry(row.place_and_mode()).or_default();
            *row_of.entry(user).or_default() += 1;
            *tables.sides.entry((kernel, user)).or_default() += 1;
        }
        tables
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.write_outcomes(&mut out);
        let _ = self.write_propagation(&mut out);
        let _ = self.write_sides(&mut out);
        out
    }

    fn write_outcomes(&self, out: &mut String) -> std::fmt::Result {
        let shown: Vec<Outcome> = Outcome::ALL
            .into_iter()
            .filter(|outcome| self.all.count(*outcome) > 0)
            .collect();
        write!(out, "{:<16}{:>7}", "kind", "runs")?;
        for outcome in &shown {
            write!(out, "{:>12}", outcome.name())?;
        }
        writeln!(out)?;
        let all = ("all".to_owned(), &self.all);
        let kinds = self
            .kinds
            .iter()
            .map(|(name, counts)| (name.clone(), counts));
        for (name, counts) in kinds.chain([all]) {
            let runs: u64 = counts.outcomes.values().sum();
            write!(out, "{name:<16}{runs:>7}")?;
            for outcome in &shown {
                write!(out, "{:>12}", counts.count(*outcome))?;
            }
            writeln!(out)?;
        }
        writeln!(
            out,
            "\n{:<16}{:>7}  share of all, 95 % interval (Wilson)",
            "outcome", "runs"
        )?;
        for outcome in shown {
            let count = self.all.count(outcome);
            match self.all.share(outcome) {
                Some(share) => {
                    let [estimate, low, high] = share.percents();
                    let name = outcome.name();
                    writeln!(
                        out,
                        "{name:<16}{count:>7}  {estimate:>6} %  {low} to {high} %"
                    )?;
                }
                None => writeln!(out, "{:<16}{count:>7}", outcome.name())?,
            }
        }
        Ok(())
    }

    fn write_propagation(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "\nWhat programs saw of faults, by place and by what ran at the moment"
        )?;
        write!(out, "{:<26}{:>7}", "place, mode", "runs")?;
        for side in UserSide::ALL {
            write!(out, "{:>14}", side.name())?;
        }
        writeln!(out, "  reached programs, 95 % interval")?;
        for (name, counts) in &self.propagation {
            let runs: u64 = counts.values().sum();
            let count = |side| counts.get(&side).copied().unwrap_or(0);
            write!(out, "{name:<26}{runs:>7}")?;
            for side in UserSide::ALL {
                write!(out, "{:>14}", count(side))?;
            }
            let [estimate, low, high] = reached(counts).percents();
            writeln!(out, "  {estimate:>6} %  {low} to {high} %")?;
        }
        Ok(())
    }

    fn write_sides(&self, out: &mut String) -> std::fmt::Result {
        write!(out, "\n{:<16}", "kernel \\ programs")?;
        for side in UserSide::ALL {
            write!(out, "{:>14}", side.name())?;
        }
        writeln!(out)?;
        for kernel in KernelSide::ALL {
            write!(out, "{:<17}", kernel.name())?;
            for user in UserSide::ALL {
                let count = self.sides.get(&(kernel, user)).copied().unwrap_or(0);
                write!(out, "{count:>14}")?;
            }
            writeln!(out)?;
        }
        Ok(())
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let outcomes = |counts: &Counts| {
            let rows = Outcome::ALL
                .into_iter()
                .filter(|one| counts.count(*one) > 0);
            let rows = rows.map(|outcome| {
                let share = counts.share(outcome).map(interval);
                json!({"outcome": outcome.name(), "count": counts.count(outcome), "share": share})
            });
            rows.collect::<Vec<_>>()
        };
        let kinds = self
            .kinds
            .iter()
            .map(|(name, counts)| (name.clone(), outcomes(counts).into()));
        let propagation = self.propagation.iter().map(|(name, counts)| {
            let sides = UserSide::ALL.map(|side| {
                let count = counts.get(&side).copied().unwrap_or(0);
                (side.name().to_owned(), count.into())
            });
            let sides: serde_json::Map<String, Value> = sides.into_iter().collect();
            let value = json!({"programs": sides, "reached": interval(reached(counts))});
            (name.clone(), value)
        });
        let sides = self.sides.iter().map(|((kernel, user), count)| {
            json!({"kernel": kernel.name(), "programs": user.name(), "count": count})
        });
        json!({
            "confidence": CONFIDENCE,
            "all": outcomes(&self.all),
            "kinds": kinds.collect::<serde_json::Map<_, Value>>(),
            "propagation": propagation.collect::<serde_json::Map<_, Value>>(),
            "sides": sides.collect::<Vec<_>>(),
        })
    }
}

/// The share of runs in which a program saw more than that the machine stopped.
fn reached(counts: &BTreeMap<UserSide, u64>) -> Interval {
    let seen = counts
        .iter()
        .filter(|(side, _)| !matches!(side, UserSide::Same | UserSide::Stopped));
    wilson(
        seen.map(|(_, count)| count).sum(),
        counts.values().sum(),
        CONFIDENCE,
    )
}

fn interval(interval: Interval) -> Value {
    json!([interval.estimate, interval.low, interval.high])
}

#[cfg(test)]
mod tests {
    use super::super::export::tests::rows;
    use super::*;

    #[test]
    fn counts_and_intervals_are_those_of_the_rows() {
        let tables = Tables::of(&rows());
        let json = tables.json();
        assert_eq!(json["all"][0]["outcome"], "masked");
        assert_eq!(json["all"][0]["count"], 2);
        // 2 of 3: what was not reached does not count.
        let share = wilson(2, 3, CONFIDENCE);
        assert_eq!(json["all"][0]["share"][1], share.low);
        assert_eq!(json["kinds"]["register"][1]["outcome"], "panic");
        assert_eq!(
            json["propagation"]["register, kernel"]["programs"]["killed"],
            1
        );
        assert_eq!(json["propagation"]["register, kernel"]["reached"][0], 0.5);
        let text = tables.text();
        assert!(text.contains("not-reached"), "{text}");
        assert!(text.contains("register, kernel"), "{text}");
    }
}
