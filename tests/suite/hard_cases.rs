//! The hard cases of the design: every guest of `tests/guests/table.txt`, natively (where it must pass its own
//! checks) and under each engine (where it must behave in the same way).

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use libtest_mimic::{Completion, Trial};

use crate::engine::{self, Engine};
use crate::guests::Guest;
use crate::process::{self, Outcome};
use crate::{known_failures, table};

const NATIVE_LIMIT: Duration = Duration::from_secs(30);
const LIMIT: Duration = Duration::from_secs(60);

/// One guest in one variant.
#[derive(Clone)]
struct Case {
    guest: Guest,
    arguments: Vec<String>,
    /// What natively comes before the program, such as `setarch -R`.
    launcher: Vec<String>,
    /// The exit status that is right.
    status: i32,
}

/// All cases.
pub(crate) fn trials() -> Result<Vec<Trial>, String> {
    let mut trials = Vec::new();
    for [command, flags, variants, engines, launcher, status] in
        table::rows::<6>(&table::tests_folder().join("guests/table.txt"))?
    {
        let mut arguments = table::words(&command);
        let name = arguments.remove(0);
        for variant in table::words(&variants) {
            let case = Case {
                guest: Guest {
                    name: name.clone(),
                    flags: table::words(&flags),
                    variant: variant.clone(),
                },
                arguments: arguments.clone(),
                launcher: table::words(&launcher),
                status: status
                    .parse()
                    .map_err(|_| format!("{name}: status {status}"))?,
            };
            let title = format!("hard/{}/{variant}", command.replace(' ', "-"));
            trials.push(native_trial(&title, case.clone()));
            for engine in table::words(&engines) {
                for engine in engine::named(&engine)? {
                    trials.push(engine_trial(&title, engine, case.clone()));
                }
            }
        }
    }
    Ok(trials)
}

fn native_trial(title: &str, case: Case) -> Trial {
    let name = format!("{title}/native");
    Trial::ignorable_test(name.clone(), move || {
        known_failures::judge(&name, natively(&case).map(|(_, completion)| completion))
    })
}

fn engine_trial(title: &str, engine: Engine, case: Case) -> Trial {
    let name = format!("{title}/{}", engine.name);
    Trial::ignorable_test(name.clone(), move || {
        known_failures::judge(&name, under(engine, &case))
    })
}

/// Runs the case natively, where it must be right; says whether the guest skipped itself.
fn natively(case: &Case) -> Result<(Outcome, Completion), String> {
    let executable = case.guest.build()?;
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut words = case
        .launcher
        .iter()
        .map(|word| launcher_word(word))
        .collect::<Result<Vec<_>, _>>()?;
    words.push(executable.display().to_string());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(&case.arguments);
    let outcome = run(&mut command, scratch.path(), NATIVE_LIMIT)?;
    if outcome.status != case.status {
        return Err(format!(
            "natively: exit status {} instead of {}\n{}",
            outcome.status,
            case.status,
            process::tail(&outcome.stdout)
        ));
    }
    let skipped = outcome.stdout.strip_prefix(b"SKIP ").map(|reason| {
        Completion::ignored_with(format!(
            "SKIPPED: {}",
            String::from_utf8_lossy(reason).trim()
        ))
    });
    Ok((outcome, skipped.unwrap_or(Completion::Completed)))
}

/// A word of the launcher; `guest:NAME` is a guest that starts another program.
fn launcher_word(word: &str) -> Result<String, String> {
    let Some(name) = word.strip_prefix("guest:") else {
        return Ok(word.to_owned());
    };
    let guest = Guest {
        name: name.to_owned(),
        flags: vec!["-O1".to_owned()],
        variant: "static".to_owned(),
    };
    Ok(guest.build()?.display().to_string())
}

/// Runs the case under the engine and compares it with the native run.
fn under(engine: Engine, case: &Case) -> Result<Completion, String> {
    if let Some(reason) = engine::missing(engine.backend) {
        return Ok(Completion::ignored_with(reason));
    }
    let (native, completion) = natively(case)?;
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let folder = scratch.path().join("golden");
    let mut command = engine.command(&folder);
    command.arg(case.guest.build()?).args(&case.arguments);
    let outcome = run(&mut command, scratch.path(), LIMIT)?;
    if let Some(difference) = process::difference(&native, &outcome) {
        return Err(format!("{command:?}\n{difference}"));
    }
    engine.check(&folder)?;
    Ok(completion)
}

/// Runs in an own folder, with an environment that is the same for everyone.
fn run(command: &mut Command, scratch: &Path, limit: Duration) -> Result<Outcome, String> {
    let work = scratch.join("work");
    fs::create_dir_all(&work).map_err(|error| error.to_string())?;
    command
        .current_dir(&work)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("LANG", "C.UTF-8");
    process::run(command, scratch, limit)
}
