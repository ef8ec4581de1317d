//! Replies: what comes back to a host that asked, and what only looks like it.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener};
use std::time::Duration;

use anyhow::{Context as _, Result};
use firewall_common::service::proto;
use firewall_tests::firewall::Firewall;
use firewall_tests::packet::{Frame, Icmp, Tcp, Udp, flags};
use firewall_tests::pair::{self, CLIENT, Pair, SERVER};
use firewall_tests::traffic::conversation::{Conversation, connects};
use firewall_tests::traffic::echo::Echo;
use firewall_tests::traffic::raw::Raw;
use firewall_tests::traffic::truth::Snmp;
use firewall_tests::traffic::{PATIENCE, REFUSAL};

use crate::support::{policy, store, wait_until};

const OUT: [&str; 2] =
    ["name: outside, to: clients, service: outside", "name: dns, to: clients, service: dns"];

#[test]
fn replies_come_back_to_the_host_that_asked() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("replies")?;
    let _servers = (Echo::tcp(&client, 443)?, Echo::udp(&client, 53)?, Echo::tcp(&client, 53)?);
    let firewall = Firewall::with_policy(&server, &policy(&[], &OUT))?;
    for family in 0..2 {
        let at = |port| pair::client(port)[family];
        assert!(Conversation::tcp(&server, None, at(443))?.asks(), "TCP {}", at(443));
        assert!(Conversation::udp(&server, None, at(53))?.asks(), "UDP {}", at(53));
        assert!(Conversation::tcp(&server, None, at(53))?.asks(), "TCP {}", at(53));
        server.sh(&format!("ping -c 1 -W 5 {}", CLIENT[family]))?;
        assert!(!connects(&server, None, at(80), REFUSAL)?, "{} is allowed", at(80));
    }
    let counters = firewall.counters()?;
    assert_eq!(counters.rule("egress", "dns").new_flows, 4);
    assert_eq!(counters.rule("egress", "outside").new_flows, 2);
    assert!(counters.reason("ingress", "established") >= 14, "{counters:?}");
    assert_eq!(counters.dropped("ingress"), 0, "{counters:?}");
    assert!(counters.reason("egress", "default-drop") >= 2, "{counters:?}");
    Ok(())
}

#[test]
fn what_only_looks_like_a_reply_is_dropped() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("unasked")?;
    let firewall = Firewall::with_policy(&server, &policy(&[], &OUT))?;
    let raw = Raw::on(&client, "eth0")?;
    let tcp = |flags| Tcp { flags, acknowledgment: 77, ..Tcp::between(443, 40_001) };
    for (from, to) in CLIENT.into_iter().zip(SERVER) {
        let ip = || Frame::ethernet().ip(from, to);
        let echo_reply = match from {
            IpAddr::V4(_) => ip().icmp(Icmp::new(0, 0)),
            IpAddr::V6(_) => ip().icmpv6(Icmp::new(129, 0)),
        };
        let cases = [
            ("a SYN from a service's port", ip().tcp(tcp(flags::SYN)), "default-drop"),
            ("a SYN-ACK", ip().tcp(tcp(flags::SYN | flags::ACK)), "tcp-no-flow"),
            ("an ACK", ip().tcp(tcp(flags::ACK)), "tcp-no-flow"),
            ("a RST", ip().tcp(tcp(flags::RST)), "tcp-no-flow"),
            ("a FIN", ip().tcp(tcp(flags::FIN | flags::ACK)), "tcp-no-flow"),
            ("data", ip().tcp(tcp(flags::PSH | flags::ACK)).payload(b"hello"), "tcp-no-flow"),
            (
                "an ACK from no service's port",
                ip().tcp(Tcp { source: 99, ..tcp(flags::ACK) }),
                "default-drop",
            ),
            ("UDP", ip().udp(Udp::between(53, 40_001)).payload(b"answer"), "default-drop"),
            ("an echo reply", echo_reply, "default-drop"),
        ];
        for (what, frame, reason) in cases {
            let (before, heard) = (firewall.counters()?, Snmp::of(&server)?);
            raw.send(&frame)?;
            let limit = Duration::from_secs(2);
            let mut since = firewall.counters()?.since(&before);
            wait_until(&format!("{what} from {from} is dropped"), limit, || {
                since = firewall.counters()?.since(&before);
                Ok(since.dropped("ingress") > 0)
            })?;
            assert_eq!(since.reason("ingress", reason), 1, "{what} from {from}: {since:?}");
            let after = Snmp::of(&server)?;
            for name in ["Tcp.InSegs", "Udp.NoPorts", "Udp6NoPorts", "Icmp.InEchoReps"] {
                assert_eq!(after.get(name), heard.get(name), "{what} from {from} was heard");
            }
        }
    }
    Ok(())
}

