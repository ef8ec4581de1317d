//! Addresses, networks and ranges of both families.
//!
//! Exactly one way to write each: what another tool would guess at (octal,
//! short forms, mapped addresses, host bits) is refused, and says what it could
//! have meant.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Fault, is_digits};
use crate::codes::Code;
use crate::set::{AddrSet, RangeSet};

/// `10.0.0.1`, `10.0.0.0/24`, `10.0.0.1-10.0.0.9`, and the same for IPv6.
pub(crate) fn parse(text: &str) -> Result<AddrSet, Fault> {
    exact(text).map_err(|fault| other_form(text).unwrap_or(fault))
}

/// An IPv4 address or network as almost all are written, to the same range as
/// [`parse`] has; `None` if there is more to say.
pub(crate) fn plain_v4(text: &str) -> Option<(u32, u32)> {
    leading_v4(text.as_bytes()).filter(|(_, rest)| rest.is_empty()).map(|(range, _)| range)
}

/// The same of a text that begins with it, and what is behind.
pub(crate) fn leading_v4(text: &[u8]) -> Option<((u32, u32), &[u8])> {
    let (mut address, mut rest) = number(text, 255)?;
    for _ in 1..4 {
        let [b'.', after @ ..] = rest else { return None };
        let (octet, after) = number(after, 255)?;
        (address, rest) = (address << 8 | octet, after);
    }
    let mut length = 32;
    if let [b'/', after @ ..] = rest {
        (length, rest) = number(after, 32)?;
    }
    let host = u32::MAX.checked_shr(length).unwrap_or(0);
    (address & host == 0).then_some(((address, address | host), rest))
}

/// A decimal number of one to three digits without leading zeros, and what is behind.
fn number(text: &[u8], most: u32) -> Option<(u32, &[u8])> {
    let [first @ b'0'..=b'9', rest @ ..] = text else { return None };
    let (mut value, mut rest) = (u32::from(first - b'0'), rest);
    while let [digit @ b'0'..=b'9', after @ ..] = rest {
        (value, rest) = (value * 10 + u32::from(digit - b'0'), after);
        if value > most || *first == b'0' {
            return None;
        }
    }
    Some((value, rest))
}

fn exact(text: &str) -> Result<AddrSet, Fault> {
    if is_host_name(text) {
        return Err(host_name(text));
    }
    if let Some(percent) = text.find('%') {
        return Err(Fault::new(Code::AddressForm, text, format!("`{text}` has a zone"))
            .at(percent..text.len())
            .label("a rule holds on every interface it does not exclude")
            .help(format!(
                "{}   and `iface: {}` in the rule",
                &text[..percent],
                &text[percent + 1..]
            )));
    }
    if let Some((address, length)) = text.split_once('/') {
        return network(text, address, length);
    }
    if let Some((first, last)) = text.split_once('-') {
        return range(text, first, last);
    }
    one(text).map(single)
}

/// What is written where an address stands in other places, or almost one.
fn other_form(text: &str) -> Option<Fault> {
    let fault = |label: &str| {
        Fault::new(Code::Address, text, format!("`{text}` is not an address")).label(label)
    };
    if let Some(joined) = without_spaces(text) {
        return Some(fault("spaces are no part of an address").help(joined));
    }
    if let Some(list) = several(text) {
        return Some(fault("several addresses are a list").help(list));
    }
    if let Some(rest) = text.strip_prefix('!') {
        let help = format!("{{ group: any, except: [{rest}] }}");
        return Some(fault("what does not match is taken out of a set").help(help));
    }
    if let Some(address) = without_port(text) {
        let label = "brackets and ports are no part of an address; services name ports";
        return Some(fault(label).help(address.to_string()));
    }
    if let Some(network) = wildcard(text) {
        return Some(fault("networks are written with the length of their prefix").help(network));
    }
    let is_possible =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '/' | '%' | '-');
    let label = match text {
        _ if text.contains("://") => "a URL; rules name addresses, and services name ports",
        _ if is_hardware(text) => "a hardware address; rules name IP addresses",
        _ if text.starts_with('/') => "the address in front of the `/` is missing",
        _ if !text.chars().all(is_possible) => "wanted: an address, a network or a range",
        _ => return None,
    };
    Some(fault(label))
}

