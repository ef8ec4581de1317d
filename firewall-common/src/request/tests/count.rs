//! The way from a packet to the counters of its rule.

use super::super::count;
use super::super::table::{self, Asked, WAYS};
use super::*;
use crate::abi::ban::{Bucket, TableWord};
use crate::abi::flow::FlowKey;
use crate::abi::tables::{Cell, Setting};
use crate::ban::{Bans, FilterPart};
use crate::flow;
use crate::flow::table::Slots;
use crate::flow::table::tests::Memory;
use crate::packet::{Address, Fragment, Packet, tcp};
use crate::pipeline::World;
use crate::policy::Settings;
use crate::question::Answers;
use crate::service::proto;
use crate::time::Nanos;
use crate::verdict::{Decision, Direction};

/// Request slot of the rule that admits everything here.
const SLOT: u32 = 9;

/// One bucket, in which all connections are, sockets, and counters.
struct Host {
    bucket: table::Bucket,
    sockets: Vec<FlowKey>,
    jiffies: u64,
    counted: [u64; Metric::COUNT],
}

impl Host {
    fn new() -> Self {
        let bucket = table::Bucket::EMPTY;
        Self { bucket, sockets: Vec::new(), jiffies: 0, counted: [0; Metric::COUNT] }
    }

    /// An admitted packet at a hook; the frame ends in padding.
    fn sees(&mut self, kind: Kind, packet: &Packet, payload: &[u8], direction: Direction) {
        let packet = Packet {
            payload_offset: 54,
            payload_len: u32::try_from(payload.len()).unwrap(),
            ..*packet
        };
        let frame = [&[0; 54], payload, b"GET padd"].concat();
        let cell = Cell(Cell::ALLOW | (kind as u32) << Cell::COUNT_SHIFT | 3);
        let answers = Answers::of_cell(cell, SLOT);
        count(self, &frame.as_slice(), &packet, answers, direction, &mut Tally::default());
    }

    fn count(&self, metric: Metric) -> u64 {
        self.counted[metric as usize]
    }
}

impl Settings for Host {
    fn setting(&self, setting: Setting) -> u32 {
        assert!(matches!(setting, Setting::Features | Setting::FlowSeed));
        u32::MAX
    }
}

impl Bans for Host {
    fn now(&self) -> Nanos {
        unreachable!()
    }

    fn ban_lengths(&self) -> [u64; 3] {
        unreachable!()
    }

    fn ban_table(&self) -> TableWord {
        unreachable!()
    }

    fn ban_seed(&self) -> u64 {
        unreachable!()
    }

    fn ban_filter(&self, _: FilterPart, _: u32) -> u64 {
        unreachable!()
    }

    fn ban_bucket(&mut self, _: TableWord, _: u32) -> Option<&mut Bucket> {
        unreachable!()
    }
}

impl World for Host {
    fn jiffies(&self) -> u64 {
        self.jiffies
    }

    fn flows(&mut self) -> impl Slots {
        Memory::new(1024)
    }

    fn flow_rate(&mut self) -> Option<&mut u64> {
        unreachable!()
    }

    fn flow_port(&mut self, _: u32) -> Option<&mut u32> {
        None
    }

    fn has_socket(&mut self, key: &FlowKey) -> bool {
        self.sockets.contains(key)
    }

    fn request_bucket(&mut self, _: u32) -> &mut table::Bucket {
        &mut self.bucket
    }

    fn count_request(&mut self, request_slot: u32, metric: Metric, add: u64) {
        assert_eq!(request_slot, SLOT);
        self.counted[metric as usize] += add;
    }

    fn guard(&mut self, _: u32) -> Option<&mut u64> {
        unreachable!()
    }

    fn fragment(&mut self, _: u32) -> Option<&mut u64> {
        unreachable!()
    }

    fn count(&mut self, _: &Decision, _: u64, _: u64) {
        unreachable!()
    }

