//! Answers of this host to what its ingress policy admits: the reversed look-up.
//!
//! Nothing is kept of an inbound connection, so nothing from outside writes a flow.

use anyhow::Result;
use firewall_common::verdict::Reason;
use firewall_tests::packet::{Frame, Tcp, Udp, flags};

use crate::ends::{Ends, twins};
use crate::ledger::{Case, EGRESS, INGRESS, allowed, denied, drop, pass};
use crate::shared::{SITE, abuse, stranger, upstream};

use flags::{ACK, FIN, PSH, RST, SYN};

/// A segment of this host's web server to a client.
fn served(ends: Ends, flags: u8) -> Frame {
    ends.leaves().tcp(Tcp { flags, ..Tcp::between(80, 40_000) })
}

#[test]
fn answers_of_this_host_pass_by_the_reversed_look_up() -> Result<()> {
    let all = [
        ("SYN ACK", SYN | ACK),
        ("ACK", ACK),
        ("data", ACK | PSH),
        ("FIN ACK", FIN | ACK),
        ("RST ACK", RST | ACK),
        // Of a segment that carried ACK: RFC 9293 section 3.10.7.1.
        ("RST", RST),
    ];
    SITE.table(twins(|ends| {
        let answers = all.map(|(what, flags)| {
            Case::new(what, EGRESS, served(ends, flags), pass(Reason::Established))
        });
        let syslog = |ends: Ends| ends.leaves().udp(Udp::between(514, 40_000));
        let gre = ends.leaves_as(47).payload([0; 8]);
        let others = [
            Case::new(
                "a bare SYN is no answer",
                EGRESS,
                served(ends, SYN),
                drop(Reason::DefaultDrop),
            ),
            Case::new(
                "nor is a RST to whom it is not open",
                EGRESS,
                served(abuse(ends), RST),
                drop(Reason::DefaultDrop),
            ),
            Case::new("UDP", EGRESS, syslog(ends), pass(Reason::Established)),
            Case::new(
                "UDP to whom it is not open",
                EGRESS,
                syslog(stranger(ends)),
                drop(Reason::DefaultDrop),
            ),
            Case::new(
                "to whom ingress denies all",
                EGRESS,
                served(abuse(ends), ACK),
                drop(Reason::DefaultDrop),
            ),
            Case::new("a protocol without ports", EGRESS, gre, pass(Reason::Established)),
        ];
        answers.into_iter().chain(others).collect::<Vec<_>>()
    }))
}

#[test]
fn no_egress_deny_cuts_the_answers_of_an_admitted_connection() -> Result<()> {
    SITE.table(twins(|ends| {
        let ends = ends.from([169, 254, 169, 254], "fd00:ec2::254");
        let opens = ends.leaves().tcp(Tcp::between(40_000, 80));
        [
            Case::new(
                "the web server answers",
                EGRESS,
                served(ends, ACK),
                pass(Reason::Established),
            ),
            Case::new("this host opens", EGRESS, opens, denied("no-metadata")),
        ]
    }))
}

#[test]
fn an_answer_that_a_rule_admits_too_opens_no_flow() -> Result<()> {
    // A client that calls from port 8090 looks like an upstream server.
    SITE.story(twins(|ends| {
        let ends = upstream(ends);
        let frame = |flags| ends.leaves().tcp(Tcp { flags, ..Tcp::between(80, 8090) });
        let unasked = ends.arrives().tcp(Tcp { flags: ACK, ..Tcp::between(8090, 80) });
        [
            Case::new("counted by the rule", EGRESS, frame(SYN | ACK), allowed("app")),
            Case::new("admitted by the ingress rule", INGRESS, unasked, allowed("web")),
            Case::new("a bare SYN opens", EGRESS, frame(SYN), allowed("app").opens()),
        ]
    }))
}

#[test]
fn nothing_from_outside_writes_a_flow() -> Result<()> {
    // Every case also compares the flow tables.
    SITE.story(twins(|ends| {
        let arrives = |flags| ends.arrives().tcp(Tcp { flags, ..Tcp::between(40_000, 80) });
        [
            Case::new("a SYN", INGRESS, arrives(SYN), allowed("web").opens()),
            Case::new("an ACK", INGRESS, arrives(ACK), allowed("web")),
            Case::new(
                "UDP",
                INGRESS,
                ends.arrives().udp(Udp::between(40_000, 514)),
                allowed("logs"),
            ),
            Case::new("a ping", INGRESS, ends.echo(ends.arrives(), 1), pass(Reason::Ping)),
            Case::new("our answer", EGRESS, served(ends, SYN | ACK), pass(Reason::Established)),
            Case::new(
                "our answer to UDP",
                EGRESS,
                ends.leaves().udp(Udp::between(514, 40_000)),
                pass(Reason::Established),
            ),
            Case::new("our echo reply", EGRESS, ends.reply(ends.leaves(), 1), pass(Reason::Ping)),
        ]
    }))
}
