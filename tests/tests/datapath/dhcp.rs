//! Baseline: this host as a DHCP client, both families, both hooks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use firewall_common::verdict::Reason;
use firewall_tests::packet::{Frame, Tcp, Udp};

use crate::ledger::{Case, EGRESS, EVERYWHERE, INGRESS, drop, pass};
use crate::shared::{SITE, Shared};

fn datagram(source: impl Into<IpAddr>, destination: impl Into<IpAddr>, ports: (u16, u16)) -> Frame {
    Frame::ethernet()
        .ip(source.into(), destination.into())
        .udp(Udp::between(ports.0, ports.1))
        .payload([1; 240])
}

const NOBODY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const EVERYBODY: Ipv4Addr = Ipv4Addr::BROADCAST;
const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

#[test]
fn a_client_asks_and_is_answered_over_ipv4() -> Result<()> {
    let yes = || pass(Reason::Dhcp);
    SITE.table([
        Case::new("discover", EGRESS, datagram(NOBODY, EVERYBODY, (68, 67)), yes()),
        Case::new("renew", EGRESS, datagram(HOST, SERVER, (68, 67)), yes()),
        Case::new("offer", INGRESS, datagram(SERVER, EVERYBODY, (67, 68)), yes()),
        Case::new("acknowledge", INGRESS, datagram(SERVER, HOST, (67, 68)), yes()),
    ])
}

#[test]
fn a_client_asks_and_is_answered_over_ipv6() -> Result<()> {
    let host: Ipv6Addr = "fe80::10".parse()?;
    let server: Ipv6Addr = "fe80::1".parse()?;
    let afar: Ipv6Addr = "2001:db8::1".parse()?;
    let agents: Ipv6Addr = "ff02::1:2".parse()?;
    SITE.table([
        Case::new("solicit", EGRESS, datagram(host, agents, (546, 547)), pass(Reason::Dhcp)),
        Case::new("renew by unicast", EGRESS, datagram(host, afar, (546, 547)), pass(Reason::Dhcp)),
        Case::new("advertise", INGRESS, datagram(server, host, (547, 546)), pass(Reason::Dhcp)),
        Case::new(
            "from afar",
            INGRESS,
            datagram(afar, host, (547, 546)),
            drop(Reason::DefaultDrop),
        ),
    ])
}

#[test]
fn nobody_may_use_this_host_as_a_server() -> Result<()> {
    let no = || drop(Reason::DefaultDrop);
    let host: Ipv6Addr = "fe80::10".parse()?;
    let other: Ipv6Addr = "fe80::1".parse()?;
    SITE.table([
        Case::new("a question in", INGRESS, datagram(SERVER, HOST, (68, 67)), no()),
        Case::new(
            "a question to everybody in",
            INGRESS,
            datagram(NOBODY, EVERYBODY, (68, 67)),
            drop(Reason::Noise),
        ),
        Case::new("an answer out", EGRESS, datagram(HOST, SERVER, (67, 68)), no()),
        Case::new("a question in, IPv6", INGRESS, datagram(other, host, (546, 547)), no()),
        Case::new("an answer out, IPv6", EGRESS, datagram(host, other, (547, 546)), no()),
        Case::new("half of the ports", INGRESS, datagram(SERVER, HOST, (67, 67)), no()),
        Case::new("the other half", INGRESS, datagram(SERVER, HOST, (68, 68)), no()),
        Case::new("ports of the other family", INGRESS, datagram(SERVER, HOST, (547, 546)), no()),
        Case::new(
            "right ports, wrong protocol",
            INGRESS,
            Frame::ethernet().ip(SERVER.into(), HOST.into()).tcp(Tcp::between(67, 68)),
            no(),
        ),
    ])
}

#[test]
fn a_host_with_fixed_addresses_needs_none_of_it() -> Result<()> {
    static FIXED: Shared = Shared::new("baseline: { host: true, dhcp: \"off\" }\n");
    FIXED.table([
        Case::new("renew", EGRESS, datagram(HOST, SERVER, (68, 67)), drop(Reason::DefaultDrop)),
        Case::new(
            "acknowledge",
            INGRESS,
            datagram(SERVER, HOST, (67, 68)),
            drop(Reason::DefaultDrop),
        ),
        Case::new(
            "from nobody, either way",
            EVERYWHERE,
            datagram(NOBODY, SERVER, (69, 67)),
            drop(Reason::MalformedSource),
        ),
    ])
}
