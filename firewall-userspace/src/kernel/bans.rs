//! Bans, as user space writes them.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use aya::maps::{HashMap, Map, MapData};
use firewall_common::abi::ban::{Ban, BanKey};
use firewall_common::abi::control::Control;
use firewall_common::packet::Address;

use super::maps::Maps;
use super::pod::{Network, Term};
use super::sys::{self, Mapping};

/// The table of bans and the prefix lengths in use.
#[derive(Debug)]
pub struct Bans {
    table: HashMap<MapData, Network, Term>,
    control: Mapping,
}

/// Word of [`Control`] that holds IPv4 lengths; the two of IPv6 follow.
const LENGTHS: usize = std::mem::offset_of!(Control, ban_v4_lengths) / 8;

impl Bans {
    /// Opens the table of `maps`.
    ///
    /// # Errors
    /// If the maps are not ours to write.
    pub fn open(maps: &Maps) -> Result<Self> {
        let data = MapData::from_fd(sys::duplicate(&maps.fd("BANS")?)?)?;
        Ok(Self {
            table: HashMap::try_from(Map::HashMap(data))?,
            control: Mapping::new(maps.fd("CONTROL")?, size_of::<Control>(), true)
                .context("could not map the control word")?,
        })
    }

    /// Adds or renews a ban.
    ///
    /// # Errors
    /// If the table is full: nothing in force is given up for a new ban.
    pub fn insert(&mut self, key: BanKey, ban: Ban) -> Result<()> {
        self.table
            .insert(Network(key), Term(ban), 0)
            .context("the table of bans would not take another")?;
        // The length is announced after the entry is there to be found.
        let (word, bit) = length_bit(&key);
        self.control.set_word(word, self.control.word(word) | 1 << bit);
        Ok(())
    }

    /// Lifts a ban; false if there was none.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn remove(&mut self, key: BanKey) -> Result<bool> {
        if self.table.get(&Network(key), 0).is_err() {
            return Ok(false);
        }
        self.table.remove(&Network(key)).context("could not lift the ban")?;
        self.announce()?;
        Ok(true)
    }

    /// Every ban, expired ones included.
    ///
    /// # Errors
    /// If the table cannot be read.
    pub fn all(&self) -> Result<Vec<(BanKey, Ban)>> {
        self.table
            .iter()
            .map(|entry| entry.map(|(key, ban)| (key.0, ban.0)).context("could not read a ban"))
            .collect()
    }

    /// Removes bans that ended before `now_ns`; returns how many.
    ///
    /// # Errors
    /// If the table cannot be read or written.
    pub fn expire(&mut self, now_ns: u64) -> Result<usize> {
        let ended: Vec<BanKey> = self
            .all()?
            .into_iter()
            .filter(|(_, ban)| ban.until_ns <= now_ns)
            .map(|(key, _)| key)
            .collect();
        for key in &ended {
            self.table.remove(&Network(*key)).context("could not remove an ended ban")?;
        }
        if !ended.is_empty() {
            self.announce()?;
        }
        Ok(ended.len())
    }

    /// Tells the datapath which prefix lengths are left.
    fn announce(&self) -> Result<()> {
        let mut lengths = [0; 3];
        for (key, _) in self.all()? {
            let (word, bit) = length_bit(&key);
            if let Some(length) = lengths.get_mut(word - LENGTHS) {
                *length |= 1 << bit;
            }
        }
        for (offset, length) in lengths.into_iter().enumerate() {
            self.control.set_word(LENGTHS + offset, length);
        }
        Ok(())
    }
}

/// Word and bit that announce a ban's prefix length.
fn length_bit(key: &BanKey) -> (usize, u32) {
    match (key.family, key.length) {
        (4, length) => (LENGTHS, length),
        (_, 128) => (LENGTHS + 1, 0),
        (_, length) => (LENGTHS + 1 + length as usize / 64, length % 64),
    }
}

/// The key of a network; host bits are cleared.
#[must_use]
pub fn key(address: IpAddr, length: u8) -> BanKey {
    let (address, family) = match address {
        IpAddr::V4(address) => (Address::from_v4(address.into()), 4),
        IpAddr::V6(address) => (Address::from_v6(address.into()), 6),
    };
    let network = address.masked(length.into());
    BanKey { hi: network.hi, lo: network.lo, length: length.into(), family }
}
