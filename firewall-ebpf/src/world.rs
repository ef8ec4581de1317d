//! The kernel's side of [`World`]: maps, helpers and clocks.

use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns, bpf_map_lookup_elem};
use firewall_common::abi::ban::{Bucket, FILTER_WORDS, TableWord};
use firewall_common::abi::control::{Control, Word};
use firewall_common::abi::counter::{METRICS, RuleCounter};
use firewall_common::abi::flow::FlowKey;
use firewall_common::abi::opening::{OPENINGS, Opening};
use firewall_common::abi::tables::Setting;
use firewall_common::ban::{Bans, FilterPart};
use firewall_common::flow::Clock;
use firewall_common::flow::table::{Opened, Part, Slots};
use firewall_common::lines::Classes;
use firewall_common::packet::{Address, Family, Packet};
use firewall_common::passes::{self, Pass};
use firewall_common::pipeline::{Arrival, World};
use firewall_common::policy::{MISSING, Settings, Tables};
use firewall_common::request;
use firewall_common::time::Nanos;
use firewall_common::verdict::{Decision, Direction, Reason, Verdict};

use crate::cpu::ThisCpu;
use crate::flows::{self, Flows};
use crate::frame::Hook;
use crate::{events, maps, outline, sockets};

/// State of one run of a program.
pub(crate) struct Kernel<'a, H, S> {
    /// The frame.
    pub(crate) frame: &'a H,
    /// What the hook knows of it.
    pub(crate) arrival: &'a Arrival,
    /// Settings of the generation that judges.
    pub(crate) settings: S,
    /// The decision's place in the scratch memory, for a stage that settles one.
    pub(crate) settled: Option<&'a mut Decision>,
    /// This CPU, once somebody has asked.
    pub(crate) cpu: Option<ThisCpu>,
}

impl<H, S> Kernel<'_, H, S> {
    /// This CPU.
    #[inline(always)]
    fn this_cpu(&mut self) -> Option<ThisCpu> {
        if self.cpu.is_none() {
            self.cpu = ThisCpu::ask();
        }
        self.cpu
    }
}

/// The tables and settings of the generation that this program belongs to.
#[derive(Clone, Copy)]
pub(crate) struct Words;

impl Settings for Words {
    #[inline(always)]
    fn setting(&self, setting: Setting) -> u32 {
        maps::setting(setting)
    }
}

/// The settings of a slot, for programs that belong to no generation.
#[derive(Clone, Copy)]
pub(crate) struct Slot(pub(crate) u32);

impl Settings for Slot {
    #[inline(always)]
    fn setting(&self, setting: Setting) -> u32 {
        let first = maps::masked(self.0, Word::SLOTS - 1) * Setting::COUNT;
        let settings = maps::value(&maps::GENERATIONS).cast::<u32>();
        // SAFETY: the value has `COUNT` words for each slot.
        let place = unsafe { settings.add(first + setting as usize) };
        // SAFETY: as above; user space writes a slot before it is in force.
        unsafe { place.read() }
    }
}

impl Tables for Words {
    #[inline(always)]
    fn word(&self, index: u32) -> u32 {
        let index = maps::opaque(u64::from(index));
        if index >= u64::from(maps::setting(Setting::TableWords)) {
            return MISSING;
        }
        // SAFETY: the value is `TableWords` words long: user space creates the
        // map by the setting, and the verifier checks one against the other.
        let place = unsafe { maps::value(&maps::TABLES).add(index as usize) };
        // SAFETY: as above.
        unsafe { place.read() }
    }

    #[inline(always)]
    fn words<const COUNT: usize>(&self, first: u32) -> Option<[u32; COUNT]> {
        let first = maps::opaque(u64::from(first));
        if first > u64::from(maps::setting(Setting::TableWords)) - COUNT as u64 {
            return None;
        }
        // SAFETY: as above.
        let place = unsafe { maps::value(&maps::TABLES).add(first as usize) };
        // SAFETY: as above.
        Some(unsafe { place.cast::<[u32; COUNT]>().read() })
    }

    #[inline(always)]
    fn at(&self, first: Setting, offset: u32) -> u32 {
        // SAFETY: where the verifier does not see that this is within the tables, it refuses
        // the program.
        let place = unsafe { maps::table(first).add(offset as usize) };
        // SAFETY: as above.
        unsafe { place.read() }
    }

