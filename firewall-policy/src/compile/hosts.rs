//! Lone addresses to a flat table, and the filter in front of all that rules name.
//!
//! See [`firewall_common::hosts`] for how both are read.

use firewall_common::abi::tables::Host;
use firewall_common::hosts::{self, NONE};
use firewall_common::packet::Address as Aligned;

use super::address::AddressClasses;
use super::classes::Run;
use super::lists::word;
use super::trie::Address;
use crate::set::distribute;

/// Lone addresses from which on they have a table: with fewer, what the trie takes for
/// them stays in the second-level cache.
pub(super) const HOSTS_MIN: usize = 8192;

/// Steps to a slot, at most; more double the table.
const PROBES_MAX: u32 = 96;

/// Keys of the filter above which it is no smaller than a bit for every /24.
pub(super) const NETWORKS_MAX: u32 = 1 << 19;

/// Runs, and lone addresses with their classes.
pub(super) type Divided<T> = (Vec<Run<T>>, Vec<(T, u32)>);

/// Runs without lone addresses, which lie between two runs of one class.
#[derive(Debug)]
pub(super) struct Apart<T> {
    runs: Vec<Run<T>>,
    /// Each with its class, ascending.
    lone: Vec<(T, u32)>,
}

impl<T: Address> Apart<T> {
    pub(super) fn new() -> Self {
        Self { runs: Vec::new(), lone: Vec::new() }
    }

    /// Takes the next run.
    pub(super) fn push(&mut self, run: Run<T>) {
        if let [.., before, last] = self.runs[..]
            && before.class == run.class
            && last.first.next() == Some(run.first)
        {
            // What follows goes on with the run before.
            self.runs.pop();
            self.lone.push((last.first, last.class));
        } else {
            self.runs.push(run);
        }
    }

    /// The runs, and lone addresses with their classes; none if there are fewer than `least`,
    /// which are runs then.
    pub(super) fn finish(self, least: usize) -> Divided<T> {
        let Self { runs, lone } = self;
        if lone.len() >= least {
            return (runs, lone);
        }
        let mut all = Vec::with_capacity(runs.len() + 2 * lone.len());
        let mut lone = lone.into_iter().peekable();
        for (place, &run) in runs.iter().enumerate() {
            all.push(run);
            let is_inside = |(host, _): &(T, u32)| {
                runs.get(place + 1).is_none_or(|behind| *host < behind.first)
            };
            while let Some((first, class)) = lone.next_if(is_inside) {
                all.push(Run { first, class });
                all.extend(first.next().map(|first| Run { first, ..run }));
            }
        }
        (all, Vec::new())
    }
}

/// A table of lone addresses of one family.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) words: Vec<u32>,
    /// Steps of the longest search.
    pub(super) probes: usize,
}

impl Table {
    /// Gives every address a slot.
    pub(super) fn new<T: Address>(entries: &[(T, u32)], seed: u32) -> Self {
        if entries.is_empty() {
            return Self::default();
        }
        let mut slots = (2 * entries.len()).next_power_of_two();
        loop {
            if let Some(table) = Self::of_size(entries, seed, slots) {
                return table;
            }
            slots *= 2;
        }
    }

    fn of_size<T: Address>(entries: &[(T, u32)], seed: u32, slots: usize) -> Option<Self> {
        let width = if T::BITS == 32 { 1 } else { 4 };
        let shift = Host::shift(width);
        let (mut words, mask) = (vec![NONE; slots << shift], slots - 1);
        let mut longest = 0;
        let begin = |address: T| {
            quarter(hosts::hash(seed, Aligned::from_v6(address.aligned()))) as usize & mask
        };
        let shift_to_stretch = slots.ilog2().saturating_sub(STRETCHES.ilog2());
        let mut sorted = entries.to_vec();
        distribute::<_, STRETCHES>(entries, &mut sorted, |&(address, _)| {
            begin(address) >> shift_to_stretch
        });
        for (address, class) in sorted {
            let aligned = Aligned::from_v6(address.aligned());
            let first = begin(address);
            let found = (0..PROBES_MAX as usize)
                .find(|probe| words[(((first + probe) & mask) << shift) + width] == NONE)?;
            longest = longest.max(found);
            let slot = &mut words[((first + found) & mask) << shift..][..=width];
            let key = [aligned.hi >> 32, aligned.hi, aligned.lo >> 32, aligned.lo];
            for (part, key) in slot[..width].iter_mut().zip(key) {
                *part = quarter(key);
            }
            slot[width] = class;
        }
        Some(Self { words, probes: longest + 1 })
    }

    /// Number of the last slot.
    pub(super) fn mask(&self, width: usize) -> u32 {
        word(self.words.len() >> Host::shift(width)).saturating_sub(1)
    }
}

/// Stretches of a table, of which one is in the second-level cache while it is filled.
const STRETCHES: usize = 64;

/// Words of 2 MiB.
const ENOUGH: usize = 1 << 19;

/// What the filter has, and how large it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Filter {
    /// Words; 0 = there is none.
    pub(super) words: usize,
    /// Whether it has the /24s that rules name.
    pub(super) has_networks: bool,
}

impl Filter {
    /// A filter for so many keys, at 16 to 32 bits for each, but no larger than 2 MiB
    /// unless that leaves less than four.
    pub(super) fn new(hosts: usize, networks: Option<u32>) -> Self {
        let keys = hosts + networks.unwrap_or_default() as usize;
        if hosts == 0 && networks.is_none() {
            return Self::default();
        }
        let most = ENOUGH.max((keys / 8).next_power_of_two());
        let words = (keys / 2).next_power_of_two().clamp(16, most);
        Self { words, has_networks: networks.is_some() }
    }

    /// Sets the bits of every key.
    pub(super) fn fill(self, addresses: &AddressClasses, seed: u32, filter: &mut [u32]) {
        let mask = word(self.words) - 1;
        let mut set = |line: u32, hash: u64| {
            let (offset, bits) = hosts::bits(hash);
            filter[(line + offset) as usize] |= bits;
        };
        for &(host, _) in &addresses.hosts_v4 {
            let line = hosts::line(mask, hosts::hash_v4(seed, hosts::network(host)));
            set(line, hosts::hash_v4(seed, host));
        }
        for &(host, _) in &addresses.hosts_v6 {
            let hash = hosts::hash(seed, Aligned::from_v6(host));
            set(hosts::line(mask, hash), hash);
        }
        if self.has_networks {
            addresses.each_network(|network| {
                let hash = hosts::hash_v4(seed, network << 8);
                set(hosts::line(mask, hash), hash);
            });
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is wanted")]
const fn quarter(bits: u64) -> u32 {
    bits as u32
}
