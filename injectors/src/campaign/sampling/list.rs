//! A list of faults that is given.

use std::path::Path;

use super::{Drawn, DrawnFault, PlanError, Population};
use crate::fault::{Fault, ParseError};

/// Those of the file come after those of the campaign. What is drawn in them is drawn from the seed, and each further one from the next number.
pub(super) fn read(faults: &[String], file: Option<&Path>, seed: u64) -> Result<Drawn, PlanError> {
    let sentence = |error: ParseError| PlanError::List(error.to_string());
    let mut all: Vec<Fault> = Vec::new();
    for text in faults {
        all.push(text.parse().map_err(sentence)?);
    }
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).map_err(|source| PlanError::Io {
            path: path.to_owned(),
            source,
        })?;
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let wrong =
                |what: String| PlanError::List(format!("{}:{number}: {what}", path.display()));
            if line.contains(char::is_whitespace) {
                return Err(wrong(
                    "a campaign has one fault in each experiment (fits inject takes several)"
                        .to_owned(),
                ));
            }
            all.push(
                line.parse()
                    .map_err(|error: ParseError| wrong(error.to_string()))?,
            );
        }
    }
    if all.is_empty() {
        let place = file.map_or("[sampling] faults".to_owned(), |path| {
            path.display().to_string()
        });
        return Err(PlanError::List(format!("{place} has no faults in it")));
    }
    for (number, fault) in (0..).zip(all.iter_mut().filter(|fault| fault.draws())) {
        fault.seed.get_or_insert(seed.wrapping_add(number));
    }
    Ok(Drawn {
        population: Population {
            kind: "list".to_owned(),
            name: None,
            points: None,
            executions: 0,
            instructions: 0,
            seed,
            strata: Vec::new(),
            warnings: Vec::new(),
        },
        faults: all
            .into_iter()
            .map(|fault| DrawnFault {
                text: fault.to_string(),
                weight: 1.0,
                stratum: None,
                found: None,
            })
            .collect(),
    })
}
