//! Every map, with size, key, value, writer, reader and what a full one does.
//!
//! User space creates all of them, and hands most to the loader by pin, so the
//! sizes here are only the smallest the verifier needs: see
//! `firewall-userspace/src/kernel/maps.rs` for the real ones. Maps marked
//! *shared* outlive generations and the agent; `TABLES` and `PASSES` belong to
//! one generation.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, PerCpuArray, ProgramArray, RingBuf};
use firewall_common::abi::ban::FILTER_WORDS;
use firewall_common::abi::control::{Control, Word};
use firewall_common::abi::counter::Cpu;
use firewall_common::abi::opening::Opening;
use firewall_common::abi::scratch::{Scratch, stage};
use firewall_common::abi::tables::Setting;
use firewall_common::packet::Packet;
use firewall_common::passes::{self, Pass};
use firewall_common::verdict::Decision;
use firewall_common::{fragment, guard, request};

/// The control word. Shared; written by user space.
#[map]
pub(crate) static CONTROL: Array<Control> = Array::with_max_entries(1, 0);

/// The compiled policy: one value of `Setting::TableWords` words.
#[map]
pub(crate) static TABLES: Array<u32> = Array::with_max_entries(1, 0);

/// What each CPU counts by outcome, and has sent of late: one value, a row per CPU. Shared;
/// written here, but for the indexes of interfaces.
#[map]
pub(crate) static CPUS: Array<Cpu> = Array::with_max_entries(1, 0);

/// Rule counters: one value, a row per CPU. Shared; written here.
#[map]
pub(crate) static RULES: Array<u64> = Array::with_max_entries(1, 0);

/// Request counters: one value, a row per CPU. Shared; written here.
#[map]
pub(crate) static REQUESTS: Array<u64> = Array::with_max_entries(1, 0);

/// Flows this host opened: one value, see `firewall_common::abi::flow`. Shared; written
/// at egress and by seeding. Full: a flow that was silent for long enough gives way, else
/// the new one is refused.
#[map]
pub(crate) static FLOWS: Array<u64> = Array::with_max_entries(1, 0);

/// Token buckets for new flows: one value, a row per CPU. Shared; written at egress.
#[map]
pub(crate) static FLOW_RATES: Array<u64> = Array::with_max_entries(1, 0);

/// When each local port last had a flow. Shared; written where flows are.
#[map]
pub(crate) static FLOW_PORTS: Array<[u32; FLOW_PORTS_LEN]> = Array::with_max_entries(1, 0);

const FLOW_PORTS_LEN: usize = firewall_common::abi::flow::FLOW_PORTS as usize;

/// What a CPU let out a moment ago: one value, a row per CPU. Of the programs of one slot; written here.
#[map]
pub(crate) static PASSES: Array<[Pass; PASSES_LEN]> = Array::with_max_entries(1, 0);

const PASSES_LEN: usize = passes::PLACES as usize;

/// Which sources a ban may hold for. Shared; written by user space.
#[map]
pub(crate) static BAN_FILTER: Array<[u64; BAN_FILTER_LEN]> = Array::with_max_entries(1, 0);

const BAN_FILTER_LEN: usize = 3 * FILTER_WORDS as usize;

/// The two tables of bans, each a map of buckets: user space makes an array of maps of
/// it. Shared; written by user space, hits here. Full: a larger one takes its place.
#[map]
pub(crate) static BANS: Array<u32> = Array::with_max_entries(2, 0);

/// What is let in for a while. Shared; written by user space.
#[map]
pub(crate) static OPENINGS: Array<[Opening; OPENINGS_LEN]> = Array::with_max_entries(1, 0);

const OPENINGS_LEN: usize = firewall_common::abi::opening::OPENINGS;

/// Token buckets of the baseline. Shared; written here. Colliding sources share.
#[map]
pub(crate) static GUARDS: Array<[u64; guard::SLOTS as usize]> = Array::with_max_entries(1, 0);

/// Verdicts of first fragments. Shared; written here. The newest has the slot.
#[map]
pub(crate) static FRAGMENTS: Array<[u64; fragment::SLOTS as usize]> = Array::with_max_entries(1, 0);

