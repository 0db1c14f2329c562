//! `report.html` of a folder of experiments: one page with everything it needs inside, golden and faulty run side by side.
//!
//! - `summary`: what was asked for, and how often each outcome came up; `list`: the experiments, one line each.
//! - `detail`: what one line unfolds to; of it, `outputs`: where outputs differ, `paths`: instructions with their source lines,
//!   `states`: registers and memory, `counts`: what was executed how often.
//! - `sources`: lines of source files.
//!
//! Whatever a program has written, its file names and its symbols are text from outside: nothing of it gets onto the page
//! but through `Escaped`.

mod counts;
mod detail;
mod list;
mod outputs;
mod paths;
mod sources;
mod states;
mod summary;

use std::path::Path;

use fits_stats::report::shell::{Page, Section};

use crate::experiment::record::{ReadError, Results};
pub(crate) use sources::Sources;
pub(crate) use summary::class;

/// Colours of the outcomes, and bars of them, on all pages.
pub(crate) const OUTCOMES: &str = include_str!("outcomes.css");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// What the parts of the page are made from.
struct Context<'a> {
    results: &'a Results,
    /// Where kept outputs are.
    folder: &'a Path,
    sources: Sources,
}

/// The page for a folder of experiments, or for its file of results.
///
/// # Errors
/// See [`ReadError`]. A file of source or output that cannot be read is none: the page says so.
pub fn render(path: &Path) -> Result<String, ReadError> {
    let results = Results::read(path)?;
    let folder = match path.parent() {
        Some(parent) if path.is_file() => parent,
        _ => path,
    };
    let context = Context {
        results: &results,
        folder,
        sources: Sources::new(Path::new(&results.working_directory)),
    };
    let sections = [Section {
        id: "experiments",
        title: "Experiments",
        body: list::section(&context),
    }];
    let name = results
        .program
        .rsplit('/')
        .next()
        .unwrap_or(&results.program);
    let mut command = vec![results.program.as_str()];
    command.extend(results.arguments.iter().skip(1).map(String::as_str));
    let page = Page {
        title: &format!("Faults in {name}"),
        kicker: if results.dry_run {
            "Experiments without faults (dry run)"
        } else {
            "Fault injection"
        },
        heading: name,
        command: &command.join(" "),
        end: (&summary::sentence(&results), true),
        summary_html: &summary::section(&results),
        sections: &sections,
        data: None,
        style: &[OUTCOMES, STYLE].concat(),
        script: SCRIPT,
        version: &results.version,
    };
    Ok(page.to_html())
}

#[cfg(test)]
mod tests;
