//! Bans in force, as tables and JSON show them.

use std::net::IpAddr;

use anyhow::Result;
use firewall_common::abi::ban::{Ban, BanKey};
use firewall_common::packet::Address;
use serde::{Deserialize, Serialize};

use crate::banning::written;
use crate::host::clock::wall_ms;
use crate::kernel::clock::monotonic_ns;
use crate::kernel::store::Store;

/// One ban.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Banned {
    /// Address or network, as it was banned.
    pub network: String,
    /// Milliseconds since 1970.
    pub since_ms: u64,
    /// When it ends, milliseconds since 1970.
    pub until_ms: u64,
    /// Seconds until then.
    pub seconds_left: u64,
    /// Packets dropped; approximate.
    pub hits: u64,
    /// Why; empty if nobody said.
    pub reason: String,
}

impl Banned {
    /// A ban as the kernel has it.
    pub(crate) fn of(key: &BanKey, ban: &Ban) -> Self {
        let address = Address { hi: key.hi, lo: key.lo };
        let address = match key.family {
            4 => IpAddr::V4(address.v4().into()),
            _ => IpAddr::V6(address.v6().into()),
        };
        let length = u8::try_from(key.length).unwrap_or(u8::MAX);
        let text = ban.reason.split(|byte| *byte == 0).next().unwrap_or_default();
        Self {
            network: written(address, length),
            since_ms: wall_ms(ban.since_ns),
            until_ms: wall_ms(ban.until_ns),
            seconds_left: ban.until_ns.saturating_sub(monotonic_ns()) / 1_000_000_000,
            hits: ban.hits,
            reason: String::from_utf8_lossy(text).into_owned(),
        }
    }
}

/// The bans in force by address, IPv4 first.
///
/// # Errors
/// If the kernel refuses.
pub(crate) fn in_force(store: &Store) -> Result<Vec<Banned>> {
    let now = monotonic_ns();
    let mut all = store.bans()?.all()?;
    all.sort_unstable_by_key(|(key, _)| (key.family, key.hi, key.lo, key.length));
    let in_force = all.iter().filter(|(_, ban)| ban.until_ns > now);
    Ok(in_force.map(|(key, ban)| Banned::of(key, ban)).collect())
}
