//! The machine as faults see it: [`Target`] over the software processor.

use fits_injectors::bits::Bits;
use fits_injectors::fault::{Change, Duration};
use fits_injectors::machine::fault::{
    CheckValues, DiskFailure, DiskFault, Family, FrameFailure, Interrupt, InterruptFailure,
    MachineFault, NetworkFault, PartFailure, PartFault, Registers, Side, Way, What,
};
use fits_injectors::machine::target::{Event, Target, Watch, Wishes};
use fits_sysemu::board::attached::Wrong;
use fits_sysemu::board::pc::Pc;
use fits_sysemu::cpu::mca::MachineCheck;
use fits_sysemu::cpu::state::CodeSize;
use fits_sysemu::cpu::{Broken, BrokenRegisters, Cpu, Kinds, Register, Stop};
use fits_sysemu::devices::faulty::{Failure, Failures, Rule};
use fits_sysemu::devices::lines::LineFault;
use fits_sysemu::devices::network::faulty::{self, FrameFailures, FrameRule};
use fits_sysemu::machine::Machine;

/// Bytes of the widest register.
const WIDEST: usize = 32;

/// A disk that can fail.
#[derive(Debug)]
pub(super) struct FaultyDisk {
    /// `hda`, `vda` and so on.
    pub(super) name: String,
    pub(super) sectors: u64,
    pub(super) failures: Failures,
}

/// What can fail beside the machine itself.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) disks: Vec<FaultyDisk>,
    /// The network cards, by order.
    pub(super) cards: Vec<FrameFailures>,
}

impl Parts {
    /// The disk that is to fail.
    fn disk(&self, fault: &DiskFault) -> Result<&FaultyDisk, String> {
        let disk = self.disks.iter().find(|disk| disk.name == fault.disk);
        let disk = disk.ok_or_else(|| {
            let names: Vec<&str> = self.disks.iter().map(|disk| disk.name.as_str()).collect();
            let there = listed(&names, "--disk");
            format!("the machine has no disk {}; {there}", fault.disk)
        })?;
        if fault.last >= disk.sectors {
            return Err(format!(
                "disk {} has {} sectors, from 0",
                fault.disk, disk.sectors
            ));
        }
        Ok(disk)
    }

    /// The network card that is to fail.
    fn card(&self, number: u8) -> Result<&FrameFailures, String> {
        self.cards.get(usize::from(number)).ok_or_else(|| {
            let names: Vec<String> = (0..self.cards.len()).map(|n| format!("eth{n}")).collect();
            let there = listed(&names, "--net");
            format!("the machine has no network card eth{number}; {there}")
        })
    }

    /// Whether what a fault names is there: a disk with its sectors, a network card, a device.
    ///
    /// # Errors
    /// When it is not: a sentence that says what there is.
    pub(super) fn check(&self, fault: &MachineFault, machine: &mut Machine) -> Result<(), String> {
        match &fault.what {
            What::Disk(fault) => self.disk(fault).map(drop),
            What::Network(fault) => self.card(fault.card).map(drop),
            What::Part(fault) => {
                let board = board(&mut machine.processor().cpu);
                board.map_or(Ok(()), |board| board.can_fail(&fault.device, wrong(fault)))
            }
            _ => Ok(()),
        }
    }

    /// Nothing fails any more.
    pub(super) fn repair(&self) {
        for disk in &self.disks {
            disk.failures.clear();
        }
        for card in &self.cards {
            card.clear();
        }
    }
}

/// What there is, in words.
fn listed<T: AsRef<str>>(names: &[T], flag: &str) -> String {
    if names.is_empty() {
        return format!("it has none: {flag}");
    }
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    format!("there are {}", names.join(", "))
}

fn wrong(fault: &PartFault) -> Wrong {
    match fault.failure {
        PartFailure::Dead => Wrong::Dead,
        PartFailure::Rate(rate) => Wrong::Rate(rate.as_nanos() as u64),
    }
}