/// What request counting keeps of a connection: one value. Shared; written here, for tuples
/// with a socket only. Full: the least recently used gives way, which costs a count at most.
#[map]
pub(crate) static REQUEST_FLOWS: Array<[request::Bucket; REQUEST_FLOWS_LEN]> =
    Array::with_max_entries(1, 0);

const REQUEST_FLOWS_LEN: usize = request::BUCKETS as usize;

/// Sampled events. Shared; written here, read by the agent. Full: counted as
/// lost.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(4096, 0);

/// Generations' `judge_xdp`. Shared; written by user space.
#[map]
pub(crate) static JUDGES_XDP: ProgramArray = ProgramArray::with_max_entries(Word::SLOTS, 0);

/// Generations' `judge_ingress`. Shared; written by user space.
#[map]
pub(crate) static JUDGES_INGRESS: ProgramArray = ProgramArray::with_max_entries(Word::SLOTS, 0);

/// Generations' `judge_egress`. Shared; written by user space.
#[map]
pub(crate) static JUDGES_EGRESS: ProgramArray = ProgramArray::with_max_entries(Word::SLOTS, 0);

/// Generations' `answer_xdp`. Shared; written by user space.
#[map]
pub(crate) static ANSWERS_XDP: ProgramArray = ProgramArray::with_max_entries(Word::SLOTS, 0);

/// Generations' `answer_tc`. Shared; written by user space.
#[map]
pub(crate) static ANSWERS_TC: ProgramArray = ProgramArray::with_max_entries(Word::SLOTS, 0);

/// The programs of no generation at XDP, by [`stage`]. Shared; written by user space.
#[map]
pub(crate) static STAGES_XDP: ProgramArray = ProgramArray::with_max_entries(stage::COUNT, 0);

/// The same at TC.
#[map]
pub(crate) static STAGES_TC: ProgramArray = ProgramArray::with_max_entries(stage::COUNT, 0);

/// Settings of either slot, for programs of no generation. Shared; written by user
/// space.
#[map]
pub(crate) static GENERATIONS: Array<[[u32; Setting::COUNT]; Word::SLOTS as usize]> =
    Array::with_max_entries(1, 0);

/// Scratch of the run on this CPU, of no use to anyone else. Shared by the programs
/// of a run.
#[map]
pub(crate) static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// The scratch of this run.
#[inline(always)]
pub(crate) fn scratch() -> Option<&'static mut Scratch> {
    let scratch = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: this CPU's own, for the one run on it; global functions take it up
    // while their callers do not touch it.
    Some(unsafe { &mut *scratch })
}

/// The packet in the scratch of this run, where a caller has the rest of it in hand.
#[inline(always)]
pub(crate) fn scratch_packet() -> Option<&'static Packet> {
    let scratch = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: as above; nobody writes to it while a unit of its payload is read.
    Some(unsafe { &(*scratch).packet })
}

/// The decision itself, written to memory and read again: the verifier does not know
/// which one it is then, and checks what follows once instead of once for each.
///
/// The memory is handed in, because verifiers before Linux 6.14 believe that a look-up
/// can fail, and what the compiler leaves undefined where it cannot, they refuse.
#[inline(always)]
pub(crate) fn through_memory(place: &mut Decision, decision: Decision) -> Decision {
    let place = &raw mut *place;
    // SAFETY: this CPU's own scratch.
    unsafe { place.write_volatile(decision) };
    // SAFETY: as above; written just now.
    unsafe { place.read_volatile() }
}

/// The one value of a map that has one: its address, which the loader writes in
/// place of the map. No look-up, and nothing that could fail.
#[inline(always)]
pub(crate) fn value<T>(map: &'static Array<T>) -> *mut T {
    let value = anew((&raw const *map) as u64) as *mut T;
    // SAFETY: no value is at address 0. Who makes a reference of this would be asked.
    unsafe { core::hint::assert_unchecked(!value.is_null()) };
    value
}

/// A number through an instruction that is none, only a comment: the compiler does not look
/// through it.
macro_rules! unseen {
    ($number:expr, $class:ident $(, $pure:ident)?) => {{
        #[cfg(target_arch = "bpf")]
        {
            let mut number = $number;
            // SAFETY: no instruction at all.
            unsafe {
                core::arch::asm!(
                    "/* {0} */",
                    inout($class) number,
                    options($($pure,)? nomem, nostack, preserves_flags)
                );
            }
            number
        }
        #[cfg(not(target_arch = "bpf"))]
        $number
    }};
}

