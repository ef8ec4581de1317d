//! The link layer: which EtherTypes pass, and which tags a rule sees.

use anyhow::Result;
use firewall_common::verdict::Reason;
use firewall_tests::packet::{Arp, Ethernet, Frame, Ipv4, Layer, Tcp, Vlan};

use crate::ends::twins;
use crate::ledger::{Case, EGRESS, EVERYWHERE, INGRESS, allowed, denied, drop, pass};
use crate::shared::Shared;

static COMMON: Shared = Shared::new("default: { ingress: drop, egress: drop }\n");

fn other(ethertype: u16) -> Frame {
    let header = Ethernet { ethertype: Some(ethertype), ..Ethernet::default() };
    Frame::ethernet_with(header).payload([0; 46])
}

#[test]
fn arp_passes_both_ways_tagged_or_not() -> Result<()> {
    let arp = || Frame::ethernet().arp(Arp::default());
    let answer = Arp { operation: 2, ..Arp::default() };
    COMMON.table([
        Case::new("a question", EVERYWHERE, arp(), pass(Reason::Arp)),
        Case::new("padded", EVERYWHERE, arp().padded(), pass(Reason::Arp)),
        Case::new("an answer", EVERYWHERE, Frame::ethernet().arp(answer), pass(Reason::Arp)),
        Case::new(
            "tagged",
            EVERYWHERE,
            Frame::ethernet().vlan(5).arp(Arp::default()),
            pass(Reason::Arp),
        ),
        Case::new("cut short", EVERYWHERE, arp().truncated(15), pass(Reason::Arp)),
    ])
}

#[test]
fn link_protocols_of_the_list_pass_and_others_do_not() -> Result<()> {
    let listed = [0x8863, 0x8864, 0x888e, 0x8809, 0x88e5, 0x88cc, 0x88f7, 0x0026, 0x0000, 0x05ff];
    let others = [0x0600, 0x0800 - 1, 0x0805, 0x8035, 0x86dc, 0x86de, 0x88b5, 0x9000, 0xffff];
    let passing = listed.map(|kind| {
        Case::new(format!("{kind:#06x}"), EVERYWHERE, other(kind), pass(Reason::NonIp))
    });
    let dropped = others.map(|kind| {
        Case::new(format!("{kind:#06x}"), EVERYWHERE, other(kind), drop(Reason::NonIpDrop))
    });
    COMMON.table(passing.into_iter().chain(dropped))
}

#[test]
fn every_ethertype_passes_if_the_policy_says_so() -> Result<()> {
    static ALL: Shared = Shared::new("baseline: { host: true, non-ip: all }\n");
    let case =
        |kind| Case::new(format!("{kind:#06x}"), EVERYWHERE, other(kind), pass(Reason::NonIp));
    ALL.table([0x0600, 0x0805, 0x88b5, 0x9000, 0xffff].map(case))
}

#[test]
fn ip_behind_up_to_two_tags_is_judged_like_any_other() -> Result<()> {
    static WEB: Shared = Shared::new(
        "services: { http: { tcp: 80 } }
ingress: { allow: [{ name: web, from: any, service: http }] }
",
    );
    let tag = |protocol, id| Layer::Vlan(Vlan { protocol, id, ..Vlan::default() });
    let tagged = |tags: &[Layer], port: u16| {
        let frame = tags.iter().fold(Frame::ethernet(), |frame, tag| frame.with(tag.clone()));
        frame.ipv4(Ipv4::default()).tcp(Tcp::between(40_000, port))
    };
    let tags = [
        ("no tag", vec![]),
        ("a tag", vec![tag(0x8100, 5)]),
        ("a priority tag", vec![tag(0x8100, 0)]),
        ("two tags", vec![tag(0x8100, 5), tag(0x8100, 6)]),
        ("a service tag and a customer tag", vec![tag(0x88a8, 5), tag(0x8100, 6)]),
    ];
    WEB.table(tags.iter().flat_map(|(what, tags)| {
        [
            Case::new(*what, INGRESS, tagged(tags, 80), allowed("web").opens()),
            Case::new(*what, INGRESS, tagged(tags, 81), drop(Reason::DefaultDrop)),
        ]
    }))
}

#[test]
fn a_rule_asks_for_the_outer_tag() -> Result<()> {
    static VLAN: Shared = Shared::new(
        "services: { http: { tcp: 80 }, app: { tcp: 8090 } }
ingress:
  deny: [{ name: not-there, from: any, service: app, vlan: [42] }]
  allow:
    - { name: on-42, from: any, service: http, vlan: [42, 4094] }
    - { name: elsewhere, from: any, service: app }
egress:
  allow: [{ name: out-42, to: any, service: app, vlan: [42] }]
",
    );
    VLAN.table(twins(|ends| {
        let arrives = |tags: &[u16], port| {
            let frame = tags.iter().fold(Frame::ethernet(), |frame, tag| frame.vlan(*tag));
            frame.ip(ends.client, ends.server).tcp(Tcp::between(40_000, port))
        };
        let leaves = |tags: &[u16], port| {
            let frame = tags.iter().fold(Frame::ethernet(), |frame, tag| frame.vlan(*tag));
            frame.ip(ends.server, ends.client).tcp(Tcp::between(40_000, port))
        };
        let no = || drop(Reason::DefaultDrop);
        [
            Case::new("its tag", INGRESS, arrives(&[42], 80), allowed("on-42").opens()),
            Case::new("its other tag", INGRESS, arrives(&[4094], 80), allowed("on-42").opens()),
            Case::new("the outer of two", INGRESS, arrives(&[42, 7], 80), allowed("on-42").opens()),
            Case::new("the inner of two", INGRESS, arrives(&[7, 42], 80), no()),
            Case::new("another tag", INGRESS, arrives(&[43], 80), no()),
            Case::new("no tag", INGRESS, arrives(&[], 80), no()),
            Case::new("denied on its tag", INGRESS, arrives(&[42], 8090), denied("not-there")),
            Case::new(
                "not denied elsewhere",
                INGRESS,
                arrives(&[43], 8090),
                allowed("elsewhere").opens(),
            ),
            Case::new("right tag, wrong port", INGRESS, arrives(&[42], 42), no()),
            Case::new("out by its tag", EGRESS, leaves(&[42], 8090), allowed("out-42").opens()),
            Case::new("out untagged", EGRESS, leaves(&[], 8090), no()),
        ]
    }))
}

#[test]
fn a_reply_is_not_asked_for_its_tag() -> Result<()> {
    static VLAN: Shared = Shared::new(
        "services: { http: { tcp: 80 } }
ingress: { allow: [{ name: on-42, from: any, service: http, vlan: [42] }] }
",
    );
    VLAN.table(twins(|ends| {
        let answer = Tcp { flags: 0x12, ..Tcp::between(80, 40_000) };
        [Case::new("untagged", EGRESS, ends.leaves().tcp(answer), pass(Reason::Established))]
    }))
}
