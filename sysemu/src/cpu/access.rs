//! Access to memory by segment and offset: the quick way through the translation cache, and the slow one that checks everything.

use crate::cpu::mmu::{Access, Who, canonical};
use crate::cpu::state::{CodeSize, Cpu, SS};
use crate::cpu::tlb;
use crate::cpu::trap::{self, GP0, Trap};
use crate::memory::Scalar;

impl Cpu {
    /// Reads an integer.
    #[inline(always)]
    pub(crate) fn read<T: Scalar>(&mut self, segment: u8, offset: u64) -> Result<T, Trap> {
        let linear = self.linear(segment, offset, T::BYTES as u64, false)?;
        let entry = self.tlb.data(self.class, false, linear);
        if entry.tag == linear.wrapping_add(T::BYTES as u64 - 1) & !0xfff {
            return Ok(self
                .ram
                .read::<T>(self.tlb.physical(entry) | (linear & 0xfff)));
        }
        self.read_slow(segment, linear, T::BYTES as u8)
            .map(T::from_u64)
    }

    /// Writes an integer.
    #[inline(always)]
    pub(crate) fn write<T: Scalar>(
        &mut self,
        segment: u8,
        offset: u64,
        value: T,
    ) -> Result<(), Trap> {
        let linear = self.linear(segment, offset, T::BYTES as u64, true)?;
        let entry = self.tlb.data(self.class, true, linear);
        if entry.tag == linear.wrapping_add(T::BYTES as u64 - 1) & !0xfff {
            self.ram
                .write::<T>(self.tlb.physical(entry) | (linear & 0xfff), value);
            return Ok(());
        }
        self.write_slow(segment, linear, T::BYTES as u8, value.to_u64())
    }

    /// Reads what will be written back: faults are those of a write.
    #[inline(always)]
    pub(crate) fn read_for_write<T: Scalar>(
        &mut self,
        segment: u8,
        offset: u64,
    ) -> Result<T, Trap> {
        let linear = self.linear(segment, offset, T::BYTES as u64, true)?;
        let entry = self.tlb.data(self.class, true, linear);
        if entry.tag == linear.wrapping_add(T::BYTES as u64 - 1) & !0xfff {
            return Ok(self
                .ram
                .read::<T>(self.tlb.physical(entry) | (linear & 0xfff)));
        }
        self.read_for_write_slow(segment, linear, T::BYTES as u8)
            .map(T::from_u64)
    }

    #[inline(never)]
    fn read_for_write_slow(&mut self, segment: u8, linear: u64, size: u8) -> Result<u64, Trap> {
        let length = u64::from(size);
        if let Some(marked) = self.marked(linear, length, true)? {
            if marked.watched {
                self.check_watches(marked.physical, length, false)?;
            }
            return Ok(self.read_physical(marked.physical, size));
        }
        self.probe(segment, linear, length, true)?;
        self.read_slow(segment, linear, size)
    }

    #[inline(always)]
    pub(crate) fn linear(
        &mut self,
        segment: u8,
        offset: u64,
        length: u64,
        write: bool,
    ) -> Result<u64, Trap> {
        let linear = offset.wrapping_add(self.lin[usize::from(segment) % 6]);
        if self.segmented {
            self.check_segment(usize::from(segment), offset, length, write)?;
            return Ok(linear & 0xffff_ffff);
        }
        Ok(linear)
    }

    /// Type and limit of a segment.
    #[cold]
    fn check_segment(
        &mut self,
        segment: usize,
        offset: u64,
        length: u64,
        write: bool,
    ) -> Result<(), Trap> {
        let s = self.seg[segment];
        let fault = Trap::code(if segment == SS { trap::SS } else { trap::GP }, 0);
        if self.protected() {
            let usable = s.present() && s.attributes & 0x10 != 0;
            let allowed = if write {
                !s.is_code() && s.second()
            } else {
                !s.is_code() || s.second()
            };
            if !usable || !allowed {
                return Err(fault);
            }
        }
        let last = offset.wrapping_add(length - 1);
        let limit = u64::from(s.limit);
        let expand_down = self.protected() && s.kind() & 0x1c == 0x14;
        let inside = if expand_down {
            let top = if s.big() { 0xffff_ffff } else { 0xffff };
            offset > limit && last <= top
        } else {
            last <= limit && offset <= last
        };
        if inside { Ok(()) } else { Err(fault) }
    }

    fn check_canonical(&self, segment: u8, linear: u64, length: u64) -> Result<(), Trap> {
        if self.code_size != CodeSize::Bits64
            || (canonical(linear) && canonical(linear.wrapping_add(length - 1)))
        {
            return Ok(());
        }
        let vector = if usize::from(segment) == SS {
            trap::SS
        } else {
            trap::GP
        };
        Err(Trap::code(vector, 0))
    }

