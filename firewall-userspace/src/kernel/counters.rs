//! Reading the counter maps: rows of all CPUs, added up.

use anyhow::{Context as _, Result};
use firewall_common::abi::counter::{INTERFACES, METRICS, RuleCounter, Traffic};
use firewall_common::verdict::{Direction, Reason};

use super::maps::Maps;
use super::sys::{self, Mapping};

/// A counter map: rows of `width` words per slot.
#[derive(Debug)]
pub struct Counters {
    mapping: Mapping,
    rows: usize,
    row_words: usize,
}

impl Counters {
    /// Maps a counter map of `rows` rows.
    ///
    /// # Errors
    /// If the map cannot be mapped.
    pub fn open(maps: &Maps, name: &str, rows: u32, writable: bool) -> Result<Self> {
        let fd = maps.fd(name)?;
        let bytes = sys::shape(fd)?.value as usize;
        let mapping = Mapping::new(fd, bytes, writable)
            .with_context(|| format!("could not map the counters {name}"))?;
        let rows = rows as usize;
        Ok(Self { mapping, rows, row_words: bytes / 8 / rows })
    }

    /// Words of a row.
    #[must_use]
    pub fn row_words(&self) -> usize {
        self.row_words
    }

    /// One word, added up over all CPUs; wraps like the counters themselves.
    #[must_use]
    pub fn sum(&self, word: usize) -> u64 {
        (0..self.rows).fold(0, |sum, row| sum.wrapping_add(self.at(row, word)))
    }

    /// One word of one CPU.
    #[must_use]
    pub fn at(&self, row: usize, word: usize) -> u64 {
        self.mapping.word(row * self.row_words + word)
    }

    /// Sets a word of the last row, which no CPU writes.
    pub fn carry(&self, word: usize, value: u64) {
        self.mapping.set_word((self.rows - 1) * self.row_words + word, value);
    }

    /// Zeroes `width` words of every row from `word` on, of a slot that no program
    /// counts on yet.
    pub fn clear(&self, word: usize, width: usize) {
        for row in 0..self.rows {
            for offset in 0..width {
                self.mapping.set_word(row * self.row_words + word + offset, 0);
            }
        }
    }

    /// Rows, the last of them user space's own.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }
}

/// Outcome counters by interface place, direction and reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcomes(Vec<Traffic>);

impl Outcomes {
    /// Reads the counters of all CPUs.
    #[must_use]
    pub fn read(counters: &Counters) -> Self {
        let slots = INTERFACES * 2 * Reason::COUNT;
        Self(
            (0..slots as usize)
                .map(|slot| Traffic {
                    packets: counters.sum(slot * 2),
                    bytes: counters.sum(slot * 2 + 1),
                })
                .collect(),
        )
    }

    /// What one interface place saw of one reason.
    #[must_use]
    pub fn get(&self, interface: u32, direction: Direction, reason: Reason) -> Traffic {
        let slot = (interface * 2 + direction as u32) * Reason::COUNT + reason as u32;
        self.0.get(slot as usize).copied().unwrap_or_default()
    }

    /// What all interfaces saw of one reason.
    #[must_use]
    pub fn total(&self, direction: Direction, reason: Reason) -> Traffic {
        (0..INTERFACES).map(|place| self.get(place, direction, reason)).fold(
            Traffic::default(),
            |sum, add| Traffic {
                packets: sum.packets.wrapping_add(add.packets),
                bytes: sum.bytes.wrapping_add(add.bytes),
            },
        )
    }
}

/// Every rule counter, by slot.
#[must_use]
pub fn rules(counters: &Counters) -> Vec<RuleCounter> {
    (0..counters.row_words() / 4)
        .map(|slot| RuleCounter {
            packets: counters.sum(slot * 4),
            bytes: counters.sum(slot * 4 + 1),
            new_flows: counters.sum(slot * 4 + 2),
            reserved: 0,
        })
        .collect()
}

/// Every request counter, by request slot and metric.
#[must_use]
pub fn requests(counters: &Counters) -> Vec<[u64; METRICS as usize]> {
    let width = METRICS as usize;
    (0..counters.row_words() / width)
        .map(|slot| std::array::from_fn(|metric| counters.sum(slot * width + metric)))
        .collect()
}
