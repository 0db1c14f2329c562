//! Waits for the moments of faults and lets them happen: the front end between what was asked for and the machine.

mod happening;

use std::collections::VecDeque;

use crate::bits::Bits;
use crate::machine::fault::{AccessKind, Family, MachineFault, Moment, Place, What, When};
use crate::machine::geometry::Geometry;
use crate::machine::inject::{self, Destination};
use crate::machine::lasting::next_change;
use crate::machine::log::Log;
use crate::machine::process::Processes;
use crate::machine::symbols::Symbols;
use crate::machine::target::{Event, Target, Watch, Wishes};
use crate::resolve::draw::Draw;

/// How often, in instructions, it is looked whether the wanted process runs now.
const POLL: u64 = 256;
/// A read of any of so many bytes around an address meets its hardware error: a cache line.
const LINE: u64 = 64;

/// Gives faults one after the other, in the order of their times.
pub trait Source: std::fmt::Debug {
    /// The next ones, all with the same virtual time as their moment; none when there are no more.
    fn next(&mut self) -> Option<Vec<MachineFault>>;
}

/// Where a fault stands.
#[derive(Debug)]
enum State {
    /// Its moment has not come; so many occurrences are still to be passed over.
    Waiting {
        left: u64,
        /// It waits for accesses, and they are watched.
        watched: bool,
    },
    /// Its moment has come, but another process runs, or in another mode.
    Wanted { look_at: u64 },
    /// The instruction that writes the register has begun.
    Writing { until: u64, to: Destination },
    /// The next read of the line raises it.
    Poisoned,
    /// It lasts, since an instruction; memory is stuck now or not.
    Lasting {
        since: u64,
        stuck: Vec<(u64, u8, u8)>,
        on: bool,
    },
    /// It is over.
    Over,
}

/// One fault.
#[derive(Debug)]
struct Item {
    fault: MachineFault,
    state: State,
    draw: Draw,
    /// The source that gives its next faults when the moment of this one has come.
    then: Option<usize>,
}

/// All faults of a run.
#[derive(Debug)]
pub struct Scheduler {
    items: Vec<Item>,
    sources: Vec<Box<dyn Source>>,
    symbols: Symbols,
    geometry: Geometry,
    processes: Option<Processes>,
    seed: u64,
    log: Log,
    wishes: Option<Wishes>,
    /// Faults that sources gave and that were not looked at yet.
    fresh: VecDeque<usize>,
}

fn waiting(moment: &Moment) -> State {
    let left = match &moment.when {
        When::Execution { count, .. } | When::Access { count, .. } | When::Call { count, .. } => {
            count - 1
        }
        When::Instruction(_) | When::Time(_) => 0,
    };
    State::Waiting {
        left,
        watched: false,
    }
}

impl Scheduler {
    /// Nothing yet. `seed` is what faults without a seed of their own draw from.
    #[must_use]
    pub fn new(symbols: Symbols, geometry: Geometry, seed: u64, log: Log) -> Self {
        Scheduler {
            items: Vec::new(),
            sources: Vec::new(),
            symbols,
            geometry,
            processes: None,
            seed,
            log,
            wishes: None,
            fresh: VecDeque::new(),
        }
    }

    /// Adds a fault.
    ///
    /// # Errors
    /// When it names a symbol that is not known, or a process and there are no symbols to find it by: a sentence.
    pub fn add(&mut self, fault: MachineFault) -> Result<(), String> {
        self.check(&fault)
            .map_err(|message| format!("fault '{fault}': {message}"))?;
        let number = self.items.len() as u64;
        let seed = fault.seed.unwrap_or(self.seed.wrapping_add(number));
        self.items.push(Item {
            state: waiting(&fault.moment),
            draw: Draw::new(seed),
            fault,
            then: None,
        });
        self.fresh.push_back(self.items.len() - 1);
        self.wishes = None;
        Ok(())
    }

