//! The architectural state of the processor, apart from its caches.

use serde::{Deserialize, Serialize};

use crate::cpu::state::{Context, Cpu, Fx, Msrs, Segment, Table};
use crate::snapshot::{Component, decode, encode};

/// All that decides how the processor goes on: registers, counters, and what lies between two instructions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuState {
    /// General registers in encoding order, and the instruction pointer at [`crate::cpu::state::RIP`].
    pub regs: [u64; 32],
    /// Status flags, packed as [`crate::cpu::flags`] says.
    pub status: u16,
    /// RFLAGS without the status flags.
    pub rflags: u64,
    /// Control and status of vector instructions.
    pub mxcsr: u32,
    /// x87 and MMX, in the format of FXSAVE.
    pub fx: Vec<u8>,
    /// Vector registers.
    pub ymm: [[u8; 32]; 16],
    /// ES, CS, SS, DS, FS, GS.
    pub seg: [Segment; 6],
    /// Local descriptor table.
    pub ldtr: Segment,
    /// Task register.
    pub tr: Segment,
    /// Global descriptor table.
    pub gdtr: Table,
    /// Interrupt descriptor table.
    pub idtr: Table,
    /// Current privilege level.
    pub cpl: u8,
    /// CR0, CR2, CR3, CR4.
    pub cr: [u64; 4],
    /// Long mode, NX, SYSCALL.
    pub efer: u64,
    /// Extended state enabled.
    pub xcr0: u64,
    /// Debug registers.
    pub dr: [u64; 8],
    /// Model-specific registers.
    pub msr: Msrs,
    /// Retired instructions.
    pub retired: u64,
    /// Ticks that passed while halted.
    pub idle: u64,
    /// Interrupts are not taken before the next instruction.
    pub shadow: bool,
    /// Waiting for an interrupt.
    pub halted: bool,
    /// Debug conditions to be raised.
    pub pending_debug: u64,
    /// A machine check waits to be delivered.
    pub machine_check: bool,
    /// A non-maskable interrupt waits.
    pub nmi: bool,
    /// The handler of one is running.
    pub nmi_blocked: bool,
}

impl Cpu {
    /// Everything that decides how it goes on.
    #[must_use]
    pub fn state(&self) -> CpuState {
        // Every field is named here: whoever adds one decides whether it is state or derived from state.
        let Cpu {
            ctx,
            rflags,
            seg,
            lin: _,
            ldtr,
            tr,
            gdtr,
            idtr,
            cpl,
            code_size: _,
            segmented: _,
            class: _,
            cr0,
            cr2,
            cr3,
            cr4,
            efer,
            xcr0,
            dr,
            msr,
            retired,
            idle,
            shadow,
            halted,
            block_limit: _,
            pending: _,
            pending_debug,
            machine_check,
            nmi,
            nmi_blocked,
            delivering: _,
            deliveries: _,
            // What is looked at from outside is the business of who looks.
            watches: _,
            breakpoints: _,
            broken: _,
            stop: _,
            tlb: _,
            jumps: _,
            exchange: _,
            ram: _,
            code: _,
            bus: _,
        } = self;
        let Context {
            regs,
            status,
            run_mxcsr: _,
            host_mxcsr: _,
            mxcsr,
            fx,
            ymm,
            buffer: _,
        } = ctx;
        CpuState {
            regs: *regs,
            status: *status,
            rflags: *rflags,
            mxcsr: *mxcsr,
            fx: fx.0.to_vec(),
            ymm: *ymm,
            seg: *seg,
            ldtr: *ldtr,
            tr: *tr,
            gdtr: *gdtr,
            idtr: *idtr,
            cpl: *cpl,
            cr: [*cr0, *cr2, *cr3, *cr4],
            efer: *efer,
            xcr0: *xcr0,
            dr: *dr,
            msr: msr.clone(),
            retired: *retired,
            idle: *idle,
            shadow: *shadow,
            halted: *halted,
            pending_debug: *pending_debug,
            machine_check: *machine_check,
            nmi: *nmi,
            nmi_blocked: *nmi_blocked,
        }
    }

    /// Takes a state over; caches of addresses are emptied, those of code are the owner's business.
    ///
    /// # Errors
    /// When it cannot be the state of a processor: a fragment of a sentence.
    pub fn set_state(&mut self, state: &CpuState) -> Result<(), String> {
        let fx = <[u8; 512]>::try_from(&*state.fx)
            .map_err(|_| format!("an x87 state of {} bytes", state.fx.len()))?;
        self.ctx.regs = state.regs;
        self.ctx.status = state.status;
        self.ctx.mxcsr = state.mxcsr;
        self.ctx.fx = Fx(fx);
        self.ctx.ymm = state.ymm;
        self.rflags = state.rflags;
        self.seg = state.seg;
        self.ldtr = state.ldtr;
        self.tr = state.tr;
        self.gdtr = state.gdtr;
        self.idtr = state.idtr;
        self.cpl = state.cpl;
        [self.cr0, self.cr2, self.cr3, self.cr4] = state.cr;
        self.efer = state.efer;
        self.xcr0 = state.xcr0;
        self.dr = state.dr;
        self.msr = state.msr.clone();
        self.retired = state.retired;
        self.idle = state.idle;
        self.shadow = state.shadow;
        self.halted = state.halted;
        self.pending_debug = state.pending_debug;
        self.machine_check = state.machine_check;
        self.nmi = state.nmi;
        self.nmi_blocked = state.nmi_blocked;
        self.stop = None;
        self.watches.forget_reported();
        self.breakpoints.forget_reported();
        self.tlb.flush(true);
        self.update_mode();
        Ok(())
    }
}

impl Component for Cpu {
    fn save(&self) -> Vec<u8> {
        encode(&self.state())
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.set_state(&decode(bytes)?)
    }
}