    fn keeps_back(&mut self, _: &Decision, _: impl FnOnce() -> Address) -> bool {
        false
    }

    fn event(&mut self, _: &Decision, _: &Packet) {
        unreachable!()
    }
}

const GET: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
const IN: Direction = Direction::Ingress;
const OUT: Direction = Direction::Egress;

/// A segment from a client's port to the server's port 80.
fn segment(client: u16, flags: u8, seq: u32, ack: u32) -> Packet {
    Packet {
        source: Address::from_v4(0xc000_0201),
        destination: Address::from_v4(0xc633_6401),
        source_port: client,
        destination_port: 80,
        protocol: proto::TCP,
        tcp_flags: flags,
        seq,
        ack,
        ..Packet::EMPTY
    }
}

#[test]
fn a_flow_gets_an_entry_with_its_first_request() {
    let mut host = Host::new();
    let (syn, ack) = (segment(5_000, tcp::SYN, 1, 0), segment(5_000, tcp::ACK, 2, 8));
    host.sockets.push(flow::key(&syn, IN));
    host.sees(Kind::Http1, &syn, b"", IN);
    host.sees(Kind::Http1, &ack, b"", IN);
    host.sees(Kind::Http1, &ack, b"no method", IN);
    assert_eq!(host.bucket.taken(), 0);
    host.sees(Kind::Http1, &segment(5_000, tcp::ACK, 11, 8), GET, IN);
    host.sees(Kind::Http1, &segment(5_000, tcp::ACK, 11, 8), GET, IN);
    assert_eq!(host.bucket.taken(), 1);
    assert_eq!((host.count(Metric::Requests), host.count(Metric::Suspects)), (1, 0));
}

#[test]
fn a_syn_clears_what_exists() {
    let mut host = Host::new();
    let first = segment(5_000, tcp::ACK, 2, 8);
    host.sockets.push(flow::key(&first, IN));
    for _ in 0..2 {
        host.sees(Kind::Http1, &segment(5_000, tcp::SYN, 1, 0), b"", IN);
        host.sees(Kind::Http1, &first, GET, IN);
    }
    assert_eq!(host.count(Metric::Requests), 2);
    assert_eq!(host.bucket.taken(), 1);
}

#[test]
fn hole_2_data_in_a_syn_needs_a_connection() {
    let (syn, later) = (segment(5_000, tcp::SYN, 1, 0), segment(5_000, tcp::ACK, 2, 8));
    // A server has none yet: the data comes again behind the handshake.
    let mut server = Host::new();
    server.sees(Kind::Http1, &syn, GET, IN);
    server.sockets.push(flow::key(&syn, IN));
    server.sees(Kind::Http1, &later, GET, IN);
    assert_eq!((server.count(Metric::Requests), server.count(Metric::Suspects)), (1, 1));
    // A client has one.
    let mut client = Host::new();
    client.sockets.push(flow::key(&syn, OUT));
    client.sees(Kind::Http1, &syn, GET, OUT);
    client.sees(Kind::Http1, &later, GET, OUT);
    assert_eq!((client.count(Metric::Requests), client.count(Metric::Suspects)), (1, 0));
}

#[test]
fn hole_11_a_later_fragment_is_not_looked_at() {
    let mut host = Host::new();
    let packet = Packet { fragment: Fragment::Later, ..segment(5_000, tcp::ACK, 2, 8) };
    host.sockets.push(flow::key(&packet, IN));
    host.sees(Kind::Http1, &packet, GET, IN);
    assert_eq!(host.counted, [0; Metric::COUNT]);
}

