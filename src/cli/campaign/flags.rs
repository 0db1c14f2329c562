//! Every field of a campaign file as a flag. What flags say takes the place of what the file says, and is checked by the same code.

use std::path::PathBuf;

use clap::Args;
use fits_injectors::campaign::file::{Override, Setting};

/// The fields of a campaign file (docs/campaign-file.md), each with the same values and defaults.
#[derive(Debug, Default, Args)]
pub(crate) struct CampaignFlags {
    /// What all draws come from
    #[arg(long, value_name = "N", help_heading = "Campaign")]
    seed: Option<u64>,
    /// Experiments at the same time [default: as many as there are processors]
    #[arg(long, value_name = "N", help_heading = "Campaign")]
    jobs: Option<u64>,
    /// Where runs with faults begin: auto, fresh, checkpoint [default: auto]
    #[arg(long, value_name = "WHERE", help_heading = "Campaign")]
    start: Option<String>,
    /// What is known without running it: off, def-use [default: off]
    #[arg(long, value_name = "HOW", help_heading = "Campaign")]
    pruning: Option<String>,
    /// How many of the pruned faults are run for real
    #[arg(long, value_name = "K", help_heading = "Campaign")]
    validate_pruning: Option<u64>,
    /// Carry out only this part of the plan: 2/8
    #[arg(long, value_name = "I/N", help_heading = "Campaign")]
    shard: Option<String>,

