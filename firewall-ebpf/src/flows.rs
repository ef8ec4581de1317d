//! The kernel's side of the table of flows.

use firewall_common::abi::flow::{ENTRY_WORDS, FLOW_PORTS, FlowKey, HEADER_WORDS, RATE_WORDS};
use firewall_common::abi::tables::Setting;
use firewall_common::flow::table::{self, Opened, Part, Seen, Slots, WAYS};
use firewall_common::flow::{self, Clock};
use firewall_common::verdict::Direction;

use crate::cpu::ThisCpu;
use crate::maps;
use crate::world::{Slot, jiffies};

/// The table of flows.
///
/// Every place is masked where it becomes an address: the value is as long as the mask
/// says, because user space reads the setting off the map.
#[derive(Clone, Copy)]
pub(crate) struct Flows;

impl Flows {
    /// The first place's word.
    #[inline(always)]
    fn words() -> *mut u64 {
        // SAFETY: behind the header, which the value always has.
        unsafe { maps::value(&maps::FLOWS).add(HEADER_WORDS as usize) }
    }
}

impl Slots for Flows {
    type Bucket = *mut u64;
    type Entry = *mut u64;

    #[inline(always)]
    fn mask(&self) -> u32 {
        maps::setting(Setting::FlowMask)
    }

    #[inline(always)]
    fn seed(&self) -> u32 {
        maps::setting(Setting::FlowSeed)
    }

    #[inline(always)]
    fn bucket(&self, first: u32) -> *mut u64 {
        let first = maps::masked(first, self.mask() & !(WAYS - 1));
        // SAFETY: a place of the table.
        unsafe { Self::words().add(first) }
    }

    #[inline(always)]
    fn word(&self, bucket: *mut u64, way: u32) -> u64 {
        // SAFETY: a bucket has eight ways.
        let word = unsafe { bucket.add(way as usize & 7) };
        // SAFETY: as above; other CPUs write whole words.
        unsafe { word.read_volatile() }
    }

    #[inline(always)]
    fn swap(&mut self, place: u32, old: u64, new: u64) -> bool {
        // SAFETY: a place of the table.
        let word = unsafe { Self::words().add(maps::masked(place, self.mask())) };
        // SAFETY: as above; who writes it does so in one go.
        unsafe { compare_and_swap(word, old, new) }
    }

    #[inline(always)]
    fn entry(&self, place: u32) -> *mut u64 {
        let words = self.mask() as usize + 1;
        let before = maps::masked(place, self.mask()) * ENTRY_WORDS as usize;
        // SAFETY: entries stand behind the words of all places.
        unsafe { Self::words().add(words + before) }
    }

    #[inline(always)]
    fn read(&self, entry: *mut u64, index: usize) -> u64 {
        // SAFETY: an entry has eight words, and indexes are constants below that.
        let word = unsafe { entry.add(index) };
        // SAFETY: as above; what is half-written has no seal.
        unsafe { word.read_volatile() }
    }

    #[inline(always)]
    fn write(&mut self, entry: *mut u64, index: usize, value: u64) {
        // SAFETY: as above.
        let word = unsafe { entry.add(index) };
        // SAFETY: as above; the place is claimed.
        unsafe { word.write_volatile(value) };
    }

    #[inline(always)]
    fn anew<'k>(&self, key: &'k FlowKey) -> &'k FlowKey {
        let address = maps::opaque((&raw const *key) as u64) as *const FlowKey;
        // SAFETY: the same address.
        unsafe { &*address }
    }

    #[inline(always)]
    fn opaque(&self, number: u64) -> u64 {
        maps::opaque(number)
    }
}

/// `BPF_CMPXCHG` (Linux 5.12), a full barrier, for which Rust has no word on this target.
///
/// # Safety
/// `word` must be an aligned word of a map's value.
#[inline(always)]
pub(crate) unsafe fn compare_and_swap(word: *mut u64, old: u64, new: u64) -> bool {
    let found: u64;
    // SAFETY: as above.
    #[cfg(target_arch = "bpf")]
    unsafe {
        core::arch::asm!(
            "r0 = cmpxchg_64({word} + 0, r0, {new})",
            word = in(reg) word,
            new = in(reg) new,
            inout("r0") old => found,
            options(nostack, preserves_flags)
        );
    }
    // SAFETY: as above; for the linter, which reads this crate on the host.
    #[cfg(not(target_arch = "bpf"))]
    unsafe {
        use core::sync::atomic::{AtomicU64, Ordering};
        let word = AtomicU64::from_ptr(word);
        found = match word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(found) | Err(found) => found,
        };
    }
    found == old
}

