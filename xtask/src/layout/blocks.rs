//! The basic blocks of one BPF function, and the order in which they lie.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};

/// Eight bytes of code: an instruction, or half of one that loads 64 bits.
///
/// Layout: `code`, registers, 16 bits of offset, 32 bits of immediate value
/// (RFC 9669, section 3).
pub(super) type Slot = [u8; 8];

/// A function whose blocks lie in another order.
pub(super) struct Arranged {
    /// The code.
    pub(super) slots: Vec<Slot>,
    /// For each slot of the code, the slot that it was before.
    pub(super) origins: Vec<usize>,
}

/// Puts the blocks of a function into the order in which packets go through them, the cold ones
/// last.
///
/// A block is as cold as there are marks on the way through the function that leads through it
/// and has fewest of them. A mark is a jump to the next instruction.
///
/// # Errors
///
/// If the code is not that of a whole function, or a jump becomes longer than its
/// offset can say.
pub(super) fn arrange(slots: &[Slot]) -> Result<Arranged> {
    let blocks = split(slots)?;
    let order = order(&blocks);
    write(slots, &blocks, &order)
}

/// What a block ends with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// The function's end.
    Exit,
    /// One block follows, by a jump or because it lies there.
    One(usize),
    /// A conditional jump: where it leads if taken, and if not.
    Two { taken: usize, not: usize },
}

/// Slots without a jump into or out of them, and what comes then. The number of a
/// block is the place of its first slot among those of all blocks.
#[derive(Debug)]
struct Block {
    /// Its slots, without a jump at the end that always leads on.
    first: usize,
    after: usize,
    /// Its last instruction, or that jump.
    last: usize,
    end: End,
    marked: bool,
}

impl Block {
    fn next(&self) -> impl Iterator<Item = usize> + use<> {
        let (one, other) = match self.end {
            End::Exit => (None, None),
            End::One(block) => (Some(block), None),
            End::Two { taken, not } => (Some(not), Some(taken)),
        };
        one.into_iter().chain(other)
    }

    fn marks(&self) -> usize {
        usize::from(self.marked)
    }
}

/// What an instruction does to the order of execution.
enum Step {
    Next,
    Exit,
    Always(i64),
    If(i64),
}

const EXIT: u8 = 0x95;
const ALWAYS: u8 = 0x05;
/// `goto` with an offset of 32 bits, in the place of the immediate value.
const ALWAYS_FAR: u8 = 0x06;
const CALL: u8 = 0x85;
const LOAD_64_BITS: u8 = 0x18;

fn step(slot: Slot) -> Step {
    let [code, _, low, high, value @ ..] = slot;
    match code {
        EXIT => Step::Exit,
        ALWAYS => Step::Always(i64::from(i16::from_le_bytes([low, high]))),
        ALWAYS_FAR => Step::Always(i64::from(i32::from_le_bytes(value))),
        CALL => Step::Next,
        // The classes of jumps that compare 64 and 32 bits.
        _ if matches!(code & 7, 5 | 6) => Step::If(i64::from(i16::from_le_bytes([low, high]))),
        _ => Step::Next,
    }
}

/// The places of instructions: a load of 64 bits has two slots.
fn places(slots: &[Slot]) -> impl Iterator<Item = usize> {
    let mut place = 0;
    std::iter::from_fn(move || {
        let slot = slots.get(place)?;
        let here = place;
        place += if slot[0] == LOAD_64_BITS { 2 } else { 1 };
        Some(here)
    })
}

/// Where a jump at `place` leads.
fn target(place: usize, offset: i64, slots: &[Slot]) -> Result<usize> {
    i64::try_from(place)
        .ok()
        .and_then(|place| usize::try_from(place + 1 + offset).ok())
        .filter(|target| *target < slots.len())
        .with_context(|| format!("the jump in slot {place} leaves its function"))
}

