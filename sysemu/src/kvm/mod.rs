//! The machine on the host's own processor, through KVM: the same board, another engine.
//!
//! Time is the host's here, and instructions are not counted: a run does not repeat exactly. `state` puts the processor where a boot protocol
//! wants it, `exit` says what an exit of the kernel's means, `raw` is what needs unsafe code.

mod exit;
#[expect(
    unsafe_code,
    reason = "guest memory is handed to the kernel, and a union of its is read"
)]
mod raw;
mod state;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use nix::sys::signal::{SigEvent, SigevNotify, Signal};
use nix::sys::time::TimeSpec;
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;

use crate::board::hardware::Hardware;
use crate::board::pc::Pc;
use crate::boot::{Boot, BootError, Start, load};
use crate::bus::Bus;
use crate::cpu::Stop;
use crate::engine::Engine;
use crate::memory::Ram;

/// How often the processor leaves the guest to look at devices and at whether somebody asks to stop.
const PERIOD: Duration = Duration::from_millis(1);
/// Ends an entry into the guest; its handler does nothing.
const KICK: Signal = Signal::SIGUSR1;

/// A machine on KVM.
pub struct KvmMachine {
    vcpu: VcpuFd,
    // Holds the guest's memory in the kernel: it goes before the memory itself.
    _vm: VmFd,
    ram: Ram,
    bus: Box<dyn Bus>,
    started: Instant,
    asked: Arc<AtomicBool>,
}

impl std::fmt::Debug for KvmMachine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KvmMachine")
            .field("ram", &self.ram)
            .finish_non_exhaustive()
    }
}

impl KvmMachine {
    /// A machine with that much memory and these parts, ready to boot.
    ///
    /// # Errors
    /// When the host has no KVM, or the kernel cannot be started.
    pub fn boot(
        memory: u64,
        hardware: impl Into<Hardware>,
        boot: &Boot,
    ) -> Result<Self, BootError> {
        Self::begin(memory, hardware, |ram| load(ram, boot))
    }

    /// A machine whose memory and first state `fill` decides.
    ///
    /// # Errors
    /// When the host has no KVM, or `fill` fails.
    pub fn begin(
        memory: u64,
        hardware: impl Into<Hardware>,
        fill: impl FnOnce(&mut Ram) -> Result<Start, BootError>,
    ) -> Result<Self, BootError> {
        let mut ram = Ram::new(memory).map_err(BootError::Memory)?;
        let start = fill(&mut ram)?;
        let kvm = Kvm::new().map_err(|error| {
            BootError::Memory(format!(
                "cannot open /dev/kvm: {error}; the software processor needs none (--engine soft)"
            ))
        })?;
        let refused = |what: &'static str| {
            move |error: kvm_ioctls::Error| {
                BootError::Memory(format!("KVM refuses to {what}: {error}"))
            }
        };
        let vm = kvm.create_vm().map_err(refused("make a machine"))?;
        raw::give_memory(&vm, &ram).map_err(refused("take the guest's memory"))?;
        let vcpu = vm.create_vcpu(0).map_err(refused("make a processor"))?;
        let cpuid = kvm
            .get_supported_cpuid(kvm_bindings::KVM_MAX_CPUID_ENTRIES)
            .map_err(refused("say what it can do"))?;
        vcpu.set_cpuid2(&cpuid)
            .map_err(refused("set the processor's features"))?;
        state::enter(&vcpu, &start).map_err(refused("set the processor's registers"))?;
        let bus = Box::new(Pc::new(hardware.into(), ram.dma()));
        Ok(KvmMachine {
            vcpu,
            _vm: vm,
            ram,
            bus,
            started: Instant::now(),
            asked: Arc::default(),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Lets devices act, and takes an interrupt to the processor, or asks to be told when it can have one.
    fn attend(&mut self) -> Result<(), Stop> {
        let now = self.now();
        if now >= self.bus.next_event() {
            self.bus.advance(now);
        }
        if let Some(stop) = self.bus.take_stop() {
            return Err(stop);
        }
        if self.asked.load(Ordering::Relaxed) {
            return Err(Stop::Asked);
        }
        let pending = self.bus.interrupt_pending();
        let run = self.vcpu.get_kvm_run();
        let ready = run.ready_for_interrupt_injection != 0 && run.if_flag != 0;
        run.request_interrupt_window = u8::from(pending && !ready);
        if pending
            && ready
            && let Some(vector) = self.bus.acknowledge(now)
        {
            state::inject(&self.vcpu, vector).map_err(|error| self.failed("inject", &error))?;
        }
        Ok(())
    }

    /// The guest waits for an interrupt.
    fn halted(&mut self) -> Result<(), Stop> {
        let enabled = self.vcpu.get_kvm_run().if_flag != 0;
        loop {
            self.bus.idle();
            let next = self.bus.next_event();
            if !enabled || next == u64::MAX && !self.bus.interrupt_pending() {
                return Err(Stop::Halted);
            }
            let now = self.now();
            if self.bus.interrupt_pending() || now >= next {
                return self.attend();
            }
            if self.asked.load(Ordering::Relaxed) {
                return Err(Stop::Asked);
            }
            std::thread::sleep(Duration::from_nanos(next - now).min(PERIOD));
        }
    }

    fn failed(&self, what: &str, error: &dyn std::fmt::Display) -> Stop {
        Stop::Unimplemented {
            rip: self.rip(),
            bytes: Vec::new(),
            what: format!("KVM failed to {what}: {error}"),
        }
    }
}

/// A clock that kicks this thread out of the guest.
fn clock() -> nix::Result<Timer> {
    let notify = SigevNotify::SigevThreadId {
        signal: KICK,
        thread_id: nix::unistd::gettid().as_raw(),
        si_value: 0,
    };
    let mut timer = Timer::new(ClockId::CLOCK_MONOTONIC, SigEvent::new(notify))?;
    let period = Expiration::Interval(TimeSpec::from_duration(PERIOD));
    timer.set(period, TimerSetTimeFlags::empty())?;
    Ok(timer)
}

impl Engine for KvmMachine {
    fn name(&self) -> &'static str {
        "kvm"
    }

    fn run(&mut self, _: u64) -> Stop {
        // The flag is nobody's: what counts is that the signal has a handler.
        if let Err(error) = signal_hook::flag::register(KICK as i32, Arc::default()) {
            return self.failed("handle signals", &error);
        }
        let timer = match clock() {
            Ok(timer) => timer,
            Err(error) => return self.failed("start a clock", &error),
        };
        let stop = loop {
            if let Err(stop) = self.attend() {
                break stop;
            }
            match exit::carry_out(self) {
                Ok(exit::Next::GoOn) => {}
                Ok(exit::Next::Halt) => {
                    if let Err(stop) = self.halted() {
                        break stop;
                    }
                }
                Err(stop) => break stop,
            }
        };
        drop(timer);
        self.bus.idle();
        stop
    }

    fn stop_when(&mut self, asked: Arc<AtomicBool>) {
        self.asked = asked;
    }

    fn retired(&self) -> Option<u64> {
        None
    }

    fn rip(&self) -> u64 {
        self.vcpu.get_regs().map_or(0, |registers| registers.rip)
    }

    fn memory_hash(&self) -> u64 {
        self.ram.hash()
    }
}
