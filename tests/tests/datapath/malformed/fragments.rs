//! Fragments that no honest sender makes, RFC 1858 and RFC 3128.

use anyhow::Result;
use firewall_common::verdict::Reason;
use firewall_tests::packet::{Frame, Tcp, Udp};

use super::{OPEN, legal, malformed};
use crate::ends::{Ends, twins};

#[test]
fn a_fragment_may_not_end_past_the_largest_packet() -> Result<()> {
    let length = Reason::MalformedFragmentLength;
    OPEN.table(twins(|ends| {
        let last = |size| ends.piece(17, 1, 65_528, false).payload(vec![0; size]);
        [
            legal("ends at 65,535", last(7)),
            malformed("ends at 65,536", last(8), length),
            malformed("far past", last(900), length),
            malformed("and more to come", ends.piece(17, 1, 65_528, true).payload([0; 8]), length),
        ]
    }))
}

#[test]
fn a_first_fragment_holds_the_transport_header() -> Result<()> {
    let first = |ends: Ends, protocol: u8, payload: &[u8]| {
        ends.piece(protocol, 1, 0, true).payload(payload)
    };
    let tcp = Frame::bare().tcp(Tcp { options: vec![1; 4], ..Tcp::default() }).bytes();
    let udp = Frame::bare().udp(Udp::default()).payload([0; 8]).bytes();
    let sctp = [9, 0, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 4];
    let tiny = Reason::MalformedTinyFragment;
    OPEN.table(twins(|ends| {
        [
            malformed("8 bytes of TCP", first(ends, 6, &tcp[..8]), tiny),
            malformed("16 bytes of TCP", first(ends, 6, &tcp[..16]), tiny),
            malformed("TCP without its options", first(ends, 6, &tcp[..20]), tiny),
            legal("TCP with its options", first(ends, 6, &tcp)),
            malformed("7 bytes of UDP", first(ends, 17, &udp[..7]), tiny),
            legal("8 bytes of UDP", first(ends, 17, &udp[..8])),
            malformed("7 bytes of ICMP", first(ends, ends.icmp(), &[200; 7]), tiny),
            malformed("8 bytes of SCTP", first(ends, 132, &sctp[..8]), tiny),
            legal("12 bytes of SCTP", first(ends, 132, &sctp[..12])),
        ]
    }))
}

#[test]
fn a_tcp_fragment_at_offset_1_would_overwrite_the_flags() -> Result<()> {
    OPEN.table(twins(|ends| {
        let at = |protocol, offset| ends.piece(protocol, 1, offset, false).payload([0; 16]);
        [
            malformed("offset 1", at(6, 8), Reason::MalformedFragmentOverlap),
            legal("offset 2", at(6, 16)),
            legal("offset 1 of UDP", at(17, 8)),
        ]
    }))
}
