//! A packet's walk through the stages, in words.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use firewall_common::abi::opening::Opening;
use firewall_common::packet::tcp;
use firewall_common::service::{ServiceIndex, proto};
use firewall_common::verdict::Reason;
use firewall_policy::compile::List;
use firewall_policy::ir::{self, Action, Direction, Policy};
use firewall_policy::model::{self, Context, Query};
use firewall_policy::set::AddrSet;
use firewall_policy::source::Span;
use serde::Serialize;

use super::says::{effect, established, says};
use crate::collect::openings::{name, network};
use crate::kernel::clock::monotonic_ns;
use crate::probe::Probe;
use crate::probe::engine::Outcome;
use crate::report::snapshot::{self, Way};
use crate::report::units;
use crate::verify;

/// One stage, and what it said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Step {
    /// Its name.
    pub stage: &'static str,
    /// What it said, line by line.
    pub says: Vec<String>,
    /// Whether it decided.
    pub decided: bool,
}

/// The whole walk.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    /// What is done.
    pub verdict: snapshot::Action,
    /// Rule or built-in that decided.
    pub by: String,
    /// Why.
    pub reason: Reason,
    /// Where it is written.
    pub place: Option<String>,
    /// The text there.
    source: Option<String>,
    /// The stages, in the order in which they win.
    pub steps: Vec<Step>,
    /// What the sender notices.
    pub effect: Option<&'static str>,
}

/// What the sandbox knows nothing of: bans in the live maps, as first address and prefix
/// length, and openings; and the name of the interface that the packet passes, empty for one that
/// no rule names.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Live<'a> {
    pub bans: &'a [(IpAddr, u8)],
    pub openings: &'a [Opening],
    pub interface: &'a str,
}

impl<'a> Live<'a> {
    /// The opening that admits a packet which is dropped by default, or one that it
    /// answers.
    fn opening(self, policy: &Policy, probe: &Probe, reason: Reason) -> Option<&'a Opening> {
        let by_default = matches!(
            reason,
            Reason::DefaultDrop | Reason::Noise | Reason::TcpNoFlow | Reason::Deny
        );
        let inbound = answered(probe).filter(|_| probe.established || !is_tcp(probe));
        let asked = query(inbound.as_ref().unwrap_or(probe), self.interface);
        let ways_fit = asked.direction == Direction::Ingress && !probe.fragment;
        if !by_default || !ways_fit {
            return None;
        }
        let verdict = model::evaluate(policy, &asked);
        if verdict.rule.is_some() || verdict.action == Action::Allow {
            return None;
        }
        self.openings.iter().find(|opening| {
            let (address, length) = network(opening);
            AddrSet::network(address, length).contains(asked.remote)
                && (opening.first..=opening.last).contains(&asked.service.0)
        })
    }
}

const fn is_tcp(probe: &Probe) -> bool {
    matches!(probe.transport, ir::Probe::Tcp(..))
}

/// The inbound packet that a packet of this host would answer; ICMP has none.
fn answered(probe: &Probe) -> Option<Probe> {
    let turned = match probe.transport {
        ir::Probe::Tcp(source, destination) => ir::Probe::Tcp(destination, source),
        ir::Probe::Udp(source, destination) => ir::Probe::Udp(destination, source),
        ir::Probe::Proto(number) => ir::Probe::Proto(number),
        ir::Probe::Icmp(_) | ir::Probe::Icmpv6(_) => return None,
    };
    (probe.direction == Direction::Egress).then_some(Probe {
        direction: Direction::Ingress,
        from: probe.to,
        to: probe.from,
        transport: turned,
        ..*probe
    })
}

/// Follows a packet whose outcome is known.
pub(super) fn of(policy: &Policy, probe: &Probe, outcome: &Outcome, live: Live<'_>) -> Walk {
    let banned = live.bans.iter().find(|(network, length)| {
        probe.direction == Direction::Ingress
            && AddrSet::network(*network, *length).contains(probe.from)
    });
    // Bans stand in the live maps, not in those of the sandbox.
    let overruled = outcome.reason != Reason::Failsafe
        && !outcome.reason.is_malformed()
        && !outcome.reason.is_baseline();
    let banned = banned.filter(|_| overruled);
    let query = query(probe, live.interface);
    let explanation = model::explain(policy, &query);
    let chain = policy.chain(probe.direction);
    let opening = live.opening(policy, probe, outcome.reason).filter(|_| banned.is_none());
    // By an opening, a packet comes in, or answers what came in.
    let opened = opening.map(|opening| match probe.direction {
        Direction::Ingress => (Reason::Opening, opening),
        Direction::Egress => (Reason::Established, opening),
    });
    let outcome = &match opened {
        Some((reason, _)) => {
            Outcome { action: Action::Allow, reason, rule: None, way: outcome.way }
        }
        None => outcome.clone(),
    };
    let known = established(probe, outcome);
    let mut steps = steps(policy, probe, outcome, (banned, known), &explanation);
    if let Some((reason, opening)) = opened {
        let step = if reason == Reason::Opening { "default" } else { "established" };
        for step in steps.iter_mut().filter(|one| one.stage == step) {
            step.says = vec![opening_text(opening)];
            step.decided = true;
        }
    }
    let action = if banned.is_some() { Action::Drop } else { outcome.action };
    let span = match verify::rule_of(policy, probe.direction, outcome) {
        _ if banned.is_some() => None,
        Some(rule) => Some(&rule.span),
        None if outcome.by() == outcome.way.default_name() => Some(&chain.default_span),
        None => None,
    };
    Walk {
        verdict: verify::action(action),
        by: if banned.is_some() { "banned".to_owned() } else { outcome.by() },
        reason: if banned.is_some() { Reason::Banned } else { outcome.reason },
        place: span.map(Span::place),
        source: span.map(written),
        effect: effect(probe, action),
        steps,
    }
}

