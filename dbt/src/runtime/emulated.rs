//! What a controlled run answers instead of the machine: time-stamp counter, processor number, `rseq`, affinity; and the
//! guest's gs base, which translated code uses itself.

use fits_tracer::process::virtual_cpuid;
use fits_tracer::ptrace::{Registers, general};
use fits_tracer::step::{Decoded, Kind};
use iced_x86::{OpKind, Register};
use nix::unistd::Pid;

use super::error::Result;
use super::supervisor::Supervisor;
use super::thread::{Call, Thread};

const ARCH_SET_GS: u64 = 0x1001;
const ARCH_GET_GS: u64 = 0x1004;
const ADDRESS_LIMIT: u64 = 1 << 47;

impl Supervisor<'_> {
    /// The registers after an instruction that reads what is virtual; none if it is to be executed.
    pub(super) fn virtual_read(
        &self,
        thread: &Thread,
        decoded: &Decoded,
        guest: &Registers,
    ) -> Option<Registers> {
        let mut after = *guest;
        after.rip = decoded.next();
        if decoded.kind == Kind::LoadStackSegment {
            return loads_same(decoded, guest).then_some(after);
        }
        if !self.options.environment.is_controlled() {
            return None;
        }
        match decoded.kind {
            Kind::Rdtsc | Kind::Rdtscp => {
                let value = thread.area.read_tsc();
                after.rax = value & 0xffff_ffff;
                after.rdx = value >> 32;
                if decoded.kind == Kind::Rdtscp {
                    after.rcx = 0;
                }
            }
            Kind::Cpuid => {
                let [eax, ebx, ecx, edx] = virtual_cpuid(guest.rax as u32, guest.rcx as u32);
                [after.rax, after.rbx, after.rcx, after.rdx] = [eax, ebx, ecx, edx].map(u64::from);
            }
            Kind::Rdpid => {
                let destination = decoded.instruction.op0_register().full_register();
                let number = destination as u32 - Register::RAX as u32;
                *general(&mut after, number as u8) = 0;
            }
            _ => return None,
        }
        Some(after)
    }

    /// The answer to a system call that is not executed; none if it is.
    pub(super) fn answer(&mut self, thread: &mut Thread, guest: &Registers) -> Result<Option<i64>> {
        let controlled = self.options.environment.is_controlled();
        Ok(match (guest.rax as i64, guest.rdi) {
            (libc::SYS_rseq, _) if controlled => Some(-i64::from(libc::ENOSYS)),
            (libc::SYS_arch_prctl, ARCH_SET_GS) => {
                let allowed = guest.rsi < ADDRESS_LIMIT;
                if allowed {
                    thread.gs_base = guest.rsi;
                }
                Some(if allowed { 0 } else { -i64::from(libc::EPERM) })
            }
            (libc::SYS_arch_prctl, ARCH_GET_GS) => {
                let bytes = thread.gs_base.to_le_bytes();
                let written = self.code.memory.write(guest.rsi, &bytes);
                Some(if written.is_ok() {
                    0
                } else {
                    -i64::from(libc::EFAULT)
                })
            }
            _ => None,
        })
    }

    /// Whether a thread number, as system calls take it, means one of ours.
    fn is_ours(&self, number: u64) -> bool {
        let tid = Pid::from_raw(number as i32);
        // The thread that asks is not in the table meanwhile.
        number == 0 || tid == self.leader || self.threads.contains_key(&tid)
    }

    /// Corrects what a system call has told about processors, and what it has drawn at random; remembers what it has told us.
    pub(super) fn correct_answer(
        &mut self,
        thread: &mut Thread,
        call: &Call,
        result: i64,
    ) -> Result<()> {
        if call.number as i64 == libc::SYS_sigaltstack && result == 0 && call.args[0] != 0 {
            let start = self.code.memory.read_u64(call.args[0])?;
            let size = self.code.memory.read_u64(call.args[0] + 16)?;
            thread.alternate = start..start.saturating_add(size);
        }
        if !self.options.environment.is_controlled() || result < 0 {
            return Ok(());
        }
        let memory = &self.code.memory;
        match call.number as i64 {
            libc::SYS_getcpu => {
                for &place in call.args[..2].iter().filter(|&&place| place != 0) {
                    memory.write(place, &[0; 4])?;
                }
            }
            libc::SYS_getrandom => {
                let mut bytes = vec![0; result as usize];
                self.random.fill(&mut bytes);
                memory.write(call.args[0], &bytes)?;
            }
            libc::SYS_sched_setaffinity => thread.own_affinity = true,
            libc::SYS_sched_getaffinity if !thread.own_affinity && self.is_ours(call.args[0]) => {
                if let Some(mask) = self.options.cpus.visible_mask(result as usize) {
                    memory.write(call.args[2], &mask)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// `mov ss, reg` with the selector that `ss` has: nothing would change, but no trap would come after a step.
fn loads_same(decoded: &Decoded, guest: &Registers) -> bool {
    let source = decoded.instruction.op1_register();
    let mut copy = *guest;
    decoded.instruction.op1_kind() == OpKind::Register
        && source.is_gpr()
        && *general(
            &mut copy,
            source.full_register() as u8 - Register::RAX as u8,
        ) & 0xffff
            == guest.ss
}
