//! Where the words of a trie go: counted first, written then.

use super::Address;

/// Words of a root.
pub(in crate::compile) const ROOT: usize = 1 << 16;
/// Words of a block.
pub(in crate::compile) const BLOCK: usize = 1 << 8;

/// Where the words of a trie go.
pub(super) trait Sink {
    /// Sets words `from..to` of the root (`None`) or of a block.
    fn fill(&mut self, block: Option<u32>, from: usize, to: usize, word: u32);
    /// Takes a block; its number.
    fn block(&mut self) -> u32;
    /// Takes a compare record, of a prefix and what stands behind it; its number.
    fn compare<T: Address>(&mut self, prefix: u128, behind: [u32; 3]) -> u32;
}

/// Only counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::compile) struct Tally {
    pub(in crate::compile) blocks: u32,
    pub(in crate::compile) compares: u32,
    /// Steps of the longest walk.
    pub(in crate::compile) steps: u32,
}

impl Tally {
    /// Bytes that blocks and records take.
    pub(in crate::compile) fn bytes<T: Address>(self) -> u64 {
        4 * (self.block_words() + self.compare_words::<T>()) as u64
    }

    /// Of two tries together.
    pub(in crate::compile) fn plus(self, other: Self) -> Self {
        Self {
            blocks: self.blocks + other.blocks,
            compares: self.compares + other.compares,
            steps: self.steps.max(other.steps),
        }
    }

    /// Words of the blocks.
    pub(in crate::compile) fn block_words(self) -> usize {
        self.blocks as usize * BLOCK
    }

    /// Words of the records.
    pub(in crate::compile) fn compare_words<T: Address>(self) -> usize {
        self.compares as usize * T::RECORD
    }
}

impl Sink for Tally {
    fn fill(&mut self, _: Option<u32>, _: usize, _: usize, _: u32) {}

    fn block(&mut self) -> u32 {
        self.blocks += 1;
        self.blocks - 1
    }

    fn compare<T: Address>(&mut self, _: u128, _: [u32; 3]) -> u32 {
        self.compares += 1;
        self.compares - 1
    }
}

/// Writes one stretch.
pub(super) struct Tables<'a> {
    /// The stretch's part of the root.
    pub(super) root: &'a mut [u32],
    /// Number of its first word.
    pub(super) root_first: usize,
    pub(super) blocks: &'a mut [u32],
    pub(super) compares: &'a mut [u32],
    /// Blocks and records of the stretches before.
    pub(super) before: Tally,
    pub(super) used: Tally,
}

impl Sink for Tables<'_> {
    fn fill(&mut self, block: Option<u32>, from: usize, to: usize, word: u32) {
        let words = match block {
            None => &mut self.root[from - self.root_first..to - self.root_first],
            Some(number) => {
                &mut self.blocks[(number - self.before.blocks) as usize * BLOCK..][from..to]
            }
        };
        words.fill(word);
    }

    fn block(&mut self) -> u32 {
        self.before.blocks + self.used.block()
    }

    fn compare<T: Address>(&mut self, prefix: u128, behind: [u32; 3]) -> u32 {
        let number = self.used.compare::<T>(prefix, behind);
        let record = &mut self.compares[number as usize * T::RECORD..][..T::RECORD];
        let (words, rest) = record.split_at_mut(T::BITS as usize / 32);
        for (word, shift) in words.iter_mut().zip([96, 64, 32, 0]) {
            *word = quarter(prefix >> shift);
        }
        let (rest, spare) = rest.split_at_mut(behind.len());
        rest.copy_from_slice(&behind);
        spare.fill(0);
        self.before.compares + number
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a quarter is wanted")]
const fn quarter(bits: u128) -> u32 {
    bits as u32
}