    fn check(&mut self, fault: &MachineFault) -> Result<(), String> {
        let place = match &fault.what {
            What::Memory(place)
            | What::Array(_, place)
            | What::Translation(place)
            | What::PageEntry(_, place) => Some(place),
            What::Check(check) => Some(&check.place),
            What::Register(_)
            | What::Result(_)
            | What::Skip
            | What::Disk(_)
            | What::Network(_)
            | What::Part(_)
            | What::Device(_)
            | What::Interrupt(_)
            | What::PowerCut => None,
        };
        let moment = match &fault.moment.when {
            When::Execution { place, .. } | When::Access { place, .. } => Some(place),
            _ => None,
        };
        for place in [place, moment].into_iter().flatten() {
            if let Place::Virtual(place) = place {
                inject::linear(place, &self.symbols)?;
            }
        }
        if fault.moment.restriction.process.is_some() && self.processes.is_none() {
            self.processes = Some(Processes::new(&self.symbols)?);
        }
        Ok(())
    }

    /// Adds a source of faults.
    ///
    /// # Errors
    /// When its first fault can't be added: a sentence.
    pub fn add_source(&mut self, source: Box<dyn Source>) -> Result<(), String> {
        self.sources.push(source);
        self.draw_from(self.sources.len() - 1)
    }

    fn draw_from(&mut self, source: usize) -> Result<(), String> {
        if let Some(faults) = self.sources[source].next() {
            for (number, fault) in faults.into_iter().enumerate() {
                self.add(fault)?;
                if number == 0
                    && let Some(item) = self.items.last_mut()
                {
                    item.then = Some(source);
                }
            }
        }
        Ok(())
    }

    /// Adds a fault by its text.
    ///
    /// # Errors
    /// When it is none, or can't be added: a sentence.
    pub fn add_text(&mut self, text: &str) -> Result<(), String> {
        let fault: MachineFault = text
            .parse()
            .map_err(|error: crate::fault::ParseError| error.to_string())?;
        self.add(fault)
    }

    /// The machine was taken to another state, in which nobody watches memory and no cell is stuck: what is under way is armed again. What was
    /// over stays over.
    pub fn moved(&mut self, target: &mut dyn Target) {
        self.wishes = None;
        let now = target.retired();
        for number in 0..self.items.len() {
            target.unwatch(number as u32);
            let item = &mut self.items[number];
            match &mut item.state {
                State::Waiting { watched, .. } => {
                    *watched = false;
                    self.fresh.push_back(number);
                }
                State::Wanted { look_at } => *look_at = now,
                // The instruction that was to be changed is in another life.
                State::Writing { .. } => item.state = State::Over,
                State::Lasting { since, stuck, on } => {
                    *since = now.min(*since);
                    if *on {
                        for &(at, mask, value) in stuck.iter() {
                            target.stick(at, mask, value);
                        }
                    }
                }
                State::Poisoned => {
                    if let What::Check(check) = &item.fault.what
                        && let Place::Physical(physical) = check.place
                    {
                        target.watch(&happening::line(number, physical));
                    }
                }
                State::Over => {}
            }
        }
    }

    /// What was done so far.
    pub fn log(&mut self) -> &mut Log {
        &mut self.log
    }

    /// All faults so far.
    pub fn faults(&self) -> impl Iterator<Item = &MachineFault> {
        self.items.iter().map(|item| &item.fault)
    }

    /// Faults whose moment has not come: they had no effect.
    pub fn not_reached(&self) -> impl Iterator<Item = &MachineFault> {
        self.items
            .iter()
            .filter(|item| matches!(item.state, State::Waiting { .. } | State::Wanted { .. }))
            .map(|item| &item.fault)
    }

    /// Runs the machine, with its faults, until it ends or so many instructions have retired in all.
    pub fn run(&mut self, target: &mut dyn Target, limit: u64) -> Event {
        // Whoever ran the machine meanwhile may have told it other wishes.
        self.wishes = None;
        loop {
            self.settle(target);
            self.tell(target);
            let until = self.next_instruction(target.retired()).min(limit);
            let mut event = target.run(until);
            while self.is_passed_over(event) {
                event = target.run(until);
            }
            match event {
                Event::Ended => return Event::Ended,
                Event::Limit if target.retired() >= limit => return Event::Limit,
                Event::Limit | Event::Time => {
                    // An alarm rings once.
                    self.wishes = None;
                }
                event => self.happened(event, target),
            }
        }
    }

