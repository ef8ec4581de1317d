//! Openings, as user space writes them.
//!
//! One writer at a time: who changes them holds the lock.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use firewall_common::abi::control::Control;
use firewall_common::abi::opening::{OPENINGS, Opening};
use firewall_common::packet::Address;

use super::grace;
use super::maps::Maps;
use super::sys::{self, Mapping};

/// The places of openings, and the word that says how many are taken.
#[derive(Debug)]
pub struct Openings {
    places: Mapping,
    control: Mapping,
}

/// Words of an [`Opening`].
const WORDS: usize = size_of::<Opening>() / 8;
/// Word of [`Control`] that says how many places are taken.
const COUNT: usize = std::mem::offset_of!(Control, openings) / 8;
/// Longer than a packet takes, where the kernel does not tell when it is through.
const PACKETS: Duration = Duration::from_millis(50);

impl Openings {
    /// Opens the places of `maps`, to write to them or only to read.
    ///
    /// # Errors
    /// If the maps are not ours to read or write.
    pub fn open(maps: &Maps, writable: bool) -> Result<Self> {
        let map = |name, size| {
            Mapping::new(maps.fd(name)?, size, writable)
                .with_context(|| format!("could not map {name}"))
        };
        Ok(Self {
            places: map("OPENINGS", size_of::<[Opening; OPENINGS]>())?,
            control: map("CONTROL", size_of::<Control>())?,
        })
    }

    /// Every opening, ended ones included.
    #[must_use]
    pub fn all(&self) -> Vec<Opening> {
        let place = |place: usize| read(std::array::from_fn(|word| self.word(place, word)));
        (0..OPENINGS).map(place).filter(|opening| opening.until_ns != 0).collect()
    }

    /// Puts these openings in place of all that there are.
    ///
    /// An end is erased first and written last, and between the two is time for packets
    /// that had begun: whoever reads meanwhile finds an opening whole, or none.
    pub fn write(&self, openings: &[Opening]) {
        // Asked as long as there may be one.
        if !openings.is_empty() {
            self.control.set_word(COUNT, openings.len() as u64);
        }
        let wanted = openings.iter().copied().chain(std::iter::repeat(Opening::FREE));
        let wanted = (0..OPENINGS).zip(wanted.map(|opening| words(&opening)));
        let differs = |(place, words): &(usize, [u64; WORDS])| {
            (0..WORDS).any(|word| self.word(*place, word) != words[word])
        };
        let changed: Vec<_> = wanted.filter(differs).collect();
        let used = || changed.iter().filter(|(place, _)| self.word(*place, 0) != 0);
        let is_any_used = used().count() > 0;
        used().for_each(|(place, _)| self.places.set_word(place * WORDS, 0));
        if is_any_used && !grace::wait() {
            std::thread::sleep(PACKETS);
        }
        for (place, words) in changed {
            for (word, value) in words.iter().enumerate().skip(1) {
                self.places.set_word(place * WORDS + word, *value);
            }
            self.places.publish_word(place * WORDS, words[0]);
        }
        self.control.set_word(COUNT, openings.len() as u64);
    }

    fn word(&self, place: usize, word: usize) -> u64 {
        self.places.word(place * WORDS + word)
    }
}

fn words(opening: &Opening) -> [u64; WORDS] {
    let Opening { until_ns, since_ns, network, mask, first, last, family, reserved, name } =
        *opening;
    let two = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    let mut words = [0; WORDS];
    words[..8].copy_from_slice(&[
        until_ns,
        since_ns,
        network[0],
        network[1],
        mask[0],
        mask[1],
        two(first, last),
        two(family, reserved),
    ]);
    for (word, bytes) in words[8..].iter_mut().zip(name.as_chunks::<8>().0) {
        *word = u64::from_ne_bytes(*bytes);
    }
    words
}

fn read(words: [u64; WORDS]) -> Opening {
    let [until_ns, since_ns, hi, lo, mask_hi, mask_lo, services, rest, text @ ..] = words;
    let ([first, last], [family, reserved]) = (sys::halves(services), sys::halves(rest));
    let mut name = [0; 32];
    for (bytes, word) in name.as_chunks_mut::<8>().0.iter_mut().zip(text) {
        *bytes = word.to_ne_bytes();
    }
    Opening {
        until_ns,
        since_ns,
        network: [hi, lo],
        mask: [mask_hi, mask_lo],
        first,
        last,
        family,
        reserved,
        name,
    }
}

/// An opening of part of the service space for a network; host bits are cleared.
#[must_use]
pub fn opening(
    (address, length): (IpAddr, u8),
    (first, last): (u32, u32),
    name: &str,
    (since_ns, until_ns): (u64, u64),
) -> Opening {
    let (address, family) = Address::of(address);
    let ones = Address { hi: u64::MAX, lo: u64::MAX };
    let (mask, network) = (ones.masked(length.into()), address.masked(length.into()));
    let mut text = [0; 32];
    for (to, from) in text.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    Opening {
        until_ns,
        since_ns,
        network: [network.hi, network.lo],
        mask: [mask.hi, mask.lo],
        first,
        last,
        family: family as u32,
        reserved: 0,
        name: text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opening_survives_its_words() {
        let network = ("2001:db8:1:2:3::".parse().unwrap(), 72);
        let one = opening(network, (80, 81), "a-name-of-thirty-two-bytes-exact", (1, 2));
        assert_eq!(read(words(&one)), one);
        assert_eq!(one.mask, [u64::MAX, 0xff << 56]);
        assert_eq!(one.network, [0x2001_0db8_0001_0002, 0]);
        let v4 = opening(("198.51.100.7".parse().unwrap(), 24), (1, 1), "x", (1, 2));
        assert_eq!((v4.network, v4.mask), ([0xc633_6400 << 32, 0], [0xffff_ff00 << 32, 0]));
    }
}