    /// uniform, stratified, exhaustive, list [default: uniform]
    #[arg(long, value_name = "KIND", help_heading = "Sampling")]
    sampling: Option<String>,
    /// With stratified: function, opcode, register-class
    #[arg(long, value_name = "WHAT", help_heading = "Sampling")]
    by: Option<String>,
    /// How many faults
    #[arg(long, value_name = "N", conflicts_with_all = ["margin", "until_width"], help_heading = "Sampling")]
    size: Option<u64>,
    /// As many faults as this margin needs: 0.03 [default: 0.03]
    #[arg(
        long,
        value_name = "PART",
        conflicts_with = "until_width",
        help_heading = "Sampling"
    )]
    margin: Option<f64>,
    /// The confidence of --margin and --until-width [default: 0.95]
    #[arg(long, value_name = "PART", help_heading = "Sampling")]
    confidence: Option<f64>,
    /// Until the interval of the share of --outcome is narrower than this: 0.02
    #[arg(long, value_name = "PART", help_heading = "Sampling")]
    until_width: Option<f64>,
    /// With --until-width: masked, sdc, detected, crash, hang [default: sdc]
    #[arg(
        long,
        value_name = "OUTCOME",
        requires = "until_width",
        help_heading = "Sampling"
    )]
    outcome: Option<String>,
    /// With --until-width: the most faults [default: 100000]
    #[arg(
        long,
        value_name = "N",
        requires = "until_width",
        help_heading = "Sampling"
    )]
    maximum: Option<u64>,
    /// With exhaustive: the most faults [default: 1000000]
    #[arg(long, value_name = "N", help_heading = "Sampling")]
    limit: Option<u64>,
    /// With list: a fault in its text form
    #[arg(long, value_name = "FAULT", help_heading = "Sampling")]
    fault: Vec<String>,
    /// With list: a file of faults, one a line
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, help_heading = "Sampling")]
    faults: Option<PathBuf>,

    /// A population with a name: refine
    #[arg(long, value_name = "NAME", help_heading = "Space")]
    population: Option<String>,
    /// Registers: names, general, flags, vector, x87, mask, segment, control, all
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        help_heading = "Space"
    )]
    registers: Vec<String>,
    /// Memory: heap, stack, data, or PLACE[,bytes=N]
    #[arg(long, value_name = "MEMORY", help_heading = "Space")]
    memory: Vec<String>,
    /// Parts of instructions: rreg, wreg (with :REGISTERS), rval, wval, raddr, waddr, text, cf, cf:target, skip
    #[arg(
        long,
        value_name = "PARTS",
        value_delimiter = ',',
        help_heading = "Space"
    )]
    instruction: Vec<String>,
    /// flip, stuck0, stuck1, random, set=NUMBER [default: flip]
    #[arg(
        long,
        value_name = "OPS",
        value_delimiter = ',',
        help_heading = "Space"
    )]
    operations: Vec<String>,
    /// Bits that are changed together: bit, byte, all, burst=N, bits=N [default: bit]
    #[arg(
        long,
        value_name = "MASKS",
        value_delimiter = ',',
        help_heading = "Space"
    )]
    masks: Vec<String>,
    /// Only bits with these numbers: 0-31
    #[arg(long, value_name = "BITS", help_heading = "Space")]
    bits: Option<String>,
    /// transient, a number of instructions, 10of100, permanent [default: transient]
    #[arg(
        long,
        value_name = "DURATIONS",
        value_delimiter = ',',
        help_heading = "Space"
    )]
    durations: Vec<String>,
    /// Which registers count at an instruction: any, written, live [default: any]
    #[arg(long, value_name = "WHICH", help_heading = "Space")]
    restrict: Option<String>,
    /// Only these threads
    #[arg(
        long,
        value_name = "NUMBERS",
        value_delimiter = ',',
        help_heading = "Space"
    )]
    threads: Vec<u64>,
    /// Only instructions with these indices: 0-999999
    #[arg(long, value_name = "RANGE", help_heading = "Space")]
    indices: Option<String>,

    /// Only this function
    #[arg(long, value_name = "NAME", help_heading = "Region")]
    function: Vec<String>,
    /// Only these addresses: 0x401000-0x402000
    #[arg(long, value_name = "RANGE", help_heading = "Region")]
    address: Vec<String>,
    /// Only this file, by path or name
    #[arg(long, value_name = "FILE", help_heading = "Region")]
    module: Vec<String>,
    /// Only this section of the program's own file: .text
    #[arg(long, value_name = "NAME", help_heading = "Region")]
    section: Vec<String>,
    /// Only these source lines: sort.c:10-40
    #[arg(long, value_name = "LINES", help_heading = "Region")]
    line: Vec<String>,
    /// Not this function
    #[arg(long, value_name = "NAME", help_heading = "Region")]
    exclude_function: Vec<String>,
    /// Not these addresses
    #[arg(long, value_name = "RANGE", help_heading = "Region")]
    exclude_address: Vec<String>,
    /// Not this file
    #[arg(long, value_name = "FILE", help_heading = "Region")]
    exclude_module: Vec<String>,
    /// Not this section
    #[arg(long, value_name = "NAME", help_heading = "Region")]
    exclude_section: Vec<String>,
    /// Not these source lines
    #[arg(long, value_name = "LINES", help_heading = "Region")]
    exclude_line: Vec<String>,

    /// What the golden run counts: counts, full [default: counts]
    #[arg(long, value_name = "LEVEL", help_heading = "Running")]
    stats: Option<String>,
    /// The folder of a golden run that exists, in place of a new one
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath, help_heading = "Running")]
    golden: Option<PathBuf>,
    /// What brings the program to the moment of a fault: dbt, ptrace [default: dbt]
    #[arg(long, value_name = "BACKEND", help_heading = "Running")]
    backend: Option<String>,
    /// With --backend ptrace: do everything by single steps
    #[arg(long, help_heading = "Running")]
    single_step: bool,
    /// Leave the environment as the kernel gives it (only lists of faults)
    #[arg(long, help_heading = "Running")]
    raw_environment: bool,
    /// Standard input of every run [default: /dev/null]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, help_heading = "Running")]
    stdin: Option<PathBuf>,
    /// Where the program runs [default: the folder of the campaign file, or the current one]
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath, help_heading = "Running")]
    working_directory: Option<PathBuf>,
    /// How many instructions are followed after a fault to see whether what it changed is read
    #[arg(long, value_name = "N", help_heading = "Running")]
    window: Option<u64>,
    /// Compare what the thread does in the N instructions after the fault with what it does without
    #[arg(long, value_name = "N", help_heading = "Running")]
    trace: Option<u64>,

    /// Exit statuses by which the program says that it has detected a fault
    #[arg(
        long,
        value_name = "STATUS",
        value_delimiter = ',',
        help_heading = "Outcome"
    )]
    detect_exit: Vec<u64>,
    /// What the program prints when it has detected a fault: a regular expression
    #[arg(long, value_name = "REGEX", help_heading = "Outcome")]
    detect_output: Vec<String>,
    /// The function that the program calls when it has detected a fault
    #[arg(long, value_name = "SYMBOL", help_heading = "Outcome")]
    detect_symbol: Option<String>,
    /// A command that compares two folders of outputs
    #[arg(long, value_name = "CMD", value_hint = clap::ValueHint::CommandString, help_heading = "Outcome")]
    compare: Option<String>,
    /// A run hangs when it has used so many times the time of the reference run [default: 10]
    #[arg(long, value_name = "X", help_heading = "Outcome")]
    hang_factor: Option<f64>,
    /// Seconds of processor time that every run is allowed beyond that [default: 1]
    #[arg(long, value_name = "SECONDS", help_heading = "Outcome")]
    hang_floor: Option<f64>,
    /// A run hangs when it has used the time of so many instructions
    #[arg(long, value_name = "N", help_heading = "Outcome")]
    hang_instructions: Option<u64>,

    /// Whether runs leave the host's namespaces: auto, on, off [default: auto]
    #[arg(long, value_name = "WHEN", help_heading = "Sandbox")]
    isolate: Option<String>,
    /// A further folder that runs may write to, privately
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath, help_heading = "Sandbox")]
    writable: Vec<PathBuf>,
    /// Processes and threads that a run may have
    #[arg(long, value_name = "N", help_heading = "Sandbox")]
    max_processes: Option<u64>,
    /// Mebibytes of memory that a run may have
    #[arg(long, value_name = "MIB", help_heading = "Sandbox")]
    max_memory: Option<u64>,
    /// Mebibytes that one file may have
    #[arg(long, value_name = "MIB", help_heading = "Sandbox")]
    max_file: Option<u64>,
    /// Mebibytes that a run may write in all
    #[arg(long, value_name = "MIB", help_heading = "Sandbox")]
    max_disk: Option<u64>,

    /// After --: the program and its arguments
    #[arg(value_name = "PROG ARGS", last = true, value_hint = clap::ValueHint::CommandWithArguments)]
    program: Vec<String>,
}

