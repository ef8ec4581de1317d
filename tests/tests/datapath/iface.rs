//! Rules that ask for the interface. A frame put to a program comes and goes by
//! index 1, which these policies call `eth0`; `eth1` is index 2.

use anyhow::Result;
use firewall_common::verdict::Reason;
use firewall_tests::packet::{Tcp, Udp, flags};

use crate::ends::twins;
use crate::ledger::{Case, EGRESS, INGRESS, allowed, denied, drop, pass};
use crate::shared::Shared;

static TWO: Shared = Shared::new(
    "services:
  http:    { tcp: 80 }
  app:     { tcp: 8090 }
  smtp:    { tcp: 25 }
  syslog:  { udp: 514 }
  any-eth: { tcp: 9001 }
  time:    { udp: 123 }
  ike:     { udp: 500 }
ingress:
  deny:
    - { name: smtp-not-here, from: any, service: smtp, iface: eth0 }
    - { name: app-not-there, from: any, service: app, iface: eth1 }
  allow:
    - { name: here, from: any, service: http, iface: eth0 }
    - { name: there, from: any, service: syslog, iface: eth1 }
    - { name: app, from: any, service: app }
    - { name: smtp, from: any, service: smtp }
    - { name: glob, from: any, service: any-eth, iface: \"eth*\" }
    - { name: time-there, from: any, service: time, iface: eth1 }
    - { name: ike-here, from: any, service: ike, iface: eth0 }
egress:
  allow:
    - { name: out-here, to: any, service: app, iface: [eth0, eth1] }
    - { name: out-there, to: any, service: syslog, iface: eth1 }
    - { name: both, to: any, service: [time, ike] }
",
);

#[test]
fn a_rule_holds_on_its_interface() -> Result<()> {
    TWO.table(twins(|ends| {
        let tcp = |port| ends.arrives().tcp(Tcp::between(40_000, port));
        let udp = || ends.arrives().udp(Udp::between(40_000, 514));
        [
            Case::new("allowed here", INGRESS, tcp(80), allowed("here").opens()),
            Case::new("allowed elsewhere", INGRESS, udp(), drop(Reason::DefaultDrop)),
            Case::new("denied here", INGRESS, tcp(25), denied("smtp-not-here")),
            Case::new("denied elsewhere", INGRESS, tcp(8090), allowed("app").opens()),
            Case::new("by a glob", INGRESS, tcp(9001), allowed("glob").opens()),
            Case::new("right interface, wrong port", INGRESS, tcp(81), drop(Reason::DefaultDrop)),
        ]
    }))?;
    TWO.table(twins(|ends| {
        let udp = ends.leaves().udp(Udp::between(40_000, 514));
        [
            Case::new(
                "out here",
                EGRESS,
                ends.leaves().tcp(Tcp::between(40_000, 8090)),
                allowed("out-here").opens(),
            ),
            Case::new("out elsewhere", EGRESS, udp, drop(Reason::DefaultDrop)),
        ]
    }))
}

#[test]
fn an_answer_may_leave_by_any_interface() -> Result<()> {
    TWO.table(twins(|ends| {
        let answer = ends.leaves().udp(Udp::between(514, 40_000));
        let segment = ends.leaves().tcp(Tcp { flags: flags::ACK, ..Tcp::between(25, 40_000) });
        [
            Case::new("to what came by another", EGRESS, answer, pass(Reason::Established)),
            Case::new("to what one interface denies", EGRESS, segment, pass(Reason::Established)),
        ]
    }))
}

/// Both ends use one port, so that each packet could be an answer to the other.
#[test]
fn what_comes_back_needs_a_flow_where_no_rule_admits_it() -> Result<()> {
    TWO.table(twins(|ends| {
        let out = |port| ends.leaves().udp(Udp::between(port, port));
        [
            Case::new("admitted elsewhere", EGRESS, out(123), allowed("both").opens()),
            Case::new("admitted here", EGRESS, out(500), allowed("both")),
        ]
    }))?;
    TWO.table(twins(|ends| {
        let key = ends.flow(17, 123, 123);
        let back = ends.arrives().udp(Udp::between(123, 123));
        [Case::new("comes back", INGRESS, back, pass(Reason::Established)).flow(key)]
    }))
}
