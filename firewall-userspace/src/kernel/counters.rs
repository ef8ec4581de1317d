//! Reading the counter maps: rows of all CPUs, added up.
//!
//! A policy that outgrows a map gets a larger one in its place. The one before stays
//! pinned beside it, because the generation in force counts there until the switch, and
//! again if a trial ends: what a word counts is the sum of both.

use std::mem::offset_of;

use anyhow::{Context as _, Result};
use firewall_common::abi::counter::{Cpu, INTERFACES, Interface, METRICS, RuleCounter, Traffic};
use firewall_common::verdict::{Direction, Reason};

use super::maps::{self, Maps};
use super::sys::{self, Mapping};

/// A counter map: rows of words, one per CPU; and those that it has outgrown.
#[derive(Debug)]
pub struct Counters {
    /// The largest first, which is the one that programs loaded now count in.
    parts: Vec<Rows>,
    cpus: usize,
}

/// The rows of one map.
#[derive(Debug)]
struct Rows {
    mapping: Mapping,
    words: usize,
}

impl Counters {
    /// Maps a counter map.
    ///
    /// # Errors
    /// If the map cannot be mapped.
    pub fn open(maps: &Maps, name: &str, writable: bool) -> Result<Self> {
        let cpus = maps::cpus()? as usize;
        let rows = |fd| -> Result<Rows> {
            let bytes = sys::shape(fd)?.value as usize;
            let mapping = Mapping::new(fd, bytes, writable)
                .with_context(|| format!("could not map the counters {name}"))?;
            Ok(Rows { mapping, words: bytes / 8 / cpus })
        };
        let parts = maps.counters(name)?.into_iter().map(rows).collect::<Result<_>>()?;
        Ok(Self { parts, cpus })
    }

    /// Words of a row.
    #[must_use]
    pub fn row_words(&self) -> usize {
        self.parts.first().map_or(0, |rows| rows.words)
    }

    /// One word, added up over all CPUs; wraps like the counters themselves.
    #[must_use]
    pub fn sum(&self, word: usize) -> u64 {
        (0..self.cpus).fold(0, |sum, cpu| sum.wrapping_add(self.at(cpu, word)))
    }

    /// Packets and bytes that begin at a word, added up over all CPUs.
    #[must_use]
    pub fn traffic(&self, word: usize) -> Traffic {
        Traffic { packets: self.sum(word), bytes: self.sum(word + 1) }
    }

    /// One word of one CPU.
    #[must_use]
    pub fn at(&self, cpu: usize, word: usize) -> u64 {
        let parts = self.parts.iter().filter(|rows| word < rows.words);
        parts.fold(0, |sum, rows| sum.wrapping_add(rows.mapping.word(cpu * rows.words + word)))
    }

    /// Zeroes `width` words of every row from `word` on, of a slot that no program
    /// counts on yet.
    pub fn clear(&self, word: usize, width: usize) {
        for rows in &self.parts {
            for word in (word..word + width).filter(|word| *word < rows.words) {
                for cpu in 0..self.cpus {
                    rows.mapping.set_word(cpu * rows.words + word, 0);
                }
            }
        }
    }

    /// Sets one word of one CPU.
    pub fn set(&self, cpu: usize, word: usize, value: u64) {
        for rows in self.parts.iter().filter(|rows| word < rows.words) {
            rows.mapping.set_word(cpu * rows.words + word, value);
        }
    }

    /// CPUs, each of which has a row.
    #[must_use]
    pub fn cpus(&self) -> usize {
        self.cpus
    }
}

/// Word of the packets of an outcome, in a row of `CPUS`; the one behind it has the bytes.
#[must_use]
pub fn outcome_word(interface: u32, direction: Direction, reason: u32) -> usize {
    let interface = offset_of!(Cpu, interfaces) + interface as usize * size_of::<Interface>();
    let outcome = (direction as u32 * Reason::COUNT + reason) as usize * size_of::<Traffic>();
    (interface + offset_of!(Interface, outcomes) + outcome) / 8
}

/// Outcome counters by interface place, direction and reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcomes(Vec<Traffic>);

impl Outcomes {
    /// Reads the counters of all CPUs.
    #[must_use]
    pub fn read(counters: &Counters) -> Self {
        let directions = [Direction::Ingress, Direction::Egress];
        let words = (0..INTERFACES).flat_map(|interface| {
            directions.into_iter().flat_map(move |direction| {
                (0..Reason::COUNT).map(move |reason| outcome_word(interface, direction, reason))
            })
        });
        Self(words.map(|word| counters.traffic(word)).collect())
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