#[test]
fn hole_13_forged_payload_is_suspect_and_makes_no_entry() {
    let mut host = Host::new();
    let forged = |port| segment(port, tcp::ACK, 2, 8);
    for port in 1_000..2_000 {
        host.sees(Kind::Http1, &forged(port), GET, IN);
        host.sees(Kind::Mysql, &forged(port), b"\x09\0\0\0\x03select 1", IN);
    }
    assert_eq!(host.bucket.taken(), 0);
    assert_eq!((host.count(Metric::Requests), host.count(Metric::Suspects)), (0, 2_000));
    assert_eq!(host.count(Metric::MysqlQuery), 0);
}

#[test]
fn hole_14_at_egress_the_other_end_is_the_server() {
    let mut host = Host::new();
    let request = segment(5_000, tcp::ACK, 2, 8);
    host.sockets.push(flow::key(&request, OUT));
    host.sees(Kind::Http1, &request, GET, OUT);
    assert_eq!(host.count(Metric::Requests), 1);
    let key = flow::key(&request, IN);
    assert_eq!((key.local_port, key.remote_port), (80, 5_000));
    let asked = Asked::of(&host, &key);
    assert!(table::find(&mut host, asked).is_some());
}

#[test]
fn hole_24_a_table_smaller_than_the_connections_still_counts() {
    let mut host = Host::new();
    for turn in 0..10 {
        for client in 1..=20 {
            host.jiffies += 100;
            let packet = segment(client, tcp::ACK, 2 + turn * 100, 8 + turn);
            host.sockets.push(flow::key(&packet, IN));
            host.sees(Kind::Http1, &packet, GET, IN);
        }
    }
    assert_eq!((host.count(Metric::Requests), host.count(Metric::Suspects)), (200, 0));
}

#[test]
fn who_was_silent_longest_gives_way() {
    let mut host = Host::new();
    let asked = |host: &Host, client| Asked::of(host, &flow::key(&segment(client, 0, 0, 0), IN));
    let ways = u16::try_from(WAYS).unwrap();
    for client in 1..=ways {
        host.jiffies += 1 << 10;
        let asked = asked(&host, client);
        let entry = Entry { next: client.into(), ..Entry::new(Kind::Http1) };
        assert_eq!(table::open(&mut host, asked, entry).copied(), Some(entry));
    }
    // The first one speaks again: now it is the second that is silent longest.
    host.jiffies += 1 << 10;
    let (first, new) = (asked(&host, 1), asked(&host, ways + 1));
    assert_eq!(table::find(&mut host, first).unwrap().next, 1);
    table::open(&mut host, new, Entry::EMPTY).unwrap();
    let left = |client: &u16| {
        let asked = asked(&host, *client);
        table::find(&mut host, asked).is_some()
    };
    let left: Vec<_> = (1..=ways + 1).filter(left).collect();
    assert_eq!(left, [1, 3, 4, 5, 6, 7, 8, 9]);
    // To a CPU whose clock is a tick behind, what was used last is no older than it is.
    let late = asked(&host, 10);
    host.jiffies += 1 << 8;
    let (fourth, fifth) = (asked(&host, 4), asked(&host, 5));
    assert!(table::find(&mut host, fourth).is_some());
    table::open(&mut host, late, Entry::EMPTY).unwrap();
    assert!(table::find(&mut host, fourth).is_some() && table::find(&mut host, late).is_some());
    // Its own place comes before all others.
    table::open(&mut host, fifth, Entry::new(Kind::Tls)).unwrap();
    assert_eq!(host.bucket.taken(), 8);
    assert!(table::find(&mut host, fifth).unwrap().is_of(Kind::Tls));
    assert!(table::find(&mut host, fourth).is_some());
}

#[test]
fn a_datagram_needs_no_entry() {
    let mut host = Host::new();
    let packet = Packet { protocol: proto::UDP, ..segment(5_000, 0, 0, 0) };
    host.sees(Kind::Dns, &packet, &dns::message(1, 3), IN);
    host.sees(Kind::Dns, &packet, &dns::message(0x81, 3), IN);
    assert_eq!(host.count(Metric::DnsQueries), 1);
    assert_eq!(host.bucket.taken(), 0);
}
