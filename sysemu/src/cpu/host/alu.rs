//! Integer arithmetic with flags. Every function takes the packed flags (see [`crate::cpu::flags`]) and leaves in them what the host's own
//! instruction left; operands and results are the low bits of 64-bit values, and upper result bits are those of the first operand
//! (below 32 bits) or 0.

use crate::memory::Scalar;
use std::arch::asm;

/// Loads the host's flags from `eax`, executes, reads the flags back.
macro_rules! with_flags {
    ($($body:expr),+ ; $flags:ident ; $($operands:tt)*) => {{
        let mut packed = u32::from(*$flags);
        // SAFETY: register arithmetic only; the flags are clobbered, as the options say by default, and nothing else.
        unsafe {
            asm!("add al, 127", "sahf", $($body),+, "lahf", "seto al",
                inout("eax") packed, $($operands)*, options(nomem, nostack));
        }
        *$flags = packed as u16;
    }};
}

macro_rules! binary {
    ($($name:ident = $ins:literal),* $(,)?) => {$(
        #[doc = concat!("`", $ins, "` of two operands.")]
        #[inline(always)]
        pub(crate) fn $name<T: Scalar>(mut a: u64, b: u64, flags: &mut u16) -> u64 {
            match T::BYTES {
                1 => with_flags!(concat!($ins, " {a:l}, {b:l}"); flags; a = inout(reg) a, b = in(reg) b),
                2 => with_flags!(concat!($ins, " {a:x}, {b:x}"); flags; a = inout(reg) a, b = in(reg) b),
                4 => with_flags!(concat!($ins, " {a:e}, {b:e}"); flags; a = inout(reg) a, b = in(reg) b),
                _ => with_flags!(concat!($ins, " {a:r}, {b:r}"); flags; a = inout(reg) a, b = in(reg) b),
            }
            a
        }
    )*};
}

binary! {
    add = "add", or = "or", adc = "adc", sbb = "sbb", and = "and", sub = "sub", xor = "xor", cmp = "cmp", test = "test",
}

macro_rules! wide {
    ($($name:ident = $ins:literal),* $(,)?) => {$(
        #[doc = concat!("`", $ins, "` of two operands, of 16 bits or more.")]
        #[inline(always)]
        pub(crate) fn $name<T: Scalar>(mut a: u64, b: u64, flags: &mut u16) -> u64 {
            match T::BYTES {
                2 => with_flags!(concat!($ins, " {a:x}, {b:x}"); flags; a = inout(reg) a, b = in(reg) b),
                4 => with_flags!(concat!($ins, " {a:e}, {b:e}"); flags; a = inout(reg) a, b = in(reg) b),
                _ => with_flags!(concat!($ins, " {a:r}, {b:r}"); flags; a = inout(reg) a, b = in(reg) b),
            }
            a
        }
    )*};
}

wide! { imul = "imul", bsf = "bsf", bsr = "bsr", bt = "bt", bts = "bts", btr = "btr", btc = "btc" }

macro_rules! unary {
    ($($name:ident = $ins:literal),* $(,)?) => {$(
        #[doc = concat!("`", $ins, "`.")]
        #[inline(always)]
        pub(crate) fn $name<T: Scalar>(mut a: u64, flags: &mut u16) -> u64 {
            match T::BYTES {
                1 => with_flags!(concat!($ins, " {a:l}"); flags; a = inout(reg) a),
                2 => with_flags!(concat!($ins, " {a:x}"); flags; a = inout(reg) a),
                4 => with_flags!(concat!($ins, " {a:e}"); flags; a = inout(reg) a),
                _ => with_flags!(concat!($ins, " {a:r}"); flags; a = inout(reg) a),
            }
            a
        }
    )*};
}

unary! { inc = "inc", dec = "dec", neg = "neg" }

