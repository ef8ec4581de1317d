//! Sampled events: given names, aggregated, kept for those who ask later.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use firewall_common::abi::event::Event as Raw;
use firewall_common::packet::{Address, tcp};
use firewall_common::policy::Context;
use firewall_common::service::proto;
use firewall_common::verdict::{Reason, Verdict};
use firewall_policy::icmp;
use tokio::sync::broadcast;

use crate::collect::Known;
use crate::host::{clock, sockets};
use crate::kernel::store::interface_name;
use crate::probe::engine::builtin;
use crate::report::aggregate::Aggregator;
use crate::report::event::{Event, Line};
use crate::report::snapshot::{Action, Way};

/// Lines kept for those who ask later.
const KEPT: usize = 1_000;
/// Lines that a slow follower may be behind.
const BEHIND: usize = 512;
/// Look-ups of local processes in a window: each reads all of `/proc`.
const LOOKUPS: u32 = 2;

/// The stream of events.
pub(super) struct Log {
    kept: VecDeque<Line>,
    sender: broadcast::Sender<Line>,
    aggregator: Aggregator,
    lookups: u32,
    /// Kept back and lost, when the window began.
    before: (u64, u64),
    /// Events read so far.
    pub read: u64,
}

impl Log {
    /// An empty one; `before` is what was kept back and lost until now.
    pub(super) fn new(before: (u64, u64)) -> Self {
        let (sender, _) = broadcast::channel(BEHIND);
        let aggregator = Aggregator::default();
        Self { kept: VecDeque::new(), sender, aggregator, lookups: 0, before, read: 0 }
    }

    /// Takes an event from the kernel.
    pub(super) fn push(&mut self, raw: &Raw, known: Option<&Known>) {
        self.read += 1;
        let Some(mut line) = self.aggregator.push(name(raw, known)) else { return };
        if let Line::Packet(event) = &mut line
            && event.direction == Way::Egress
            && self.lookups < LOOKUPS
            && let (Some(from), Some(port)) = (event.from, event.from_port)
        {
            self.lookups += 1;
            event.process = sockets::process_of(raw.protocol, (from, port).into());
        }
        self.tell(line);
    }

    /// Ends a window; `kept_back` is what the kernel has not told so far, and
    /// lost.
    pub(super) fn close(&mut self, kept_back: (u64, u64)) {
        let suppressed = kept_back.0.saturating_sub(self.before.0);
        let lost = kept_back.1.saturating_sub(self.before.1);
        self.before = kept_back;
        self.lookups = 0;
        for line in self.aggregator.close(clock::unix_ms(), suppressed, lost) {
            self.tell(line);
        }
    }

    fn tell(&mut self, line: Line) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(line.clone());
        // Nobody follows: that is no error.
        let _followers = self.sender.send(line);
    }

    /// The last lines, oldest first.
    pub(super) fn last(&self, lines: usize) -> Vec<Line> {
        let skip = self.kept.len().saturating_sub(lines);
        self.kept.iter().skip(skip).cloned().collect()
    }

    /// The lines to come.
    pub(super) fn follow(&self) -> broadcast::Receiver<Line> {
        self.sender.subscribe()
    }
}

/// An event of the kernel in the words of the policy.
pub(crate) fn name(raw: &Raw, known: Option<&Known>) -> Event {
    let way = if raw.direction == 0 { Way::Ingress } else { Way::Egress };
    let reason = Reason::from_number(raw.reason);
    let verdict = match reason.map(Reason::verdict) {
        Some(Verdict::Pass) => Action::Allow,
        _ => Action::Drop,
    };
    let rule = known.and_then(|known| known.rule(raw.slot));
    let builtin = reason.map_or("unknown", |reason| builtin(reason, way));
    let (by, place) = match rule {
        Some((name, info)) => (name.to_owned(), Some(info.place.clone())),
        None => (builtin.to_owned(), None),
    };
    let ends = |halves: [u64; 2]| {
        let [hi, lo] = halves;
        let address = Address { hi, lo };
        match raw.family {
            4 => Some(IpAddr::V4(Ipv4Addr::from(address.v4()))),
            6 => Some(IpAddr::V6(Ipv6Addr::from(address.v6()))),
            _ => None,
        }
    };
    let ported = matches!(raw.protocol, proto::TCP | proto::UDP | proto::SCTP)
        && (raw.source_port, raw.destination_port) != (0, 0);
    let (protocol, detail) = protocol(raw);
    Event {
        time_ms: clock::wall_ms(raw.time_ns),
        verdict,
        direction: way,
        from: ends(raw.source),
        from_port: ported.then_some(raw.source_port),
        to: ends(raw.destination),
        to_port: ported.then_some(raw.destination_port),
        protocol,
        detail,
        by,
        reason: reason
            .map_or_else(|| format!("reason-{}", raw.reason), |reason| reason.name().to_owned()),
        place,
        interface: interface_name(raw.ifindex).unwrap_or_else(|_| format!("if{}", raw.ifindex)),
        vlan: (raw.vlan < Context::UNTAGGED).then_some(raw.vlan),
        length: raw.length,
        process: None,
    }
}

