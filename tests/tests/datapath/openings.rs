//! Openings: what would be dropped by default comes in for a while, and is answered;
//! what a deny or a ban drops does not.

use anyhow::Result;
use firewall_common::service::ServiceIndex;
use firewall_common::verdict::Reason;
use firewall_tests::packet::{Frame, Icmp, Tcp, Udp, flags};

use crate::ends::{Ends, V4, twins};
use crate::ledger::{Case, EGRESS, INGRESS, allowed, denied, drop, pass};
use crate::shared::{SITE, abuse, stranger, upstream};

use flags::{ACK, SYN};

const PORT: (u32, u32) = (8080, 8080);
const UDP: (u32, u32) = (ServiceIndex::UDP + 8080, ServiceIndex::UDP + 8080);

fn comes(ends: Ends, flags: u8) -> Frame {
    ends.arrives().tcp(Tcp { flags, ..Tcp::between(40_000, 8080) })
}

fn leaves(ends: Ends, flags: u8) -> Frame {
    ends.leaves().tcp(Tcp { flags, ..Tcp::between(8080, 40_000) })
}

/// The whole network of an end's client.
fn network(ends: Ends) -> String {
    format!("{}/{}", ends.client, if ends.client.is_ipv4() { 32 } else { 128 })
}

#[test]
fn what_no_rule_names_comes_in_while_it_is_open() -> Result<()> {
    SITE.table(twins(|ends| {
        let from = &network(ends);
        [
            Case::new("closed", INGRESS, comes(ends, SYN), drop(Reason::DefaultDrop)),
            Case::new("SYN", INGRESS, comes(ends, SYN), pass(Reason::Opening)).opened(from, PORT),
            Case::new("ACK", INGRESS, comes(ends, ACK), pass(Reason::Opening)).opened(from, PORT),
            Case::new("first of a range", INGRESS, comes(ends, SYN), pass(Reason::Opening))
                .opened(from, (8080, 8090)),
            Case::new("last of a range", INGRESS, comes(ends, SYN), pass(Reason::Opening))
                .opened(from, (8000, 8080)),
            Case::new("the port below", INGRESS, comes(ends, SYN), drop(Reason::DefaultDrop))
                .opened(from, (8081, 8090)),
            Case::new("the port above", INGRESS, comes(ends, SYN), drop(Reason::DefaultDrop))
                .opened(from, (8000, 8079)),
            Case::new("another protocol", INGRESS, comes(ends, SYN), drop(Reason::DefaultDrop))
                .opened(from, UDP),
            Case::new("it has ended", INGRESS, comes(ends, SYN), drop(Reason::DefaultDrop))
                .opened_before(from, PORT),
            Case::new(
                "another source",
                INGRESS,
                comes(stranger(ends), SYN),
                drop(Reason::DefaultDrop),
            )
            .opened(from, PORT),
            Case::new("one opening of several", INGRESS, comes(ends, SYN), pass(Reason::Opening))
                .opened(&network(upstream(ends)), PORT)
                .opened_before(from, PORT)
                .opened(from, UDP)
                .opened(from, PORT),
        ]
    }))
}

#[test]
fn datagrams_and_messages_come_in_as_well() -> Result<()> {
    SITE.table(twins(|ends| {
        let from = &network(ends);
        let datagram = ends.arrives().udp(Udp::between(40_000, 8080)).payload(b"x");
        let answer = ends.leaves().udp(Udp::between(8080, 40_000)).payload(b"x");
        [
            Case::new("datagram", INGRESS, datagram, pass(Reason::Opening)).opened(from, UDP),
            Case::new("its answer", EGRESS, answer.clone(), pass(Reason::Established))
                .opened(from, UDP),
            Case::new("none", EGRESS, answer, drop(Reason::DefaultDrop)).opened(from, PORT),
        ]
    }))
}

#[test]
fn answers_leave_and_nothing_else() -> Result<()> {
    SITE.table(twins(|ends| {
        let from = &network(ends);
        [
            Case::new("closed", EGRESS, leaves(ends, ACK), drop(Reason::DefaultDrop)),
            Case::new("ACK", EGRESS, leaves(ends, SYN | ACK), pass(Reason::Established))
                .opened(from, PORT),
            Case::new("a SYN is no answer", EGRESS, leaves(ends, SYN), drop(Reason::DefaultDrop))
                .opened(from, PORT),
            Case::new("it has ended", EGRESS, leaves(ends, ACK), drop(Reason::DefaultDrop))
                .opened_before(from, PORT),
            Case::new(
                "to somebody else",
                EGRESS,
                leaves(stranger(ends), ACK),
                drop(Reason::DefaultDrop),
            )
            .opened(from, PORT),
        ]
    }))
}

#[test]
fn denies_bans_and_rules_come_first() -> Result<()> {
    SITE.table(twins(|ends| {
        let (bad, from) = (abuse(ends), &network(ends));
        let web = ends.arrives().tcp(Tcp::between(40_000, 80));
        [
            Case::new("denied", INGRESS, comes(bad, SYN), denied("no-abuse"))
                .opened(&network(bad), PORT),
            Case::new(
                "answer to what is denied",
                EGRESS,
                leaves(bad, ACK),
                drop(Reason::DefaultDrop),
            )
            .opened(&network(bad), PORT),
            Case::new("banned", INGRESS, comes(ends, SYN), drop(Reason::Banned))
                .opened(from, PORT)
                .ban(from),
            Case::new("a rule admits it", INGRESS, web, allowed("web").opens())
                .opened(from, (80, 80)),
        ]
    }))
}

#[test]
fn an_echo_request_is_a_service_like_others() -> Result<()> {
    let type_13 = V4.arrives().icmp(Icmp::new(13, 0));
    let stamp = (ServiceIndex::ICMP + 13, ServiceIndex::ICMP + 13);
    SITE.table([
        Case::new("closed", INGRESS, type_13.clone(), drop(Reason::DefaultDrop)),
        Case::new("open", INGRESS, type_13, pass(Reason::Opening)).opened(&network(V4), stamp),
    ])
}
