//! Broadcast and multicast datagrams that nobody asked for are dropped under a
//! name of their own, as every segment is full of them.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use firewall_common::verdict::Reason;
use firewall_tests::packet::{Frame, Ipv4, Tcp, Udp};

use crate::ends::{V4, V6};
use crate::ledger::{Case, EGRESS, INGRESS, allowed, denied, drop};
use crate::shared::Shared;

static QUIET: Shared = Shared::new(
    "services: { mdns: { udp: 5353 }, ssdp: { udp: 1900 } }
ingress:
  deny: [{ name: no-ssdp, from: any, service: ssdp }]
  allow: [{ name: mdns, from: [198.51.100.20, \"2001:db8:2::20\"], service: mdns }]
",
);

fn to(destination: &str, port: u16) -> Result<Frame> {
    let destination: IpAddr = destination.parse()?;
    let client = if destination.is_ipv4() { V4.client } else { V6.client };
    Ok(Frame::ethernet().ip(client, destination).udp(Udp::between(40_000, port)))
}

#[test]
fn datagrams_to_a_group_are_noise() -> Result<()> {
    let noise = [
        "224.0.0.251",
        "239.255.255.250",
        "224.0.0.0",
        "239.255.255.255",
        "255.255.255.255",
        "ff02::fb",
        "ff0e::1",
    ];
    for destination in noise {
        QUIET.table([Case::new(
            destination,
            INGRESS,
            to(destination, 138)?,
            drop(Reason::Noise),
        )])?;
    }
    for destination in ["223.255.255.255", "240.0.0.1", "192.0.2.10", "fe80::1", "2001:db8:1::10"] {
        QUIET.table([Case::new(
            destination,
            INGRESS,
            to(destination, 138)?,
            drop(Reason::DefaultDrop),
        )])?;
    }
    Ok(())
}

#[test]
fn what_a_rule_says_of_a_group_holds() -> Result<()> {
    for group in ["224.0.0.251", "ff02::fb"] {
        QUIET.table([
            Case::new(group, INGRESS, to(group, 5353)?, allowed("mdns")),
            Case::new(group, INGRESS, to(group, 1900)?, denied("no-ssdp")),
        ])?;
    }
    Ok(())
}

#[test]
fn only_datagrams_and_only_on_their_way_in_are_noise() -> Result<()> {
    let group = Ipv4Addr::new(224, 0, 0, 251);
    let tcp = Frame::ethernet().ip(V4.client, group.into()).tcp(Tcp::between(40_000, 138));
    let vrrp =
        Frame::ethernet().ipv4(Ipv4 { destination: group, protocol: Some(112), ..Ipv4::default() });
    QUIET.table([
        Case::new("TCP", INGRESS, tcp, drop(Reason::DefaultDrop)),
        Case::new("VRRP", INGRESS, vrrp.payload([0; 8]), drop(Reason::DefaultDrop)),
        Case::new("out", EGRESS, to("224.0.0.251", 138)?, drop(Reason::DefaultDrop)),
    ])
}
