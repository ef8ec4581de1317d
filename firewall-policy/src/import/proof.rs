//! Tests for an imported file: packets of which the lines that were imported
//! say what becomes of them.
//!
//! The expected verdict is read from those lines, one by one, and not from the
//! rules that were made of them.

use std::fmt::Write as _;
use std::net::IpAddr;

use firewall_common::service::ServiceIndex;

use super::program::Program;
use super::space::{Boxed, Cast, interface, nowhere};
use super::walk;
use super::write::Written;
use crate::ir::{Action, Direction};
use crate::set::{AddrSet, ServiceSet};

/// Tests that a person still looks through.
const MOST: usize = 100;

/// The other end of a test packet, and this one, if a rule leaves the choice:
/// addresses of documentation (RFC 5737, RFC 3849).
const REMOTE: [&str; 4] = ["192.0.2.55", "198.51.100.55", "2001:db8:99::55", "2001:db8:98::55"];
const LOCAL: [&str; 4] = ["203.0.113.80", "192.0.2.80", "2001:db8:f00::80", "2001:db8:f01::80"];

/// Services that most hosts should not offer or use: what the default is tried with.
const OTHERS: [u32; 6] =
    [23, 6000, 4444, 31_337, ServiceIndex::UDP + 1900, ServiceIndex::UDP + 31_337];

/// The interface of test packets, which do not say by which they come: one that no line names.
const UNNAMED: &str = "of-no-rule";

/// One packet.
#[derive(Clone, Copy)]
struct Probe {
    remote: IpAddr,
    local: IpAddr,
    service: u32,
}

/// `tests:` of the file, and how many there are.
pub(super) fn tests(program: &Program, rules: &[Written]) -> (String, usize) {
    let mut text = String::new();
    let mut count = 0;
    let mut add = |direction, name: &str, probe: Probe| {
        let packet = packet(direction, probe);
        let (Some(verdict), Some(key)) = (walk::verdict(program, direction, &packet), key(probe))
        else {
            return;
        };
        let decided = decided_by(rules, direction, &packet);
        // Stricter than its source the file may be, and what it is stricter in is listed.
        if verdict == Action::Allow && decided.is_some_and(|(_, action)| action == Action::Drop) {
            return;
        }
        count += 1;
        let expect = if verdict == Action::Allow { "allow" } else { "drop" };
        // If the file decides otherwise, the test fails, and says by which rule.
        let by = match decided {
            Some((name, action)) if action == verdict => format!(", by: {name}"),
            None if direction == Direction::Ingress => ", by: default-in".to_owned(),
            None => ", by: default-out".to_owned(),
            _ => String::new(),
        };
        let (way, from, to) = match direction {
            Direction::Ingress => ("in", probe.remote, probe.local),
            Direction::Egress => ("out", probe.local, probe.remote),
        };
        let _ = writeln!(
            text,
            "  - {{ name: \"{count}: {name}\", {way}: {{ from: {}, to: {}, {key} }}, expect: {expect}{by} }}",
            shown(from),
            shown(to),
        );
    };
    for rule in rules.iter().take(MOST) {
        if let Some(probe) = witness(rule) {
            add(rule.direction, &rule.name, probe);
        }
    }
    for direction in [Direction::Ingress, Direction::Egress] {
        for is_v6 in [false, true] {
            let address = |all: [&str; 4]| {
                let mut all = all.into_iter().filter_map(|text| text.parse::<IpAddr>().ok());
                all.find(|address| address.is_ipv6() == is_v6)
            };
            let (Some(remote), Some(local)) = (address(REMOTE), address(LOCAL)) else { continue };
            let free = OTHERS.into_iter().map(|service| Probe { remote, local, service });
            let is_free =
                |probe: &Probe| decided_by(rules, direction, &packet(direction, *probe)).is_none();
            if let Some(probe) = free.into_iter().find(is_free) {
                add(direction, "what no rule names", probe);
            }
        }
    }
    (text, count)
}

