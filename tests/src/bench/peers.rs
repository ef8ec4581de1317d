//! What Debian's packages offer beside us, set up by the book.
//!
//! Every set holds the same rules as ours: a /24 and a port each. The frames match
//! none, so that all is searched, and are dropped at the end; what is sent passes.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use firewall_policy::ir::Direction;

use super::Bench;
use super::bpf;
use super::policy;
use super::traffic::Random;
use super::wire::INTERFACE;
use crate::gate;
use crate::host::Host;
use crate::packet::SERVER4;

/// A netfilter set-up: a script that makes it, one that takes it away.
pub(super) struct Peer {
    pub(super) row: String,
    host: Host,
    up: String,
    down: &'static str,
}

/// A set-up in force; dropping it takes it away.
pub(super) struct Up<'a>(&'a Peer);

impl Peer {
    /// Puts it in force.
    pub(super) fn up(&self) -> Result<Up<'_>> {
        let up = Up(self);
        self.host.sh(&self.up)?;
        Ok(up)
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        // A script that failed half-way leaves less to take away.
        let _ = self.0.host.sh(self.0.down);
    }
}

/// Netfilter's ways of holding the same rules, for frames that come in.
pub(super) fn netfilter(bench: &mut Bench<'_>) -> Result<Vec<Peer>> {
    let needs = &[("ethtool", "ethtool")];
    let mut peers = Peers { bench, section: "veth", needs, found: Vec::new() };
    let others = [Rules::Set(1_000), Rules::Networks(10_000)];
    for rules in NFT_RULES.into_iter().chain(others) {
        peers.nft(Direction::Ingress, rules)?;
    }
    for (count, words) in [(100, "100"), (1_000, "1,000")] {
        let make = || Script::restore("iptables-legacy-restore", &input(count));
        peers.add(&LEGACY, &format!("iptables-legacy INPUT, {words} rules"), make)?;
    }
    let make = || Script::restore("iptables-nft-restore", &input(100));
    peers.add(&IPTABLES_NFT, "iptables-nft INPUT, 100 rules", make)?;
    peers.add(&IPSET, "ipset hash:net,port of 1,000", || ipset(1_000, true))?;
    peers.add(&IPSET, "ipset hash:ip of 100,000", || ipset(100_000, false))?;
    if !peers.found.is_empty() {
        // Without native XDP, frames of veth reach NAPI only so.
        peers.bench.pair.server.sh(&format!("ethtool -K {INTERFACE} gro on"))?;
    }
    Ok(peers.found)
}

/// The same for datagrams that this host sends, which pass at the end.
pub(super) fn output(bench: &mut Bench<'_>) -> Result<Vec<Peer>> {
    let mut peers = Peers { bench, section: "socket", needs: &[], found: Vec::new() };
    for rules in NFT_RULES {
        peers.nft(Direction::Egress, rules)?;
    }
    Ok(peers.found)
}

/// As many rules as ours and more, in the ways that peers load quickest.
pub(super) fn large(bench: &mut Bench<'_>) -> Result<Vec<Peer>> {
    let mut peers = Peers { bench, section: "load", needs: &[], found: Vec::new() };
    let make = || Script::restore("iptables-legacy-restore", &input(1_000));
    peers.add(&LEGACY, "iptables-legacy INPUT, 1,000 rules", make)?;
    for rules in [Rules::Map(1_000), Rules::Map(10_000), Rules::MapAndHosts(100_000, MILLION)] {
        peers.nft(Direction::Ingress, rules)?;
    }
    peers.add(&IPSET, "ipset hash:ip of 1,000,000", || ipset(MILLION, false))?;
    Ok(peers.found)
}

const MILLION: u32 = 1_000_000;

/// What sets a peer up, and takes away what that has made.
struct Tool {
    command: &'static str,
    package: &'static str,
    down: &'static str,
}

const NFT: Tool = Tool { command: "nft", package: "nftables", down: "nft flush ruleset" };
const LEGACY: Tool = Tool {
    command: "iptables-legacy",
    package: "iptables",
    down: "for t in raw filter; do iptables-legacy -t $t -F; done; \
           if command -v ipset; then ipset destroy; fi",
};
const IPSET: Tool = Tool { command: "ipset", package: "ipset", down: LEGACY.down };
const IPTABLES_NFT: Tool = Tool {
    command: "iptables-nft",
    package: "iptables",
    down: "iptables-nft -F; nft flush ruleset",
};

/// Peers of a section. What is not installed is noted as skipped.
struct Peers<'a, 'b> {
    bench: &'a mut Bench<'b>,
    section: &'static str,
    /// Programs that all of them need, and their packages.
    needs: &'static [(&'static str, &'static str)],
    found: Vec<Peer>,
}

/// How nftables holds rules in either direction.
const NFT_RULES: [Rules; 4] =
    [Rules::InARow(10), Rules::InARow(100), Rules::InARow(1_000), Rules::Map(1_000)];