/// A machine with faults.
pub(super) struct SoftTarget<'m> {
    machine: &'m mut Machine,
    parts: &'m Parts,
    /// Virtual times: when it stops in any case, and when somebody wants to know.
    until: u64,
    wished: u64,
    ended: Option<Stop>,
}

impl<'m> SoftTarget<'m> {
    /// It runs until that virtual time at most.
    pub(super) fn new(machine: &'m mut Machine, parts: &'m Parts, until: u64) -> Self {
        SoftTarget {
            machine,
            parts,
            until,
            wished: u64::MAX,
            ended: None,
        }
    }

    /// Why the machine has ended.
    pub(super) fn ended(self) -> Stop {
        self.ended.unwrap_or(Stop::Asked)
    }

    fn cpu(&mut self) -> &mut Cpu {
        &mut self.machine.processor().cpu
    }
}

/// Bases of tables, in the order of [`Family::Table`].
const TABLES: [Register; 3] = [Register::GdtBase, Register::IdtBase, Register::TaskBase];

fn register(family: Family) -> Option<Register> {
    Some(match family {
        Family::General(number) => Register::General(number),
        Family::InstructionPointer => Register::InstructionPointer,
        Family::Flags => Register::Flags,
        Family::Control(number) => Register::Control(number),
        Family::Debug(number) => Register::Debug(number),
        Family::Selector(number) => Register::Selector(number),
        Family::Base(number) => Register::SegmentBase(number),
        Family::Table(number) => *TABLES.get(usize::from(number))?,
        Family::Xcr0 => Register::Xcr0,
        Family::Mxcsr => Register::Mxcsr,
        Family::Vector(number) => Register::Vector(number),
        Family::Stack(number) => Register::Stack(number),
        Family::Model(number) => Register::Model(number),
    })
}

fn failure(failure: DiskFailure, bit: u16) -> Failure {
    match failure {
        DiskFailure::ReadUncorrectable => Failure::ReadUncorrectable,
        DiskFailure::ReadAborted => Failure::ReadAborted,
        DiskFailure::ReadFlip => Failure::ReadFlipped(bit),
        DiskFailure::WriteUncorrectable => Failure::WriteUncorrectable,
        DiskFailure::WriteAborted => Failure::WriteAborted,
        DiskFailure::WriteLost => Failure::WriteLost,
        DiskFailure::WriteTorn => Failure::WriteTorn,
        DiskFailure::WriteFlip => Failure::WriteFlipped(bit),
    }
}

fn board(cpu: &mut Cpu) -> Option<&mut Pc> {
    cpu.bus.as_any().downcast_mut()
}

/// From which frame on, how many, and which of them.
fn frames(fault: &NetworkFault, duration: Duration, failure: faulty::FrameFailure) -> FrameRule {
    let (on, period, frames) = match duration {
        Duration::Transient => (1, 1, Some(1)),
        Duration::Instructions(count) => (1, 1, Some(count)),
        Duration::Intermittent { on, period } => (on, period, None),
        Duration::Permanent => (1, 1, None),
    };
    FrameRule {
        way: match fault.way {
            Way::Received => faulty::Way::Received,
            Way::Sent => faulty::Way::Sent,
        },
        first: fault.frame,
        on,
        period,
        frames,
        failure,
    }
}

