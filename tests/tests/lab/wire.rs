//! Packets as the wire has them: super-packets are counted as what they stand
//! for, to the packet and to the byte.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use firewall_tests::firewall::Firewall;
use firewall_tests::pair::{self, Pair};
use firewall_tests::traffic::PATIENCE;
use firewall_tests::traffic::conversation::Conversation;
use firewall_tests::traffic::echo::Echo;
use firewall_tests::traffic::stream::Stream;
use firewall_tests::traffic::truth::Link;

use crate::support::policy;

const IN: [&str; 1] = ["name: web, from: any, service: web"];
const OUT: [&str; 1] = ["name: outside, to: clients, service: outside"];

#[test]
fn super_packets_count_as_what_goes_over_the_wire() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("wire")?;
    let _servers = (Echo::tcp(&server, 80)?, Echo::tcp(&client, 443)?);
    let firewall = Firewall::with_policy(&server, &policy(&IN, &OUT))?;
    // XDP at the far end makes this kernel cut super-packets itself, behind TC
    // egress, so that the interface counts what is on the wire. It judges nothing.
    let text = policy(&[], &[]).replace("drop, egress: drop", "allow, egress: allow");
    let other = Firewall::with_policy(&client, &text)?;
    let count = || {
        let (server, client) = (Link::of(&server, "eth0")?, Link::of(&client, "eth0")?);
        Ok((firewall.counters()?, other.counters()?, server, client))
    };
    let before = between_packets(count)?;

    let connections = [
        (&client, pair::server(80)[0]),
        (&client, pair::server(80)[1]),
        (&server, pair::client(443)[0]),
        (&server, pair::client(443)[1]),
    ];
    let streams: Vec<Stream> = connections
        .into_iter()
        .map(|(from, to)| Ok(Stream::start(Conversation::tcp(from, None, to)?, 60_000, PATIENCE)))
        .collect::<Result<_>>()?;
    sleep(Duration::from_millis(500));
    for stream in streams {
        let fared = stream.end();
        assert!(!fared.broken && fared.answered > 10, "{fared:?}");
    }
    sleep(Duration::from_millis(100));

    let after = between_packets(count)?;
    let here = after.0.since(&before.0);
    let there = after.1.since(&before.1);
    let link = after.2.since(&before.2);
    let far = after.3.since(&before.3);
    let (out, received) = (here.interface("eth0", "egress"), here.interface("eth0", "ingress"));
    let heard = there.interface("eth0", "ingress");
    eprintln!(
        "out: {} packets and {} bytes counted, {} and {} sent, {} and {} received at the far end; \
         in: {} and {} counted, {} and {} received",
        out.packets,
        out.bytes,
        link.tx_packets,
        link.tx_bytes,
        heard.packets,
        heard.bytes,
        received.packets,
        received.bytes,
        link.rx_packets,
        link.rx_bytes
    );
    assert_eq!(
        (out.packets, out.bytes),
        (link.tx_packets, whole(link.tx_packets, link.tx_bytes)),
        "egress"
    );
    assert_eq!((out.packets, out.bytes), (heard.packets, heard.bytes), "the far end");
    let in_bytes = whole(link.rx_packets, link.rx_bytes);
    assert_eq!((received.packets, received.bytes), (link.rx_packets, in_bytes), "ingress");
    assert_eq!((link.rx_packets, link.rx_bytes), (far.tx_packets, far.tx_bytes), "the cable");
    let mean = out.bytes / out.packets;
    assert!(mean > 600, "segments of {mean} bytes: too small to have been super-packets");
    assert_eq!(here.dropped("egress") + here.dropped("ingress"), 0, "{here:?}");
    Ok(())
}

/// Counts at a moment without a packet between one counter and the next: hosts
/// report their groups and look for routers when they like.
fn between_packets<T: PartialEq>(count: impl Fn() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (once, again) = (count()?, count()?);
        if once == again {
            return Ok(again);
        }
        ensure!(Instant::now() < deadline, "packets never cease");
    }
}

/// Bytes of frames on the wire. A veth counts what arrives at an XDP program
/// without its Ethernet header.
fn whole(packets: u64, bytes: u64) -> u64 {
    bytes + 14 * packets
}
