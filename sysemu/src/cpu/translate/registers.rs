//! Where the guest's general registers live while translated code runs.
//!
//! | host | holds |
//! |---|---|
//! | `rax` | the status flags in packed form (`ax`), unless they are in the host's own flags |
//! | `rcx` `rdx` `rbx` `rsi` `rdi` `r12` `r13` `r14` | the guest's register of that name |
//! | `r8` `r9` `r10` | the guest's `rax`, `rsp`, `rbp` |
//! | `r11` `r15` | scratch |
//! | `rbp` | the context, in which the guest's `r8` to `r11` and `r15` stay |
//! | `rsp` | the host's stack |

use iced_x86::Register;

/// The first scratch register: addresses.
pub(super) const FIRST: u8 = 11;
/// The second scratch register.
pub(super) const SECOND: u8 = 15;
/// The context.
pub(super) const CONTEXT: u8 = 5;

/// Where a guest register is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// In this host register.
    Host(u8),
    /// In the context.
    Memory,
}

/// The home of the guest's general register of that number.
pub(super) fn home(guest: u8) -> Home {
    match guest {
        0 => Home::Host(8),
        4 => Home::Host(9),
        5 => Home::Host(10),
        1 | 2 | 3 | 6 | 7 | 12 | 13 | 14 => Home::Host(guest),
        _ => Home::Memory,
    }
}

/// Guest registers that live in host registers, with these.
pub(super) fn resident() -> impl Iterator<Item = (u8, u8)> {
    (0..16).filter_map(|guest| match home(guest) {
        Home::Host(host) => Some((guest, host)),
        Home::Memory => None,
    })
}

/// The part of host register `number` that has the size of `like`.
pub(super) fn sized(like: Register, number: u8) -> Register {
    let n = u32::from(number);
    match like.size() {
        8 => Register::RAX + n,
        4 => Register::EAX + n,
        2 => Register::AX + n,
        _ if n < 4 => Register::AL + n,
        _ => Register::SPL + (n - 4),
    }
}

/// `ah` and its like, which other host registers have not.
pub(super) fn is_high_byte(register: Register) -> bool {
    (Register::AH..=Register::BH).contains(&register)
}
