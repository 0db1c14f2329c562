//! A view of the x87, vector and mask registers: the XSAVE area (standard format) that ptrace transfers.

use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

/// A part of the XSAVE area, numbered as in XCR0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Component {
    /// x87 and MMX registers.
    X87 = 0,
    /// `xmm0` to `xmm15`.
    Sse = 1,
    /// Upper halves of `ymm0` to `ymm15`.
    Avx = 2,
    /// `k0` to `k7`.
    Mask = 5,
    /// Upper halves of `zmm0` to `zmm15`.
    ZmmHigh = 6,
    /// `zmm16` to `zmm31`.
    HighZmm = 7,
}

const HEADER: usize = 512;
const LEGACY: usize = 576;
const MXCSR: usize = 24;
const XMM: usize = 160;
const X87: usize = 32;

/// Where this processor puts the components.
#[derive(Debug)]
struct Layout {
    total: usize,
    avx: Option<usize>,
    mask: Option<usize>,
    zmm_high: Option<usize>,
    high_zmm: Option<usize>,
}

fn layout() -> &'static Layout {
    static LAYOUT: OnceLock<Layout> = OnceLock::new();
    LAYOUT.get_or_init(|| {
        let main = __cpuid_count(0xd, 0);
        let place = |component: Component| {
            let leaf = __cpuid_count(0xd, component as u32);
            (main.eax & (1 << component as u32) != 0 && leaf.eax != 0).then_some(leaf.ebx as usize)
        };
        Layout {
            total: (main.ecx as usize).max(LEGACY),
            avx: place(Component::Avx),
            mask: place(Component::Mask),
            zmm_high: place(Component::ZmmHigh),
            high_zmm: place(Component::HighZmm),
        }
    })
}

/// The XSAVE area of a thread.
///
/// Reading a register that this processor lacks gives zeros; writing it does nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XState {
    bytes: Vec<u8>,
}

impl XState {
    /// All registers zero (which is not the reset state: `mxcsr` and `fcw` are 0 too). For [`super::Stopped::read_xstate`].
    #[must_use]
    pub fn zeroed() -> Self {
        Self {
            bytes: vec![0; layout().total],
        }
    }

    /// An XSAVE area as [`XState::bytes`] gave it.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    /// The XSAVE area itself.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The XSAVE area itself, as long as this processor has it.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes.resize(layout().total, 0);
        &mut self.bytes
    }

    pub(super) fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length);
    }

    fn get<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut value = [0; N];
        if let Some(bytes) = self.bytes.get(offset..offset + N) {
            value.copy_from_slice(bytes);
        }
        value
    }

    fn put(&mut self, component: Component, offset: usize, value: &[u8]) {
        let Some(bytes) = self.bytes.get_mut(offset..offset + value.len()) else {
            return;
        };
        bytes.copy_from_slice(value);
        // XSTATE_BV: without its bit the component would be loaded as its initial state.
        let bits = u64::from_le_bytes(self.get(HEADER)) | 1 << component as u32;
        self.bytes[HEADER..HEADER + 8].copy_from_slice(&bits.to_le_bytes());
    }

    /// `mxcsr`.
    #[must_use]
    pub fn mxcsr(&self) -> u32 {
        u32::from_le_bytes(self.get(MXCSR))
    }

    /// Sets `mxcsr`.
    pub fn set_mxcsr(&mut self, value: u32) {
        self.put(Component::Sse, MXCSR, &value.to_le_bytes());
    }

    /// The x87 control word.
    #[must_use]
    pub fn x87_control(&self) -> u16 {
        u16::from_le_bytes(self.get(0))
    }

    /// The x87 status word; bits 11 to 13 are the top of the stack.
    #[must_use]
    pub fn x87_status(&self) -> u16 {
        u16::from_le_bytes(self.get(2))
    }

    /// The abridged x87 tag word: one bit a physical register, set when it is in use.
    #[must_use]
    pub fn x87_tags(&self) -> u8 {
        self.get::<1>(4)[0]
    }

    /// `st(index)`, relative to the top of the stack; the ten bytes of the 80-bit value.
    #[must_use]
    pub fn st(&self, index: usize) -> [u8; 10] {
        self.get(X87 + 16 * (index & 7))
    }

    /// Sets `st(index)`.
    pub fn set_st(&mut self, index: usize, value: [u8; 10]) {
        self.put(Component::X87, X87 + 16 * (index & 7), &value);
    }

    /// `mm(index)`: physical register `index`, whatever the top of the stack is.
    #[must_use]
    pub fn mm(&self, index: usize) -> [u8; 8] {
        let top = usize::from(self.x87_status() >> 11 & 7);
        self.get(X87 + 16 * ((index + 8 - top) & 7))
    }

    /// The 64 bytes of `zmm(index)`, 0 to 31; `xmm` and `ymm` are its first 16 and 32.
    #[must_use]
    pub fn zmm(&self, index: usize) -> [u8; 64] {
        let mut value = [0; 64];
        let at = layout();
        if index >= 16 {
            return at
                .high_zmm
                .map_or(value, |base| self.get(base + 64 * (index - 16)));
        }
        value[..16].copy_from_slice(&self.get::<16>(XMM + 16 * index));
        if let Some(base) = at.avx {
            value[16..32].copy_from_slice(&self.get::<16>(base + 16 * index));
        }
        if let Some(base) = at.zmm_high {
            value[32..].copy_from_slice(&self.get::<32>(base + 32 * index));
        }
        value
    }

    /// Sets the 64 bytes of `zmm(index)`.
    pub fn set_zmm(&mut self, index: usize, value: &[u8; 64]) {
        let at = layout();
        if index >= 16 {
            if let Some(base) = at.high_zmm {
                self.put(Component::HighZmm, base + 64 * (index - 16), value);
            }
            return;
        }
        self.put(Component::Sse, XMM + 16 * index, &value[..16]);
        if let Some(base) = at.avx {
            self.put(Component::Avx, base + 16 * index, &value[16..32]);
        }
        if let Some(base) = at.zmm_high {
            self.put(Component::ZmmHigh, base + 32 * index, &value[32..]);
        }
    }

    /// `k(index)`.
    #[must_use]
    pub fn k(&self, index: usize) -> u64 {
        layout().mask.map_or(0, |base| {
            u64::from_le_bytes(self.get(base + 8 * (index & 7)))
        })
    }

    /// Sets `k(index)`.
    pub fn set_k(&mut self, index: usize, value: u64) {
        if let Some(base) = layout().mask {
            self.put(
                Component::Mask,
                base + 8 * (index & 7),
                &value.to_le_bytes(),
            );
        }
    }
}
