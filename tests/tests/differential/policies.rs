//! Random policies, whose rules overlap in every way, and what they tell apart.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use firewall_common::service::ServiceIndex;
use firewall_policy::compile::Budget;
use firewall_policy::ir::{Action, Count, Policy, Rule, TcpFlags};
use firewall_policy::set::{AddrSet, RangeSet, ServiceSet};

use crate::common::policy;
use crate::rng::Rng;

/// Networks that nest, touch, and reach the ends of both families.
const NETWORKS: [&str; 30] = [
    "0.0.0.0/0",
    "0.0.0.0/1",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.0/24",
    "10.1.2.0/25",
    "10.1.2.64/26",
    "10.1.2.77/32",
    "10.1.2.78/32",
    "10.1.255.255/32",
    "10.2.0.0/15",
    "192.0.2.0/24",
    "192.0.2.10/32",
    "198.51.100.16/28",
    "198.51.100.20/32",
    "224.0.0.0/4",
    "::/0",
    "2001::/16",
    "2001:db8::/32",
    "2001:db8:1::10/128",
    "2001:db8:0:1::/64",
    "2001:db8:0:1::5/128",
    "2001:db8:0:1:ffff::/80",
    "2001:db8:1::/47",
    "2001:db8:2::/48",
    "2001:db8:2::20/128",
    "fe80::/10",
    "ff02::1/128",
    "ff02::/16",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
];

/// Addresses of this host, and a few that are not.
const LOCALS: [&str; 6] = [
    "192.0.2.10/32",
    "192.0.2.0/25",
    "192.0.2.128/25",
    "2001:db8:1::10/128",
    "2001:db8:1::/64",
    "fe80::/10",
];

/// Ends of service ranges.
const SERVICES: [(u32, u32); 16] = [
    (22, 22),
    (53, 53),
    (80, 80),
    (443, 443),
    (3306, 3306),
    (1, 1023),
    (0, 65_535),
    (ServiceIndex::UDP + 53, ServiceIndex::UDP + 53),
    (ServiceIndex::UDP + 67, ServiceIndex::UDP + 514),
    (ServiceIndex::UDP, ServiceIndex::ICMP - 1),
    (ServiceIndex::ICMP + 8, ServiceIndex::ICMP + 8),
    (ServiceIndex::ICMPV6 + 128, ServiceIndex::ICMPV6 + 135),
    (ServiceIndex::OTHER + 6, ServiceIndex::OTHER + 17),
    (ServiceIndex::OTHER + 47, ServiceIndex::OTHER + 50),
    (ServiceIndex::OTHER, ServiceIndex::SCTP - 1),
    (ServiceIndex::SCTP + 80, ServiceIndex::SCTP + 3868),
];

/// No dense cells.
pub(crate) const SHARED: Budget = Budget { dense_bytes: 0, ..Budget::USUAL };

/// Nothing but lines, where they can say what the rules say.
pub(crate) const LINES: Budget = Budget { dense_bytes: 0, shared_bytes: 0, ..Budget::USUAL };

/// Lines without rows: all by vectors.
pub(crate) const VECTORS: Budget = Budget { row_bytes: 0, ..LINES };

/// How a policy is to be.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kind {
    /// Rules ask for this host's address.
    pub(crate) locals: bool,
    /// Rules ask for interface, VLAN and TCP flags.
    pub(crate) contexts: bool,
    /// A deny list long enough for a filter.
    pub(crate) long_list: Option<LongList>,
    /// Rules count requests.
    pub(crate) counts: bool,
}

/// A policy of that kind.
pub(crate) fn random(rng: &mut Rng, kind: Kind) -> Result<Policy> {
    // A rule that the front end has read lends the fields that do not matter here.
    let mut policy = policy::read(
        "services: { http: { tcp: 80 } }
ingress: { allow: [{ name: rule, from: any, service: http }] }
",
    )?;
    let template = *policy.ingress.allow.pop().context("a rule was written")?;
    for (way, chain) in [&mut policy.ingress, &mut policy.egress].into_iter().enumerate() {
        let mut number = 0;
        let mut rules = |rng: &mut Rng, most: usize| {
            let count = rng.below(most);
            let rules = (0..count).map(|_| {
                number += 1;
                let name = format!("rule-{way}-{number}");
                Box::new(Rule { name, ..rule(rng, kind, &template) })
            });
            rules.collect::<Vec<_>>()
        };
        chain.failsafe = rules(rng, 3);
        chain.deny = rules(rng, 5);
        chain.allow = rules(rng, 9);
        chain.default = rng
            .pick(&[Some(Action::Drop), Some(Action::Drop), Some(Action::Allow)])
            .unwrap_or(Action::Drop);
    }
    if let Some(list) = kind.long_list {
        let name = "long-list".to_owned();
        let rule = Rule { name, remote: long_list(rng, list), ..template };
        policy.ingress.deny.push(rule.into());
    }
    policy.baseline.non_ip_all = rng.once_in(2);
    policy.baseline.dhcp = !rng.once_in(3);
    policy.baseline.fragments_strict = rng.once_in(4);
    policy.baseline.ping_per_second = if rng.once_in(4) { 0 } else { 1000 };
    policy.state.pickup_loose = rng.once_in(2);
    Ok(policy)
}

