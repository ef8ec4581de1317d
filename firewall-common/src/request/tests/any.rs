//! Nothing that comes from the network, or stands in a map, is a panic.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::{datagram, may_begin};
use super::*;

fn kind() -> impl Strategy<Value = Kind> {
    (0..6_u32).prop_map(|number| Kind::from_number(number).unwrap())
}

fn entry() -> impl Strategy<Value = Entry> {
    let words = any::<(u64, u32, u32, u32)>();
    (words, any::<[u8; 4]>()).prop_map(|(words, [kind, sync, held_len, state])| {
        let (held, next, high, ack) = words;
        let (kind, sync) = (kind % 6, sync % 6);
        Entry { held, next, high, ack, kind, sync, held_len, state }
    })
}

/// Bytes in which units of all protocols begin more often than by chance.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        vec(any::<u8>(), 0..20),
        Just(b"\x05\x00\x00\x00\x03".to_vec()),
        Just(b"\x20\x00\x00\x01\x05\xaa\x0a\x00".to_vec()),
        Just(b"\x00\x11\xab\xcd\x01\x00\x00\x01".to_vec()),
        Just(b"GET / HTTP/1.1".to_vec()),
        Just(b"\x16\x03\x01\x02\x00\x01\x00\x01".to_vec()),
    ];
    vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

/// A segment near a place, of which the length need not be true.
fn segment(near: u32) -> impl Strategy<Value = (Segment, Vec<u8>)> {
    let seq = prop_oneof![
        4 => (0..4_000_u32).prop_map(move |by| near.wrapping_add(by).wrapping_sub(2_000)),
        1 => any::<u32>(),
    ];
    let extra = prop_oneof![4 => Just(0_u32), 1 => 0..70_000_u32, 1 => any::<u32>()];
    (seq, 0..3_u32, prop::bool::weighted(0.1), payload(), extra).prop_map(
        |(seq, ack, syn, payload, extra)| {
            let payload_len = (payload.len() as u32).saturating_add(extra);
            (Segment { seq, ack, syn, payload_len }, payload)
        },
    )
}

proptest! {
    #[test]
    fn never_panics(
        kind in kind(),
        entry in proptest::option::of(entry()),
        near in any::<u32>(),
        segments in any::<u32>().prop_flat_map(|near| vec(segment(near), 0..40)),
    ) {
        let mut flow = Flow::new(kind);
        flow.entry = entry.map(|entry| Entry { next: near, high: near, ..entry });
        for (segment, payload) in &segments {
            flow.see(*segment, payload);
            datagram(kind, segment.payload_len, &payload.as_slice(), &mut Tally::default());
        }
    }

    /// What the look at eight bytes passes over needs nothing.
    #[test]
    fn what_begins_nothing_needs_nothing(
        kind in kind(),
        start in prop_oneof![
            any::<[u8; 4]>(),
            proptest::sample::select(&super::super::http1::TOKENS[..]).prop_map(|token| *token),
            Just(*b"\x16\x03\x01\x02"),
            Just(*b"PROX"),
        ],
        (segment, payload) in any::<u32>().prop_flat_map(segment),
    ) {
        let payload = [&start[..], &payload, &[0; 8]].concat();
        let segment = Segment { syn: false, payload_len: payload.len() as u32, ..segment };
        let first = u64::from_le_bytes(payload[..8].try_into().unwrap());
        if !may_begin(kind as u32, first) {
            prop_assert_eq!(need(kind, &segment, &payload.as_slice()), Need::Nothing);
        }
    }

    /// An entry of another kind is as good as none.
    #[test]
    fn foreign_entries_do_not_matter(
        kind in kind(),
        entry in entry(),
        (segment, payload) in any::<u32>().prop_flat_map(segment),
    ) {
        let mut foreign = Entry { kind: (kind as u8 + 1) % 6, ..entry };
        let mut fresh = Entry::EMPTY;
        let payload = payload.as_slice();
        let (mut tally, mut expected) = (Tally::default(), Tally::default());
        step(u32::MAX, kind, &mut foreign, &segment, &payload, &mut tally);
        step(u32::MAX, kind, &mut fresh, &segment, &payload, &mut expected);
        prop_assert_eq!(foreign, fresh);
        for metric in Metric::ALL {
            prop_assert_eq!(tally.get(*metric), expected.get(*metric));
        }
    }
}
