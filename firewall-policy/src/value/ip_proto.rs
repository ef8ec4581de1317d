//! Numbers of protocols that have no ports.

use firewall_common::service::proto;

use super::{Fault, amount};
use crate::codes::Code;

/// Protocols that people know by name,
/// <https://www.iana.org/assignments/protocol-numbers>.
const NAMES: &[(&str, u8)] = &[
    ("igmp", 2),
    ("ipip", 4),
    ("ipencap", 4),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("ospf", 89),
    ("pim", 103),
    ("vrrp", 112),
    ("carp", 112),
    ("l2tp", 115),
];

/// Protocols with a key of their own.
const KEYS: &[(&str, u8)] = &[
    ("tcp", proto::TCP),
    ("udp", proto::UDP),
    ("sctp", proto::SCTP),
    ("icmp", proto::ICMP),
    ("icmpv6", proto::ICMPV6),
];

/// Extension headers of IPv6, which the datapath passes over to what they carry: hop-by-hop
/// options, routing, fragment, destination options. An authentication header (51) is one, too,
/// and a protocol of its own on IPv4.
pub(crate) const EXTENSION_HEADERS: [u8; 4] = [0, 43, 44, 60];

/// The number of a protocol that has no key of its own.
pub(crate) fn of_name(name: &str) -> Option<u8> {
    NAMES.iter().find(|(known, _)| *known == name).map(|&(_, number)| number)
}

/// A protocol number that has no key of its own.
pub(crate) fn parse(text: &str) -> Result<u8, Fault> {
    let key = KEYS.iter().find(|(key, number)| *key == text || number.to_string() == text);
    if let Some((key, number)) = key {
        return Err(Fault::new(Code::Protocol, text, format!("protocol {number} is {key}"))
            .label(format!("written by its own key, `{key}:`"))
            .help(if key.starts_with("icmp") {
                format!("{key}: echo-request")
            } else {
                format!("{key}: \"1-65535\"   for all of it")
            }));
    }
    let number = amount::number(text, 0, 255).map_err(|fault| match of_name(text) {
        Some(number) => fault.help(format!("ip-proto: {number}")),
        None => fault,
    })?;
    let number = u8::try_from(number).unwrap_or(u8::MAX);
    if EXTENSION_HEADERS.contains(&number) {
        let message = format!("protocol {number} is an extension header of IPv6");
        return Err(Fault::new(Code::Protocol, text, message)
            .label("never matches on IPv6: what stands behind it is judged")
            .help("name what it carries, such as `tcp:`, or `service: all`"));
    }
    Ok(number)
}
