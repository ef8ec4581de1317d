//! Bans, by every class of prefix length: they come before established flows and
//! rules, behind failsafe and baseline, and end by themselves.

use std::net::IpAddr;

use anyhow::Result;
use firewall_common::verdict::Reason;
use firewall_tests::packet::{Frame, Icmp, Ipv6, Tcp, flags};

use crate::ends::{Ends, V4, V6, twins};
use crate::ledger::{Case, EGRESS, INGRESS, allowed, denied, drop, pass};
use crate::shared::{SITE, abuse, upstream};

fn web(ends: Ends) -> Frame {
    ends.arrives().tcp(Tcp::between(40_000, 80))
}

/// The last address inside `network`, and the first one behind it.
fn edges(address: IpAddr, length: u32) -> [IpAddr; 2] {
    match address {
        IpAddr::V4(address) => {
            let host = u32::MAX.checked_shr(length).unwrap_or(0);
            let last = u32::from(address) | host;
            [IpAddr::V4(last.into()), IpAddr::V4(last.wrapping_add(1).into())]
        }
        IpAddr::V6(address) => {
            let host = u128::MAX.checked_shr(length).unwrap_or(0);
            let last = u128::from(address) | host;
            [IpAddr::V6(last.into()), IpAddr::V6(last.wrapping_add(1).into())]
        }
    }
}

fn by_length(ends: Ends, networks: &[&str]) -> Result<()> {
    for network in networks {
        let (address, length) = network.split_once('/').unwrap_or_default();
        let [inside, outside] = edges(address.parse()?, length.parse()?);
        let from = |client| web(Ends { client, ..ends });
        SITE.table([
            Case::new(
                format!("first of {network}"),
                INGRESS,
                from(address.parse()?),
                drop(Reason::Banned),
            )
            .ban(network),
            Case::new(format!("last of {network}"), INGRESS, from(inside), drop(Reason::Banned))
                .ban(network),
            Case::new(format!("behind {network}"), INGRESS, from(outside), allowed("web").opens())
                .ban(network),
            Case::new(format!("{network} no more"), INGRESS, from(inside), allowed("web").opens())
                .expired_ban(network),
        ])?;
    }
    Ok(())
}

#[test]
fn an_ipv4_ban_of_any_length_holds_to_its_last_address() -> Result<()> {
    by_length(
        V4,
        &[
            "128.0.0.0/2",
            "8.0.0.0/7",
            "198.0.0.0/8",
            "198.50.0.0/15",
            "198.51.0.0/16",
            "198.51.100.0/23",
            "198.51.100.0/24",
            "198.51.100.128/25",
            "198.51.100.4/31",
            "198.51.100.5/32",
        ],
    )
}

#[test]
fn an_ipv6_ban_of_any_length_holds_to_its_last_address() -> Result<()> {
    by_length(
        V6,
        &[
            "4000::/2",
            "2000::/7",
            "2001:db8::/32",
            "2001:db8:2::/48",
            "2001:db8:2::/63",
            "2001:db8:2::/64",
            "2001:db8:2::/65",
            "2001:db8:2::100/120",
            "2001:db8:2::4/126",
            "2001:db8:2::4/127",
            "2001:db8:2::5/128",
        ],
    )
}

#[test]
fn one_ban_of_many_lengths_is_enough() -> Result<()> {
    let crowd = |case: Case| {
        case.ban("10.0.0.0/8")
            .ban("198.51.99.0/24")
            .ban("198.51.100.21/32")
            .ban("fd00::/8")
            .ban("2001:db8:3::/48")
            .ban("2001:db8:2::21/128")
            .ban("2001:db8:2:1::/64")
    };
    SITE.table(twins(|ends| {
        let last = if ends.client.is_ipv4() { "198.51.0.0/16" } else { "2001:db8::/33" };
        [
            crowd(Case::new("none of them", INGRESS, web(ends), allowed("web").opens())),
            crowd(Case::new("the last", INGRESS, web(ends), drop(Reason::Banned))).ban(last),
        ]
    }))
}

#[test]
fn the_same_bits_of_the_other_family_are_not_banned() -> Result<()> {
    // c633:6414 is 198.51.100.20.
    let twin = V6.from([0; 4], "c633:6414::");
    SITE.table([
        Case::new("IPv6", INGRESS, web(twin), allowed("web").opens())
            .ban("198.51.100.20/32")
            .ban("198.51.0.0/16"),
        Case::new("IPv4", INGRESS, web(V4), allowed("web").opens())
            .ban("c633:6414::/32")
            .ban("c633::/16"),
    ])
}

#[test]
fn a_ban_cuts_flows_that_this_host_opened() -> Result<()> {
    SITE.table(twins(|ends| {
        let ends = upstream(ends);
        let answer = Tcp { flags: flags::ACK, ..Tcp::between(8090, 40_000) };
        let case = |expect| {
            Case::new("an answer", INGRESS, ends.arrives().tcp(answer.clone()), expect)
                .flow(ends.flow(6, 40_000, 8090))
        };
        [
            case(pass(Reason::Established)),
            case(drop(Reason::Banned)).ban("203.0.113.80/32").ban("2001:db8:9::80/128"),
        ]
    }))
}

#[test]
fn a_ban_comes_before_deny_and_default() -> Result<()> {
    SITE.table(twins(|ends| {
        let everybody = |case: Case| case.ban("198.51.100.0/24").ban("2001:db8:2::/64");
        let other = ends.arrives().tcp(Tcp::between(9, 9));
        [
            Case::new("denied", INGRESS, web(abuse(ends)), denied("no-abuse")),
            everybody(Case::new(
                "denied and banned",
                INGRESS,
                web(abuse(ends)),
                drop(Reason::Banned),
            )),
            everybody(Case::new("no rule, and banned", INGRESS, other, drop(Reason::Banned))),
        ]
    }))
}

#[test]
fn a_ban_holds_on_ingress_only() -> Result<()> {
    SITE.table(twins(|ends| {
        let ends = upstream(ends);
        let frame = ends.leaves().tcp(Tcp::between(40_000, 8090));
        [Case::new("out", EGRESS, frame, allowed("app").opens())
            .ban("203.0.113.80/32")
            .ban("2001:db8:9::80/128")]
    }))
}

#[test]
fn the_baseline_comes_before_bans() -> Result<()> {
    let banned = |case: Case| case.ban("198.51.100.20/32").ban("2001:db8:2::20/128");
    SITE.table(twins(|ends| {
        [banned(Case::new("a ping", INGRESS, ends.echo(ends.arrives(), 7), pass(Reason::Ping)))]
    }))?;
    let near = Ipv6 { hop_limit: 255, ..Ipv6::default() };
    let solicit = Frame::ethernet().ipv6(near).icmpv6(Icmp::new(135, 0)).payload([0; 16]);
    SITE.table([banned(Case::new("ND", INGRESS, solicit, pass(Reason::NeighborDiscovery)))])
}

#[test]
fn a_ban_holds_against_protocols_without_ports() -> Result<()> {
    SITE.table(twins(|ends| {
        let frame = || ends.arrives_as(47).payload([0; 8]);
        [
            Case::new("free", INGRESS, frame(), allowed("tunnel")),
            Case::new("banned", INGRESS, frame(), drop(Reason::Banned))
                .ban("198.51.100.20/32")
                .ban("2001:db8:2::20/128"),
        ]
    }))
}
