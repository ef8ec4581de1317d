//! This host's addresses, its gateways and its resolvers: what must not be
//! banned.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses that a ban would cut this host off by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// On this host's interfaces.
    pub own: Vec<IpAddr>,
    /// Next hops of default routes.
    pub gateways: Vec<IpAddr>,
    /// Name servers of `/etc/resolv.conf`.
    pub resolvers: Vec<IpAddr>,
}

impl Addresses {
    /// Of this host, now.
    pub(crate) fn of_this_host() -> Self {
        let read = |path| super::read(path).unwrap_or_default();
        let mut own = own_v4(&read("/proc/net/fib_trie"));
        own.extend(own_v6(&read("/proc/net/if_inet6")));
        let mut gateways = gateways_v4(&read("/proc/net/route"));
        gateways.extend(gateways_v6(&read("/proc/net/ipv6_route")));
        Self { own, gateways, resolvers: resolvers(&read("/etc/resolv.conf")) }
    }
}

/// The interface by which packets to an address leave: the way a session came, on
/// a host with ordinary routes. `None` if the routes do not say.
pub(crate) fn interface_to(address: IpAddr) -> Option<String> {
    let read = |path| super::read(path).unwrap_or_default();
    match address {
        IpAddr::V4(address) => route_v4(&read("/proc/net/route"), address),
        IpAddr::V6(address) => route_v6(&read("/proc/net/ipv6_route"), address),
    }
}

fn route_v4(text: &str, address: Ipv4Addr) -> Option<String> {
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let word = |at: usize| u32::from_str_radix(fields.get(at)?, 16).ok();
        let (destination, mask) = (word(1)?, word(7)?);
        let matches = u32::from_ne_bytes(address.octets()) & mask == destination;
        matches.then(|| (mask.count_ones(), fields[0].to_owned()))
    };
    longest(text.lines().skip(1).filter_map(route))
}

fn route_v6(text: &str, address: Ipv6Addr) -> Option<String> {
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let destination = u128::from_str_radix(fields.first()?, 16).ok()?;
        let length = u32::from_str_radix(fields.get(1)?, 16).ok()?;
        let mask = u128::MAX.checked_shl(128_u32.checked_sub(length)?).unwrap_or(0);
        let name = fields.get(9).filter(|name| **name != "lo")?;
        (u128::from(address) & mask == destination).then(|| (length, (*name).to_owned()))
    };
    longest(text.lines().filter_map(route))
}

/// The route with the longest prefix; of equal ones the first.
fn longest(routes: impl Iterator<Item = (u32, String)>) -> Option<String> {
    routes.reduce(|best, one| if one.0 > best.0 { one } else { best }).map(|(_, name)| name)
}

/// Local addresses of `/proc/net/fib_trie`: a leaf followed by `/32 host LOCAL`.
fn own_v4(text: &str) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    let mut leaf = None;
    for line in text.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL"
            && let Some(address) = leaf.map(IpAddr::V4)
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    found
}

fn own_v6(text: &str) -> Vec<IpAddr> {
    text.lines().filter_map(|line| v6(line.split_whitespace().next()?)).collect()
}

fn gateways_v4(text: &str) -> Vec<IpAddr> {
    let gateway = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (destination, gateway, mask) = (fields.get(1)?, fields.get(2)?, fields.get(7)?);
        let default = *destination == "00000000" && *mask == "00000000";
        let gateway = u32::from_str_radix(gateway, 16).ok()?;
        (default && gateway != 0).then(|| IpAddr::V4(Ipv4Addr::from(gateway.to_ne_bytes())))
    };
    text.lines().skip(1).filter_map(gateway).collect()
}

fn gateways_v6(text: &str) -> Vec<IpAddr> {
    let gateway = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let default = v6(fields.first()?)?.is_unspecified() && *fields.get(1)? == "00";
        let gateway = v6(fields.get(4)?)?;
        (default && !gateway.is_unspecified()).then_some(gateway)
    };
    text.lines().filter_map(gateway).collect()
}

fn resolvers(text: &str) -> Vec<IpAddr> {
    let resolver = |line: &str| {
        let address = line.trim().strip_prefix("nameserver")?.trim();
        let address = address.split('%').next()?.parse::<IpAddr>().ok()?;
        (!address.is_loopback()).then_some(address)
    };
    text.lines().filter_map(resolver).collect()
}

/// Sixteen bytes in hexadecimal, as the kernel prints them.
fn v6(hex: &str) -> Option<IpAddr> {
    if hex.len() != 32 {
        return None;
    }
    u128::from_str_radix(hex, 16).ok().map(|bits| IpAddr::V6(Ipv6Addr::from(bits)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_leaves_are_own_addresses() {
        let text = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     \
            |-- 10.0.2.0\n        /24 link UNICAST\n     |-- 10.0.2.11\n        /32 host LOCAL\n     \
            |-- 10.0.2.255\n        /32 link BROADCAST\nLocal:\n     |-- 10.0.2.11\n        /32 host LOCAL\n";
        assert_eq!(own_v4(text), ["10.0.2.11".parse::<IpAddr>().unwrap()]);
        let text = "fd000f0000020000000000000000 0011\nfd000f00000200000000000000000011 02 40 00 80 eth0\n";
        assert_eq!(own_v6(text), ["fd00:f00:2::11".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn default_routes_have_gateways() {
        let text = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
            eth0\t00000000\t0102000A\t0003\t0\t0\t0\t00000000\n\
            eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\n";
        assert_eq!(gateways_v4(text), ["10.0.2.1".parse::<IpAddr>().unwrap()]);
        let zero = "00000000000000000000000000000000";
        let text = format!(
            "{zero} 00 {zero} 00 fe800000000000000000000000000001 00000400 1 0 00000003 eth0\n\
             {zero} 00 {zero} 00 {zero} ffffffff 1 0 00200200 lo\n"
        );
        assert_eq!(gateways_v6(&text), ["fe80::1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn the_longest_route_leads_to_an_address() {
        let text = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
            eth0\t00000000\t0102000A\t0003\t0\t0\t0\t00000000\n\
            mgmt0\t0009000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\n";
        let to = |address: &str| route_v4(text, address.parse().unwrap());
        assert_eq!(to("10.0.9.22").as_deref(), Some("mgmt0"));
        assert_eq!(to("198.51.100.5").as_deref(), Some("eth0"));
        let zero = "00000000000000000000000000000000";
        let text = format!(
            "fd000f00000900000000000000000000 40 {zero} 00 {zero} 00000100 1 0 00000001 mgmt0\n\
             {zero} 00 {zero} 00 fe800000000000000000000000000001 00000400 1 0 00000003 eth0\n\
             {zero} 00 {zero} 00 {zero} ffffffff 1 0 00200200 lo\n"
        );
        let to = |address: &str| route_v6(&text, address.parse().unwrap());
        assert_eq!(to("fd00:f00:9::22").as_deref(), Some("mgmt0"));
        assert_eq!(to("2001:db8::1").as_deref(), Some("eth0"));
    }

    #[test]
    fn resolvers_other_than_the_local_stub() {
        let text = "search example\nnameserver 127.0.0.53\nnameserver 10.0.9.53\nnameserver fe80::1%eth0\n";
        let wanted: Vec<IpAddr> = vec!["10.0.9.53".parse().unwrap(), "fe80::1".parse().unwrap()];
        assert_eq!(resolvers(text), wanted);
    }
}