    #[inline(always)]
    fn unseen(&self, number: u64) -> u64 {
        maps::opaque(number)
    }

    #[inline(always)]
    fn line_of_vectors(&self, direction: Direction, classes: Classes) -> u32 {
        let Classes { address, side, column } = classes;
        outline::line_of_vectors(direction as u32, address, side, column)
    }
}

impl<H: Hook, S: Settings> Settings for Kernel<'_, H, S> {
    #[inline(always)]
    fn setting(&self, setting: Setting) -> u32 {
        self.settings.setting(setting)
    }
}

impl<H: Hook> Tables for Kernel<'_, H, Words> {
    #[inline(always)]
    fn word(&self, index: u32) -> u32 {
        Words.word(index)
    }

    #[inline(always)]
    fn words<const COUNT: usize>(&self, first: u32) -> Option<[u32; COUNT]> {
        Words.words(first)
    }

    #[inline(always)]
    fn at(&self, first: Setting, offset: u32) -> u32 {
        Words.at(first, offset)
    }

    #[inline(always)]
    fn unseen(&self, number: u64) -> u64 {
        Words.unseen(number)
    }

    #[inline(always)]
    fn line_of_vectors(&self, direction: Direction, classes: Classes) -> u32 {
        Words.line_of_vectors(direction, classes)
    }
}

/// Jiffies since the machine has started, and a few.
#[inline(always)]
pub(crate) fn jiffies() -> u64 {
    // SAFETY: the helper only reads a counter.
    unsafe { bpf_jiffies64() }
}

/// The bans of this host.
pub(crate) struct SharedBans;

impl Bans for SharedBans {
    #[inline(always)]
    fn now(&self) -> Nanos {
        // SAFETY: the helper only reads a clock.
        Nanos(unsafe { bpf_ktime_get_coarse_ns() })
    }

    #[inline(always)]
    fn ban_lengths(&self) -> [u64; 3] {
        let control = control();
        let [low, high] = control.ban_v6_lengths;
        [control.ban_v4_lengths, low, high]
    }

    #[inline(always)]
    fn ban_table(&self) -> TableWord {
        // SAFETY: user space writes the word in one go, and it is read in one.
        TableWord(unsafe { (&raw const control().ban_table).read_volatile() })
    }

    #[inline(always)]
    fn ban_seed(&self) -> u64 {
        control().ban_seed
    }

    #[inline(always)]
    fn ban_filter(&self, part: FilterPart, word: u32) -> u64 {
        let index = part as usize * FILTER_WORDS as usize + maps::masked(word, FILTER_WORDS - 1);
        // SAFETY: the value has that many words.
        let word = unsafe { maps::value(&maps::BAN_FILTER).cast::<u64>().add(index) };
        // SAFETY: as above; user space writes whole words of it.
        unsafe { word.read() }
    }

    #[inline(always)]
    fn ban_bucket(&mut self, table: TableWord, number: u32) -> Option<&mut Bucket> {
        bucket(table, number)
    }

    #[inline(always)]
    fn ban_place(&mut self, source: Address, family: Family, length: u32) -> u32 {
        outline::ban_place(source.hi, source.lo, family as u32, length)
    }

    #[inline(always)]
    fn opaque(number: u64) -> u64 {
        maps::opaque(number)
    }
}

/// A bucket of a table of bans.
#[inline(always)]
fn bucket(table: TableWord, number: u32) -> Option<&'static mut Bucket> {
    let map = maps::BANS.get_ptr_mut(table.which())?;
    // SAFETY: what stands in an array of maps is a map, whose keys are numbers.
    let bucket = unsafe { bpf_map_lookup_elem(map.cast(), (&raw const number).cast()) };
    // SAFETY: a value of that map is a bucket; it stays readable until the program
    // ends, and user space writes whole words of it.
    unsafe { bucket.cast::<Bucket>().as_mut() }
}

