//! Lists of numbers by number, in two allocations however many there are.

use std::ops::Range;

/// Lists of numbers, numbered from 0.
#[derive(Clone, Debug, Default)]
pub(super) struct Lists {
    /// First and one past the last entry of each list.
    spans: Vec<(u32, u32)>,
    entries: Vec<u32>,
}

impl Lists {
    /// Sorts (list, entry) pairs into `count` lists; entries of a list keep the
    /// order in which they come.
    pub(super) fn from_pairs(
        count: usize,
        pairs: impl Iterator<Item = (u32, u32)> + Clone,
    ) -> Self {
        let mut spans = vec![(0, 0); count];
        for (list, _) in pairs.clone() {
            spans[list as usize].1 += 1;
        }
        let mut next = 0;
        for (start, end) in &mut spans {
            let length = *end;
            (*start, *end) = (next, next);
            next += length;
        }
        let mut entries = vec![0; next as usize];
        for (list, entry) in pairs {
            let end = &mut spans[list as usize].1;
            entries[*end as usize] = entry;
            *end += 1;
        }
        Self { spans, entries }
    }

    /// Adds a list; its number.
    pub(super) fn push(&mut self, list: &[u32]) -> u32 {
        let start = word(self.entries.len());
        self.entries.extend_from_slice(list);
        self.spans.push((start, word(self.entries.len())));
        word(self.spans.len() - 1)
    }

    /// How many lists there are.
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Entries of all lists, one behind the other.
    pub(super) fn entries(&self) -> &[u32] {
        &self.entries
    }

    /// Where the entries of a list stand among those.
    pub(super) fn places(&self, list: u32) -> Range<usize> {
        let (start, end) = self.spans[list as usize];
        start as usize..end as usize
    }

    /// A list.
    pub(super) fn of(&self, list: u32) -> &[u32] {
        &self.entries[self.places(list)]
    }

    /// Whether an ascending list holds `entry`.
    pub(super) fn contains(&self, list: u32, entry: u32) -> bool {
        self.of(list).binary_search(&entry).is_ok()
    }

    /// Exchanges the numbers of two lists.
    pub(super) fn swap(&mut self, a: u32, b: u32) {
        self.spans.swap(a as usize, b as usize);
    }

    /// Every (list, entry) pair, by list.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (u32, u32)> + Clone + '_ {
        (0..word(self.len())).flat_map(|list| self.of(list).iter().map(move |&entry| (list, entry)))
    }

    /// For each of `count` entries, the lists that hold it, ascending.
    pub(super) fn inverted(&self, count: usize) -> Self {
        Self::from_pairs(count, self.pairs().map(|(list, entry)| (entry, list)))
    }
}

/// A count as a table word. Every count here is of things that a table holds or
/// that [`limit`](super::limit) bounds, and those are below 2^32.
#[expect(clippy::cast_possible_truncation, reason = "bounded by the table's limit")]
pub(super) const fn word(count: usize) -> u32 {
    count as u32
}