/// `10.0.0.1, 10.0.0.2` as a list.
fn several(text: &str) -> Option<String> {
    let is_between = |c: char| c == ',' || c.is_ascii_whitespace();
    let parts: Vec<&str> = text.split(is_between).filter(|part| !part.is_empty()).collect();
    let is_list = parts.len() > 1 && parts.iter().all(|part| is_sound(part));
    is_list.then(|| format!("[{}]", parts.join(", ")))
}

/// `10.0.0.1 - 10.0.0.9` or `10.0.0.0 /24` as it should be written.
fn without_spaces(text: &str) -> Option<String> {
    let mut joined = String::new();
    for part in text.split_whitespace() {
        let is_apart = |c| matches!(c, '-' | '/');
        if !joined.is_empty() && !joined.ends_with(is_apart) && !part.starts_with(is_apart) {
            return None;
        }
        joined.push_str(part);
    }
    (joined.len() < text.len() && is_sound(&joined)).then_some(joined)
}

/// Whether a text is an address, a network or a range, exactly written.
fn is_sound(text: &str) -> bool {
    is_meant(text) && exact(text).is_ok()
}

/// `00:11:22:33:44:55`.
fn is_hardware(text: &str) -> bool {
    let groups: Vec<&str> = text.split([':', '-']).collect();
    let is_octet =
        |group: &&str| group.len() == 2 && group.bytes().all(|byte| byte.is_ascii_hexdigit());
    groups.len() == 6 && groups.iter().all(is_octet)
}

/// The address in `10.0.0.1:80`, `[fd00::1]:80` and `[fd00::1]`.
fn without_port(text: &str) -> Option<IpAddr> {
    if let Some((address, port)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_digits);
        return v6(address).ok().filter(|_| is_port).map(IpAddr::V6);
    }
    let (address, port) = text.split_once(':')?;
    v4(address).ok().filter(|_| is_digits(port)).map(IpAddr::V4)
}

/// The network that `10.0.*.*` stands for.
fn wildcard(text: &str) -> Option<String> {
    let first = text.replace('*', "0");
    let stars = text.split('.').rev().take_while(|part| *part == "*").count();
    let address = v4(&first).ok().filter(|_| (1..4).contains(&stars))?;
    text.split('.').take(4 - stars).all(is_digits).then(|| format!("{address}/{}", 32 - 8 * stars))
}

fn single(address: IpAddr) -> AddrSet {
    AddrSet::network(address, 128)
}

/// One address, without prefix length or range.
pub(crate) fn one(text: &str) -> Result<IpAddr, Fault> {
    if text.contains(':') { v6(text).map(IpAddr::V6) } else { v4(text).map(IpAddr::V4) }
}

fn network(text: &str, address: &str, length: &str) -> Result<AddrSet, Fault> {
    if let Some(v4) = v6_mapped(address) {
        let shorter = length.parse::<u8>().ok().and_then(|length| length.checked_sub(96));
        let help = shorter.map_or(v4.to_string(), |length| format!("{v4}/{length}"));
        return Err(mapped(text).help(help));
    }
    let address = one(address)?;
    let at = text.len() - length.len()..text.len();
    let width = if address.is_ipv4() { 32 } else { 128 };
    let fault = |label: String| {
        let message = format!("`/{length}` is not a prefix length");
        Fault::new(Code::PrefixLength, text, message).at(at.clone()).label(label)
    };
    if let Some(length) = length.parse().ok().and_then(netmask_length) {
        return Err(fault("a netmask".into()).help(format!("{address}/{length}")));
    }
    if !is_digits(length) || (length.len() > 1 && length.starts_with('0')) {
        return Err(fault(format!("a number from 0 to {width} is wanted")));
    }
    let Some(length) = length.parse::<u8>().ok().filter(|&length| length <= width) else {
        let family = if width == 32 { "IPv4" } else { "IPv6" };
        return Err(fault(format!("{family} addresses have {width} bits")));
    };
    let set = AddrSet::network(address, length);
    match set.first() {
        Some(first) if first != address => Err(host_bits(text, address, first, length, width)),
        _ => Ok(set),
    }
}

