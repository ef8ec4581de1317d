//! Sets of addresses and services, spelled out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use firewall_policy::set::AddrSet;

pub(super) use crate::report::services::services;

/// Items shown before the rest is counted.
const SHOWN: usize = 8;

/// The first items, and how many more there are.
pub(super) fn shortened(items: &[String]) -> String {
    let shown = items.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(" ");
    match items.len().checked_sub(SHOWN) {
        None | Some(0) if items.is_empty() => "nothing".to_owned(),
        None | Some(0) => shown,
        Some(more) => format!("{shown} … and {more} more"),
    }
}

/// Networks, IPv4 first; `any` for every address of a family.
pub(super) fn addresses(set: &AddrSet) -> Vec<String> {
    if set.is_any() {
        return vec!["any".to_owned()];
    }
    let mut found = Vec::new();
    for &(first, last) in set.v4.ranges() {
        networks(u128::from(first), u128::from(last), 32, |address, length| {
            let address = IpAddr::V4(Ipv4Addr::from(u32::try_from(address).unwrap_or(u32::MAX)));
            found.push(crate::banning::written(address, length));
        });
    }
    for &(first, last) in set.v6.ranges() {
        networks(first, last, 128, |address, length| {
            found.push(crate::banning::written(IpAddr::V6(Ipv6Addr::from(address)), length));
        });
    }
    found
}

/// The fewest networks that make up a range.
fn networks(first: u128, last: u128, width: u32, mut found: impl FnMut(u128, u8)) {
    let mut next = first;
    loop {
        // The largest block that begins here and does not reach past the end.
        let aligned = next.trailing_zeros().min(width);
        let mut bits = aligned;
        while bits > 0 && last - next < (u128::MAX >> (128 - bits)) {
            bits -= 1;
        }
        found(next, u8::try_from(width - bits).unwrap_or(u8::MAX));
        let end = if bits == 128 { u128::MAX } else { next + ((1 << bits) - 1) };
        if end >= last {
            return;
        }
        next = end + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_become_the_fewest_networks() {
        let set = |first: &str, last: &str| AddrSet {
            v4: firewall_policy::set::RangeSet::range(
                first.parse::<Ipv4Addr>().unwrap().into(),
                last.parse::<Ipv4Addr>().unwrap().into(),
            ),
            ..AddrSet::empty()
        };
        assert_eq!(addresses(&set("10.0.0.0", "10.0.0.255")), ["10.0.0.0/24"]);
        assert_eq!(
            addresses(&set("10.0.0.1", "10.0.0.6")),
            ["10.0.0.1", "10.0.0.2/31", "10.0.0.4/31", "10.0.0.6"]
        );
        assert_eq!(addresses(&set("0.0.0.0", "255.255.255.255")), ["0.0.0.0/0"]);
        assert_eq!(addresses(&AddrSet::any()), ["any"]);
        let v6 = AddrSet::network("2001:db8::".parse().unwrap(), 32);
        assert_eq!(addresses(&v6), ["2001:db8::/32"]);
        let all = AddrSet::network("::".parse().unwrap(), 0);
        assert_eq!(addresses(&all), ["::/0"]);
    }

    #[test]
    fn long_sets_are_shortened() {
        let many: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        assert_eq!(shortened(&many), "0 1 2 3 4 5 6 7 … and 12 more");
        assert_eq!(shortened(&many[..8]), "0 1 2 3 4 5 6 7");
        assert_eq!(shortened(&[]), "nothing");
    }
}