/// Protocol by name, and what else is worth saying of it.
fn protocol(raw: &Raw) -> (String, String) {
    if raw.family == 0 {
        return (format!("ethertype {:#06x}", raw.ethertype), String::new());
    }
    let kind = |is_v6| {
        let name = u8::try_from(raw.destination_port).ok();
        let name = name.and_then(|number| icmp::type_name(is_v6, number));
        name.map_or_else(|| format!("type {}", raw.destination_port), str::to_owned)
    };
    match raw.protocol {
        proto::TCP => ("tcp".to_owned(), flags(raw.tcp_flags)),
        proto::UDP => ("udp".to_owned(), String::new()),
        proto::SCTP => ("sctp".to_owned(), String::new()),
        proto::ICMP => ("icmp".to_owned(), kind(false)),
        proto::ICMPV6 => ("icmpv6".to_owned(), kind(true)),
        other => (format!("proto {other}"), String::new()),
    }
}

/// TCP flags by name, in the order in which people say them.
fn flags(byte: u8) -> String {
    let names = [
        (tcp::SYN, "SYN"),
        (tcp::FIN, "FIN"),
        (tcp::RST, "RST"),
        (tcp::PSH, "PSH"),
        (tcp::ACK, "ACK"),
        (tcp::URG, "URG"),
    ];
    let set: Vec<&str> =
        names.into_iter().filter(|(bit, _)| byte & bit != 0).map(|(_, name)| name).collect();
    set.join("+")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw() -> Raw {
        Raw {
            time_ns: 0,
            source: [u64::from(u32::from(Ipv4Addr::new(192, 0, 2, 55))) << 32, 0],
            destination: [u64::from(u32::from(Ipv4Addr::new(10, 0, 2, 11))) << 32, 0],
            slot: u32::MAX,
            ifindex: 1,
            length: 74,
            source_port: 40_112,
            destination_port: 80,
            ethertype: 0x0800,
            vlan: 0xffff,
            protocol: proto::TCP,
            family: 4,
            tcp_flags: tcp::SYN,
            reason: Reason::DefaultDrop as u8,
            direction: 0,
            generation: 0,
            reserved: [0; 6],
        }
    }

    #[test]
    fn numbers_become_names() {
        let event = name(&raw(), None);
        assert_eq!(event.ends(), "192.0.2.55:40112 → 10.0.2.11:80");
        assert_eq!((event.by.as_str(), event.reason.as_str()), ("default-in", "default-drop"));
        assert_eq!((event.interface.as_str(), event.vlan), ("lo", None));
        assert_eq!(format!("{} {}", event.protocol, event.detail), "tcp SYN");
        let odd = Raw { reason: 200, ifindex: 4_000_000, ..raw() };
        let event = name(&odd, None);
        assert_eq!((event.reason.as_str(), event.interface.as_str()), ("reason-200", "if4000000"));
        let icmp = Raw { protocol: proto::ICMP, destination_port: 8, ..raw() };
        let event = name(&icmp, None);
        assert_eq!((event.to_port, event.detail.as_str()), (None, "echo-request"));
    }

    #[test]
    fn a_flood_is_two_lines() {
        let mut log = Log::new((0, 0));
        for port in 1..1_000 {
            log.push(&Raw { source_port: port, ..raw() }, None);
        }
        log.close((500, 0));
        let lines = log.last(10);
        assert!(
            matches!(lines.as_slice(), [Line::Packet(_), Line::More(_), Line::Suppressed(_)]),
            "{lines:?}"
        );
        assert_eq!(log.last(1).len(), 1);
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut log = Log::new((0, 0));
        for port in 1..=1_200 {
            log.push(&Raw { destination_port: port, ..raw() }, None);
            log.close((0, 0));
        }
        assert_eq!(log.last(usize::MAX).len(), KEPT);
    }
}
