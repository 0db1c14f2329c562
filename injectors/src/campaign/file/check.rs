//! Fields that contradict each other: a sentence at the later one, with the place of the other.

use fits_stats::model::Backend;

use super::campaign::{Campaign, Sampling, Size};
use super::choice::{
    InstructionPart, MaskChoice, Pruning, RegisterChoice, Restriction, operation_width,
};
use super::document::{Entry, Origin, Value};
use super::reader::Gathered;
use crate::fault::{Duration, MemoryPlace, Operation};

/// The fields as they were written.
pub(super) struct Written<'d> {
    pub(super) root: &'d [Entry],
    pub(super) gathered: &'d Gathered,
}

impl Written<'_> {
    /// Where a field was written: `space.region.lines`.
    fn origin(&self, path: &str) -> Option<&Origin> {
        let mut entries = self.root;
        let mut found = None;
        for name in path.split('.') {
            let entry = entries.iter().find(|entry| entry.key == name)?;
            found = Some(&entry.origin);
            entries = match &entry.node.value {
                Value::Table(inner) => inner,
                _ => &[],
            };
        }
        found
    }

    /// Both were written, and do not go together.
    fn clash(&self, one: &str, other: &str, why: &str) {
        let (Some(a), Some(b)) = (self.origin(one), self.origin(other)) else {
            return;
        };
        let (first, (name, origin)) = if a <= b {
            ((one, a), (other, b))
        } else {
            ((other, b), (one, a))
        };
        let place = match first.1 {
            Origin::Line(line) => format!("{} in line {line}", label(first.0)),
            Origin::Flag(flag) => flag.clone(),
            Origin::File => label(first.0),
        };
        let own = match origin {
            Origin::Flag(_) => String::new(),
            _ => format!("{}: ", label(name)),
        };
        self.gathered
            .add(origin, format!("{own}it contradicts {place}: {why}"));
    }

    /// A field is wrong by what it says together with defaults.
    fn alone(&self, path: &str, why: &str) {
        let origin = self.origin(path).cloned().unwrap_or(Origin::File);
        let own = match &origin {
            Origin::Flag(_) => String::new(),
            _ => format!("{}: ", label(path)),
        };
        self.gathered.add(&origin, format!("{own}{why}"));
    }
}

/// `[space.region] lines`.
fn label(path: &str) -> String {
    match path.rsplit_once('.') {
        Some((table, key)) => format!("[{table}] {key}"),
        None if ["golden", "space", "sampling", "limits", "outcome"].contains(&path) => {
            format!("[{path}]")
        }
        None => path.to_owned(),
    }
}

/// Gathers all contradictions.
pub(super) fn check(campaign: &Campaign, written: &Written<'_>) {
    running(campaign, written);
    if let Sampling::List { .. } = campaign.sampling {
        let why = "a list of faults says everything about them itself";
        written.clash("space", "sampling.kind", why);
        return;
    }
    locations(campaign, written);
    operations(campaign, written);
    sampling(campaign, written);
}

fn running(campaign: &Campaign, written: &Written<'_>) {
    if campaign.single_step && campaign.backend != Backend::Ptrace {
        written.alone("single-step", "it goes with backend = \"ptrace\" only");
    }
    if campaign.validate_pruning > 0 && campaign.pruning == Pruning::Off {
        written.alone(
            "validate-pruning",
            "it goes with pruning = \"def-use\" only",
        );
    }
    let why = "the level of a golden run that exists is the one that it was made with";
    written.clash("golden.level", "golden.folder", why);
    if campaign.raw_environment && !matches!(campaign.sampling, Sampling::List { .. }) {
        let why = "addresses are others in every run then, and faults are drawn by address; it goes with sampling kind = \"list\" only, with moments by index, call= or time=";
        written.alone("raw-environment", why);
    }
}