    /// The exception of an address that must be aligned and is not. That it is not canonical is found first: in the stack segment that is another
    /// exception.
    #[cold]
    pub(crate) fn misaligned(&self, segment: u8, linear: u64, length: u64) -> Trap {
        let canonical = self.check_canonical(segment, linear, length);
        canonical.err().unwrap_or(trap::GP0)
    }

    /// Alignment, canonical form, watchpoints.
    fn check_slow(
        &mut self,
        segment: u8,
        linear: u64,
        length: u64,
        write: bool,
    ) -> Result<(), Trap> {
        self.check_canonical(segment, linear, length)?;
        if self.class == tlb::SLOW {
            let checked = self.cpl == 3
                && self.cr0 & 1 << 18 != 0
                && self.rflags & crate::cpu::flags::AC != 0;
            if checked && length.is_power_of_two() && linear & (length - 1) != 0 {
                return Err(Trap::code(trap::AC, 0));
            }
            self.watch(linear, length, write);
        }
        Ok(())
    }

    /// Makes sure that `length` bytes can be accessed.
    pub(crate) fn probe(
        &mut self,
        segment: u8,
        linear: u64,
        length: u64,
        write: bool,
    ) -> Result<(), Trap> {
        self.check_slow(segment, linear, length, write)?;
        let who = self.who();
        self.pieces(linear, length, write, who)?;
        Ok(())
    }

    /// Where an access is that the TLB knows and somebody may watch: it needs no page tables. Stops where it is watched.
    #[inline(always)]
    fn marked(&mut self, linear: u64, length: u64, write: bool) -> Result<Option<Marked>, Trap> {
        let Some((physical, lines)) = self.tlb.marked(self.class, write, linear, length) else {
            return Ok(None);
        };
        let watched = lines.at(linear);
        if watched {
            self.check_watches(physical, length, write)?;
        }
        Ok(Some(Marked { physical, watched }))
    }

    #[inline(never)]
    fn read_slow(&mut self, segment: u8, linear: u64, size: u8) -> Result<u64, Trap> {
        if let Some(marked) = self.marked(linear, size.into(), false)? {
            return Ok(self.read_physical(marked.physical, size));
        }
        self.check_slow(segment, linear, u64::from(size), false)?;
        let who = self.who();
        self.read_as(linear, size, who)
    }

    #[inline(never)]
    fn write_slow(&mut self, segment: u8, linear: u64, size: u8, value: u64) -> Result<(), Trap> {
        if let Some(marked) = self.marked(linear, size.into(), true)? {
            self.ram.write_sized(marked.physical, size, value);
            if marked.watched {
                self.enforce_stuck(marked.physical, size.into());
            }
            return Ok(());
        }
        self.check_slow(segment, linear, u64::from(size), true)?;
        let who = self.who();
        self.write_as(linear, size, value, who)
    }

    /// The one or two physical stretches of an access; the second length is 0 where there is one.
    fn pieces(
        &mut self,
        linear: u64,
        length: u64,
        write: bool,
        who: Who,
    ) -> Result<[(u64, u64); 2], Trap> {
        let access = if write { Access::Write } else { Access::Read };
        let first = (4096 - (linear & 0xfff)).min(length);
        let one = self.translate_filling(linear, access, who)?;
        self.check_watches(one, first, write)?;
        if first == length {
            return Ok([(one, length), (0, 0)]);
        }
        let mut next = linear.wrapping_add(first);
        if self.code_size != CodeSize::Bits64 {
            next &= 0xffff_ffff;
        }
        let two = self.translate_filling(next, access, who)?;
        self.check_watches(two, length - first, write)?;
        Ok([(one, first), (two, length - first)])
    }

    fn translate_filling(&mut self, linear: u64, access: Access, who: Who) -> Result<u64, Trap> {
        let page = self.translate(linear, access, who)?;
        let class = Cpu::class_of(who);
        let write = access == Access::Write;
        if self.ram.contains(page.physical & !0xfff, 4096)
            && (page.writable_now || !write)
            && let Some(lines) = self.watched_lines(page.physical, write)
        {
            self.tlb
                .fill_data(class, write, linear, page.physical, page.kind, lines);
        }
        Ok(page.physical)
    }

    /// Reads with that privilege, without segment checks.
    pub(crate) fn read_as(&mut self, linear: u64, size: u8, who: Who) -> Result<u64, Trap> {
        let [(one, length), (two, rest)] = self.pieces(linear, size.into(), false, who)?;
        if rest == 0 {
            return Ok(self.read_physical(one, size));
        }
        let mut value = 0;
        for index in 0..u64::from(size) {
            let at = if index < length {
                one + index
            } else {
                two + index - length
            };
            value |= self.read_physical(at, 1) << (8 * index);
        }
        Ok(value)
    }

