//! A PC with one processor: interrupt controllers, timers, clock, serial port, power management, host bridge.
//!
//! | ports | name | what |
//! |---|---|---|
//! | 0x20, 0xa0, 0x4d0 | `pic` | interrupt controllers |
//! | 0x40, 0x61 | `pit` | timer, line 0 |
//! | 0x60, 0x64 | `keyboard` | keyboard controller |
//! | 0x70 | `rtc` | clock and CMOS |
//! | 0x92 | `port92` | reset |
//! | 0x3f8 | `serial0` | serial port, line 4 |
//! | 0x501 | `debug-exit` | debug exit |
//! | 0x600 | `power` | power management, line 9 |
//! | 0xcf8 | `pci` | PCI configuration, reset |
//! | 0x1f0, 0x3f6, 0x170, 0x376 | `ide0` | IDE, lines 14 and 15 |
//!
//! In memory: `ioapic` and `lapic`. On the PCI bus: `host-bridge` (00.0), `isa-bridge` (01.0), `ide0` (01.1), and what was put into the machine from 03.0
//! on; its four interrupts are lines 16 to 19 of the I/O APIC, and of the old controllers those that the ISA bridge routes them to.
//! Everything else reads all ones, and writes to it are dropped.

mod wiring;

use std::any::Any;
use std::time::Duration;

use crate::board::attached::{Attached, Clock, Wrong};
use crate::board::map::Map;
pub use crate::board::place::{AttachError, Place, Space};
use crate::bus::Bus;
use crate::cpu::Stop;
use crate::devices::device::{Context, Device, number};
use crate::devices::ioapic::IoApic;
use crate::devices::lapic::Lapic;
use crate::devices::lines::{Line, LineFault, PCI_LINE};
use crate::devices::pci::bridges::Bridge;
use crate::devices::pci::bus::{Access, windows};
use crate::devices::pci::config::INTERRUPT_LINE;
use crate::devices::pci::{Function, PciBus, PciDevice};
use crate::devices::pic::Pics;
use crate::snapshot::{Component, Loader, Records, SnapshotError};
pub use wiring::FIRST_SLOT;

/// Where the I/O APIC lies.
pub const IOAPIC: u64 = 0xfec0_0000;
/// Where the local APIC lies.
pub const LAPIC: u64 = 0xfee0_0000;
/// Port of the power management registers.
pub const POWER: u16 = 0x600;
/// Writing here ends the machine with a status.
pub const DEBUG_EXIT: u16 = 0x501;

const TIMER_LINE: u8 = 0;

/// How long the machine waits at most for the host to say something while it has nothing to do.
const LONGEST_WAIT: Duration = Duration::from_millis(10);

/// Device and function number of the ISA bridge: device 1.
const ISA_BRIDGE: u8 = 8;
/// The board's own devices.
const CONTROLLERS: [(&str, Target); 4] = [
    ("lapic", Target::Lapic),
    ("ioapic", Target::IoApic),
    ("pic", Target::Pics),
    ("pci", Target::Pci),
];

/// Who answers. Interrupt controllers are the board's own: the processor talks to them, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Lapic,
    IoApic,
    Pics,
    Pci,
    Attached(usize),
}

/// The board.
#[derive(Debug)]
pub struct Pc {
    context: Context,
    lapic: Lapic,
    lapic_clock: Clock,
    ioapic: IoApic,
    pics: Pics,
    attached: Vec<Attached>,
    ports: Map<Target>,
    memory: Map<Target>,
    pci: PciBus,
    /// What PCI functions answer at, where nothing fixed does.
    pci_ports: Map<Target>,
    pci_memory: Map<Target>,
    /// The ISA lines that PCI interrupts are routed to.
    pci_routing: [Option<u8>; 4],
    fpu_line: Line,
    /// The earliest event of all devices.
    next_event: u64,
}

impl Pc {
    /// Adds a PCI function with a device and function number (device × 8 + function); `places` are those that no base address register moves.
    ///
    /// # Errors
    /// When its name or one of its places is taken.
    pub fn attach_function(
        &mut self,
        name: &str,
        number: u8,
        mut function: Box<dyn Function>,
        places: Vec<Place>,
    ) -> Result<(), AttachError> {
        let config = function.config_mut();
        if config.pin() != 0 {
            let index = usize::from((number >> 3) + config.pin() - 1 & 3);
            let line = crate::devices::pci::bridges::FIRMWARE_ROUTING[index];
            config.put(INTERRUPT_LINE, &[line]);
        }
        self.pci.add(number, self.attached.len(), config);
        self.attach(name, Box::new(PciDevice { function, number }), places)?;
        self.decode();
        Ok(())
    }