/// The fields that were typed.
#[derive(Default)]
struct Typed(Vec<Override>);

impl Typed {
    fn add(&mut self, place: (&'static str, &'static str), flag: &'static str, value: Setting) {
        let (table, key) = place;
        self.0.push(Override {
            table,
            key,
            flag,
            value,
        });
    }

    fn text(
        &mut self,
        table: &'static str,
        key: &'static str,
        flag: &'static str,
        text: &Option<String>,
    ) {
        if let Some(text) = text {
            self.add((table, key), flag, Setting::Text(text.clone()));
        }
    }

    fn path(
        &mut self,
        table: &'static str,
        key: &'static str,
        flag: &'static str,
        path: &Option<PathBuf>,
    ) {
        if let Some(path) = path {
            let text = path.to_string_lossy().into_owned();
            self.add((table, key), flag, Setting::Text(text));
        }
    }

    fn integer(
        &mut self,
        table: &'static str,
        key: &'static str,
        flag: &'static str,
        number: Option<u64>,
    ) {
        if let Some(number) = number {
            self.add((table, key), flag, Setting::Integer(number));
        }
    }

    fn float(
        &mut self,
        table: &'static str,
        key: &'static str,
        flag: &'static str,
        number: Option<f64>,
    ) {
        if let Some(number) = number {
            self.add((table, key), flag, Setting::Float(number));
        }
    }

    fn texts(
        &mut self,
        table: &'static str,
        key: &'static str,
        flag: &'static str,
        texts: &[String],
    ) {
        if !texts.is_empty() {
            self.add((table, key), flag, Setting::Texts(texts.to_vec()));
        }
    }

    fn integers(
        &mut self,
        table: &'static str,
        key: &'static str,
        flag: &'static str,
        numbers: &[u64],
    ) {
        if !numbers.is_empty() {
            self.add((table, key), flag, Setting::Integers(numbers.to_vec()));
        }
    }

    fn set(&mut self, key: &'static str, flag: &'static str, typed: bool) {
        if typed {
            self.add(("", key), flag, Setting::Set);
        }
    }
}

