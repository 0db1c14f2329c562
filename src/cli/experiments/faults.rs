//! Lists of faults in text form.

use fits_injectors::fault::{Fault, When};

use crate::cli::CliError;

/// The experiments of a file, one a line: faults with blanks between, `#` begins a comment.
pub(crate) fn from_file(path: &std::path::Path) -> Result<Vec<Vec<Fault>>, CliError> {
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

/// The faults of one experiment.
pub(crate) fn parse_all<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<Fault>, CliError> {
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
pub(crate) fn needs_count(fault: &Fault) -> bool {
    matches!(fault.trigger.when, When::Time(_) | When::Random { .. })
        || fault.duration != fits_injectors::fault::Duration::Transient
}

/// Whether its moment is a plain index, which lies beyond the end if it is not found.
pub(crate) fn is_index(fault: &Fault) -> bool {
    matches!(fault.trigger.when, When::Index { from: None, .. })
}

/// Whether its moment is an access of memory, which the translator does not look for.
pub(crate) fn is_access(fault: &Fault) -> bool {
    matches!(fault.trigger.when, When::Access { .. })
}

/// Whether its moment is named by an address, which is another one in every run without a controlled start.
pub(crate) fn needs_addresses(fault: &Fault) -> bool {
    matches!(
        fault.trigger.when,
        When::Arrival(_)
            | When::Access { .. }
            | When::Index { from: Some(_), .. }
            | When::Random { from: Some(_) }
    )
}
