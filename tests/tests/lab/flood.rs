//! Floods: they fill no table, cut nobody off, and cost the agent next to
//! nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::Result;
use firewall_tests::firewall::Firewall;
use firewall_tests::gate;
use firewall_tests::host::Host;
use firewall_tests::packet::{CLIENT4, Frame, Ipv4, Ipv6, SERVER4, SERVER6, Tcp, flags};
use firewall_tests::pair::{self, Pair};
use firewall_tests::traffic::PATIENCE;
use firewall_tests::traffic::conversation::Conversation;
use firewall_tests::traffic::echo::Echo;
use firewall_tests::traffic::raw::Raw;
use firewall_tests::traffic::stream::Stream;
use firewall_tests::traffic::truth::{Link, Usage};

use crate::support::{policy, store, wait_until};

const WEB: &str = "name: web, from: any, service: web";
const OUT: &str = "name: outside, to: any, service: outside";

#[test]
fn a_flood_writes_no_flow_and_leaves_running_ones_alone() -> Result<()> {
    withstands("flood", &policy(&[WEB], &[OUT]))
}

/// What this host answers, it has not opened, whatever it may open.
#[test]
fn nor_does_it_where_this_host_may_send_anything() -> Result<()> {
    let text = policy(&[WEB], &[OUT]);
    withstands("open-flood", &text.replace("egress: drop", "egress: allow"))
}

fn withstands(name: &str, policy: &str) -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new(name)?;
    let _servers = (Echo::tcp(&server, 80)?, Echo::tcp(&client, 443)?);
    // So that the server tries to answer everybody.
    server.route("default", &CLIENT4.to_string())?;
    server.route("default", "2001:db8:2::20")?;
    let text = format!("{policy}state: {{ flows: 1024 }}\n");
    let firewall = Firewall::with_policy(&server, &text)?;
    let busy: Vec<Stream> = pair::client(443)
        .into_iter()
        .map(|to| Ok(Stream::start(Conversation::tcp(&server, None, to)?, 100, PATIENCE)))
        .collect::<Result<_>>()?;
    let mut idle = Conversation::tcp(&server, None, pair::client(443)[0])?;
    assert!(idle.asks());
    assert_eq!(flow_count(&firewall)?, 3);

    let before = firewall.counters()?;
    let sent = flood(&client, Duration::from_secs(1), &spoofed())?;
    let since = firewall.counters()?.since(&before);
    assert_eq!(flow_count(&firewall)?, 3, "a packet from outside wrote an entry");
    assert!(idle.asks(), "an idle connection was cut");
    for stream in busy {
        let fared = stream.end();
        assert!(!fared.broken && fared.slowest < Duration::from_secs(2), "{fared:?}");
    }
    let judged = since.passed("ingress") + since.dropped("ingress");
    let answered = since.reason("egress", "established") + since.reason("egress", "default-allow");
    eprintln!(
        "{sent} spoofed segments sent, {judged} packets judged, {answered} answered, 3 flows"
    );
    // Many times what the table holds, however busy the machine is.
    assert!(sent > 10_000 && judged >= sent / 2, "{sent} sent, {judged} judged");
    assert!(answered > 1000, "this host did not answer: {since:?}");
    for reason in ["rule", "default-drop", "tcp-no-flow"] {
        assert!(since.reason("ingress", reason) > 1000, "{reason}: {since:?}");
    }
    Ok(())
}

#[test]
fn a_flood_of_drops_costs_the_agent_next_to_nothing_and_is_told() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("event-flood")?;
    let firewall = Firewall::on(&server)?;
    firewall.write(&policy(&[WEB], &[OUT]))?;
    let agent = firewall.agent()?;
    let spent = |time: Duration, work: &dyn Fn() -> Result<u64>| -> Result<(u64, f64)> {
        let (start, before) = (Instant::now(), Usage::of(agent.pid())?.cpu);
        let sent = work()?;
        sleep(time.saturating_sub(start.elapsed()));
        let cpu = Usage::of(agent.pid())?.cpu - before;
        Ok((sent, cpu.as_secs_f64() / start.elapsed().as_secs_f64() * 100.0))
    };
    let time = Duration::from_secs(2);
    let (_, idle) = spent(time, &|| Ok(0))?;
    let (before, link) = (firewall.counters()?, Link::of(&server, "eth0")?);
    let denied: Vec<Vec<u8>> = spoofed().into_iter().skip(1).step_by(4).collect();
    let (sent, flooded) = spent(time, &|| flood(&client, time, &denied))?;
    let dropped = firewall.counters()?.since(&before).dropped("ingress");
    let arrived = Link::of(&server, "eth0")?.since(&link).rx_packets;

    let status = firewall.json(&["status"])?;
    let suppressed = status["events"]["suppressed"].as_u64().unwrap_or_default();
    let lost = status["events"]["lost"].as_u64().unwrap_or_default();
    sleep(Duration::from_millis(1100));
    let events = firewall.check(&["events", "-n", "1000"])?;
    let lines = events.lines().count();
    let Usage { resident, anonymous, .. } = Usage::of(agent.pid())?;
    eprintln!(
        "agent: {idle:.1} % CPU idle, {flooded:.1} % under {} drops/s; RSS {:.1} MiB, {:.1} MiB of \
         its own; {dropped} dropped of {sent} sent, {suppressed} suppressed, {lost} lost, {lines} \
         lines of events",
        dropped / time.as_secs(),
        resident as f64 / 1_048_576.0,
        anonymous as f64 / 1_048_576.0,
    );
    assert!(dropped > 50_000 && dropped <= arrived, "{dropped} of {arrived}");
    assert!(flooded - idle < 10.0, "{flooded:.1} % CPU under the flood");
    // Everything that was dropped was told, or counted as not told.
    assert!(suppressed + lost + 10_000 > dropped, "{suppressed} + {lost} of {dropped}");
    assert!((1..1000).contains(&lines), "{lines} lines");
    assert!(events.contains("default-in"), "{events}");
    assert!(events.contains("more"), "what was kept back is not told: {events}");
    Ok(())
}

