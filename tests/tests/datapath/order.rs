//! Deny beats allow, the first allow counts, and the default is for the rest.

use anyhow::Result;
use firewall_common::verdict::Reason;
use firewall_tests::packet::{Frame, Tcp, Udp, flags};

use crate::ends::{Ends, twins};
use crate::ledger::{Case, EGRESS, INGRESS, allowed, denied, drop, pass};
use crate::shared::{Shared, stranger};

fn arrives(ends: Ends, port: u16) -> Frame {
    ends.arrives().tcp(Tcp::between(40_000, port))
}

fn leaves(ends: Ends, port: u16) -> Frame {
    ends.leaves().tcp(Tcp::between(40_000, port))
}

#[test]
fn any_deny_beats_every_allow() -> Result<()> {
    static RULES: Shared = Shared::new(
        "groups:
  clients: [198.51.100.0/24, \"2001:db8:2::/64\"]
  one:     [198.51.100.20, \"2001:db8:2::20\"]
services: { http: { tcp: 80 }, app: { tcp: 8090 }, other: { tcp: \"8000-8100\" } }
ingress:
  deny:
    - { name: not-8050-8100, from: clients, service: other }
    - { name: not-one, from: one, service: http }
  allow:
    - { name: all-http, from: any, service: http }
    - { name: clients-http, from: clients, service: http }
    - { name: app, from: any, service: app }
egress:
  deny:
    - { name: not-out, to: one, service: app }
  allow:
    - { name: out, to: any, service: app }
",
    );
    RULES.table(twins(|ends| {
        let neighbour = ends.from([198, 51, 100, 21], "2001:db8:2::21");
        let far = stranger(ends);
        [
            Case::new("a host that is denied", INGRESS, arrives(ends, 80), denied("not-one")),
            Case::new(
                "its neighbour, by the first rule",
                INGRESS,
                arrives(neighbour, 80),
                allowed("all-http").opens(),
            ),
            Case::new(
                "a range that is denied",
                INGRESS,
                arrives(neighbour, 8090),
                denied("not-8050-8100"),
            ),
            Case::new(
                "the first of the range",
                INGRESS,
                arrives(neighbour, 8000),
                denied("not-8050-8100"),
            ),
            Case::new(
                "the last of the range",
                INGRESS,
                arrives(neighbour, 8100),
                denied("not-8050-8100"),
            ),
            Case::new(
                "before the range",
                INGRESS,
                arrives(neighbour, 7999),
                drop(Reason::DefaultDrop),
            ),
            Case::new(
                "behind the range",
                INGRESS,
                arrives(neighbour, 8101),
                drop(Reason::DefaultDrop),
            ),
            Case::new(
                "to whom it is not denied",
                INGRESS,
                arrives(far, 8090),
                allowed("app").opens(),
            ),
            Case::new("out, denied", EGRESS, leaves(ends, 8090), denied("not-out")),
            Case::new("out, allowed", EGRESS, leaves(neighbour, 8090), allowed("out").opens()),
        ]
    }))
}

#[test]
fn a_closed_host_drops_what_no_rule_names() -> Result<()> {
    static CLOSED: Shared = Shared::new("default: { ingress: drop, egress: drop }\n");
    CLOSED.table(twins(|ends| {
        let no = || drop(Reason::DefaultDrop);
        [
            Case::new("in, TCP", INGRESS, arrives(ends, 80), no()),
            Case::new("in, UDP", INGRESS, ends.arrives().udp(Udp::default()), no()),
            Case::new("out, TCP", EGRESS, leaves(ends, 80), no()),
            Case::new("out, UDP", EGRESS, ends.leaves().udp(Udp::default()), no()),
        ]
    }))
}

#[test]
fn a_host_that_may_send_anything_hears_the_answers_only() -> Result<()> {
    static OUT: Shared = Shared::new("default: { ingress: drop, egress: allow }\n");
    OUT.story(twins(|ends| {
        let answer = |flags| ends.arrives().tcp(Tcp { flags, ..Tcp::between(443, 40_000) });
        [
            Case::new("a stray segment", INGRESS, answer(flags::ACK), drop(Reason::TcpNoFlow)),
            Case::new("this host opens", EGRESS, leaves(ends, 443), pass(Reason::DefaultAllow)),
            Case::new(
                "its answer",
                INGRESS,
                answer(flags::SYN | flags::ACK),
                pass(Reason::Established),
            ),
            Case::new("a call from there", INGRESS, answer(flags::SYN), drop(Reason::DefaultDrop)),
        ]
    }))
}

#[test]
fn a_host_that_hears_anything_answers_only() -> Result<()> {
    static IN: Shared = Shared::new("default: { ingress: allow, egress: drop }\n");
    IN.story(twins(|ends| {
        let answer = |flags| ends.leaves().tcp(Tcp { flags, ..Tcp::between(443, 40_000) });
        [
            Case::new("a call", INGRESS, arrives(ends, 443), pass(Reason::DefaultAllow)),
            Case::new(
                "its answer",
                EGRESS,
                answer(flags::SYN | flags::ACK),
                pass(Reason::Established),
            ),
            Case::new("a call of ours", EGRESS, answer(flags::SYN), drop(Reason::DefaultDrop)),
        ]
    }))
}

#[test]
fn deny_and_allow_stand_out_of_an_open_default() -> Result<()> {
    static OPEN: Shared = Shared::new(
        "default: { ingress: allow, egress: allow }
services: { http: { tcp: 80 }, smtp: { tcp: 25 } }
ingress:
  deny:  [{ name: no-smtp, from: any, service: smtp }]
  allow: [{ name: web, from: any, service: http }]
egress:
  deny:  [{ name: no-spam, to: any, service: smtp }]
",
    );
    OPEN.table(twins(|ends| {
        [
            Case::new("a rule", INGRESS, arrives(ends, 80), allowed("web").opens()),
            Case::new("no rule", INGRESS, arrives(ends, 81), pass(Reason::DefaultAllow)),
            Case::new("denied", INGRESS, arrives(ends, 25), denied("no-smtp")),
            Case::new("denied, out", EGRESS, leaves(ends, 25), denied("no-spam")),
            Case::new("no rule, out", EGRESS, leaves(ends, 26), pass(Reason::DefaultAllow)),
        ]
    }))
}
