//! A path that is narrower than the cable: routers say so by ICMP, and the
//! firewall must let them.

use std::time::Duration;

use anyhow::Result;
use firewall_tests::firewall::Firewall;
use firewall_tests::host::Host;
use firewall_tests::lab::Lab;
use firewall_tests::traffic::conversation::Conversation;
use firewall_tests::traffic::echo::Echo;
use firewall_tests::traffic::truth::Snmp;
use firewall_tests::traffic::{PATIENCE, at};

use crate::support::policy;

const IN: [&str; 2] =
    ["name: web, from: any, service: web", "name: echo, from: any, service: echo"];
const OUT: [&str; 2] =
    ["name: outside, to: any, service: outside", "name: dns, to: any, service: dns"];
/// Bytes of one question: many packets, and less than sockets hold.
const LARGE: usize = 50_000;
/// The server's router.
const NEAR: [&str; 2] = ["192.0.2.1", "2001:db8:1::1"];
/// The client's router.
const FAR: [&str; 2] = ["198.51.100.1", "2001:db8:2::1"];

#[test]
fn large_transfers_find_a_path_of_1280_bytes() -> Result<()> {
    narrow("mtu-1280", 1280)
}

#[test]
fn large_transfers_find_a_path_of_1400_bytes() -> Result<()> {
    narrow("mtu-1400", 1400)
}

fn narrow(name: &str, mtu: u32) -> Result<()> {
    let Path { server, client, lab: _lab } = Path::new(name, mtu)?;
    let _tcp = (Echo::tcp(&server, 80)?, Echo::tcp(&client, 443)?);
    let _udp = (Echo::udp(&server, 7)?, Echo::udp(&client, 53)?);
    let firewall = Firewall::with_policy(&server, &policy(&IN, &OUT))?;
    let families = [
        ("192.0.2.10", "198.51.100.20", "Icmp.InDestUnreachs"),
        ("[2001:db8:1::10]", "[2001:db8:2::20]", "Icmp6InPktTooBigs"),
    ];
    for (here, there, too_big) in families {
        let connections = [(&client, here, 80), (&server, there, 443)];
        for (from, to, port) in connections {
            forget(&server, NEAR)?;
            forget(&client, FAR)?;
            let (before, told) = (firewall.counters()?, Snmp::of(&server)?.get(too_big));
            let mut talk = Conversation::tcp(from, None, at(&format!("{to}:{port}")))?;
            for round in 0..4 {
                assert!(talk.asks_within(LARGE, PATIENCE), "{name}: {to}:{port}, round {round}");
            }
            let since = firewall.counters()?.since(&before);
            let told = Snmp::of(&server)?.get(too_big) - told;
            assert!(told > 0, "{name}: no router spoke of {to}: {since:?}");
            assert_eq!(since.reason("ingress", "icmp-related"), told, "{since:?}");
            assert_eq!((since.dropped("ingress"), since.dropped("egress")), (0, 0), "{since:?}");
        }
        // The sender learns, or a router cuts: either way pieces of pieces.
        for (from, to, port) in [(&client, here, 7), (&server, there, 53)] {
            let mut talk = Conversation::udp(from, None, at(&format!("{to}:{port}")))?;
            let answered = (0..8).any(|_| talk.asks_within(3000, Duration::from_millis(500)));
            assert!(answered, "{name}: 3000 bytes over UDP to {to}:{port}");
        }
        for (from, to) in [(&client, here), (&server, there)] {
            let to = to.trim_matches(['[', ']']);
            from.sh(&format!("ping -c 4 -i 0.2 -W 2 -s 3000 {to}"))?;
        }
    }
    Ok(())
}

/// Makes a host forget what routers have told it: what one connection has learned
/// must not help the next one. The kernel keeps that with the route.
fn forget(host: &Host, routers: [&str; 2]) -> Result<()> {
    for router in routers {
        host.sh(&format!("ip route del default via {router}"))?;
        host.route("default", router)?;
    }
    Ok(())
}

/// A server and a client behind two routers with a narrow cable between them.
struct Path {
    server: Host,
    client: Host,
    lab: Lab,
}

impl Path {
    fn new(name: &str, mtu: u32) -> Result<Self> {
        let lab = Lab::new(name)?;
        let (server, client) = (lab.host("server")?, lab.host("client")?);
        let (near, far) = (lab.host("near")?, lab.host("far")?);
        lab.connect(
            &server.port("eth0").address("192.0.2.10/24").address("2001:db8:1::10/64"),
            &near.port("eth0").address("192.0.2.1/24").address("2001:db8:1::1/64"),
        )?;
        lab.connect(
            &near.port("eth1").mtu(mtu).address("203.0.113.1/24").address("2001:db8:3::1/64"),
            &far.port("eth1").mtu(mtu).address("203.0.113.2/24").address("2001:db8:3::2/64"),
        )?;
        lab.connect(
            &client.port("eth0").address("198.51.100.20/24").address("2001:db8:2::20/64"),
            &far.port("eth0").address("198.51.100.1/24").address("2001:db8:2::1/64"),
        )?;
        let routes = [
            (&server, NEAR),
            (&near, ["203.0.113.2", "2001:db8:3::2"]),
            (&far, ["203.0.113.1", "2001:db8:3::1"]),
            (&client, FAR),
        ];
        for (host, routers) in routes {
            for router in routers {
                host.route("default", router)?;
            }
        }
        near.forward()?;
        far.forward()?;
        Ok(Self { server, client, lab })
    }
}
