//! A campaign as text: canonical, and read back as the same campaign.

use std::fmt::Display;
use std::path::Path;

use toml::Value;

use super::campaign::{Campaign, Judging, Limits, Region, Sampling, Size, Space};
use super::choice::{Words, duration_text, operation_text};
use super::read::Awaited;

/// Lines of `key = value`; what is absent or empty has none.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn line(&mut self, key: &str, value: impl Display) {
        self.0.push_str(&format!("{key} = {value}\n"));
    }

    fn text(&mut self, key: &str, text: &str) {
        self.line(key, Value::String(text.to_owned()));
    }

    fn path(&mut self, key: &str, path: &Path) {
        self.text(key, &path.to_string_lossy());
    }

    fn optional(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.line(key, value);
        }
    }

    fn float(&mut self, key: &str, number: f64) {
        self.line(key, Value::Float(number));
    }

    fn texts(&mut self, key: &str, texts: impl IntoIterator<Item = String>) {
        let values: Vec<Value> = texts.into_iter().map(Value::String).collect();
        if !values.is_empty() {
            self.line(key, Value::Array(values));
        }
    }

    fn numbers(&mut self, key: &str, numbers: impl IntoIterator<Item = i64>) {
        let values: Vec<Value> = numbers.into_iter().map(Value::Integer).collect();
        if !values.is_empty() {
            self.line(key, Value::Array(values));
        }
    }

    fn table(&mut self, name: &str, lines: Self) {
        if !lines.0.is_empty() {
            self.0.push_str(&format!("\n[{name}]\n{}", lines.0));
        }
    }
}

fn displayed<T: Display>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

impl Campaign {
    /// The campaign file that says the same, in one canonical form.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut out = self.running();
        let mut golden = Lines::default();
        match &self.golden.folder {
            Some(folder) => golden.path("folder", folder),
            None => golden.text("level", self.golden.level.word()),
        }
        out.table("golden", golden);
        if !matches!(self.sampling, Sampling::List { .. }) {
            space(&mut out, &self.space);
        }
        out.table("sampling", sampling(&self.sampling));
        out.table("limits", limits(&self.limits));
        out.table("outcome", judging(&self.judging));
        out.0
    }

    fn running(&self) -> Lines {
        let mut out = Lines::default();
        out.text("program", &self.program);
        out.texts("arguments", self.arguments.iter().cloned());
        if let Some(stdin) = &self.stdin {
            out.path("stdin", stdin);
        }
        out.path("working-directory", &self.working_directory);
        out.line("raw-environment", self.raw_environment);
        let writable = self.writable.iter();
        out.texts(
            "writable",
            writable.map(|folder| folder.to_string_lossy().into_owned()),
        );
        out.text("backend", self.backend.word());
        out.line("single-step", self.single_step);
        out.text("isolate", self.isolate.word());
        out.line("window", self.window);
        out.optional("trace", self.trace);
        out.line("seed", self.seed);
        out.optional("jobs", self.jobs);
        out.text("start", self.start.word());
        out.text("pruning", self.pruning.word());
        if self.validate_pruning > 0 {
            out.line("validate-pruning", self.validate_pruning);
        }
        if let Some(shard) = self.shard {
            out.text("shard", &format!("{}/{}", shard.number, shard.of));
        }
        out
    }
}

fn space(out: &mut Lines, space: &Space) {
    let mut lines = Lines::default();
    if let Some(population) = space.population {
        lines.text("population", population.word());
    } else {
        lines.texts("registers", displayed(&space.registers));
        lines.texts("memory", displayed(&space.memory));
        lines.texts("instruction", displayed(&space.instruction));
        if !space.only_whole() {
            let operations = space.operations.iter().copied();
            lines.texts("operations", operations.map(operation_text));
            lines.texts("masks", displayed(&space.masks));
            if let Some((first, last)) = space.bits {
                lines.text("bits", &format!("{first}-{last}"));
            }
        }
        let durations = space.durations.iter().copied();
        lines.texts("durations", durations.map(duration_text));
        if !space.registers.is_empty() {
            lines.text("restrict", space.restrict.word());
        }
    }
    lines.numbers("threads", space.threads.iter().map(|&thread| thread.into()));
    if let Some(indices) = space.indices {
        lines.text("indices", &indices.to_string());
    }
    out.table("space", lines);
    out.table("space.region", region(&space.region));
    out.table("space.exclude", region(&space.exclude));
}

fn region(region: &Region) -> Lines {
    let mut lines = Lines::default();
    lines.texts("functions", region.functions.iter().cloned());
    let ranges = region.addresses.iter();
    lines.texts(
        "addresses",
        ranges.map(|(start, end)| format!("{start:#x}-{end:#x}")),
    );
    lines.texts("modules", region.modules.iter().cloned());
    lines.texts("sections", region.sections.iter().cloned());
    lines.texts("lines", displayed(&region.lines));
    lines
}

fn sampling(sampling: &Sampling) -> Lines {
    let mut lines = Lines::default();
    let kind = match sampling {
        Sampling::Uniform { .. } => "uniform",
        Sampling::Stratified { .. } => "stratified",
        Sampling::Exhaustive { .. } => "exhaustive",
        Sampling::List { .. } => "list",
    };
    lines.text("kind", kind);
    match sampling {
        Sampling::Uniform { .. } => {}
        Sampling::Stratified { by, .. } => lines.text("by", by.word()),
        Sampling::Exhaustive { limit } => lines.line("limit", limit),
        Sampling::List { faults, file } => {
            lines.texts("faults", faults.iter().cloned());
            if let Some(file) = file {
                lines.path("file", file);
            }
            if faults.is_empty() && file.is_none() {
                lines.line("faults", "[]");
            }
        }
    }
    if let Some(size) = sampling.size() {
        lines.line("size", size_text(size));
    }
    lines
}

fn size_text(size: Size) -> String {
    match size {
        Size::Number(number) => number.to_string(),
        Size::Margin { margin, confidence } => format!(
            "{{ margin = {}, confidence = {} }}",
            Value::Float(margin),
            Value::Float(confidence)
        ),
        Size::UntilWidth {
            width,
            outcome,
            confidence,
            maximum,
        } => format!(
            "{{ until-width = {}, outcome = \"{}\", confidence = {}, maximum = {maximum} }}",
            Value::Float(width),
            Awaited(outcome).word(),
            Value::Float(confidence)
        ),
    }
}

fn limits(limits: &Limits) -> Lines {
    let mut lines = Lines::default();
    lines.float("hang-factor", limits.hang_factor);
    lines.float("hang-floor", limits.hang_floor);
    lines.optional("hang-instructions", limits.hang_instructions);
    lines.optional("max-processes", limits.max_processes);
    lines.optional("max-memory", limits.max_memory);
    lines.optional("max-file", limits.max_file);
    lines.optional("max-disk", limits.max_disk);
    lines
}

fn judging(judging: &Judging) -> Lines {
    let mut lines = Lines::default();
    if let Some(compare) = &judging.compare {
        lines.text("compare", compare);
    }
    lines.numbers(
        "detect-exit",
        judging.detect_exit.iter().map(|&status| status.into()),
    );
    lines.texts("detect-output", judging.detect_output.iter().cloned());
    if let Some(symbol) = &judging.detect_symbol {
        lines.text("detect-symbol", symbol);
    }
    lines
}
