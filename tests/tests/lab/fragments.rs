//! Datagrams in pieces: each piece is seen alone, in both directions.

use std::time::Duration;

use anyhow::Result;
use firewall_tests::firewall::Firewall;
use firewall_tests::packet::{Frame, Udp};
use firewall_tests::pair::{self, CLIENT, Pair, SERVER};
use firewall_tests::traffic::conversation::Conversation;
use firewall_tests::traffic::echo::Echo;
use firewall_tests::traffic::raw::Raw;
use firewall_tests::traffic::{PATIENCE, REFUSAL};

use crate::support::{policy, wait_until};

const ECHO: &str = "name: echo, from: clients, service: echo";
const DNS: &str = "name: dns, to: clients, service: dns";

#[test]
fn large_datagrams_and_pings_pass_both_ways() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("pieces")?;
    let _servers = (Echo::udp(&server, 7)?, Echo::udp(&client, 53)?);
    let firewall = Firewall::with_policy(&server, &policy(&[ECHO], &[DNS]))?;
    for family in 0..2 {
        let mut inbound = Conversation::udp(&client, None, pair::server(7)[family])?;
        let mut outbound = Conversation::udp(&server, None, pair::client(53)[family])?;
        for length in [2000, 3000, 4000] {
            assert!(inbound.asks_within(length, PATIENCE), "{length} bytes in, {}", SERVER[family]);
            assert!(
                outbound.asks_within(length, PATIENCE),
                "{length} bytes out, {}",
                CLIENT[family]
            );
        }
        for size in [2000, 4000] {
            client.sh(&format!("ping -c 1 -W 5 -s {size} {}", SERVER[family]))?;
            server.sh(&format!("ping -c 1 -W 5 -s {size} {}", CLIENT[family]))?;
        }
    }
    let counters = firewall.counters()?;
    for way in ["ingress", "egress"] {
        // 1 + 2 + 2 later pieces of three datagrams, twice; 1 + 2 of two pings,
        // twice; of two families.
        assert_eq!(counters.reason(way, "fragment-follows"), 2 * (2 * 5 + 2 * 3), "{counters:?}");
        assert_eq!(counters.dropped(way), 0, "{counters:?}");
    }
    Ok(())
}

#[test]
fn pieces_of_a_denied_datagram_are_dropped_with_the_first() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("denied-pieces")?;
    let echo = Echo::udp(&server, 9)?;
    let firewall = Firewall::with_policy(&server, &policy(&[ECHO], &[DNS]))?;
    for to in pair::server(9) {
        assert!(!Conversation::udp(&client, None, to)?.asks_within(4000, REFUSAL), "{to}");
    }
    for to in pair::client(9) {
        assert!(!Conversation::udp(&server, None, to)?.asks_within(4000, REFUSAL), "{to}");
    }
    let counters = firewall.counters()?;
    assert_eq!(counters.reason("ingress", "default-drop"), 2, "{counters:?}");
    assert_eq!(counters.reason("ingress", "fragment-follows-drop"), 4, "{counters:?}");
    // Once the first piece is refused, the kernel sends no other one.
    assert_eq!(counters.reason("egress", "default-drop"), 2, "{counters:?}");
    for reason in ["fragment-follows", "fragment-unknown"] {
        assert_eq!(counters.reason("egress", reason), 0, "{counters:?}");
    }
    assert_eq!(echo.seen(), 0);
    Ok(())
}

#[test]
fn pieces_that_overtake_the_first_still_make_a_datagram() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("overtaken")?;
    let echo = Echo::udp(&server, 7)?;
    let firewall = Firewall::with_policy(&server, &policy(&[ECHO], &[DNS]))?;
    let raw = Raw::on(&client, "eth0")?;
    for (round, (from, to)) in (1..).zip(CLIENT.into_iter().zip(SERVER)) {
        let datagram = Frame::ethernet().ip(from, to).udp(Udp::between(40_007, 7));
        let pieces = datagram.payload([7; 4000]).fragments(1400);
        for piece in pieces.iter().rev() {
            raw.send(piece)?;
        }
        wait_until("the datagram arrives", Duration::from_secs(3), || Ok(echo.seen() == round))?;
        let counters = firewall.counters()?;
        let unknown = counters.reason("ingress", "fragment-unknown");
        assert_eq!(unknown, 2 * round, "{counters:?}");
    }
    Ok(())
}