impl CampaignFlags {
    /// What was typed, for [`Campaign::read`](fits_injectors::campaign::file::Campaign::read) and
    /// [`Campaign::of_flags`](fits_injectors::campaign::file::Campaign::of_flags).
    pub(crate) fn overrides(&self) -> Vec<Override> {
        let mut typed = Typed::default();
        self.campaign(&mut typed);
        self.running(&mut typed);
        self.sampling(&mut typed);
        self.space(&mut typed);
        self.outcome(&mut typed);
        typed.0
    }

    fn campaign(&self, typed: &mut Typed) {
        if let Some((program, arguments)) = self.program.split_first() {
            typed.add(("", "program"), "PROG", Setting::Text(program.clone()));
            typed.add(
                ("", "arguments"),
                "ARGS",
                Setting::Texts(arguments.to_vec()),
            );
        }
        typed.integer("", "seed", "--seed", self.seed);
        typed.integer("", "jobs", "--jobs", self.jobs);
        typed.text("", "start", "--start", &self.start);
        typed.text("", "pruning", "--pruning", &self.pruning);
        typed.integer(
            "",
            "validate-pruning",
            "--validate-pruning",
            self.validate_pruning,
        );
        typed.text("", "shard", "--shard", &self.shard);
    }

    fn running(&self, typed: &mut Typed) {
        typed.text("golden", "level", "--stats", &self.stats);
        typed.path("golden", "folder", "--golden", &self.golden);
        typed.text("", "backend", "--backend", &self.backend);
        typed.set("single-step", "--single-step", self.single_step);
        typed.set("raw-environment", "--raw-environment", self.raw_environment);
        typed.path("", "stdin", "--stdin", &self.stdin);
        typed.path(
            "",
            "working-directory",
            "--working-directory",
            &self.working_directory,
        );
        typed.integer("", "window", "--window", self.window);
        typed.integer("", "trace", "--trace", self.trace);
        typed.text("", "isolate", "--isolate", &self.isolate);
        let folders = self
            .writable
            .iter()
            .map(|path| path.to_string_lossy().into_owned());
        typed.texts("", "writable", "--writable", &folders.collect::<Vec<_>>());
    }

    fn sampling(&self, typed: &mut Typed) {
        typed.text("sampling", "kind", "--sampling", &self.sampling);
        typed.text("sampling", "by", "--by", &self.by);
        typed.integer("sampling", "size", "--size", self.size);
        let float = |key, flag, value: Option<f64>| Some((key, flag, Setting::Float(value?)));
        let outcome = self
            .outcome
            .clone()
            .map(|word| ("outcome", "--outcome", Setting::Text(word)));
        let maximum = self
            .maximum
            .map(|number| ("maximum", "--maximum", Setting::Integer(number)));
        let table: Vec<_> = [
            float("margin", "--margin", self.margin),
            float("until-width", "--until-width", self.until_width),
            float("confidence", "--confidence", self.confidence),
            outcome,
            maximum,
        ]
        .into_iter()
        .flatten()
        .collect();
        if let Some((_, flag, _)) = table.first() {
            typed.add(("sampling", "size"), flag, Setting::Table(table));
        }
        typed.integer("sampling", "limit", "--limit", self.limit);
        typed.texts("sampling", "faults", "--fault", &self.fault);
        typed.path("sampling", "file", "--faults", &self.faults);
    }

    fn space(&self, typed: &mut Typed) {
        typed.text("space", "population", "--population", &self.population);
        typed.texts("space", "registers", "--registers", &self.registers);
        typed.texts("space", "memory", "--memory", &self.memory);
        typed.texts("space", "instruction", "--instruction", &self.instruction);
        typed.texts("space", "operations", "--operations", &self.operations);
        typed.texts("space", "masks", "--masks", &self.masks);
        typed.text("space", "bits", "--bits", &self.bits);
        typed.texts("space", "durations", "--durations", &self.durations);
        typed.text("space", "restrict", "--restrict", &self.restrict);
        typed.integers("space", "threads", "--threads", &self.threads);
        typed.text("space", "indices", "--indices", &self.indices);
        let region = "space.region";
        typed.texts(region, "functions", "--function", &self.function);
        typed.texts(region, "addresses", "--address", &self.address);
        typed.texts(region, "modules", "--module", &self.module);
        typed.texts(region, "sections", "--section", &self.section);
        typed.texts(region, "lines", "--line", &self.line);
        let exclude = "space.exclude";
        typed.texts(
            exclude,
            "functions",
            "--exclude-function",
            &self.exclude_function,
        );
        typed.texts(
            exclude,
            "addresses",
            "--exclude-address",
            &self.exclude_address,
        );
        typed.texts(exclude, "modules", "--exclude-module", &self.exclude_module);
        typed.texts(
            exclude,
            "sections",
            "--exclude-section",
            &self.exclude_section,
        );
        typed.texts(exclude, "lines", "--exclude-line", &self.exclude_line);
    }

