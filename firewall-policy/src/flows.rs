//! The table of flows on the host: the datapath's own, in ordinary memory.

use firewall_common::abi::flow::{ENTRY_WORDS, Flow, FlowKey, State, Word, places};
use firewall_common::flow::Clock;
use firewall_common::flow::table::{self, Slots, WAYS};

/// A table of flows.
#[derive(Clone, Debug)]
pub struct FlowTable {
    words: Vec<u64>,
    entries: Vec<[u64; ENTRY_WORDS as usize]>,
    seed: u32,
}

impl FlowTable {
    /// An empty table for so many flows.
    #[must_use]
    pub fn new(flows: u32, seed: u32) -> Self {
        let places = places(flows) as usize;
        Self { words: vec![0; places], entries: vec![[0; _]; places], seed }
    }

    /// Flows that have a place, ended or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.words.iter().filter(|word| Word(**word).state() == State::Live).count()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Flows in force.
    pub fn iter(&self, clock: &Clock) -> impl Iterator<Item = (FlowKey, Flow)> {
        (0..=self.mask()).filter_map(|place| table::flow_at(self, place, clock))
    }

    /// Writes a flow as it is; false if it finds no place.
    pub fn insert(&mut self, key: &FlowKey, flow: &Flow, clock: &Clock) -> bool {
        table::forget(self, key);
        table::insert(self, key, flow, clock)
    }

    /// Forgets every flow.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }
}

impl Slots for FlowTable {
    type Bucket = u32;
    type Entry = u32;

    fn mask(&self) -> u32 {
        u32::try_from(self.words.len() - 1).unwrap_or(u32::MAX)
    }

    fn seed(&self) -> u32 {
        self.seed
    }

    fn bucket(&self, first: u32) -> u32 {
        first
    }

    fn word(&self, first: u32, way: u32) -> u64 {
        self.words[(first + way % WAYS) as usize]
    }

    fn swap(&mut self, place: u32, old: u64, new: u64) -> bool {
        let word = &mut self.words[place as usize];
        let same = *word == old;
        if same {
            *word = new;
        }
        same
    }

    fn entry(&self, place: u32) -> u32 {
        place
    }

    fn read(&self, place: u32, index: usize) -> u64 {
        self.entries[place as usize][index]
    }

    fn write(&mut self, place: u32, index: usize, value: u64) {
        self.entries[place as usize][index] = value;
    }
}