fn frame_failure(failure: FrameFailure, change: Option<&Change>, bit: u64) -> faulty::FrameFailure {
    match failure {
        FrameFailure::Flip => faulty::FrameFailure::Flipped(bit),
        FrameFailure::Drop => faulty::FrameFailure::Dropped,
        FrameFailure::Duplicate => faulty::FrameFailure::Duplicated,
        FrameFailure::Reorder => faulty::FrameFailure::Reordered,
        FrameFailure::Delay(time) => {
            let nanoseconds = time.as_nanos().min(u128::from(u64::MAX)) as u64;
            faulty::FrameFailure::Delayed(nanoseconds)
        }
        FrameFailure::Bits(at) => {
            let bytes = change.map_or(0, |change| change.mask(Bits::WIDTH).width().div_ceil(8));
            let of = |old: Bits| {
                let new = change.map_or(old, |change| change.apply(old, 8 * bytes, Bits::ZERO));
                new.to_bytes(bytes as usize)
            };
            faulty::FrameFailure::Changed {
                at: at.into(),
                zeros: of(Bits::ZERO),
                ones: of(Bits::ones(8 * bytes)),
            }
        }
    }
}

/// What a change does to each byte, by what it makes of zeros and of ones.
fn broken(side: Side, change: Option<&Change>) -> Broken {
    let of = |byte: u8| {
        let old = Bits::from_u64(byte.into());
        change.map_or(byte, |change| change.apply(old, 8, Bits::ZERO).low() as u8)
    };
    let (zeros, ones) = (of(0), of(0xff));
    // A bit that is 1 for both is stuck, one that differs follows what is there, or its opposite.
    let (or, and, xor) = (zeros & ones, zeros ^ ones, zeros & !ones);
    match side {
        Side::Dead => Broken::Dead,
        Side::Reads => Broken::Reads { and, or, xor },
        Side::Writes => Broken::Writes { and, or, xor },
    }
}