/// The number itself, in a way that the compiler cannot look through: it knows
/// the address for that of something else, or may compare one copy and use another,
/// of which the verifier knows no bound.
#[inline(always)]
pub(crate) fn opaque(number: u64) -> u64 {
    unseen!(number, reg, pure)
}

/// The number itself, made anew each time: the compiler would keep it, and on the stack,
/// where to load it once more costs one instruction.
#[inline(always)]
fn anew(number: u64) -> u64 {
    unseen!(number, reg)
}

/// Nothing, which the compiler takes for something else with each number: what stands on
/// either side of it here is not merged with what does elsewhere.
#[inline(always)]
pub(crate) fn apart<const NUMBER: u32>() {
    // SAFETY: no instruction at all, only a comment.
    #[cfg(target_arch = "bpf")]
    unsafe {
        core::arch::asm!("/* {0} */", const NUMBER, options(nomem, nostack, preserves_flags));
    }
}

/// A number below a mask that is no less, masked all the same: the compiler knows that
/// a port has 16 bits, verifiers before Linux 6.13 do not, once its bytes are swapped. In
/// 32 bits, which clears the upper half by the way.
#[inline(always)]
pub(crate) fn masked(number: u32, mask: u32) -> usize {
    (unseen!(number, wreg, pure) & mask) as usize
}

/// A setting, as an immediate number: the object holds a mark that names it, and
/// the loader puts the value in its place.
macro_rules! settings {
    ($($name:ident)*) => {
        #[inline(always)]
        pub(crate) fn setting(setting: Setting) -> u32 {
            match setting {
                $(Setting::$name => number::<{ Setting::$name.marked(Setting::MARK) }>(),)*
            }
        }

        /// The address of the table's word that a setting names, in the same way.
        #[inline(always)]
        pub(crate) fn table(first: Setting) -> *const u32 {
            match first {
                $(Setting::$name => immediate::<{ Setting::$name.marked(Setting::PLACE) }>() as *const u32,)*
            }
        }
    };
}

settings! {
    TableWords
    ServicesIngress
    ServicesEgress
    ServiceWords
    RootV4
    RootV6
    Blocks
    Compares
    Bitmap
    CellsIngress
    CellsEgress
    AddressClasses
    ServiceClassesIngress
    ServiceClassesEgress
    LocalIngress
    LocalEgress
    LocalClassesIngress
    LocalClassesEgress
    Ifaces
    IfaceClasses
    Vlans
    VlanClasses
    Flags
    FlagClasses
    RequestSlots
    RuleSlots
    Features
    PingPerSecond
    TcpIdleSeconds
    UdpIdleSeconds
    Generation
    Seed
    Cpus
    RequestSlotCount
    ReplyContext
    RowsIngress
    RowsEgress
    ColumnsIngress
    ColumnsEgress
    HostsV4
    HostsV6
    HostMaskV4
    HostMaskV6
    HostProbes
    Filter
    Probes
    StepsV4
    StepsV6
    FilterMask
    FilterNetworks
    CombinedIngress
    CombinedEgress
    FlowMask
    FlowSeed
    Hz
    LinesIngress
    LinesEgress
    SummariesIngress
    SummariesEgress
    WordBits
    PairMaskIngress
    PairMaskEgress
    ShapeIngress
    ShapeEgress
}

/// A number of which the loader leaves 32 bits.
#[inline(always)]
fn number<const MARKED: u64>() -> u32 {
    let value = immediate::<MARKED>();
    // SAFETY: the loader clears the upper half.
    unsafe { core::hint::assert_unchecked(u32::try_from(value).is_ok()) };
    value as u32
}

/// A 64-bit number, for which the loader puts another: set anew each time, as in [`anew`].
#[inline(always)]
fn immediate<const MARKED: u64>() -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let value: u64;
        // SAFETY: sets a register.
        unsafe {
            core::arch::asm!("{0} = {1} ll", out(reg) value, const MARKED, options(nomem, nostack, preserves_flags));
        }
        value
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        MARKED
    }
}
