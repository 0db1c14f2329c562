//! Vector arithmetic for counting: AVX-512, AVX2, and plain Rust, chosen when the process starts.
//!
//! A [`Job`] is written once, against [`Lane`]; [`Isa::run`] compiles it for each instruction set. The lane
//! types are private to this file, so nobody can use one on a processor that lacks it.

use std::arch::x86_64::*;

/// 64 bytes in memory: 512 bits, or 16 numbers of 32 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Block(pub [u32; 16]);

impl Block {
    /// All numbers the same.
    pub const fn splat(value: u32) -> Self {
        Block([value; 16])
    }
}

/// Marks a register that a unit doesn't touch in the bytes that [`Lane::live`] reads.
pub const UNTOUCHED: u8 = u8::MAX;

/// 64 bytes in vector registers.
pub trait Lane: Copy {
    /// The bytes of a row.
    fn load(bytes: &[u8; 64]) -> Self;
    /// From memory of our own.
    fn get(block: &Block) -> Self;
    /// To memory of our own.
    fn put(self, block: &mut Block);
    /// Adds three bits at each of 512 positions: sum and carry.
    fn add(self, b: Self, c: Self) -> (Self, Self);
    /// A number 16 times.
    fn splat(value: u32) -> Self;
    /// One unit's effect on the lifetimes of 16 registers. `self` is 16 times the time at which it began;
    /// `first` is where it first reads a register whose first access is a read, `last` where it last reads or
    /// kills it, both as instructions from its start or [`UNTOUCHED`]. `since` is the time of each register's
    /// last access, `sum` the total of live points; the new ones are the result.
    fn live(self, first: &[u8; 16], last: &[u8; 16], since: Self, sum: Self) -> (Self, Self);
}

/// Work to be compiled for each instruction set. Implementations of `run` must be `#[inline(always)]`, and so
/// must what they call with their `L`.
pub trait Job {
    /// What it yields.
    type Output;
    /// Does it.
    fn run<L: Lane>(self) -> Self::Output;
}

/// An instruction set that this processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Avx512,
    Avx2,
    Portable,
}

impl Isa {
    /// The best one.
    pub fn detect() -> Self {
        Self::all()[0]
    }

    /// All that this processor has, best first.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
        {
            all.push(Isa(Kind::Avx512));
        }
        if is_x86_feature_detected!("avx2") {
            all.push(Isa(Kind::Avx2));
        }
        all.push(Isa(Kind::Portable));
        all
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Avx512 => "AVX-512",
            Kind::Avx2 => "AVX2",
            Kind::Portable => "portable",
        }
    }

    /// Does `job` with this instruction set.
    pub fn run<J: Job>(self, job: J) -> J::Output {
        match self.0 {
            // SAFETY: an `Isa` of this kind exists only after `all` has found the processor's features.
            Kind::Avx512 => unsafe { run_avx512(job) },
            // SAFETY: as above.
            Kind::Avx2 => unsafe { run_avx2(job) },
            Kind::Portable => job.run::<Portable>(),
        }
    }
}

