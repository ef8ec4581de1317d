//! Ports of a rule, as people write them: `80/tcp`, `8000-9000/udp`.

use std::fmt;
use std::str::FromStr;

use firewall_common::service::{ServiceIndex, proto};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::set::ServiceSet;

/// A range of ports of one protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ports {
    /// Protocol number: TCP, UDP or SCTP.
    pub protocol: u8,
    /// First port.
    pub first: u16,
    /// Last port, itself among them.
    pub last: u16,
}

/// Protocols that have ports, where theirs begin, and their names.
const PORTED: [(u8, u32, &str); 3] = [
    (proto::TCP, 0, "tcp"),
    (proto::UDP, ServiceIndex::UDP, "udp"),
    (proto::SCTP, ServiceIndex::SCTP, "sctp"),
];

impl Ports {
    /// One port.
    #[must_use]
    pub const fn one(protocol: u8, port: u16) -> Self {
        Self { protocol, first: port, last: port }
    }

    /// The ports that a set of services holds; types and protocols without ports
    /// are left out.
    #[must_use]
    pub fn of(services: &ServiceSet) -> Vec<Self> {
        let mut found = Vec::new();
        for (protocol, start, _) in PORTED {
            let end = start + u32::from(u16::MAX);
            for &(first, last) in services.ranges() {
                let (first, last) = (first.max(start), last.min(end));
                if first > last {
                    continue;
                }
                let port = |index: u32| u16::try_from(index - start).unwrap_or(u16::MAX);
                found.push(Self { protocol, first: port(first), last: port(last) });
            }
        }
        found
    }

    /// Whether a port is among them.
    #[must_use]
    pub const fn contains(self, protocol: u8, port: u16) -> bool {
        self.covers(Self::one(protocol, port))
    }

    /// Whether all of `other` are among them.
    #[must_use]
    pub const fn covers(self, other: Self) -> bool {
        self.protocol == other.protocol && self.first <= other.first && other.last <= self.last
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = PORTED.iter().find(|one| one.0 == self.protocol).map_or("?", |one| one.2);
        match self {
            Self { first, last, .. } if first == last => write!(f, "{first}/{word}"),
            Self { first, last, .. } => write!(f, "{first}-{last}/{word}"),
        }
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (range, word) = text.split_once('/')?;
            let protocol = PORTED.iter().find(|one| one.2 == word)?.0;
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some(Self { protocol, first: first.parse().ok()?, last: last.parse().ok()? })
        };
        read().ok_or_else(|| format!("`{text}` is no port, such as 80/tcp"))
    }
}

impl Serialize for Ports {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_cut_out_of_the_service_space_and_written_as_people_do() {
        let of = |ranges: &[(u32, u32)]| {
            let ports = Ports::of(&ServiceSet::from_ranges(ranges.to_vec()));
            ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            of(&[(80, 80), (ServiceIndex::UDP + 53, ServiceIndex::UDP + 60)]),
            "80/tcp 53-60/udp"
        );
        assert_eq!(of(&[(ServiceIndex::ICMP + 8, ServiceIndex::OTHER + 47)]), "");
        assert_eq!(of(&[(0, ServiceIndex::END - 1)]), "0-65535/tcp 0-65535/udp 0-65535/sctp");
    }

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["80/tcp", "8000-9000/udp", "3868/sctp"] {
            let json = format!("\"{text}\"");
            let ports: Ports = serde_json::from_str(&json).unwrap();
            assert_eq!(serde_json::to_string(&ports).unwrap(), json);
        }
        assert!("80".parse::<Ports>().is_err() && "x/tcp".parse::<Ports>().is_err());
        let web: Ports = "80-81/tcp".parse().unwrap();
        assert!(web.contains(proto::TCP, 81) && !web.contains(proto::UDP, 81));
    }
}
