//! Baseline: path MTU discovery and its kin. An error about a packet that we know
//! of always passes; about any other, within a rate.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use firewall_common::guard::ICMP_ERRORS_PER_SECOND;
use firewall_common::verdict::{Direction, Reason};
use firewall_tests::packet::{Extension, Fragment, Frame, Icmp, Ipv4, Ipv6, Tcp, Udp, flags};
use firewall_userspace::kernel::sandbox::Hook;

use crate::ends::{Ends, V4, V6, twins};
use crate::ledger::{Case, EGRESS, EVERYWHERE, INGRESS, drop, pass};
use crate::shared::{SITE, stranger, upstream};

/// An error message to the server, from whatever router, about `about`.
fn error(ends: Ends, about: &Frame) -> Frame {
    let router = ends.from([203, 0, 113, 1], "2001:db8:ff::1");
    ends.message(router.arrives(), (3, 2), 0).payload(about.bytes())
}

/// An error message of the server about a packet of the client.
fn complaint(ends: Ends, about: &Frame) -> Frame {
    ends.message(ends.leaves(), (3, 1), 0).payload(about.bytes())
}

/// A packet from one end to the other, without its link layer.
fn quoted(source: IpAddr, destination: IpAddr) -> Frame {
    Frame::bare().ip(source, destination)
}

fn sent(ends: Ends) -> Frame {
    quoted(ends.server, ends.client)
}

fn received(ends: Ends) -> Frame {
    quoted(ends.client, ends.server)
}

#[test]
fn an_error_about_a_flow_of_ours_passes() -> Result<()> {
    SITE.table(twins(|ends| {
        let up = upstream(ends);
        let tcp = sent(up).tcp(Tcp { flags: flags::ACK, ..Tcp::between(40_000, 8090) });
        let cut = Frame::bare().payload(tcp.truncated(tcp.bytes().len() - 12));
        let udp = sent(up).udp(Udp::between(5000, 53));
        let echo = up.echo(sent(up), 77);
        let known = |what, about: &Frame, key| {
            Case::new(what, INGRESS, error(ends, about), pass(Reason::IcmpRelated)).flow(key)
        };
        [
            known("TCP", &tcp, up.flow(6, 40_000, 8090)),
            known("TCP, 8 bytes of it", &cut, up.flow(6, 40_000, 8090)),
            known("UDP", &udp, up.flow(17, 5000, 53)),
            known("an echo", &echo, up.flow(up.icmp(), 77, 0)),
            Case::new("no flow", INGRESS, error(ends, &tcp), pass(Reason::IcmpError)),
            Case::new("another flow", INGRESS, error(ends, &tcp), pass(Reason::IcmpError))
                .flow(up.flow(6, 40_001, 8090)),
            Case::new(
                "the wrong way round",
                INGRESS,
                error(ends, &received(up).tcp(Tcp::between(8090, 40_000))),
                pass(Reason::IcmpError),
            )
            .flow(up.flow(6, 40_000, 8090)),
        ]
    }))
}

#[test]
fn an_error_about_an_answer_to_an_admitted_packet_passes() -> Result<()> {
    SITE.table(twins(|ends| {
        let served = |port, client: Ends| {
            sent(client).tcp(Tcp { flags: flags::ACK, ..Tcp::between(port, 40_000) })
        };
        let related = || pass(Reason::IcmpRelated);
        [
            Case::new("of the web server", INGRESS, error(ends, &served(80, ends)), related()),
            Case::new(
                "of UDP",
                INGRESS,
                error(ends, &sent(ends).udp(Udp::between(514, 40_000))),
                related(),
            ),
            Case::new(
                "of a port that is closed",
                INGRESS,
                error(ends, &served(81, ends)),
                pass(Reason::IcmpError),
            ),
            Case::new(
                "of UDP to a stranger",
                INGRESS,
                error(ends, &sent(stranger(ends)).udp(Udp::between(514, 1))),
                pass(Reason::IcmpError),
            ),
            Case::new(
                "out, about an admitted packet",
                EGRESS,
                complaint(ends, &received(ends).udp(Udp::between(40_000, 514))),
                related(),
            ),
            Case::new(
                "out, about another",
                EGRESS,
                complaint(ends, &received(ends).udp(Udp::between(40_000, 515))),
                pass(Reason::IcmpError),
            ),
        ]
    }))
}

#[test]
fn every_type_of_error_counts_and_no_other() -> Result<()> {
    let v4 =
        |kind| Frame::ethernet().ipv4(Ipv4::default()).icmp(Icmp::new(kind, 0)).payload([0; 28]);
    let v6 =
        |kind| Frame::ethernet().ipv6(Ipv6::default()).icmpv6(Icmp::new(kind, 0)).payload([0; 48]);
    let case = |frame: Frame, kind: u8, expect| {
        Case::new(format!("type {kind}"), EVERYWHERE, frame, expect)
    };
    let errors = [3, 11, 12].map(|kind| case(v4(kind), kind, pass(Reason::IcmpError)));
    let others =
        [4, 5, 9, 10, 13, 17, 42, 255].map(|kind| case(v4(kind), kind, drop(Reason::DefaultDrop)));
    SITE.table(errors.into_iter().chain(others))?;
    let errors = [1, 2, 3, 4].map(|kind| case(v6(kind), kind, pass(Reason::IcmpError)));
    let others =
        [0, 5, 100, 127, 138, 200].map(|kind| case(v6(kind), kind, drop(Reason::DefaultDrop)));
    SITE.table(errors.into_iter().chain(others))
}