fn host_bits(text: &str, address: IpAddr, first: IpAddr, length: u8, width: u8) -> Fault {
    let size = match width - length {
        bits @ 0..20 => format!("{} addresses", 1_u32 << bits),
        bits => format!("2^{bits} addresses"),
    };
    Fault::new(Code::HostBits, text, format!("{text} has host bits set"))
        .label(format!(
            "the network is {first}/{length} ({size}), the host is {address}/{width} (1)"
        ))
        .help("write one of the two; this program will not guess")
}

/// The prefix length that a netmask such as 255.255.255.0 stands for.
fn netmask_length(mask: Ipv4Addr) -> Option<u32> {
    let mask = u32::from(mask);
    (mask.leading_ones() + mask.trailing_zeros() == 32).then(|| mask.leading_ones())
}

fn range(text: &str, first: &str, last: &str) -> Result<AddrSet, Fault> {
    let shift = first.len() + 1;
    let low = one(first)?;
    if let (IpAddr::V4(low), Some((network, _))) = (low, first.rsplit_once('.'))
        && last.parse::<u8>().is_ok_and(|last| last >= low.octets()[3])
    {
        return Err(Fault::new(Code::AddressRange, text, format!("`{text}` is not a range"))
            .at(shift..text.len())
            .label("the last address is written in full")
            .help(format!("{low}-{network}.{last}")));
    }
    let high = one(last).map_err(|mut fault| {
        fault.at = fault.at.start + shift..fault.at.end + shift;
        fault
    })?;
    let (v4, v6) = match (low, high) {
        (IpAddr::V4(low), IpAddr::V4(high)) => {
            (RangeSet::range(low.into(), high.into()), RangeSet::empty())
        }
        (IpAddr::V6(low), IpAddr::V6(high)) => {
            (RangeSet::empty(), RangeSet::range(low.into(), high.into()))
        }
        _ => {
            return Err(Fault::new(Code::AddressRange, text, format!("`{text}` mixes families"))
                .label("one end is IPv4, the other IPv6"));
        }
    };
    if low > high {
        return Err(Fault::new(Code::AddressRange, text, format!("`{text}` runs backwards"))
            .label("the first address is above the last")
            .help(format!("{last}-{first}")));
    }
    Ok(AddrSet { v4, v6 })
}

fn v4(text: &str) -> Result<Ipv4Addr, Fault> {
    let fault = || Fault::new(Code::Address, text, format!("`{text}` is not an IPv4 address"));
    let mut octets = Vec::new();
    let mut start = 0;
    for part in text.split('.') {
        let at = start..start + part.len();
        start = at.end + 1;
        if !is_digits(part) {
            let label = if part.is_empty() { "a number is missing here" } else { "not a number" };
            let at = if part.is_empty() { 0..text.len() } else { at };
            return Err(fault().at(at).label(label));
        }
        if part.len() > 1 && part.starts_with('0') {
            let decimal = part.trim_start_matches('0');
            let decimal = if decimal.is_empty() { "0" } else { decimal };
            let label = match u32::from_str_radix(part, 8) {
                Ok(octal) if octal.to_string() != decimal => {
                    format!("octal {octal} to some programs, decimal {decimal} to others")
                }
                _ => "a leading zero means octal to some programs".into(),
            };
            return Err(Fault::new(Code::AddressForm, text, format!("`{text}` is ambiguous"))
                .at(at)
                .label(label)
                .help("write the number without leading zeros"));
        }
        match part.parse::<u8>() {
            Ok(octet) => octets.push(octet),
            Err(_) => return Err(fault().at(at).label("each of the four numbers is 0-255")),
        }
    }
    match <[u8; 4]>::try_from(octets.as_slice()) {
        Ok(octets) => Ok(octets.into()),
        Err(_) if (2..4).contains(&octets.len()) => Err(short_form(text, &octets)),
        Err(_) => Err(fault().label("an IPv4 address has four numbers")),
    }
}

/// What `inet_aton(3)` makes of two or three numbers: the last one fills up.
fn short_form(text: &str, octets: &[u8]) -> Fault {
    let mut full = [0; 4];
    full[..octets.len() - 1].copy_from_slice(&octets[..octets.len() - 1]);
    full[3] = octets[octets.len() - 1];
    Fault::new(Code::AddressForm, text, format!("`{text}` is ambiguous"))
        .label(format!("some programs read it as {}", Ipv4Addr::from(full)))
        .help("write all four numbers")
}