impl Peers<'_, '_> {
    fn nft(&mut self, direction: Direction, rules: Rules) -> Result<()> {
        let hook = match direction {
            Direction::Ingress => "ingress",
            Direction::Egress => "output",
        };
        let row = format!("nft {hook}, {}", rules.words());
        self.add(&NFT, &row, || Script::nft(&chain(direction, rules)))
    }

    fn add(&mut self, tool: &Tool, row: &str, make: impl FnOnce() -> Script) -> Result<()> {
        if !self.bench.options.asks(self.section, row) {
            return Ok(());
        }
        let needs = self.needs.iter().copied().chain([(tool.command, tool.package)]);
        for (command, package) in needs {
            if let Err(error) = gate::tool(command, package) {
                self.bench.book.skip(self.section, row, &error);
                return Ok(());
            }
        }
        let host = self.bench.pair.server.clone();
        let up = make().write(&host, row)?;
        self.found.push(Peer { row: row.to_owned(), host, up, down: tool.down });
        Ok(())
    }
}

/// A shell line, and files that it reads.
struct Script {
    line: String,
    files: Vec<String>,
}

impl Script {
    fn nft(text: &str) -> Self {
        Self { line: "nft -f FILE0".into(), files: vec![text.to_owned()] }
    }

    fn restore(program: &str, text: &str) -> Self {
        Self { line: format!("{program} < FILE0"), files: vec![text.to_owned()] }
    }

    /// Writes the files and returns the line with their names.
    fn write(self, host: &Host, row: &str) -> Result<String> {
        let plain: String = row.chars().filter(char::is_ascii_alphanumeric).collect();
        let mut line = self.line;
        for (number, text) in self.files.iter().enumerate() {
            let path: PathBuf = host.directory().join(format!("{plain}-{number}"));
            std::fs::write(&path, text)?;
            line = line.replace(&format!("FILE{number}"), &path.to_string_lossy());
        }
        Ok(line)
    }
}

fn rule(number: u32) -> (Ipv4Addr, u16) {
    (policy::network(number).into(), policy::port(number))
}

/// How nftables holds so many rules.
#[derive(Clone, Copy)]
enum Rules {
    InARow(u32),
    /// Verdicts by network and port.
    Map(u32),
    /// Networks and ports.
    Set(u32),
    /// Networks alone.
    Networks(u32),
    /// A map, behind a set of so many hosts.
    MapAndHosts(u32, u32),
}

impl Rules {
    fn words(self) -> String {
        let number = |count: u32| match (count / 1_000, count % 1_000) {
            (0, few) => few.to_string(),
            (1_000, 0) => "1,000,000".to_owned(),
            (thousands, rest) => format!("{thousands},{rest:03}"),
        };
        match self {
            Self::InARow(count) => format!("{} rules in a row", number(count)),
            Self::Map(count) => format!("vmap of {}", number(count)),
            Self::Set(count) => format!("concatenated set of {}", number(count)),
            Self::Networks(count) => format!("interval set of {}", number(count)),
            Self::MapAndHosts(map, set) => {
                format!("vmap of {}, set of {}", number(map), number(set))
            }
        }
    }
}

/// A chain where frames enter the machine, before anything else of netfilter, and TCP
/// segments are dropped at the end; or one through which datagrams leave it.
fn chain(direction: Direction, rules: Rules) -> String {
    let (remote, protocol) = match direction {
        Direction::Ingress => ("saddr", "tcp"),
        Direction::Egress => ("daddr", "udp"),
    };
    let map = |count| concatenated("map", count, " : verdict", " : drop");
    let by_map = format!("ip {remote} . {protocol} dport vmap @s\n");
    let (set, rules) = match rules {
        Rules::InARow(count) => (String::new(), in_a_row(count, remote, protocol)),
        Rules::Map(count) => (map(count), by_map),
        Rules::Set(count) => (
            concatenated("set", count, "", ""),
            format!("ip {remote} . {protocol} dport @s counter drop\n"),
        ),
        Rules::Networks(count) => (networks(count), format!("ip {remote} @s counter drop\n")),
        Rules::MapAndHosts(count, hosts) => (
            map(count) + &set_of_hosts(hosts),
            format!("ip {remote} @hosts counter drop\n{by_map}"),
        ),
    };
    match direction {
        Direction::Ingress => format!(
            "table netdev bench {{\n{set}chain c {{ type filter hook ingress device {INTERFACE} \
             priority 0; policy accept;\n{rules}ip daddr {SERVER4} drop\n}}\n}}\n"
        ),
        Direction::Egress => format!(
            "table ip bench {{\n{set}chain c {{ type filter hook output priority 0; \
             policy accept;\n{rules}}}\n}}\n"
        ),
    }
}

fn in_a_row(count: u32, remote: &str, protocol: &str) -> String {
    let mut rules = String::new();
    for number in 0..count {
        let (network, port) = rule(number);
        let _ = writeln!(rules, "ip {remote} {network}/24 {protocol} dport {port} counter drop");
    }
    rules
}

