//! A network between client and hook, and behind it: cuts, loses before and
//! after the hook, repeats, merges, reorders and delays.

use super::{Dice, Flow, Vec, VecDeque};

/// What a client says before it waits, and how long the answer is.
pub(super) struct Turn {
    pub(super) said: Vec<u8>,
    pub(super) heard: u32,
}

/// How bad the network is; chances in a hundred.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    /// Shortest first segment of a turn.
    pub(super) first: usize,
    /// Shortest and longest segment otherwise.
    pub(super) cut: (usize, usize),
    /// Lost before the hook: comes by later.
    pub(super) before: usize,
    /// Lost behind the hook: comes by now and later.
    pub(super) after: usize,
    /// Swapped with its neighbour.
    pub(super) swapped: usize,
    /// Copied, and the copy delayed into a later turn.
    pub(super) delayed: usize,
}

impl Faults {
    /// Nothing is missing or out of order when it first comes by.
    pub(super) fn in_order(self) -> Self {
        Self { before: 0, swapped: 0, ..self }
    }
}

/// A segment that comes to the hook.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) payload: Vec<u8>,
}

/// Carries a conversation from where the flow stands; every byte of a turn comes
/// by before the answer.
pub(super) fn carry(flow: &Flow, turns: &[Turn], faults: Faults, dice: &mut Dice) -> Vec<Seen> {
    let (mut seq, mut ack) = (flow.seq, flow.ack);
    let (mut seen, mut late) = (Vec::new(), VecDeque::new());
    for turn in turns {
        let flight = fly(turn, seq, ack, faults, dice);
        for segment in flight {
            if dice.percent(faults.delayed) {
                late.push_back(segment.clone());
            }
            seen.push(segment);
            if dice.percent(30)
                && let Some(copy) = late.pop_front()
            {
                seen.push(copy);
            }
        }
        seq = seq.wrapping_add(u32::try_from(turn.said.len()).unwrap());
        ack = ack.wrapping_add(turn.heard);
    }
    seen
}

/// The segments of one turn, retransmissions behind the rest.
fn fly(turn: &Turn, seq: u32, ack: u32, faults: Faults, dice: &mut Dice) -> Vec<Seen> {
    let said = turn.said.as_slice();
    let segment = |from: usize, to: usize| Seen {
        seq: seq.wrapping_add(u32::try_from(from).unwrap()),
        ack,
        payload: said[from..to].to_vec(),
    };
    let mut cuts = Vec::new();
    let mut from = 0;
    while from < said.len() {
        let (low, high) = faults.cut;
        let low = if from == 0 { low.max(faults.first) } else { low };
        let to = said.len().min(from + dice.between(low, high.max(low)));
        cuts.push((from, to));
        from = to;
    }
    let (mut flight, mut again): (Vec<Seen>, VecDeque<_>) = (Vec::new(), VecDeque::new());
    for (from, to) in cuts {
        let lost_before = dice.percent(faults.before);
        if !lost_before {
            flight.push(segment(from, to));
        }
        if lost_before || dice.percent(faults.after) {
            again.push_back((from, to));
        }
    }
    for at in 1..flight.len() {
        if dice.percent(faults.swapped) {
            flight.swap(at - 1, at);
        }
    }
    while let Some((from, to)) = again.pop_front() {
        // Sent again in one piece with some of what follows, or as it was.
        let end = if dice.percent(30) { said.len().min(to + dice.below(2_000)) } else { to };
        flight.push(segment(from, end));
        if dice.percent(faults.after) {
            again.push_back((from, to));
        }
    }
    flight
}

/// The whole stream from `first` on, of all that came by.
pub(super) fn reassemble(seen: &[Seen], first: u32) -> Vec<u8> {
    let mut bytes: Vec<Option<u8>> = Vec::new();
    for segment in seen {
        let at = usize::try_from(segment.seq.wrapping_sub(first)).unwrap();
        let end = at + segment.payload.len();
        bytes.resize(bytes.len().max(end), None);
        for (known, byte) in bytes[at..end].iter_mut().zip(&segment.payload) {
            assert_eq!(*known.get_or_insert(*byte), *byte);
        }
    }
    bytes.into_iter().map(Option::unwrap).collect()
}

impl Flow {
    /// All that came by, in that order.
    pub(super) fn sees_all(&mut self, seen: &[Seen]) {
        for segment in seen {
            self.sees(segment.seq, segment.ack, &segment.payload);
        }
    }
}
