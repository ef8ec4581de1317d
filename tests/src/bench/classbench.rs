//! Section `classbench`: five-field rule sets as the research field uses them,
//! made from a seed, judged right and timed.
//!
//! The shares of prefix lengths, ports and protocols follow what `ClassBench`
//! (Taylor and Turner, 2007) reports of access lists (acl) and of firewalls (fw).
//! Two things have no counterpart in our language. It has no source port: where a
//! set would name one, the rule holds for all. And it has no order: a packet that
//! a deny and an allow match is dropped, wherever they stand; the model says so.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result};
use firewall_common::service::ServiceIndex;
use firewall_policy::ir::{Policy, Rule as Written};
use firewall_policy::set::ServiceSet;

use super::Bench;
use super::bpf::{self, Kind};
use super::instruments::{Fields, Records};
use super::measure;
use super::synthetic;
use super::traffic::{Flow, Random};
use super::wire;
use crate::packet::{Frame, Ipv4, Tcp, Udp, flags};

/// Which kind of set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// Specific pairs of hosts and networks, mostly exact ports.
    Acl,
    /// Wildcards and ranges.
    Firewall,
}

/// A rule of five fields, less the source port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    source: Prefix,
    destination: Prefix,
    /// TCP, UDP, or any protocol.
    protocol: Option<u8>,
    /// First and last destination port.
    ports: (u16, u16),
    deny: bool,
}

type Prefix = (u32, u32);

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Of the sets.
const SEED: u64 = 1;
/// The first of a host's own addresses, 192.0.2.10.
const OWN: u32 = 0xc000_020a;
/// Headers that each set is held against the model with.
const HEADERS: usize = 4096;
/// Different packets of the timed rows.
const TIMED: usize = 1 << 16;

fn mask((address, length): Prefix) -> Prefix {
    (address & u32::MAX.checked_shl(32 - length).unwrap_or(0), length)
}

fn contains((network, length): Prefix, address: u32) -> bool {
    mask((address, length)).0 == network
}

impl Rule {
    fn matches(&self, header: &Header) -> bool {
        contains(self.source, header.source)
            && contains(self.destination, header.destination)
            && self.protocol.is_none_or(|protocol| protocol == header.protocol)
            && (self.ports.0..=self.ports.1).contains(&header.port)
    }

    /// As the compiler takes it, like `template` in all else.
    fn written(&self, number: usize, template: &Written) -> Written {
        let range = |(first, length): Prefix| {
            let host = u32::MAX.checked_shr(length).unwrap_or(0);
            synthetic::v4(vec![(first, first | host)])
        };
        let (first, last) = (u32::from(self.ports.0), u32::from(self.ports.1));
        let services = match self.protocol {
            Some(TCP) => ServiceSet::range(first, last),
            Some(_) => ServiceSet::range(ServiceIndex::UDP + first, ServiceIndex::UDP + last),
            None => ServiceSet::full(),
        };
        Written {
            name: format!("r{number}"),
            remote: range(self.source),
            local: range(self.destination),
            services,
            ..template.clone()
        }
    }

    /// A packet of this rule.
    fn header(&self, random: &mut Random) -> Header {
        let inside = |prefix: Prefix, random: &mut Random| {
            prefix.0 | random.next() & !u32::MAX.checked_shl(32 - prefix.1).unwrap_or(0)
        };
        let width = u32::from(self.ports.1 - self.ports.0) + 1;
        Header {
            source: super::traffic::usable(inside(self.source, random)),
            destination: super::traffic::usable(inside(self.destination, random)),
            protocol: self.protocol.unwrap_or(if random.below(2) == 0 { TCP } else { UDP }),
            port: random.port(self.ports.0, width),
        }
    }
}

/// What a rule looks at.
#[derive(Clone, Copy, Debug)]
struct Header {
    source: u32,
    destination: u32,
    protocol: u8,
    port: u16,
}

impl Header {
    fn frame(&self) -> Vec<u8> {
        let ip = Ipv4::between(self.source.into(), self.destination.into());
        let frame = Frame::ethernet().ipv4(ip);
        if self.protocol == TCP {
            frame.tcp(Tcp { flags: flags::SYN, ..Tcp::between(40_000, self.port) }).padded()
        } else {
            frame.udp(Udp::between(40_000, self.port)).padded()
        }
    }
}

