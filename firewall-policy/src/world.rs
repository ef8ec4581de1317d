//! The datapath on the host: the very code that the BPF programs run, over
//! ordinary collections.
//!
//! Everything outside the packet and the policy is state that the caller sets:
//! the clock, the flows, the bans, the sockets. So a verdict can be worked out
//! without a kernel, and held against the kernel's.
//!
//! ```
//! # use firewall_policy::{Options, Subject, compile, load, source::MemoryFiles};
//! # use firewall_common::{abi::flow::FlowKey, time::Nanos, verdict::Reason};
//! # use firewall_policy::world::{self, HostWorld};
//! # let files = MemoryFiles::new().with(
//! #     "rules/dark.yaml",
//! #     "version: 1\nrole: dark\ndefault: { ingress: drop, egress: drop }\n\
//! #      services: { ssh: { tcp: 22 } }\n\
//! #      failsafe: { ingress: [{ name: ssh, from: 192.0.2.1, service: ssh }] }\n",
//! # );
//! # let subject = Subject::File("rules/dark.yaml".into());
//! # let policy = load(&files, &subject, &Options::default()).unwrap().policy;
//! # let environment = compile::Environment {
//! #     interfaces: Vec::new(), cpus: 1, generation_slot: 0, seed: 1,
//! #     budget: compile::Budget::USUAL,
//! #     told: None,
//! #     flows: None,
//! # };
//! # let slots = &mut compile::SlotTable::default();
//! # let generation = compile::compile(&policy, &environment, slots).unwrap();
//! let mut world = HostWorld::new(&generation);
//! world.now = Nanos::from_secs(1);
//! let mut frame = [0xff; 60];
//! frame[12..14].copy_from_slice(&0x0806_u16.to_be_bytes());
//! let decision = world.judge(&world::ingress(&frame), &frame);
//! assert_eq!(decision.reason, Reason::Arp);
//! ```

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use firewall_common::abi::ban::{BanKey, Bucket, FILTER_BYTES, FILTER_WORDS, SLOTS, TableWord};
use firewall_common::abi::counter::{RuleCounter, Traffic};
use firewall_common::abi::flow::{Flow, FlowKey};
use firewall_common::abi::opening::{OPENINGS, Opening};
use firewall_common::abi::tables::Setting;
use firewall_common::ban::write::{Memory, Writer};
use firewall_common::ban::{self, Bans, FilterPart};
use firewall_common::flow::Clock;
use firewall_common::flow::table::{self, Slots};
use firewall_common::packet::{Address, Packet};
use firewall_common::passes::{self, Pass};
use firewall_common::pipeline::{self, Arrival, World};
use firewall_common::policy::{Context, MISSING, Settings, Tables};
use firewall_common::request::{self, Metric};
use firewall_common::time::Nanos;
use firewall_common::verdict::{Decision, Direction, Reason};
use firewall_common::{flow, fragment, guard};

use crate::compile::Generation;
use crate::flows::FlowTable;

/// A generation, and everything else that a verdict depends on.
#[derive(Clone, Debug)]
pub struct HostWorld {
    words: Vec<u32>,
    settings: [u32; Setting::COUNT],
    /// The clock; it stands still until it is set again.
    pub now: Nanos,
    /// Flows this host opened.
    pub flows: FlowTable,
    /// The token bucket for flows that this host opens; full at first.
    pub flow_rate: u64,
    /// Words of `FLOW_PORTS` that are not zero.
    flow_ports: BTreeMap<u32, u32>,
    /// TCP sockets other than listening ones.
    pub sockets: HashSet<FlowKey>,
    /// Token buckets by slot; a slot that is not there is one never used.
    pub guards: BTreeMap<u32, u64>,
    /// Verdicts of first fragments by slot, as above.
    pub fragments: BTreeMap<u32, u64>,
    /// Connections whose requests are counted: buckets, by number.
    pub requests: HashMap<u32, request::Bucket>,
    /// Everything counted since this was last emptied.
    pub counted: Counted,
    /// What is let in for a while.
    pub openings: [Opening; OPENINGS],
    passes: Vec<Pass>,
    control_word: u64,
    bans: Buckets,
    /// Empty as long as nobody is banned.
    ban_filter: Vec<u64>,
    ban_lengths: [u64; 3],
    /// Common packets, too, are judged in full.
    pub in_full: bool,
    direction: Direction,
}

/// Flows of a host here.
const FLOWS: u32 = 1 << 15;

/// Jiffies in its seconds.
const HZ: u32 = 1000;