/// An opening, in words.
fn opening_text(opening: &Opening) -> String {
    let (address, length) = network(opening);
    let left = opening.until_ns.saturating_sub(monotonic_ns());
    let left = units::age(Duration::from_nanos(left));
    let network = crate::banning::written(address, length);
    format!("{} is open to {network}, {left} left (firewall open list)", name(opening))
}

/// What is written somewhere, in one line; a lone word with the line around it.
fn written(span: &Span) -> String {
    let text = match span.text() {
        word if word.contains([' ', ':']) => word,
        _ => span.source.text.lines().nth(span.line() - 1).unwrap_or_default(),
    };
    let line: String = text.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

fn query<'a>(probe: &Probe, interface: &'a str) -> Query<'a> {
    let (remote, local) = match probe.direction {
        Direction::Ingress => (probe.from, probe.to),
        Direction::Egress => (probe.to, probe.from),
    };
    let (protocol, value, flags) = match probe.transport {
        ir::Probe::Tcp(_, port) => {
            (proto::TCP, port, if probe.established { tcp::ACK } else { tcp::SYN })
        }
        ir::Probe::Udp(_, port) => (proto::UDP, port, 0),
        ir::Probe::Icmp(kind) => (proto::ICMP, kind.into(), 0),
        ir::Probe::Icmpv6(kind) => (proto::ICMPV6, kind.into(), 0),
        ir::Probe::Proto(number) => (number, 0, 0),
    };
    let service = if probe.fragment {
        ServiceIndex(ServiceIndex::OTHER + u32::from(protocol))
    } else {
        ServiceIndex::of(protocol, value)
    };
    let context = Context::Packet { interface, vlan: probe.vlan, tcp_flags: flags };
    Query { direction: probe.direction, remote, local, service, context }
}

fn steps(
    policy: &Policy,
    probe: &Probe,
    outcome: &Outcome,
    (banned, known): (Option<&(IpAddr, u8)>, &'static str),
    explanation: &model::Explanation<'_>,
) -> Vec<Step> {
    let reason = outcome.reason;
    let step = |stage, says: Vec<String>, decided| Step { stage, says, decided };
    let one = |text: &str| vec![text.to_owned()];
    if reason.is_malformed() {
        return vec![step("malformed", one(reason.name()), true)];
    }
    let stage = |list| explanation.stages.iter().find(|stage| stage.list == list);
    let nearest = explanation.nearest.as_ref();
    let chain = policy.chain(probe.direction);
    let dropped = outcome.action == Action::Drop;
    let listed = |list| says(stage(list), nearest, model::rules(chain, list), probe, dropped);
    let decided =
        |list| outcome.rule.as_ref().is_some_and(|rule| rule.list == list) && banned.is_none();
    let built_in =
        reason.is_baseline() || matches!(reason, Reason::PingRate | Reason::IcmpErrorRate);
    let baseline = match built_in {
        true => one(reason.name()),
        false if policy.baseline.host => one("no match"),
        false => one("off"),
    };
    let bans = match (banned, probe.direction) {
        (Some((network, length)), _) => vec![crate::banning::written(*network, *length)],
        (None, Direction::Ingress) => one("no match"),
        (None, Direction::Egress) => one("not searched: bans are for what arrives"),
    };
    let default = verify::action(policy.chain(probe.direction).default).name();
    let way = Way::from(probe.direction).name();
    let by_default = outcome.rule.is_none() && outcome.by() == outcome.way.default_name();
    vec![
        step("malformed", one("no"), false),
        step("failsafe", listed(List::Failsafe), decided(List::Failsafe)),
        step("baseline", baseline, built_in),
        step("bans", bans, banned.is_some()),
        step("established", one(known), reason == Reason::Established),
        step("deny", listed(List::Deny), decided(List::Deny)),
        step("limits", one("no limited rule"), false),
        step("allow", listed(List::Allow), decided(List::Allow)),
        step("default", vec![format!("{way}: {default}")], by_default && banned.is_none()),
    ]
}

impl Walk {
    /// For people; `engine` says what ran.
    pub(super) fn text(&self, probe: &Probe, engine: &str) -> String {
        let verdict = self.verdict.name().to_uppercase();
        let built_in = match self.by.as_str() {
            "banned" => "firewall ban list",
            "opening" => "firewall open list",
            "established" => "built in",
            name if name.starts_with("malformed") => "built in, before every rule",
            _ => "built in: firewall show baseline",
        };
        let place = self.place.as_deref().unwrap_or(built_in);
        let source = self.source.as_deref().unwrap_or_default();
        let head = format!("{verdict:6} {:18} {place}  {source}", self.by);
        let mut text = format!("{}\n  {}; {engine}\n", head.trim_end(), probe.words());
        for (number, step) in (1..).zip(&self.steps) {
            for (line, says) in step.says.iter().enumerate() {
                let lead = if line == 0 {
                    format!("{number} {:13}", step.stage)
                } else {
                    format!("{:15}", "")
                };
                let mark = if step.decided && line == 0 { "   ← decides" } else { "" };
                let _ = writeln!(text, "  {lead} {says}{mark}");
            }
        }
        if let Some(effect) = self.effect {
            let _ = writeln!(text, "  {effect}");
        }
        text
    }
}

#[cfg(test)]
mod tests;
