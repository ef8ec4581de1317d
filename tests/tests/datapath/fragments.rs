//! Fragments: the first is judged by its ports, later ones follow its verdict;
//! what overtook it passes within a rate, unless rules without ports forbid.

use anyhow::{Result, ensure};
use firewall_common::guard::UNKNOWN_FRAGMENTS_PER_SECOND;
use firewall_common::verdict::{Direction, Reason};
use firewall_tests::packet::{Extension, Fragment, Frame, Ipv6, Tcp, Udp};
use firewall_userspace::kernel::sandbox::Hook;

use crate::ends::{Ends, V4, V6, twins};
use crate::ledger::{Case, EGRESS, INGRESS, XDP, allowed, denied, drop, pass};
use crate::shared::{SITE, Shared, abuse, bastion, stranger, upstream};

/// A datagram of three fragments from the client.
fn arriving(ends: Ends, port: u16) -> Vec<Frame> {
    ends.arrives().udp(Udp::between(40_000, port)).payload([7; 64]).fragments(32)
}

/// A datagram of three fragments to the client.
fn leaving(ends: Ends, port: u16) -> Vec<Frame> {
    ends.leaves().udp(Udp::between(40_000, port)).payload([7; 64]).fragments(32)
}

/// A later fragment of any protocol, by its identification.
fn later(ends: Ends, protocol: u8, id: u16) -> Frame {
    ends.piece(protocol, id, 64, false).payload([9; 24])
}

fn story(
    frames: Vec<Frame>,
    expect: impl Fn(usize) -> crate::ledger::Expect,
    hooks: &'static [Hook],
) -> Vec<Case> {
    let case =
        |(number, frame)| Case::new(format!("fragment {number}"), hooks, frame, expect(number));
    frames.into_iter().enumerate().map(case).collect()
}

#[test]
fn later_fragments_follow_the_first_one_that_passed() -> Result<()> {
    SITE.story(twins(|ends| {
        let first =
            |number| if number == 0 { allowed("logs") } else { pass(Reason::FragmentFollows) };
        story(arriving(ends, 514), first, XDP)
    }))?;
    SITE.story(twins(|ends| {
        let first = |number| {
            if number == 0 { allowed("dns").opens() } else { pass(Reason::FragmentFollows) }
        };
        story(leaving(upstream(ends), 53), first, EGRESS)
    }))
}

#[test]
fn later_fragments_follow_the_first_one_that_was_dropped() -> Result<()> {
    let dropped =
        |number| drop(if number == 0 { Reason::DefaultDrop } else { Reason::FragmentFollowsDrop });
    SITE.story(twins(|ends| story(arriving(ends, 515), dropped, XDP)))?;
    SITE.story(twins(|ends| story(leaving(stranger(ends), 53), dropped, EGRESS)))
}

#[test]
fn a_dropped_first_fragment_says_why_like_a_whole_packet() -> Result<()> {
    SITE.table(twins(|ends| {
        let first = |ends, port| arriving(ends, port).swap_remove(0);
        [
            Case::new("deny", INGRESS, first(abuse(ends), 514), denied("no-abuse")),
            Case::new("ban", INGRESS, first(ends, 514), drop(Reason::Banned))
                .ban("198.51.100.0/24")
                .ban("2001:db8::/32"),
            Case::new("no rule", INGRESS, first(ends, 1), drop(Reason::DefaultDrop)),
        ]
    }))
}

#[test]
fn a_fragment_that_overtook_the_first_passes_by_its_rate() -> Result<()> {
    SITE.story(twins(|ends| {
        let mut frames = arriving(ends, 514);
        frames.rotate_left(1);
        let expect = |number| match number {
            0 | 1 => pass(Reason::FragmentUnknown),
            _ => allowed("logs"),
        };
        story(frames, expect, XDP)
    }))
}

