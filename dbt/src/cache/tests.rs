use crate::mode::Mode;

use super::*;
use crate::translate;
use crate::unit::{GuestCode, Request};

/// Guest code at one address.
struct Bytes(u64, &'static [u8]);

impl GuestCode for Bytes {
    fn read(&self, pc: u64, buffer: &mut [u8]) -> usize {
        let rest = pc
            .checked_sub(self.0)
            .and_then(|skip| self.1.get(skip as usize..))
            .unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        count
    }
}

const BASE: u64 = 0x5555_1000_0000;
const PC: u64 = 0x5555_5555_5000;

/// `a: inc eax; jmp b; nop… b: ret` with `b` 16 bytes on.
const CODE: Bytes = Bytes(
    PC,
    &[
        0xff, 0xc0, 0xeb, 0x0c, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90,
        0x90, 0xc3,
    ],
);

fn cache() -> Cache {
    let mut cache = Cache::new().expect("memory");
    assert_eq!(cache.add_zone(BASE).expect("a zone"), 0);
    cache
}

fn insert(cache: &mut Cache, pc: u64) -> UnitId {
    insert_from(cache, &CODE, pc, Mode::Counts)
}

fn insert_from(cache: &mut Cache, code: &Bytes, pc: u64, mode: Mode) -> UnitId {
    let request = Request {
        id: cache.next_id().expect("a number"),
        pc,
        prefix: None,
        host: cache.next_host(0).expect("room"),
        mode,
        virtual_tsc: true,
    };
    let unit = translate::unit(code, &request).expect("translated");
    cache.insert(0, unit).expect("inserted").0
}

fn displacement(cache: &Cache, id: UnitId) -> u64 {
    let unit = cache.unit(id).expect("unit");
    leads_to(
        cache,
        unit.host + u64::from(unit.exits[0].link.expect("linkable")),
    )
}

/// Where the displacement at a host address leads.
fn leads_to(cache: &Cache, at: u64) -> u64 {
    let bytes = cache.code(at, 4).expect("code");
    let displacement = i32::from_le_bytes(bytes.try_into().expect("4 bytes"));
    (at + 4).wrapping_add_signed(displacement.into())
}

#[test]
fn an_exit_leads_to_its_trap_until_linked_and_again_after_invalidation() {
    let mut cache = cache();
    let (first, second) = (insert(&mut cache, PC), insert(&mut cache, PC + 16));
    let unit = cache.unit(first).expect("unit").clone();
    let trap = unit.host + u64::from(unit.exits[0].trap);
    assert_eq!(unit.direct_target(0), Some(PC + 16));
    assert_eq!(displacement(&cache, first), trap);
    cache.link(first, 0, second).expect("linked");
    let target = cache.unit(second).expect("unit").host;
    assert_eq!(displacement(&cache, first), target);
    cache.invalidate(PC..PC + 1);
    assert_eq!(displacement(&cache, first), trap);
    assert_eq!(cache.known((PC, None)), None);
    assert!(!cache.has_code_in(PC..PC + 1));
}

#[test]
fn host_addresses_lead_back_to_units_and_stubs() {
    let mut cache = cache();
    let id = insert(&mut cache, PC);
    let host = cache.unit(id).expect("unit").host;
    assert_eq!(cache.at(host + 3), Some(Place::Unit { id, offset: 3 }));
    assert_eq!(cache.at(BASE), Some(Place::JumpMiss));
    assert_eq!(cache.at(BASE + ZONE_BYTES), None);
    cache.register_jump(id).expect("registered");
    let entry = cache
        .table()
        .word64(8 * (PC & 0xffff))
        .load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(cache.at(entry), Some(Place::Stub));
}

#[test]
fn a_flush_forgets_everything_but_never_gives_a_number_twice() {
    let mut cache = cache();
    let first = insert(&mut cache, PC);
    cache.register_jump(first).expect("registered");
    cache.flush().expect("flushed");
    assert_eq!(cache.known((PC, None)), None);
    assert!(cache.unit(first).is_none());
    let miss = cache.table().word64(8 * (PC & 0xffff));
    let miss = miss.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(cache.at(miss), Some(Place::JumpMiss));
    assert!(insert(&mut cache, PC) > first);
}

#[test]
fn zones_are_near_what_they_serve() {
    for pc in [
        0x40_1000,
        PC,
        0x7fff_f7fc_5000,
        0x7ffe_0000_0000,
        0x1234_5678_9000,
    ] {
        let base = candidates(pc).next().expect("a candidate");
        assert!(reaches(base, pc), "{base:#x} for {pc:#x}");
        assert!(pc.abs_diff(base) < 1 << 31 && pc.abs_diff(base + ZONE_BYTES) < 1 << 31);
    }
}

/// `a: add r15,rax; jmp b; b: add r15,rax; jmp c; c: add rbx,rax; jmp a`: the first two use r15, the third does not.
const CIRCLE: Bytes = Bytes(
    PC,
    &[
        0x49, 0x01, 0xc7, 0xeb, 0x00, 0x49, 0x01, 0xc7, 0xeb, 0x00, 0x48, 0x01, 0xc3, 0xeb, 0xf1,
    ],
);

#[test]
fn units_with_their_budget_in_the_same_register_are_linked_without_giving_it_back() {
    let mut cache = cache();
    let [first, second, third] =
        [0, 5, 10].map(|at| insert_from(&mut cache, &CIRCLE, PC + at, Mode::Budget));
    let warm = |cache: &Cache, id: UnitId| {
        let unit = cache.unit(id).expect("unit");
        let warm = unit.exits[0].warm.expect("two jumps");
        (
            leads_to(cache, unit.host + u64::from(warm.at)),
            unit.host + u64::from(warm.otherwise),
        )
    };
    cache.link(first, 0, second).expect("linked");
    cache.link(second, 0, third).expect("linked");
    cache.link(third, 0, first).expect("linked");
    let unit = cache.unit(second).expect("unit");
    let (host, entry) = (unit.host, unit.warm_entry.expect("an entry"));
    assert_eq!(warm(&cache, first).0, host + u64::from(entry.offset));
    assert_eq!(displacement(&cache, first), host);
    let (to, otherwise) = warm(&cache, second);
    assert_eq!(to, otherwise, "the third has its budget elsewhere");
    assert_eq!(
        displacement(&cache, third),
        cache.unit(first).expect("unit").host
    );
    // Another unit takes the second one's place, then it is forgotten.
    let again = insert_from(&mut cache, &CIRCLE, PC + 5, Mode::Budget);
    cache.supersede(second, again).expect("superseded");
    let host = cache.unit(again).expect("unit").host;
    assert_eq!(warm(&cache, first).0, host + u64::from(entry.offset));
    cache.invalidate(PC + 5..PC + 6);
    let (to, otherwise) = warm(&cache, first);
    assert_eq!(to, otherwise);
}
