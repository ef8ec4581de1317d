//! Transport headers.

use anyhow::Result;
use firewall_common::verdict::Reason;
use firewall_tests::packet::{Frame, Tcp, Udp, flags};

use super::{OPEN, legal, malformed, tcp, udp};
use crate::ends::twins;

/// What an Ethernet card makes of a short frame.
fn padded(frame: &Frame) -> Vec<u8> {
    let mut bytes = frame.bytes();
    bytes.resize(bytes.len().max(100), 0);
    bytes
}

fn with_flags(flags: u8) -> Tcp {
    Tcp { flags, ..Tcp::default() }
}

#[test]
fn a_tcp_header_must_be_whole() -> Result<()> {
    let words = |header_words| Tcp { header_words: Some(header_words), ..Tcp::default() };
    OPEN.table(twins(|ends| {
        let raw = |bytes: &[u8]| ends.arrives_as(6).payload(bytes);
        let header = Frame::bare().tcp(Tcp::default()).bytes();
        [
            malformed("nothing", raw(&[]), Reason::MalformedTcpTruncated),
            malformed("19 of 20 bytes", raw(&header[..19]), Reason::MalformedTcpTruncated),
            malformed(
                "a padded frame lies not",
                padded(&raw(&header[..8])),
                Reason::MalformedTcpTruncated,
            ),
            malformed("a data offset of 4", tcp(ends, words(4)), Reason::MalformedTcpOffset),
            malformed("a data offset of 0", tcp(ends, words(0)), Reason::MalformedTcpOffset),
            malformed(
                "a data offset past the end",
                tcp(ends, words(6)),
                Reason::MalformedTcpOffset,
            ),
            legal("a data offset of 5", tcp(ends, words(5))),
            legal("a data offset of 6, with payload", tcp(ends, words(6)).payload([0; 4])),
            legal("40 bytes of options", tcp(ends, Tcp { options: vec![1; 40], ..Tcp::default() })),
        ]
    }))
}

#[test]
fn flags_that_no_stack_sends_are_malformed() -> Result<()> {
    use flags::{ACK, CWR, ECE, FIN, PSH, RST, SYN, URG};
    let bad = [
        ("no flags", 0),
        ("nothing but ECN bits", ECE | CWR),
        ("SYN FIN", SYN | FIN),
        ("SYN FIN ACK", SYN | FIN | ACK),
        ("SYN RST", SYN | RST),
        ("SYN RST ACK", SYN | RST | ACK),
        ("FIN", FIN),
        ("FIN PSH URG", FIN | PSH | URG),
        ("FIN RST", FIN | RST),
        ("all", 0xff),
    ];
    let good = [
        ("SYN", SYN),
        ("SYN with ECN", SYN | ECE | CWR),
        ("SYN ACK", SYN | ACK),
        ("ACK", ACK),
        ("ACK URG", ACK | URG),
        ("URG", URG),
        ("PSH", PSH),
        ("FIN ACK", FIN | ACK),
        ("RST", RST),
        ("RST ACK", RST | ACK),
        ("RST PSH ACK", RST | PSH | ACK),
    ];
    OPEN.table(twins(|ends| {
        let bad = bad.into_iter().map(move |(what, flags)| {
            malformed(what, tcp(ends, with_flags(flags)), Reason::MalformedTcpFlags)
        });
        let good =
            good.into_iter().map(move |(what, flags)| legal(what, tcp(ends, with_flags(flags))));
        let fast_open = legal("SYN with data", tcp(ends, with_flags(SYN)).payload(b"GET /"));
        bad.chain(good).chain([fast_open]).collect::<Vec<_>>()
    }))
}

#[test]
fn a_udp_header_must_be_whole_and_its_length_true() -> Result<()> {
    let length = |length| Udp { length: Some(length), ..Udp::default() };
    OPEN.table(twins(|ends| {
        let header = Frame::bare().udp(Udp::default()).bytes();
        let raw = |size: usize| ends.arrives_as(17).payload(&header[..size]);
        [
            malformed("nothing", raw(0), Reason::MalformedUdpTruncated),
            malformed("7 of 8 bytes", raw(7), Reason::MalformedUdpTruncated),
            malformed("7 bytes, padded", padded(&raw(7)), Reason::MalformedUdpTruncated),
            malformed("a length of 7", udp(ends, length(7)), Reason::MalformedUdpLength),
            malformed("a length of 0", udp(ends, length(0)), Reason::MalformedUdpLength),
            malformed("a length past the end", udp(ends, length(9)), Reason::MalformedUdpLength),
            legal("no payload", udp(ends, length(8))),
            legal("payload", udp(ends, Udp::default()).payload([1; 100])),
            legal("bytes behind the datagram", udp(ends, length(8)).payload([1; 4])),
        ]
    }))
}

#[test]
fn port_0_is_nobodys() -> Result<()> {
    let zero = Reason::MalformedPortZero;
    OPEN.table(twins(|ends| {
        let sctp = |source: u16, destination: u16| {
            let ports = [source.to_be_bytes(), destination.to_be_bytes()].concat();
            ends.arrives_as(132).payload(ports).payload([0; 8])
        };
        [
            malformed("TCP to 0", tcp(ends, Tcp::between(1, 0)), zero),
            malformed("TCP from 0", tcp(ends, Tcp::between(0, 1)), zero),
            malformed("UDP to 0", udp(ends, Udp::between(1, 0)), zero),
            malformed("UDP from 0", udp(ends, Udp::between(0, 1)), zero),
            malformed("SCTP to 0", sctp(1, 0), zero),
            malformed("SCTP from 0", sctp(0, 1), zero),
            legal("TCP from 1 to 65535", tcp(ends, Tcp::between(1, 65_535))),
            legal("UDP from 65535 to 1", udp(ends, Udp::between(65_535, 1))),
            legal("SCTP from 1 to 1", sctp(1, 1)),
        ]
    }))
}

#[test]
fn icmp_and_sctp_headers_must_be_whole() -> Result<()> {
    OPEN.table(twins(|ends| {
        let raw = |protocol, size| ends.arrives_as(protocol).payload(vec![200; size]);
        [
            malformed("no ICMP", raw(ends.icmp(), 0), Reason::MalformedIcmpTruncated),
            malformed("7 bytes of ICMP", raw(ends.icmp(), 7), Reason::MalformedIcmpTruncated),
            legal("8 bytes of ICMP", raw(ends.icmp(), 8)),
            malformed("11 bytes of SCTP", raw(132, 11), Reason::MalformedSctpTruncated),
            legal("12 bytes of SCTP", raw(132, 12)),
            legal("ICMP of the other family has no header to read", raw(59 - ends.icmp(), 3)),
            legal("GRE has none either", raw(47, 1)),
        ]
    }))
}
