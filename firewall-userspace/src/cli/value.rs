//! Values of options: durations, networks, ports.

use std::net::IpAddr;
use std::time::Duration;

/// A network as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    /// Its first address.
    pub address: IpAddr,
    /// Its prefix length.
    pub length: u8,
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let whole = if self.address.is_ipv4() { 32 } else { 128 };
        if self.length == whole {
            write!(f, "{}", self.address)
        } else {
            write!(f, "{}/{}", self.address, self.length)
        }
    }
}

/// `30s`, `10m`, `2h`, `30d`, as in the policy language.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wanted = || format!("`{text}` is not a length of time: write 30s, 10m, 2h or 30d");
    let at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wanted)?;
    let (number, unit) = text.split_at(at);
    let number: u64 = number.parse().ok().ok_or_else(wanted)?;
    let seconds = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wanted()),
    };
    match number.checked_mul(seconds) {
        Some(0) => Err(format!("`{text}` is no time at all")),
        Some(seconds) => Ok(Duration::from_secs(seconds)),
        None => Err(wanted()),
    }
}

/// An address or a network without host bits.
pub(crate) fn network(text: &str) -> Result<Network, String> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok().ok_or_else(|| {
        format!("`{text}` is not an address or a network; names are never resolved")
    })?;
    let address = address.to_canonical();
    let whole: u8 = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        None => whole,
        Some(length) => length
            .parse()
            .ok()
            .filter(|length| *length <= whole)
            .ok_or_else(|| format!("`/{length}` is no prefix length: 0-{whole} is wanted"))?,
    };
    let first = crate::report::event::network_of(address, length);
    if first == address {
        Ok(Network { address, length })
    } else {
        Err(format!(
            "{text} has host bits set: the network is {first}/{length}, the host {address}/{whole}"
        ))
    }
}

/// `80`, or `40000:80` for source and destination port.
pub(crate) fn ports(text: &str) -> Result<(Option<u16>, u16), String> {
    let port = |text: &str| {
        let port = text.parse::<u16>().ok().filter(|port| *port != 0);
        port.ok_or_else(|| format!("`{text}` is not a port (1-65535)"))
    };
    match text.split_once(':') {
        None => Ok((None, port(text)?)),
        Some((source, destination)) => Ok((Some(port(source)?), port(destination)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("10m"), Ok(Duration::from_mins(10)));
        assert_eq!(duration("30d"), Ok(Duration::from_hours(30 * 24)));
        for bad in ["", "10", "0s", "h", "1w", "-1s", "99999999999999999999s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn networks_have_no_host_bits() {
        assert_eq!(network("198.51.100.0/24").unwrap().to_string(), "198.51.100.0/24");
        assert_eq!(network("198.51.100.5").unwrap().to_string(), "198.51.100.5");
        assert_eq!(network("2001:db8::/32").unwrap().length, 32);
        assert!(network("198.51.100.5/24").unwrap_err().contains("the network is 198.51.100.0/24"));
        assert!(network("10.0.0.0/33").is_err() && network("example.com").is_err());
    }

    #[test]
    fn ports_may_name_both_ends() {
        assert_eq!(ports("80"), Ok((None, 80)));
        assert_eq!(ports("40000:80"), Ok((Some(40_000), 80)));
        assert!(ports("0").is_err() && ports("65536").is_err() && ports("a:80").is_err());
    }
}