    fn outcome(&self, typed: &mut Typed) {
        typed.integers("outcome", "detect-exit", "--detect-exit", &self.detect_exit);
        typed.texts(
            "outcome",
            "detect-output",
            "--detect-output",
            &self.detect_output,
        );
        typed.text(
            "outcome",
            "detect-symbol",
            "--detect-symbol",
            &self.detect_symbol,
        );
        typed.text("outcome", "compare", "--compare", &self.compare);
        typed.float("limits", "hang-factor", "--hang-factor", self.hang_factor);
        typed.float("limits", "hang-floor", "--hang-floor", self.hang_floor);
        typed.integer(
            "limits",
            "hang-instructions",
            "--hang-instructions",
            self.hang_instructions,
        );
        typed.integer(
            "limits",
            "max-processes",
            "--max-processes",
            self.max_processes,
        );
        typed.integer("limits", "max-memory", "--max-memory", self.max_memory);
        typed.integer("limits", "max-file", "--max-file", self.max_file);
        typed.integer("limits", "max-disk", "--max-disk", self.max_disk);
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};
    use fits_injectors::campaign::file::{Campaign, template};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[arg(long)]
        file: Option<PathBuf>,
        #[command(flatten)]
        flags: CampaignFlags,
    }

    fn campaign(line: &str) -> Result<Campaign, String> {
        let words = std::iter::once("fits").chain(line.split(' '));
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        let overrides = line.flags.overrides();
        Campaign::of_flags(overrides).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_say_what_a_file_says() {
        let line = "--seed 7 --jobs 3 --start fresh --pruning def-use --validate-pruning 9 --shard 2/4 --sampling stratified --by opcode --margin 0.02 --confidence 0.99 \
            --registers rax,general --memory counter,bytes=4 --memory sp+8 --instruction wreg:flags,text --operations flip,stuck1 --masks bit,burst=2 --bits 0-7 \
            --durations transient,10of100 --restrict written --threads 0,1 --indices 5-90 --function main --function f --address 0x10-0x20 --module libc.so.6 --section .text \
            --line a.c:3-4 --exclude-function g --exclude-address 0x30-0x40 --exclude-module m --exclude-section .plt --exclude-line b.c --stats full --backend ptrace --single-step \
            --stdin /in --working-directory /w --window 5 --trace 6 --isolate on --writable /x --writable /y --detect-exit 3,4 --detect-output a.b --detect-symbol bad --compare cmp \
            --hang-factor 2.5 --hang-floor 0.5 --hang-instructions 77 --max-processes 1 --max-memory 2 --max-file 3 --max-disk 4 -- /bin/sort -n";
        let file = "program = \"/bin/sort\"\narguments = [\"-n\"]\nseed = 7\njobs = 3\nstart = \"fresh\"\npruning = \"def-use\"\nvalidate-pruning = 9\nshard = \"2/4\"\n\
            backend = \"ptrace\"\nsingle-step = true\nstdin = \"/in\"\nworking-directory = \"/w\"\nwindow = 5\ntrace = 6\nisolate = \"on\"\nwritable = [\"/x\", \"/y\"]\n\
            [golden]\nlevel = \"full\"\n\
            [space]\nregisters = [\"rax\", \"general\"]\nmemory = [\"counter,bytes=4\", \"sp+8\"]\ninstruction = [\"wreg:flags\", \"text\"]\noperations = [\"flip\", \"stuck1\"]\n\
            masks = [\"bit\", \"burst=2\"]\nbits = \"0-7\"\ndurations = [\"transient\", \"10of100\"]\nrestrict = \"written\"\nthreads = [0, 1]\nindices = \"5-90\"\n\
            [space.region]\nfunctions = [\"main\", \"f\"]\naddresses = [\"0x10-0x20\"]\nmodules = [\"libc.so.6\"]\nsections = [\".text\"]\nlines = [\"a.c:3-4\"]\n\
            [space.exclude]\nfunctions = [\"g\"]\naddresses = [\"0x30-0x40\"]\nmodules = [\"m\"]\nsections = [\".plt\"]\nlines = [\"b.c\"]\n\
            [sampling]\nkind = \"stratified\"\nby = \"opcode\"\nsize = { margin = 0.02, confidence = 0.99 }\n\
            [limits]\nhang-factor = 2.5\nhang-floor = 0.5\nhang-instructions = 77\nmax-processes = 1\nmax-memory = 2\nmax-file = 3\nmax-disk = 4\n\
            [outcome]\ndetect-exit = [3, 4]\ndetect-output = [\"a.b\"]\ndetect-symbol = \"bad\"\ncompare = \"cmp\"\n";
        let of_file =
            Campaign::parse(file, std::path::Path::new("/")).map_err(|error| error.to_string());
        assert_eq!(campaign(line), of_file);
        let until =
            campaign("--population refine --until-width 0.02 --outcome hang --maximum 5 -- a")
                .unwrap();
        assert!(until.to_toml().contains(
            "size = { until-width = 0.02, outcome = \"hang\", confidence = 0.95, maximum = 5 }"
        ));
        let list =
            campaign("--sampling list --fault reg:rax:3@5 --faults /f --raw-environment -- a")
                .unwrap();
        assert!(
            list.to_toml()
                .contains("faults = [\"reg:rax:3@5\"]\nfile = \"/f\"")
        );
        let exhaustive =
            campaign("--registers rax --sampling exhaustive --limit 5 --golden /g -- a").unwrap();
        assert!(exhaustive.to_toml().contains("limit = 5"));
    }

    #[test]
    fn what_is_wrong_names_the_flag() {
        for (line, sentence) in [
            (
                "--registers raxx -- a",
                "--registers: 'raxx' is no register",
            ),
            ("--registers rax", "program is missing"),
            (
                "--registers rax --margin 3 -- a",
                "--margin: 3 is out of range",
            ),
            ("--registers rax --outcome sdc -- a", "--until-width"),
            (
                "--registers rax --size 3 --margin 0.1 -- a",
                "cannot be used with",
            ),
            (
                "--population refine --masks byte -- a",
                "--population: it contradicts --masks",
            ),
            (
                "--memory heap --restrict live -- a",
                "--restrict: it says which of the registers count",
            ),
        ] {
            let error = campaign(line).unwrap_err();
            assert!(
                error.contains(sentence),
                "{line}\n  {error}\n  lacks {sentence}"
            );
        }
    }

    /// Every field of the template has a flag, of the same name but for a few.
    #[test]
    fn every_field_has_a_flag() {
        let command = Line::command();
        let flags: Vec<&str> = command
            .get_arguments()
            .filter_map(|argument| argument.get_long())
            .collect();
        let mut table = String::new();
        for line in template().lines() {
            let line = line.trim_start_matches("# ");
            if line.starts_with('[') {
                table = line.to_owned();
            }
            let Some((key, _)) = line
                .split_once(" = ")
                .filter(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
            else {
                continue;
            };
            let singular = key
                .strip_suffix("es")
                .filter(|_| key == "addresses")
                .or(key.strip_suffix('s'))
                .unwrap_or(key);
            let flag = match (table.as_str(), key) {
                (_, "program" | "arguments") => continue,
                ("[golden]", "level") => "stats".to_owned(),
                ("[golden]", "folder") => "golden".to_owned(),
                ("[sampling]", "kind") => "sampling".to_owned(),
                ("[sampling]", "faults") => "fault".to_owned(),
                ("[sampling]", "file") => "faults".to_owned(),
                ("[space.region]", _) => singular.to_owned(),
                ("[space.exclude]", _) => format!("exclude-{singular}"),
                _ => key.to_owned(),
            };
            assert!(flags.contains(&flag.as_str()), "{table} {key}: --{flag}");
        }
    }
}