    /// The PCI interrupt line of a function that asks for INTA.
    #[must_use]
    pub fn pci_line(&mut self, number: u8) -> Line {
        self.context.lines.connect(PCI_LINE + (number >> 3 & 3))
    }

    fn function(&mut self, index: usize) -> Option<(&mut dyn Function, &mut Context)> {
        let device: &mut dyn Any = &mut *self.attached[index].device;
        let pci = device.downcast_mut::<PciDevice>()?;
        Some((&mut *pci.function, &mut self.context))
    }

    /// Looks at configuration spaces: which addresses are answered, where interrupts go.
    fn decode(&mut self) {
        self.pci_ports = Map::default();
        self.pci_memory = Map::default();
        for (number, index) in self.pci.functions().to_vec() {
            let Some((function, _)) = self.function(index) else {
                continue;
            };
            let windows = windows(function.config());
            let function: &dyn Any = function;
            if let (ISA_BRIDGE, Some(bridge)) = (number, function.downcast_ref::<Bridge>()) {
                self.pci_routing = std::array::from_fn(|pin| bridge.route(pin));
            }
            for window in windows {
                let map = if window.ports {
                    &mut self.pci_ports
                } else {
                    &mut self.pci_memory
                };
                // Software may let windows overlap: the first function wins, as good as any.
                let _ = map.insert(window.range, Target::Attached(index), window.offset);
            }
        }
    }

    /// The function that an access to the bus's registers is passed on to, and the offset in its configuration space.
    fn configuration(&self, target: Target, offset: u64, length: usize) -> Option<(usize, usize)> {
        match (target, self.pci.access(offset, length)) {
            (Target::Pci, Access::Function(index, at)) if !self.attached[index].dead => {
                Some((index, at))
            }
            _ => None,
        }
    }

    fn read_configuration(&mut self, index: usize, at: usize, data: &mut [u8]) {
        if let Some((function, context)) = self.function(index) {
            function.before_config_read(context, at);
            function.config().read(at, data);
        }
        self.acted(Target::Attached(index));
    }

    fn write_configuration(&mut self, index: usize, at: usize, data: &[u8]) {
        if let Some((function, context)) = self.function(index) {
            function.config_mut().write(at, data);
            function.configured(context, at, data.len());
        }
        self.decode();
        self.acted(Target::Attached(index));
        self.drive_old_lines();
    }

    /// Adds a device.
    ///
    /// # Errors
    /// When its name or one of its places is taken.
    pub fn attach(
        &mut self,
        name: &str,
        device: Box<dyn Device>,
        places: Vec<Place>,
    ) -> Result<(), AttachError> {
        if self.names().any(|taken| taken == name) {
            return Err(AttachError::Name(name.to_owned()));
        }
        let target = Target::Attached(self.attached.len());
        for place in places {
            self.place(name, target, place)?;
        }
        self.attached.push(Attached::new(name, device));
        self.plan();
        Ok(())
    }

    fn place(&mut self, name: &str, target: Target, place: Place) -> Result<(), AttachError> {
        let map = match place.space {
            Space::Ports => &mut self.ports,
            Space::Memory => &mut self.memory,
        };
        map.insert(place.range.clone(), target, place.offset)
            .map_err(|_| AttachError::Place {
                name: name.to_owned(),
                space: place.space,
                range: place.range,
            })
    }

