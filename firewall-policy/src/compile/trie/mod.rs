//! The address trie: runs of classes to the words that the datapath walks.
//!
//! 16 bits at the root, a byte per block below. Two kinds of record keep blocks
//! away where they would be all but empty:
//!
//! - a region of one or two odd prefixes on one background is one or two records;
//! - a region whose odd part lies in a prefix that reaches into a later byte is a
//!   record for that prefix, with the rest of the walk behind it.
//!
//! Each byte of a walk is thus worth at most two steps: 4 for IPv4, 28 for IPv6.
//! The work is done twice, first to count, so that memory is known before any is
//! taken.

mod prefix;
mod sink;

use std::ops::Range;

use firewall_common::abi::tables::{Compare, TrieWord};

use super::classes::Run;
use super::parallel;
use crate::set::Point;
use prefix::{FEW, Prefix, Span, below, common, few};
pub(super) use sink::{BLOCK, ROOT, Tally};
use sink::{Sink, Tables};

/// An address as 128 bits, left-aligned.
pub(super) trait Address: Point + Sync {
    /// Width of the family.
    const BITS: u32;
    /// Words of a compare record.
    const RECORD: usize = Compare::words(Self::BITS / 32) as usize;
    /// The bits; those past the family's width are zero.
    fn aligned(self) -> u128;
}

impl Address for u32 {
    const BITS: u32 = 32;

    fn aligned(self) -> u128 {
        u128::from(self) << 96
    }
}

impl Address for u128 {
    const BITS: u32 = 128;

    fn aligned(self) -> u128 {
        self
    }
}

/// How the trie of a family is built: in stretches of the root that do not touch
/// each other, so that each can have a thread.
#[derive(Debug)]
pub(super) struct Plan {
    stretches: Vec<(Range<usize>, Tally)>,
}

/// Runs from which on a stretch is worth a thread.
const STRETCH_RUNS: usize = 1 << 15;

/// Stretches, at most.
const STRETCHES_MAX: usize = 4;

impl Plan {
    /// Counts blocks and records.
    pub(super) fn new<T: Address>(runs: &[Run<T>]) -> Self {
        let count = (runs.len() / STRETCH_RUNS).clamp(1, STRETCHES_MAX);
        let mut cuts: Vec<usize> = (1..count)
            .map(|cut| index(runs[runs.len() * cut / count].first.aligned() >> 112))
            .collect();
        cuts.insert(0, 0);
        cuts.push(ROOT);
        let stretches = cuts.windows(2).map(|pair| pair[0]..pair[1]).collect();
        Self {
            stretches: parallel::all(stretches, |stretch: Range<usize>| {
                let mut tally = Tally::default();
                tally.steps = build(runs, stretch.clone(), &mut tally);
                (stretch, tally)
            }),
        }
    }

    /// Blocks, records and steps of the whole trie.
    pub(super) fn tally(&self) -> Tally {
        self.stretches.iter().fold(Tally::default(), |all, (_, tally)| all.plus(*tally))
    }

    /// Builds the trie. `blocks` and `compares` are its own parts of what both
    /// families share, and begin at the numbers that `before` counts.
    pub(super) fn write<T: Address>(
        &self,
        runs: &[Run<T>],
        mut root: &mut [u32],
        mut blocks: &mut [u32],
        mut compares: &mut [u32],
        mut before: Tally,
    ) {
        let mut parts = Vec::new();
        for (stretch, tally) in &self.stretches {
            let tables = Tables {
                root: root.split_off_mut(..stretch.len()).unwrap_or_default(),
                root_first: stretch.start,
                blocks: blocks.split_off_mut(..tally.block_words()).unwrap_or_default(),
                compares: compares.split_off_mut(..tally.compare_words::<T>()).unwrap_or_default(),
                before,
                used: Tally::default(),
            };
            before = before.plus(*tally);
            parts.push((stretch.clone(), tables));
        }
        parallel::all(parts, |(stretch, mut tables)| build(runs, stretch, &mut tables));
    }
}

/// Builds a stretch of the root, and what is below; the steps of the longest
/// walk.
fn build<T: Address, S: Sink>(runs: &[Run<T>], stretch: Range<usize>, sink: &mut S) -> u32 {
    let all = Region { first: 0, depth: 0, runs };
    let mut builder = Builder { sink, steps: 0, steps_max: 0 };
    builder.children(&all, None, 16, stretch);
    builder.steps_max
}

/// The addresses that share their first `depth` bytes with `first`, and the runs
/// that touch them.
struct Region<'a, T> {
    first: u128,
    depth: u32,
    runs: &'a [Run<T>],
}