/// A set of rules, the same for the same seed. With `own`, a host's: rules name one of
/// so many addresses of its own, or any.
fn rules(style: Style, count: usize, own: Option<u32>) -> Vec<Rule> {
    let mut random = Random::new(SEED);
    let pool = u32::try_from(count / 3 + 8).unwrap_or(u32::MAX);
    let outside: Vec<u32> = (0..pool).map(|_| random.address()).collect();
    let local: Vec<u32> = (0..32).map(|_| random.address()).collect();
    let ports: Vec<u16> = (0..60).map(|_| random.port(1, 10_000)).collect();
    let mut rules: Vec<Rule> = Vec::with_capacity(count);
    while rules.len() < count {
        let pick = |from: &[u32], random: &mut Random| {
            from[random.below(u32::try_from(from.len()).unwrap_or(1)) as usize]
        };
        let (source, destination) = (pick(&outside, &mut random), pick(&local, &mut random));
        let host = destination & !0xff | random.below(250);
        // Per cent: wildcard, /8 to /16, /17 to /24, /25 to /31; the rest /32.
        let (from, to) = match style {
            Style::Acl => ([8, 12, 35, 15], [2, 8, 35, 15]),
            Style::Firewall => ([40, 10, 20, 10], [25, 10, 25, 10]),
        };
        let source = mask((source, length(&mut random, from)));
        let destination = match own {
            None => mask((host, length(&mut random, to))),
            Some(_) if random.below(100) < to[0] => (0, 0),
            Some(own) => (OWN + random.below(own), 32),
        };
        let protocol = match (style, random.below(100)) {
            (Style::Acl, 0..75) | (Style::Firewall, 0..55) => Some(TCP),
            (_, 0..92) => Some(UDP),
            _ => None,
        };
        let exact = ports[random.below(60) as usize];
        let span = match (style, random.below(100)) {
            (Style::Acl, 0..70) | (Style::Firewall, 0..40) => (exact, exact),
            (_, 0..78) => (1024, u16::MAX),
            (_, 0..88) => (exact, exact + random.port(1, 500)),
            _ => (0, u16::MAX),
        };
        let ports = if protocol.is_some() { span } else { (0, u16::MAX) };
        let rule = Rule { source, destination, protocol, ports, deny: random.below(2) == 0 };
        // A rule for everything would leave the others nothing.
        if source.1 + destination.1 >= 8 {
            rules.push(rule);
        }
    }
    rules
}

/// A prefix length, by shares in per cent.
fn length(random: &mut Random, shares: [u32; 4]) -> u32 {
    let mut point = random.below(100);
    for (share, (first, count)) in shares.into_iter().zip([(0, 1), (8, 9), (17, 8), (25, 7)]) {
        if point < share {
            return first + random.below(count);
        }
        point -= share;
    }
    32
}

/// The rules as a policy; with `all_deny`, one that passes nothing.
fn policy(rules: &[Rule], all_deny: bool) -> Result<Policy> {
    let mut policy = synthetic::rules(1, false)?;
    let template = policy.ingress.allow.pop().context("no rule to copy")?;
    for (number, rule) in rules.iter().enumerate() {
        let chain = &mut policy.ingress;
        let list = if rule.deny || all_deny { &mut chain.deny } else { &mut chain.allow };
        list.push(rule.written(number, &template));
    }
    Ok(policy)
}

/// What the language says of a header: the first deny that matches, else the first
/// allow, else the default.
fn model(rules: &[Rule], header: &Header) -> (bool, Option<usize>) {
    let first = |deny| rules.iter().position(|rule| rule.deny == deny && rule.matches(header));
    match (first(true), first(false)) {
        (Some(rule), _) => (false, Some(rule)),
        (None, Some(rule)) => (true, Some(rule)),
        (None, None) => (false, None),
    }
}

