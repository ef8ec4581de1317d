//! Names for what had none: rules, services, groups.

use std::collections::HashSet;

use firewall_common::service::{ServiceIndex, proto};

use super::space::{all_services, ports, protocol};
use crate::check::references::is_built_in;
use crate::set::ServiceSet;
use crate::value::name;

/// Characters a name may have here, so that `-27` still fits.
const LONGEST: usize = name::MAX_LENGTH - 6;

/// Names that are given once.
#[derive(Debug, Default)]
pub(super) struct Names(HashSet<String>);

impl Names {
    /// A name like this one that is not taken yet.
    pub(super) fn fresh(&mut self, wanted: &str) -> String {
        let mut base = slug(wanted);
        if base.is_empty()
            || name::parse(&base, true).is_err()
            || is_built_in(&base)
            || is_word(&base)
        {
            base.insert_str(0, "rule-");
            base.truncate(base.trim_end_matches('-').len());
        }
        let mut name = base.clone();
        let mut number = 2;
        while !self.0.insert(name.clone()) {
            name = format!("{base}-{number}");
            number += 1;
        }
        name
    }
}

/// Built-in names of sets and services.
fn is_word(name: &str) -> bool {
    matches!(name, "any" | "self" | "private" | "all")
}

/// Any text as a name: `Admin SSH (office)` is `admin-ssh-office`.
pub(super) fn slug(text: &str) -> String {
    let mut slug = String::new();
    for c in text.chars() {
        match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9') => slug.push(c),
            _ if !slug.is_empty() && !slug.ends_with('-') => slug.push('-'),
            _ => {}
        }
        if slug.len() >= LONGEST {
            break;
        }
    }
    slug.trim_end_matches('-').to_owned()
}

/// TCP and UDP ports that have a name everybody knows.
const TCP: [(u16, &str); 24] = [
    (21, "ftp"),
    (22, "ssh"),
    (23, "telnet"),
    (25, "smtp"),
    (53, "dns-tcp"),
    (80, "http"),
    (110, "pop3"),
    (143, "imap"),
    (389, "ldap"),
    (443, "https"),
    (445, "smb"),
    (465, "smtps"),
    (587, "submission"),
    (636, "ldaps"),
    (853, "dns-tls"),
    (993, "imaps"),
    (995, "pop3s"),
    (3306, "mysql"),
    (3389, "rdp"),
    (5432, "postgresql"),
    (6379, "redis"),
    (8080, "http-8080"),
    (9090, "prometheus"),
    (9100, "node-exporter"),
];
const UDP: [(u16, &str); 12] = [
    (53, "dns-udp"),
    (67, "dhcp-server"),
    (68, "dhcp-client"),
    (69, "tftp"),
    (123, "ntp"),
    (161, "snmp"),
    (443, "quic"),
    (500, "ike"),
    (514, "syslog"),
    (546, "dhcpv6-client"),
    (5353, "mdns"),
    (51820, "wireguard"),
];

/// A set of services as one or more definitions with names; `None` for all.
pub(super) fn services(set: &ServiceSet) -> Option<Vec<(String, ServiceSet)>> {
    if *set == all_services() {
        return None;
    }
    let one = |index: u32| ServiceSet::range(index, index);
    let echo = (one(ServiceIndex::ICMP + 8), one(ServiceIndex::ICMPV6 + 128));
    let dns = one(53).union(&one(ServiceIndex::UDP + 53));
    let icmp = (protocol(proto::ICMP), protocol(proto::ICMPV6));
    let known = [
        ("dns", dns),
        ("echo-requests", echo.0.union(&echo.1)),
        ("echo-requests", echo.0),
        ("echo-requests", echo.1),
        ("icmp", icmp.0.union(&icmp.1)),
        ("icmp", icmp.0),
        ("icmp", icmp.1),
        ("tcp", protocol(proto::TCP)),
        ("udp", protocol(proto::UDP)),
        ("tcp-udp", protocol(proto::TCP).union(&protocol(proto::UDP))),
    ];
    if let Some((name, _)) = known.iter().find(|(_, known)| known == set) {
        return Some(vec![((*name).to_owned(), set.clone())]);
    }
    let is_apart = set.ranges().len() <= 6 && set.ranges().iter().all(|&range| has_ports(range));
    if is_apart {
        let parts = set.ranges().iter().map(|&(a, b)| (of_range(a, b), ServiceSet::range(a, b)));
        return Some(parts.collect());
    }
    let (first, last) = *set.ranges().first()?;
    let more = if set.ranges().len() > 1 { "-and-more" } else { "" };
    Some(vec![(format!("{}{more}", of_range(first, last)), set.clone())])
}

/// Whether a range is one of ports of one protocol.
fn has_ports((first, last): (u32, u32)) -> bool {
    [0, ServiceIndex::UDP, ServiceIndex::SCTP]
        .into_iter()
        .any(|start| ServiceSet::range(first, last).is_subset(&ports(start, 1, u16::MAX)))
}

fn of_range(first: u32, last: u32) -> String {
    let (word, start) = match first {
        0..ServiceIndex::UDP => ("tcp", 0),
        ServiceIndex::UDP..ServiceIndex::ICMP => ("udp", ServiceIndex::UDP),
        ServiceIndex::ICMP..ServiceIndex::ICMPV6 => ("icmp", ServiceIndex::ICMP),
        ServiceIndex::ICMPV6..ServiceIndex::OTHER => ("icmpv6", ServiceIndex::ICMPV6),
        ServiceIndex::OTHER..ServiceIndex::SCTP => ("ip-proto", ServiceIndex::OTHER),
        _ => ("sctp", ServiceIndex::SCTP),
    };
    let (low, high) = (first - start, last - start);
    let known: &[(u16, &str)] = match word {
        "tcp" => &TCP,
        "udp" => &UDP,
        _ => &[],
    };
    match known.iter().find(|(port, _)| first == last && u32::from(*port) == low) {
        Some((_, name)) => (*name).to_owned(),
        None if low == high => format!("{word}-{low}"),
        None if word == "tcp" || word == "udp" || word == "sctp" => format!("{word}-{low}-{high}"),
        None => format!("{word}-{low}-and-more"),
    }
}
