//! Inbound connections keep no state: a policy holds for their next packet.

use anyhow::Result;
use firewall_tests::firewall::Firewall;
use firewall_tests::packet::{Frame, Tcp, flags};
use firewall_tests::pair::{self, Pair};
use firewall_tests::traffic::conversation::{Conversation, connects};
use firewall_tests::traffic::echo::Echo;
use firewall_tests::traffic::raw::Raw;
use firewall_tests::traffic::{PATIENCE, REFUSAL};

use crate::support::policy;

#[test]
fn removing_an_allow_stops_a_running_connection_at_its_next_packet() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("removed")?;
    let _servers = (Echo::tcp(&server, 80)?, Echo::tcp(&server, 8080)?);
    let web = "name: web, from: any, service: web";
    let both = policy(&[web, "name: more, from: any, service: alternative"], &[]);
    let firewall = Firewall::with_policy(&server, &both)?;
    let talk = |port| -> Result<Vec<Conversation>> {
        pair::server(port).into_iter().map(|to| Conversation::tcp(&client, None, to)).collect()
    };
    let (mut stay, mut go) = (talk(80)?, talk(8080)?);
    assert!(stay.iter_mut().chain(&mut go).all(Conversation::asks));

    firewall.enforce(&policy(&[web], &[]))?;
    for one in &mut go {
        assert!(!one.asks_within(8, REFUSAL), "{:?} still talks", one.local()?);
    }
    assert!(stay.iter_mut().all(Conversation::asks), "another connection was cut, too");

    // Neither is anything kept that would have to be cleared: it comes back with
    // its rule.
    firewall.enforce(&both)?;
    for one in &mut go {
        assert!(one.asks(), "it did not come back");
    }
    Ok(())
}

#[test]
fn a_deny_beats_an_allow_for_running_connections_too() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("denied")?;
    let _web = Echo::tcp(&server, 80)?;
    let open = policy(&["name: web, from: any, service: web"], &[]);
    let firewall = Firewall::with_policy(&server, &open)?;
    let ends = pair::server(80).into_iter().zip(pair::STRANGER);
    let mut strangers: Vec<Conversation> =
        ends.map(|(to, from)| Conversation::tcp(&client, Some(from), to)).collect::<Result<_>>()?;
    let mut other = Conversation::tcp(&client, None, pair::server(80)[0])?;
    assert!(strangers.iter_mut().all(Conversation::asks) && other.asks());

    let deny = "ingress:\n  deny:\n    - { name: go-away, from: strangers, service: all }\n";
    firewall.enforce(&open.replace("ingress:\n  allow", &format!("{deny}  allow")))?;
    let before = firewall.counters()?;
    for one in &mut strangers {
        assert!(!one.asks_within(8, REFUSAL), "{:?} still talks", one.local()?);
    }
    for (to, from) in pair::server(80).into_iter().zip(pair::STRANGER) {
        assert!(!connects(&client, Some(from), to, REFUSAL)?, "{from} gets in");
    }
    assert!(other.asks(), "another source was cut, too");
    let since = firewall.counters()?.since(&before);
    assert!(since.rule("ingress", "go-away").packets >= 4, "{since:?}");
    assert_eq!(since.reason("ingress", "deny"), since.rule("ingress", "go-away").packets);
    Ok(())
}

/// RFC 9293 section 3.10.7.1: the reset of a segment with ACK carries none itself.
/// Without it the other end would send again for a quarter of an hour.
#[test]
fn a_connection_that_is_no_more_is_reset_at_once() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("stale")?;
    let _web = Echo::tcp(&server, 80)?;
    let web = "name: web, from: any, service: web";
    let firewall = Firewall::with_policy(&server, &policy(&[web], &[]))?;
    let raw = Raw::on(&client, "eth0")?;
    for (from, to) in pair::CLIENT.into_iter().zip(pair::SERVER) {
        let ack =
            Tcp { flags: flags::PSH | flags::ACK, acknowledgment: 77, ..Tcp::between(40_080, 80) };
        raw.send(&Frame::ethernet().ip(from, to).tcp(ack).payload(b"are you there?"))?;
        let is_reset = |frame: &[u8]| {
            let header = frame.len().checked_sub(20).and_then(|start| frame.get(start..));
            header.is_some_and(|tcp| tcp.starts_with(&[0, 80, 0x9c, 0x90]) && tcp[13] == flags::RST)
        };
        let reset = raw.wait_for(PATIENCE, is_reset);
        assert!(reset.is_some(), "no reset from {to}: {:?}", firewall.counters()?);
    }
    assert_eq!(firewall.counters()?.dropped("egress"), 0);
    Ok(())
}