    /// Writes with that privilege, without segment checks.
    pub(crate) fn write_as(
        &mut self,
        linear: u64,
        size: u8,
        value: u64,
        who: Who,
    ) -> Result<(), Trap> {
        let [(one, length), (two, rest)] = self.pieces(linear, size.into(), true, who)?;
        if rest == 0 {
            self.write_physical(one, size, value);
            return Ok(());
        }
        for index in 0..u64::from(size) {
            let at = if index < length {
                one + index
            } else {
                two + index - length
            };
            self.write_physical(at, 1, value >> (8 * index));
        }
        Ok(())
    }

    /// Reads physical memory or a device.
    pub(crate) fn read_physical(&mut self, address: u64, size: u8) -> u64 {
        if self.ram.contains(address, size.into()) {
            return match size {
                1 => self.ram.read::<u8>(address).into(),
                2 => self.ram.read::<u16>(address).into(),
                4 => self.ram.read::<u32>(address).into(),
                _ => self.ram.read::<u64>(address),
            };
        }
        self.block_limit = 0;
        let now = self.now();
        let value = self.bus.mmio_read(now, address, size);
        self.note_devices();
        self.through_broken(true, address, size, value, false)
            .unwrap_or(u64::MAX)
    }

    /// Writes physical memory or a device.
    pub(crate) fn write_physical(&mut self, address: u64, size: u8, value: u64) {
        if self.ram.contains(address, size.into()) {
            self.ram.write_sized(address, size, value);
            self.note_write(address, size.into());
            return;
        }
        self.block_limit = 0;
        let now = self.now();
        if let Some(value) = self.through_broken(true, address, size, value, true) {
            self.bus.mmio_write(now, address, size, value);
        }
        self.note_devices();
    }

    /// Reads system structures (descriptor tables, task state): supervisor, whatever the privilege.
    pub(crate) fn read_system(&mut self, linear: u64, size: u8) -> Result<u64, Trap> {
        let linear = self.system_address(linear)?;
        self.read_as(linear, size, SYSTEM)
    }

    /// Writes system structures.
    pub(crate) fn write_system(&mut self, linear: u64, size: u8, value: u64) -> Result<(), Trap> {
        let linear = self.system_address(linear)?;
        self.write_as(linear, size, value, SYSTEM)
    }

    fn system_address(&self, linear: u64) -> Result<u64, Trap> {
        if !self.long_mode() {
            return Ok(linear & 0xffff_ffff);
        }
        if canonical(linear) {
            Ok(linear)
        } else {
            Err(GP0)
        }
    }

    /// Reads many bytes; nothing has happened where it faults.
    pub(crate) fn read_bytes(
        &mut self,
        segment: u8,
        offset: u64,
        bytes: &mut [u8],
    ) -> Result<(), Trap> {
        let length = bytes.len() as u64;
        let linear = self.linear(segment, offset, length, false)?;
        self.check_slow(segment, linear, length, false)?;
        let who = self.who();
        let [(one, first), (two, rest)] = self.pieces(linear, length, false, who)?;
        let (left, right) = bytes.split_at_mut(first as usize);
        for (physical, part) in [(one, left), (two, right)] {
            if part.is_empty() {
                continue;
            }
            if self.ram.contains(physical, part.len() as u64) {
                part.copy_from_slice(self.ram.slice(physical, part.len()));
                continue;
            }
            for (index, byte) in part.iter_mut().enumerate() {
                *byte = self.read_physical(physical + index as u64, 1) as u8;
            }
        }
        debug_assert_eq!(first + rest, length);
        Ok(())
    }

    /// Writes many bytes; nothing has happened where it faults.
    pub(crate) fn write_bytes(
        &mut self,
        segment: u8,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), Trap> {
        let length = bytes.len() as u64;
        let linear = self.linear(segment, offset, length, true)?;
        self.check_slow(segment, linear, length, true)?;
        let who = self.who();
        let [(one, first), (two, _)] = self.pieces(linear, length, true, who)?;
        let (left, right) = bytes.split_at(first as usize);
        for (physical, part) in [(one, left), (two, right)] {
            if part.is_empty() {
                continue;
            }
            if self.ram.contains(physical, part.len() as u64) {
                self.ram
                    .slice_mut(physical, part.len())
                    .copy_from_slice(part);
                self.note_write(physical, part.len() as u64);
                continue;
            }
            for (index, byte) in part.iter().enumerate() {
                self.write_physical(physical + index as u64, 1, u64::from(*byte));
            }
        }
        Ok(())
    }
}

/// An access to a page that is marked in the TLB.
struct Marked {
    physical: u64,
    /// Its line is watched.
    watched: bool,
}

/// Implicit access of the processor to its own structures.
pub(crate) const SYSTEM: Who = Who {
    user: false,
    ac: false,
};
