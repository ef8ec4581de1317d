//! What an expression looks at, and which packets have a value there.

use firewall_common::service::{ServiceIndex, proto};
use serde_json::Value;

use super::super::iptables;
use super::super::matching::state;
use super::super::space::{Boxed, Cast, interface, multicast, ports, protocol};
use super::super::values::{icmp_type, network, port, protocol_number, range};
use crate::ir::Direction;
use crate::set::{AddrSet, ServiceSet};

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Source(bool),
    Destination(bool),
    /// Destination port of some protocols; `None` for whatever stands there.
    Port(Option<u8>),
    /// The protocol, of IPv4 only or of both families.
    Protocol(bool),
    Icmp(bool),
    Interface(Direction),
    Family,
    State,
    Flags,
    /// The kind of the destination.
    Kind,
    Other(String),
}

/// What an expression looks at: several things if they are concatenated.
pub(super) fn keys(left: &Value) -> Vec<Key> {
    if let Some(parts) = left.get("concat").and_then(Value::as_array) {
        return parts.iter().flat_map(keys).collect();
    }
    vec![key(left)]
}

fn key(left: &Value) -> Key {
    let word = |outer: &str, inner: &str| left.get(outer)?.get(inner)?.as_str();
    if let (Some(protocol), Some(field)) = (word("payload", "protocol"), word("payload", "field")) {
        let is_v6 = matches!(protocol, "ip6" | "icmpv6");
        return match (protocol, field) {
            ("ip" | "ip6", "saddr") => Key::Source(is_v6),
            ("ip" | "ip6", "daddr") => Key::Destination(is_v6),
            ("ip", "protocol") => Key::Protocol(true),
            ("tcp", "dport") => Key::Port(Some(proto::TCP)),
            ("udp", "dport") => Key::Port(Some(proto::UDP)),
            ("sctp", "dport") => Key::Port(Some(proto::SCTP)),
            ("th", "dport") => Key::Port(None),
            ("tcp", "flags") => Key::Flags,
            ("icmp" | "icmpv6", "type") => Key::Icmp(is_v6),
            (_, "sport") => Key::Other("the source port".to_owned()),
            _ => Key::Other(format!("{protocol} {field}")),
        };
    }
    if let Some(key) = word("meta", "key") {
        return match key {
            "l4proto" => Key::Protocol(false),
            "nfproto" | "protocol" => Key::Family,
            "iifname" | "iif" => Key::Interface(Direction::Ingress),
            "oifname" | "oif" => Key::Interface(Direction::Egress),
            other => Key::Other(format!("meta {other}")),
        };
    }
    match word("ct", "key") {
        Some("state") => return Key::State,
        Some(other) => return Key::Other(format!("ct {other}")),
        None => {}
    }
    let fib = left.get("fib");
    let flags = fib.and_then(|fib| fib.get("flags")).map(ToString::to_string).unwrap_or_default();
    if word("fib", "result") == Some("type")
        && matches!(flags.as_str(), "[\"daddr\"]" | "\"daddr\"")
    {
        return Key::Kind;
    }
    match left.as_object().and_then(|map| map.keys().next()) {
        Some(kind) if kind.len() < 20 => Key::Other(kind.clone()),
        _ => Key::Other("an expression".to_owned()),
    }
}

impl Key {
    /// The packets that have such a thing at all.
    pub(super) fn domain(&self) -> Boxed {
        let mut all = Boxed::all();
        match self {
            Self::Source(is_v6) | Self::Destination(is_v6) => {
                all.source = iptables::family(*is_v6);
                all.destination = iptables::family(*is_v6);
            }
            Self::Protocol(true) => {
                all.source = iptables::family(false);
                all.destination = iptables::family(false);
            }
            Self::Icmp(is_v6) => {
                all.services = protocol(if *is_v6 { proto::ICMPV6 } else { proto::ICMP });
            }
            Self::Port(Some(number)) => all.services = protocol(*number),
            Self::Flags => all.services = protocol(proto::TCP),
            _ => {}
        }
        all
    }

