//! What an exit from the guest means.

use kvm_ioctls::VcpuExit;

use super::{KvmMachine, raw};
use crate::cpu::Stop;
use crate::engine::Engine;

/// How it goes on after an exit.
pub(super) enum Next {
    /// Into the guest again.
    GoOn,
    /// The guest waits for an interrupt.
    Halt,
}

/// Enters the guest once, and does what it leaves to us.
pub(super) fn carry_out(machine: &mut KvmMachine) -> Result<Next, Stop> {
    let now = machine.now();
    let bus = &mut machine.bus;
    let what = match machine.vcpu.run() {
        Ok(VcpuExit::IoOut(port, data)) => {
            bus.port_out(now, port, data.len() as u8, number(data) as u32);
            return Ok(Next::GoOn);
        }
        Ok(VcpuExit::IoIn(port, data)) => {
            let value = bus.port_in(now, port, data.len() as u8);
            answer(data, value.into());
            return Ok(Next::GoOn);
        }
        Ok(VcpuExit::MmioRead(address, data)) => {
            let value = bus.mmio_read(now, address, data.len() as u8);
            answer(data, value);
            return Ok(Next::GoOn);
        }
        Ok(VcpuExit::MmioWrite(address, data)) => {
            bus.mmio_write(now, address, data.len() as u8, number(data));
            return Ok(Next::GoOn);
        }
        Ok(VcpuExit::Hlt) => return Ok(Next::Halt),
        Ok(VcpuExit::IrqWindowOpen | VcpuExit::Intr | VcpuExit::SetTpr) => return Ok(Next::GoOn),
        Ok(VcpuExit::Shutdown) => {
            let rip = machine.rip();
            return Err(Stop::TripleFault { rip });
        }
        Ok(VcpuExit::InternalError) => return Err(internal_error(machine)),
        Ok(VcpuExit::FailEntry(reason, _)) => {
            format!("KVM cannot enter the guest (hardware reason {reason:#x})")
        }
        Ok(other) => format!("KVM left the guest for a reason that is not handled ({other:?})"),
        Err(error)
            if [
                libc_number(nix::errno::Errno::EINTR),
                libc_number(nix::errno::Errno::EAGAIN),
            ]
            .contains(&error.errno()) =>
        {
            return Ok(Next::GoOn);
        }
        Err(error) => format!("KVM cannot run the guest: {error}"),
    };
    Err(Stop::Unimplemented {
        rip: machine.rip(),
        bytes: bytes_at(machine),
        what,
    })
}

fn libc_number(errno: nix::errno::Errno) -> i32 {
    errno as i32
}

fn number(data: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..data.len()].copy_from_slice(data);
    u64::from_le_bytes(bytes)
}

fn answer(data: &mut [u8], value: u64) {
    let length = data.len();
    data.copy_from_slice(&value.to_le_bytes()[..length]);
}

/// KVM's own emulator met something that it does not know: on a nested KVM, where it has to execute all of a guest's kernel.
fn internal_error(machine: &mut KvmMachine) -> Stop {
    let (reason, bytes) = raw::internal_error(machine.vcpu.get_kvm_run());
    let what = match reason {
        kvm_bindings::KVM_INTERNAL_ERROR_EMULATION => {
            "KVM cannot emulate an instruction of the guest (KVM_EXIT_INTERNAL_ERROR); the software processor can (--engine soft)".to_owned()
        }
        other => format!("KVM gave up (KVM_EXIT_INTERNAL_ERROR, reason {other})"),
    };
    Stop::Unimplemented {
        rip: machine.rip(),
        bytes: bytes.unwrap_or_else(|| bytes_at(machine)),
        what,
    }
}

/// The bytes of the next instruction, as far as they can be read.
fn bytes_at(machine: &KvmMachine) -> Vec<u8> {
    let Ok(system) = machine.vcpu.get_sregs() else {
        return Vec::new();
    };
    let start = system.cs.base.wrapping_add(machine.rip());
    (0..15)
        .map_while(|offset| {
            let place = machine
                .vcpu
                .translate_gva(start.wrapping_add(offset))
                .ok()?;
            let readable = place.valid != 0 && machine.ram.contains(place.physical_address, 1);
            readable.then(|| machine.ram.read::<u8>(place.physical_address))
        })
        .collect()
}
