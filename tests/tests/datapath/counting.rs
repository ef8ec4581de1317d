//! Requests: which counters of a rule move for one frame.
//!
//! A frame put to a program belongs to no connection, so a request over TCP is a
//! suspect here: [`sockets`](crate::sockets) has connections. DNS over UDP needs
//! none.

use anyhow::Result;
use firewall_common::request::Metric;
use firewall_common::verdict::Reason;
use firewall_tests::packet::{Frame, Tcp, Udp, flags};

use crate::ends::{Ends, twins};
use crate::ledger::{Case, EGRESS, Expect, INGRESS, allowed, drop, pass};
use crate::shared::Shared;

static COUNTING: Shared = Shared::new(
    "groups:
  clients: [198.51.100.0/24, \"2001:db8:2::/64\"]
  bastion: [203.0.113.22, \"2001:db8:9::22\"]
services:
  http:  { tcp: 80, count: http1 }
  https: { tcp: 443, count: tls }
  mysql: { tcp: 3306, count: mysql }
  dns:   { udp: 53, tcp: 53, count: dns }
  plain: { tcp: 8090 }
  ssh:   { tcp: 22 }
failsafe: { ingress: [{ name: bastion-http, from: bastion, service: [http, ssh] }] }
ingress:
  allow:
    - { name: web, from: clients, service: [http, https] }
    - { name: db, from: clients, service: mysql }
    - { name: dns, from: clients, service: dns }
    - { name: plain, from: clients, service: plain }
egress:
  allow:
    - { name: to-web, to: clients, service: http }
    - { name: to-dns, to: clients, service: dns }
",
);

/// A segment with data to this port.
fn arrives(ends: Ends, port: u16, payload: &[u8]) -> Frame {
    let header = Tcp { flags: flags::ACK | flags::PSH, ..Tcp::between(40_000, port) };
    ends.arrives().tcp(header).payload(payload)
}

fn query(ends: Ends, payload: &[u8]) -> Frame {
    ends.arrives().udp(Udp::between(40_000, 53)).payload(payload)
}

fn suspect(rule: &'static str) -> Expect {
    allowed(rule).requests(&[(Metric::Suspects, 1)])
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n";
/// The start of a `ClientHello`.
const HELLO: &[u8] = &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3, 0, 0, 0];
/// `COM_QUERY`, `SELECT 1`.
const SELECT: &[u8] = b"\x09\0\0\0\x03SELECT 1";
/// A query for the address of `a`.
const QUESTION: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01";

#[test]
fn a_request_without_a_connection_is_suspect() -> Result<()> {
    let prefixed = [&[0, 19], QUESTION].concat();
    COUNTING.table(twins(|ends| {
        [
            Case::new("HTTP", INGRESS, arrives(ends, 80, GET), suspect("web")),
            Case::new("TLS", INGRESS, arrives(ends, 443, HELLO), suspect("web")),
            Case::new("MySQL", INGRESS, arrives(ends, 3306, SELECT), suspect("db")),
            Case::new("DNS over TCP", INGRESS, arrives(ends, 53, &prefixed), suspect("dns")),
            Case::new(
                "a word like a method",
                INGRESS,
                arrives(ends, 80, b"GETS / "),
                suspect("web"),
            ),
            Case::new("TLS for HTTP", INGRESS, arrives(ends, 80, HELLO), suspect("web")),
        ]
    }))
}

#[test]
fn what_is_no_request_moves_no_request_counter() -> Result<()> {
    COUNTING.table(twins(|ends| {
        let bare = |flags, port| ends.arrives().tcp(Tcp { flags, ..Tcp::between(40_000, port) });
        [
            Case::new("a SYN", INGRESS, bare(flags::SYN, 80), allowed("web").opens()),
            Case::new("an ACK", INGRESS, bare(flags::ACK, 80), allowed("web")),
            Case::new("a FIN", INGRESS, bare(flags::FIN | flags::ACK, 3306), allowed("db")),
            Case::new("a body", INGRESS, arrives(ends, 80, b"name=value"), allowed("web")),
            Case::new(
                "a word like a method",
                INGRESS,
                arrives(ends, 80, b"gets / "),
                allowed("web"),
            ),
            Case::new(
                "TLS application data",
                INGRESS,
                arrives(ends, 443, &[23, 3, 3, 0, 9, 0]),
                allowed("web"),
            ),
            Case::new(
                "HTTP where TLS is counted",
                INGRESS,
                arrives(ends, 443, GET),
                allowed("web"),
            ),
            Case::new(
                "TLS where HTTP is counted",
                INGRESS,
                arrives(ends, 80, &[23, 3, 3, 0, 9, 0]),
                allowed("web"),
            ),
            Case::new(
                "where nothing is counted",
                INGRESS,
                arrives(ends, 8090, GET),
                allowed("plain"),
            ),
            Case::new(
                "one byte of a method, no more",
                INGRESS,
                arrives(ends, 80, b"X"),
                allowed("web"),
            ),
        ]
    }))
}

#[test]
fn dns_over_udp_is_counted_by_the_datagram() -> Result<()> {
    let response = [&QUESTION[..2], &[0x81], &QUESTION[3..]].concat();
    let notify = [&QUESTION[..2], &[0x20], &QUESTION[3..]].concat();
    let counted = |rule| allowed(rule).requests(&[(Metric::DnsQueries, 1)]);
    COUNTING.table(twins(|ends| {
        [
            Case::new("a query", INGRESS, query(ends, QUESTION), counted("dns")),
            Case::new("a header is enough", INGRESS, query(ends, &QUESTION[..12]), counted("dns")),
            Case::new("less is not", INGRESS, query(ends, &QUESTION[..11]), allowed("dns")),
            Case::new("nothing", INGRESS, query(ends, b""), allowed("dns")),
            Case::new("padded to a frame", INGRESS, query(ends, b"").padded(), allowed("dns")),
            Case::new("a response", INGRESS, query(ends, &response), allowed("dns")),
            Case::new("NOTIFY", INGRESS, query(ends, &notify), allowed("dns")),
            Case::new(
                "a query of ours",
                EGRESS,
                ends.leaves().udp(Udp::between(40_000, 53)).payload(QUESTION),
                counted("to-dns").opens(),
            ),
        ]
    }))
}

#[test]
fn a_request_of_this_host_counts_on_its_egress_rule() -> Result<()> {
    COUNTING.table(twins(|ends| {
        let header = Tcp { flags: flags::ACK, ..Tcp::between(40_000, 80) };
        let get = ends.leaves().tcp(header).payload(GET);
        let answer = Tcp { flags: flags::ACK, ..Tcp::between(80, 40_000) };
        [
            Case::new("a request", EGRESS, get, suspect("to-web").opens()),
            Case::new(
                "an answer that looks like one",
                EGRESS,
                ends.leaves().tcp(answer).payload(GET),
                pass(Reason::Established),
            ),
        ]
    }))
}

#[test]
fn each_request_of_a_flow_that_is_known_counts() -> Result<()> {
    COUNTING.story(twins(|ends| {
        let segment = |payload: &[u8]| {
            let header = Tcp { flags: flags::ACK, ..Tcp::between(40_000, 80) };
            ends.leaves().tcp(header).payload(payload)
        };
        [
            Case::new("the first", EGRESS, segment(GET), suspect("to-web").opens()),
            Case::new("a bare acknowledgement", EGRESS, segment(b""), allowed("to-web")),
            Case::new("the second", EGRESS, segment(GET), suspect("to-web")),
        ]
    }))
}

#[test]
fn what_is_dropped_is_no_request() -> Result<()> {
    COUNTING.table(twins(|ends| {
        let other = ends.from([203, 0, 113, 99], "2001:db8:9::99");
        let bastion = ends.from([203, 0, 113, 22], "2001:db8:9::22");
        [
            Case::new("of a stranger", INGRESS, arrives(other, 80, GET), drop(Reason::DefaultDrop)),
            Case::new("of one banned", INGRESS, arrives(ends, 80, GET), drop(Reason::Banned))
                .ban("198.51.100.20/32")
                .ban("2001:db8:2::/64"),
            Case::new(
                "a DNS query of a stranger",
                INGRESS,
                query(other, QUESTION),
                drop(Reason::DefaultDrop),
            ),
            Case::new(
                "a failsafe rule counts like any other",
                INGRESS,
                arrives(bastion, 80, GET),
                pass(Reason::Failsafe).by("bastion-http").requests(&[(Metric::Suspects, 1)]),
            ),
        ]
    }))
}

#[test]
fn a_query_in_fragments_is_counted_by_the_first() -> Result<()> {
    COUNTING.story(twins(|ends| {
        let long = [QUESTION, &[0; 64]].concat();
        let fragments = query(ends, &long).fragments(32);
        let expect = |number| match number {
            0 => allowed("dns").requests(&[(Metric::DnsQueries, 1)]),
            _ => pass(Reason::FragmentFollows),
        };
        let case = |(number, frame)| {
            Case::new(format!("fragment {number}"), crate::ledger::XDP, frame, expect(number))
        };
        fragments.into_iter().enumerate().map(case).collect::<Vec<_>>()
    }))
}