/// Section `classbench`.
pub(super) fn measure(bench: &mut Bench<'_>) -> Result<()> {
    const SECTION: &str = "classbench";
    let sets = [
        ("acl 1k, own addresses", Style::Acl, 1_000, Some(8)),
        ("fw 1k, own addresses", Style::Firewall, 1_000, Some(8)),
        ("acl 10k, own addresses", Style::Acl, 10_000, Some(8)),
        ("fw 10k, own addresses", Style::Firewall, 10_000, Some(8)),
        ("acl 1k", Style::Acl, 1_000, None),
        ("fw 1k", Style::Firewall, 1_000, None),
        ("acl 10k", Style::Acl, 10_000, None),
        ("fw 10k", Style::Firewall, 10_000, None),
    ];
    let mut kept = Vec::new();
    for (row, style, count, own) in sets {
        if !bench.wants(SECTION, row) {
            continue;
        }
        bench.book.say(&format!("{SECTION}: {row}"));
        let rules = rules(style, count, own);
        let loaded = judged(bench, row, &rules).and_then(|()| {
            let name = row.replace([' ', ','], "-");
            synthetic::install(bench.pair, &name, &policy(&rules, true)?).context("all denied")
        });
        match loaded {
            Ok(ours) => kept.push((row, ours, traffic(&rules)?)),
            Err(error) => bench.book.skip(SECTION, row, &error),
        }
    }
    let mut timed = Vec::new();
    for (row, ours, records) in &kept {
        timed.push(((*row).to_owned(), ours, Records::new(Fields::V4, records)?));
    }
    if timed.is_empty() { Ok(()) } else { wire::measure_sets(bench, SECTION, &timed) }
}

/// TCP packets of all rules alike.
fn traffic(rules: &[Rule]) -> Result<Vec<[u32; 4]>> {
    let tcp: Vec<&Rule> = rules.iter().filter(|rule| rule.protocol == Some(TCP)).collect();
    let count = u32::try_from(tcp.len())?;
    let mut random = Random::new(21);
    let record = |_| {
        let Header { source, destination, port, .. } =
            tcp[random.below(count) as usize].header(&mut random);
        Flow { source, destination, ..Flow::to(port) }.record()
    };
    Ok((0..TIMED).map(record).collect())
}

/// Puts headers to the programs and to the model: verdicts one by one, then every
/// rule's counter.
fn judged(bench: &mut Bench<'_>, row: &str, rules: &[Rule]) -> Result<()> {
    let ours = synthetic::install(bench.pair, "judged", &policy(rules, false)?)?;
    let (program, store) = (ours.judge("judge_xdp")?, ours.store()?);
    let mut random = Random::new(42);
    let mut hits = BTreeMap::<String, u64>::new();
    let (mut wrong, mut passed) = (0_u32, 0_u32);
    for number in 0..HEADERS {
        let mut header = rules[number * rules.len() / HEADERS].header(&mut random);
        // One in four meets another rule, or none.
        if number % 4 == 0 {
            header.source = random.address();
        }
        let (pass, rule) = model(rules, &header);
        let verdict = bpf::run(program.as_fd(), &header.frame(), 1)?;
        passed += u32::from(pass);
        wrong += u32::from((verdict != Kind::Xdp.drop()) != pass);
        if let Some(rule) = rule {
            *hits.entry(format!("r{rule}")).or_default() += 1;
        }
    }
    let (counters, meta) = (store.rules()?, store.meta()?.context("no policy in force")?);
    let miscounted = meta.rules.iter().filter(|rule| {
        let counted = counters.get(rule.slot as usize).map_or(0, |counter| counter.packets);
        counted != hits.get(&rule.name).copied().unwrap_or_default()
    });
    let miscounted = u32::try_from(miscounted.count())?;
    let book = &mut bench.book;
    book.fact("classbench", row, "headers", (measure::as_f64(HEADERS as u64), ""));
    book.fact("classbench", row, "passed", (passed.into(), ""));
    book.fact("classbench", row, "wrong verdicts", (wrong.into(), ""));
    book.fact("classbench", row, "wrong counters", (miscounted.into(), ""));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_meets_its_own_packets() {
        assert_eq!(rules(Style::Acl, 500, None), rules(Style::Acl, 500, None));
        let mut random = Random::new(3);
        for own in [None, Some(8)] {
            for rule in rules(Style::Firewall, 500, own) {
                let header = rule.header(&mut random);
                // `usable` may have moved an address that no packet can come from.
                let moved = !contains(rule.source, header.source)
                    || !contains(rule.destination, header.destination);
                assert!(moved || rule.matches(&header), "{rule:?} {header:?}");
            }
        }
    }

    #[test]
    fn deny_beats_allow_wherever_it_stands() {
        let any = (0, 0);
        let rule = |deny| Rule {
            source: any,
            destination: any,
            protocol: Some(TCP),
            ports: (80, 80),
            deny,
        };
        let header = Header { source: 1, destination: 2, protocol: TCP, port: 80 };
        assert_eq!(model(&[rule(false), rule(true)], &header), (false, Some(1)));
        assert_eq!(model(&[rule(false), rule(false)], &header), (true, Some(0)));
        assert_eq!(model(&[rule(true)], &Header { port: 81, ..header }), (false, None));
    }
}
