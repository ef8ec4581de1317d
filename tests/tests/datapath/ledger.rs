//! A case: one frame, and exactly the counters that it must move.
//!
//! Each case is put to every hook that it names and, with the same state, to the
//! same code on the host. What moved is compared counter by counter, so that a
//! packet counted twice, or under another name, is found wherever it happens.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use firewall_common::abi::ban::{Ban, BanKey};
use firewall_common::abi::flow::FlowKey;
use firewall_common::abi::opening::Opening;
use firewall_common::request::Metric;
use firewall_common::time::Nanos;
use firewall_common::verdict::{Reason, Verdict};
use firewall_policy::compile::Generation;
use firewall_tests::packet::Frame;
use firewall_userspace::kernel::sandbox::Hook;
use firewall_userspace::kernel::{bans, clock, openings};

use crate::common::bench::Bench;
use crate::moves::{self, Moves};

/// The first hook for what arrives.
pub(crate) const XDP: &[Hook] = &[Hook::Xdp];
/// Both hooks for what arrives.
pub(crate) const INGRESS: &[Hook] = &[Hook::Xdp, Hook::TcIngress];
/// The hook for what leaves.
pub(crate) const EGRESS: &[Hook] = &[Hook::TcEgress];
/// The second hook for what arrives, which sees super-packets.
pub(crate) const TC_INGRESS: &[Hook] = &[Hook::TcIngress];
/// The hooks that see super-packets.
pub(crate) const TC: &[Hook] = &[Hook::TcIngress, Hook::TcEgress];
/// All of them.
pub(crate) const EVERYWHERE: &[Hook] = &[Hook::Xdp, Hook::TcIngress, Hook::TcEgress];

/// One frame, the state it meets, and what must come of it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) what: String,
    hooks: &'static [Hook],
    pub(crate) frame: Vec<u8>,
    segments: u32,
    flows: Vec<(FlowKey, u32, Duration)>,
    bans: Vec<(BanKey, u64)>,
    openings: Vec<Opening>,
    expect: Expect,
}

/// A frame as it is, or as its layers make it.
pub(crate) trait Bytes {
    /// All of its bytes.
    fn all(self) -> Vec<u8>;
}

impl Bytes for Vec<u8> {
    fn all(self) -> Vec<u8> {
        self
    }
}

impl Bytes for Frame {
    fn all(self) -> Vec<u8> {
        self.bytes()
    }
}

/// What must come of a frame.
#[derive(Clone, Debug)]
pub(crate) struct Expect {
    verdict: Verdict,
    reason: Reason,
    rule: Option<&'static str>,
    opens: bool,
    bytes: Option<u64>,
    requests: Vec<(Metric, u64)>,
}

/// It passes, for this reason.
pub(crate) fn pass(reason: Reason) -> Expect {
    let verdict = Verdict::Pass;
    Expect { verdict, reason, rule: None, opens: false, bytes: None, requests: Vec::new() }
}

/// It is dropped, for this reason.
pub(crate) fn drop(reason: Reason) -> Expect {
    Expect { verdict: Verdict::Drop, ..pass(reason) }
}

/// The rule of this name allows it.
pub(crate) fn allowed(rule: &'static str) -> Expect {
    pass(Reason::Rule).by(rule)
}

/// The rule of this name denies it.
pub(crate) fn denied(rule: &'static str) -> Expect {
    drop(Reason::Deny).by(rule)
}

impl Expect {
    /// The rule of this name counts it.
    pub(crate) fn by(self, rule: &'static str) -> Self {
        Self { rule: Some(rule), ..self }
    }

    /// The rule counts a new flow, too.
    pub(crate) fn opens(self) -> Self {
        Self { opens: true, ..self }
    }

    /// Bytes counted, if other than the frame's.
    pub(crate) fn bytes(self, bytes: u64) -> Self {
        Self { bytes: Some(bytes), ..self }
    }

    /// The rule's request counters.
    pub(crate) fn requests(self, requests: &[(Metric, u64)]) -> Self {
        Self { requests: requests.to_vec(), ..self }
    }
}

impl Case {
    pub(crate) fn new(
        what: impl Into<String>,
        hooks: &'static [Hook],
        frame: impl Bytes,
        expect: Expect,
    ) -> Self {
        Self {
            what: what.into(),
            hooks,
            frame: frame.all(),
            segments: 1,
            flows: Vec::new(),
            bans: Vec::new(),
            openings: Vec::new(),
            expect,
        }
    }

    /// The frame is a super-packet of that many on the wire; TC only.
    pub(crate) fn segments(self, segments: u32) -> Self {
        Self { segments, ..self }
    }

    /// This host has opened this flow.
    pub(crate) fn flow(self, key: FlowKey) -> Self {
        self.flow_as(key, 0, Duration::ZERO)
    }

    /// As above, with these flags, and the last packet so long ago.
    pub(crate) fn flow_as(mut self, key: FlowKey, flags: u32, idle: Duration) -> Self {
        self.flows.push((key, flags, idle));
        self
    }

    /// Part of the service space is open to a network, for good.
    pub(crate) fn opened(self, network: &str, services: (u32, u32)) -> Self {
        self.opened_until(network, services, u64::MAX)
    }

    /// As above; it has ended.
    pub(crate) fn opened_before(self, network: &str, services: (u32, u32)) -> Self {
        self.opened_until(network, services, 1)
    }

