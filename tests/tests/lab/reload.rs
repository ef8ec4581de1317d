//! Policies that take turns under full load: not one packet is judged by
//! neither, or twice, or lost.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use firewall_tests::firewall::{Counters, Firewall};
use firewall_tests::host::Host;
use firewall_tests::pair::{self, Pair};
use firewall_tests::traffic::PATIENCE;
use firewall_tests::traffic::conversation::Conversation;
use firewall_tests::traffic::echo::Echo;
use firewall_tests::traffic::stream::Stream;
use firewall_tests::traffic::truth::{Link, Snmp};

use crate::support::policy;

const ECHO: &str = "name: echo, from: any, service: echo";
const WEB: &str = "name: web, from: any, service: web";
const OUT: &str = "name: outside, to: clients, service: outside";
/// Port that no policy here opens.
const CLOSED: u16 = 9;

#[test]
fn policies_that_agree_take_turns_without_misjudging_a_packet() -> Result<()> {
    let a = policy(&[ECHO, WEB], &[OUT]);
    let b = policy(&["name: more, from: admin, service: alternative", WEB, ECHO], &[OUT]);
    take_turns("turns", &[a, b], 8)
}

#[test]
fn a_growing_policy_loses_no_count() -> Result<()> {
    let small = policy(&[ECHO, WEB], &[OUT]);
    take_turns("growth", &[small, large(&[ECHO, WEB], &[OUT])], 3)
}

fn take_turns(name: &str, policies: &[String], turns: usize) -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new(name)?;
    // A queue, so that a full ring holds the senders up instead of losing frames.
    client.sh("tc qdisc replace dev eth0 root pfifo limit 2000")?;
    let (_web, _there) = (Echo::tcp(&server, 80)?, Echo::tcp(&client, 443)?);
    let listeners = [7, CLOSED].map(|port| server.enter(move || UdpSocket::bind(("::", port))));
    let [allowed, denied] = listeners.map(|listener| listener?.context("UDP"));
    let (allowed, denied) = (allowed?, denied?);

    let firewall = Firewall::with_policy(&server, &policies[0])?;
    let before = Before::read(&firewall, &client)?;
    let streams: Vec<Stream> = [
        Conversation::tcp(&client, None, pair::server(80)[0])?,
        Conversation::tcp(&client, None, pair::server(80)[1])?,
        Conversation::tcp(&server, None, pair::client(443)[0])?,
        Conversation::tcp(&server, None, pair::client(443)[1])?,
    ]
    .into_iter()
    .map(|conversation| Stream::start(conversation, 4000, PATIENCE))
    .collect();

    let stop = AtomicBool::new(false);
    let (sent, history) = thread::scope(|scope| -> Result<_> {
        let flood = |port| {
            scope.spawn({
                let (client, stop) = (&client, &stop);
                move || flood(client, port, stop)
            })
        };
        let (to_allowed, to_denied) = (flood(7), flood(CLOSED));
        let outcome = change(&firewall, policies, turns, &before.counters);
        stop.store(true, Ordering::Relaxed);
        let sent = [to_allowed, to_denied].map(|flood| flood.join().unwrap_or(Ok(0)));
        let [allowed, denied] = sent;
        Ok(([allowed?, denied?], outcome?))
    })?;
    let fared: Vec<_> = streams.into_iter().map(Stream::end).collect();

    // Whatever still waits in the ring is judged by now.
    thread::sleep(Duration::from_millis(100));
    let (counters, link) = at_rest(&firewall, &client)?;
    let (since, link) = (counters.since(&before.counters), link.since(&before.link));
    assert_eq!(link.tx_dropped, 0, "the cable itself lost frames");
    // A datagram counts as arrived once somebody has read it.
    let [_, delivered] = [&allowed, &denied].map(drained);
    let arrived = Snmp::of(&server)?.udp_arrived() - before.arrived;
    let passed = since.rule("ingress", "echo").packets;
    let dropped = since.reason("ingress", "default-drop");
    let judged = since.passed("ingress") + since.dropped("ingress");
    eprintln!(
        "{name}: {} changes; allowed {} sent, {passed} passed, {arrived} arrived; denied {} sent, \
         {dropped} dropped; {judged} packets judged of {} on the wire; streams {fared:?}",
        history.len(),
        sent[0],
        sent[1],
        link.tx_packets
    );
    assert_eq!((passed, arrived), (sent[0], sent[0]), "allowed packets");
    assert_eq!(dropped, sent[1], "denied packets");
    assert_eq!(delivered, 0, "denied packets were delivered");
    assert_eq!(judged, link.tx_packets, "every packet on the wire is judged once");
    assert_eq!(since.dropped("ingress"), dropped, "{since:?}");
    assert_eq!(since.dropped("egress"), 0, "{since:?}");
    for one in fared {
        assert!(!one.broken && one.answered > 10, "{one:?}");
    }
    Ok(())
}

