//! Words of other firewalls to values: addresses, ports, protocols, types.

use std::net::IpAddr;

use firewall_common::service::proto;

use crate::set::{AddrSet, RangeSet};

/// A network, with its host bits cleared as other firewalls do.
pub(super) fn network(text: &str) -> Option<AddrSet> {
    let (address, mask) = match text.split_once('/') {
        Some((address, mask)) => (address, Some(mask)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    let length = match mask {
        None => width,
        Some(mask) if mask.bytes().all(|byte| byte.is_ascii_digit()) => mask.parse().ok()?,
        Some(mask) => match mask.parse().ok()? {
            IpAddr::V4(mask) => contiguous(u32::from(mask).into(), 32)?,
            IpAddr::V6(mask) => contiguous(mask.into(), 128)?,
        },
    };
    (length <= width).then(|| AddrSet::network(address, length))
}

/// The length of a mask that is one run of ones.
fn contiguous(mask: u128, width: u32) -> Option<u8> {
    let mask = mask << (128 - width);
    let length = mask.leading_ones();
    (length == 128 || mask << length == 0).then(|| u8::try_from(length.min(width)).ok())?
}

/// `a-b`, of one family.
pub(super) fn range(first: &str, last: &str) -> Option<AddrSet> {
    match (first.parse().ok()?, last.parse().ok()?) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            Some(AddrSet { v4: RangeSet::range(first.into(), last.into()), v6: RangeSet::empty() })
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            Some(AddrSet { v4: RangeSet::empty(), v6: RangeSet::range(first.into(), last.into()) })
        }
        _ => None,
    }
}

/// Services by the names that files use, with their TCP or UDP port.
const PORTS: [(&str, u16); 30] = [
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("domain", 53),
    ("bootps", 67),
    ("bootpc", 68),
    ("tftp", 69),
    ("http", 80),
    ("www", 80),
    ("kerberos", 88),
    ("pop3", 110),
    ("sunrpc", 111),
    ("ntp", 123),
    ("netbios-ns", 137),
    ("netbios-dgm", 138),
    ("netbios-ssn", 139),
    ("imap2", 143),
    ("snmp", 161),
    ("ldap", 389),
    ("https", 443),
    ("microsoft-ds", 445),
    ("submission", 587),
    ("ldaps", 636),
    ("imaps", 993),
    ("pop3s", 995),
    ("mysql", 3306),
    ("postgresql", 5432),
    ("mdns", 5353),
    ("http-alt", 8080),
];

/// A port by number or by a well-known name.
pub(super) fn port(text: &str) -> Option<u16> {
    text.parse()
        .ok()
        .or_else(|| PORTS.iter().find(|(name, _)| *name == text).map(|&(_, port)| port))
}

/// Protocols by name or number; `all` is 0.
pub(super) fn protocol_number(text: &str) -> Option<u8> {
    Some(match text.to_ascii_lowercase().as_str() {
        "all" | "ip" => 0,
        "tcp" => proto::TCP,
        "udp" => proto::UDP,
        "sctp" => proto::SCTP,
        "icmp" => proto::ICMP,
        "icmpv6" | "ipv6-icmp" => proto::ICMPV6,
        "udplite" => 136,
        "dccp" => 33,
        "ipv4" => 4,
        "ipv6" => 41,
        "ipv6-nonxt" => 59,
        number if number.bytes().all(|byte| byte.is_ascii_digit()) => number.parse().ok()?,
        name => crate::value::ip_proto::of_name(name)?,
    })
}

/// A type of ICMP by the names that iptables, nftables and firewalld use, and
/// whether a code goes with the name.
pub(super) fn icmp_type(is_v6: bool, text: &str) -> Option<(u8, bool)> {
    let (name, code) = match text.split_once('/') {
        Some((name, code)) => (name, Some(code)),
        None => (text, None),
    };
    let name = name.to_ascii_lowercase();
    let number = match (is_v6, name.as_str()) {
        (false, "ping") => 8,
        (false, "pong") => 0,
        (true, "ping") => 128,
        (true, "pong") => 129,
        (_, "ttl-exceeded") => {
            if is_v6 {
                3
            } else {
                11
            }
        }
        (true, "neighbour-solicitation" | "nd-neighbor-solicit" | "neighbour-solicit") => 135,
        (true, "neighbour-advertisement" | "nd-neighbor-advert" | "neighbour-advert") => 136,
        (true, "nd-router-solicit") => 133,
        (true, "nd-router-advert") => 134,
        (true, "nd-redirect") => 137,
        (true, "mld-listener-query") => 130,
        (true, "mld-listener-report") => 131,
        (true, "mld-listener-done" | "mld-listener-reduction") => 132,
        (true, "mld2-listener-report") => 143,
        (false, "fragmentation-needed") => return Some((3, true)),
        (_, name) => crate::icmp::type_number(is_v6, name).ok()?,
    };
    let is_echo = matches!((is_v6, number), (false, 0 | 8) | (true, 128 | 129));
    let has_code = code.is_some_and(|code| !(is_echo && code == "0" || code == "0:255"));
    Some((number, has_code))
}
