//! Every way of being malformed has a reason of its own, on every hook, whatever
//! the policy; the nearest frame that is legal passes.
//!
//! A frame below 14 bytes cannot be put to a program; one cut in a tag can.

mod addresses;
mod fragments;
mod network;
mod transport;

use anyhow::Result;
use firewall_common::verdict::Reason;
use firewall_tests::packet::{Ethernet, Frame, Icmp, Ipv4, Ipv6, Tcp, Udp, flags};

use crate::ends::{Ends, twins};
use crate::ledger::{Bytes, Case, EVERYWHERE, INGRESS, XDP, drop, pass};
use crate::shared::Shared;

static OPEN: Shared = Shared::new("default: { ingress: allow, egress: allow }\n");

fn malformed(what: &str, frame: impl Bytes, reason: Reason) -> Case {
    Case::new(what, EVERYWHERE, frame, drop(reason))
}

/// The kernel puts no untagged frame to TC that ends in its IP header.
fn at_xdp(what: &str, frame: impl Bytes, reason: Reason) -> Case {
    Case::new(what, XDP, frame, drop(reason))
}

fn legal(what: &str, frame: impl Bytes) -> Case {
    Case::new(what, EVERYWHERE, frame, pass(Reason::DefaultAllow))
}

fn v4(header: Ipv4) -> Frame {
    Frame::ethernet().ipv4(header)
}

fn v6(header: Ipv6) -> Frame {
    Frame::ethernet().ipv6(header)
}

fn tcp(ends: Ends, header: Tcp) -> Frame {
    ends.arrives().tcp(header)
}

fn udp(ends: Ends, header: Udp) -> Frame {
    ends.arrives().udp(header)
}

#[test]
fn malformed_beats_failsafe_and_baseline() -> Result<()> {
    static CLOSED: Shared = Shared::new(
        "services: { ssh: { tcp: 22 } }
failsafe: { ingress: [{ name: bastion, from: [198.51.100.20, \"2001:db8:2::20\"], service: ssh }] }
",
    );
    let xmas = flags::FIN | flags::PSH | flags::URG;
    CLOSED.table(twins(|ends| {
        let syn = |flags| tcp(ends, Tcp { flags, ..Tcp::between(40_000, 22) });
        [
            Case::new(
                "an impossible SSH segment",
                INGRESS,
                syn(xmas),
                drop(Reason::MalformedTcpFlags),
            ),
            Case::new(
                "a SYN",
                INGRESS,
                syn(flags::SYN),
                pass(Reason::Failsafe).by("bastion").opens(),
            ),
        ]
    }))?;
    let own = Ethernet { ethertype: Some(0x86dd), ..Ethernet::default() };
    let header = Ipv6 { source: "ff02::1".parse()?, hop_limit: 255, ..Ipv6::default() };
    let solicit = Frame::ethernet_with(own).ipv6(header).icmpv6(Icmp::new(135, 0));
    CLOSED.table([malformed("ND from a group", solicit, Reason::MalformedSource)])
}
