//! Tables full of bans, and packets from those that are banned and from others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use firewall_common::abi::ban::{Ban, BanKey};
use firewall_policy::set::RangeSet;
use firewall_userspace::kernel::bans::key;

use super::ours::Ours;
use super::traffic::{Flow, Flow6, Random};

/// A ban that never ends.
pub(super) const BAN: Ban = Ban { until_ns: u64::MAX, since_ns: 0, hits: 0, reason: [0; 40] };

/// Bans of a full table.
const FULL: u32 = 1_000_000;
/// Lengths of networks of IPv4, each of as many bans.
const LENGTHS: [u8; 13] = [20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32];
/// The same of IPv6: what a provider has, a site, a home, a link and a host.
const LENGTHS6: [u8; 5] = [32, 48, 56, 64, 128];

/// A port that is open to all who are not banned.
const OPEN: u16 = 8081;

/// Fills the table with hosts, and returns them.
pub(super) fn hosts(ours: &Ours) -> Result<Vec<u32>> {
    let mut random = Random::new(0xba4);
    let addresses: Vec<u32> = (0..FULL).map(|_| random.address()).collect();
    fill(ours, addresses.iter().map(|&address| key(Ipv4Addr::from(address).into(), 32)))?;
    Ok(addresses)
}

/// Packets from any of `hosts` to a port that is open to others.
pub(super) fn from(hosts: &[u32]) -> impl FnMut() -> Flow {
    let mut random = Random::new(0xba5);
    move || {
        let source = hosts.get(random.below(FULL) as usize).copied();
        Flow { source: source.unwrap_or_default(), ..Flow::to(OPEN) }
    }
}

/// Packets from anywhere else.
pub(super) fn not_from(hosts: &[u32]) -> impl FnMut() -> Flow + use<> {
    elsewhere(hosts.iter().map(|&host| (host, host)).collect())
}

fn elsewhere(banned: Vec<(u32, u32)>) -> impl FnMut() -> Flow {
    let (banned, mut random) = (RangeSet::from_ranges(banned), Random::new(0xba9));
    move || {
        loop {
            let source = random.address();
            if !banned.contains(source) {
                return Flow { source, ..Flow::to(OPEN) };
            }
        }
    }
}

/// Fills the table with networks of many lengths, and returns packets from anywhere else.
pub(super) fn networks(ours: &Ours) -> Result<impl FnMut() -> Flow + use<>> {
    let mut random = Random::new(0xba6);
    let of_all = LENGTHS.into_iter().cycle().take(FULL as usize);
    let networks: Vec<(u32, u8)> = of_all.map(|length| (random.address(), length)).collect();
    fill(
        ours,
        networks.iter().map(|&(address, length)| key(Ipv4Addr::from(address).into(), length)),
    )?;
    let range = |&(address, length): &(u32, u8)| {
        let hosts = u32::MAX.checked_shr(length.into()).unwrap_or_default();
        (address & !hosts, address | hosts)
    };
    Ok(elsewhere(networks.iter().map(range).collect()))
}

/// The same of IPv6, below `2000::/4`.
pub(super) fn networks6(ours: &Ours) -> Result<()> {
    let mut random = Random::new(0xba7);
    let of_all = LENGTHS6.into_iter().cycle().take(FULL as usize);
    let banned = of_all.map(|length| {
        let address = u128::from(below(2, &mut random)) << 64 | u128::from(random.next());
        key(IpAddr::V6(Ipv6Addr::from(address)), length)
    });
    fill(ours, banned)
}

/// Packets over IPv6 from `3000::/4`, where nobody is banned.
pub(super) fn from_elsewhere6() -> impl FnMut() -> Flow6 {
    let mut random = Random::new(0xba8);
    move || Flow6 { network: below(3, &mut random), port: OPEN }
}

/// Upper half of an address whose first four bits are these.
fn below(first: u64, random: &mut Random) -> u64 {
    let low = u64::from(random.next()) << 32 | u64::from(random.next());
    first << 60 | low >> 4
}

fn fill(ours: &Ours, keys: impl Iterator<Item = BanKey>) -> Result<()> {
    ours.store()?.bans()?.insert_all(&keys.collect::<Vec<_>>(), &BAN)?;
    Ok(())
}