    /// The names of all devices.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        CONTROLLERS
            .iter()
            .map(|(name, _)| *name)
            .chain(self.attached.iter().map(|attached| attached.name.as_str()))
    }

    /// A connection to an interrupt line of the ISA bus, for a device that is attached later.
    ///
    /// # Panics
    /// When there is no such line, or it has 64 connections.
    pub fn connect(&mut self, line: u8) -> Line {
        self.context.lines.connect(line)
    }

    fn target(&self, name: &str) -> Option<Target> {
        let own = CONTROLLERS.iter().find(|(own, _)| *own == name);
        Some(match own {
            Some((_, target)) => *target,
            None => Target::Attached(
                self.attached
                    .iter()
                    .position(|attached| attached.name == name)?,
            ),
        })
    }

    /// The device of that name, and what it acts with.
    pub fn device(&mut self, name: &str) -> Option<(&mut dyn Device, &mut Context)> {
        Some(self.split(self.target(name)?))
    }

    /// Lets somebody outside act on the device of that name; what it then does with its lines is seen at once.
    pub fn act<R>(
        &mut self,
        now: u64,
        name: &str,
        action: impl FnOnce(&mut dyn Device, &mut Context) -> R,
    ) -> Option<R> {
        let target = self.target(name)?;
        self.context.now = now;
        let (device, context) = self.split(target);
        let result = action(device, context);
        self.acted(target);
        Some(result)
    }

    fn split(&mut self, target: Target) -> (&mut dyn Device, &mut Context) {
        let device: &mut dyn Device = match target {
            Target::Lapic => &mut self.lapic,
            Target::IoApic => &mut self.ioapic,
            Target::Pics => &mut self.pics,
            Target::Pci => &mut self.pci,
            Target::Attached(index) => &mut *self.attached[index].device,
        };
        (device, &mut self.context)
    }

    /// Lets a device that works act at the time that its clock shows.
    fn with(&mut self, target: Target, act: impl FnOnce(&mut dyn Device, &mut Context)) {
        let clock = match target {
            Target::Attached(index) => self.attached[index].clock,
            Target::Lapic => self.lapic_clock,
            _ => Clock::default(),
        };
        let (device, context) = self.split(target);
        clock.with(context, |context| act(device, context));
    }

    /// Whether the device that answers is dead.
    fn is_dead(&self, target: Target) -> bool {
        matches!(target, Target::Attached(index) if self.attached[index].dead)
    }

    /// Who answers for all of these bytes.
    fn find(&self, space: Space, address: u64, length: usize) -> Option<(Target, u64)> {
        let (map, pci) = match space {
            Space::Ports => (&self.ports, &self.pci_ports),
            Space::Memory => (&self.memory, &self.pci_memory),
        };
        map.find(address, length as u64)
            .or_else(|| pci.find(address, length as u64))
            .filter(|(target, _)| *target != Target::Lapic || self.lapic.enabled())
            .filter(|(target, _)| !self.is_dead(*target))
    }

    fn read(&mut self, now: u64, space: Space, address: u64, data: &mut [u8]) {
        self.context.now = now;
        if let Some((target, offset)) = self.find(space, address, data.len()) {
            if let Some((index, at)) = self.configuration(target, offset, data.len()) {
                return self.read_configuration(index, at, data);
            }
            self.with(target, |device, context| device.read(context, offset, data));
            self.acted(target);
        } else if data.len() > 1 {
            // Several devices, or none.
            for (at, byte) in (address..).zip(data.chunks_mut(1)) {
                self.read(now, space, at, byte);
            }
        } else {
            data.fill(0xff);
        }
    }

    fn write(&mut self, now: u64, space: Space, address: u64, data: &[u8]) {
        self.context.now = now;
        if let Some((target, offset)) = self.find(space, address, data.len()) {
            if let Some((index, at)) = self.configuration(target, offset, data.len()) {
                return self.write_configuration(index, at, data);
            }
            self.with(target, |device, context| {
                device.write(context, offset, data)
            });
            self.acted(target);
        } else if data.len() > 1 {
            for (at, byte) in (address..).zip(data.chunks(1)) {
                self.write(now, space, at, byte);
            }
        }
    }

    /// Everything that has a state, with the name of its record.
    fn components(&mut self) -> impl Iterator<Item = (String, &mut dyn Component)> {
        // Every field is named here: whoever adds one decides where its state goes.
        let Pc {
            context:
                Context {
                    now: _,
                    lines,
                    dma: _,
                    stop: _,
                },
            lapic,
            lapic_clock: _,
            ioapic,
            pics,
            attached,
            ports: _,
            memory: _,
            pci,
            pci_ports: _,
            pci_memory: _,
            pci_routing: _,
            fpu_line: _,
            next_event: _,
        } = self;
        let own: [(&str, &mut dyn Component); 5] = [
            ("lines", lines),
            ("pci", pci),
            ("lapic", lapic),
            ("ioapic", ioapic),
            ("pic", pics),
        ];
        let attached = attached.iter_mut().map(|attached| {
            let component: &mut dyn Component = &mut *attached.device;
            (&*attached.name, component)
        });
        own.into_iter()
            .chain(attached)
            .map(|(name, component)| (format!("pc/{name}"), component))
    }

    /// A device has acted: its next event and its lines may have changed.
    fn acted(&mut self, target: Target) {
        if let Target::Attached(index) = target {
            self.attached[index].plan();
        }
        self.plan();
        self.settle();
    }

    fn plan(&mut self) {
        let lapic = self.lapic.next_event();
        let lapic = lapic.and_then(|local| self.lapic_clock.global(local));
        self.next_event = self
            .attached
            .iter()
            .map(|attached| attached.due)
            .chain([lapic])
            .flatten()
            .min()
            .unwrap_or(u64::MAX);
    }

    /// Breaks or mends an interrupt line.
    pub fn break_line(&mut self, number: u8, fault: LineFault) {
        self.context.lines.break_line(number, fault);
        self.settle();
    }

    /// Lets a device fail as a whole; it is mended when the board goes to another state.
    ///
    /// # Errors
    /// When there is none of that name, or it cannot fail so: a sentence.
    pub fn fail(&mut self, now: u64, name: &str, wrong: Wrong) -> Result<(), String> {
        let target = self.failing(name, wrong)?;
        match (target, wrong) {
            (Target::Attached(index), Wrong::Dead) => self.attached[index].dead = true,
            (Target::Attached(index), Wrong::Rate(rate)) => {
                self.attached[index].clock.set_rate(now, rate);
            }
            (_, Wrong::Rate(rate)) => self.lapic_clock.set_rate(now, rate),
            (_, Wrong::Dead) => {}
        }
        self.acted(target);
        Ok(())
    }

    /// Whether a device can fail so.
    ///
    /// # Errors
    /// As [`Pc::fail`]; the sentence names the devices that there are.
    pub fn can_fail(&self, name: &str, wrong: Wrong) -> Result<(), String> {
        self.failing(name, wrong).map(drop)
    }

    fn failing(&self, name: &str, wrong: Wrong) -> Result<Target, String> {
        let Some(target) = self.target(name) else {
            let names: Vec<&str> = self.names().collect();
            let names = names.join(", ");
            return Err(format!(
                "the machine has no device {name}; there are {names}"
            ));
        };
        match (target, wrong) {
            (Target::Attached(_), _) | (Target::Lapic, Wrong::Rate(_)) => Ok(target),
            _ => Err(format!(
                "{name} is part of the board and has no clock of its own; its registers can fail (port:0x20-0x21:dead, mmio:0xfec00000-0xfec00fff:dead)"
            )),
        }
    }

    /// A pulse on an interrupt line that no device has sent.
    pub fn spurious_interrupt(&mut self, number: u8) {
        self.context.lines.spurious(number);
        self.settle();
    }

    /// Lets interrupt controllers see what has changed on the lines: both kinds are connected to each.
    fn settle(&mut self) {
        for (line, active) in self.context.lines.take_changes() {
            // The timer's line is at another pin.
            let pin = if line == TIMER_LINE { 2 } else { line };
            self.ioapic.set_line(pin.into(), active);
            let old = match line.checked_sub(PCI_LINE) {
                None => Some(line),
                Some(index) => self.pci_routing[usize::from(index)],
            };
            if let Some(old) = old {
                let shared = active || self.old_line(old);
                self.pics.set_line(old, shared);
            }
        }
        self.carry_messages();
        for vector in self.lapic.take_ended() {
            self.ioapic.end(vector);
        }
        self.carry_messages();
    }

    /// The level of a line of the old controllers: an ISA line, and PCI interrupts that are routed to it.
    fn old_line(&self, number: u8) -> bool {
        let routed = (0..4).any(|index| {
            self.pci_routing[usize::from(index)] == Some(number)
                && self.context.lines.level(PCI_LINE + index)
        });
        routed || self.context.lines.level(number)
    }

    /// Routing has changed.
    fn drive_old_lines(&mut self) {
        for number in (3..16).filter(|&number| number != 8 && number != 13) {
            let level = self.old_line(number);
            if level != self.pics.line(number) {
                self.pics.set_line(number, level);
            }
        }
    }

    fn carry_messages(&mut self) {
        for message in self.ioapic.take_messages() {
            self.lapic.accept(message);
        }
    }

    fn external_passes(&self) -> bool {
        self.lapic.passes_external() || self.ioapic.passes_external()
    }
}