#[test]
fn datagrams_are_told_apart_by_all_that_identifies_them() -> Result<()> {
    SITE.story(twins(|ends| {
        let unknown = || pass(Reason::FragmentUnknown);
        // The builder gives every datagram the identification 1.
        let other_protocol =
            if ends.client.is_ipv4() { unknown() } else { pass(Reason::FragmentFollows) };
        [
            Case::new("the first", XDP, arriving(ends, 514).swap_remove(0), allowed("logs")),
            Case::new("its own", XDP, later(ends, 17, 1), pass(Reason::FragmentFollows)),
            Case::new("another identification", XDP, later(ends, 17, 2), unknown()),
            Case::new("another source", XDP, later(stranger(ends), 17, 1), unknown()),
            Case::new(
                "another destination",
                XDP,
                later(ends.to([192, 0, 2, 11], "2001:db8:1::11"), 17, 1),
                unknown(),
            ),
            // RFC 8200 names no protocol here, RFC 791 does.
            Case::new("another protocol", XDP, later(ends, 103, 1), other_protocol),
            Case::new(
                "the other way",
                EGRESS,
                later(Ends { client: ends.server, server: ends.client }, 17, 1),
                unknown(),
            ),
        ]
    }))
}

#[test]
fn an_unknown_fragment_is_judged_by_rules_without_ports_first() -> Result<()> {
    SITE.table(twins(|ends| {
        [
            Case::new("nobody minds", INGRESS, later(ends, 17, 3), pass(Reason::FragmentUnknown)),
            Case::new("denied all", INGRESS, later(abuse(ends), 17, 3), denied("no-abuse")),
            Case::new("banned", INGRESS, later(ends, 17, 3), drop(Reason::Banned))
                .ban("198.51.100.20/32")
                .ban("2001:db8:2::/64"),
            Case::new(
                "admitted whatever its ports",
                INGRESS,
                later(ends, 47, 3),
                allowed("tunnel"),
            ),
            Case::new(
                "the failsafe is for a port",
                INGRESS,
                later(bastion(ends), 6, 3),
                pass(Reason::FragmentUnknown),
            ),
            Case::new(
                "later ICMP is not ICMP",
                INGRESS,
                later(ends, ends.icmp(), 3),
                pass(Reason::FragmentUnknown),
            ),
        ]
    }))
}

#[test]
fn unknown_fragments_of_one_source_have_a_rate() -> Result<()> {
    for ends in [V4, V6] {
        let mut bench = SITE.lock()?;
        bench.reset()?;
        let frame = later(ends, 17, 3).bytes();
        // One call: whatever else this machine does, time passes between calls.
        let most = u64::from(UNKNOWN_FRAGMENTS_PER_SECOND);
        let count = |bench: &crate::common::bench::Bench, reason| {
            bench.kernel.outcome(Direction::Ingress, reason).packets
        };
        let reasons = [Reason::FragmentUnknown, Reason::FragmentUnknownDrop];
        let before = reasons.map(|reason| count(&bench, reason));
        let start = std::time::Instant::now();
        bench.kernel.run(Hook::Xdp, &frame, 5000)?;
        let millis = u64::try_from(start.elapsed().as_millis())?;
        let after = reasons.map(|reason| count(&bench, reason));
        let (passed, dropped) = (after[0] - before[0], after[1] - before[1]);
        ensure!(passed + dropped == 5000, "{passed} + {dropped} of 5000 were counted");
        let refill = (millis + 20) * most / 1000;
        ensure!((most..=most + refill).contains(&passed), "{passed} passed in {millis} ms");
        for (number, reason) in (0..most + 5).map(|n| (n, reasons[usize::from(n >= most)])) {
            let found = bench.host.judge(&firewall_policy::world::ingress(&frame), &frame).reason;
            ensure!(found == reason, "the host on fragment {number}: {found:?}");
        }
        bench.forget_guards();
    }
    Ok(())
}

