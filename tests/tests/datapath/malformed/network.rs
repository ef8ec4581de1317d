//! Ethernet and IP headers, and what stands between them and the transport.

use anyhow::Result;
use firewall_common::verdict::Reason;
use firewall_tests::packet::{Extension, Frame, Ipv4, Ipv6, Layer, Tcp, Vlan};

use super::{OPEN, at_xdp, legal, malformed, v4, v6};

#[test]
fn a_frame_that_ends_in_its_tags_is_malformed() -> Result<()> {
    let tagged = Frame::ethernet().vlan(7).ipv4(Ipv4::default()).tcp(Tcp::default());
    let twice = Frame::ethernet().vlan(6).vlan(7).ipv4(Ipv4::default()).tcp(Tcp::default());
    OPEN.table([
        malformed("no tag behind its EtherType", tagged.truncated(14), Reason::MalformedEthernet),
        malformed("three bytes of a tag", tagged.truncated(17), Reason::MalformedEthernet),
        malformed("three bytes of the inner tag", twice.truncated(21), Reason::MalformedEthernet),
        malformed("a tag, and no packet", tagged.truncated(18), Reason::MalformedIpv4Truncated),
        legal("a tag and a packet", tagged),
    ])
}

#[test]
fn more_than_two_tags_are_malformed() -> Result<()> {
    let tags = |count: u16| {
        let tagged = (0..count).fold(Frame::ethernet(), |frame, id| frame.vlan(id + 1));
        tagged.ipv4(Ipv4::default()).tcp(Tcp::default())
    };
    let service = Layer::Vlan(Vlan { protocol: 0x88a8, id: 3, ..Vlan::default() });
    let mixed = Frame::ethernet().with(service.clone()).vlan(2).with(service).payload([0; 46]);
    OPEN.table([
        legal("no tag", tags(0)),
        legal("one tag", tags(1)),
        legal("two tags", tags(2)),
        malformed("three tags", tags(3), Reason::MalformedVlan),
        malformed("four tags", tags(4), Reason::MalformedVlan),
        malformed("service, customer, service", mixed, Reason::MalformedVlan),
    ])
}

#[test]
fn an_ipv4_header_must_be_whole_and_say_so() -> Result<()> {
    let syn = || v4(Ipv4::default()).tcp(Tcp::default());
    let tagged = || Frame::ethernet().vlan(7).ipv4(Ipv4::default()).tcp(Tcp::default());
    let words = |header_words| {
        v4(Ipv4 { header_words: Some(header_words), ..Ipv4::default() }).tcp(Tcp::default())
    };
    let version = |version| v4(Ipv4 { version, ..Ipv4::default() }).tcp(Tcp::default());
    let total =
        |total: u16| v4(Ipv4 { total_length: Some(total), ..Ipv4::default() }).tcp(Tcp::default());
    let options = v4(Ipv4 { options: vec![1; 40], ..Ipv4::default() }).tcp(Tcp::default());
    OPEN.table([
        malformed("19 of 20 bytes", tagged().truncated(18 + 19), Reason::MalformedIpv4Truncated),
        malformed("EtherType only", tagged().truncated(18), Reason::MalformedIpv4Truncated),
        at_xdp("19 of 20 bytes", syn().truncated(14 + 19), Reason::MalformedIpv4Truncated),
        at_xdp("EtherType only", syn().truncated(14), Reason::MalformedIpv4Truncated),
        malformed("version 6 behind 0x0800", version(6), Reason::MalformedIpv4Header),
        malformed("version 0", version(0), Reason::MalformedIpv4Header),
        malformed("a header of 4 words", words(4), Reason::MalformedIpv4Header),
        malformed("a header of 0 words", words(0), Reason::MalformedIpv4Header),
        malformed("a header longer than the packet", words(15), Reason::MalformedIpv4Length),
        malformed("a total length below the header's", total(19), Reason::MalformedIpv4Length),
        malformed("a total length of 0", total(0), Reason::MalformedIpv4Length),
        malformed("one byte more than the frame has", total(41), Reason::MalformedIpv4Length),
        malformed("65,535 bytes in a small frame", total(65_535), Reason::MalformedIpv4Length),
        malformed("options cut short", options.truncated(14 + 59), Reason::MalformedIpv4Length),
        malformed("no room for TCP", total(39), Reason::MalformedTcpTruncated),
        legal("20 bytes of header, 20 of TCP", total(40)),
        legal("a header of 15 words", options),
        legal("a frame padded to 60 bytes", syn().padded()),
    ])
}

