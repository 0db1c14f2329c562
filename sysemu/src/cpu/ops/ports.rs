//! Port input and output.

use crate::cpu::flags::IOPL;
use crate::cpu::op::Op;
use crate::cpu::state::Cpu;
use crate::cpu::trap::{GP0, Trap};

impl Cpu {
    /// Whether the program may use these ports: I/O privilege, or the bitmap of the task-state segment.
    pub(crate) fn check_ports(&mut self, port: u16, size: u8) -> Result<(), Trap> {
        if !self.protected() || u64::from(self.cpl) <= (self.rflags & IOPL) >> 12 {
            return Ok(());
        }
        let limit = u64::from(self.tr.limit);
        if limit < 0x67 {
            return Err(GP0);
        }
        let map = self.read_system(self.tr.base + 0x66, 2)?;
        let at = map + u64::from(port / 8);
        if at + 1 > limit {
            return Err(GP0);
        }
        let bits = self.read_system(self.tr.base + at, 2)? >> (port % 8);
        if bits & ((1 << size) - 1) == 0 {
            Ok(())
        } else {
            Err(GP0)
        }
    }

    pub(crate) fn port_in(&mut self, port: u16, size: u8) -> u32 {
        self.block_limit = 0;
        let now = self.now();
        let value = self.bus.port_in(now, port, size);
        self.note_devices();
        let value = self.through_broken(false, port.into(), size, value.into(), false);
        value.map_or(u32::MAX, |value| value as u32)
    }

    pub(crate) fn port_out(&mut self, port: u16, size: u8, value: u32) {
        self.block_limit = 0;
        let now = self.now();
        if let Some(value) = self.through_broken(false, port.into(), size, value.into(), true) {
            self.bus.port_out(now, port, size, value as u32);
        }
        self.note_devices();
    }
}

/// The port: immediate where `more` is set, else `dx`.
fn port(cpu: &Cpu, op: &Op) -> u16 {
    if op.more != 0 {
        op.imm as u16 & 0xff
    } else {
        cpu.ctx.regs[2] as u16
    }
}

/// `in`; `aux` is the size.
pub(crate) fn input(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let port = port(cpu, op);
    cpu.check_ports(port, op.aux)?;
    let value = u64::from(cpu.port_in(port, op.aux));
    match op.aux {
        1 => cpu.set_reg::<u8>(0, value),
        2 => cpu.set_reg::<u16>(0, value),
        _ => cpu.set_reg::<u32>(0, value),
    }
    Ok(())
}

/// `out`.
pub(crate) fn output(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let port = port(cpu, op);
    cpu.check_ports(port, op.aux)?;
    let value = cpu.ctx.regs[0] as u32 & (u32::MAX >> (32 - 8 * u32::from(op.aux)));
    cpu.port_out(port, op.aux, value);
    Ok(())
}
