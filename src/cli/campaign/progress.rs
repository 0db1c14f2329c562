//! What is told while a campaign runs: rate, outcomes so far with intervals, time left.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use fits_injectors::campaign::run::Event;
use fits_injectors::campaign::statistics::wilson;
use fits_injectors::experiment::outcome::Outcome;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::run::ProgressForm;
use super::table::CONFIDENCE;

/// How often something is told.
const INTERVAL: Duration = Duration::from_secs(1);

/// Listens to what happens.
pub(super) struct Progress {
    form: Form,
    /// In the order of [`Outcome::ALL`].
    counts: [u64; Outcome::ALL.len()],
    /// To be made, and made, in this stage.
    stage: (u64, u64),
    /// Made by this process.
    made: u64,
    validated: u64,
    since: Instant,
    told: Option<Instant>,
}

enum Form {
    None,
    Json,
    Bar(ProgressBar),
}

impl Progress {
    /// `counts`: the outcomes that are known already.
    pub(super) fn new(form: ProgressForm, counts: [u64; Outcome::ALL.len()]) -> Self {
        let form = match form {
            ProgressForm::Json => Form::Json,
            ProgressForm::Auto if std::io::stderr().is_terminal() => Form::Bar(bar()),
            ProgressForm::Auto | ProgressForm::None => Form::None,
        };
        Self {
            form,
            counts,
            stage: (0, 0),
            made: 0,
            validated: 0,
            since: Instant::now(),
            told: None,
        }
    }

    pub(super) fn hear(&mut self, event: &Event) {
        match event {
            Event::Stage { experiments, done } => {
                self.stage = (*experiments, *done);
                if let Form::Bar(bar) = &self.form {
                    bar.set_length(*experiments);
                    bar.set_position(*done);
                    bar.reset_eta();
                }
            }
            Event::Kept(record) => {
                self.made += 1;
                self.stage.1 += 1;
                let place = Outcome::ALL.iter().position(|one| *one == record.outcome);
                if let Some(place) = place {
                    self.counts[place] += 1;
                }
            }
            Event::Validated(_) => self.validated += 1,
        }
        if self.told.is_none_or(|told| told.elapsed() >= INTERVAL) {
            self.told = Some(Instant::now());
            self.tell();
        }
    }

    /// The last word.
    pub(super) fn finish(&mut self) {
        self.tell();
        if let Form::Bar(bar) = &self.form {
            bar.finish_and_clear();
        }
    }

    fn tell(&self) {
        match &self.form {
            Form::None => {}
            Form::Json => {
                let line = self.line();
                // Who does not read it needs no progress.
                let _ = writeln!(std::io::stderr(), "{line}");
            }
            Form::Bar(bar) => {
                bar.set_position(self.stage.1);
                bar.set_message(self.message());
            }
        }
    }

    /// Experiments a second.
    fn rate(&self) -> f64 {
        self.made as f64 / self.since.elapsed().as_secs_f64().max(1e-3)
    }

    fn line(&self) -> serde_json::Value {
        let (experiments, done) = self.stage;
        let rate = self.rate();
        let left = (experiments - done.min(experiments)) as f64;
        let outcomes: serde_json::Map<_, _> = Outcome::ALL
            .iter()
            .zip(self.counts)
            .map(|(outcome, count)| {
                let share = self.share(*outcome, count);
                let value = json!({ "count": count, "share": share });
                (outcome.name().to_owned(), value)
            })
            .collect();
        json!({
            "experiments": experiments,
            "done": done,
            "validated": self.validated,
            "rate": rate,
            "seconds_left": (rate > 0.0).then(|| left / rate),
            "outcomes": outcomes,
        })
    }

    /// Estimate, low and high end.
    fn share(&self, outcome: Outcome, count: u64) -> Option<[f64; 3]> {
        let counted = Outcome::ALL.iter().zip(self.counts);
        let all = counted
            .filter(|(outcome, _)| outcome.is_counted())
            .map(|(_, count)| count)
            .sum();
        (outcome.is_counted() && all > 0).then(|| {
            let interval = wilson(count, all, CONFIDENCE);
            [interval.estimate, interval.low, interval.high]
        })
    }

    fn message(&self) -> String {
        let mut parts = vec![format!("{:.0}/s", self.rate())];
        for (outcome, count) in Outcome::ALL.into_iter().zip(self.counts) {
            match self.share(outcome, count) {
                _ if count == 0 => {}
                None => parts.push(format!("{} {count}", outcome.name())),
                Some([estimate, low, high]) => parts.push(format!(
                    "{} {:.1} % ({:.1}–{:.1})",
                    outcome.name(),
                    100.0 * estimate,
                    100.0 * low,
                    100.0 * high
                )),
            }
        }
        parts.join(", ")
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let template = "{bar:20} {pos}/{len} {wide_msg} left {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