impl<T: Address> Region<'_, T> {
    fn last(&self) -> u128 {
        self.first | below(self.depth * 8)
    }

    /// A run, cut to the region.
    fn span(&self, place: usize) -> Span {
        let run = &self.runs[place];
        let next = self.runs.get(place + 1);
        Span {
            first: run.first.aligned().max(self.first),
            last: next.map_or(self.last(), |next| next.first.aligned() - 1),
            class: run.class,
        }
    }

    /// The first runs, cut to the region.
    fn spans(&self) -> [Span; FEW] {
        let span = |place| if place < self.runs.len() { self.span(place) } else { Span::default() };
        std::array::from_fn(span)
    }

    /// The part of the region below a prefix, which must be longer than it.
    fn below(&self, first: u128, depth: u32) -> Self {
        let last = first | below(depth * 8);
        let start = self.runs.partition_point(|run| run.first.aligned() <= first) - 1;
        let end = start + self.runs[start..].partition_point(|run| run.first.aligned() <= last);
        Self { first, depth, runs: &self.runs[start..end] }
    }

    /// The longest prefix outside of which the region is of one class, and that
    /// class.
    fn odd_part(&self) -> Option<(Prefix, u32)> {
        let end = self.runs.len() - 1;
        let (head, tail) = (self.runs[0].class, self.runs[end].class);
        let behind_head = (head, 1, if tail == head { end - 1 } else { end });
        let before_tail = (tail, 0, end - 1);
        let candidates = [behind_head, before_tail].map(|(background, first, last)| {
            (common(self.span(first).first, self.span(last).last), background)
        });
        candidates.into_iter().max_by_key(|(prefix, _)| prefix.length)
    }
}

/// Makes words of regions.
struct Builder<'s, S> {
    sink: &'s mut S,
    /// Steps to where the work is.
    steps: u32,
    /// Steps to the farthest class.
    steps_max: u32,
}

impl<S: Sink> Builder<'_, S> {
    /// The word that leads to a region's classes.
    fn word<T: Address>(&mut self, region: &Region<'_, T>) -> u32 {
        if let [run] = region.runs {
            self.steps_max = self.steps_max.max(self.steps);
            return run.class;
        }
        if region.runs.len() <= FEW
            && let Some((background, paints)) = few(&region.spans()[..region.runs.len()])
        {
            let records = paints.iter().flatten().map(|_| 1).sum::<u32>();
            self.steps_max = self.steps_max.max(self.steps + records);
            // The walk asks for what was painted last first.
            return paints.into_iter().flatten().fold(background, |outside, (prefix, class)| {
                self.compare::<T>(prefix, class, outside, region.depth)
            });
        }
        if let Some((prefix, background)) = region.odd_part()
            && prefix.length / 8 > region.depth
        {
            let depth = prefix.length / 8;
            self.steps += 1;
            let inside = self.word(&region.below(prefix.bits & !below(depth * 8), depth));
            self.steps -= 1;
            return self.compare::<T>(prefix, inside, background, depth);
        }
        let block = self.sink.block();
        self.steps += 1;
        self.children(region, Some(block), 8, 0..BLOCK);
        self.steps -= 1;
        TrieWord::BLOCK | block
    }

    /// Fills words of the root or of a block: each is that of a part of the
    /// region, by the value of the next `bits` bits.
    fn children<T: Address>(
        &mut self,
        region: &Region<'_, T>,
        block: Option<u32>,
        bits: u32,
        values: Range<usize>,
    ) {
        let depth = region.depth + bits / 8;
        let shift = 128 - depth * 8;
        let child_of = |address: u128| index((address - region.first) >> shift);
        let address_of = |child: usize| region.first + ((child as u128) << shift);
        let mut child = values.start;
        let mut place = match child {
            0 => 0,
            _ => region.runs.partition_point(|run| run.first.aligned() <= address_of(child)) - 1,
        };
        while child < values.end {
            let span = region.span(place);
            // Children that end within this run are of its class throughout.
            let is_whole = span.last & below(depth * 8) == below(depth * 8);
            let full = (child_of(span.last) + usize::from(is_whole)).min(values.end);
            if child < full {
                self.sink.fill(block, child, full, span.class);
                self.steps_max = self.steps_max.max(self.steps);
                child = full;
                if child_of(span.last) < child {
                    place += 1;
                }
                continue;
            }
            let first = address_of(child);
            let last = first | below(depth * 8);
            let runs = &region.runs[place..];
            // Nearly always few, so not worth a search.
            let touched = runs.iter().take_while(|run| run.first.aligned() <= last).count();
            let word = self.word(&Region { first, depth, runs: &runs[..touched] });
            self.sink.fill(block, child, child + 1, word);
            child += 1;
            place += touched - 1;
            if region.span(place).last == last {
                place += 1;
            }
        }
    }

    fn compare<T: Address>(
        &mut self,
        prefix: Prefix,
        inside: u32,
        outside: u32,
        depth: u32,
    ) -> u32 {
        let behind = [Compare::reach(prefix.length, depth), inside, outside];
        TrieWord::COMPARE | self.sink.compare::<T>(prefix.bits, behind)
    }
}

/// The number of a word of a root or a block: below 2^16.
const fn index(child: u128) -> usize {
    child as usize
}
