//! Sets made from a seed.
//!
//! Three kinds have the shares of published sets of 10,000 rules, which Taylor and Turner's
//! `ClassBench` (2007) made after those of providers: an access list (acl1), a firewall (fw1)
//! and an IP chain (ipc1). What they do to a classifier lies in the addresses, so those are as
//! there: hosts in few networks, a few that half of the rules are about, and ends that are wide,
//! of which firewalls mostly have one. The fourth kind has networks of every length at both
//! ends, which divide pairs of addresses into kinds by the million, as no published set does.

use firewall_common::service::proto;

use super::rules::{ALL_PORTS, Prefix, Rule, mask};
use crate::bench::traffic::Random;

/// Shares of the whole, in per cent or any other unit.
type Shares<T> = &'static [(T, u32)];

/// Which kind of set.
#[derive(Debug)]
pub(super) struct Kind {
    /// Whether source and destination are wide.
    wide: Shares<[bool; 2]>,
    source: Hosts,
    destination: Hosts,
    protocols: Shares<Option<u8>>,
    ports: Shares<Ports>,
    /// How many exact ports there are; the first are frequent.
    exact: u32,
}

/// Narrow ends.
#[derive(Debug)]
struct Hosts {
    /// Rules for a network of 256 addresses.
    per_network: usize,
    /// Rules for a prefix, of which a network has several.
    per_prefix: usize,
    /// Of a hundred rules, those about one of five prefixes.
    frequent: u32,
    /// Lengths of prefixes.
    lengths: Shares<u32>,
    /// Whether short prefixes hold the networks of long ones.
    are_nested: bool,
}

/// Destination ports of a rule.
#[derive(Clone, Copy, Debug)]
enum Ports {
    Exact,
    All,
    /// From 1024 on.
    High,
    Range,
}

/// Lengths of wide prefixes.
const WIDE: Shares<u32> = &[(0, 65), (1, 30), (2, 5)];

/// Specific pairs, half of them about five destinations, mostly exact ports.
pub(super) const ACL: Kind = Kind {
    wide: &[([false, false], 1)],
    source: Hosts {
        per_network: 75,
        per_prefix: 2,
        frequent: 0,
        lengths: &[(32, 52), (31, 23), (30, 7), (29, 2), (24, 4), (23, 9), (22, 2), (20, 1)],
        are_nested: false,
    },
    destination: Hosts {
        per_network: 30,
        per_prefix: 14,
        frequent: 48,
        lengths: &[
            (32, 50),
            (31, 20),
            (30, 5),
            (25, 3),
            (24, 4),
            (23, 5),
            (22, 8),
            (21, 3),
            (16, 2),
        ],
        are_nested: false,
    },
    protocols: &[(Some(proto::TCP), 88), (None, 8), (Some(proto::ICMP), 3), (Some(proto::UDP), 1)],
    ports: &[(Ports::Exact, 60), (Ports::All, 28), (Ports::Range, 12)],
    exact: 100,
};

/// One end of most rules is wide, the other a host that no other rule names.
pub(super) const FIREWALL: Kind = Kind {
    wide: &[([true, false], 61), ([false, true], 26), ([false, false], 10), ([true, true], 3)],
    source: SCATTERED_HOSTS,
    destination: SCATTERED_HOSTS,
    protocols: &[
        (Some(proto::TCP), 57),
        (Some(proto::UDP), 33),
        (Some(GRE), 5),
        (Some(proto::ICMP), 4),
        (None, 1),
    ],
    ports: &[(Ports::Exact, 63), (Ports::All, 29), (Ports::High, 8)],
    exact: 43,
};

/// Pairs of networks, of which each end has thousands.
pub(super) const CHAIN: Kind = Kind {
    wide: &[([false, false], 78), ([true, false], 13), ([false, true], 9)],
    source: Hosts {
        per_network: 40,
        per_prefix: 6,
        frequent: 0,
        lengths: &[
            (32, 20),
            (31, 9),
            (26, 5),
            (25, 11),
            (24, 18),
            (23, 18),
            (22, 7),
            (17, 4),
            (16, 8),
        ],
        are_nested: false,
    },
    destination: Hosts {
        per_network: 20,
        per_prefix: 3,
        frequent: 0,
        lengths: &[
            (32, 30),
            (31, 13),
            (26, 6),
            (25, 12),
            (24, 15),
            (23, 9),
            (17, 5),
            (16, 6),
            (15, 4),
        ],
        are_nested: false,
    },
    protocols: &[
        (Some(proto::UDP), 39),
        (None, 33),
        (Some(proto::TCP), 27),
        (Some(proto::ICMP), 1),
    ],
    ports: &[(Ports::Exact, 36), (Ports::All, 56), (Ports::High, 6), (Ports::Range, 2)],
    exact: 54,
};

/// Networks of every length at both ends.
pub(super) const EVERY_LENGTH: Kind = Kind {
    wide: &[([false, false], 90), ([true, false], 8), ([false, true], 2)],
    source: Hosts { per_network: 3, per_prefix: 1, frequent: 0, lengths: EVERY, are_nested: true },
    destination: Hosts {
        per_network: 300,
        per_prefix: 1,
        frequent: 0,
        lengths: EVERY,
        are_nested: true,
    },
    protocols: &[(Some(proto::TCP), 75), (Some(proto::UDP), 17), (None, 8)],
    ports: &[(Ports::Exact, 70), (Ports::High, 8), (Ports::Range, 10), (Ports::All, 12)],
    exact: 60,
};