macro_rules! shift {
    ($($name:ident = $ins:literal),* $(,)?) => {$(
        #[doc = concat!("`", $ins, "` by a count, of which the processor takes the low bits.")]
        #[inline(always)]
        pub(crate) fn $name<T: Scalar>(mut a: u64, count: u8, flags: &mut u16) -> u64 {
            match T::BYTES {
                1 => with_flags!(concat!($ins, " {a:l}, cl"); flags; a = inout(reg) a, in("cl") count),
                2 => with_flags!(concat!($ins, " {a:x}, cl"); flags; a = inout(reg) a, in("cl") count),
                4 => with_flags!(concat!($ins, " {a:e}, cl"); flags; a = inout(reg) a, in("cl") count),
                _ => with_flags!(concat!($ins, " {a:r}, cl"); flags; a = inout(reg) a, in("cl") count),
            }
            a
        }
    )*};
}

shift! {
    rol = "rol", ror = "ror", rcl = "rcl", rcr = "rcr", shl = "shl", shr = "shr", sar = "sar",
}

macro_rules! product {
    ($($name:ident = $ins:literal),* $(,)?) => {$(
        #[doc = concat!("`", $ins, "`: low and high half (of bytes: `ax` and nothing).")]
        #[inline(always)]
        pub(crate) fn $name<T: Scalar>(a: u64, b: u64, high: u64, flags: &mut u16) -> (u64, u64) {
            let (mut low, mut high) = (a, high);
            match T::BYTES {
                1 => with_flags!("mov rax, {low}", concat!($ins, " {b:l}"), "mov {low}, rax"; flags;
                    low = inout(reg) low, b = in(reg) b, inout("rdx") high),
                2 => with_flags!("mov rax, {low}", concat!($ins, " {b:x}"), "mov {low}, rax"; flags;
                    low = inout(reg) low, b = in(reg) b, inout("rdx") high),
                4 => with_flags!("mov rax, {low}", concat!($ins, " {b:e}"), "mov {low}, rax"; flags;
                    low = inout(reg) low, b = in(reg) b, inout("rdx") high),
                _ => with_flags!("mov rax, {low}", concat!($ins, " {b:r}"), "mov {low}, rax"; flags;
                    low = inout(reg) low, b = in(reg) b, inout("rdx") high),
            }
            (low, high)
        }
    )*};
}

// The dividing ones must not be called where the quotient does not fit.
product! { mul = "mul", imul_wide = "imul", div_unchecked = "div", idiv_unchecked = "idiv" }

/// Unsigned division of `high:low` (of bytes: of `low`, 16 bits): what `rax` and `rdx` become; none where it would fault.
#[inline(always)]
pub(crate) fn div<T: Scalar>(low: u64, high: u64, by: u64, flags: &mut u16) -> Option<(u64, u64)> {
    let by = T::from_u64(by).to_u64();
    let fits = match T::BYTES {
        1 => by != 0 && (low & 0xffff) >> 8 < by,
        _ => by != 0 && T::from_u64(high).to_u64() < by,
    };
    fits.then(|| div_unchecked::<T>(low, by, high, flags))
}

/// Signed division, as [`div`].
#[inline(always)]
pub(crate) fn idiv<T: Scalar>(low: u64, high: u64, by: u64, flags: &mut u16) -> Option<(u64, u64)> {
    let bits = 8 * T::BYTES as u32;
    let extend = |value: u64| i128::from((value << (64 - bits)) as i64 >> (64 - bits));
    let divisor = extend(by);
    let dividend = match T::BYTES {
        1 => i128::from(low as i16),
        _ => {
            let low = u128::from(T::from_u64(low).to_u64());
            (extend(high) << bits) | low as i128
        }
    };
    if divisor == 0 {
        return None;
    }
    let quotient = dividend.checked_div(divisor)?;
    let limit = 1_i128 << (bits - 1);
    (quotient >= -limit && quotient < limit).then(|| idiv_unchecked::<T>(low, by, high, flags))
}
