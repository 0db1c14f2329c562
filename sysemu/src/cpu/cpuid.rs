//! CPUID: what the processor announces, which is what it implements.

use crate::cpu::state::Cpu;
use iced_x86::CpuidFeature;

/// Virtual frequency of the time-stamp counter: one tick a nanosecond.
pub const TSC_HZ: u64 = 1_000_000_000;
/// Crystal that the APIC timer counts.
pub const CRYSTAL_HZ: u32 = 100_000_000;

/// FPU DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT PSE36 CLFLUSH MMX FXSR SSE SSE2 (no VME).
const EDX_1: u32 = 0x078b_fbfd;
/// SSE3 PCLMULQDQ SSSE3 FMA CX16 SSE4.1 SSE4.2 MOVBE POPCNT AES XSAVE AVX F16C.
const ECX_1: u32 = 1
    | 1 << 1
    | 1 << 9
    | 1 << 12
    | 1 << 13
    | 1 << 19
    | 1 << 20
    | 1 << 22
    | 1 << 23
    | 1 << 25
    | 1 << 26
    | 1 << 28
    | 1 << 29;
/// FSGSBASE BMI1 AVX2 SMEP BMI2 ERMS FDP_EXCPTN… : only those that are implemented.
const EBX_7: u32 = 1 | 1 << 3 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 19 | 1 << 20 | 1 << 23;
/// UMIP.
const ECX_7: u32 = 1 << 2;
/// ARCH_CAPABILITIES.
const EDX_7: u32 = 1 << 29;
/// LAHF LZCNT.
const ECX_E1: u32 = 1 | 1 << 5;
/// SYSCALL NX 1GB-PAGES RDTSCP LM.
const EDX_E1: u32 = 1 << 11 | 1 << 20 | 1 << 26 | 1 << 27 | 1 << 29;
/// Family 6, model 15, stepping 11.
pub(crate) const SIGNATURE: u32 = 0x0006_0fb1;

const BRAND: &[u8; 48] = b"fits software x86-64 processor\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

fn word(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, &byte| value << 8 | u32::from(byte))
}

impl Cpu {
    /// EAX, EBX, ECX, EDX of a leaf.
    #[must_use]
    pub fn cpuid(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        let highest = 0x16;
        let osxsave = ((self.cr4 >> 18 & 1) as u32) << 27;
        match leaf {
            0 => [highest, word(b"Genu"), word(b"ntel"), word(b"ineI")],
            1 => {
                let apic = if self.bus.apic_base() & 1 << 11 != 0 {
                    EDX_1
                } else {
                    EDX_1 & !(1 << 9)
                };
                [SIGNATURE, 0x0001_0800, ECX_1 | osxsave, apic]
            }
            // No leaf 2 descriptors: see leaf 4.
            2 => [0x00ff_ff01, 0, 0, 0],
            4 => cache(subleaf),
            6 => [4, 0, 0, 0],
            7 if subleaf == 0 => [0, EBX_7, ECX_7, EDX_7],
            0xd => self.xsave_leaf(subleaf),
            0x15 => [1, (TSC_HZ / u64::from(CRYSTAL_HZ)) as u32, CRYSTAL_HZ, 0],
            0x16 => [1000, 1000, 100, 0],
            0x8000_0000 => [0x8000_0008, 0, 0, 0],
            0x8000_0001 => [0, 0, ECX_E1, EDX_E1],
            0x8000_0002..=0x8000_0004 => {
                let at = 16 * (leaf - 0x8000_0002) as usize;
                [0, 4, 8, 12].map(|offset| word(&BRAND[at + offset..at + offset + 4]))
            }
            0x8000_0006 => [0, 0, 0x0200_8040, 0],
            // Invariant TSC.
            0x8000_0007 => [0, 0, 0, 1 << 8],
            0x8000_0008 => [0x3000 | crate::cpu::mmu::PHYSICAL_BITS, 0, 0, 0],
            // No hypervisor is announced: those leaves are those of an unknown one.
            _ => [0; 4],
        }
    }

    fn xsave_leaf(&self, subleaf: u32) -> [u32; 4] {
        let area = crate::cpu::ops::xsave::AREA as u32;
        match subleaf {
            0 => {
                let enabled = if self.xcr0 & 4 != 0 { area } else { 576 };
                [7, enabled, area, 0]
            }
            // XSAVEOPT.
            1 => [1, 0, 0, 0],
            2 => [256, 576, 0, 0],
            _ => [0; 4],
        }
    }
}

/// 32 KiB of data and of instructions, 1 MiB together, none shared.
fn cache(index: u32) -> [u32; 4] {
    match index {
        0 => [0x121, 0x01c0_003f, 63, 0],
        1 => [0x122, 0x01c0_003f, 63, 0],
        2 => [0x143, 0x03c0_003f, 1023, 0],
        _ => [0; 4],
    }
}

/// Whether the instructions of a feature are announced, or belong to every 64-bit processor.
#[must_use]
pub fn announces(feature: CpuidFeature) -> bool {
    use CpuidFeature::*;
    matches!(
        feature,
        INTEL8086
            | INTEL186
            | INTEL286
            | INTEL386
            | INTEL486
            | X64
            | CX8
            | CMPXCHG16B
            | CMOV
            | FPU
            | FPU287
            | FPU387
            | MMX
            | SSE
            | SSE2
            | SSE3
            | SSSE3
            | SSE4_1
            | SSE4_2
            | POPCNT
            | LZCNT
            | AES
            | PCLMULQDQ
            | MOVBE
            | BMI1
            | BMI2
            | ADX
            | AVX
            | AVX2
            | FMA
            | F16C
            | MULTIBYTENOP
            | PAUSE
            | FXSR
            | FSGSBASE
            | CLFSH
    )
}
