//! Policies built by hand or at random, and the compiler held against the model.

mod classes;
mod equals_model;
mod explain;
mod hosts;
mod limits;
mod lines;
mod room;
mod scale;
mod slots;
mod trie;

use std::net::IpAddr;
use std::sync::Arc;

use firewall_common::policy;
use firewall_common::verdict::Direction as Hook;

use super::{Budget, Environment, Generation, List, Settings, SlotTable, compile};
use crate::host::HostTables;
use crate::ir::{
    Action, Baseline, Chain, Direction, IngressHook, Interfaces, Log, Policy, Rule, State,
};
use crate::model::{Context, Query};
use crate::set::{AddrSet, ServiceSet};
use crate::source::{Source, Span};

/// A place in a file that nobody reads.
fn span() -> Span {
    let text = "first line\nrule\n".to_owned();
    let source = Source { name: "rules/test.yaml".into(), text };
    Span { source: Arc::new(source), start: 11, end: 15 }
}

/// A rule that asks for nothing.
fn rule(name: &str) -> Rule {
    Rule {
        name: name.into(),
        role: "test".into(),
        remote: AddrSet::any(),
        local: AddrSet::any(),
        services: ServiceSet::full(),
        counts: Vec::new(),
        interfaces: Vec::new(),
        vlans: Vec::new(),
        tcp_flags: None,
        log: Log::Default,
        span: span(),
        remote_span: span(),
        remote_text: "any".into(),
        service_text: "all".into(),
        owner: None,
        reason: None,
        ticket: None,
    }
}

fn chain(failsafe: Vec<Rule>, deny: Vec<Rule>, allow: Vec<Rule>) -> Chain {
    let [failsafe, deny, allow] =
        [failsafe, deny, allow].map(|rules| rules.into_iter().map(Box::new).collect());
    Chain { failsafe, deny, allow, default: Action::Drop, default_span: span() }
}

/// A policy of these chains, and otherwise plain.
fn policy_of(ingress: Chain, egress: Chain) -> Policy {
    Policy {
        roles: vec!["test".into()],
        ingress,
        egress,
        baseline: Baseline {
            host: true,
            dhcp: true,
            ping_per_second: 10,
            non_ip_all: false,
            fragments_strict: false,
            forward_pass: false,
        },
        state: State {
            flows: 1024,
            tcp_idle_s: 3600,
            udp_idle_s: 30,
            pickup_loose: true,
            seed: true,
        },
        interfaces: Interfaces {
            matches: vec!["*".into()],
            ignore: Vec::new(),
            ingress_hook: IngressHook::Auto,
        },
        rates: Vec::new(),
        tests: Vec::new(),
        memory_max: None,
    }
}

fn network(text: &str) -> AddrSet {
    let (address, length) = text.split_once('/').unwrap();
    AddrSet::network(address.parse().unwrap(), length.parse().unwrap())
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Interfaces of the host that tests compile for.
const INTERFACES: [(&str, u32); 3] = [("eth0", 2), ("eth1", 3), ("wg0", 7)];

/// No dense cells.
const SHARED: Budget = Budget { dense_bytes: 0, ..Budget::USUAL };

/// Neither dense cells nor those that keep what pairs have in common.
const LINES: Budget = Budget { dense_bytes: 0, shared_bytes: 0, ..Budget::USUAL };

/// Nor rows of lines.
const VECTORS: Budget = Budget { row_bytes: 0, ..LINES };

fn environment() -> Environment {
    Environment {
        interfaces: INTERFACES.map(|(name, index)| (name.to_owned(), index)).to_vec(),
        cpus: 2,
        generation_slot: 0,
        seed: 0x5eed,
        budget: Budget::USUAL,
        told: None,
        flows: None,
    }
}

fn compiled(policy: &Policy) -> Generation {
    compile(policy, &environment(), &mut SlotTable::default()).unwrap()
}

/// Asks the tables what the model is asked.
fn ask(generation: &Generation, query: &Query<'_>) -> firewall_common::abi::tables::Cell {
    use firewall_common::packet::{Address, Family};
    let aligned = |address| match address {
        IpAddr::V4(address) => Address::from_v4(address.into()),
        IpAddr::V6(address) => Address::from_v6(address.into()),
    };
    let context = match query.context {
        Context::Reply { .. } => None,
        Context::Packet { interface, vlan, tcp_flags } => {
            let known = INTERFACES.iter().find(|(name, _)| *name == interface);
            Some(policy::Context {
                ifindex: known.map_or(99, |&(_, index)| index),
                vlan: vlan.unwrap_or(policy::Context::UNTAGGED),
                tcp_flags,
            })
        }
    };
    let query = policy::Query {
        direction: match query.direction {
            Direction::Ingress => Hook::Ingress,
            Direction::Egress => Hook::Egress,
        },
        remote: aligned(query.remote),
        local: aligned(query.local),
        family: if query.remote.is_ipv4() { Family::V4 } else { Family::V6 },
        service: query.service,
        context,
    };
    policy::decide(&HostTables::new(generation), &query)
}

/// What the tables must know of a rule, by direction, list and place.
fn info(
    generation: &Generation,
    direction: Direction,
    list: List,
    place: usize,
) -> &super::RuleInfo {
    let of = |rule: &&super::RuleInfo| rule.direction == direction && rule.list == list;
    generation.rules.iter().filter(of).nth(place).unwrap()
}
