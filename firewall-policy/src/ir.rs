//! The checked policy: what the compiler, the model and the checks agree on.
//!
//! Every name is resolved, every set is exact, and everything a person wrote
//! keeps the [`Span`] it came from. Nothing here knows of YAML or of tables.

use crate::set::{AddrSet, ServiceSet};
use crate::source::Span;

/// Which way a packet goes, seen from this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the wire to this host (XDP, or TC ingress).
    Ingress,
    /// From this host to the wire (TC egress).
    Egress,
}

/// What a rule or a default does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Let the packet pass.
    Allow,
    /// Drop the packet.
    Drop,
}

/// How the requests of a service are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Count {
    /// HTTP/1.x request lines by the turn rule.
    Http1,
    /// `ClientHello` records: TLS handshakes.
    Tls,
    /// MySQL command packets.
    Mysql,
    /// DNS queries.
    Dns,
}

/// One rule of a chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The name the user wrote, unique per direction within its role.
    pub name: String,
    /// The role the rule came from; empty for a rule of a shared file.
    pub role: String,
    /// The other end: source on ingress (`from`), destination on egress (`to`).
    pub remote: AddrSet,
    /// This host's end (ingress `to`, egress `from`); `any` when not written.
    pub local: AddrSet,
    /// Protocols and destination ports; full for `service: all`.
    pub services: ServiceSet,
    /// How requests are counted, by part of `services`; disjoint.
    pub counts: Vec<(ServiceSet, Count)>,
    /// Interface name globs; empty = any interface.
    pub interfaces: Vec<String>,
    /// VLAN ids; empty = any or none.
    pub vlans: Vec<u16>,
    /// TCP flags that must be set and must be clear; `None` = not asked.
    pub tcp_flags: Option<TcpFlags>,
    /// Whether drops of this rule raise events.
    pub log: Log,
    /// Where the rule was written.
    pub span: Span,
    /// Where the rule's `from` or `to` was written, for messages.
    pub remote_span: Span,
    /// The words the user wrote for the remote end, for people (`load-balancers`).
    pub remote_text: String,
    /// The words the user wrote for the service, for people (`http, https`).
    pub service_text: String,
    /// Free text of the file: who owns the rule.
    pub owner: Option<String>,
    /// Free text of the file: why the rule exists.
    pub reason: Option<String>,
    /// Free text of the file: the ticket it came with.
    pub ticket: Option<String>,
}

impl Rule {
    /// Whether `name` means this rule: its own name, or `role/name` where several
    /// roles have a rule of that name.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        match name.split_once('/') {
            Some((role, name)) => role == self.role && name == self.name,
            None => name == self.name,
        }
    }
}

/// A condition on the TCP flags byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TcpFlags {
    /// Flags that are looked at.
    pub mask: u8,
    /// Flags that must be set among those looked at.
    pub value: u8,
}

/// Whether a rule raises events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Log {
    /// As the verdict does by default: drops are sampled, passes are not.
    #[default]
    Default,
    /// Never.
    Off,
    /// Sampled, whatever the verdict.
    Sampled,
}

/// The rules of one direction. Each is kept by itself: lists of a hundred thousand are put
/// together, and then no rule need be moved.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// Evaluated before everything but malformed packets.
    pub failsafe: Vec<Box<Rule>>,
    /// Any match wins over every allow.
    pub deny: Vec<Box<Rule>>,
    /// First in this order gets the hit; the verdict does not depend on it.
    pub allow: Vec<Box<Rule>>,
    /// The verdict when nothing matches.
    pub default: Action,
    /// Where the default was written; the file's start when it was not.
    pub default_span: Span,
}

impl Chain {
    /// Every rule, in order of precedence.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        [&self.failsafe, &self.deny, &self.allow].into_iter().flatten().map(|rule| &**rule)
    }
}