/// This CPU's token bucket for new flows.
#[inline(always)]
pub(crate) fn rate() -> Option<&'static mut u64> {
    let row = ThisCpu::ask()?.number * RATE_WORDS;
    // SAFETY: the value has a row for each CPU that is counted.
    let rate = unsafe { maps::value(&maps::FLOW_RATES).add(row as usize) };
    // SAFETY: as above; no other CPU writes this row.
    Some(unsafe { &mut *rate })
}

/// A word of `FLOW_PORTS`.
#[inline(always)]
pub(crate) fn port(index: u32) -> &'static mut u32 {
    let index = maps::masked(index, FLOW_PORTS - 1);
    // SAFETY: the value has that many words.
    let stamp = unsafe { maps::value(&maps::FLOW_PORTS).cast::<u32>().add(index) };
    // SAFETY: as above; a lost write of a stamp is made up by the next packet.
    unsafe { &mut *stamp }
}

/// [`flow::see`] by a call. `generation` is whose idle times hold.
#[inline(always)]
pub(crate) fn sees(key: &FlowKey, direction: Option<Direction>, generation: u32) -> bool {
    let [local_hi, local_lo, remote_hi, remote_lo, rest] = key.words();
    let part = Part::of(direction).number() << PART_SHIFT;
    let rest = rest | part | u64::from(generation) << GENERATION_SHIFT;
    sees_flow(local_hi, local_lo, remote_hi, remote_lo, rest) != 0
}

/// What the last word of a key leaves room for.
const PART_SHIFT: u32 = 48;
const GENERATION_SHIFT: u32 = 56;

/// [`table::open`].
#[inline(always)]
pub(crate) fn open(key: &FlowKey, slot: u32, generation: u32) -> Opened {
    match open_flow(key, slot, generation) {
        0 => Opened::Yes,
        1 => Opened::Full,
        _ => Opened::TooMany,
    }
}

/// [`flow::see`] as a global function, see [`crate::outline`]: the words of a key, with
/// part and generation in the last.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sees_flow(
    local_hi: u64,
    local_lo: u64,
    remote_hi: u64,
    remote_lo: u64,
    rest: u64,
) -> u32 {
    let part = Part::from_number(rest >> PART_SHIFT);
    let clock = Clock::new(&Slot((rest >> GENERATION_SHIFT) as u32), jiffies());
    let key = [local_hi, local_lo, remote_hi, remote_lo, rest & ((1 << PART_SHIFT) - 1)];
    u32::from(see(key, part, &clock))
}

/// [`flow::see`].
#[inline(always)]
pub(crate) fn see(key: [u64; 5], part: Part, clock: &Clock) -> bool {
    let [.., rest] = key;
    let stamp = match local_port(rest) {
        Some(index) => *port(index),
        None => flow::STAMP_UNKNOWN,
    };
    let stamp = maps::opaque(stamp.into()) as u32;
    let seen = flow::see(&mut Flows, stamp, key, part, clock);
    // Asked once more: the compiler would keep two copies of all this, with and without.
    if matches!(seen, Seen::Noted)
        && let Some(index) = local_port(maps::opaque(rest))
    {
        *port(index) = clock.stamp();
    }
    !matches!(seen, Seen::No)
}

/// Where the port of a packed key has its stamp.
#[inline(always)]
fn local_port(rest: u64) -> Option<u32> {
    flow::port_index((rest >> 32) as u8, rest as u16)
}

/// [`table::open`] as a global function.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn open_flow(key: *const FlowKey, slot: u32, generation: u32) -> u32 {
    // SAFETY: the verifier has checked what the caller passes against the type.
    let Some(key) = (unsafe { key.as_ref() }) else { return Opened::Full as u32 };
    let clock = Clock::new(&Slot(generation), jiffies());
    table::open(&mut Flows, rate(), key, slot, &clock) as u32
}
