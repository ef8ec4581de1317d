//! Openings: does one of them let a packet in that the policy drops by default?

use crate::abi::opening::{OPENINGS, Opening};
use crate::packet::Address;
use crate::service::ServiceIndex;
use crate::time::Nanos;

/// Whether an opening in force admits packets from an address, of IP version 4 or 6, to
/// a service.
#[inline(always)]
#[must_use]
pub fn admits(
    openings: &[Opening; OPENINGS],
    remote: Address,
    version: u32,
    service: ServiceIndex,
    now: Nanos,
) -> bool {
    let service = u64::from(service.0);
    for place in 0..OPENINGS {
        let Some(opening) = openings.get(place) else { return false };
        let [hi, lo] = opening.network;
        let [mask_hi, mask_lo] = opening.mask;
        let differs = (remote.hi & mask_hi ^ hi)
            | (remote.lo & mask_lo ^ lo)
            | u64::from(opening.family ^ version);
        let (first, last) = (u64::from(opening.first), u64::from(opening.last));
        // Negative on the wrong side; of times half, so that the difference has a sign.
        let ended = (opening.until_ns >> 1).wrapping_sub(1).wrapping_sub(now.0 >> 1);
        let outside = last.wrapping_sub(service) | service.wrapping_sub(first) | ended;
        // One comparison in place of seven: the verifier follows each.
        if differs | outside >> 63 == 0 {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Family;

    fn opening(family: Family, network: Address, mask: [u64; 2]) -> Opening {
        Opening {
            until_ns: 100,
            network: [network.hi, network.lo],
            mask,
            first: 8080,
            last: 8081,
            family: family as u32,
            ..Opening::FREE
        }
    }

    #[test]
    fn an_opening_admits_what_it_names_until_it_ends() {
        let mut all = [Opening::FREE; OPENINGS];
        // 198.51.100.0/24 and 2001:db8::/72, at the last places.
        all[14] = opening(Family::V4, Address::from_v4(0xc633_6400), [0xffff_ff00 << 32, 0]);
        let v6 = Address { hi: 0x2001_0db8 << 32, lo: 0 };
        all[15] = opening(Family::V6, v6, [u64::MAX, 0xff << 56]);
        let ask = |remote, family, service, now| {
            admits(&all, remote, family as u32, ServiceIndex(service), Nanos(now))
        };
        let inside = Address::from_v4(0xc633_64ff);
        assert!(ask(inside, Family::V4, 8080, 0) && ask(inside, Family::V4, 8081, 99));
        assert!(!ask(inside, Family::V4, 8080, 100), "it has ended");
        assert!(!ask(inside, Family::V4, 8079, 0) && !ask(inside, Family::V4, 8082, 0));
        assert!(!ask(inside, Family::V4, ServiceIndex::UDP + 8080, 0));
        assert!(!ask(inside, Family::V6, 8080, 0));
        assert!(!ask(Address::from_v4(0xc633_6500), Family::V4, 8080, 0));
        assert!(ask(Address { lo: 1, ..v6 }, Family::V6, 8080, 0));
        assert!(!ask(Address { lo: 1 << 56, ..v6 }, Family::V6, 8080, 0));
        // A free place admits nothing, not even what looks like it.
        assert!(!ask(Address { hi: 0, lo: 0 }, Family::V4, 0, 0));
    }
}
