//! Tests of the counters: rules and holes one by one, then against a slow model.

extern crate std;

use std::collections::VecDeque;
use std::vec::Vec;

use super::{Entry, Kind, Metric, Need, Segment, Tally, need, step};

mod any;
mod count;
mod dns;
mod exact;
mod http1;
mod mysql;
mod proxy;
mod tls;
mod wire;

/// What the counters make of one connection, and a client to speak on it.
struct Flow {
    kind: Kind,
    entry: Option<Entry>,
    counted: [u64; Metric::COUNT],
    /// Next byte the client sends.
    seq: u32,
    /// Next byte it expects.
    ack: u32,
}

impl Flow {
    /// A connection that has been opened; its numbers wrap early.
    fn new(kind: Kind) -> Self {
        Self { kind, entry: None, counted: [0; Metric::COUNT], seq: u32::MAX - 90, ack: u32::MAX }
    }

    /// A segment as it comes to the hook, by the order that `count` keeps. The
    /// kernel always has the connection.
    fn see(&mut self, segment: Segment, payload: &[u8]) {
        match need(self.kind, &segment, &payload) {
            Need::Nothing => {}
            Need::Clear => self.entry = None,
            Need::Entry => {
                let entry = self.entry.get_or_insert(Entry::EMPTY);
                let mut tally = Tally::default();
                step(u32::MAX, self.kind, entry, &segment, &payload, &mut tally);
                tally.for_each(|metric, added| self.counted[metric as usize] += added);
            }
        }
    }

    /// Payload at any place of the stream.
    fn sees(&mut self, seq: u32, ack: u32, payload: &[u8]) {
        let payload_len = u32::try_from(payload.len()).unwrap();
        self.see(Segment { seq, ack, syn: false, payload_len }, payload);
    }

    /// The client sends its next bytes, in segments of at most `mss`.
    fn says_in(&mut self, mss: usize, bytes: &[u8]) {
        for payload in bytes.chunks(mss) {
            self.sees(self.seq, self.ack, payload);
            self.skips(payload.len());
        }
    }

    /// The client sends its next bytes, in one segment.
    fn says(&mut self, bytes: &[u8]) {
        self.says_in(usize::MAX, bytes);
    }

    /// Its last bytes come again.
    fn repeats(&mut self, bytes: &[u8]) {
        let len = u32::try_from(bytes.len()).unwrap();
        self.sees(self.seq.wrapping_sub(len), self.ack, bytes);
    }

    /// The client sends bytes that do not come by.
    fn skips(&mut self, bytes: usize) {
        self.seq = self.seq.wrapping_add(u32::try_from(bytes).unwrap());
    }

    /// The server answers with so many bytes.
    fn hears(&mut self, bytes: u32) {
        self.ack = self.ack.wrapping_add(bytes);
    }

    /// A connection on the same ports begins.
    fn opens(&mut self, isn: u32) {
        self.see(Segment { seq: isn, ack: 0, syn: true, payload_len: 0 }, &[]);
        self.seq = isn.wrapping_add(1);
    }

    fn count(&self, metric: Metric) -> u64 {
        self.counted[metric as usize]
    }

    /// These counts, and no others.
    #[track_caller]
    fn ledger(&self, expected: &[(Metric, u64)]) {
        let counted: Vec<_> = Metric::ALL
            .iter()
            .map(|metric| (*metric, self.count(*metric)))
            .filter(|(_, count)| *count != 0)
            .collect();
        let mut expected = expected.to_vec();
        expected.sort_by_key(|(metric, _)| *metric as u8);
        assert_eq!(counted, expected);
    }
}

/// Random numbers that a seed repeats: splitmix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() % bound as u64).unwrap()
    }

    /// From `low` to `high`, both included.
    fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// So many times in a hundred.
    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }
}