impl<H: Hook, S: Settings> Bans for Kernel<'_, H, S> {
    #[inline(always)]
    fn now(&self) -> Nanos {
        SharedBans.now()
    }

    #[inline(always)]
    fn ban_lengths(&self) -> [u64; 3] {
        SharedBans.ban_lengths()
    }

    #[inline(always)]
    fn ban_table(&self) -> TableWord {
        SharedBans.ban_table()
    }

    #[inline(always)]
    fn ban_seed(&self) -> u64 {
        SharedBans.ban_seed()
    }

    #[inline(always)]
    fn ban_filter(&self, part: FilterPart, word: u32) -> u64 {
        SharedBans.ban_filter(part, word)
    }

    #[inline(always)]
    fn ban_bucket(&mut self, table: TableWord, number: u32) -> Option<&mut Bucket> {
        bucket(table, number)
    }

    #[inline(always)]
    fn ban_of(&mut self, source: Address, family: Family) -> u32 {
        outline::ban_of(source.hi, source.lo, family as u32)
    }

    #[inline(always)]
    fn opaque(number: u64) -> u64 {
        maps::opaque(number)
    }
}

/// Settings, and how what depends on them is best asked.
pub(crate) trait Generation: Settings {
    /// Whether a flow is known; notes the packet.
    fn sees_flow(&self, key: &FlowKey, direction: Option<Direction>) -> bool;
}

impl Generation for Words {
    /// On the spot: a call, and above all its return, take as long as all the rest.
    #[inline(always)]
    fn sees_flow(&self, key: &FlowKey, direction: Option<Direction>) -> bool {
        let clock = Clock::new(self, jiffies());
        flows::see(key.words(), Part::of(direction), &clock)
    }
}

impl Generation for Slot {
    #[inline(always)]
    fn sees_flow(&self, key: &FlowKey, direction: Option<Direction>) -> bool {
        flows::sees(key, direction, self.0)
    }
}

