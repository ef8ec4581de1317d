//! Addresses that no packet on a wire can have, RFC 6890 and RFC 4291.

use anyhow::Result;
use firewall_common::verdict::Reason;
use firewall_tests::packet::{Frame, Icmp, Ipv4, Ipv6, Tcp, Udp};

use super::{OPEN, legal, malformed, tcp, udp, v4, v6};
use crate::ends::{Ends, twins};

#[test]
fn a_source_that_no_packet_can_have_is_malformed() -> Result<()> {
    let from4 = |source: [u8; 4]| Ipv4 { source: source.into(), ..Ipv4::default() };
    let from6 =
        |source: &str| -> Result<Ipv6> { Ok(Ipv6 { source: source.parse()?, ..Ipv6::default() }) };
    let bad4 = [
        [127, 0, 0, 1],
        [127, 9, 9, 9],
        [224, 0, 0, 1],
        [239, 1, 1, 1],
        [255; 4],
        [0, 0, 0, 0],
        [0, 1, 2, 3],
    ];
    for source in bad4 {
        let what = format!("{source:?}");
        let frame = v4(from4(source)).tcp(Tcp::default());
        OPEN.table([malformed(&what, frame, Reason::MalformedSource)])?;
    }
    for source in
        [[1, 0, 0, 1], [10, 0, 0, 1], [169, 254, 1, 1], [240, 0, 0, 1], [223, 255, 255, 255]]
    {
        OPEN.table([legal(&format!("{source:?}"), v4(from4(source)).tcp(Tcp::default()))])?;
    }
    for source in ["::1", "ff02::1", "::"] {
        let frame = v6(from6(source)?).tcp(Tcp::default());
        OPEN.table([malformed(source, frame, Reason::MalformedSource)])?;
    }
    for source in ["fe80::1", "::2", "fd00::1", "::ffff:10.0.0.1"] {
        OPEN.table([legal(source, v6(from6(source)?).tcp(Tcp::default()))])?;
    }
    let asks = |port| v4(from4([0; 4])).udp(Udp::between(port, 9));
    OPEN.table([
        legal("0.0.0.0 asks from port 68", asks(68)),
        malformed("0.0.0.0 from another port", asks(69), Reason::MalformedSource),
        legal("`::` speaks ICMPv6", v6(from6("::")?).icmpv6(Icmp::new(200, 0))),
        malformed("`::` speaks UDP", v6(from6("::")?).udp(Udp::default()), Reason::MalformedSource),
    ])
}

#[test]
fn a_destination_that_no_packet_can_have_is_malformed() -> Result<()> {
    let to4 = |destination: [u8; 4]| {
        v4(Ipv4 { destination: destination.into(), ..Ipv4::default() }).tcp(Tcp::default())
    };
    let to6 = |destination: &str| -> Result<Frame> {
        let header = Ipv6 { destination: destination.parse()?, ..Ipv6::default() };
        Ok(v6(header).tcp(Tcp::default()))
    };
    let reason = Reason::MalformedDestination;
    OPEN.table([
        malformed("127.0.0.1", to4([127, 0, 0, 1]), reason),
        malformed("0.0.0.0", to4([0; 4]), reason),
        malformed("0.1.2.3", to4([0, 1, 2, 3]), reason),
        legal("255.255.255.255", to4([255; 4])),
        legal("224.0.0.1", to4([224, 0, 0, 1])),
        malformed("::1", to6("::1")?, reason),
        malformed("::", to6("::")?, reason),
        legal("ff02::1", to6("ff02::1")?),
        legal("::2", to6("::2")?),
    ])
}

#[test]
fn a_packet_from_its_own_destination_is_a_land_attack() -> Result<()> {
    OPEN.table(twins(|ends| {
        let land = Ends { client: ends.server, server: ends.server };
        [
            malformed("TCP", tcp(land, Tcp::between(80, 80)), Reason::MalformedLand),
            malformed("UDP", udp(land, Udp::between(7, 19)), Reason::MalformedLand),
            legal("one address apart", tcp(ends, Tcp::between(80, 80))),
        ]
    }))
}