fn locations(campaign: &Campaign, written: &Written<'_>) {
    let space = &campaign.space;
    if space.population.is_some() {
        let why = "a population with a name says what is changed, how and for how long";
        for key in [
            "registers",
            "memory",
            "instruction",
            "operations",
            "masks",
            "bits",
            "durations",
            "restrict",
        ] {
            written.clash("space.population", &format!("space.{key}"), why);
        }
        return;
    }
    let unwritten = ["population", "registers", "memory", "instruction"]
        .into_iter()
        .all(|key| written.origin(&format!("space.{key}")).is_none());
    if unwritten {
        let sentence = "it must say what is changed: registers ([\"general\"]), memory ([\"heap\"]), instruction ([\"wreg\"]) or population (\"refine\")";
        written.alone("space", sentence);
    }
    let random =
        |choice: &super::choice::MemoryChoice| matches!(choice.place, MemoryPlace::Random(_));
    if space.memory.iter().any(random) {
        let why = "how large a region of memory is changes during the run, so its share beside other locations is not defined; make two campaigns";
        written.clash("space.memory", "space.registers", why);
        written.clash("space.memory", "space.instruction", why);
        if !space.memory.iter().all(random) {
            written.alone("space.memory", "regions (heap, stack, data) and places do not go together: how large a region is changes during the run, so its share is not defined; make two campaigns");
        }
        if let Sampling::Exhaustive { .. } = campaign.sampling {
            let why = "a region of memory has no points that can be numbered; name addresses or symbols with ,bytes=N";
            written.clash("space.memory", "sampling.kind", why);
        }
    }
    if space.restrict != Restriction::Any
        && space.registers.is_empty()
        && written.origin("space.registers").is_none()
    {
        written.alone(
            "space.restrict",
            "it says which of the registers count, and there is no field registers",
        );
    }
    if space.restrict == Restriction::Live {
        let why = "what is live is known only of drawn points; with pruning = \"def-use\" all that are not live have a verdict";
        if let Sampling::Exhaustive { .. } = campaign.sampling {
            written.clash("space.restrict", "sampling.kind", why);
        }
    }
    let all = |class: &RegisterChoice| *class == RegisterChoice::All;
    if space.registers.len() > 1 && space.registers.iter().any(all) {
        written.alone(
            "space.registers",
            "all is all of them already: nothing else goes with it",
        );
    }
}

fn operations(campaign: &Campaign, written: &Written<'_>) {
    let space = &campaign.space;
    if space.only_whole() {
        let why = "cf and skip say what happens by themselves";
        for key in ["operations", "masks", "bits"] {
            written.clash("space.instruction", &format!("space.{key}"), why);
        }
    }
    let skips = space
        .instruction
        .iter()
        .any(|choice| choice.part == InstructionPart::Skip);
    if skips && space.durations.contains(&Duration::Permanent) {
        let why = "skip cannot be permanent: no instruction would be executed any more";
        written.clash("space.instruction", "space.durations", why);
    }
    for operation in &space.operations {
        let needs = operation_width(*operation);
        let fits = |mask: &MaskChoice| match mask {
            MaskChoice::Bit => needs <= 1,
            MaskChoice::Byte => needs <= 8,
            MaskChoice::Burst(bits) | MaskChoice::Bits(bits) => needs <= *bits,
            MaskChoice::All => true,
        };
        if let Operation::Set(number) = operation
            && !space.masks.iter().all(fits)
        {
            let sentence = format!(
                "set={number} needs masks of at least {needs} bits: masks = [\"all\"], or another one that has so many"
            );
            written.alone("space.operations", &sentence);
        }
    }
    if let Some((first, last)) = space.bits {
        let bits = last - first + 1;
        let long = |mask: &&MaskChoice| match mask {
            MaskChoice::Burst(needed) | MaskChoice::Bits(needed) => *needed > bits,
            MaskChoice::Byte => bits < 8,
            MaskChoice::Bit | MaskChoice::All => false,
        };
        if let Some(mask) = space.masks.iter().find(long) {
            written.clash(
                "space.bits",
                "space.masks",
                &format!("{mask} does not fit into bits {first} to {last}"),
            );
        }
    }
}

fn sampling(campaign: &Campaign, written: &Written<'_>) {
    if let Some(Size::UntilWidth { .. }) = campaign.sampling.size()
        && campaign.shard.is_some()
    {
        let why = "a part of a plan does not know the results of the others, so it cannot know when to stop";
        written.clash("shard", "sampling.size", why);
    }
}