#[test]
fn an_ipv6_header_must_be_whole_and_say_so() -> Result<()> {
    let syn = || v6(Ipv6::default()).tcp(Tcp::default());
    let tagged = || Frame::ethernet().vlan(7).ipv6(Ipv6::default()).tcp(Tcp::default());
    let version = |version| v6(Ipv6 { version, ..Ipv6::default() }).tcp(Tcp::default());
    let payload = |length: u16| {
        v6(Ipv6 { payload_length: Some(length), ..Ipv6::default() }).tcp(Tcp::default())
    };
    let nothing = v6(Ipv6 { next_header: Some(59), ..Ipv6::default() });
    OPEN.table([
        malformed("39 of 40 bytes", tagged().truncated(18 + 39), Reason::MalformedIpv6Header),
        at_xdp("39 of 40 bytes", syn().truncated(14 + 39), Reason::MalformedIpv6Header),
        malformed("version 4 behind 0x86dd", version(4), Reason::MalformedIpv6Header),
        malformed("version 15", version(15), Reason::MalformedIpv6Header),
        malformed("one byte more than the frame has", payload(21), Reason::MalformedIpv6Length),
        malformed("65,535 bytes in a small frame", payload(65_535), Reason::MalformedIpv6Length),
        malformed("a payload of 0, TCP behind it", payload(0), Reason::MalformedTcpTruncated),
        malformed("a payload shorter than TCP", payload(19), Reason::MalformedTcpTruncated),
        legal("20 bytes of TCP", payload(20)),
        legal("nothing behind the header, and it says so", nothing),
        legal("a frame padded beyond its payload", [syn().bytes(), vec![0; 9]].concat()),
    ])
}

#[test]
fn an_ipv6_extension_header_must_be_whole() -> Result<()> {
    let with = |header: Extension| v6(Ipv6::default()).extension(header).tcp(Tcp::default());
    let long = |header, length| Extension { length: Some(length), ..Extension::new(header) };
    let last = |next| v6(Ipv6 { next_header: Some(next), ..Ipv6::default() });
    let seven = last(Extension::HOP_BY_HOP).payload([6, 0, 1, 4, 0, 0, 0]);
    let fragment = last(44).payload([6, 0, 0, 0, 0, 0, 0]);
    let routing = |kind: u8, left: u8| Extension {
        body: vec![kind, left, 0, 0, 0, 0],
        ..Extension::new(Extension::ROUTING)
    };
    OPEN.table([
        malformed("7 of 8 bytes", seven, Reason::MalformedIpv6Extension),
        malformed("7 of 8 bytes of a fragment header", fragment, Reason::MalformedIpv6Extension),
        malformed("none of it", last(Extension::DESTINATION), Reason::MalformedIpv6Extension),
        malformed("longer than the packet", with(long(60, 4)), Reason::MalformedIpv6Extension),
        malformed("2,048 bytes long", with(long(0, 255)), Reason::MalformedIpv6Extension),
        malformed("AH longer than the packet", with(long(51, 8)), Reason::MalformedIpv6Extension),
        malformed("swallows TCP", with(long(0, 2)), Reason::MalformedTcpTruncated),
        legal("hop-by-hop options", with(Extension::new(Extension::HOP_BY_HOP))),
        legal("destination options", with(Extension::new(Extension::DESTINATION))),
        legal("an authentication header", with(Extension::new(Extension::AUTHENTICATION))),
        malformed("routing header 0", with(routing(0, 1)), Reason::Ipv6RoutingHeader0),
        malformed("routing header 0, used up", with(routing(0, 0)), Reason::Ipv6RoutingHeader0),
        legal("routing header 2", with(routing(2, 1))),
        legal("segment routing header", with(routing(4, 0))),
    ])
}

#[test]
fn eight_extension_headers_are_followed_and_a_ninth_is_too_many() -> Result<()> {
    let chain = |count| {
        let header = Extension::new(Extension::DESTINATION);
        let chained =
            (0..count).fold(v6(Ipv6::default()), |frame, _| frame.extension(header.clone()));
        chained.tcp(Tcp::default())
    };
    OPEN.table([
        legal("seven", chain(7)),
        legal("eight", chain(8)),
        malformed("nine", chain(9), Reason::Ipv6ChainTooLong),
        malformed("twenty", chain(20), Reason::Ipv6ChainTooLong),
    ])
}

#[test]
fn extension_headers_end_where_every_hook_can_read() -> Result<()> {
    let padded = |bytes: usize| {
        let header =
            Extension { body: vec![0; bytes - 2], ..Extension::new(Extension::DESTINATION) };
        v6(Ipv6::default()).extension(header).tcp(Tcp::default())
    };
    OPEN.table([
        legal("1,992 bytes, to the 2,046th", padded(1992)),
        malformed("2,000 bytes, past it", padded(2000), Reason::Ipv6ChainTooLong),
    ])
}
