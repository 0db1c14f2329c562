//! Which instructions may be part of a sequence, and why others may not: the one list of exceptions.

use iced_x86::{Code, CpuidFeature, Instruction, Mnemonic, OpAccess, OpKind, Register};

/// Why an instruction is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It enters the kernel or the hypervisor; the runtime's own tests cover system calls and traps.
    Kernel,
    /// It asks for rights that user programs lack.
    Privileged,
    /// Its result differs from one execution to the next on the bare CPU as well.
    Random,
    /// It depends on which parts of the extended state the processor believes to be in their initial state, which
    /// differs with every switch to the tracer.
    InitialState,
    /// It changes segment registers or the code segment: left to the native slow path, which this would not test.
    Segments,
    /// It waits for something that never happens.
    Waits,
    /// Its encoding exists only for other modes or is not an instruction.
    NotForUs,
}

/// Whether `instruction` may be executed.
///
/// # Errors
/// The reason why not.
pub fn acceptable(instruction: &Instruction) -> Result<(), Reason> {
    by_mnemonic(instruction.mnemonic())?;
    by_features(instruction.cpuid_features())?;
    let info = instruction.op_code();
    if instruction.is_privileged() || info.must_be_cpl0() || info.is_input_output() {
        return Err(Reason::Privileged);
    }
    if instruction.mnemonic() == Mnemonic::Pause && instruction.len() > 2 {
        // With REX.B the processor exchanges registers, and iced-x86 says `pause`.
        return Err(Reason::NotForUs);
    }
    if writes_segment(instruction) {
        return Err(Reason::Segments);
    }
    Ok(())
}

/// Whether instructions of this code may be generated.
#[must_use]
pub fn may_generate(code: Code) -> bool {
    let info = code.op_code();
    info.is_instruction()
        && info.mode64()
        && by_mnemonic(code.mnemonic()).is_ok()
        && by_features(code.cpuid_features()).is_ok()
        && !info.is_privileged()
        && !info.must_be_cpl0()
        && !info.may_require_cpl0()
        && !info.is_input_output()
        && !info.fwait()
}

fn by_mnemonic(mnemonic: Mnemonic) -> Result<(), Reason> {
    use Mnemonic::*;
    match mnemonic {
        Syscall | Sysenter | Sysexit | Sysret | Int | Int1 | Int3 | Into | Iret | Iretd | Iretq
        | Vmcall | Vmmcall | Vmgexit | Vmfunc | Tdcall | Seamcall | Getsec | Uiret | Senduipi => {
            Err(Reason::Kernel)
        }
        Rdtscp | Rdpmc | Rdrand | Rdseed | Rdpid | Rdpru => Err(Reason::Random),
        Xsave | Xsave64 | Xsavec | Xsavec64 | Xsaveopt | Xsaveopt64 | Xsaves | Xsaves64
        | Xrstor | Xrstor64 | Xrstors | Xrstors64 | Xgetbv => Err(Reason::InitialState),
        Lss | Lfs | Lgs | Lds | Les | Swapgs => Err(Reason::Segments),
        Xbegin | Xabort | Xend | Tpause | Umwait | Umonitor | Mwait | Mwaitx | Monitor
        | Monitorx | Hlt => Err(Reason::Waits),
        INVALID | Wrpkru | Rdpkru | Incsspd | Incsspq => Err(Reason::NotForUs),
        _ => Ok(()),
    }
}

fn by_features(features: &[CpuidFeature]) -> Result<(), Reason> {
    use CpuidFeature::*;
    let foreign = features.iter().any(|feature| {
        matches!(
            feature,
            INTEL8086_ONLY
                | INTEL286_ONLY
                | INTEL386_ONLY
                | INTEL386_A0_ONLY
                | INTEL486_A_ONLY
                | VMX
                | SVM
                | SMX
                | AMX_TILE
                | AMX_BF16
                | AMX_INT8
                | AMX_FP16
                | UINTR
                | SKINIT
                | SEV_ES
                | SEV_SNP
                | MPX
                | CET_SS
                | KNC
        )
    });
    if foreign {
        Err(Reason::NotForUs)
    } else {
        Ok(())
    }
}

fn writes_segment(instruction: &Instruction) -> bool {
    let named = (0..instruction.op_count()).any(|operand| {
        instruction.op_kind(operand) == OpKind::Register
            && instruction.op_register(operand).is_segment_register()
    });
    let far = matches!(
        instruction.flow_control(),
        iced_x86::FlowControl::IndirectBranch
            | iced_x86::FlowControl::IndirectCall
            | iced_x86::FlowControl::Return
    ) && (instruction.is_jmp_far_indirect()
        || instruction.is_call_far_indirect()
        || matches!(
            instruction.mnemonic(),
            Mnemonic::Retf | Mnemonic::Jmpe | Mnemonic::Sysret
        ));
    far || named
        && iced_x86::InstructionInfoFactory::new()
            .info(instruction)
            .used_registers()
            .iter()
            .any(|used| {
                let segment = matches!(
                    used.register(),
                    Register::ES
                        | Register::CS
                        | Register::SS
                        | Register::DS
                        | Register::FS
                        | Register::GS
                );
                segment && used.access() != OpAccess::Read
            })
}
