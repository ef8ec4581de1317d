//! Baseline: echo requests by a rate per source, echo replies of this host.

use anyhow::{Result, ensure};
use firewall_common::verdict::{Direction, Reason};
use firewall_userspace::kernel::sandbox::Hook;

use crate::common::bench::Bench;
use crate::ends::{Ends, V4, V6, twins};
use crate::ledger::{Case, EGRESS, INGRESS, allowed, drop, pass};
use crate::shared::{SITE, Shared, abuse, stranger};

#[test]
fn an_echo_request_passes_and_so_does_our_reply() -> Result<()> {
    SITE.table(twins(|ends| {
        let other = stranger(ends);
        [
            Case::new("a request", INGRESS, ends.echo(ends.arrives(), 1), pass(Reason::Ping)),
            Case::new(
                "a large one",
                INGRESS,
                ends.echo(ends.arrives(), 1).payload([0; 1400]),
                pass(Reason::Ping),
            ),
            Case::new(
                "a request of anybody",
                INGRESS,
                other.echo(other.arrives(), 1),
                pass(Reason::Ping),
            ),
            Case::new(
                "even of one denied",
                INGRESS,
                abuse(ends).echo(abuse(ends).arrives(), 1),
                pass(Reason::Ping),
            ),
            Case::new("our reply", EGRESS, ends.reply(ends.leaves(), 1), pass(Reason::Ping)),
            Case::new(
                "a reply to nothing",
                INGRESS,
                ends.reply(ends.arrives(), 1),
                drop(Reason::DefaultDrop),
            ),
        ]
    }))
}

#[test]
fn echo_of_the_other_family_is_no_echo() -> Result<()> {
    use firewall_tests::packet::{Frame, Icmp, Ipv4, Ipv6};
    SITE.table([
        Case::new(
            "ICMPv6 in IPv4",
            INGRESS,
            Frame::ethernet().ipv4(Ipv4::default()).icmpv6(Icmp::new(128, 0)),
            drop(Reason::DefaultDrop),
        ),
        Case::new(
            "ICMP in IPv6",
            INGRESS,
            Frame::ethernet().ipv6(Ipv6::default()).icmp(Icmp::new(8, 0)),
            drop(Reason::DefaultDrop),
        ),
    ])
}

/// Pings `count` times in one call; how many passed, and how long it took.
fn flood(bench: &mut Bench, ends: Ends, count: u32) -> Result<(u64, u64)> {
    let counters = |bench: &Bench| {
        [Reason::Ping, Reason::PingRate]
            .map(|reason| bench.kernel.outcome(Direction::Ingress, reason).packets)
    };
    let frame = ends.echo(ends.arrives(), 1).bytes();
    let before = counters(bench);
    let start = std::time::Instant::now();
    bench.kernel.run(Hook::Xdp, &frame, count)?;
    let millis = u64::try_from(start.elapsed().as_millis())?;
    let after = counters(bench);
    let (passed, dropped) = (after[0] - before[0], after[1] - before[1]);
    ensure!(passed + dropped == u64::from(count), "{passed} + {dropped} of {count} were counted");
    Ok((passed, millis + 20))
}

#[test]
fn each_source_has_its_own_rate() -> Result<()> {
    const RATE: u64 = 20;
    for ends in [V4, V6] {
        let mut bench = SITE.lock()?;
        let bench = &mut *bench;
        bench.reset()?;
        for ends in [ends, stranger(ends)] {
            let frame = ends.echo(ends.arrives(), 1).bytes();
            for number in 0..RATE + 3 {
                let found =
                    bench.host.judge(&firewall_policy::world::ingress(&frame), &frame).reason;
                let wanted = if number < RATE { Reason::Ping } else { Reason::PingRate };
                ensure!(found == wanted, "the host on request {number}: {found:?}");
            }
            let (passed, millis) = flood(bench, ends, 500)?;
            let most = RATE + millis * RATE / 1000 + 1;
            ensure!((RATE..=most).contains(&passed), "{passed} passed in {millis} ms");
        }
        bench.reset()?;
    }
    Ok(())
}

#[test]
fn addresses_of_one_slash_64_share_a_rate() -> Result<()> {
    let mut bench = SITE.lock()?;
    let bench = &mut *bench;
    bench.reset()?;
    let neighbour = V6.from([0; 4], "2001:db8:2::ffff");
    let frame = V6.echo(V6.arrives(), 1).bytes();
    bench.host.judge(&firewall_policy::world::ingress(&frame), &frame);
    let (first, before) = flood(bench, V6, 500)?;
    let (second, after) = flood(bench, neighbour, 500)?;
    bench.reset()?;
    let refill = (before + after) * 20 / 1000 + 1;
    ensure!(first + second <= 20 + refill, "{first} and {second} passed");
    Ok(())
}

#[test]
fn without_a_rate_rules_decide() -> Result<()> {
    static RULED: Shared = Shared::new(
        "baseline: { host: true, ping: \"off\" }
services: { ping: { icmp: [echo-request], icmpv6: [echo-request] } }
groups: { clients: [198.51.100.0/24, \"2001:db8:2::/64\"] }
ingress: { allow: [{ name: monitoring, from: clients, service: ping }] }
",
    );
    RULED.table(twins(|ends| {
        let other = stranger(ends);
        [
            Case::new(
                "a request that a rule admits",
                INGRESS,
                ends.echo(ends.arrives(), 1),
                allowed("monitoring"),
            ),
            Case::new(
                "another",
                INGRESS,
                other.echo(other.arrives(), 1),
                drop(Reason::DefaultDrop),
            ),
            Case::new("our reply", EGRESS, ends.reply(ends.leaves(), 1), pass(Reason::Established)),
            Case::new(
                "a reply to nobody who may ask",
                EGRESS,
                other.reply(other.leaves(), 1),
                drop(Reason::DefaultDrop),
            ),
            Case::new(
                "a request of ours",
                EGRESS,
                ends.echo(ends.leaves(), 1),
                drop(Reason::DefaultDrop),
            ),
        ]
    }))
}
