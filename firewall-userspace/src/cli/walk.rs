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

/// What the live maps hold, of which the sandbox knows nothing: bans, as first address
/// and prefix length, and openings.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Live<'a> {
    pub bans: &'a [(IpAddr, u8)],
    pub openings: &'a [Opening],
}

impl<'a> Live<'a> {
    /// The opening that admits a packet which is dropped by default, or one that it
    /// answers.
    fn opening(self, policy: &Policy, probe: &Probe, reason: Reason) -> Option<&'a Opening> {
        let by_default = matches!(
            reason,
            Reason::DefaultDrop | Reason::Noise | Reason::TcpNoFlow | Reason::Deny
        );
        let asked = answered(probe).map_or_else(|| query(probe), |inbound| query(&inbound));
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

/// The inbound packet that a packet of this host would answer.
fn answered(probe: &Probe) -> Option<Probe> {
    let turned = match probe.transport {
        ir::Probe::Tcp(source, destination) if probe.established => {
            ir::Probe::Tcp(destination, source)
        }
        ir::Probe::Udp(source, destination) => ir::Probe::Udp(destination, source),
        _ => return None,
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
    let query = query(probe);
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
    let mut steps = steps(policy, probe, outcome, banned, &explanation);
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

fn query(probe: &Probe) -> Query<'static> {
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
    let context = Context::Packet { interface: "", vlan: probe.vlan, tcp_flags: flags };
    Query { direction: probe.direction, remote, local, service, context }
}

fn steps(
    policy: &Policy,
    probe: &Probe,
    outcome: &Outcome,
    banned: Option<&(IpAddr, u8)>,
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
        step("established", vec![established(probe, reason)], reason == Reason::Established),
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
mod tests {
    use firewall_policy::compile::SlotTable;
    use firewall_policy::source::MemoryFiles;
    use firewall_policy::{Options, Subject};

    use super::*;
    use crate::probe::engine::Engine;

    const ROLE: &str = "\
version: 1
role: web
default: { ingress: drop, egress: drop }
failsafe: { ingress: [] }
groups:
  app-servers:    [10.0.3.11, 10.0.3.12]
  resolvers:      [10.0.9.53]
  cloud-metadata: [169.254.169.254]
services:
  app-http: { tcp: 8080 }
  dns:      { udp: 53, tcp: 53 }
ingress:
  allow:
    - { name: http, from: 10.0.1.10, service: app-http }
egress:
  deny:
    - { name: no-cloud-metadata, to: cloud-metadata, service: all }
  allow:
    - { name: to-app, to: app-servers, service: app-http }
    - { name: dns, to: resolvers, service: dns }
";

    fn walk(probe: &Probe, bans: &[(IpAddr, u8)]) -> Walk {
        walk_with(probe, bans, &[])
    }

    fn walk_with(probe: &Probe, bans: &[(IpAddr, u8)], openings: &[Opening]) -> Walk {
        let files = MemoryFiles::new().with("rules/web.yaml", ROLE);
        let subject = Subject::File("rules/web.yaml".into());
        let loaded = firewall_policy::load(&files, &subject, &Options::default())
            .unwrap_or_else(|report| panic!("{report}"));
        let generation = crate::candidate::compile(
            &loaded.policy,
            &crate::candidate::Pinned::default(),
            &mut SlotTable::default(),
        )
        .unwrap();
        let outcome = Engine::model(&generation).ask(probe).unwrap();
        of(&loaded.policy, probe, &outcome, Live { bans, openings })
    }

    fn probe(direction: Direction, from: &str, to: &str, port: u16) -> Probe {
        Probe {
            direction,
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            transport: ir::Probe::Tcp(50_000, port),
            established: false,
            vlan: None,
            fragment: false,
        }
    }

    #[test]
    fn a_drop_by_default_names_what_came_near() {
        let probe = probe(Direction::Egress, "10.0.2.11", "10.0.3.12", 3306);
        let text = walk(&probe, &[]).text(&probe, "ran the model");
        assert_eq!(
            text,
            "\
DROP   default-out        rules/web.yaml:3  default: { ingress: drop, egress: drop }
  out 10.0.2.11:50000 → 10.0.3.12:3306 tcp; ran the model
  1 malformed     no
  2 failsafe      no match
  3 baseline      no match
  4 bans          not searched: bans are for what arrives
  5 established   no flow; not a reply (a SYN never is)
  6 deny          no-cloud-metadata: to 10.0.3.12 is not in cloud-metadata
  7 limits        no limited rule
  8 allow         to-app: port 3306 is not app-http (8080/tcp)         ← nearest
                  dns: no match
  9 default       egress: drop   ← decides
  The application sees: connect hangs, then times out.
"
        );
    }

    #[test]
    fn an_allow_names_its_rule() {
        let probe = probe(Direction::Egress, "10.0.2.11", "10.0.3.12", 8080);
        let walk = walk(&probe, &[]);
        assert_eq!(
            (walk.by.as_str(), walk.place.as_deref()),
            ("to-app", Some("rules/web.yaml:19"))
        );
        let text = walk.text(&probe, "ran the model");
        assert!(
            text.contains("8 allow         to-app: matches (rules/web.yaml:19)   ← decides"),
            "{text}"
        );
        assert!(!text.contains("sees"), "{text}");
    }

    #[test]
    fn a_ban_overrules_an_allow() {
        let probe = probe(Direction::Ingress, "10.0.1.10", "10.0.2.11", 8080);
        assert_eq!(walk(&probe, &[]).by, "http");
        let banned = walk(&probe, &[("10.0.1.0".parse().unwrap(), 24)]);
        assert_eq!((banned.by.as_str(), banned.verdict), ("banned", snapshot::Action::Drop));
        assert!(banned.steps.iter().any(|step| step.stage == "bans" && step.decided));
    }

    #[test]
    fn an_opening_decides_what_no_rule_does() {
        use crate::kernel::openings::opening;
        let from = ("198.51.100.0".parse().unwrap(), 24);
        let until = monotonic_ns() + 90_000_000_000;
        let open = [opening(from, (3306, 3306), "mysql", (0, until))];
        let comes = probe(Direction::Ingress, "198.51.100.7", "10.0.2.11", 3306);
        assert_eq!(walk(&comes, &[]).by, "default-in");
        let walked = walk_with(&comes, &[], &open);
        assert_eq!((walked.by.as_str(), walked.verdict), ("opening", snapshot::Action::Allow));
        let text = walked.text(&comes, "ran the model");
        assert!(text.starts_with("ALLOW  opening            firewall open list\n"), "{text}");
        let step = "9 default       mysql is open to 198.51.100.0/24, ";
        assert!(
            text.contains(step) && text.contains("left (firewall open list)   ← decides"),
            "{text}"
        );
        let answer = Probe {
            transport: ir::Probe::Tcp(3306, 50_000),
            established: true,
            ..probe(Direction::Egress, "10.0.2.11", "198.51.100.7", 0)
        };
        assert_eq!(walk(&answer, &[]).by, "default-out");
        let walked = walk_with(&answer, &[], &open);
        assert_eq!((walked.by.as_str(), walked.verdict), ("established", snapshot::Action::Allow));
        for other in [
            probe(Direction::Ingress, "198.51.101.7", "10.0.2.11", 3306),
            probe(Direction::Ingress, "198.51.100.7", "10.0.2.11", 3307),
            probe(Direction::Egress, "10.0.2.11", "198.51.100.7", 3306),
        ] {
            assert_eq!(walk_with(&other, &[], &open).verdict, snapshot::Action::Drop, "{other:?}");
        }
        let banned = walk_with(&comes, &[from], &open);
        assert_eq!(banned.by, "banned");
    }

    #[test]
    fn replies_are_explained_by_what_they_answer() {
        let opened = Probe {
            transport: ir::Probe::Tcp(8080, 50_000),
            established: true,
            ..probe(Direction::Ingress, "10.0.3.12", "10.0.2.11", 0)
        };
        let walk = walk(&opened, &[]);
        assert_eq!(walk.by, "established");
        assert!(walk.steps[4].decided && walk.steps[4].says[0].contains("may open"));
    }
}
