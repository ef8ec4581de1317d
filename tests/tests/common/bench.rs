//! One policy on two machines: the BPF programs, with maps of their own, and the
//! same code on the host.

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};
use firewall_common::abi::ban::{Ban, BanKey};
use firewall_common::abi::flow::{Flow, FlowKey, RATE_WORDS};
use firewall_common::abi::opening::{OPENINGS, Opening};
use firewall_common::pipeline::Arrival;
use firewall_common::policy::Context;
use firewall_common::time::Nanos;
use firewall_common::verdict::{Decision, Verdict};
use firewall_policy::compile::Generation;
use firewall_policy::world::HostWorld;
use firewall_tests::gate;
use firewall_userspace::kernel::sandbox::{Hook, Sandbox};
use firewall_userspace::kernel::sys::Mapping;
use firewall_userspace::kernel::{clock, maps};

/// The two machines, with the same policy and the same state.
pub(crate) struct Bench {
    pub(crate) generation: Generation,
    pub(crate) kernel: Sandbox,
    pub(crate) host: HostWorld,
    guards: Mapping,
    fragments: Mapping,
    rates: Mapping,
}

/// What the machines made of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) kernel: Verdict,
    pub(crate) host: Decision,
}

impl Bench {
    pub(crate) fn new(generation: Generation) -> Result<Self> {
        gate::bpf()?;
        let kernel = Sandbox::new(&generation)?;
        Ok(Self {
            host: HostWorld::new(&generation),
            guards: kernel.value("GUARDS")?,
            fragments: kernel.value("FRAGMENTS")?,
            rates: kernel.value("FLOW_RATES")?,
            kernel,
            generation,
        })
    }

    /// Puts a frame, which stands for that many on the wire, to both. The host's
    /// clock is set to the kernel's before.
    pub(crate) fn judge(&mut self, hook: Hook, frame: &[u8], segments: u32) -> Result<Judged> {
        self.host.now = Nanos(clock::monotonic_ns());
        let context = (segments > 1).then(|| super_packet(segments));
        let kernel = self
            .kernel
            .run_as(hook, frame, context.as_ref().map(<[u8; _]>::as_slice), 1)
            .with_context(|| format!("at {hook:?}, {} bytes", frame.len()))?;
        let mut length = u32::try_from(frame.len())?;
        if hook == Hook::Xdp {
            length = length.min(u32::try_from(LINEAR)?);
        }
        let (direction, tag) = (hook.direction(), Context::UNTAGGED);
        let arrival = Arrival { direction, ifindex: LOOPBACK, tag, segments, length };
        Ok(Judged { kernel, host: self.host.judge(&arrival, frame) })
    }

    /// Whether both know the same flows; what the other does not, if not.
    pub(crate) fn check_flows(&self) -> Result<()> {
        let known = |(key, flow): (FlowKey, Flow)| (key, (flow.slot, flow.flags));
        let kernel: HashMap<_, _> = self.kernel.flows()?.iter().map(known).collect();
        let host: HashMap<_, _> = self.host.flows.iter(&self.host.clock()).map(known).collect();
        ensure!(kernel == host, "flows of the kernel: {kernel:#?}\nof the host: {host:#?}");
        Ok(())
    }

    /// Forgets flows, bans, openings, fragments and guards, on both.
    pub(crate) fn reset(&mut self) -> Result<()> {
        self.forget_guards();
        for cpu in 0..maps::cpus()? as usize {
            self.rates.set_word(cpu * RATE_WORDS as usize, 0);
        }
        for slot in std::mem::take(&mut self.host.fragments).into_keys() {
            self.fragments.set_word(slot as usize, 0);
        }
        self.kernel.forget_flows()?;
        self.host.forget_flows();
        self.kernel.lift_bans()?;
        self.host.lift_bans();
        if self.host.openings[0].until_ns != 0 {
            self.host.openings = [Opening::FREE; OPENINGS];
            self.kernel.open(&[])?;
        }
        Ok(())
    }

    /// Fills every token bucket again, on both.
    pub(crate) fn forget_guards(&mut self) {
        for slot in std::mem::take(&mut self.host.guards).into_keys() {
            self.guards.set_word(slot as usize, 0);
        }
    }

    /// Puts an opening at the next free place, on both.
    pub(crate) fn open(&mut self, opening: Opening) -> Result<()> {
        let is_free = |place: &&mut Opening| place.until_ns == 0;
        let place = self.host.openings.iter_mut().find(is_free).context("no place is free")?;
        *place = opening;
        let taken = |place: &&Opening| place.until_ns != 0;
        let all: Vec<Opening> = self.host.openings.iter().filter(taken).copied().collect();
        self.kernel.open(&all)
    }

    /// Bans a network, on both.
    pub(crate) fn ban(&mut self, key: BanKey, ban: Ban) -> Result<()> {
        self.host.ban(key, ban.until_ns);
        self.kernel.ban(key, ban)
    }
}

/// Bytes of a frame that an XDP program reads directly in a test run: a page, less
/// 256 in front and `struct skb_shared_info` behind. The rest comes in other pages.
pub(crate) const LINEAR: u64 = 4096 - 256 - 320;

/// Index of `lo`, by which frames come and go unless their context says otherwise.
const LOOPBACK: u32 = 1;

/// `struct __sk_buff` of `linux/bpf.h`, in which nothing is set but `gso_segs`.
fn super_packet(segments: u32) -> [u8; 192] {
    let mut context = [0; 192];
    context[164..168].copy_from_slice(&segments.to_ne_bytes());
    context
}