    fn opened_until(mut self, network: &str, services: (u32, u32), until_ns: u64) -> Self {
        let (address, length) = network.split_once('/').unwrap_or((network, ""));
        let network = address.parse().ok().zip(length.parse().ok());
        // As with bans, a misspelt one is noticed.
        self.openings.extend(
            network.map(|network| openings::opening(network, services, "test", (0, until_ns))),
        );
        self
    }

    /// This network, `192.0.2.0/24`, is banned for good.
    pub(crate) fn ban(self, network: &str) -> Self {
        self.ban_until(network, u64::MAX)
    }

    /// This network was banned, and is no more.
    pub(crate) fn expired_ban(self, network: &str) -> Self {
        self.ban_until(network, 1)
    }

    fn ban_until(mut self, network: &str, until_ns: u64) -> Self {
        let (address, length) = network.split_once('/').unwrap_or((network, ""));
        let address: Option<IpAddr> = address.parse().ok();
        // A misspelt ban bans nobody, which the case will notice.
        self.bans.extend(
            address
                .zip(length.parse().ok())
                .map(|(address, length)| (bans::key(address, length), until_ns)),
        );
        self
    }

    /// Runs the case on each of its hooks, with nothing but the state it names.
    pub(crate) fn check(&self, bench: &mut Bench) -> Result<()> {
        for hook in self.hooks {
            bench.reset()?;
            self.check_at(bench, *hook)?;
        }
        Ok(())
    }

    /// Runs the case on each of its hooks, on top of what happened before.
    pub(crate) fn check_on(&self, bench: &mut Bench) -> Result<()> {
        self.hooks.iter().try_for_each(|hook| self.check_at(bench, *hook))
    }

    fn check_at(&self, bench: &mut Bench, hook: Hook) -> Result<()> {
        bench.host.now = Nanos(clock::monotonic_ns());
        for &(key, flags, idle) in &self.flows {
            let uptime = Duration::from_nanos(bench.host.now.0);
            ensure!(uptime > idle, "this machine is not up for as long as the flow is idle");
            bench.host.write_flow(key, flags, idle);
            bench.kernel.write_flow(key, flags, idle)?;
        }
        for &(key, until_ns) in &self.bans {
            bench.ban(key, Ban { until_ns, since_ns: 0, hits: 0, reason: [0; 40] })?;
        }
        for opening in &self.openings {
            bench.open(*opening)?;
        }
        bench.host.counted = firewall_policy::world::Counted::default();
        let flows = bench.host.flows.len();
        let before = bench.kernel.ledger();
        let judged = bench.judge(hook, &self.frame, self.segments)?;
        let generation = &bench.generation;
        let mut kernel = moves::of_kernel(generation, &before, &bench.kernel.ledger());
        let mut host = moves::of_host(generation, &bench.host.counted);
        kernel.insert(format!("verdict {:?}", judged.kernel), 1);
        host.insert(format!("verdict {:?}", judged.host.reason.verdict()), 1);
        let expected = self.moves(generation, hook)?;
        if kernel == expected && host == expected {
            return self
                .check_flows(bench, hook, flows)
                .with_context(|| format!("{}, at {hook:?}", self.what));
        }
        bail!("{}, at {hook:?}\n{}", self.what, table(&expected, &kernel, &host));
    }

    /// Both know the same flows, and a new one only if this host has opened it.
    fn check_flows(&self, bench: &Bench, hook: Hook, before: usize) -> Result<()> {
        let may =
            self.expect.opens || matches!(self.expect.reason, Reason::Ping | Reason::DefaultAllow);
        let may = may && hook == Hook::TcEgress;
        ensure!(may || bench.host.flows.len() == before, "a flow was written");
        bench.check_flows()
    }

    /// The counters that must move, by name.
    fn moves(&self, generation: &Generation, hook: Hook) -> Result<Moves> {
        let Expect { verdict, reason, rule, opens, bytes, requests } = &self.expect;
        let direction = hook.direction();
        let packets = u64::from(self.segments);
        let bytes = bytes.unwrap_or(self.frame.len() as u64);
        let mut moves = Moves::new();
        moves.insert(format!("verdict {verdict:?}"), 1);
        moves.extend(moves::traffic(&moves::outcome(direction, *reason), packets, bytes));
        if let Some(name) = rule {
            let named = |info: &&firewall_policy::compile::RuleInfo| {
                info.name == *name && moves::is(info.direction, direction)
            };
            let info = generation.rules.iter().find(named).context("no such rule in the policy")?;
            let rule = moves::rule(generation, info.slot);
            moves.extend(moves::traffic(&rule, packets, bytes));
            if *opens {
                moves.insert(format!("{rule}, new flows"), 1);
            }
            for (metric, count) in requests {
                moves.insert(format!("{rule}, {}", metric.name()), *count);
            }
        }
        Ok(moves)
    }
}

/// What should have moved and what did, for people.
fn table(expected: &Moves, kernel: &Moves, host: &Moves) -> String {
    let names: BTreeSet<&String> =
        expected.keys().chain(kernel.keys()).chain(host.keys()).collect();
    let mut text = format!("  {:<44} {:>9} {:>9} {:>9}\n", "counter", "expected", "kernel", "host");
    for name in names {
        let [expected, kernel, host] =
            [expected, kernel, host].map(|moves| moves.get(name).copied().unwrap_or(0));
        let mark = if expected == kernel && kernel == host { ' ' } else { '>' };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{mark} {name:<44} {expected:>9} {kernel:>9} {host:>9}");
    }
    text
}
