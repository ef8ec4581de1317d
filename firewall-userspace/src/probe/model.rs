//! The datapath on the host: the same code over ordinary collections, for those
//! who may not run BPF programs.

use firewall_common::abi::ban::{Bucket, TableWord};
use firewall_common::abi::flow::FlowKey;
use firewall_common::abi::tables::Setting;
use firewall_common::ban::{Bans, FilterPart};
use firewall_common::flow::table::Slots;
use firewall_common::packet::{Address, Packet};
use firewall_common::pipeline::{self, Arrival, World};
use firewall_common::policy::{Context, MISSING, Settings, Tables};
use firewall_common::request::{self, Metric};
use firewall_common::time::Nanos;
use firewall_common::verdict::{Decision, Direction, Reason};
use firewall_common::{fragment, guard};
use firewall_policy::compile::Generation;
use firewall_policy::flows::FlowTable;

use crate::host::clock;
use crate::kernel::sandbox::Judged;

/// A generation with state of its own, on the host.
#[derive(Debug)]
pub(crate) struct Model {
    words: Vec<u32>,
    settings: [u32; Setting::COUNT],
    flows: FlowTable,
    guards: Vec<u64>,
    fragments: Vec<u64>,
    /// None are counted: no connection stands behind a probe.
    requests: request::Bucket,
    /// Outcome and rule counter of the packet that is being judged.
    counted: (Option<Reason>, Option<u32>),
}

/// Flows that a probe can open.
const FLOWS: u32 = 1024;

/// Jiffies in a second of the model's clock.
const HZ: u32 = 1000;

impl Model {
    /// Of a compiled policy.
    pub(crate) fn new(generation: &Generation) -> Self {
        let mut settings = generation.settings;
        // Where the kernel counts is none of the model's business.
        for setting in [Setting::RuleSlots, Setting::RequestSlotCount] {
            if let Some(slots) = settings.get_mut(setting as usize) {
                *slots = u32::MAX;
            }
        }
        if let Some(hz) = settings.get_mut(Setting::Hz as usize) {
            *hz = HZ;
        }
        Self {
            words: generation.words.clone(),
            settings,
            flows: FlowTable::new(FLOWS, 0),
            guards: vec![0; guard::SLOTS as usize],
            fragments: vec![0; fragment::SLOTS as usize],
            requests: request::Bucket::EMPTY,
            counted: (None, None),
        }
    }

    /// Judges a frame on an interface; 0 is one that no rule names.
    pub(crate) fn judge(&mut self, direction: Direction, frame: &[u8], ifindex: u32) -> Judged {
        let arrival = Arrival {
            direction,
            ifindex,
            tag: Context::UNTAGGED,
            segments: 1,
            length: u32::try_from(frame.len()).unwrap_or(u32::MAX),
        };
        self.counted = (None, None);
        let mut packet = Packet::EMPTY;
        let decision = pipeline::process(self, &frame, &arrival, &mut packet);
        let reason = decision.reason;
        debug_assert_eq!(self.counted.0, Some(reason));
        Judged { verdict: reason.verdict(), reason, slot: self.counted.1 }
    }

    /// Empties every table.
    pub(crate) fn forget(&mut self) {
        self.flows.clear();
        self.guards.fill(0);
        self.fragments.fill(0);
    }
}

impl Settings for Model {
    fn setting(&self, setting: Setting) -> u32 {
        self.settings.get(setting as usize).copied().unwrap_or(0)
    }
}

impl Tables for Model {
    fn word(&self, index: u32) -> u32 {
        self.words.get(index as usize).copied().unwrap_or(MISSING)
    }
}

/// Nobody is banned: a probe asks what the policy says.
impl Bans for Model {
    fn now(&self) -> Nanos {
        Nanos(u64::try_from(clock::monotonic().as_nanos()).unwrap_or(u64::MAX))
    }

    fn ban_lengths(&self) -> [u64; 3] {
        [0; 3]
    }

    fn ban_table(&self) -> TableWord {
        TableWord(0)
    }

    fn ban_seed(&self) -> u64 {
        0
    }

    fn ban_filter(&self, _: FilterPart, _: u32) -> u64 {
        0
    }

    fn ban_bucket(&mut self, _: TableWord, _: u32) -> Option<&mut Bucket> {
        None
    }
}

impl World for Model {
    fn flows(&mut self) -> impl Slots {
        &mut self.flows
    }

    fn flow_rate(&mut self) -> Option<&mut u64> {
        None
    }

    fn jiffies(&self) -> u64 {
        self.now().0 / (1_000_000_000 / u64::from(HZ))
    }

    fn flow_port(&mut self, _: u32) -> Option<&mut u32> {
        None
    }

    fn has_socket(&mut self, _: &FlowKey) -> bool {
        false
    }

    fn guard(&mut self, slot: u32) -> Option<&mut u64> {
        self.guards.get_mut(slot as usize)
    }

    fn fragment(&mut self, slot: u32) -> Option<&mut u64> {
        self.fragments.get_mut(slot as usize)
    }

    fn request_bucket(&mut self, _: u32) -> &mut request::Bucket {
        &mut self.requests
    }

    fn count(&mut self, decision: &Decision, _: u64, _: u64) {
        self.counted.0 = Some(decision.reason);
        self.counted.1 = decision.rule();
    }

    fn count_request(&mut self, _: u32, _: Metric, _: u64) {}

    fn keeps_back(&mut self, _: &Decision, _: impl FnOnce() -> Address) -> bool {
        false
    }

    fn event(&mut self, _: &Decision, _: &Packet) {}
}
