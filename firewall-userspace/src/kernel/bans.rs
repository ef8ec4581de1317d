//! Bans, as user space writes them.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use aya::maps::{HashMap, Map, MapData};
use firewall_common::abi::ban::{Ban, BanKey, FILTER_BITS, FILTER_V6_LENGTH, filter_bit};
use firewall_common::abi::control::Control;
use firewall_common::packet::{Address, Family};

use super::maps::Maps;
use super::pod::{Network, Term};
use super::sys::{self, Mapping};

/// The table of bans and the prefix lengths in use.
#[derive(Debug)]
pub struct Bans {
    table: HashMap<MapData, Network, Term>,
    control: Mapping,
    filter: Mapping,
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
            filter: Mapping::new(maps.fd("BAN_FILTER")?, FILTER_BITS as usize / 8, true)
                .context("could not map the filter of bans")?,
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
        // Filter and length are announced after the entry is there to be found.
        for (word, bits) in filter_words(&key) {
            self.filter.set_bits(word, bits);
        }
        let (word, bit) = length_bit(&key);
        self.control.set_bits(word, 1 << bit);
        Ok(())
    }

    /// Lifts a ban; false if there was none. What was announced of it stays until the
    /// next [`expire`](Self::expire), and costs its sources a look-up.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn remove(&mut self, key: BanKey) -> Result<bool> {
        if self.table.get(&Network(key), 0).is_err() {
            return Ok(false);
        }
        self.table.remove(&Network(key)).context("could not lift the ban")?;
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

    /// Removes bans that ended before `now_ns`, and what is announced of bans that
    /// are no more; returns how many it removed.
    ///
    /// # Errors
    /// If the table cannot be read or written.
    pub fn expire(&mut self, now_ns: u64) -> Result<usize> {
        let (ended, left): (Vec<_>, Vec<_>) =
            self.all()?.into_iter().partition(|(_, ban)| ban.until_ns <= now_ns);
        for (key, _) in &ended {
            self.table.remove(&Network(*key)).context("could not remove an ended ban")?;
        }
        self.announce(&left);
        // Who was banned while that went on is announced again.
        self.announce_more(&self.all()?);
        Ok(ended.len())
    }

    /// Tells the datapath of these bans, and of no other.
    fn announce(&self, bans: &[(BanKey, Ban)]) {
        let mut lengths = [0_u64; 3];
        let mut filter = vec![0_u64; FILTER_BITS as usize / 64];
        for (key, _) in bans {
            let (word, bit) = length_bit(key);
            if let Some(length) = lengths.get_mut(word - LENGTHS) {
                *length |= 1 << bit;
            }
            for (word, bits) in filter_words(key) {
                if let Some(word) = filter.get_mut(word) {
                    *word |= bits;
                }
            }
        }
        for (offset, length) in lengths.into_iter().enumerate() {
            self.control.clear_bits(LENGTHS + offset, !length);
        }
        for (word, bits) in filter.into_iter().enumerate() {
            self.filter.clear_bits(word, !bits);
        }
    }

    /// Tells the datapath of these bans, too.
    fn announce_more(&self, bans: &[(BanKey, Ban)]) {
        for (key, _) in bans {
            for (word, bits) in filter_words(key) {
                self.filter.set_bits(word, bits);
            }
            let (word, bit) = length_bit(key);
            self.control.set_bits(word, 1 << bit);
        }
    }
}

/// Words of the filter, with the bits of a ban in each.
fn filter_words(key: &BanKey) -> impl Iterator<Item = (usize, u64)> + use<> {
    let (first, count) = match key.family {
        4 => {
            let count = 1_u64 << 24_u32.saturating_sub(key.length);
            (u64::from(filter_bit(Family::V4, key.hi)), count)
        }
        _ if key.length >= FILTER_V6_LENGTH => (u64::from(filter_bit(Family::V6, key.hi)), 1),
        _ => (0, 0),
    };
    // A run of bits is aligned to its length: within a word, or whole words.
    let bits = if count >= 64 { u64::MAX } else { ((1 << count) - 1) << (first % 64) };
    let words = first / 64..first / 64 + count.div_ceil(64);
    words.filter_map(move |word| Some((usize::try_from(word).ok()?, bits)))
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