/// What was counted at the beginning.
struct Before {
    counters: Counters,
    link: Link,
    arrived: u64,
}

impl Before {
    fn read(firewall: &Firewall, client: &Host) -> Result<Self> {
        let (counters, link) = at_rest(firewall, client)?;
        Ok(Self { counters, link, arrived: Snmp::of(firewall.host())?.udp_arrived() })
    }
}

/// The firewall's counters and the cable's, between which no packet was sent: hosts
/// look for routers and neighbours at any time.
fn at_rest(firewall: &Firewall, client: &Host) -> Result<(Counters, Link)> {
    for _ in 0..100 {
        let link = Link::of(client, "eth0")?;
        let counters = firewall.counters()?;
        if Link::of(client, "eth0")? == link {
            return Ok((counters, link));
        }
    }
    bail!("the cable is never at rest")
}

/// Applies one policy after the other; no counter may ever go backwards.
fn change(
    firewall: &Firewall,
    policies: &[String],
    turns: usize,
    before: &Counters,
) -> Result<Vec<Counters>> {
    let mut history: Vec<Counters> = Vec::new();
    let generation = firewall.generation()?;
    for turn in 1..=turns {
        firewall.enforce(&policies[turn % policies.len()])?;
        let now = firewall.counters()?;
        let shrunk = now.shrunk(history.last().unwrap_or(before));
        assert!(shrunk.is_empty(), "after change {turn}: {shrunk:?}");
        history.push(now);
    }
    assert_eq!(firewall.generation()?, generation + turns as u64);
    Ok(history)
}

/// Reads all that waits at a socket; returns how many datagrams that were.
fn drained(socket: &UdpSocket) -> usize {
    let _blocks = socket.set_nonblocking(true);
    std::iter::from_fn(|| socket.recv(&mut [0; 8]).ok()).count()
}

/// Sends datagrams to the server as fast as they go, over both families; returns
/// how many.
fn flood(client: &Host, port: u16, stop: &AtomicBool) -> Result<u64> {
    let sockets = client.enter(|| -> Result<Vec<UdpSocket>> {
        pair::server(port)
            .into_iter()
            .map(|to| {
                let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(any)?;
                socket.connect(to)?;
                Ok(socket)
            })
            .collect()
    })??;
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        for socket in &sockets {
            socket.send(b"counted!").context("the flood was held up")?;
            sent += 1;
        }
    }
    Ok(sent)
}

#[test]
fn a_policy_that_grew_on_trial_gives_way_and_every_packet_is_counted() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("grown")?;
    let _echo = Echo::udp(&server, 7)?;
    let firewall = Firewall::with_policy(&server, &policy(&[ECHO], &[]))?;
    let mut talk = Conversation::udp(&client, None, pair::server(7)[0])?;
    let mut ask = |times: u64| -> Result<u64> {
        let before = firewall.counters()?;
        for _ in 0..times {
            assert!(talk.asks(), "echo is closed");
        }
        Ok(firewall.counters()?.since(&before).rule("ingress", "echo").packets)
    };
    assert_eq!(ask(3)?, 3);
    firewall.write(&large(&[ECHO], &[]))?;
    firewall.refused(&["apply", "--confirm-within", "1h"], 3)?;
    assert_eq!(ask(3)?, 3, "on trial");
    firewall.check(&["rollback"])?;
    assert_eq!(ask(3)?, 3, "after it");
    // The slot of the trial is written over, the counters that it had stay large.
    firewall.enforce(&policy(&[ECHO, WEB], &[]))?;
    assert_eq!(ask(3)?, 3, "with a smaller policy");
    assert_eq!(firewall.counters()?.rule("ingress", "echo").packets, 12);
    Ok(())
}

/// A policy of more rules than the counters have room for in the beginning.
fn large(ingress: &[&str], egress: &[&str]) -> String {
    let more = |n| format!("name: extra-{n}, from: \"2001:db8:9::{n:x}\", service: alternative");
    let more: Vec<String> = (0..400).map(more).collect();
    let all: Vec<&str> = ingress.iter().copied().chain(more.iter().map(String::as_str)).collect();
    policy(&all, egress)
}