/// The packet as a box with one point.
fn packet(direction: Direction, probe: Probe) -> Boxed {
    let (source, destination) = match direction {
        Direction::Ingress => (probe.remote, probe.local),
        Direction::Egress => (probe.local, probe.remote),
    };
    let wire = interface(UNNAMED, '\0');
    let (from, to) = match direction {
        Direction::Ingress => (wire, nowhere()),
        Direction::Egress => (nowhere(), wire),
    };
    Boxed {
        source: AddrSet::network(source, 128),
        destination: AddrSet::network(destination, 128),
        services: ServiceSet::range(probe.service, probe.service),
        from,
        to,
        cast: Cast::LOCAL,
    }
}

/// The rule of the file that decides: any deny, else the first allow.
fn decided_by<'r>(
    rules: &'r [Written],
    direction: Direction,
    packet: &Boxed,
) -> Option<(&'r str, Action)> {
    let matches = |rule: &&Written| rule.direction == direction && rule.boxed.meets(packet);
    let of = |action| rules.iter().filter(matches).find(move |rule| rule.action == action);
    let rule = of(Action::Drop).or_else(|| of(Action::Allow))?;
    Some((&rule.name, rule.action))
}

/// A packet of a rule that nothing else of a host decides about.
fn witness(rule: &Written) -> Option<Probe> {
    let Boxed { source, destination, services, from, to, .. } = &rule.boxed;
    let (remote, local, wires) = match rule.direction {
        Direction::Ingress => (source, destination, from),
        Direction::Egress => (destination, source, to),
    };
    // A test does not say by which interface its packet comes.
    if !super::space::globs(wires)?.is_empty() {
        return None;
    }
    let service = services
        .ranges()
        .iter()
        .flat_map(|&(first, last)| [first, last])
        .find(|&service| key_of(service).is_some())?;
    let families = match service {
        ServiceIndex::ICMP..ServiceIndex::ICMPV6 => [false, false],
        ServiceIndex::ICMPV6..ServiceIndex::OTHER => [true, true],
        _ => [false, true],
    };
    families.into_iter().find_map(|is_v6| {
        let remote = address(remote, REMOTE, is_v6)?;
        let local = address(local, LOCAL, is_v6)?;
        (remote != local).then_some(Probe { remote, local, service })
    })
}

/// An address of a set that a host on the network can have.
fn address(set: &AddrSet, wanted: [&str; 4], is_v6: bool) -> Option<IpAddr> {
    let known = wanted.into_iter().filter_map(|text| text.parse::<IpAddr>().ok());
    let known = known.filter(|address| address.is_ipv6() == is_v6);
    let v4 = set.v4.ranges().iter().flat_map(|&(first, last)| {
        // Not the first of a network: that is the network itself.
        [first.saturating_add(u32::from(last - first > 1)), last.saturating_sub(1).max(first)]
    });
    let v4 = v4.map(|value| IpAddr::V4(value.into())).filter(|_| !is_v6);
    let v6 = set.v6.ranges().iter().map(|&(first, last)| first + u128::from(last - first > 1));
    let v6 = v6.map(|value| IpAddr::V6(value.into())).filter(|_| is_v6);
    known.chain(v4).chain(v6).find(|address| set.contains(*address) && is_usual(*address))
}

fn is_usual(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let first = v4.octets()[0];
            (1..224).contains(&first) && first != 127
        }
        IpAddr::V6(v6) => {
            let global = u128::from(v6) >> 125 == 1;
            let local = v6.octets()[0] & 0xfe == 0xfc;
            global || local
        }
    }
}

/// Protocol and port of a test, unless the baseline decides about those.
fn key_of(service: u32) -> Option<String> {
    match service {
        0..ServiceIndex::UDP => Some(format!("tcp: {service}")),
        ServiceIndex::UDP..ServiceIndex::ICMP => match service - ServiceIndex::UDP {
            67 | 68 | 546 | 547 => None,
            port => Some(format!("udp: {port}")),
        },
        _ if service == ServiceIndex::ICMP + 8 => Some("icmp: echo-request".to_owned()),
        _ if service == ServiceIndex::ICMPV6 + 128 => Some("icmpv6: echo-request".to_owned()),
        _ => match service.checked_sub(ServiceIndex::OTHER)? {
            number @ (47 | 50 | 89 | 112) => Some(format!("ip-proto: {number}")),
            _ => None,
        },
    }
}

fn key(probe: Probe) -> Option<String> {
    key_of(probe.service)
}

fn shown(address: IpAddr) -> String {
    if address.is_ipv6() { format!("\"{address}\"") } else { address.to_string() }
}