fn split(slots: &[Slot]) -> Result<Vec<Block>> {
    let mut starts = BTreeSet::from([0]);
    for place in places(slots) {
        match step(slots[place]) {
            Step::Next => continue,
            Step::Exit => {}
            Step::Always(offset) | Step::If(offset) => {
                starts.insert(target(place, offset, slots)?);
            }
        }
        starts.insert(place + 1);
    }
    starts.remove(&slots.len());

    let starts: Vec<usize> = starts.into_iter().collect();
    let number = |start: usize| {
        starts
            .binary_search(&start)
            .ok()
            .context("the function does not end with an exit or a jump")
    };
    let ends = starts[1..].iter().copied().chain([slots.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(&first, after)| {
            let last = places(&slots[first..after]).last().map_or(first, |place| first + place);
            let goes = step(slots[last]);
            let marked = matches!(goes, Step::Always(0));
            let (after, end) = match goes {
                Step::Exit => (after, End::Exit),
                // A mark stays: where it is not reached, verifiers leave out what leads there.
                Step::Next | Step::Always(0) => (after, End::One(number(after)?)),
                Step::Always(offset) => (last, End::One(number(target(last, offset, slots)?)?)),
                Step::If(offset) => {
                    let taken = number(target(last, offset, slots)?)?;
                    (after, End::Two { taken, not: number(after)? })
                }
            };
            Ok(Block { first, after, last, end, marked })
        })
        .collect()
}

/// How cold each block is; none if no way leads through it.
fn coldness(blocks: &[Block]) -> Vec<Option<usize>> {
    let next = |number: usize| blocks[number].next().map(move |next| (number, next));
    let edges: Vec<(usize, usize)> = (0..blocks.len()).flat_map(next).collect();
    let back = edges.iter().map(|&(from, to)| (to, from)).collect();
    let ends = (0..blocks.len()).filter(|&block| blocks[block].end == End::Exit);
    let before = fewest_marks(blocks, [0], edges);
    let behind = fewest_marks(blocks, ends, back);
    let marks = std::iter::zip(before, behind);
    // Both have counted the block's own.
    std::iter::zip(blocks, marks)
        .map(|(block, (before, behind))| Some(before? + behind? - block.marks()))
        .collect()
}

/// The marks on the way to each block that has fewest, from blocks to begin with (Dijkstra's
/// search); none if no way leads there.
fn fewest_marks(
    blocks: &[Block],
    begin: impl IntoIterator<Item = usize>,
    mut edges: Vec<(usize, usize)>,
) -> Vec<Option<usize>> {
    edges.sort_unstable();
    let mut fewest = vec![None; blocks.len()];
    let mut open: BTreeSet<(usize, usize)> =
        begin.into_iter().map(|block| (blocks[block].marks(), block)).collect();
    while let Some((marks, block)) = open.pop_first() {
        if fewest[block].is_some() {
            continue;
        }
        fewest[block] = Some(marks);
        let first = edges.partition_point(|(from, _)| *from < block);
        let next = edges[first..].iter().take_while(|(from, _)| *from == block);
        open.extend(next.map(|&(_, to)| (marks + blocks[to].marks(), to)));
    }
    fewest
}

/// The order of blocks, the least cold ones first: each followed by the first of its successors
/// that is as cold and has no place yet, if there is one.
fn order(blocks: &[Block]) -> Vec<usize> {
    let coldness = coldness(blocks);
    let mut first: Vec<usize> = (0..blocks.len()).collect();
    // A function begins with its first block, whatever it is.
    first.sort_by_key(|&block| (block != 0, coldness[block].is_none(), coldness[block]));
    let mut placed = vec![false; blocks.len()];
    let mut order = Vec::with_capacity(blocks.len());
    for first in first {
        let mut next = Some(first).filter(|&first| !placed[first]);
        while let Some(block) = next {
            placed[block] = true;
            order.push(block);
            next = blocks[block]
                .next()
                .find(|&next| !placed[next] && coldness[next] == coldness[block]);
        }
    }
    order
}

/// The jump that leads on where `slot` does not, if there is one: `JSET` has none.
fn inverse(slot: Slot) -> Option<Slot> {
    const PAIRS: [(u8, u8); 5] = [
        (0x10, 0x50), // ==, !=
        (0x20, 0xb0), // >, <=
        (0x30, 0xa0), // >=, <
        (0x60, 0xd0), // >, <=, signed
        (0x70, 0xc0), // >=, <, signed
    ];
    let (operation, rest) = (slot[0] & 0xf0, slot[0] & 0x0f);
    let other = PAIRS.iter().find_map(|&(one, other)| match operation {
        _ if operation == one => Some(other),
        _ if operation == other => Some(one),
        _ => None,
    })?;
    let mut inverse = slot;
    inverse[0] = other | rest;
    Some(inverse)
}

/// Code as it is written: a jump is to a block until all blocks have a place.
#[derive(Default)]
struct Writer {
    slots: Vec<Slot>,
    origins: Vec<usize>,
    /// Slots of jumps, and the blocks that they lead to.
    jumps: Vec<(usize, usize)>,
}

impl Writer {
    fn put(&mut self, slot: Slot, origin: usize) {
        self.slots.push(slot);
        self.origins.push(origin);
    }

    /// The last slot leads to `block`.
    fn leads(&mut self, block: usize) {
        self.jumps.push((self.slots.len() - 1, block));
    }

    /// The end of `block`, before the block `follows`.
    fn end(&mut self, block: &Block, follows: Option<usize>) {
        let next = match block.end {
            End::Exit => return,
            End::One(next) => next,
            End::Two { taken, not } => {
                let last = self.slots.len() - 1;
                let inverse = inverse(self.slots[last]).filter(|_| follows == Some(taken));
                let (jump, next) = inverse.map_or((taken, not), |inverse| {
                    self.slots[last] = inverse;
                    (not, taken)
                });
                self.leads(jump);
                next
            }
        };
        if follows != Some(next) {
            self.put([ALWAYS, 0, 0, 0, 0, 0, 0, 0], block.last);
            self.leads(next);
        }
    }
}

fn write(slots: &[Slot], blocks: &[Block], order: &[usize]) -> Result<Arranged> {
    let mut writer = Writer::default();
    let mut starts = vec![0; blocks.len()];
    for (index, &number) in order.iter().enumerate() {
        let block = &blocks[number];
        starts[number] = writer.slots.len();
        for (place, slot) in (block.first..).zip(&slots[block.first..block.after]) {
            writer.put(*slot, place);
        }
        writer.end(block, order.get(index + 1).copied());
    }
    let Writer { mut slots, origins, jumps } = writer;
    for (place, to) in jumps {
        let offset = i64::try_from(starts[to])? - i64::try_from(place)? - 1;
        let offset = i16::try_from(offset).context("a jump is longer than 16 bits can say")?;
        slots[place][2..4].copy_from_slice(&offset.to_le_bytes());
    }
    Ok(Arranged { slots, origins })
}