fn rule(rng: &mut Rng, kind: Kind, template: &Rule) -> Rule {
    let mut rule = template.clone();
    // A bitmap pays only where most of the space is nobody's.
    let networks = if kind.long_list.is_some() { &NETWORKS[2..] } else { &NETWORKS[..] };
    rule.remote = if rng.once_in(4) { AddrSet::any() } else { addresses(rng, networks) };
    let too_wide = kind.long_list.is_some() && rule.remote.is_any();
    if !too_wide && !rng.once_in(3) {
        rule.remote = rule.remote.subtract(&addresses(rng, &NETWORKS[2..]));
    }
    let services: Vec<_> = (0..=rng.below(3)).map(|_| rng.pick(&SERVICES)).collect();
    rule.services =
        if rng.once_in(5) { ServiceSet::full() } else { ServiceSet::from_ranges(services) };
    if kind.locals && rng.once_in(2) {
        rule.local = addresses(rng, &LOCALS);
    }
    if kind.contexts && rng.once_in(3) {
        rule.interfaces = vec![rng.pick(&["eth0", "eth1", "eth*"]).to_owned()];
    }
    if kind.contexts && rng.once_in(3) {
        rule.vlans = rng.pick(&[vec![5], vec![0, 5], vec![4095]]);
    }
    if kind.contexts && rng.once_in(3) {
        let (mask, value) = rng.pick(&[(0x02, 0x02), (0x12, 0x10), (0x04, 0)]);
        rule.tcp_flags = Some(TcpFlags { mask, value });
    }
    if kind.counts {
        rule.counts = counts(&rule.services);
    }
    rule
}

fn addresses(rng: &mut Rng, networks: &[&str]) -> AddrSet {
    let sets: Vec<_> = (0..=rng.below(3)).map(|_| network(rng.pick(networks))).collect();
    AddrSet::union_all(&sets)
}

/// A network that is written in this file.
fn network(text: &str) -> AddrSet {
    let parse = || {
        let (address, length) = text.split_once('/')?;
        Some(AddrSet::network(address.parse().ok()?, length.parse().ok()?))
    };
    parse().unwrap_or_default()
}

/// One protocol per port.
fn counts(services: &ServiceSet) -> Vec<(ServiceSet, Count)> {
    let ports = [
        (80, Count::Http1),
        (443, Count::Tls),
        (3306, Count::Mysql),
        (53, Count::Dns),
        (ServiceIndex::UDP + 53, Count::Dns),
    ];
    let port = |(port, count)| (services.intersect(&ServiceSet::range(port, port)), count);
    ports.map(port).into_iter().filter(|(set, _)| !set.is_empty()).collect()
}

/// What a long list names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LongList {
    /// Lone hosts of both families.
    Hosts,
    /// Small networks and a wide one, so that a bit for every /24 is the least.
    Networks,
}

/// So many places in one half of the space that what leads to them outgrows a cache.
fn long_list(rng: &mut Rng, list: LongList) -> AddrSet {
    let host = |rng: &mut Rng| 0x4000_0000 | u32::try_from(rng.bits() >> 34).unwrap_or(0);
    match list {
        LongList::Hosts => {
            let v4 = (0..90_000).map(|_| host(rng)).map(|host| (host, host)).collect();
            let v6 = (0..10_000).map(|_| {
                let upper = 0x2001_0db8_0002_0000 | u64::from(host(rng) & 3);
                u128::from(upper) << 64 | u128::from(rng.bits())
            });
            let v6 = v6.map(|host| (host, host)).collect();
            AddrSet { v4: RangeSet::from_ranges(v4), v6: RangeSet::from_ranges(v6) }
        }
        LongList::Networks => {
            let small = (0..90_000).map(|_| host(rng) & !15).map(|first| (first, first | 15));
            let v4 = small.chain([(0x2000_0000, 0x2fff_ffff)]).collect();
            AddrSet { v4: RangeSet::from_ranges(v4), v6: RangeSet::empty() }
        }
    }
}

/// What a policy tells apart: places worth a frame.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    /// Ends of address ranges and their neighbours, IPv4 then IPv6.
    pub(crate) remotes: [Vec<u128>; 2],
    /// The same of this host's addresses.
    pub(crate) locals: [Vec<u128>; 2],
    /// Ends of service ranges and their neighbours.
    pub(crate) services: Vec<u32>,
}

impl Places {
    /// Those of a policy.
    pub(crate) fn of(policy: &Policy) -> Self {
        let mut places = Self::default();
        let own = |text: &str| text.parse::<IpAddr>().ok();
        for address in ["192.0.2.10", "2001:db8:1::10"].iter().filter_map(|text| own(text)) {
            match address {
                IpAddr::V4(address) => places.locals[0].push(u128::from(u32::from(address))),
                IpAddr::V6(address) => places.locals[1].push(address.into()),
            }
        }
        for chain in [&policy.ingress, &policy.egress] {
            for rule in chain.rules() {
                add(&rule.remote, &mut places.remotes);
                if !rule.local.is_any() {
                    add(&rule.local, &mut places.locals);
                }
                let ends = rule.services.ranges().iter();
                places.services.extend(
                    ends.flat_map(|&(a, b)| [a.saturating_sub(1), a, b, b.saturating_add(1)]),
                );
            }
        }
        // Port 0 is malformed, and comes by itself often enough.
        let zero = [0, ServiceIndex::UDP, ServiceIndex::SCTP];
        places.services.retain(|index| *index < ServiceIndex::END && !zero.contains(index));
        places
    }
}

fn add(set: &AddrSet, places: &mut [Vec<u128>; 2]) {
    let [v4, v6] = places;
    // Of a long list a few will do.
    for &(a, b) in set.v4.ranges().iter().take(500) {
        let near = [a, b, a.saturating_sub(1), b.saturating_add(1), a ^ 0x100];
        v4.extend(near.map(u128::from));
    }
    for &(a, b) in set.v6.ranges() {
        v6.extend([a, b, a.saturating_sub(1), b.saturating_add(1), a ^ 1 << 64]);
    }
}
