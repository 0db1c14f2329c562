//! Pruning by a worker: jobs, and the session's side of them.

use fits_tracer::backend::BackendError;
use fits_tracer::engine::{Engine, EngineOptions, Found, Moment};
use fits_tracer::process::Command;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::intervals::IntervalError;
use super::{
    AHEAD, Foreseen, Interval, Locations, Window, intervals, look_ahead, points, points_of,
};
use crate::campaign::point::Point;
use crate::experiment::job::{EngineName, Job, Report, Run};
use crate::experiment::session::{self, Session, SessionError};
use crate::fault::{Fault, Operation, ParseError};

/// What a worker is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PruneJob {
    /// How.
    pub run: Run,
    /// Who brings the program to the moments.
    pub engine: EngineName,
    /// What.
    pub question: Question,
    /// Instructions to look ahead.
    pub steps: u64,
}

/// What is to be found out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Question {
    /// The fate of what these faults change.
    Faults(Vec<(String, Found)>),
    /// The fate of all bits in a window.
    Window(Window, Locations),
}

/// What a worker answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// In the order of the faults.
    Foreseen(Vec<Foreseen>),
    /// Of the window.
    Intervals(Vec<Interval>),
    /// What is wrong with the question: one sentence.
    Wrong(String),
}

impl PruneJob {
    /// Answers the question.
    ///
    /// # Errors
    /// See [`BackendError`].
    pub(crate) fn answer(
        &self,
        engine: &mut dyn Engine,
        command: &Command,
        options: &EngineOptions,
    ) -> Result<Answer, BackendError> {
        let answer = match &self.question {
            Question::Faults(faults) => {
                let parse = |(text, found): &(String, Found)| {
                    let fault: Fault = text.parse()?;
                    Ok((fault, *found))
                };
                let points: Result<Vec<_>, ParseError> = faults.iter().map(parse).collect();
                match points {
                    Ok(points) => {
                        let foreseen = look_ahead(engine, command, options, &points, self.steps)?;
                        Answer::Foreseen(foreseen)
                    }
                    Err(error) => Answer::Wrong(error.to_string()),
                }
            }
            Question::Window(window, locations) => {
                let found = intervals(engine, command, options, *window, locations, self.steps);
                match found {
                    Ok(intervals) => Answer::Intervals(intervals),
                    Err(IntervalError::Wrong(sentence)) => Answer::Wrong(sentence),
                    Err(IntervalError::Backend(error)) => return Err(error),
                }
            }
        };
        Ok(answer)
    }
}

impl Session {
    /// What becomes of the bits that each fault changes, within `steps` instructions after its moment ([`AHEAD`] is usual), by runs without any
    /// fault. In the order of `points`.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub fn look_ahead(
        &mut self,
        points: &[(String, Found)],
        steps: u64,
    ) -> Result<Vec<Foreseen>, SessionError> {
        match self.prune(Question::Faults(points.to_vec()), steps)? {
            Answer::Foreseen(foreseen) => Ok(foreseen),
            other => Err(unexpected(&other)),
        }
    }

    /// The fate of every bit of the locations at every moment of a window. What is open at its end is followed [`AHEAD`] further.
    ///
    /// # Errors
    /// See [`SessionError`]; [`SessionError::Wrong`] says what is wrong with the window or the locations.
    pub fn intervals(
        &mut self,
        window: Window,
        locations: &Locations,
    ) -> Result<Vec<Interval>, SessionError> {
        let question = Question::Window(window, locations.clone());
        match self.prune(question, AHEAD)? {
            Answer::Intervals(intervals) => Ok(intervals),
            other => Err(unexpected(&other)),
        }
    }

    /// The plan of an exhaustive campaign: `operation` (flip, stuck at 0 or 1, once) in every bit of the locations at every moment of the window,
    /// as few rows as stand for all of them, numbered from 0. `seed` chooses which fault a row names whose outcome is known.
    ///
    /// # Errors
    /// Those of [`Session::intervals`] and [`Session::plan`].
    pub fn exhaustive(
        &mut self,
        window: Window,
        locations: &Locations,
        operation: Operation,
        seed: u64,
    ) -> Result<Vec<Point>, SessionError> {
        let intervals = self.intervals(window, locations)?;
        let moments = points::moments(window);
        let found = self.found(&moments)?;
        Ok(points_of(&intervals, window, operation, &found, seed))
    }

    /// Where moments lie, by index.
    fn found(&mut self, moments: &[Moment]) -> Result<FxHashMap<u64, Found>, SessionError> {
        let faults: Vec<String> = moments
            .iter()
            .map(|moment| match moment.thread {
                0 => format!("reg:rax:0@{}", moment.index),
                thread => format!("reg:rax:0@{},thread={thread}", moment.index),
            })
            .collect();
        let finder = self.finder();
        let planned = self.plan(&faults, 0, finder)?;
        let found = planned.into_iter().flatten().map(|(_, found)| found);
        Ok(found.map(|found| (found.moment.index, found)).collect())
    }

    fn prune(&mut self, question: Question, steps: u64) -> Result<Answer, SessionError> {
        let job = Job::Prune(Box::new(PruneJob {
            run: self.unlimited(),
            engine: self.finder(),
            question,
            steps,
        }));
        match self.ask(&job)? {
            Report::Pruned(answer) => match *answer {
                Answer::Wrong(sentence) => Err(SessionError::Wrong(sentence)),
                answer => Ok(answer),
            },
            other => Err(session::unexpected(&other)),
        }
    }
}

fn unexpected(answer: &Answer) -> SessionError {
    SessionError::Failed(format!("the worker answered something else: {answer:?}"))
}