impl<H: Hook, S: Generation> World for Kernel<'_, H, S> {
    #[inline(always)]
    fn flows(&mut self) -> impl Slots {
        Flows
    }

    #[inline(always)]
    fn flow_rate(&mut self) -> Option<&mut u64> {
        flows::rate()
    }

    #[inline(always)]
    fn segments(&self, _: &Arrival) -> u32 {
        // Only here: the verifier would follow whether it is one all the way from the start.
        self.frame.segments()
    }

    #[inline(always)]
    fn jiffies(&self) -> u64 {
        jiffies()
    }

    #[inline(always)]
    fn sees_flow(&mut self, key: &FlowKey, direction: Option<Direction>) -> bool {
        self.settings.sees_flow(key, direction)
    }

    #[inline(always)]
    fn open_flow(&mut self, key: &FlowKey, slot: u32) -> Opened {
        flows::open(key, slot, self.setting(Setting::Generation))
    }

    #[inline(always)]
    fn pass(&mut self, hash: u64) -> Option<&mut Pass> {
        let cpu = self.this_cpu()?;
        // SAFETY: the value has a row for each CPU.
        let row = unsafe { maps::value(&maps::PASSES).add(cpu.number as usize) };
        // SAFETY: a row has as many places as these bits can name.
        let place = unsafe { row.cast::<Pass>().add(passes::place(hash)) };
        // SAFETY: as above; no other CPU writes this row.
        Some(unsafe { &mut *place })
    }

    #[inline(always)]
    fn control_word(&self) -> u64 {
        control().word
    }

    #[inline(always)]
    fn flow_port(&mut self, index: u32) -> Option<&mut u32> {
        Some(flows::port(index))
    }

    #[inline(always)]
    fn has_socket(&mut self, key: &FlowKey) -> bool {
        sockets::has_socket(self.frame.context(), key)
    }

    #[inline(always)]
    fn has_connection(&mut self, _: &FlowKey, _: &Packet) -> bool {
        // Both are what the global function makes of the scratch packet by itself.
        self.frame.has_connection()
    }

    #[inline(always)]
    fn openings(&self) -> Option<&[Opening; OPENINGS]> {
        openings()
    }

    #[inline(always)]
    fn settle(&mut self, decision: Decision) -> Decision {
        match &mut self.settled {
            Some(place) => maps::through_memory(place, decision),
            None => decision,
        }
    }

    #[inline(always)]
    fn guard(&mut self, slot: u32) -> Option<&mut u64> {
        // SAFETY: a map value, used by this run only until it ends.
        unsafe { &mut *maps::value(&maps::GUARDS) }.get_mut(slot as usize)
    }

    #[inline(always)]
    fn fragment(&mut self, slot: u32) -> Option<&mut u64> {
        // SAFETY: as above.
        unsafe { &mut *maps::value(&maps::FRAGMENTS) }.get_mut(slot as usize)
    }

    #[inline(always)]
    fn request_bucket(&mut self, number: u32) -> &mut request::Bucket {
        let buckets = maps::value(&maps::REQUEST_FLOWS).cast::<request::Bucket>();
        // SAFETY: the value has as many as a masked number can name.
        let bucket = unsafe { buckets.add(maps::masked(number, request::BUCKETS - 1)) };
        // SAFETY: as above; names are swapped, and any mixture of entries is valid: at worst it
        // costs a count.
        unsafe { &mut *bucket }
    }

    #[inline(always)]
    fn swap(word: &mut u64, old: u64, new: u64) -> bool {
        // SAFETY: a word of a map's value: there are no others here.
        unsafe { flows::compare_and_swap(&raw mut *word, old, new) }
    }

    #[inline(always)]
    fn count(&mut self, decision: &Decision, packets: u64, bytes: u64) {
        let Some(cpu) = self.this_cpu() else { return };
        // Read from the context only here: it would take a register from the start on.
        let chain = (self.frame.ifindex(), self.arrival.direction);
        cpu.count(chain, decision.reason, packets, bytes);
        // No map has as many slots as the one that stands for "no rule".
        let slot = maps::opaque(decision.cell.slot().into());
        let slots = u64::from(maps::setting(Setting::RuleSlots));
        if slot >= slots {
            return;
        }
        let rules = maps::value(&maps::RULES).cast::<RuleCounter>();
        let rule = row(rules, u64::from(cpu.number) * slots + slot);
        rule.packets += packets;
        rule.bytes += bytes;
        if decision.new_flow {
            rule.new_flows += 1;
        }
    }

    #[inline(always)]
    fn count_request(&mut self, request_slot: u32, metric: request::Metric, added: u64) {
        let slots = maps::setting(Setting::RequestSlotCount);
        if request_slot >= slots {
            return;
        }
        let Some(ThisCpu { number: cpu, .. }) = ThisCpu::ask() else { return };
        let counters = maps::value(&maps::REQUESTS);
        let metric = metric as u32 & (METRICS - 1);
        *row(counters, ((cpu * slots + request_slot) * METRICS + metric).into()) += added;
    }

    #[inline(always)]
    fn keeps_back(&mut self, decision: &Decision, source: impl FnOnce() -> Address) -> bool {
        let Some(cpu) = self.this_cpu() else { return false };
        events::keeps_back(cpu, decision, || (self.setting(Setting::Seed), source()))
    }

    #[inline(always)]
    fn event(&mut self, decision: &Decision, packet: &Packet) {
        let (seed, generation) = (self.setting(Setting::Seed), self.setting(Setting::Generation));
        events::sample(self.arrival, *decision, packet, (seed, generation));
    }
}

/// The control word and its companions.
#[inline(always)]
pub(crate) fn control() -> &'static Control {
    // SAFETY: a map value; user space writes whole words of it.
    unsafe { &*maps::value(&maps::CONTROL) }
}

/// The openings, if any place is in use: on most hosts there is none most of the time.
#[inline(always)]
pub(crate) fn openings() -> Option<&'static [Opening; OPENINGS]> {
    if control().openings == 0 {
        return None;
    }
    // SAFETY: a map value; user space writes whole words of it.
    Some(unsafe { &*maps::value(&maps::OPENINGS) })
}

/// A record of this CPU's row of counters.
#[inline(always)]
fn row<T>(counters: *mut T, index: u64) -> &'static mut T {
    // The sum as it is: the compiler would add each part of it to the address by itself.
    let index = maps::opaque(index) as usize;
    // SAFETY: row and slot were checked against the settings by which user space
    // made the value; the verifier checks one against the other.
    let counter = unsafe { counters.add(index) };
    // SAFETY: as above; no other CPU writes this row.
    unsafe { &mut *counter }
}

/// Counts a packet that no generation judged.
#[inline(always)]
pub(crate) fn count(arrival: &Arrival, reason: Reason) -> Verdict {
    if let Some(cpu) = ThisCpu::ask() {
        let chain = (arrival.ifindex, arrival.direction);
        cpu.count(chain, reason, arrival.segments.into(), arrival.length.into());
    }
    reason.verdict()
}
