//! The processor's registers in KVM's form.

use kvm_bindings::{kvm_dtable, kvm_regs, kvm_segment};
use kvm_ioctls::{Error, VcpuFd};

use crate::boot::Start;
use crate::cpu::state::{CS, DS, ES, FS, GS, SS, Segment};

/// Puts the processor into the state to begin with.
pub(super) fn enter(vcpu: &VcpuFd, start: &Start) -> Result<(), Error> {
    let mut system = vcpu.get_sregs()?;
    for (number, place) in [
        (ES, &mut system.es),
        (CS, &mut system.cs),
        (SS, &mut system.ss),
        (DS, &mut system.ds),
        (FS, &mut system.fs),
        (GS, &mut system.gs),
    ] {
        *place = segment(start.segments[number]);
    }
    system.tr = segment(start.task);
    system.gdt = kvm_dtable {
        base: start.descriptors.base,
        limit: start.descriptors.limit,
        ..kvm_dtable::default()
    };
    system.idt = kvm_dtable {
        limit: if start.cr0 & 1 == 0 { 0x3ff } else { 0 },
        ..kvm_dtable::default()
    };
    (system.cr0, system.cr3, system.cr4) = (start.cr0, start.cr3, start.cr4);
    system.efer = start.efer;
    vcpu.set_sregs(&system)?;
    let [
        rax,
        rcx,
        rdx,
        rbx,
        rsp,
        rbp,
        rsi,
        rdi,
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
    ] = start.registers;
    vcpu.set_regs(&kvm_regs {
        rax,
        rbx,
        rcx,
        rdx,
        rsi,
        rdi,
        rsp,
        rbp,
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        rip: start.rip,
        rflags: 2,
    })
}

fn segment(segment: Segment) -> kvm_segment {
    let bit = |number: u16| (segment.attributes >> number & 1) as u8;
    kvm_segment {
        base: segment.base,
        limit: segment.limit,
        selector: segment.selector,
        type_: (segment.attributes & 0xf) as u8,
        present: bit(7),
        dpl: (segment.attributes >> 5 & 3) as u8,
        db: bit(14),
        s: bit(4),
        l: bit(13),
        g: bit(15),
        avl: bit(12),
        unusable: u8::from(bit(7) == 0),
        padding: 0,
    }
}

/// Lets the processor take an external interrupt at its next entry.
pub(super) fn inject(vcpu: &VcpuFd, vector: u8) -> Result<(), Error> {
    let mut events = vcpu.get_vcpu_events()?;
    events.interrupt.injected = 1;
    events.interrupt.nr = vector;
    events.interrupt.soft = 0;
    vcpu.set_vcpu_events(&events)
}
