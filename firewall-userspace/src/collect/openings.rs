//! Openings in force, as tables and JSON show them.

use std::net::IpAddr;

use anyhow::Result;
use firewall_common::abi::opening::Opening;
use firewall_common::packet::Address;
use firewall_policy::set::ServiceSet;

use crate::banning::written;
use crate::host::clock::wall_ms;
use crate::kernel::clock::monotonic_ns;
use crate::kernel::store::Store;
use crate::report::services::services;
use crate::report::snapshot::Opened;

/// The network that an opening is for.
pub(crate) fn network(opening: &Opening) -> (IpAddr, u8) {
    let [hi, lo] = opening.network;
    let address = Address { hi, lo };
    let bits: u32 = opening.mask.map(u64::count_ones).iter().sum();
    let address = match opening.family {
        4 => IpAddr::V4(address.v4().into()),
        _ => IpAddr::V6(address.v6().into()),
    };
    (address, u8::try_from(bits).unwrap_or(u8::MAX))
}

/// What the operator called it.
pub(crate) fn name(opening: &Opening) -> String {
    let text = opening.name.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// Openings as the operator made them, the one that ends next first: one of a
/// service with several ports takes a place for each.
pub(crate) fn shown(openings: &[Opening]) -> Vec<Opened> {
    let now = monotonic_ns();
    let mut shown: Vec<(Opened, Vec<(u32, u32)>)> = Vec::new();
    for opening in openings.iter().filter(|opening| opening.until_ns > now) {
        let (address, length) = network(opening);
        let one = Opened {
            service: name(opening),
            ports: Vec::new(),
            network: written(address, length),
            since_ms: wall_ms(opening.since_ns),
            until_ms: wall_ms(opening.until_ns),
            seconds_left: (opening.until_ns - now).div_ceil(1_000_000_000),
        };
        let same =
            |other: &Opened| (&other.service, &other.network) == (&one.service, &one.network);
        let range = (opening.first, opening.last);
        match shown.iter_mut().find(|(other, _)| same(other)) {
            Some((_, ranges)) => ranges.push(range),
            None => shown.push((one, vec![range])),
        }
    }
    let ported =
        |(one, ranges)| Opened { ports: services(&ServiceSet::from_ranges(ranges)), ..one };
    let mut shown: Vec<Opened> = shown.into_iter().map(ported).collect();
    shown.sort_by_key(|one| one.seconds_left);
    shown
}

/// The openings in force.
///
/// # Errors
/// If the kernel refuses.
pub(crate) fn in_force(store: &Store) -> Result<Vec<Opened>> {
    Ok(shown(&store.openings(false)?.all()))
}
