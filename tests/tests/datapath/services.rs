//! Services: ports of TCP, UDP and SCTP, types of ICMP, protocols by number; and
//! the right bytes of the wrong protocol, which match nothing.

use anyhow::Result;
use firewall_common::verdict::Reason;
use firewall_tests::packet::{Extension, Frame, Icmp, Ipv4, Ipv6, Tcp, Udp, flags};

use crate::ends::{Ends, twins};
use crate::ledger::{Case, EGRESS, INGRESS, allowed, drop, pass};
use crate::shared::{Shared, stranger};

static SERVICES: Shared = Shared::new(
    "services:
  one:     { tcp: 8090 }
  some:    { tcp: [9000, 9002, \"9010-9019\"] }
  top:     { tcp: 65535 }
  logs:    { udp: 514 }
  low:     { udp: \"1-9\" }
  both:    { tcp: 5000, udp: 5000 }
  diameter: { sctp: 3868 }
  stamp:   { icmp: [timestamp-request], icmpv6: [200] }
  gre:     { ip-proto: 47 }
  esp:     { ip-proto: 50 }
ingress:
  allow:
    - { name: one, from: any, service: one }
    - { name: some, from: any, service: some }
    - { name: top, from: any, service: top }
    - { name: logs, from: any, service: logs }
    - { name: low, from: any, service: low }
    - { name: both, from: any, service: both }
    - { name: diameter, from: any, service: diameter }
    - { name: stamp, from: any, service: stamp }
    - { name: tunnels, from: any, service: [gre, esp] }
egress:
  allow:
    - { name: diameter-out, to: any, service: diameter }
",
);

/// A packet of any protocol whose payload starts with these ports.
fn raw(ends: Ends, protocol: u8, ports: (u16, u16)) -> Frame {
    let payload = [ports.0.to_be_bytes().as_slice(), &ports.1.to_be_bytes(), &[0; 16]].concat();
    ends.arrives_as(protocol).payload(payload)
}

#[test]
fn ports_match_exactly() -> Result<()> {
    SERVICES.table(twins(|ends| {
        let tcp = |what, port: u16, rule: Option<&'static str>| {
            let expect =
                rule.map_or_else(|| drop(Reason::DefaultDrop), |rule| allowed(rule).opens());
            Case::new(
                format!("TCP {port}, {what}"),
                INGRESS,
                ends.arrives().tcp(Tcp::between(40_000, port)),
                expect,
            )
        };
        let udp = |what, port: u16, rule: Option<&'static str>| {
            let expect = rule.map_or_else(|| drop(Reason::DefaultDrop), allowed);
            Case::new(
                format!("UDP {port}, {what}"),
                INGRESS,
                ends.arrives().udp(Udp::between(40_000, port)),
                expect,
            )
        };
        [
            tcp("named", 8090, Some("one")),
            tcp("before", 8089, None),
            tcp("behind", 8091, None),
            tcp("in a list", 9002, Some("some")),
            tcp("between the list's", 9001, None),
            tcp("first of a range", 9010, Some("some")),
            tcp("last of a range", 9019, Some("some")),
            tcp("behind the range", 9020, None),
            tcp("the last of all", 65_535, Some("top")),
            tcp("the last but one", 65_534, None),
            tcp("of UDP", 514, None),
            tcp("of both", 5000, Some("both")),
            udp("named", 514, Some("logs")),
            udp("first of a range", 1, Some("low")),
            udp("last of a range", 9, Some("low")),
            udp("behind the range", 10, None),
            udp("of TCP", 8090, None),
            udp("of both", 5000, Some("both")),
            udp("nobody's, the last of all", 65_535, None),
        ]
    }))
}

#[test]
fn the_source_port_is_not_the_service() -> Result<()> {
    SERVICES.table(twins(|ends| {
        let no = || drop(Reason::DefaultDrop);
        [
            Case::new("TCP", INGRESS, ends.arrives().tcp(Tcp::between(8090, 40_000)), no()),
            Case::new("UDP", INGRESS, ends.arrives().udp(Udp::between(514, 40_000)), no()),
            Case::new("SCTP", INGRESS, raw(ends, 132, (3868, 40_000)), no()),
        ]
    }))
}

#[test]
fn sctp_has_ports_of_its_own() -> Result<()> {
    SERVICES.story(twins(|ends| {
        let no = || drop(Reason::DefaultDrop);
        let back = Ends { client: ends.server, server: ends.client };
        [
            Case::new("named", INGRESS, raw(ends, 132, (40_000, 3868)), allowed("diameter")),
            Case::new("another", INGRESS, raw(ends, 132, (40_000, 3869)), no()),
            Case::new("of TCP", INGRESS, raw(ends, 132, (40_000, 8090)), no()),
            Case::new(
                "our answer",
                EGRESS,
                raw(back, 132, (3868, 40_000)),
                pass(Reason::Established),
            ),
            Case::new(
                "out",
                EGRESS,
                raw(back, 132, (40_000, 3868)),
                allowed("diameter-out").opens(),
            ),
            Case::new(
                "their answer",
                INGRESS,
                raw(ends, 132, (3868, 40_000)),
                pass(Reason::Established),
            ),
        ]
    }))
}

#[test]
fn icmp_matches_by_type_in_its_own_family() -> Result<()> {
    let v4 = |kind, code| Frame::ethernet().ipv4(Ipv4::default()).icmp(Icmp::new(kind, code));
    let v6 = |kind, code| Frame::ethernet().ipv6(Ipv6::default()).icmpv6(Icmp::new(kind, code));
    let no = || drop(Reason::DefaultDrop);
    SERVICES.table([
        Case::new("the type", INGRESS, v4(13, 0), allowed("stamp")),
        Case::new("whatever the code", INGRESS, v4(13, 9), allowed("stamp")),
        Case::new("another type", INGRESS, v4(14, 0), no()),
        Case::new("the type of ICMPv6", INGRESS, v4(200, 0), no()),
        Case::new("ICMPv6, the type", INGRESS, v6(200, 0), allowed("stamp")),
        Case::new("ICMPv6, the type of ICMP", INGRESS, v6(13, 0), no()),
    ])
}

#[test]
fn other_protocols_match_by_number() -> Result<()> {
    SERVICES.table(twins(|ends| {
        let no = || drop(Reason::DefaultDrop);
        let case = |what, protocol, expect| {
            Case::new(what, INGRESS, raw(ends, protocol, (40_000, 8090)), expect)
        };
        [
            case("GRE", 47, allowed("tunnels")),
            case("ESP", 50, allowed("tunnels")),
            case("its neighbour", 49, no()),
            case("IPIP", 4, no()),
            case("255", 255, no()),
            case("UDP-Lite has ports where nobody looks", 136, no()),
            case("DCCP too", 33, no()),
        ]
    }))
}

#[test]
fn the_right_bytes_of_the_wrong_protocol_match_nothing() -> Result<()> {
    // Each looks, at the offset of its ports, like a service that is admitted.
    SERVICES.table(twins(|ends| {
        let no = || drop(Reason::DefaultDrop);
        let fake = |protocol| raw(ends, protocol, (40_000, 8090));
        let message = ends.message(ends.arrives(), (40, 100), 0x1f9a).payload([0x1f, 0x9a]);
        [
            Case::new("an unknown protocol, TCP's port", INGRESS, fake(253), no()),
            Case::new("IPv6 in IP, TCP's port", INGRESS, fake(41), no()),
            Case::new("ICMP, whatever its bytes", INGRESS, message, no()),
            Case::new(
                "UDP, TCP's port",
                INGRESS,
                ends.arrives().udp(Udp::between(40_000, 8090)),
                no(),
            ),
            Case::new("SCTP, TCP's port", INGRESS, fake(132), no()),
        ]
    }))
}

#[test]
fn a_rule_sees_ports_behind_options_and_extension_headers() -> Result<()> {
    let syn =
        |port| Tcp { flags: flags::SYN, options: vec![2, 4, 5, 180], ..Tcp::between(40_000, port) };
    let v4 = |words: usize, port| {
        let header = Ipv4 { options: vec![1; 4 * words], ..Ipv4::default() };
        Frame::ethernet().ipv4(header).tcp(syn(port))
    };
    let v6 = |headers: &[u8], port| {
        let frame = Frame::ethernet().ipv6(Ipv6::default());
        let long = |header| Extension { body: vec![1; 22], ..Extension::new(header) };
        let frame = headers.iter().fold(frame, |frame, header| match header {
            51 => frame.extension(Extension::new(51)),
            43 => frame.extension(Extension { body: vec![4, 0, 0, 0, 0, 0], ..Extension::new(43) }),
            other => frame.extension(long(*other)),
        });
        frame.tcp(syn(port))
    };
    for words in [0, 1, 5, 10] {
        SERVICES.table([
            Case::new(
                format!("{words} words of options"),
                INGRESS,
                v4(words, 8090),
                allowed("one").opens(),
            ),
            Case::new(
                format!("{words} words of options"),
                INGRESS,
                v4(words, 8091),
                drop(Reason::DefaultDrop),
            ),
        ])?;
    }
    let chains: [&[u8]; 7] =
        [&[], &[0], &[60], &[51], &[43], &[0, 60, 43, 51, 60], &[0, 60, 60, 60, 60, 60, 60, 60]];
    for chain in chains {
        SERVICES.table([
            Case::new(format!("{chain:?}"), INGRESS, v6(chain, 8090), allowed("one").opens()),
            Case::new(format!("{chain:?}"), INGRESS, v6(chain, 8091), drop(Reason::DefaultDrop)),
        ])?;
    }
    // What is no extension header ends the chain: it is the protocol.
    let mobility =
        Frame::ethernet().ipv6(Ipv6::default()).extension(Extension::new(135)).tcp(syn(8090));
    SERVICES.table([Case::new("a mobility header", INGRESS, mobility, drop(Reason::DefaultDrop))])
}

#[test]
fn a_policy_that_names_no_sctp_port_judges_sctp_as_a_protocol() -> Result<()> {
    static ALL: Shared = Shared::new(
        "services: { http: { tcp: 80 } }
ingress:
  allow:
    - { name: all, from: [198.51.100.0/24, \"2001:db8:2::/64\"], service: all, reason: test }
    - { name: web, from: any, service: http }
",
    );
    ALL.table(twins(|ends| {
        let other = stranger(ends);
        [
            Case::new("a rule for all", INGRESS, raw(ends, 132, (40_000, 80)), allowed("all")),
            Case::new(
                "the same port of TCP",
                INGRESS,
                raw(other, 132, (40_000, 80)),
                drop(Reason::DefaultDrop),
            ),
            Case::new(
                "our answer",
                EGRESS,
                raw(Ends { client: ends.server, server: ends.client }, 132, (80, 1)),
                pass(Reason::Established),
            ),
        ]
    }))
}