/// Frames from sources that are nobody, in turn: to an open port SYNs, and segments
/// of no connection; to a closed one SYNs; and what might belong to a flow of the
/// server's.
fn spoofed() -> Vec<Vec<u8>> {
    let ack = |tcp| Tcp { flags: flags::ACK, acknowledgment: 9, ..tcp };
    (0..8192_u32)
        .map(|number| {
            let tcp = match number % 4 {
                0 => Tcp::between(port(number), 80),
                1 => Tcp::between(port(number), 81),
                2 => ack(Tcp::between(port(number), 80)),
                _ => ack(Tcp::between(443, port(number))),
            };
            let ip = if number / 4 % 2 == 0 {
                // 198.18.0.0/15 is for tests of this kind (RFC 2544).
                Frame::ethernet().ipv4(Ipv4::between((0xc612_0000 + number * 21).into(), SERVER4))
            } else {
                let source = 0x2001_0db8_0bad << 80 | u128::from(number) << 64 | 1;
                Frame::ethernet().ipv6(Ipv6::between(source.into(), SERVER6))
            };
            ip.tcp(tcp).bytes()
        })
        .collect()
}

fn port(number: u32) -> u16 {
    u16::try_from(1024 + number % 60_000).unwrap_or(1024)
}

/// Frames that make a flood, however busy the machine is.
const LEAST: u64 = 60_000;

/// Sends frames in turn for a while, and at least [`LEAST`]; returns how many were
/// taken.
fn flood(client: &Host, time: Duration, frames: &[Vec<u8>]) -> Result<u64> {
    let raw = Raw::sender(client, "eth0")?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let (start, mut sent) = (Instant::now(), 0);
            for frame in frames.iter().cycle() {
                let enough = sent >= LEAST || start.elapsed() > 10 * time;
                if enough && stop.load(Ordering::Relaxed) {
                    break;
                }
                sent += u64::from(raw.send_bytes(frame)?);
            }
            Ok(sent)
        });
        sleep(time);
        stop.store(true, Ordering::Relaxed);
        sender.join().unwrap_or(Ok(0))
    })
}

fn flow_count(firewall: &Firewall) -> Result<usize> {
    store(firewall, |store| Ok(store.flow_usage()?.0))
}

#[test]
fn an_event_names_both_ends_the_rule_and_the_process() -> Result<()> {
    gate::tool("curl", "curl")?;
    let Pair { server, client, lab: _lab } = Pair::new("events")?;
    let firewall = Firewall::on(&server)?;
    firewall.write(&policy(&[WEB], &[OUT]))?;
    let _agent = firewall.agent()?;
    for to in pair::server(8080) {
        let limit = Duration::from_millis(50);
        Conversation::tcp_within(&client, None, to, limit)?;
    }
    server.sh("curl -s --max-time 0.3 http://198.51.100.20:25/ || true")?;
    let wanted = [
        ["drop   in", "198.51.100.20:", "→ 192.0.2.10:8080", "tcp SYN", "default-in", "eth0"],
        [
            "drop   in",
            "[2001:db8:2::20]:",
            "→ [2001:db8:1::10]:8080",
            "tcp SYN",
            "default-in",
            "eth0",
        ],
        ["drop   out", "192.0.2.10:", "→ 198.51.100.20:25", "tcp SYN", "default-out", "curl"],
    ];
    let mut events = String::new();
    let found = wait_until("the events are told", PATIENCE, || {
        events = firewall.check(&["events"])?;
        let told = |parts: &[&str]| {
            events.lines().any(|line| parts.iter().all(|part| line.contains(part)))
        };
        Ok(wanted.iter().all(|parts| told(parts)))
    });
    assert!(found.is_ok(), "{events}");
    let only = firewall.check(&["events", "--port", "25", "-o", "json"])?;
    for line in only.lines() {
        let event: serde_json::Value = serde_json::from_str(line)?;
        assert_eq!(event["to_port"], 25, "{event}");
    }
    Ok(())
}