fn v6(text: &str) -> Result<Ipv6Addr, Fault> {
    let Ok(address) = text.parse::<Ipv6Addr>() else {
        let (at, label) = bad_group(text);
        return Err(Fault::new(Code::Address, text, format!("`{text}` is not an IPv6 address"))
            .at(at)
            .label(label));
    };
    match v6_mapped(text) {
        Some(v4) => Err(mapped(text).help(v4.to_string())),
        None => Ok(address),
    }
}

/// The IPv4 address inside an IPv4-mapped one.
fn v6_mapped(text: &str) -> Option<Ipv4Addr> {
    text.parse::<Ipv6Addr>().ok()?.to_ipv4_mapped()
}

fn mapped(text: &str) -> Fault {
    Fault::new(Code::AddressForm, text, format!("`{text}` is an IPv4-mapped address"))
        .label("never seen on the wire: the packets are IPv4")
}

/// Where an IPv6 address goes wrong.
fn bad_group(text: &str) -> (std::ops::Range<usize>, &'static str) {
    let whole = 0..text.len();
    if let Some(first) = text.find("::")
        && let Some(second) = text[first + 1..].find("::")
    {
        return (first + 1 + second..first + 3 + second, "`::` may stand once");
    }
    let mut start = 0;
    for group in text.split(':') {
        let at = start..start + group.len();
        start = at.end + 1;
        if group.contains('.') {
            continue;
        }
        if !group.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return (at, "not a hexadecimal number");
        }
        if group.len() > 4 {
            return (at, "each group has at most four digits");
        }
    }
    let groups = text.split(':').filter(|group| !group.is_empty()).count();
    match groups {
        0..8 if !text.contains("::") => {
            (whole, "eight groups are wanted, or `::` for those left out")
        }
        8.. => (whole, "more than eight groups"),
        _ => (whole, "not an address"),
    }
}

fn host_name(text: &str) -> Fault {
    Fault::new(Code::HostName, text, format!("`{text}` is a host name, not an address"))
        .label("names are never resolved: an answer could change what is open")
        .help("write its addresses, or a group that has them")
}

/// Whether a text seems to be a host name: letters in its last part.
pub(crate) fn is_host_name(text: &str) -> bool {
    let label = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let text = text.strip_suffix('.').unwrap_or(text);
    let last = text.rsplit('.').next().unwrap_or_default();
    text.contains('.')
        && text.split('.').all(label)
        && last.len() > 1
        && last.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// Whether a text is meant as an address rather than as a name.
pub(crate) fn is_meant(text: &str) -> bool {
    is_digits(text) || text.contains([':', '/', '%']) || text.contains('.')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn plain_addresses_are_the_same_either_way(
            octets in proptest::array::uniform4(prop_oneof![0_u32..300, Just(0), Just(255)]),
            length in proptest::option::of(0_u32..40),
            at in 0_usize..20,
            with in "[0-9./: -]{0,2}",
        ) {
            let [a, b, c, d] = octets;
            let length = length.map(|length| format!("/{length}")).unwrap_or_default();
            let mut text = format!("{a}.{b}.{c}.{d}{length}");
            for text in [text.clone(), { text.insert_str(at.min(text.len()), &with); text }] {
                if let Some((first, last)) = plain_v4(&text) {
                    let set = AddrSet { v4: RangeSet::range(first, last), v6: RangeSet::empty() };
                    prop_assert_eq!(parse(&text).ok(), Some(set), "{}", text);
                }
            }
        }
    }

    #[test]
    fn lists_of_addresses_are_plain() {
        assert_eq!(plain_v4("10.0.0.1"), Some((0x0a00_0001, 0x0a00_0001)));
        assert_eq!(plain_v4("10.2.0.0/16"), Some((0x0a02_0000, 0x0a02_ffff)));
        assert_eq!(plain_v4("0.0.0.0/0"), Some((0, u32::MAX)));
        for text in ["10.0.0.01", "10.0.0.1/24", "10.0.0", "10.0.0.256", "10.0.0.1/33", "fd00::"] {
            assert_eq!(plain_v4(text), None, "{text}");
        }
    }
}
