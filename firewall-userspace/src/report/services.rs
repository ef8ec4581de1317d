//! Sets of services, spelled out.

use firewall_common::service::{ServiceIndex, proto};
use firewall_policy::set::ServiceSet;

/// Parts of the service space: first index, one past the last, and how a value
/// is written.
const PARTS: [(u32, u32, &str); 6] = [
    (0, ServiceIndex::UDP, "tcp"),
    (ServiceIndex::UDP, ServiceIndex::ICMP, "udp"),
    (ServiceIndex::ICMP, ServiceIndex::ICMPV6, "icmp"),
    (ServiceIndex::ICMPV6, ServiceIndex::OTHER, "icmpv6"),
    (ServiceIndex::OTHER, ServiceIndex::SCTP, "ip-proto"),
    (ServiceIndex::SCTP, ServiceIndex::END, "sctp"),
];

/// Ports, types and protocols: `80/tcp`, `8000-9000/udp`, `icmp 8`.
pub(crate) fn services(set: &ServiceSet) -> Vec<String> {
    let covered = |first, last| ServiceSet::range(first, last).is_subset(set);
    if covered(0, ServiceIndex::END - 1) {
        return vec!["all".to_owned()];
    }
    let mut found = Vec::new();
    for (start, end, word) in PARTS {
        let ported = matches!(word, "tcp" | "udp" | "sctp");
        if covered(start + u32::from(ported), end - 1) {
            found.push(format!("all {word}"));
            continue;
        }
        for &(first, last) in set.intersect(&ServiceSet::range(start, end - 1)).ranges() {
            let (first, last) = (first - start, last - start);
            // TCP, UDP and SCTP stand for fragments without ports here.
            let fragment = word == "ip-proto"
                && [proto::TCP, proto::UDP, proto::SCTP]
                    .iter()
                    .any(|proto| u32::from(*proto) == first);
            let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
            match (ported, fragment) {
                (true, _) => found.push(format!("{range}/{word}")),
                (false, true) if first == last => {}
                (false, _) => found.push(format!("{word} {range}")),
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_ports_with_their_protocol() {
        let of = |ranges: &[(u32, u32)]| services(&ServiceSet::from_ranges(ranges.to_vec()));
        assert_eq!(of(&[(80, 80)]), ["80/tcp"]);
        assert_eq!(of(&[(65_536 + 53, 65_536 + 53), (53, 53)]), ["53/tcp", "53/udp"]);
        assert_eq!(of(&[(8_000, 9_000)]), ["8000-9000/tcp"]);
        assert_eq!(of(&[(ServiceIndex::ICMP + 8, ServiceIndex::ICMP + 8)]), ["icmp 8"]);
        assert_eq!(of(&[(ServiceIndex::OTHER + 112, ServiceIndex::OTHER + 112)]), ["ip-proto 112"]);
        assert_eq!(services(&ServiceSet::full()), ["all"]);
        assert_eq!(of(&[(0, 65_535)]), ["all tcp"]);
    }
}
