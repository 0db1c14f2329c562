//! The faults of each experiment, as typed or from a file.

use fits_injectors::fault::Fault;

use super::options::InjectArgs;
use crate::cli::CliError;
use crate::cli::experiments::faults::{from_file, parse_all};

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
