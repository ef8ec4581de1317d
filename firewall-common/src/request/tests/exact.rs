//! Exactness: the counters against a slow model that reassembles the stream.
//!
//! The model takes all that came by, in whatever order, puts the bytes in their
//! place and reads the stream from its start.

use std::format;

use proptest::prelude::*;

use super::wire::{Faults, Turn, carry, reassemble};
use super::*;
use super::{dns, mysql};

/// Requests of a stream, by Content-Length.
fn http_requests(stream: &[u8]) -> u64 {
    let (mut at, mut requests) = (0, 0);
    while at < stream.len() {
        let end = stream[at..].windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
        let head = std::str::from_utf8(&stream[at..at + end]).unwrap();
        let body = head.rsplit_once("Content-Length: ").map_or(0, |(_, n)| n.parse().unwrap());
        at += end + 4 + body;
        requests += 1;
    }
    requests
}

/// Packets of a stream that are commands, by first byte.
fn mysql_commands(stream: &[u8]) -> Vec<u8> {
    let (mut at, mut commands, mut data_may_follow) = (0, Vec::new(), false);
    while at < stream.len() {
        let [low, middle, high, id] = *stream[at..].first_chunk().unwrap();
        let length = u32::from_le_bytes([low, middle, high, 0]) as usize;
        if id == 0 && length != 0 && !data_may_follow {
            commands.push(stream[at + 4]);
        }
        data_may_follow = id == 255 && length != 0;
        at += 4 + length;
    }
    assert_eq!(at, stream.len());
    commands
}

/// Messages of a stream that are queries.
fn dns_queries(stream: &[u8]) -> u64 {
    let (mut at, mut queries) = (0, 0);
    while at < stream.len() {
        let length = u16::from_be_bytes(*stream[at..].first_chunk().unwrap());
        queries += u64::from(stream[at + 4] & 0xf8 == 0);
        at += 2 + usize::from(length);
    }
    queries
}

/// Text, noise, and whatever `imitated` has.
fn body(imitated: &[&[u8]], longest: usize, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = Vec::new();
    let length = dice.below(longest);
    while bytes.len() < length {
        match dice.below(4) {
            0 => bytes.push(dice.roll() as u8),
            1 => bytes.extend(b"some text. "),
            _ => bytes.extend(imitated[dice.below(imitated.len())]),
        }
    }
    bytes
}

fn http_turn(dice: &mut Dice) -> Turn {
    let answer = 1 + dice.below(1 << 20) as u32;
    let said = if dice.percent(50) {
        format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(dice.below(4_000))).into_bytes()
    } else {
        let body = body(&[b"GET / HTTP/1.1\r\n\r\n", b"POST", b"G", b"DELETE "], 9_000, dice);
        let head = format!("PUT /x HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
        [head.into_bytes(), body].concat()
    };
    Turn { said, heard: answer }
}

const HEADERS: [&[u8]; 3] =
    [b"\x05\x01\x01\x00\x03", b"\x09\x00\x00\x00\x03select 1", b"\x01\x00\x00\x00\x01"];

/// What a client sends in one go: one command, or several and data of a file.
fn mysql_turn(most: usize, dice: &mut Dice) -> Turn {
    let mut said = Vec::new();
    if most > 1 && dice.percent(10) {
        let mut id = 2_u8;
        for _ in 0..dice.below(300) {
            let data = [body(&HEADERS, 60, dice), [b'x'].to_vec()].concat();
            said.extend(mysql::packet(id, &data));
            id = id.wrapping_add(1);
        }
        said.extend(mysql::packet(id, b""));
    }
    for _ in 0..dice.between(1, most) {
        let longest = if dice.percent(20) { 6_000 } else { 60 };
        let byte = [1, 2, 3, 3, 3, 0x0e, 0x12, 0x16, 0x17, 0x19, 0xfa][dice.below(11)];
        said.extend(mysql::command(byte, &body(&HEADERS, longest, dice)));
    }
    Turn { said, heard: 1 + dice.below(5_000) as u32 }
}

fn dns_turn(most: usize, dice: &mut Dice) -> Turn {
    let mut said = Vec::new();
    for _ in 0..dice.between(1, most) {
        let flags = if dice.percent(90) { 1 } else { 0x29 };
        said.extend(dns::framed(flags, dice.below(60) as u8));
    }
    Turn { said, heard: 1 + dice.below(5_000) as u32 }
}

/// Some turns.
fn turns(mut turn: impl FnMut(&mut Dice) -> Turn, dice: &mut Dice) -> Vec<Turn> {
    (0..dice.below(12)).map(|_| turn(dice)).collect()
}

/// A flow whose first turn came by without trouble: what lies before the first
/// segment of a flow is not known.
fn begun(kind: Kind, first: &[u8], dice: &mut Dice) -> Flow {
    let mut flow = Flow::new(kind);
    (flow.seq, flow.ack) = (dice.roll() as u32, dice.roll() as u32);
    flow.says(first);
    flow.hears(90);
    flow
}

