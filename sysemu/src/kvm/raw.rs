//! What KVM's interface leaves to unsafe code.

use kvm_bindings::{
    KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES, kvm_run, kvm_userspace_memory_region,
};
use kvm_ioctls::VmFd;
use vm_memory::{GuestAddress, GuestMemoryBackend};

use crate::memory::Ram;

/// Makes all of `ram` the guest's memory, from address 0 on.
pub(super) fn give_memory(vm: &VmFd, ram: &Ram) -> Result<(), kvm_ioctls::Error> {
    let start = ram
        .guest_memory()
        .get_host_address(GuestAddress(0))
        .map_err(|_| kvm_ioctls::Error::new(libc_einval()))?;
    let region = kvm_userspace_memory_region {
        slot: 0,
        flags: 0,
        guest_phys_addr: 0,
        memory_size: ram.bytes(),
        userspace_addr: start as u64,
    };
    // SAFETY: the region is the whole mapping that `ram` owns, and the machine that holds both drops the kernel's side first.
    unsafe { vm.set_user_memory_region(region) }
}

fn libc_einval() -> i32 {
    nix::errno::Errno::EINVAL as i32
}

/// Why KVM gave up: its number of the reason, and the bytes of the instruction that it could not emulate, where it gives them.
pub(super) fn internal_error(run: &kvm_run) -> (u32, Option<Vec<u8>>) {
    // SAFETY: the exit reason is KVM_EXIT_INTERNAL_ERROR, for which the kernel has filled this member; all of it are integers.
    let failure = unsafe { run.__bindgen_anon_1.emulation_failure };
    // Words behind the reason: the flags, then size and bytes.
    let has_bytes = failure.suberror == kvm_bindings::KVM_INTERNAL_ERROR_EMULATION
        && failure.ndata >= 3
        && failure.flags & u64::from(KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) != 0;
    if !has_bytes {
        return (failure.suberror, None);
    }
    // SAFETY: the flag says that the kernel has filled these; all of them are integers.
    let instruction = unsafe { failure.__bindgen_anon_1.__bindgen_anon_1 };
    let size = usize::from(instruction.insn_size).min(instruction.insn_bytes.len());
    (
        failure.suberror,
        Some(instruction.insn_bytes[..size].to_vec()),
    )
}