    /// Counts an access that is not yet the one that its fault waits for: then nothing else has changed either.
    fn is_passed_over(&mut self, event: Event) -> bool {
        let Event::Access { number, .. } = event else {
            return false;
        };
        let Some(item) = self.items.get_mut(number as usize) else {
            return false;
        };
        let restriction = &item.fault.moment.restriction;
        let anybody = restriction.user.is_none() && restriction.process.is_none();
        match &mut item.state {
            State::Waiting { left, .. } if *left > 0 && anybody => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }

    /// Tells the machine what it should report, if that has changed.
    fn tell(&mut self, target: &mut dyn Target) {
        let wishes = self.wanted();
        if self.wishes.as_ref() != Some(&wishes) {
            target.report(&wishes);
            self.wishes = Some(wishes);
        }
    }

    /// What the machine should report now.
    fn wanted(&self) -> Wishes {
        let mut wishes = Wishes::default();
        for item in &self.items {
            let State::Waiting { watched, .. } = item.state else {
                continue;
            };
            match &item.fault.moment.when {
                When::Instruction(_) => {}
                When::Time(time) => {
                    let at = time.as_nanos().min(u128::from(u64::MAX)) as u64;
                    wishes.time = Some(wishes.time.map_or(at, |other| other.min(at)));
                }
                When::Execution { place, .. } => {
                    if let Place::Virtual(place) = place
                        && let Ok(address) = inject::linear(place, &self.symbols)
                    {
                        wishes.breakpoints.push(address);
                    }
                }
                When::Access { .. } => wishes.address_spaces |= !watched,
                When::Call { .. } => wishes.system_calls = true,
            }
        }
        wishes.breakpoints.sort_unstable();
        wishes.breakpoints.dedup();
        wishes
    }

    /// The next instruction before which something is to be done.
    fn next_instruction(&self, now: u64) -> u64 {
        let at = |item: &Item| match &item.state {
            State::Waiting { .. } => match item.fault.moment.when {
                When::Instruction(index) => index,
                _ => u64::MAX,
            },
            State::Wanted { look_at } => *look_at,
            State::Writing { until, .. } => *until,
            State::Lasting { since, .. } => next_change(&item.fault, *since, now),
            State::Poisoned | State::Over => u64::MAX,
        };
        self.items
            .iter()
            .map(at)
            .min()
            .unwrap_or(u64::MAX)
            .max(now + 1)
    }

    /// Does what is due now.
    fn settle(&mut self, target: &mut dyn Target) {
        while let Some(number) = self.fresh.pop_front() {
            self.try_watch(number, target);
        }
        let (retired, now) = (target.retired(), target.now());
        for number in 0..self.items.len() {
            let item = &self.items[number];
            let due = match &item.state {
                State::Waiting { .. } => match item.fault.moment.when {
                    When::Instruction(index) => index <= retired,
                    When::Time(time) => time.as_nanos() <= u128::from(now),
                    _ => false,
                },
                State::Wanted { look_at } => *look_at <= retired,
                State::Writing { until, .. } => *until <= retired,
                State::Lasting { .. } => true,
                State::Poisoned | State::Over => false,
            };
            if due {
                self.come(number, target);
            }
        }
    }

    /// Something that faults wait for has happened.
    fn happened(&mut self, event: Event, target: &mut dyn Target) {
        for number in 0..self.items.len() {
            if matches!(event, Event::AddressSpace | Event::SystemCall) {
                self.try_watch(number, target);
            }
            let item = &self.items[number];
            let meant = match (&item.state, event) {
                (State::Poisoned, Event::Access { number: of, .. }) => of == number as u32,
                (State::Waiting { .. }, event) => self.is_meant(&item.fault, number, event, target),
                _ => false,
            };
            if meant && self.allowed(number, target) && self.counted(number) {
                self.come(number, target);
            }
        }
    }

    /// Whether an event is an occurrence of what a fault waits for.
    fn is_meant(
        &self,
        fault: &MachineFault,
        number: usize,
        event: Event,
        target: &mut dyn Target,
    ) -> bool {
        match (&fault.moment.when, event) {
            (When::Access { .. }, Event::Access { number: of, .. }) => of == number as u32,
            (When::Execution { place, .. }, Event::Execution(address)) => match place {
                Place::Virtual(place) => inject::linear(place, &self.symbols) == Ok(address),
                Place::Physical(_) => false,
            },
            (When::Call { number, .. }, Event::SystemCall) => {
                target.register(Family::General(0)).map(Bits::low) == Some(*number)
            }
            _ => false,
        }
    }

    /// Whether the right process runs, in the right mode.
    fn allowed(&mut self, number: usize, target: &mut dyn Target) -> bool {
        let restriction = &self.items[number].fault.moment.restriction;
        if restriction
            .user
            .is_some_and(|user| user != target.user_mode())
        {
            return false;
        }
        match (&restriction.process, &mut self.processes) {
            (Some(wanted), Some(processes)) => processes.current(target).as_ref() == Some(wanted),
            _ => true,
        }
    }

    /// Counts an occurrence; true for the one that is meant.
    fn counted(&mut self, number: usize) -> bool {
        match &mut self.items[number].state {
            State::Waiting { left: 0, .. } | State::Poisoned => true,
            State::Waiting { left, .. } => {
                *left -= 1;
                false
            }
            _ => false,
        }
    }

    /// Watches what a fault waits for to be accessed, once it can be found.
    fn try_watch(&mut self, number: usize, target: &mut dyn Target) {
        let State::Waiting {
            watched: false,
            left,
        } = self.items[number].state
        else {
            return;
        };
        let When::Access {
            kind, place, bytes, ..
        } = self.items[number].fault.moment.when.clone()
        else {
            return;
        };
        if !self.allowed_process(number, target) {
            return;
        }
        if let Ok(physical) = inject::physical(&place, 0, target, &self.symbols) {
            target.watch(&Watch {
                number: number as u32,
                physical,
                length: bytes.into(),
                reads: kind != AccessKind::Write,
                writes: kind != AccessKind::Read,
            });
            let watched = true;
            self.items[number].state = State::Waiting { left, watched };
        }
    }

    fn allowed_process(&mut self, number: usize, target: &mut dyn Target) -> bool {
        match (
            &self.items[number].fault.moment.restriction.process,
            &mut self.processes,
        ) {
            (Some(wanted), Some(processes)) => processes.current(target).as_ref() == Some(wanted),
            _ => true,
        }
    }

    /// The time of a fault has come: it goes from one state into the next.
    fn come(&mut self, number: usize, target: &mut dyn Target) {
        let state = std::mem::replace(&mut self.items[number].state, State::Over);
        let next = match state {
            State::Waiting { watched, .. } => {
                if watched {
                    target.unwatch(number as u32);
                }
                if let Some(source) = self.items[number].then.take() {
                    // What a source gives was checked when its model was read; if it fails all the same, it gives no more.
                    let _ = self.draw_from(source);
                }
                self.begin_or_wait(number, target)
            }
            State::Wanted { .. } => self.begin_or_wait(number, target),
            State::Writing { until, to } => self.write(number, until, to, target),
            State::Poisoned => self.read_poison(number, target),
            State::Lasting { since, stuck, on } => self.last(number, (since, stuck, on), target),
            State::Over => State::Over,
        };
        self.items[number].state = next;
        self.wishes = None;
    }

    fn begin_or_wait(&mut self, number: usize, target: &mut dyn Target) -> State {
        if !self.allowed(number, target) {
            return State::Wanted {
                look_at: target.retired() + POLL,
            };
        }
        self.begin(number, target)
    }
}