fn concatenated(kind: &str, count: u32, of: &str, verdict: &str) -> String {
    let element = |number| {
        let (network, port) = rule(number);
        format!("{network}/24 . {port}{verdict}")
    };
    let elements = (0..count).map(element).collect::<Vec<_>>().join(", ");
    format!(
        "{kind} s {{ type ipv4_addr . inet_service{of}; flags interval; elements = {{ {elements} }} }}\n"
    )
}

fn networks(count: u32) -> String {
    let mut networks: Vec<u32> = (0..count).map(policy::network).collect();
    networks.sort_unstable();
    networks.dedup();
    let elements: Vec<_> =
        networks.into_iter().map(|network| format!("{}/24", Ipv4Addr::from(network))).collect();
    format!(
        "set s {{ type ipv4_addr; flags interval; elements = {{ {} }} }}\n",
        elements.join(", ")
    )
}

fn set_of_hosts(count: u32) -> String {
    let mut random = Random::new(3);
    let mut hosts: Vec<Ipv4Addr> = (0..count).map(|_| random.address().into()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let elements: Vec<_> = hosts.iter().map(ToString::to_string).collect();
    format!("set hosts {{ type ipv4_addr; elements = {{ {} }} }}\n", elements.join(", "))
}

/// `iptables-restore`'s text: rules in a row in INPUT, the rest of ours dropped.
fn input(count: u32) -> String {
    let mut text =
        "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n".to_owned();
    for number in 0..count {
        let (network, port) = rule(number);
        let _ = writeln!(text, "-A INPUT -s {network}/24 -p tcp --dport {port} -j DROP");
    }
    let _ = writeln!(text, "-A INPUT -i {INTERFACE} -j DROP\nCOMMIT");
    text
}

/// A set in front of a drop of everything, in `raw`, where a set is cheapest.
fn ipset(count: u32, with_port: bool) -> Script {
    let (kind, direction) =
        if with_port { ("hash:net,port", "src,dst") } else { ("hash:ip", "src") };
    let mut random = Random::new(3);
    let mut set = format!("create bench {kind} maxelem {}\n", count * 2);
    for number in 0..count {
        let (network, port) = rule(number);
        let element = if with_port {
            format!("{network}/24,tcp:{port}")
        } else {
            Ipv4Addr::from(random.address()).to_string()
        };
        let _ = writeln!(set, "add bench {element} -exist");
    }
    let rules = format!(
        "*raw\n-A PREROUTING -m set --match-set bench {direction} -j DROP\n\
         -A PREROUTING -i {INTERFACE} -j DROP\nCOMMIT\n"
    );
    Script {
        line: "ipset restore < FILE0 && iptables-legacy-restore < FILE1".into(),
        files: vec![set, rules],
    }
}

/// xdp-filter's programs, loaded by its own command and then detached: by name. Its
/// policy is to deny, so that what matches nothing is dropped, as it is by ours.
pub(super) fn xdp_filters(
    bench: &mut Bench<'_>,
    section: &'static str,
) -> Vec<(&'static str, OwnedFd)> {
    let mut ports = String::new();
    // None that packets are for: its policy admits those that it is told.
    for port in (62_000..).take(10) {
        let _ = writeln!(ports, "xdp-filter port {port}");
    }
    let mut random = Random::new(4);
    let mut addresses = String::new();
    for _ in 0..100 {
        let _ = writeln!(addresses, "xdp-filter ip -m src {}", Ipv4Addr::from(random.address()));
    }
    let variants = [
        ("xdp-filter tcp, 10 ports", "-f tcp", ports.clone()),
        ("xdp-filter ipv4, 100 addresses", "-f ipv4", addresses.clone()),
        ("xdp-filter all, 10 ports, 100 addresses", "", ports + &addresses),
    ];
    let mut programs = Vec::new();
    for (row, features, entries) in variants {
        if !bench.options.asks(section, row) {
            continue;
        }
        if let Err(error) = gate::tool("xdp-filter", "xdp-tools") {
            bench.book.skip(section, row, &error);
            continue;
        }
        match xdp_filter(&bench.pair.server, features, &entries) {
            Ok(program) => programs.push((row, program)),
            Err(error) => bench.book.skip(section, row, &error),
        }
    }
    programs
}

fn xdp_filter(host: &Host, features: &str, entries: &str) -> Result<OwnedFd> {
    let unload = format!("xdp-filter unload {INTERFACE}");
    let script = format!(
        "set -e\nxdp-filter load {INTERFACE} -m native -p deny {features} >&2\n{entries} ip -j link show {INTERFACE}"
    );
    let answer = host.sh(&script);
    let program = answer.and_then(|answer| {
        let links: serde_json::Value = serde_json::from_str(answer.trim())?;
        let id = links[0]["xdp"]["prog"]["id"].as_u64().context("xdp-filter attached nothing")?;
        bpf::by_id(u32::try_from(id)?)
    });
    // The descriptor keeps the program and its maps.
    let unloaded = host.run(Command::new("sh").args(["-c", &unload]));
    drop(unloaded);
    program
}
