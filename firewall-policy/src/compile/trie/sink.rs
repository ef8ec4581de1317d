//! Where the words of a trie go: counted first, written then.

use firewall_common::abi::tables::Compare;

/// Words of a root.
pub(in crate::compile) const ROOT: usize = 1 << 16;
/// Words of a block.
pub(in crate::compile) const BLOCK: usize = 1 << 8;
/// Words of a compare record.
pub(in crate::compile) const RECORD: usize = Compare::WORDS as usize;

/// Where the words of a trie go.
pub(super) trait Sink {
    /// Sets words `from..to` of the root (`None`) or of a block.
    fn fill(&mut self, block: Option<u32>, from: usize, to: usize, word: u32);
    /// Takes a block; its number.
    fn block(&mut self) -> u32;
    /// Takes a compare record; its number.
    fn compare(&mut self, record: [u32; RECORD]) -> u32;
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
    pub(in crate::compile) fn bytes(self) -> u64 {
        4 * (self.block_words() + self.compare_words()) as u64
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
    pub(in crate::compile) fn compare_words(self) -> usize {
        self.compares as usize * RECORD
    }
}

impl Sink for Tally {
    fn fill(&mut self, _: Option<u32>, _: usize, _: usize, _: u32) {}

    fn block(&mut self) -> u32 {
        self.blocks += 1;
        self.blocks - 1
    }

    fn compare(&mut self, _: [u32; RECORD]) -> u32 {
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

    fn compare(&mut self, record: [u32; RECORD]) -> u32 {
        let number = self.used.compare(record);
        self.compares[number as usize * RECORD..][..RECORD].copy_from_slice(&record);
        self.before.compares + number
    }
}
