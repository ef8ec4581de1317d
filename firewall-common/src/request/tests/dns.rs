//! DNS over UDP and TCP.

use super::super::datagram;
use super::super::framing::UNITS;
use super::*;

/// A message with this first byte of the flags, asking for a name of `name`
/// bytes.
pub(super) fn message(flags: u8, name: u8) -> Vec<u8> {
    let mut bytes = Vec::from(*b"\xab\xcd\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00");
    bytes[2] = flags;
    bytes.push(name);
    bytes.extend((0..name).map(|_| b'x'));
    bytes.extend(b"\0\x00\x01\x00\x01");
    bytes
}

/// The same, with its length before it.
pub(super) fn framed(flags: u8, name: u8) -> Vec<u8> {
    let message = message(flags, name);
    [&u16::try_from(message.len()).unwrap().to_be_bytes(), message.as_slice()].concat()
}

const QUERY: u8 = 0x01;

fn flow() -> Flow {
    let mut flow = Flow::new(Kind::Dns);
    flow.opens(u32::MAX - 50);
    flow
}

fn queries(payload: &[u8], payload_len: usize) -> u64 {
    let mut tally = Tally::default();
    datagram(Kind::Dns, payload_len as u32, &payload, &mut tally);
    tally.get(Metric::DnsQueries)
}

#[test]
fn a_datagram_that_asks_is_a_query() {
    let query = message(QUERY, 10);
    assert_eq!(queries(&query, query.len()), 1);
    let response = message(0x81, 10);
    assert_eq!(queries(&response, response.len()), 0);
    let (notify, update) = (message(4 << 3, 10), message(5 << 3, 10));
    assert_eq!(queries(&notify, notify.len()) + queries(&update, update.len()), 0);
    // Shorter than a header, whatever follows in the frame.
    assert_eq!(queries(&query, 11), 0);
    let mut other = Tally::default();
    datagram(Kind::Http1, query.len() as u32, &query.as_slice(), &mut other);
    other.for_each(|metric, _| panic!("{metric:?}"));
}

#[test]
fn a_stream_has_many_queries() {
    let mut flow = flow();
    for _ in 0..5 {
        flow.says(&framed(QUERY, 10));
        flow.says(&[framed(QUERY, 3), framed(QUERY, 63)].concat());
        flow.hears(500);
    }
    flow.ledger(&[(Metric::DnsQueries, 15)]);
}

#[test]
fn a_stream_cut_anywhere_has_the_same_queries() {
    for cut in 1..40 {
        let mut flow = flow();
        flow.says_in(cut, &[framed(QUERY, 10), framed(QUERY, 20), framed(0x20, 9)].concat());
        flow.hears(500);
        flow.says_in(cut, &framed(QUERY, 30));
        flow.ledger(&[(Metric::DnsQueries, 3)]);
    }
}

#[test]
fn a_length_sent_by_itself_is_no_query_yet() {
    let mut flow = flow();
    let query = framed(QUERY, 10);
    flow.says(&query[..2]);
    flow.ledger(&[]);
    flow.says(&query[2..]);
    flow.ledger(&[(Metric::DnsQueries, 1)]);
}

#[test]
fn hole_2_a_query_in_the_syn_is_counted_once() {
    let mut flow = flow();
    let query = framed(QUERY, 10);
    let payload_len = query.len() as u32;
    flow.see(Segment { seq: 70, ack: 0, syn: true, payload_len }, &query);
    flow.sees(71, 900, &query);
    flow.sees(71 + payload_len, 950, &query);
    flow.ledger(&[(Metric::DnsQueries, 2)]);
}

#[test]
fn a_query_that_never_came_by_is_a_gap() {
    let mut flow = flow();
    flow.says(&framed(QUERY, 10));
    flow.skips(30);
    for _ in 0..4 {
        flow.hears(100);
        flow.says(&framed(QUERY, 10));
    }
    flow.ledger(&[(Metric::DnsQueries, 4), (Metric::Gaps, 1)]);
}

#[test]
fn above_the_bound_it_is_a_resync_and_counting_goes_on() {
    let mut flow = flow();
    flow.says(&framed(QUERY, 10).repeat(500));
    flow.hears(100);
    flow.says(&framed(QUERY, 10).repeat(2));
    flow.ledger(&[(Metric::DnsQueries, u64::from(UNITS) + 2), (Metric::Resyncs, 1)]);
}

#[test]
fn hole_23_attached_in_the_middle_it_starts_at_the_next_query() {
    let mut flow = Flow::new(Kind::Dns);
    flow.says(b"the rest of an update that was on its way");
    flow.hears(20);
    flow.says(&framed(QUERY, 10));
    flow.ledger(&[(Metric::DnsQueries, 1), (Metric::Resyncs, 1)]);
}

#[test]
fn hole_23_attached_in_the_middle_only_one_whole_query_is_believed_without_a_turn() {
    let mut flow = Flow::new(Kind::Dns);
    let mut two_questions = framed(QUERY, 10);
    two_questions[7] = 2;
    flow.says(&two_questions);
    flow.says(&framed(QUERY, 10).repeat(2));
    flow.ledger(&[(Metric::Resyncs, 1)]);
    flow.says(&framed(QUERY, 10));
    flow.ledger(&[(Metric::DnsQueries, 1), (Metric::Resyncs, 1)]);
}