    /// The packets of its domain that have a value here; `None` if that is not known.
    pub(super) fn packets(&self, value: &Value) -> Option<Boxed> {
        let mut one = Boxed::all();
        match self {
            Self::Source(_) => one.source = addresses(value)?,
            Self::Destination(_) => one.destination = addresses(value)?,
            Self::Port(number) => {
                let (low, high) = between(value, &|text| port(text))?;
                let firsts = [
                    (proto::TCP, 0),
                    (proto::UDP, ServiceIndex::UDP),
                    (proto::SCTP, ServiceIndex::SCTP),
                ];
                let of =
                    firsts.iter().filter(|(known, _)| number.is_none_or(|number| number == *known));
                let sets = of.map(|&(_, first)| ports(first, low, high));
                one.services = sets.fold(ServiceSet::empty(), |all, one| all.union(&one));
            }
            Self::Protocol(_) => one.services = protocol(number_of(value, protocol_number)?),
            Self::Icmp(is_v6) => {
                let kind = number_of(value, |text| icmp_type(*is_v6, text).map(|(kind, _)| kind))?;
                let first = self.domain().services.ranges().first()?.0 + u32::from(kind);
                one.services = ServiceSet::range(first, first);
            }
            Self::Interface(Direction::Ingress) => one.from = interface(value.as_str()?, '*'),
            Self::Interface(Direction::Egress) => one.to = interface(value.as_str()?, '*'),
            Self::Family => {
                let family = match value.as_str()? {
                    "ipv4" | "ip" => iptables::family(false),
                    "ipv6" | "ip6" => iptables::family(true),
                    _ => AddrSet::empty(),
                };
                (one.source, one.destination) = (family.clone(), family);
            }
            Self::Kind => {
                let unicast = AddrSet::any().subtract(&multicast());
                (one.destination, one.cast) = match value.as_str()? {
                    "local" => (unicast, Cast::LOCAL),
                    "broadcast" => (unicast, Cast::BROADCAST),
                    "multicast" => (multicast(), Cast::ANY),
                    _ => return None,
                };
            }
            Self::State | Self::Flags | Self::Other(_) => return None,
        }
        Some(one)
    }
}

fn addresses(value: &Value) -> Option<AddrSet> {
    if let Some(text) = value.as_str() {
        return network(text);
    }
    if let Some(prefix) = value.get("prefix") {
        let (address, length) = (prefix.get("addr")?.as_str()?, prefix.get("len")?.as_u64()?);
        return network(&format!("{address}/{length}"));
    }
    let [first, last] = value.get("range")?.as_array()?.as_slice() else { return None };
    range(first.as_str()?, last.as_str()?)
}

/// A port or a range of ports.
fn between(value: &Value, named: &impl Fn(&str) -> Option<u16>) -> Option<(u16, u16)> {
    let one = |value: &Value| match value {
        Value::Number(number) => u16::try_from(number.as_u64()?).ok(),
        other => named(other.as_str()?),
    };
    match value.get("range").and_then(Value::as_array).map(Vec::as_slice) {
        Some([first, last]) => Some((one(first)?, one(last)?)).filter(|(low, high)| low <= high),
        Some(_) => None,
        None => one(value).map(|port| (port, port)),
    }
}

fn number_of(value: &Value, named: impl Fn(&str) -> Option<u8>) -> Option<u8> {
    match value {
        Value::Number(number) => u8::try_from(number.as_u64()?).ok(),
        other => named(other.as_str()?),
    }
}

/// `<` and its like as a range of ports.
pub(super) fn ordered(op: &str, right: &Value) -> Option<Value> {
    let value = right.as_u64().filter(|value| *value <= 0xffff)?;
    let (low, high) = match op {
        "<" => (0, value.checked_sub(1)?),
        "<=" => (0, value),
        ">" => (value + 1, 0xffff),
        ">=" => (value, 0xffff),
        _ => return None,
    };
    Some(serde_json::json!({ "range": [low, high] }))
}

/// Words of a value that may be one, a list, a set, or joined by `|`.
fn all_words(value: &Value) -> Option<Vec<&str>> {
    let list = value
        .as_array()
        .or_else(|| value.get("set")?.as_array())
        .or_else(|| value.get("|")?.as_array());
    match list {
        Some(list) => Some(list.iter().map(all_words).collect::<Option<Vec<_>>>()?.concat()),
        None => value.as_str().map(|word| vec![word]),
    }
}

pub(super) fn states(value: &Value) -> Option<u8> {
    all_words(value)?.into_iter().try_fold(0, |all, name| Some(all | state::of(name)?))
}

/// A match on TCP flags: mask, value, and whether it is negated. `None` of several values.
pub(super) fn flags(left: &Value, op: &str, right: &Value) -> Option<(u8, u8, bool)> {
    if right.get("set").is_some() {
        return None;
    }
    let bits = |value: &Value| {
        if value.as_u64() == Some(0) {
            return Some(0);
        }
        all_words(value)?.into_iter().try_fold(0, |all, name| {
            let place = ["fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr"]
                .iter()
                .position(|flag| *flag == name)?;
            Some(all | 1_u8 << place)
        })
    };
    if let Some([inner, mask]) = left.get("&").and_then(Value::as_array).map(Vec::as_slice) {
        let is_flags = keys(inner) == [Key::Flags];
        return (is_flags && matches!(op, "==" | "!="))
            .then(|| Some((bits(mask)?, bits(right)?, op == "!=")))?;
    }
    if keys(left) != [Key::Flags] {
        return None;
    }
    // `tcp flags syn` is: one of these is set.
    match op {
        "in" => Some((bits(right)?, 0, true)),
        "==" | "!=" => Some((0xff, bits(right)?, op == "!=")),
        _ => None,
    }
}