#[test]
fn a_flow_that_the_table_has_lost_is_picked_up_by_its_socket() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("pickup")?;
    let firewall = Firewall::with_policy(&server, &policy(&[], &OUT))?;
    for to in pair::client(443) {
        let mut lost = Lost::new(&firewall, &server, &client, to)?;
        let before = firewall.counters()?;
        // The other end speaks first: nothing of ours could have written an entry.
        lost.there.write_all(b"still there?")?;
        let mut heard = [0; 12];
        lost.here.stream()?.read_exact(&mut heard).context("the segment was not picked up")?;
        let since = firewall.counters()?.since(&before);
        assert!(since.reason("ingress", "established") >= 1, "{since:?}");
        // Our acknowledgment is the next packet of this host's own.
        wait_until("the entry is back", PATIENCE, || Ok(flow_count(&firewall)? == 1))?;
    }
    Ok(())
}

#[test]
fn strictly_a_lost_flow_waits_for_the_next_own_packet() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("strict")?;
    let text = format!("{}state: {{ pickup: strict }}\n", policy(&[], &OUT));
    let firewall = Firewall::with_policy(&server, &text)?;
    let mut lost = Lost::new(&firewall, &server, &client, pair::client(443)[0])?;
    lost.there.write_all(b"still there?")?;
    let mut heard = [0; 12];
    lost.here.stream()?.set_read_timeout(Some(REFUSAL))?;
    assert!(lost.here.stream()?.read_exact(&mut heard).is_err(), "it was let in");
    assert!(firewall.counters()?.reason("ingress", "tcp-no-flow") >= 1);
    assert_eq!(flow_count(&firewall)?, 0, "a packet from outside wrote an entry");
    lost.here.stream()?.write_all(b"yes")?;
    lost.here.stream()?.set_read_timeout(Some(PATIENCE))?;
    lost.here.stream()?.read_exact(&mut heard)?;
    assert_eq!(flow_count(&firewall)?, 1);
    Ok(())
}

/// A running connection of which the flow table knows nothing.
struct Lost {
    here: Conversation,
    there: std::net::TcpStream,
}

impl Lost {
    fn new(
        firewall: &Firewall,
        server: &firewall_tests::host::Host,
        client: &firewall_tests::host::Host,
        to: std::net::SocketAddr,
    ) -> Result<Self> {
        let listener = client.enter(|| TcpListener::bind(to))??;
        let here = Conversation::tcp(server, None, to)?;
        let there = listener.accept()?.0;
        there.set_nodelay(true)?;
        // Who has just sent is remembered for a tick without the table.
        std::thread::sleep(A_TICK);
        store(firewall, |store| {
            let mut table = store.flows()?;
            for (key, _) in table.iter() {
                anyhow::ensure!(key.protocol == proto::TCP, "{key:?} is no TCP flow");
            }
            table.clear();
            Ok(())
        })?;
        assert_eq!(flow_count(firewall)?, 0);
        Ok(Self { here, there })
    }
}

/// 32 jiffies, at HZ=100.
const A_TICK: Duration = Duration::from_millis(320);

fn flow_count(firewall: &Firewall) -> Result<usize> {
    store(firewall, |store| Ok(store.flow_usage()?.0))
}