impl Target for SoftTarget<'_> {
    fn retired(&self) -> u64 {
        self.machine.retired()
    }

    fn now(&self) -> u64 {
        self.machine.now()
    }

    fn memory_bytes(&self) -> u64 {
        self.machine.cpu().ram.bytes()
    }

    fn read(&self, physical: u64, bytes: &mut [u8]) -> bool {
        let ram = &self.machine.cpu().ram;
        let inside = ram.contains(physical, bytes.len() as u64);
        if inside {
            bytes.copy_from_slice(ram.slice(physical, bytes.len()));
        }
        inside
    }

    fn write(&mut self, physical: u64, bytes: &[u8]) -> bool {
        self.machine
            .processor()
            .write_physical(physical, bytes)
            .is_ok()
    }

    fn register(&mut self, family: Family) -> Option<Bits> {
        let value = self.cpu().register(register(family)?)?;
        Some(Bits::from_bytes(&value))
    }

    fn set_register(&mut self, family: Family, value: Bits) -> Result<(), String> {
        let register =
            register(family).ok_or_else(|| format!("the processor has no register {family:?}"))?;
        let mut bytes = [0; WIDEST];
        bytes.copy_from_slice(&value.to_bytes(WIDEST));
        self.cpu().set_register(register, &bytes)
    }

    fn user_mode(&self) -> bool {
        self.machine.cpu().cpl == 3
    }

    fn code_bits(&self) -> u32 {
        match self.machine.cpu().code_size {
            CodeSize::Bits16 => 16,
            CodeSize::Bits32 => 32,
            CodeSize::Bits64 => 64,
        }
    }

    fn translate(&self, root: u64, linear: u64) -> Option<u64> {
        self.machine.cpu().walk(root, linear).1
    }

    fn page_entry(&self, linear: u64, level: u8) -> Option<(u64, u8)> {
        let cpu = self.machine.cpu();
        let (entries, _) = cpu.walk(cpu.cr3, linear);
        let wide = cpu.cr4 & 1 << 5 != 0;
        entries
            .iter()
            .find(|entry| entry.level == level)
            .map(|entry| (entry.physical, if wide { 8 } else { 4 }))
    }

    fn forget_translation(&mut self, linear: u64) {
        self.cpu().forget_translation(linear);
    }

    fn redirect_translation(&mut self, linear: u64, change: u64) -> Result<u64, String> {
        let (page, changed) = self.cpu().redirect_tlb(linear, change)?;
        match changed {
            0 => Err(format!("the TLB can't hold the page of {linear:#x}")),
            _ => Ok(page),
        }
    }

    fn machine_check(&mut self, values: &CheckValues, address: u64) -> Result<String, String> {
        let error = MachineCheck {
            bank: values.bank,
            status: values.status,
            mcg_status: values.global,
            address,
            misc: values.misc,
            broadcast: values.broadcast,
        };
        let outcome = self.cpu().inject_machine_check(&error)?;
        Ok(outcome.describe().to_owned())
    }

    fn stick(&mut self, physical: u64, mask: u8, value: u8) {
        self.cpu().stick(physical, mask, value);
    }

    fn watch(&mut self, watch: &Watch) {
        let kinds = Kinds {
            reads: watch.reads,
            writes: watch.writes,
        };
        self.cpu()
            .watch_memory(watch.number, watch.physical, watch.length, kinds);
    }

    fn unwatch(&mut self, number: u32) {
        self.cpu().unwatch(number);
    }

    fn report(&mut self, wishes: &Wishes) {
        let processor = self.machine.processor();
        processor.set_breakpoints(&wishes.breakpoints);
        processor.stop_at(wishes.system_calls, wishes.address_spaces);
        self.wished = wishes.time.unwrap_or(u64::MAX);
    }

    fn run(&mut self, until: u64) -> Event {
        let alarm = self.wished.min(self.until);
        self.machine.processor().set_alarm(alarm);
        match self.machine.processor().run(until) {
            Stop::Limit => Event::Limit,
            Stop::Alarm if self.until > self.machine.now() => Event::Time,
            Stop::Watched { number, write, .. } => Event::Access { number, write },
            Stop::Breakpoint { address } => Event::Execution(address),
            Stop::SystemCall => Event::SystemCall,
            Stop::AddressSpace => Event::AddressSpace,
            stop => {
                self.machine.processor().cpu.bus.idle();
                self.ended = Some(stop);
                Event::Ended
            }
        }
    }

    fn skip(&mut self, bytes: u64) {
        self.cpu().skip_instruction(bytes);
    }

    fn disk(&mut self, fault: &DiskFault, times: Option<u64>, bit: u16) -> Result<(), String> {
        let disk = self.parts.disk(fault)?;
        disk.failures.add(Rule {
            sectors: fault.first..=fault.last,
            failure: failure(fault.failure, bit),
            times,
        });
        Ok(())
    }

    fn network(
        &mut self,
        fault: &NetworkFault,
        change: Option<&Change>,
        duration: Duration,
        bit: u64,
    ) -> Result<(), String> {
        let card = self.parts.card(fault.card)?;
        let failure = frame_failure(fault.failure, change, bit);
        card.add(frames(fault, duration, failure));
        Ok(())
    }

    fn device(&mut self, registers: &Registers, change: Option<&Change>, times: Option<u64>) {
        self.cpu().break_registers(BrokenRegisters {
            range: registers.first..=registers.last,
            memory: registers.memory,
            how: broken(registers.side, change),
            times,
        });
    }

    fn part(&mut self, fault: &PartFault) -> Result<(), String> {
        let now = self.machine.now();
        let Some(board) = board(self.cpu()) else {
            return Ok(());
        };
        board.fail(now, &fault.device, wrong(fault))
    }

    fn interrupt(&mut self, interrupt: &Interrupt, times: Option<u64>) {
        let Some(board) = board(self.cpu()) else {
            return;
        };
        match interrupt.failure {
            InterruptFailure::Spurious => board.spurious_interrupt(interrupt.line),
            InterruptFailure::Lost => board.break_line(interrupt.line, LineFault::Lost(times)),
            InterruptFailure::Stuck0 => board.break_line(interrupt.line, LineFault::Stuck(false)),
            InterruptFailure::Stuck1 => board.break_line(interrupt.line, LineFault::Stuck(true)),
        }
    }

    fn cut_power(&mut self) {
        self.cpu().end_with(Stop::PowerCut);
    }
}