/// What the user chose of the built-in baseline.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own in the file")]
#[derive(Clone, Debug, PartialEq)]
pub struct Baseline {
    /// Whether the baseline is on at all.
    pub host: bool,
    /// DHCP client traffic is admitted (`auto` counts as on).
    pub dhcp: bool,
    /// Echo requests admitted per second and source; 0 = none.
    pub ping_per_second: u32,
    /// Unknown `EtherType`s are admitted (counted) or dropped.
    pub non_ip_all: bool,
    /// Later fragments without a known first one are dropped.
    pub fragments_strict: bool,
    /// Packets to addresses that are not this host's pass unjudged.
    pub forward_pass: bool,
}

/// Settings of the table of flows that this host opened.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Capacity, entries.
    pub flows: u32,
    /// Idle time of a TCP flow, seconds.
    pub tcp_idle_s: u32,
    /// Idle time of an unanswered UDP flow, seconds.
    pub udp_idle_s: u32,
    /// Whether forgotten flows with a live socket are picked up again.
    pub pickup_loose: bool,
    /// Whether open flows are seeded at first attach.
    pub seed: bool,
}

/// Which interfaces the policy is enforced on.
#[derive(Clone, Debug, PartialEq)]
pub struct Interfaces {
    /// Name globs.
    pub matches: Vec<String>,
    /// Name globs taken away again.
    pub ignore: Vec<String>,
    /// Where ingress is hooked.
    pub ingress_hook: IngressHook,
}

/// Where ingress is hooked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IngressHook {
    /// XDP native, else XDP generic.
    Auto,
    /// XDP, native or generic, never TC.
    Xdp,
    /// TC ingress.
    Tc,
}

/// A named series for `firewall rates` and metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct Rate {
    /// Name of the series.
    pub name: String,
    /// Name of the rule it reads.
    pub rule: String,
    /// Direction of that rule.
    pub direction: Direction,
    /// What is counted.
    pub unit: Unit,
    /// Where it was written.
    pub span: Span,
}

/// The unit of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Wire packets.
    Packets,
    /// Bytes.
    Bytes,
    /// TCP SYNs (ingress) or flows opened (egress).
    NewFlows,
    /// HTTP/1.x requests.
    HttpRequests,
    /// TLS handshakes.
    TlsHandshakes,
    /// MySQL `COM_QUERY` and `COM_STMT_EXECUTE`.
    MysqlCommands,
    /// DNS queries.
    DnsQueries,
}

/// A sentence of the owner about the policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// Its name.
    pub name: String,
    /// Role it belongs to.
    pub role: String,
    /// `in` or `out`.
    pub direction: Direction,
    /// Source address.
    pub from: std::net::IpAddr,
    /// Destination address.
    pub to: std::net::IpAddr,
    /// Protocol and ports.
    pub probe: Probe,
    /// A packet of a running connection, not an opening one.
    pub established: bool,
    /// 802.1Q tag, if any.
    pub vlan: Option<u16>,
    /// Whether it is a later fragment (no transport header).
    pub fragment: bool,
    /// The verdict wanted.
    pub expect: Action,
    /// The rule or built-in that must have decided, if named.
    pub by: Option<String>,
    /// Where the test was written.
    pub span: Span,
    /// Where its `expect` was written.
    pub expect_span: Span,
    /// Where the name of the rule is written, if one is.
    pub by_span: Option<Span>,
}

/// Protocol part of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Source and destination port.
    Tcp(u16, u16),
    /// Source and destination port.
    Udp(u16, u16),
    /// ICMP type.
    Icmp(u8),
    /// ICMPv6 type.
    Icmpv6(u8),
    /// Another protocol by number.
    Proto(u8),
}

/// One host's whole policy: the union of its roles.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Role names in the order given.
    pub roles: Vec<String>,
    /// Arriving packets.
    pub ingress: Chain,
    /// Packets this host sends.
    pub egress: Chain,
    /// Built-in rules.
    pub baseline: Baseline,
    /// Flow table.
    pub state: State,
    /// Interfaces.
    pub interfaces: Interfaces,
    /// Named series.
    pub rates: Vec<Rate>,
    /// The policy's own tests.
    pub tests: Vec<Test>,
    /// Bytes the maps may take; `None` = not limited.
    pub memory_max: Option<u64>,
}

impl Policy {
    /// The chain of one direction.
    #[must_use]
    pub fn chain(&self, direction: Direction) -> &Chain {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}