fn faults() -> impl Strategy<Value = Faults> {
    let cut = prop_oneof![Just((1, 12)), Just((1, 1_448)), Just((500, 1_448)), Just((9, 65_000))];
    (cut, 0..30_usize, 0..30_usize, 0..30_usize, 0..20_usize).prop_map(
        |(cut, before, after, swapped, delayed)| Faults {
            first: 1,
            cut,
            before,
            after,
            swapped,
            delayed,
        },
    )
}

/// Runs a conversation and returns what the model reads of it.
fn run(flow: &mut Flow, turns: &[Turn], faults: Faults, dice: &mut Dice) -> Vec<u8> {
    let seen = carry(flow, turns, faults, dice);
    flow.sees_all(&seen);
    let stream = reassemble(&seen, flow.seq);
    for turn in turns {
        flow.skips(turn.said.len());
        flow.hears(turn.heard);
    }
    stream
}

/// Two turns without trouble: they show what was missed before. Two, since one
/// alone might be early.
fn end(flow: &mut Flow, calm: &[u8]) -> Vec<u8> {
    for _ in 0..2 {
        flow.says(calm);
        flow.hears(11);
    }
    calm.repeat(2)
}

/// A MySQL conversation with up to `most` packets in one go: the counts, and
/// those of the model.
fn mysql_run(most: usize, faults: Faults, seed: u64) -> (Flow, [u64; Metric::COUNT]) {
    let dice = &mut Dice(seed);
    let mut flow = begun(Kind::Mysql, &mysql::login(mysql::PLAIN), dice);
    let turns = turns(|dice| mysql_turn(most, dice), dice);
    let mut stream = run(&mut flow, &turns, faults, dice);
    stream.extend(end(&mut flow, &mysql::command(0x0e, b"")));
    let mut model = begun(Kind::Mysql, &mysql::login(mysql::PLAIN), dice);
    for byte in mysql_commands(&stream) {
        model.says(&mysql::command(byte, b""));
        model.hears(1);
    }
    (flow, model.counted)
}

/// The same with DNS.
fn dns_run(faults: Faults, seed: u64) -> (Flow, [u64; Metric::COUNT]) {
    let dice = &mut Dice(seed);
    let query = dns::framed(1, 9);
    let mut flow = begun(Kind::Dns, &query, dice);
    let turns = turns(|dice| dns_turn(30, dice), dice);
    let mut stream = run(&mut flow, &turns, faults, dice);
    stream.extend(end(&mut flow, &query));
    let mut model = [0; Metric::COUNT];
    model[Metric::DnsQueries as usize] = 1 + dns_queries(&stream);
    (flow, model)
}

/// Framing lost its place on this flow.
fn in_doubt(flow: &Flow) -> bool {
    flow.count(Metric::Gaps) + flow.count(Metric::Resyncs) != 0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Any network, any bodies, as long as the client waits for its answers.
    #[test]
    fn http_requests_are_exact(faults in faults(), seed in any::<u64>()) {
        let dice = &mut Dice(seed);
        let mut flow = Flow::new(Kind::Http1);
        (flow.seq, flow.ack) = (dice.roll() as u32, dice.roll() as u32);
        let turns: Vec<_> = (0..dice.below(20)).map(|_| http_turn(dice)).collect();
        let stream = run(&mut flow, &turns, faults, dice);
        prop_assert_eq!(flow.count(Metric::Requests), http_requests(&stream));
    }

    /// One command at a time, its header in one segment: exact and without a gap,
    /// whatever is lost, late or repeated.
    #[test]
    fn mysql_is_exact_while_the_client_waits(faults in faults(), seed in any::<u64>()) {
        let (flow, model) = mysql_run(1, Faults { first: 5, ..faults }, seed);
        prop_assert_eq!(flow.counted, model);
    }

    /// In order, with retransmissions: exact, whatever the packets and the cuts.
    #[test]
    fn mysql_is_exact_in_order(faults in faults(), seed in any::<u64>()) {
        let mut faults = faults.in_order();
        faults.cut.1 = faults.cut.1.min(1_448);
        let (flow, model) = mysql_run(8, faults, seed);
        prop_assert_eq!(flow.count(Metric::Gaps), 0);
        if !in_doubt(&flow) {
            prop_assert_eq!(flow.counted, model);
        }
    }

    /// Any network and any packets: exact, or a gap or resync says that not.
    #[test]
    fn mysql_is_exact_or_says_so(faults in faults(), seed in any::<u64>()) {
        let (flow, model) = mysql_run(8, faults, seed);
        if !in_doubt(&flow) {
            prop_assert_eq!(flow.counted, model);
        }
    }

    #[test]
    fn dns_is_exact_in_order(faults in faults(), seed in any::<u64>()) {
        let (flow, model) = dns_run(faults.in_order(), seed);
        prop_assert_eq!(flow.counted, model);
    }

    #[test]
    fn dns_is_exact_or_says_so(faults in faults(), seed in any::<u64>()) {
        let (flow, model) = dns_run(faults, seed);
        if !in_doubt(&flow) {
            prop_assert_eq!(flow.counted, model);
        }
    }
}
