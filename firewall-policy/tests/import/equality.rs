//! What `firewall import` makes of rules of iptables and nftables, held against the rules:
//! equal where all of them are carried, and never more open.
//!
//! Rules are made at random, written down as `iptables-save` does, and imported;
//! the oracle reads the rules themselves, line by line, the first that matches.

use std::cell::Cell;
use std::fmt::Write as _;
use std::net::IpAddr;

use firewall_common::service::ServiceIndex;
use firewall_policy::import::{Imported, Input, Language, import};
use firewall_policy::ir::{Action, Direction, Policy};
use firewall_policy::model::{self, Context, Query};
use firewall_policy::set::AddrSet;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;

use serde_json::{Value, json};

use crate::{file, loaded, request, tests_hold};

const NETWORKS: [[&str; 7]; 2] = [
    [
        "0.0.0.0/0",
        "10.0.0.0/8",
        "10.1.0.0/16",
        "10.1.2.3/32",
        "192.0.2.0/24",
        "128.0.0.0/1",
        "224.0.0.0/4",
    ],
    [
        "::/0",
        "2001:db8::/32",
        "2001:db8:1::/48",
        "2001:db8:1::3/128",
        "fd00::/8",
        "8000::/1",
        "ff00::/8",
    ],
];
const PLACES: [[&str; 8]; 2] = [
    [
        "10.0.0.1",
        "10.1.0.9",
        "10.1.2.3",
        "192.0.2.7",
        "203.0.113.9",
        "8.8.8.8",
        "224.0.0.251",
        "10.255.255.255",
    ],
    [
        "2001:db8::1",
        "2001:db8:1::9",
        "2001:db8:1::3",
        "fd00::7",
        "2a00::9",
        "2600::8",
        "ff02::fb",
        "8000::1",
    ],
];
const INTERFACES: [&str; 4] = ["eth0", "eth1", "lan0", "ethernet"];