/// Has the processor fetch these bytes into its cache.
pub fn fetch(bytes: &[u8]) {
    for line in bytes.chunks(LINE) {
        // SAFETY: fetching changes nothing but the cache, wherever the address leads.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
}

/// Bytes of a line of the cache.
const LINE: usize = 64;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,bmi1,bmi2,popcnt")]
fn run_avx512<J: Job>(job: J) -> J::Output {
    job.run::<Wide>()
}

#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
fn run_avx2<J: Job>(job: J) -> J::Output {
    job.run::<Halves>()
}

/// AVX-512. Exists only inside [`run_avx512`], so the processor has it: that is the reason of each `unsafe`
/// here; pointers come from references to as many bytes as are loaded or stored.
#[derive(Clone, Copy)]
struct Wide(__m512i);

impl Lane for Wide {
    #[inline(always)]
    fn load(bytes: &[u8; 64]) -> Self {
        // SAFETY: see `Wide`.
        Wide(unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) })
    }
    #[inline(always)]
    fn get(block: &Block) -> Self {
        // SAFETY: see `Wide`; a `Block` is aligned to 64.
        Wide(unsafe { _mm512_load_si512(block.0.as_ptr().cast()) })
    }
    #[inline(always)]
    fn put(self, block: &mut Block) {
        // SAFETY: see `Wide`; a `Block` is aligned to 64.
        unsafe { _mm512_store_si512(block.0.as_mut_ptr().cast(), self.0) }
    }
    #[inline(always)]
    fn add(self, b: Self, c: Self) -> (Self, Self) {
        // SAFETY: see `Wide`. 0x96 is the parity of three bits, 0xe8 their majority.
        unsafe {
            let sum = _mm512_ternarylogic_epi64::<0x96>(self.0, b.0, c.0);
            let carry = _mm512_ternarylogic_epi64::<0xe8>(self.0, b.0, c.0);
            (Wide(sum), Wide(carry))
        }
    }
    #[inline(always)]
    fn splat(value: u32) -> Self {
        // SAFETY: see `Wide`.
        Wide(unsafe { _mm512_set1_epi32(value as i32) })
    }
    #[inline(always)]
    fn live(self, first: &[u8; 16], last: &[u8; 16], since: Self, sum: Self) -> (Self, Self) {
        // SAFETY: see `Wide`.
        unsafe {
            let none = _mm512_set1_epi32(UNTOUCHED.into());
            let first = _mm512_cvtepu8_epi32(_mm_loadu_si128(first.as_ptr().cast()));
            let last = _mm512_cvtepu8_epi32(_mm_loadu_si128(last.as_ptr().cast()));
            let reads = _mm512_cmpneq_epi32_mask(first, none);
            let touches = _mm512_cmpneq_epi32_mask(last, none);
            let points = _mm512_sub_epi32(_mm512_add_epi32(self.0, first), since.0);
            let sum = _mm512_mask_add_epi32(sum.0, reads, sum.0, points);
            let since = _mm512_mask_add_epi32(since.0, touches, self.0, last);
            (Wide(since), Wide(sum))
        }
    }
}

/// AVX2, two halves. Exists only inside [`run_avx2`], so the processor has it: that is the reason of each
/// `unsafe` here; pointers come from references to as many bytes as are loaded or stored.
#[derive(Clone, Copy)]
struct Halves(__m256i, __m256i);

impl Halves {
    #[inline(always)]
    fn both(self, other: Self, f: impl Fn(__m256i, __m256i) -> __m256i) -> Self {
        Halves(f(self.0, other.0), f(self.1, other.1))
    }
    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        // SAFETY: see `Halves`.
        self.both(other, |a, b| unsafe { _mm256_xor_si256(a, b) })
    }
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        // SAFETY: see `Halves`.
        self.both(other, |a, b| unsafe { _mm256_and_si256(a, b) })
    }
}