impl Bus for Pc {
    fn port_in(&mut self, now: u64, port: u16, size: u8) -> u32 {
        let mut data = [0; 4];
        let data = &mut data[..usize::from(size)];
        self.read(now, Space::Ports, port.into(), data);
        number(data) as u32
    }

    fn port_out(&mut self, now: u64, port: u16, size: u8, value: u32) {
        let data = &value.to_le_bytes()[..usize::from(size)];
        self.write(now, Space::Ports, port.into(), data);
    }

    fn mmio_read(&mut self, now: u64, address: u64, size: u8) -> u64 {
        let mut data = [0; 8];
        let data = &mut data[..usize::from(size)];
        self.read(now, Space::Memory, address, data);
        number(data)
    }

    fn mmio_write(&mut self, now: u64, address: u64, size: u8, value: u64) {
        let data = &value.to_le_bytes()[..usize::from(size)];
        self.write(now, Space::Memory, address, data);
    }

    fn interrupt_pending(&self) -> bool {
        self.lapic.pending().is_some() || self.external_passes() && self.pics.pending()
    }

    fn acknowledge(&mut self, _: u64) -> Option<u8> {
        if self.external_passes() && self.pics.pending() {
            return Some(self.pics.acknowledge());
        }
        self.lapic.acknowledge()
    }