/// A condition, and how it is written.
#[derive(Clone, Debug)]
enum Match {
    Source(usize, bool),
    Destination(usize, bool),
    Interface(&'static str, bool),
    Protocol(u8, bool),
    /// TCP or UDP, destination ports, negated.
    Ports(u8, Vec<(u16, u16)>, bool),
    Echo,
    States(&'static str, bool, bool),
    /// Not carried: the source port.
    SourcePort(u16),
    /// Not carried: a rate.
    Limit,
    Owner,
    Syn(bool),
    Kind(&'static str),
}

#[derive(Clone, Debug)]
struct Rule {
    matches: Vec<Match>,
    target: &'static str,
    goes: bool,
}

#[derive(Clone, Debug)]
struct Chain {
    name: &'static str,
    rules: Vec<Rule>,
    accepts: bool,
}

/// A packet that opens a connection.
#[derive(Clone, Debug)]
struct Packet {
    is_v6: bool,
    source: usize,
    destination: usize,
    protocol: u8,
    port: u16,
    source_port: u16,
    interface: usize,
    broadcast: bool,
    /// How limits and owners turn out, line by line.
    luck: u64,
}

fn ports() -> impl Strategy<Value = Vec<(u16, u16)>> {
    let one = select(vec![
        (22, 22),
        (53, 53),
        (80, 80),
        (443, 443),
        (1, 1023),
        (8000, 8080),
        (1024, 65_535),
    ]);
    prop::collection::vec(one, 1..4)
}

fn carried() -> impl Strategy<Value = Match> {
    let network = 0..7_usize;
    let often = prop::bool::weighted(0.2);
    prop_oneof![
        4 => (network.clone(), often).prop_map(|(n, not)| Match::Source(n, not)),
        2 => (network, often).prop_map(|(n, not)| Match::Destination(n, not)),
        2 => (select(vec!["eth0", "eth+", "lan0", "lo"]), often).prop_map(|(name, not)| Match::Interface(name, not)),
        2 => (select(vec![6_u8, 17, 47]), often).prop_map(|(p, not)| Match::Protocol(p, not)),
        6 => (select(vec![6_u8, 17]), ports(), often).prop_map(|(p, ports, not)| Match::Ports(p, ports, not)),
        1 => Just(Match::Echo),
        2 => select(vec![("NEW", true), ("NEW,ESTABLISHED", true), ("RELATED,ESTABLISHED", false), ("INVALID", false)])
            .prop_flat_map(|(text, is_new)| any::<bool>().prop_map(move |not| Match::States(text, is_new, not))),
        1 => any::<bool>().prop_map(Match::Syn),
    ]
}

fn any_match() -> impl Strategy<Value = Match> {
    prop_oneof![
        3 => carried(),
        1 => select(vec![80_u16, 1024]).prop_map(Match::SourcePort),
        1 => Just(Match::Limit),
        1 => Just(Match::Owner),
        1 => select(vec!["LOCAL", "BROADCAST", "MULTICAST"]).prop_map(Match::Kind),
    ]
}

fn rules(
    matches: BoxedStrategy<Match>,
    chains: &'static [&'static str],
    most: usize,
) -> impl Strategy<Value = Vec<Rule>> {
    let mut targets = vec!["ACCEPT", "ACCEPT", "ACCEPT", "DROP", "DROP", "REJECT", "RETURN", "LOG"];
    targets.extend(chains);
    targets.extend(chains);
    let matches = prop::collection::vec(matches, 0..4);
    let rule = (matches, select(targets), prop::bool::weighted(0.2)).prop_map(
        move |(matches, target, goes)| Rule {
            matches: sensible(matches),
            target,
            goes: goes && chains.contains(&target),
        },
    );
    prop::collection::vec(rule, 0..most)
}

/// One condition of a kind, and one protocol.
fn sensible(matches: Vec<Match>) -> Vec<Match> {
    let kind = |one: &Match| match one {
        Match::Source(..) => 0,
        Match::Destination(..) => 1,
        Match::Interface(..) => 2,
        Match::Protocol(..)
        | Match::Ports(..)
        | Match::Echo
        | Match::SourcePort(_)
        | Match::Syn(_) => 3,
        Match::States(..) => 4,
        Match::Limit => 5,
        Match::Owner => 6,
        Match::Kind(_) => 7,
    };
    let mut seen = Vec::new();
    let mut kept = matches;
    kept.retain(|one| {
        let is_first = !seen.contains(&kind(one));
        seen.push(kind(one));
        is_first
    });
    kept
}

fn table(matches: BoxedStrategy<Match>) -> impl Strategy<Value = Vec<Chain>> {
    let main = rules(matches.clone(), &["A", "B"], 9);
    let output = rules(matches.clone(), &["A", "B"], 5);
    let a = rules(matches.clone(), &["B"], 5);
    let b = rules(matches, &[], 5);
    let policies = (any::<bool>(), prop::bool::weighted(0.7));
    (main, output, a, b, policies).prop_map(|(input, output, a, b, (first, second))| {
        let chain = |name, rules, accepts| Chain { name, rules, accepts };
        vec![
            chain("INPUT", input, first),
            chain("OUTPUT", output, second),
            chain("A", a, false),
            chain("B", b, false),
        ]
    })
}

fn packets() -> impl Strategy<Value = Vec<Packet>> {
    let protocol = select(vec![6_u8, 6, 17, 47, 1]);
    let port = select(vec![22_u16, 53, 80, 443, 8001, 5000, 1, 65_535]);
    let ends = (any::<bool>(), 0..8_usize, 0..8_usize, any::<bool>());
    let packet = (ends, protocol, port, select(vec![80_u16, 1024]), 0..4_usize, any::<u64>());
    let packet = packet.prop_map(
        |(
            (is_v6, source, destination, broadcast),
            protocol,
            port,
            source_port,
            interface,
            luck,
        )| {
            Packet {
                is_v6,
                source,
                destination,
                protocol,
                port,
                source_port,
                interface,
                broadcast,
                luck,
            }
        },
    );
    prop::collection::vec(packet, 150)
}

fn set(text: &str) -> AddrSet {
    let Some((address, length)) = text.split_once('/') else { panic!("{text}") };
    let (Ok(address), Ok(length)) = (address.parse(), length.parse()) else { panic!("{text}") };
    AddrSet::network(address, length)
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

impl Match {
    fn text(&self, is_v6: bool, way: Direction) -> String {
        let no = |not: bool| if not { "! " } else { "" };
        let network = |n: usize| NETWORKS[usize::from(is_v6)][n];
        match self {
            Self::Source(n, not) => format!("{}-s {}", no(*not), network(*n)),
            Self::Destination(n, not) => format!("{}-d {}", no(*not), network(*n)),
            Self::Interface(name, not) => {
                let option = if way == Direction::Ingress { "-i" } else { "-o" };
                format!("{}{option} {name}", no(*not))
            }
            Self::Protocol(protocol, not) => format!("{}-p {protocol}", no(*not)),
            Self::Ports(protocol, ports, not) => {
                let ports: Vec<String> = ports.iter().map(|(a, b)| format!("{a}:{b}")).collect();
                format!("-p {protocol} -m multiport {}--dports {}", no(*not), ports.join(","))
            }
            Self::Echo if is_v6 => "-p ipv6-icmp -m icmp6 --icmpv6-type 128".into(),
            Self::Echo => "-p icmp -m icmp --icmp-type 8".into(),
            Self::States(text, _, not) => format!("-m conntrack {}--ctstate {text}", no(*not)),
            Self::SourcePort(port) => format!("-p tcp -m tcp --sport {port}"),
            Self::Limit => "-m limit --limit 5/min".into(),
            Self::Owner => "-m owner --uid-owner 1000".into(),
            Self::Syn(not) => format!("-p tcp -m tcp {}--syn", no(*not)),
            Self::Kind(kind) => format!("-m addrtype --dst-type {kind}"),
        }
    }

    fn matches(&self, packet: &Packet, way: Direction, luck: bool) -> bool {
        let family = usize::from(packet.is_v6);
        let inside = |n: usize, place: usize| {
            set(NETWORKS[family][n]).contains(address(PLACES[family][place]))
        };
        let interface = INTERFACES[packet.interface];
        let _ = way;
        let has_ports = packet.protocol == 6 || packet.protocol == 17;
        match self {
            Self::Source(n, not) => inside(*n, packet.source) != *not,
            Self::Destination(n, not) => inside(*n, packet.destination) != *not,
            Self::Interface("eth+", not) => interface.starts_with("eth") != *not,
            Self::Interface(name, not) => (interface == *name) != *not,
            Self::Protocol(protocol, not) => (packet.protocol == *protocol) != *not,
            Self::Ports(protocol, ports, not) => {
                let inside = ports.iter().any(|(a, b)| (*a..=*b).contains(&packet.port));
                has_ports && packet.protocol == *protocol && inside != *not
            }
            Self::Echo => packet.protocol == 1,
            Self::States(_, is_new, not) => is_new != not,
            Self::SourcePort(port) => packet.protocol == 6 && packet.source_port == *port,
            Self::Limit | Self::Owner => luck,
            Self::Syn(not) => packet.protocol == 6 && !not,
            Self::Kind(kind) => {
                let is_multicast = inside(6, packet.destination);
                // TCP is never sent to a broadcast address.
                let is_broadcast = !is_multicast && packet.broadcast && packet.protocol != 6;
                match *kind {
                    "MULTICAST" => is_multicast,
                    "BROADCAST" => is_broadcast,
                    _ => !is_multicast && !is_broadcast,
                }
            }
        }
    }
}

/// The chains that a chain is written as, each for one direction.
fn ways(name: &str) -> Vec<(String, Direction)> {
    match name {
        "INPUT" => vec![(name.to_owned(), Direction::Ingress)],
        "OUTPUT" => vec![(name.to_owned(), Direction::Egress)],
        _ => vec![
            (format!("{name}-in"), Direction::Ingress),
            (format!("{name}-out"), Direction::Egress),
        ],
    }
}

/// As `iptables-save` prints it. Chains A and B are for both directions, in which
/// interfaces have other options: there are two of each.
fn written(chains: &[Chain], is_v6: bool) -> String {
    let program = if is_v6 { "ip6tables-save" } else { "iptables-save" };
    let mut text = format!("# Generated by {program} v1.8.9\n*filter\n");
    for chain in chains {
        let policy = if chain.accepts { "ACCEPT" } else { "DROP" };
        match chain.name {
            "A" | "B" => {
                let _ = writeln!(text, ":{0}-in - [0:0]\n:{0}-out - [0:0]", chain.name);
            }
            name => {
                let _ = writeln!(text, ":{name} {policy} [0:0]");
            }
        }
    }
    for chain in chains {
        for (name, way) in ways(chain.name) {
            for rule in &chain.rules {
                let matches: Vec<String> =
                    rule.matches.iter().map(|one| one.text(is_v6, way)).collect();
                let suffix = if way == Direction::Ingress { "in" } else { "out" };
                let target = match rule.target {
                    "A" | "B" => format!("{}-{suffix}", rule.target),
                    target => target.to_owned(),
                };
                let option = if rule.goes { "-g" } else { "-j" };
                let _ = writeln!(text, "-A {name} {} {option} {target}", matches.join(" "));
            }
        }
    }
    text + "COMMIT\n"
}

impl Match {
    /// As `nft -j` prints it.
    fn json(&self, is_v6: bool, way: Direction) -> Value {
        let op = |not: bool| if not { "!=" } else { "==" };
        let compare = |left: Value, op: &str, right: Value| json!({ "match": { "op": op, "left": left, "right": right } });
        let payload = |protocol: &str, field: &str| json!({ "payload": { "protocol": protocol, "field": field } });
        let meta = |key: &str| json!({ "meta": { "key": key } });
        let ip = if is_v6 { "ip6" } else { "ip" };
        let network = |n: usize| {
            let (address, length) =
                NETWORKS[usize::from(is_v6)][n].split_once('/').unwrap_or_default();
            json!({ "prefix": { "addr": address, "len": length.parse::<u8>().unwrap_or(0) } })
        };
        match self {
            Self::Source(n, not) => compare(payload(ip, "saddr"), op(*not), network(*n)),
            Self::Destination(n, not) => compare(payload(ip, "daddr"), op(*not), network(*n)),
            Self::Interface(name, not) => {
                let key = if way == Direction::Ingress { "iifname" } else { "oifname" };
                compare(meta(key), op(*not), json!(name.replace('+', "*")))
            }
            Self::Protocol(protocol, not) => compare(meta("l4proto"), op(*not), json!(protocol)),
            Self::Ports(protocol, ports, not) => {
                let ports: Vec<Value> =
                    ports.iter().map(|(a, b)| json!({ "range": [a, b] })).collect();
                let name = if *protocol == 6 { "tcp" } else { "udp" };
                compare(payload(name, "dport"), op(*not), json!({ "set": ports }))
            }
            Self::Echo => {
                let name = if is_v6 { "icmpv6" } else { "icmp" };
                compare(payload(name, "type"), "==", json!("echo-request"))
            }
            Self::States(text, _, not) => {
                let states: Vec<String> = text.split(',').map(str::to_lowercase).collect();
                compare(
                    json!({ "ct": { "key": "state" } }),
                    if *not { "!=" } else { "in" },
                    json!(states),
                )
            }
            Self::SourcePort(port) => compare(payload("tcp", "sport"), "==", json!(port)),
            Self::Limit => json!({ "limit": { "rate": 5, "burst": 5, "per": "minute" } }),
            Self::Owner => compare(meta("skuid"), "==", json!(1000)),
            Self::Syn(not) => {
                let flags = json!({ "|": ["fin", "syn", "rst", "ack"] });
                compare(json!({ "&": [payload("tcp", "flags"), flags] }), op(*not), json!("syn"))
            }
            Self::Kind(kind) => {
                let left = json!({ "fib": { "result": "type", "flags": ["daddr"] } });
                compare(left, "==", json!(kind.to_lowercase()))
            }
        }
    }
}

/// As `nft -j list ruleset` prints it.
fn listed(v4: &[Chain], v6: &[Chain]) -> String {
    let mut objects = vec![json!({ "metainfo": { "version": "1.0.6" } })];
    for (chains, family) in [(v4, "ip"), (v6, "ip6")] {
        for chain in chains {
            let policy = if chain.accepts { "accept" } else { "drop" };
            for (name, way) in ways(chain.name) {
                let mut object = json!({ "family": family, "table": "t", "name": name });
                if name == chain.name {
                    let hook = if way == Direction::Ingress { "input" } else { "output" };
                    object["type"] = json!("filter");
                    object["hook"] = json!(hook);
                    object["prio"] = json!(0);
                    object["policy"] = json!(policy);
                }
                objects.push(json!({ "chain": object }));
            }
        }
        for chain in chains {
            for (name, way) in ways(chain.name) {
                for rule in &chain.rules {
                    let mut all: Vec<Value> =
                        rule.matches.iter().map(|one| one.json(family == "ip6", way)).collect();
                    let suffix = if way == Direction::Ingress { "in" } else { "out" };
                    let jump = if rule.goes { "goto" } else { "jump" };
                    all.push(match rule.target {
                        "A" | "B" => {
                            json!({ jump: { "target": format!("{}-{suffix}", rule.target) } })
                        }
                        target => json!({ target.to_lowercase(): null }),
                    });
                    objects.push(json!({ "rule": { "family": family, "table": "t", "chain": name, "expr": all } }));
                }
            }
        }
    }
    json!({ "nftables": objects }).to_string()
}

/// What the rules do, one by one.
fn first_match(
    chains: &[Chain],
    name: &str,
    packet: &Packet,
    way: Direction,
    luck: &mut u64,
) -> Option<bool> {
    let Some(chain) = chains.iter().find(|chain| chain.name == name) else { panic!("{name}") };
    for rule in &chain.rules {
        *luck = luck.rotate_left(1);
        let lucky = *luck & 1 == 1;
        if !rule.matches.iter().all(|one| one.matches(packet, way, lucky)) {
            continue;
        }
        match rule.target {
            "ACCEPT" => return Some(true),
            "DROP" | "REJECT" => return Some(false),
            "RETURN" => return None,
            "LOG" => {}
            other => {
                let verdict = first_match(chains, other, packet, way, luck);
                if verdict.is_some() || rule.goes {
                    return verdict;
                }
            }
        }
    }
    None
}

fn accepts(chains: &[Chain], packet: &Packet, way: Direction) -> bool {
    let name = if way == Direction::Ingress { "INPUT" } else { "OUTPUT" };
    let policy = chains.iter().any(|chain| chain.name == name && chain.accepts);
    first_match(chains, name, packet, way, &mut packet.luck.clone()).unwrap_or(policy)
}

fn query(packet: &Packet, way: Direction) -> Query<'static> {
    let of = |place: usize| address(PLACES[usize::from(packet.is_v6)][place]);
    let (source, destination) = (of(packet.source), of(packet.destination));
    let (remote, local) = match way {
        Direction::Ingress => (source, destination),
        Direction::Egress => (destination, source),
    };
    let (protocol, value) = match (packet.protocol, packet.is_v6) {
        (1, false) => (1, 8),
        (1, true) => (58, 128),
        (protocol, _) => (protocol, packet.port),
    };
    Query {
        direction: way,
        remote,
        local,
        service: ServiceIndex::of(protocol, value),
        context: Context::Packet {
            interface: INTERFACES[packet.interface],
            vlan: None,
            tcp_flags: if packet.protocol == 6 { 2 } else { 0 },
        },
    }
}

fn imported(language: Language, files: Vec<Input>) -> (Imported, Policy) {
    let say: String = files.iter().map(|file| String::from_utf8_lossy(&file.bytes)).collect();
    let imported = import(&request(language, files));
    let imported = imported.unwrap_or_else(|report| panic!("{report}\n{say}"));
    let policy = loaded(&imported).policy;
    (imported, policy)
}

/// Compares packet by packet; whether all of the rules were carried.
fn compared(language: Language, v4: &[Chain], v6: &[Chain], packets: &[Packet]) -> bool {
    let texts = match language {
        Language::Nft => vec![("ruleset.json", listed(v4, v6))],
        _ => vec![("rules.v4", written(v4, false)), ("rules.v6", written(v6, true))],
    };
    let files = texts.iter().map(|(name, text)| file(name, text)).collect();
    let (imported, policy) = imported(language, files);
    let is_whole = imported.not_carried.is_empty();
    if is_whole {
        tests_hold(&policy);
    }
    for packet in packets {
        for way in [Direction::Ingress, Direction::Egress] {
            let chains = if packet.is_v6 { v6 } else { v4 };
            let source = accepts(chains, packet, way);
            let ours = model::evaluate(&policy, &query(packet, way)).action == Action::Allow;
            let say = || {
                format!(
                    "{packet:?} {way:?}: source {source}, ours {ours}\n{texts:#?}\n{}",
                    imported.policy
                )
            };
            assert!(source || !ours, "more open: {}", say());
            assert!(!is_whole || source == ours, "not equal: {}", say());
        }
    }
    is_whole
}

const LANGUAGES: [Language; 2] = [Language::Iptables, Language::Nft];

/// Rules of kinds that are carried: many lists of them must be, and are equal then.
#[test]
fn what_is_carried_is_equal() {
    for language in LANGUAGES {
        let config =
            ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() };
        let mut runner = TestRunner::new(config);
        let (whole, all) = (Cell::new(0), Cell::new(0));
        let rules = (table(carried().boxed()), table(carried().boxed()), packets());
        let done = runner.run(&rules, |(v4, v6, packets)| {
            whole.set(whole.get() + u32::from(compared(language, &v4, &v6, &packets)));
            all.set(all.get() + 1);
            Ok(())
        });
        done.unwrap_or_else(|error| panic!("{error}"));
        assert!(whole.get() * 4 > all.get(), "{} of {} are carried", whole.get(), all.get());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_not_carried_never_opens(
        language in select(LANGUAGES.to_vec()),
        v4 in table(any_match().boxed()),
        v6 in table(any_match().boxed()),
        packets in packets(),
    ) {
        compared(language, &v4, &v6, &packets);
    }
}