#[test]
fn what_an_error_quotes_may_lie() -> Result<()> {
    let ends = V4;
    let unrelated = |what: &str, quoted: Frame| {
        Case::new(what, INGRESS, error(ends, &quoted), pass(Reason::IcmpError))
    };
    let header = |header: Ipv4| Frame::bare().ipv4(header).tcp(Tcp::between(80, 40_000));
    let back = || Ipv4::between(firewall_tests::packet::SERVER4, firewall_tests::packet::CLIENT4);
    let related = |what: &str, quoted: Frame| {
        Case::new(what, INGRESS, error(ends, &quoted), pass(Reason::IcmpRelated))
    };
    SITE.table([
        related("the truth", header(back())),
        related("options", header(Ipv4 { options: vec![1; 40], ..back() })),
        related("a first fragment", header(Ipv4 { more_fragments: true, ..back() })),
        related("a length it cannot know", header(Ipv4 { total_length: Some(9000), ..back() })),
        unrelated("nothing", Frame::bare()),
        unrelated("19 bytes", Frame::bare().payload(header(back()).truncated(19))),
        unrelated("no ports", Frame::bare().payload(header(back()).truncated(27))),
        unrelated("version 6", header(Ipv4 { version: 6, ..back() })),
        unrelated("a header of 4 words", header(Ipv4 { header_words: Some(4), ..back() })),
        unrelated(
            "a header of 15 words in a short frame",
            header(Ipv4 { header_words: Some(15), ..back() }),
        ),
        unrelated("a later fragment", header(Ipv4 { fragment_offset: 8, ..back() })),
    ])?;
    let ends = V6;
    let error = |quoted: Frame, expect| Case::new("IPv6", INGRESS, error(ends, &quoted), expect);
    let back = || Frame::bare().ip(ends.server, ends.client);
    let tcp = || Tcp::between(80, 40_000);
    SITE.table([
        error(back().tcp(tcp()), pass(Reason::IcmpRelated)),
        error(
            back().fragment(Fragment { more: true, ..Fragment::default() }).tcp(tcp()),
            pass(Reason::IcmpRelated),
        ),
        error(
            back().fragment(Fragment { offset: 8, ..Fragment::default() }).tcp(tcp()),
            pass(Reason::IcmpError),
        ),
        error(
            back().extension(Extension::new(Extension::DESTINATION)).tcp(tcp()),
            pass(Reason::IcmpError),
        ),
        error(Frame::bare().payload(back().tcp(tcp()).truncated(47)), pass(Reason::IcmpError)),
        error(Frame::bare().payload(back().tcp(tcp()).truncated(39)), pass(Reason::IcmpError)),
    ])
}

#[test]
fn an_error_passes_whoever_sends_it() -> Result<()> {
    // A router on the path is nobody's group, and may be banned by mistake.
    SITE.table(twins(|ends| {
        let about = sent(ends).tcp(Tcp { flags: flags::ACK, ..Tcp::between(80, 40_000) });
        let case = |what| Case::new(what, INGRESS, error(ends, &about), pass(Reason::IcmpRelated));
        [case("free"), case("banned").ban("203.0.113.1/32").ban("2001:db8:ff::1/128")]
    }))
}

#[test]
fn errors_about_nothing_we_know_have_one_rate() -> Result<()> {
    let most = u64::from(ICMP_ERRORS_PER_SECOND);
    for ends in [V4, V6] {
        for (hook, frame) in [
            (Hook::TcIngress, error(ends, &sent(ends).tcp(Tcp::between(81, 40_000)))),
            (Hook::TcEgress, complaint(ends, &received(ends).udp(Udp::between(1, 1)))),
        ] {
            let mut bench = SITE.lock()?;
            bench.reset()?;
            let (frame, direction) = (frame.bytes(), hook.direction());
            // The host first, so that the slot is known and forgotten on both.
            let arrival = firewall_common::pipeline::Arrival {
                direction,
                ..firewall_policy::world::ingress(&frame)
            };
            for number in 0..most + 5 {
                let found = bench.host.judge(&arrival, &frame).reason;
                let wanted = if number < most { Reason::IcmpError } else { Reason::IcmpErrorRate };
                ensure!(found == wanted, "the host on error {number}: {found:?}");
            }
            let count = |reason| bench.kernel.outcome(direction, reason).packets;
            let before = [count(Reason::IcmpError), count(Reason::IcmpErrorRate)];
            let start = std::time::Instant::now();
            bench.kernel.run(hook, &frame, 2000)?;
            let millis = u64::try_from(start.elapsed().as_millis())?;
            let count = |reason| bench.kernel.outcome(direction, reason).packets;
            let passed = count(Reason::IcmpError) - before[0];
            let dropped = count(Reason::IcmpErrorRate) - before[1];
            ensure!(passed + dropped == 2000, "{passed} + {dropped} of 2000 were counted");
            let refill = (millis + 20) * most / 1000;
            ensure!((most..=most + refill).contains(&passed), "{passed} passed in {millis} ms");
            // What is known passes all the same.
            let related = error(ends, &sent(ends).tcp(Tcp::between(80, 40_000))).bytes();
            let judged = bench.judge(Hook::TcIngress, &related, 1)?;
            ensure!(judged.host.reason == Reason::IcmpRelated, "{judged:?}");
            bench.reset()?;
        }
    }
    ensure!(Direction::Ingress as u8 == 0, "the bucket of a direction is its number");
    Ok(())
}