#[test]
fn strict_drops_what_is_unknown_and_follows_what_is_known() -> Result<()> {
    static STRICT: Shared = Shared::new(
        "baseline: { host: true, fragments: strict }
services: { syslog: { udp: 514 }, gre: { ip-proto: 47 } }
ingress:
  allow:
    - { name: logs, from: any, service: syslog }
    - { name: tunnel, from: any, service: gre }
",
    );
    STRICT.story(twins(|ends| {
        [
            Case::new("unknown", INGRESS, later(ends, 17, 9), drop(Reason::FragmentUnknownDrop)),
            Case::new(
                "admitted by a rule without ports",
                INGRESS,
                later(ends, 47, 9),
                allowed("tunnel"),
            ),
            Case::new(
                "unknown, out",
                EGRESS,
                later(ends, 17, 9),
                drop(Reason::FragmentUnknownDrop),
            ),
        ]
    }))?;
    STRICT.story(twins(|ends| {
        let first =
            |number| if number == 0 { allowed("logs") } else { pass(Reason::FragmentFollows) };
        story(arriving(ends, 514), first, XDP)
    }))
}

#[test]
fn an_atomic_fragment_is_a_whole_packet() -> Result<()> {
    let atomic = |port| {
        let header = Fragment { id: 5, ..Fragment::default() };
        Frame::ethernet().ipv6(Ipv6::default()).fragment(header).tcp(Tcp::between(40_000, port))
    };
    SITE.story([
        Case::new("admitted", INGRESS, atomic(80), allowed("web").opens()),
        Case::new("dropped", INGRESS, atomic(81), drop(Reason::DefaultDrop)),
        Case::new(
            "nothing is remembered of it",
            XDP,
            later(V6, 6, 5),
            pass(Reason::FragmentUnknown),
        ),
    ])
}

#[test]
fn fragments_behind_extension_headers_and_tags_are_followed() -> Result<()> {
    let whole = |frame: Frame| {
        let header = Extension::new(Extension::HOP_BY_HOP);
        frame
            .ipv6(Ipv6::default())
            .extension(header)
            .udp(Udp::between(40_000, 514))
            .payload([7; 64])
    };
    let frames = whole(Frame::ethernet().vlan(12)).fragments(32);
    let expect = |number| if number == 0 { allowed("logs") } else { pass(Reason::FragmentFollows) };
    SITE.story(story(frames, expect, XDP))
}

#[test]
fn the_verdict_of_a_datagram_is_that_of_its_newest_first_fragment() -> Result<()> {
    SITE.story(twins(|ends| {
        let first = |port| arriving(ends, port).swap_remove(0);
        [
            Case::new("dropped", XDP, first(515), drop(Reason::DefaultDrop)),
            Case::new("follows", XDP, later(ends, 17, 1), drop(Reason::FragmentFollowsDrop)),
            Case::new("the identification comes again", XDP, first(514), allowed("logs")),
            Case::new("follows again", XDP, later(ends, 17, 1), pass(Reason::FragmentFollows)),
        ]
    }))
}

#[test]
fn a_verdict_is_remembered_for_as_long_as_the_stack_waits() -> Result<()> {
    for ends in [V4, V6] {
        for (age, wanted) in [(29, Reason::FragmentFollowsDrop), (31, Reason::FragmentUnknown)] {
            let mut bench = SITE.lock()?;
            bench.reset()?;
            let first = arriving(ends, 515).swap_remove(0).bytes();
            ensure!(bench.judge(Hook::Xdp, &first, 1)?.host.reason == Reason::DefaultDrop);
            // Seconds stand in bits 2 to 15 of a slot.
            let slots = bench.kernel.value("FRAGMENTS")?;
            for (slot, word) in &mut bench.host.fragments {
                let seconds = (*word >> 2).wrapping_sub(age) & 0x3fff;
                *word = *word & !(0x3fff << 2) | seconds << 2;
                slots.set_word(*slot as usize, *word);
            }
            let judged = bench.judge(Hook::Xdp, &later(ends, 17, 1).bytes(), 1)?;
            ensure!(judged.host.reason == wanted, "after {age} s: {judged:?}");
            ensure!(judged.kernel == wanted.verdict(), "after {age} s: {judged:?}");
        }
    }
    Ok(())
}
