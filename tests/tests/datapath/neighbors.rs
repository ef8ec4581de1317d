//! Baseline: neighbour, router and multicast listener discovery, IGMP.

use anyhow::Result;
use firewall_common::verdict::Reason;
use firewall_tests::packet::{Extension, Frame, Icmp, Ipv4, Ipv6};

use crate::ledger::{Case, EGRESS, EVERYWHERE, INGRESS, drop, pass};
use crate::shared::{SITE, Shared};

/// An ICMPv6 message by type, source and hop limit.
fn message(kind: u8, source: &str, hop_limit: u8) -> Frame {
    let source = source.parse().unwrap_or(std::net::Ipv6Addr::LOCALHOST);
    let header = Ipv6 { source, hop_limit, ..Ipv6::default() };
    Frame::ethernet().ipv6(header).icmpv6(Icmp::new(kind, 0)).payload([0; 20])
}

const NEAR: &str = "fe80::1";
const FAR: &str = "2001:db8:2::20";

#[test]
fn neighbour_discovery_passes_if_no_router_forwarded_it() -> Result<()> {
    let nd = || pass(Reason::NeighborDiscovery);
    let kinds = [135, 136, 141, 142, 148, 149];
    SITE.table(kinds.into_iter().flat_map(|kind| {
        [
            Case::new(format!("{kind}, hop limit 255"), EVERYWHERE, message(kind, NEAR, 255), nd()),
            Case::new(format!("{kind}, global source"), EVERYWHERE, message(kind, FAR, 255), nd()),
            Case::new(
                format!("{kind}, hop limit 254"),
                EVERYWHERE,
                message(kind, NEAR, 254),
                drop(Reason::DefaultDrop),
            ),
            Case::new(
                format!("{kind}, hop limit 0"),
                EVERYWHERE,
                message(kind, NEAR, 0),
                drop(Reason::DefaultDrop),
            ),
        ]
    }))?;
    SITE.table([Case::new(
        "duplicate address detection",
        EVERYWHERE,
        message(135, "::", 255),
        nd(),
    )])
}

#[test]
fn routers_advertise_in_and_hosts_solicit_out() -> Result<()> {
    let nd = || pass(Reason::NeighborDiscovery);
    let no = || drop(Reason::DefaultDrop);
    SITE.table([
        Case::new("RA in", INGRESS, message(134, NEAR, 255), nd()),
        Case::new(
            "RA in from the last of fe80::/10",
            INGRESS,
            message(134, "febf:ffff::1", 255),
            nd(),
        ),
        Case::new("RA in from fec0::", INGRESS, message(134, "fec0::1", 255), no()),
        Case::new("RA in from a global address", INGRESS, message(134, FAR, 255), no()),
        Case::new("RA in by a router", INGRESS, message(134, NEAR, 254), no()),
        Case::new("RA out", EGRESS, message(134, NEAR, 255), no()),
        Case::new("RS out", EGRESS, message(133, NEAR, 255), nd()),
        Case::new("RS out before there is an address", EGRESS, message(133, "::", 255), nd()),
        Case::new("RS out by a router", EGRESS, message(133, NEAR, 64), no()),
        Case::new("RS in", INGRESS, message(133, NEAR, 255), no()),
        Case::new("a redirect in", INGRESS, message(137, NEAR, 255), no()),
        Case::new("node information", INGRESS, message(139, NEAR, 255), no()),
    ])
}

#[test]
fn listeners_speak_from_the_link_only() -> Result<()> {
    let report = |kind, source: &str| {
        let source = source.parse().unwrap_or(std::net::Ipv6Addr::LOCALHOST);
        let header = Ipv6 { source, hop_limit: 1, ..Ipv6::default() };
        let alert =
            Extension { body: vec![5, 2, 0, 0, 1, 0], ..Extension::new(Extension::HOP_BY_HOP) };
        Frame::ethernet().ipv6(header).extension(alert).icmpv6(Icmp::new(kind, 0)).payload([0; 20])
    };
    let kinds = [130, 131, 132, 143, 151, 152, 153];
    SITE.table(kinds.into_iter().flat_map(|kind| {
        [
            Case::new(
                format!("{kind} from the link"),
                EVERYWHERE,
                report(kind, NEAR),
                pass(Reason::Mld),
            ),
            Case::new(
                format!("{kind} from nobody yet"),
                EVERYWHERE,
                report(kind, "::"),
                pass(Reason::Mld),
            ),
            Case::new(
                format!("{kind} from afar"),
                EVERYWHERE,
                report(kind, FAR),
                drop(Reason::DefaultDrop),
            ),
        ]
    }))
}

#[test]
fn igmp_passes_on_the_link() -> Result<()> {
    let message = |source: [u8; 4], destination: [u8; 4], protocol, ttl| {
        let options = vec![0x94, 4, 0, 0];
        let header = Ipv4 {
            protocol: Some(protocol),
            ttl,
            options,
            ..Ipv4::between(source.into(), destination.into())
        };
        Frame::ethernet().ipv4(header).payload([0x16, 0, 0, 0, 224, 0, 0, 251])
    };
    let igmp = |source, destination, protocol| message(source, destination, protocol, 1);
    let host = [198, 51, 100, 20];
    SITE.table([
        Case::new("a report", EVERYWHERE, igmp(host, [224, 0, 0, 22], 2), pass(Reason::Igmp)),
        Case::new(
            "a querier without an address",
            EVERYWHERE,
            igmp([0; 4], [224, 0, 0, 1], 2),
            pass(Reason::Igmp),
        ),
        Case::new(
            "the last of 224.0.0.0/24",
            EVERYWHERE,
            igmp(host, [224, 0, 0, 255], 2),
            pass(Reason::Igmp),
        ),
        Case::new(
            "a report of version 2 goes to the group",
            EVERYWHERE,
            igmp(host, [239, 255, 255, 255], 2),
            pass(Reason::Igmp),
        ),
        Case::new(
            "one that a router may have forwarded",
            EVERYWHERE,
            message(host, [224, 0, 1, 0], 2, 2),
            drop(Reason::DefaultDrop),
        ),
        Case::new("a host", EVERYWHERE, igmp(host, [192, 0, 2, 10], 2), drop(Reason::DefaultDrop)),
        Case::new(
            "VRRP is no IGMP",
            EVERYWHERE,
            igmp(host, [224, 0, 0, 18], 112),
            drop(Reason::DefaultDrop),
        ),
    ])
}

#[test]
fn without_the_baseline_rules_decide() -> Result<()> {
    static BARE: Shared = Shared::built(|| {
        let mut policy = crate::common::policy::read(
            "services: { nd: { icmpv6: [135, 136] } }\n\
            ingress: { allow: [{ name: nd, from: any, service: nd }] }\n",
        )?;
        policy.baseline.host = false;
        crate::common::policy::compiled(&policy, firewall_policy::compile::Budget::USUAL)
    });
    BARE.table([
        Case::new("a rule for it", INGRESS, message(135, NEAR, 255), crate::ledger::allowed("nd")),
        Case::new(
            "whatever the hop limit",
            INGRESS,
            message(136, NEAR, 1),
            crate::ledger::allowed("nd"),
        ),
        Case::new("no rule for it", INGRESS, message(134, NEAR, 255), drop(Reason::DefaultDrop)),
        Case::new("MLD", EVERYWHERE, message(143, NEAR, 1), drop(Reason::DefaultDrop)),
        Case::new(
            "ARP",
            EVERYWHERE,
            Frame::ethernet().arp(firewall_tests::packet::Arp::default()),
            drop(Reason::NonIpDrop),
        ),
    ])
}
