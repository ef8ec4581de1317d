//! Super-packets and jumbo frames: TC sees many wire packets as one, and counts
//! what they are on the wire, headers of each included; XDP sees a frame of many
//! pages.

use anyhow::Result;
use firewall_common::verdict::Reason;
use firewall_tests::packet::{Arp, Extension, Frame, Ipv4, Ipv6, Tcp, Udp, flags};

use crate::common::bench::LINEAR;
use crate::ends::{Ends, V4, twins};
use crate::ledger::{Case, EGRESS, TC, TC_INGRESS, XDP, allowed, drop, pass};
use crate::shared::{SITE, upstream};

fn data(ends: Ends, port: u16) -> Frame {
    let header = Tcp { flags: flags::ACK, options: vec![1; 12], ..Tcp::between(40_000, port) };
    ends.arrives().tcp(header).payload([0; 2800])
}

#[test]
fn each_segment_has_headers_of_its_own() -> Result<()> {
    SITE.table(twins(|ends| {
        // Ethernet, IP, TCP with 12 bytes of options.
        let headers = if ends.client.is_ipv4() { 14 + 20 + 32 } else { 14 + 40 + 32 };
        let length = headers + 2800;
        let bytes = move |segments: u64| length + (segments - 1) * headers;
        let case = |segments: u32| {
            Case::new(
                format!("{segments} segments"),
                TC_INGRESS,
                data(ends, 80),
                allowed("web").bytes(bytes(segments.into())),
            )
            .segments(segments)
        };
        [
            case(1),
            case(2),
            case(45),
            Case::new(
                "dropped",
                TC_INGRESS,
                data(ends, 81),
                drop(Reason::DefaultDrop).bytes(bytes(7)),
            )
            .segments(7),
            Case::new(
                "with a tag",
                TC_INGRESS,
                Frame::ethernet()
                    .vlan(5)
                    .ip(ends.client, ends.server)
                    .udp(Udp::between(1, 514))
                    .payload([0; 100]),
                allowed("logs").bytes(headers - 32 + 4 + 8 + 100 + (headers - 32 + 4 + 8)),
            )
            .segments(2),
        ]
    }))
}

#[test]
fn a_super_packet_opens_one_flow() -> Result<()> {
    SITE.table(twins(|ends| {
        let up = upstream(ends);
        let frame = up.leaves().udp(Udp::between(5000, 53)).payload([0; 1000]);
        let headers = if ends.client.is_ipv4() { 14 + 20 + 8 } else { 14 + 40 + 8 };
        let expect = allowed("dns").opens().bytes(headers + 1000 + 9 * headers);
        [Case::new("UDP", EGRESS, frame, expect).segments(10)]
    }))
}

#[test]
fn what_has_no_transport_header_repeats_nothing() -> Result<()> {
    let arp = Frame::ethernet().arp(Arp::default()).padded();
    SITE.table([Case::new("ARP", TC, arp, pass(Reason::Arp).bytes(60)).segments(3)])
}

#[test]
fn a_jumbo_frame_is_counted_whole_though_one_page_of_it_is_read() -> Result<()> {
    SITE.table(twins(|ends| {
        let jumbo = |port| ends.arrives().udp(Udp::between(40_000, port)).payload([0; 8900]);
        [
            Case::new("admitted", XDP, jumbo(514), allowed("logs")),
            Case::new("dropped", XDP, jumbo(515), drop(Reason::DefaultDrop)),
        ]
    }))?;
    // Its length by the IP header, not what lies behind the packet.
    let padded = [V4.arrives().udp(Udp::between(1, 514)).bytes(), vec![0; 8000]].concat();
    SITE.table([Case::new("padding", XDP, padded, allowed("logs").bytes(LINEAR))])
}

#[test]
fn a_packet_above_65535_bytes_says_0_of_its_length() -> Result<()> {
    // "BIG TCP", in both families and with UDP around it (RFC 2675).
    let payload = || vec![0; 66_000];
    let tcp = || Tcp { flags: flags::ACK, ..Tcp::between(40_000, 80) };
    let v4 = |total| Frame::ethernet().ipv4(Ipv4 { total_length: Some(total), ..Ipv4::default() });
    let v6 =
        |length| Frame::ethernet().ipv6(Ipv6 { payload_length: Some(length), ..Ipv6::default() });
    let jumbo =
        Extension { body: vec![194, 4, 0, 1, 1, 0], ..Extension::new(Extension::HOP_BY_HOP) };
    let udp = |length| Udp { length: Some(length), ..Udp::between(40_000, 514) };
    SITE.table([
        Case::new("TCP (IPv4)", XDP, v4(0).tcp(tcp()).payload(payload()), allowed("web")),
        Case::new("TCP (IPv6)", XDP, v6(0).tcp(tcp()).payload(payload()), allowed("web")),
        Case::new(
            "TCP with the jumbo option",
            XDP,
            v6(0).extension(jumbo).tcp(tcp()).payload(payload()),
            allowed("web"),
        ),
        Case::new("UDP (IPv4)", XDP, v4(0).udp(udp(0)).payload(payload()), allowed("logs")),
        Case::new("UDP (IPv6)", XDP, v6(0).udp(udp(0)).payload(payload()), allowed("logs")),
        Case::new("UDP that says 8", XDP, v4(0).udp(udp(8)).payload(payload()), allowed("logs")),
        Case::new(
            "UDP that says 7",
            XDP,
            v4(0).udp(udp(7)).payload(payload()),
            drop(Reason::MalformedUdpLength),
        ),
        // The rest of the frame is not the packet's, and counted as far as it is read.
        Case::new(
            "UDP of 0 in a small packet",
            XDP,
            v4(28).udp(udp(0)).payload(payload()),
            drop(Reason::MalformedUdpLength).bytes(LINEAR),
        ),
        Case::new(
            "IPv4 of 0 in a small frame",
            XDP,
            v4(0).udp(udp(0)),
            drop(Reason::MalformedIpv4Length),
        ),
    ])
}