    fn advance(&mut self, now: u64) {
        self.context.now = now;
        for attached in &mut self.attached {
            attached.advance(&mut self.context);
        }
        self.with(Target::Lapic, |lapic, context| lapic.advance(context));
        self.plan();
        self.settle();
    }

    fn next_event(&self) -> u64 {
        self.next_event
    }

    fn idle(&mut self) {
        for attached in &mut self.attached {
            attached.device.flush();
        }
        let limit = Duration::from_nanos(self.next_event.saturating_sub(self.context.now));
        // One is enough: others are looked at when it has waited.
        self.attached
            .iter_mut()
            .any(|attached| attached.wait(limit.min(LONGEST_WAIT)));
    }

    fn flush(&mut self) {
        for attached in &mut self.attached {
            attached.device.flush();
        }
    }

    fn take_nmi(&mut self) -> bool {
        self.lapic.take_nmi()
    }

    fn answers(&self, address: u64) -> bool {
        self.find(Space::Memory, address, 1).is_some()
    }

    fn reset(&mut self, now: u64) {
        self.context.now = now;
        let own = CONTROLLERS.map(|(_, target)| target);
        let attached = (0..self.attached.len()).map(Target::Attached);
        for target in own.into_iter().chain(attached) {
            let (device, context) = self.split(target);
            device.reset(context);
            self.acted(target);
        }
    }

    fn take_stop(&mut self) -> Option<Stop> {
        let stop = self.context.stop.take();
        if stop.is_some() {
            for attached in &mut self.attached {
                attached.device.flush();
            }
        }
        stop
    }

    fn apic_base(&self) -> u64 {
        self.lapic.base()
    }

    fn set_apic_base(&mut self, value: u64) -> bool {
        self.lapic.set_base(value)
    }

    fn task_priority(&self) -> u8 {
        self.lapic.task_priority()
    }

    fn set_task_priority(&mut self, value: u8) {
        self.lapic.set_task_priority(value);
    }

    fn fpu_error(&mut self) {
        self.context.lines.pulse(self.fpu_line);
        self.settle();
    }

    fn save(&mut self, records: &mut Records) {
        for (tag, component) in self.components() {
            records.put(&tag, component);
        }
    }

    fn load(&mut self, loader: &mut Loader<'_>) -> Result<(), SnapshotError> {
        for (tag, component) in self.components() {
            loader.give(&tag, component)?;
        }
        self.lapic_clock = Clock::default();
        self.attached.iter_mut().for_each(Attached::mend);
        self.decode();
        self.context.stop = None;
        self.plan();
        Ok(())
    }

    fn as_any(&mut self) -> &mut dyn std::any::Any {
        self
    }
}
