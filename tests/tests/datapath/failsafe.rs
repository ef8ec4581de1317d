//! Failsafe rules come before everything but malformed packets.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use firewall_common::verdict::Reason;
use firewall_policy::compile::{Budget, Generation};
use firewall_tests::packet::{Tcp, Udp, flags};

use crate::common::policy;
use crate::ends::{Ends, twins};
use crate::ledger::{Case, EGRESS, INGRESS, drop, pass};
use crate::shared::{SITE, Shared, bastion, stranger};

fn ssh(ends: Ends, flags: u8) -> firewall_tests::packet::Frame {
    ends.arrives().tcp(Tcp { flags, ..Tcp::between(40_000, 22) })
}

#[test]
fn the_bastion_gets_in_whoever_is_banned() -> Result<()> {
    SITE.table(twins(|ends| {
        let bastion = bastion(ends);
        let banned = |frame| {
            let expect = pass(Reason::Failsafe).by("bastion-ssh").opens();
            Case::new("banned", INGRESS, frame, expect)
        };
        [
            Case::new(
                "a SYN",
                INGRESS,
                ssh(bastion, flags::SYN),
                pass(Reason::Failsafe).by("bastion-ssh").opens(),
            ),
            Case::new(
                "later",
                INGRESS,
                ssh(bastion, flags::ACK),
                pass(Reason::Failsafe).by("bastion-ssh"),
            ),
            banned(ssh(bastion, flags::SYN)).ban("203.0.113.22/32").ban("2001:db8:9::22/128"),
            banned(ssh(bastion, flags::SYN)).ban("192.0.0.0/4").ban("2000::/3"),
            Case::new(
                "another port",
                INGRESS,
                bastion.arrives().tcp(Tcp::between(9, 23)),
                drop(Reason::DefaultDrop),
            ),
            Case::new(
                "another port, banned",
                INGRESS,
                bastion.arrives().tcp(Tcp::between(9, 80)),
                drop(Reason::Banned),
            )
            .ban("203.0.113.22/32")
            .ban("2001:db8:9::22/128"),
            Case::new(
                "the same port of UDP",
                INGRESS,
                bastion.arrives().udp(Udp::between(9, 22)),
                drop(Reason::DefaultDrop),
            ),
            Case::new(
                "somebody else",
                INGRESS,
                ssh(stranger(ends), flags::SYN),
                drop(Reason::DefaultDrop),
            ),
        ]
    }))
}

#[test]
fn what_the_failsafe_admits_is_answered_without_an_egress_rule() -> Result<()> {
    SITE.table(twins(|ends| {
        let answer = |flags| bastion(ends).leaves().tcp(Tcp { flags, ..Tcp::between(22, 40_000) });
        let syn_ack = answer(flags::SYN | flags::ACK);
        [
            Case::new("a SYN ACK", EGRESS, syn_ack, pass(Reason::Established)),
            Case::new("data", EGRESS, answer(flags::ACK | flags::PSH), pass(Reason::Established)),
            Case::new("a SYN of ours", EGRESS, answer(flags::SYN), drop(Reason::DefaultDrop)),
        ]
    }))
}

#[test]
fn an_egress_failsafe_opens_a_flow() -> Result<()> {
    let udp = |ends: Ends| bastion(ends).leaves().udp(Udp::between(40_000, 514));
    let answer = |ends: Ends| bastion(ends).arrives().udp(Udp::between(514, 40_000));
    let first = || pass(Reason::Failsafe).by("bastion-logs");
    SITE.story(twins(|ends| {
        [
            Case::new("first", EGRESS, udp(ends), first().opens()),
            Case::new("second", EGRESS, udp(ends), first()),
            Case::new("the answer", INGRESS, answer(ends), pass(Reason::Established)),
        ]
    }))
}

/// The front end refuses a deny that a failsafe makes void, so this one is built.
fn denied() -> Result<Generation> {
    let mut policy = policy::read(
        "services: { ssh: { tcp: 22 }, smtp: { tcp: 25 } }
failsafe: { ingress: [{ name: bastion, from: [198.51.100.20, \"2001:db8:2::20\"], service: ssh }] }
ingress: { deny: [{ name: no-smtp, from: any, service: smtp }] }
",
    )?;
    let deny = policy.ingress.deny.first_mut().context("a rule was written")?;
    deny.services = firewall_policy::set::ServiceSet::full();
    policy::compiled(&policy, Budget::USUAL)
}

#[test]
fn failsafe_beats_deny() -> Result<()> {
    static DENIED: Shared = Shared::built(denied);
    DENIED.table(twins(|ends| {
        let v4 = matches!(ends.client, IpAddr::V4(_));
        let other = if v4 {
            ends.from([198, 51, 100, 21], "")
        } else {
            ends.from([0; 4], "2001:db8:2::21")
        };
        [
            Case::new(
                "the bastion",
                INGRESS,
                ssh(ends, flags::SYN),
                pass(Reason::Failsafe).by("bastion").opens(),
            ),
            Case::new(
                "its neighbour",
                INGRESS,
                ssh(other, flags::SYN),
                drop(Reason::Deny).by("no-smtp"),
            ),
        ]
    }))
}
