//! What the datapath is told of bans before it asks a table: the filter, and the prefix
//! lengths in use.

use firewall_common::abi::ban::{BanKey, FILTER_BYTES, FILTER_WORDS};
use firewall_common::abi::control::Control;
use firewall_common::ban;

use crate::kernel::sys::Mapping;

/// First word of [`Control`] that has lengths.
const LENGTHS: usize = std::mem::offset_of!(Control, ban_v4_lengths) / 8;

/// What is to be said of some bans.
#[derive(Debug)]
pub(super) struct Announced {
    filter: Vec<u64>,
    lengths: [u64; 3],
}

impl Announced {
    pub(super) fn nothing() -> Self {
        Self { filter: vec![0; FILTER_BYTES / 8], lengths: [0; 3] }
    }

    /// Adds a key of that hash.
    pub(super) fn add(&mut self, seed: u64, hash: u64, key: &BanKey) {
        for (word, bits) in marks(seed, hash, key) {
            self.filter[word] |= bits;
        }
        let (word, bit) = ban::length_bit(key);
        self.lengths[word] |= 1 << bit;
    }

    /// What is to be said of these bans and of others.
    pub(super) fn and(mut self, others: Self) -> Self {
        for (word, bits) in self.filter.iter_mut().zip(others.filter) {
            *word |= bits;
        }
        for (word, bits) in self.lengths.iter_mut().zip(others.lengths) {
            *word |= bits;
        }
        self
    }

    /// Says that there may be these bans, too.
    pub(super) fn publish(&self, filter: &Mapping, control: &Mapping) {
        for (word, bits) in self.filter.iter().enumerate() {
            filter.set_bits(word, *bits);
        }
        for (word, bits) in (LENGTHS..).zip(self.lengths) {
            control.set_bits(word, bits);
        }
    }

    /// Says that there are no others.
    pub(super) fn publish_only(&self, filter: &Mapping, control: &Mapping) {
        for (word, bits) in (LENGTHS..).zip(self.lengths) {
            control.clear_bits(word, !bits);
        }
        for (word, bits) in self.filter.iter().enumerate() {
            filter.clear_bits(word, !bits);
        }
    }
}

/// Says that there may be one ban more.
pub(super) fn announce(seed: u64, key: &BanKey, filter: &Mapping, control: &Mapping) {
    for (word, bits) in marks(seed, ban::hash(seed, key), key) {
        filter.set_bits(word, bits);
    }
    let (word, bit) = ban::length_bit(key);
    control.set_bits(LENGTHS + word, 1 << bit);
}

/// Whether there may be any ban.
pub(super) fn is_any(control: &Mapping) -> bool {
    (LENGTHS..LENGTHS + 3).any(|word| control.word(word) != 0)
}

/// Words of the filter, and the bits there that a ban has.
fn marks(seed: u64, hash: u64, key: &BanKey) -> impl Iterator<Item = (usize, u64)> {
    ban::marks(seed, hash, key).map(|(part, word, bits)| {
        let first = part as usize * FILTER_WORDS as usize;
        (first + word as usize, bits)
    })
}
