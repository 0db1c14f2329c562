//! The faults of each experiment, as typed or from a file.

use fits_injectors::fault::{Fault, When};

use super::options::InjectArgs;
use crate::cli::CliError;

/// The faults of each experiment; those with something random in them have a seed.
pub(super) fn experiments(args: &InjectArgs) -> Result<Vec<Vec<Fault>>, CliError> {
    let mut lists = match (&args.faults, args.shorthand.text()) {
        (Some(_), Some(_)) => {
            let sentence =
                "--faults names a file of experiments: --reg and its like do not go with it";
            return Err(CliError::Usage(sentence.to_owned()));
        }
        (Some(path), None) => from_file(path)?,
        (None, shorthand) => {
            let texts: Vec<&str> = shorthand
                .iter()
                .map(String::as_str)
                .chain(args.fault.iter().map(String::as_str))
                .collect();
            if texts.is_empty() {
                let sentence = "there is no fault: give one with --fault reg:rax:3@1000000, or with --reg, --bit and --at, or a file of them with --faults";
                return Err(CliError::Usage(sentence.to_owned()));
            }
            vec![parse_all(texts.into_iter())?]
        }
    };
    let drawn = lists.iter_mut().flatten().filter(|fault| fault.draws());
    for (number, fault) in (0..).zip(drawn) {
        fault.seed.get_or_insert(args.seed.wrapping_add(number));
    }
    Ok(lists)
}

fn from_file(path: &std::path::Path) -> Result<Vec<Vec<Fault>>, CliError> {
    let text = std::fs::read_to_string(path).map_err(CliError::file("read", path))?;
    let mut lists = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let faults = parse_all(line.split_whitespace()).map_err(|error| {
            CliError::Usage(format!("{}, line {number}: {error}", path.display()))
        })?;
        lists.push(faults);
    }
    if lists.is_empty() {
        let sentence = format!("{} has no faults in it", path.display());
        return Err(CliError::Usage(sentence));
    }
    Ok(lists)
}

fn parse_all<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<Fault>, CliError> {
    texts
        .map(|text| {
            text.parse()
                .map_err(|error: fits_injectors::fault::ParseError| {
                    CliError::Usage(error.to_string())
                })
        })
        .collect()
}

/// Whether the length of the golden run must be known to find the moment, or to know when stepping is over.
pub(super) fn needs_count(fault: &Fault) -> bool {
    matches!(fault.trigger.when, When::Time(_) | When::Random { .. })
        || fault.duration != fits_injectors::fault::Duration::Transient
}

/// Whether its moment is a plain index, which lies beyond the end if it is not found.
pub(super) fn is_index(fault: &Fault) -> bool {
    matches!(fault.trigger.when, When::Index { from: None, .. })
}

/// Whether its moment is an access of memory, which the translator does not look for.
pub(super) fn is_access(fault: &Fault) -> bool {
    matches!(fault.trigger.when, When::Access { .. })
}

/// Whether its moment is named by an address, which is another one in every run without a controlled start.
pub(super) fn needs_addresses(fault: &Fault) -> bool {
    matches!(
        fault.trigger.when,
        When::Arrival(_)
            | When::Access { .. }
            | When::Index { from: Some(_), .. }
            | When::Random { from: Some(_) }
    )
}