/// Counters, of those that have moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// By direction and reason.
    pub outcomes: HashMap<(Direction, Reason), Traffic>,
    /// By rule slot.
    pub rules: HashMap<u32, RuleCounter>,
    /// By request slot and metric.
    pub requests: HashMap<(u32, Metric), u64>,
    /// Packets that are worth an event; the kernel sends a sample of them.
    pub events: u64,
}

/// How a frame arrives from the wire: whole, untagged, by no interface in
/// particular.
#[must_use]
pub fn ingress(frame: &[u8]) -> Arrival {
    arrival(Direction::Ingress, frame)
}

/// How a frame leaves, as above.
#[must_use]
pub fn egress(frame: &[u8]) -> Arrival {
    arrival(Direction::Egress, frame)
}

/// How a frame comes or goes, as above.
#[must_use]
pub fn arrival(direction: Direction, frame: &[u8]) -> Arrival {
    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    Arrival { direction, ifindex: 0, tag: Context::UNTAGGED, segments: 1, length }
}

impl HostWorld {
    /// A host on which nothing has happened yet.
    #[must_use]
    pub fn new(generation: &Generation) -> Self {
        let mut settings = generation.settings;
        settings[Setting::Hz as usize] = HZ;
        let flows = FlowTable::new(FLOWS, settings[Setting::Seed as usize]);
        Self {
            words: generation.words.clone(),
            settings,
            now: Nanos::default(),
            flow_rate: u64::from(table::per_second(flows.mask())) * 1000,
            flows,
            flow_ports: BTreeMap::new(),
            sockets: HashSet::new(),
            guards: BTreeMap::new(),
            fragments: BTreeMap::new(),
            requests: HashMap::new(),
            counted: Counted::default(),
            openings: [Opening::FREE; OPENINGS],
            passes: vec![Pass::default(); passes::PLACES as usize],
            control_word: 1,
            bans: Buckets(Vec::new()),
            ban_filter: Vec::new(),
            ban_lengths: [0; 3],
            in_full: false,
            direction: Direction::Ingress,
        }
    }

    /// Judges and counts a frame.
    pub fn judge(&mut self, arrival: &Arrival, frame: &[u8]) -> Decision {
        self.direction = arrival.direction;
        let mut packet = Packet::EMPTY;
        if self.in_full {
            pipeline::in_full(self, &frame, arrival, &mut packet)
        } else {
            pipeline::process(self, &frame, arrival, &mut packet)
        }
    }

    /// The clock of flows.
    #[must_use]
    pub fn clock(&self) -> Clock {
        Clock::new(self, self.jiffies())
    }

    /// Writes a flow that was silent for so long, as seeding does.
    ///
    /// # Panics
    /// If it finds no place.
    pub fn write_flow(&mut self, key: FlowKey, flags: u32, silent: Duration) {
        if let Some(index) = flow::port_index(key.protocol, key.local_port) {
            self.flow_ports.insert(index, flow::STAMP_UNKNOWN);
        }
        let clock = self.clock();
        let seen = clock.before(silent);
        let flow = Flow { seen, opened: seen, slot: 0, flags };
        assert!(self.flows.insert(&key, &flow, &clock), "the table of flows is full");
    }

    /// Puts another policy in force.
    pub fn enforce(&mut self, generation: &Generation) {
        self.words.clone_from(&generation.words);
        self.settings = generation.settings;
        self.settings[Setting::Hz as usize] = HZ;
        self.forget_passes();
    }

    /// Forgets what it let out a moment ago.
    pub fn forget_passes(&mut self) {
        self.control_word += 1;
    }

    /// Forgets every flow.
    pub fn forget_flows(&mut self) {
        self.flows.clear();
        self.forget_passes();
    }

    /// Bans a network until a time in nanoseconds.
    ///
    /// # Panics
    /// If there are thousands.
    pub fn ban(&mut self, key: BanKey, until_ns: u64) {
        let (word, bit) = ban::length_bit(&key);
        self.ban_lengths[word] |= 1 << bit;
        self.bans.0.resize(BUCKETS as usize, Bucket::default());
        self.ban_filter.resize(FILTER_BYTES / 8, 0);
        for (part, word, bits) in ban::marks(BAN_SEED, ban::hash(BAN_SEED, &key), &key) {
            self.ban_filter[filter_word(part, word)] |= bits;
        }
        let (memory, table) = (&mut self.bans, TableWord::new(0, BUCKETS));
        let added = Writer { memory, table, seed: BAN_SEED }.insert(&key, ban::units(until_ns));
        assert!(added.is_some(), "more bans than this host can hold");
    }

