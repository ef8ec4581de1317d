//! Rules that ask for this host's own address: `to` on ingress, `from` on egress.

use anyhow::Result;
use firewall_common::verdict::Reason;
use firewall_tests::packet::{Frame, Tcp, flags};

use crate::ends::{Ends, twins};
use crate::ledger::{Case, EGRESS, INGRESS, allowed, denied, drop, pass};
use crate::shared::Shared;

static TWO: Shared = Shared::new(
    "groups:
  front: [192.0.2.10, \"2001:db8:1::10\"]
  back:  [192.0.2.128/25, \"2001:db8:1:1::/64\"]
  clients: [198.51.100.0/24, \"2001:db8:2::/64\"]
services: { http: { tcp: 80 }, app: { tcp: 8090 } }
ingress:
  deny:
    - { name: not-back, from: clients, to: back, service: app }
  allow:
    - { name: front-http, from: any, to: front, service: http }
    - { name: app, from: any, service: app }
egress:
  allow:
    - { name: from-back, from: back, to: any, service: app }
",
);

fn front(ends: Ends) -> Ends {
    ends.to([192, 0, 2, 10], "2001:db8:1::10")
}

fn back(ends: Ends) -> Ends {
    ends.to([192, 0, 2, 200], "2001:db8:1:1::5")
}

fn other(ends: Ends) -> Ends {
    ends.to([192, 0, 2, 11], "2001:db8:1::11")
}

fn arrives(ends: Ends, port: u16) -> Frame {
    ends.arrives().tcp(Tcp::between(40_000, port))
}

#[test]
fn an_ingress_rule_holds_for_the_address_it_names() -> Result<()> {
    TWO.table(twins(|ends| {
        let no = || drop(Reason::DefaultDrop);
        [
            Case::new(
                "its address",
                INGRESS,
                arrives(front(ends), 80),
                allowed("front-http").opens(),
            ),
            Case::new("another", INGRESS, arrives(other(ends), 80), no()),
            Case::new("its address, another port", INGRESS, arrives(front(ends), 81), no()),
            Case::new(
                "a rule for all of them",
                INGRESS,
                arrives(other(ends), 8090),
                allowed("app").opens(),
            ),
            Case::new("denied there", INGRESS, arrives(back(ends), 8090), denied("not-back")),
        ]
    }))
}

#[test]
fn an_egress_rule_holds_for_the_address_it_names() -> Result<()> {
    TWO.table(twins(|ends| {
        let leaves = |ends: Ends| ends.leaves().tcp(Tcp::between(40_000, 8090));
        [
            Case::new("its address", EGRESS, leaves(back(ends)), allowed("from-back").opens()),
            Case::new("another", EGRESS, leaves(front(ends)), drop(Reason::DefaultDrop)),
        ]
    }))
}

#[test]
fn the_reversed_look_up_asks_for_the_address_too() -> Result<()> {
    TWO.table(twins(|ends| {
        let answer = |ends: Ends, port| {
            ends.leaves().tcp(Tcp { flags: flags::ACK, ..Tcp::between(port, 40_000) })
        };
        [
            Case::new("of the address", EGRESS, answer(front(ends), 80), pass(Reason::Established)),
            Case::new("of another", EGRESS, answer(other(ends), 80), drop(Reason::DefaultDrop)),
            Case::new(
                "where it is denied",
                EGRESS,
                answer(back(ends), 8090),
                drop(Reason::DefaultDrop),
            ),
        ]
    }))
}
