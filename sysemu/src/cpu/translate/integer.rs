//! Integer instructions that run as themselves, with other registers and the host's address of their memory operand.

use super::block::{Builder, has_memory};
use super::operands::{Plan, plan};
use super::registers::is_high_byte;
use iced_x86::{Instruction, Mnemonic, OpKind};

/// The six status flags as iced numbers them.
const STATUS: u32 = iced_x86::RflagsBits::OF
    | iced_x86::RflagsBits::SF
    | iced_x86::RflagsBits::ZF
    | iced_x86::RflagsBits::AF
    | iced_x86::RflagsBits::CF
    | iced_x86::RflagsBits::PF;

/// Whether the instruction has no operands but those that it names (a count in `cl` aside), and does nothing but compute.
fn is_plain(i: &Instruction) -> bool {
    use Mnemonic::*;
    let known = matches!(
        i.mnemonic(),
        Mov | Add
            | Or
            | Adc
            | Sbb
            | And
            | Sub
            | Xor
            | Cmp
            | Test
            | Not
            | Neg
            | Inc
            | Dec
            | Shl
            | Sal
            | Shr
            | Sar
            | Rol
            | Ror
            | Rcl
            | Rcr
            | Movzx
            | Movsx
            | Movsxd
            | Bswap
            | Xchg
            | Xadd
            | Bt
            | Bts
            | Btr
            | Btc
            | Bsf
            | Bsr
            | Popcnt
            | Lzcnt
            | Tzcnt
            | Shld
            | Shrd
            | Andn
            | Bextr
            | Blsi
            | Blsmsk
            | Blsr
            | Bzhi
            | Pdep
            | Pext
            | Rorx
            | Sarx
            | Shlx
            | Shrx
            | Adcx
            | Adox
            | Movbe
            | Crc32
            | Clc
            | Stc
            | Cmc
            | Cmovo
            | Cmovno
            | Cmovb
            | Cmovae
            | Cmove
            | Cmovne
            | Cmovbe
            | Cmova
            | Cmovs
            | Cmovns
            | Cmovp
            | Cmovnp
            | Cmovl
            | Cmovge
            | Cmovle
            | Cmovg
            | Seto
            | Setno
            | Setb
            | Setae
            | Sete
            | Setne
            | Setbe
            | Seta
            | Sets
            | Setns
            | Setp
            | Setnp
            | Setl
            | Setge
            | Setle
            | Setg
    );
    let products = i.mnemonic() == Imul && i.op_count() > 1;
    let registers = (0..i.op_count()).all(|n| {
        i.op_kind(n) != OpKind::Register
            || i.op_register(n).is_gpr() && !is_high_byte(i.op_register(n))
    });
    // A bit number in a register reaches beyond a memory operand.
    let bit_string = matches!(i.mnemonic(), Bt | Bts | Btr | Btc)
        && has_memory(i)
        && i.op_kind(1) == OpKind::Register;
    (known || products) && registers && !bit_string
}

/// What the instruction does with the status flags.
pub(super) struct FlagUse {
    /// It reads some, keeps some, or leaves some undefined, which is the host's business.
    pub(super) before: bool,
    pub(super) after: bool,
}

impl FlagUse {
    pub(super) fn of(i: &Instruction) -> FlagUse {
        // A rotation through CF by a multiple of all its bits changes nothing, says the decoder; the processor computes OF all the same.
        if matches!(i.mnemonic(), Mnemonic::Rcl | Mnemonic::Rcr) {
            return FlagUse {
                before: true,
                after: true,
            };
        }
        let modified = i.rflags_modified() & STATUS;
        let undefined = i.rflags_undefined() & STATUS;
        // Logic leaves AF undefined; all processors clear it.
        let logic = matches!(
            i.mnemonic(),
            Mnemonic::And | Mnemonic::Or | Mnemonic::Xor | Mnemonic::Test
        );
        let allowed = if logic { iced_x86::RflagsBits::AF } else { 0 };
        let all = modified == STATUS && undefined & !allowed == 0;
        FlagUse {
            before: i.rflags_read() & STATUS != 0 || modified != 0 && !all,
            after: modified != 0,
        }
    }
}

impl Builder<'_> {
    /// Emits an integer instruction; false where it is not one of those, and nothing was emitted.
    pub(super) fn integer(&mut self, i: &Instruction, site: usize) -> bool {
        if !is_plain(i) {
            return false;
        }
        let Some(plan) = plan(i) else {
            return false;
        };
        let access = plan
            .memory
            .map(|memory| self.access(i, memory.bytes, memory.write));
        self.execute(i, &plan);
        if let Some(access) = access {
            self.accessed(access, site);
        }
        true
    }

    /// Emits the planned instruction itself, after its operand was looked up.
    pub(super) fn execute(&mut self, i: &Instruction, plan: &Plan) {
        if plan.fold && plan.memory.is_some() {
            self.code.fold();
        }
        for lent in plan.lent.iter().filter(|lent| lent.read) {
            self.code.load_guest(lent.host, lent.guest);
        }
        let flags = FlagUse::of(i);
        if flags.before {
            self.code.own_flags();
        }
        self.code.bytes(&plan.bytes);
        if flags.after {
            self.code.flags_are_own();
        }
        for lent in plan.lent.iter().filter(|lent| lent.written) {
            self.code.store_guest(lent.guest, lent.host);
        }
    }
}