    /// Lifts every ban.
    pub fn lift_bans(&mut self) {
        self.bans.0.clear();
        self.ban_filter.clear();
        self.ban_lengths = [0; 3];
    }
}

/// Where a word of the filter stands.
const fn filter_word(part: FilterPart, word: u32) -> usize {
    part as usize * FILTER_WORDS as usize + word as usize
}

/// Buckets of the table of bans, once there is one.
const BUCKETS: u32 = 1024;

/// What it is hashed by.
const BAN_SEED: u64 = 0x5eed;

/// The table of bans as words.
#[derive(Clone, Debug)]
struct Buckets(Vec<Bucket>);

impl Memory for Buckets {
    fn load(&self, word: usize) -> u64 {
        let slot = self.0[word / 16].slots[word / 4 % SLOTS as usize];
        [slot.head, slot.hi, slot.lo, slot.hits][word % 4]
    }

    fn store(&mut self, word: usize, value: u64) {
        let slot = &mut self.0[word / 16].slots[word / 4 % SLOTS as usize];
        *[&mut slot.head, &mut slot.hi, &mut slot.lo, &mut slot.hits][word % 4] = value;
    }
}

impl Settings for HostWorld {
    fn setting(&self, setting: Setting) -> u32 {
        self.settings[setting as usize]
    }
}

impl Tables for HostWorld {
    fn word(&self, index: u32) -> u32 {
        self.words.get(index as usize).copied().unwrap_or(MISSING)
    }
}

impl Bans for HostWorld {
    fn now(&self) -> Nanos {
        self.now
    }

    fn ban_lengths(&self) -> [u64; 3] {
        self.ban_lengths
    }

    fn ban_table(&self) -> TableWord {
        TableWord::new(0, if self.bans.0.is_empty() { 0 } else { BUCKETS })
    }

    fn ban_seed(&self) -> u64 {
        BAN_SEED
    }

    fn ban_filter(&self, part: FilterPart, word: u32) -> u64 {
        self.ban_filter.get(filter_word(part, word)).copied().unwrap_or_default()
    }

    fn ban_bucket(&mut self, _: TableWord, number: u32) -> Option<&mut Bucket> {
        self.bans.0.get_mut(number as usize)
    }
}

impl World for HostWorld {
    fn flows(&mut self) -> impl Slots {
        &mut self.flows
    }

    fn flow_rate(&mut self) -> Option<&mut u64> {
        Some(&mut self.flow_rate)
    }

    fn jiffies(&self) -> u64 {
        self.now.0 / (1_000_000_000 / u64::from(HZ))
    }

    fn pass(&mut self, hash: u64) -> Option<&mut Pass> {
        self.passes.get_mut(passes::place(hash))
    }

    fn control_word(&self) -> u64 {
        self.control_word
    }

    fn flow_port(&mut self, index: u32) -> Option<&mut u32> {
        Some(self.flow_ports.entry(index).or_default())
    }

    fn has_socket(&mut self, key: &FlowKey) -> bool {
        self.sockets.contains(key)
    }

    fn openings(&self) -> Option<&[Opening; OPENINGS]> {
        let any = self.openings.iter().any(|opening| opening.until_ns != 0);
        any.then_some(&self.openings)
    }

    fn guard(&mut self, slot: u32) -> Option<&mut u64> {
        (slot < guard::SLOTS).then(|| self.guards.entry(slot).or_default())
    }

    fn fragment(&mut self, slot: u32) -> Option<&mut u64> {
        (slot < fragment::SLOTS).then(|| self.fragments.entry(slot).or_default())
    }

    fn request_bucket(&mut self, number: u32) -> &mut request::Bucket {
        self.requests.entry(number).or_insert(request::Bucket::EMPTY)
    }

    fn count(&mut self, decision: &Decision, packets: u64, bytes: u64) {
        let outcome = self.counted.outcomes.entry((self.direction, decision.reason)).or_default();
        outcome.packets += packets;
        outcome.bytes += bytes;
        if let Some(slot) = decision.rule() {
            let rule = self.counted.rules.entry(slot).or_default();
            rule.packets += packets;
            rule.bytes += bytes;
            rule.new_flows += u64::from(decision.new_flow);
        }
    }

    fn count_request(&mut self, request_slot: u32, metric: Metric, add: u64) {
        *self.counted.requests.entry((request_slot, metric)).or_default() += add;
    }

    fn keeps_back(&mut self, _: &Decision, _: impl FnOnce() -> Address) -> bool {
        self.counted.events += 1;
        true
    }

    fn event(&mut self, _: &Decision, _: &Packet) {
        self.counted.events += 1;
    }
}