impl Lane for Halves {
    #[inline(always)]
    fn load(bytes: &[u8; 64]) -> Self {
        let at: *const __m256i = bytes.as_ptr().cast();
        // SAFETY: see `Halves`.
        unsafe { Halves(_mm256_loadu_si256(at), _mm256_loadu_si256(at.add(1))) }
    }
    #[inline(always)]
    fn get(block: &Block) -> Self {
        let at: *const __m256i = block.0.as_ptr().cast();
        // SAFETY: see `Halves`; a `Block` is aligned to 64.
        unsafe { Halves(_mm256_load_si256(at), _mm256_load_si256(at.add(1))) }
    }
    #[inline(always)]
    fn put(self, block: &mut Block) {
        let at: *mut __m256i = block.0.as_mut_ptr().cast();
        // SAFETY: see `Halves`; a `Block` is aligned to 64.
        unsafe {
            _mm256_store_si256(at, self.0);
            _mm256_store_si256(at.add(1), self.1);
        }
    }
    #[inline(always)]
    fn add(self, b: Self, c: Self) -> (Self, Self) {
        let half = self.xor(b);
        // SAFETY: see `Halves`.
        let or = |a, b| unsafe { _mm256_or_si256(a, b) };
        (half.xor(c), self.and(b).both(half.and(c), or))
    }
    #[inline(always)]
    fn splat(value: u32) -> Self {
        // SAFETY: see `Halves`.
        let half = unsafe { _mm256_set1_epi32(value as i32) };
        Halves(half, half)
    }
    #[inline(always)]
    fn live(self, first: &[u8; 16], last: &[u8; 16], since: Self, sum: Self) -> (Self, Self) {
        // SAFETY: see `Halves`; each of the two loads reads 8 of the 16 bytes.
        unsafe {
            let at = |bytes: &[u8; 16], half: usize| {
                _mm256_cvtepu8_epi32(_mm_loadl_epi64(bytes.as_ptr().add(8 * half).cast()))
            };
            let none = _mm256_set1_epi32(UNTOUCHED.into());
            let half = |now, first, last, since, sum| {
                let points = _mm256_sub_epi32(_mm256_add_epi32(now, first), since);
                let no_read = _mm256_cmpeq_epi32(first, none);
                let sum = _mm256_add_epi32(sum, _mm256_andnot_si256(no_read, points));
                let untouched = _mm256_cmpeq_epi32(last, none);
                let touched = _mm256_add_epi32(now, last);
                (_mm256_blendv_epi8(touched, since, untouched), sum)
            };
            let low = half(self.0, at(first, 0), at(last, 0), since.0, sum.0);
            let high = half(self.1, at(first, 1), at(last, 1), since.1, sum.1);
            (Halves(low.0, high.0), Halves(low.1, high.1))
        }
    }
}

/// Plain Rust.
#[derive(Clone, Copy)]
struct Portable(Block);

impl Portable {
    #[inline(always)]
    fn each(self, other: Self, f: impl Fn(u32, u32) -> u32) -> Self {
        Portable(Block(std::array::from_fn(|i| f(self.0.0[i], other.0.0[i]))))
    }
    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        self.each(other, |a, b| a ^ b)
    }
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        self.each(other, |a, b| a & b)
    }
}

impl Lane for Portable {
    #[inline(always)]
    fn load(bytes: &[u8; 64]) -> Self {
        let (words, _) = bytes.as_chunks::<4>();
        Portable(Block(std::array::from_fn(|i| u32::from_le_bytes(words[i]))))
    }
    #[inline(always)]
    fn get(block: &Block) -> Self {
        Portable(*block)
    }
    #[inline(always)]
    fn put(self, block: &mut Block) {
        *block = self.0;
    }
    #[inline(always)]
    fn add(self, b: Self, c: Self) -> (Self, Self) {
        let half = self.xor(b);
        let carry = self.and(b).each(half.and(c), |a, b| a | b);
        (half.xor(c), carry)
    }
    #[inline(always)]
    fn splat(value: u32) -> Self {
        Portable(Block::splat(value))
    }
    #[inline(always)]
    fn live(self, first: &[u8; 16], last: &[u8; 16], since: Self, sum: Self) -> (Self, Self) {
        let (mut since, mut sum) = (since, sum);
        for i in 0..16 {
            let now = self.0.0[i];
            let (since, sum) = (&mut since.0.0[i], &mut sum.0.0[i]);
            if first[i] != UNTOUCHED {
                let points = (now + u32::from(first[i])).wrapping_sub(*since);
                *sum = sum.wrapping_add(points);
            }
            if last[i] != UNTOUCHED {
                *since = now + u32::from(last[i]);
            }
        }
        (since, sum)
    }
}