const EVERY: Shares<u32> = &[
    (32, 30),
    (30, 5),
    (28, 5),
    (26, 5),
    (24, 10),
    (23, 5),
    (22, 5),
    (21, 5),
    (20, 5),
    (19, 5),
    (18, 5),
    (16, 5),
    (14, 3),
    (12, 3),
    (10, 2),
    (8, 2),
];

const SCATTERED_HOSTS: Hosts = Hosts {
    per_network: 1,
    per_prefix: 1,
    frequent: 0,
    lengths: &[(32, 43), (31, 37), (30, 9), (29, 3), (28, 3), (27, 3), (22, 1), (21, 1)],
    are_nested: false,
};

const GRE: u8 = 47;

/// Ranges of ports that are named.
const RANGES: usize = 16;
/// Of the sets.
const SEED: u64 = 1;
/// The first of a host's own addresses, 192.0.2.10.
const OWN: u32 = 0xc000_020a;

/// A set of rules, the same for the same seed. With `own`, a host's: rules name one of
/// so many addresses of its own, or any.
pub(super) fn rules(kind: &Kind, count: usize, own: Option<u32>) -> Vec<Rule> {
    let mut random = Random::new(SEED);
    let sources = Pool::new(&kind.source, count, &mut random);
    let destinations = Pool::new(&kind.destination, count, &mut random);
    // A port, and how many more a range from there on has.
    let ports: Vec<(u16, u16)> =
        (0..kind.exact).map(|_| (random.port(1, 10_000), random.port(1, 500))).collect();
    let mut rules: Vec<Rule> = Vec::with_capacity(count);
    while rules.len() < count {
        let [wide_source, wide_destination] = share(kind.wide, &mut random);
        let source = if wide_source { wide(&mut random) } else { sources.prefix(&mut random) };
        let destination = match own {
            _ if wide_destination => wide(&mut random),
            None => destinations.prefix(&mut random),
            Some(own) => (OWN + random.below(own), 32),
        };
        let protocol = share(kind.protocols, &mut random);
        // Of two places the lower one, so that some ports are frequent.
        let place = random.below(kind.exact).min(random.below(kind.exact));
        let (exact, _) = ports[place as usize];
        let (first, more) = ports[place as usize % RANGES];
        let ports = match share(kind.ports, &mut random) {
            _ if protocol.is_none_or(|protocol| !super::rules::has_ports(protocol)) => ALL_PORTS,
            Ports::All => ALL_PORTS,
            Ports::Exact => (exact, exact),
            Ports::High => (1024, u16::MAX),
            Ports::Range => (first, first + more),
        };
        let rule = Rule { source, destination, protocol, ports, deny: random.below(2) == 0 };
        // A rule for everything would leave the others nothing.
        if source.1 + destination.1 > 0 {
            rules.push(rule.careful());
        }
    }
    rules
}

/// The prefixes that narrow ends are.
struct Pool {
    prefixes: Vec<Prefix>,
    frequent: u32,
}

impl Pool {
    fn new(of: &Hosts, rules: usize, random: &mut Random) -> Self {
        let networks: Vec<u32> =
            (0..=rules / of.per_network).map(|_| random.address() & !0xff).collect();
        let prefixes = (0..rules / of.per_prefix + 5).map(|number| {
            let length = share(of.lengths, random);
            let is_within = length >= 24 || of.are_nested;
            let network =
                if is_within { networks[number % networks.len()] } else { random.address() };
            mask((network | random.below(256), length))
        });
        Self { prefixes: prefixes.collect(), frequent: of.frequent }
    }

    fn prefix(&self, random: &mut Random) -> Prefix {
        let frequent = random.below(100) < self.frequent;
        let among = if frequent { 5 } else { self.prefixes.len() };
        self.prefixes[random.below(u32::try_from(among).unwrap_or(1)) as usize]
    }
}

fn wide(random: &mut Random) -> Prefix {
    mask((random.next(), share(WIDE, random)))
}

/// One of these, as often as its share says.
fn share<T: Copy>(shares: Shares<T>, random: &mut Random) -> T {
    let whole = shares.iter().map(|(_, share)| share).sum();
    let mut point = random.below(whole);
    let mut chosen = shares[0].0;
    for &(one, share) in shares {
        chosen = one;
        if point < share {
            break;
        }
        point -= share;
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_meets_its_own_packets() {
        assert_eq!(rules(&ACL, 500, None), rules(&ACL, 500, None));
        let mut random = Random::new(3);
        for (kind, own) in [(&FIREWALL, None), (&FIREWALL, Some(8)), (&EVERY_LENGTH, None)] {
            for rule in rules(kind, 500, own) {
                let header = rule.header(&mut random).unwrap();
                assert!(rule.matches(&header), "{rule:?} {header:?}");
            }
        }
    }

    #[test]
    fn kinds_have_their_shares() {
        let count = |kind: &Kind, has: &dyn Fn(&Rule) -> bool| {
            rules(kind, 1_000, None).iter().filter(|rule| has(rule)).count()
        };
        let exact = |rule: &Rule| rule.ports.0 == rule.ports.1;
        assert!((450..700).contains(&count(&ACL, &exact)));
        assert!((550..680).contains(&count(&FIREWALL, &|rule| rule.source.1 <= 2)));
        assert_eq!(count(&ACL, &|rule| rule.source.1 <= 2), 0);
        assert!((250..420).contains(&count(&CHAIN, &|rule| rule.protocol.is_none())));
    }
}
