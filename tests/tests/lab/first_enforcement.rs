//! What was running before the first policy, and what becomes of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use firewall_tests::firewall::Firewall;
use firewall_tests::pair::{self, Pair};
use firewall_tests::traffic::cable::Faults;
use firewall_tests::traffic::conversation::{Conversation, connects};
use firewall_tests::traffic::echo::Echo;
use firewall_tests::traffic::stream::Stream;
use firewall_tests::traffic::truth::Snmp;
use firewall_tests::traffic::{PATIENCE, REFUSAL};

use crate::support::policy;

/// As many as there were nodes in the cluster whose connections another firewall
/// cut (cilium issue 48070), half of either family.
const FLOWS: usize = 61;
const BUSY: usize = 6;

#[test]
fn connections_that_this_host_opened_before_the_first_policy_go_on() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("seeded")?;
    let _servers = (Echo::tcp(&client, 7000)?, Echo::udp(&client, 7000)?);
    let there = pair::client(7000);
    let mut flows = Vec::new();
    for number in 0..FLOWS {
        let to = there[number % 2];
        flows.push(match number % 10 {
            8 | 9 => Conversation::udp(&server, None, to)?,
            _ => Conversation::tcp(&server, None, to)?,
        });
    }
    assert!(flows.iter_mut().all(Conversation::asks), "before");
    let busy: Vec<Stream> =
        flows.drain(..BUSY).map(|flow| Stream::start(flow, 1000, PATIENCE)).collect();

    // The policy would let this host open none of them.
    let text = policy(&[], &["name: outside, to: any, service: outside"]);
    let firewall = Firewall::on(&server)?;
    let said = firewall.enforce(&text)?;
    assert!(said.contains(&format!("kept {FLOWS} connections")), "{said}");
    assert!(!connects(&server, None, there[0], REFUSAL)?, "a new one was let out");
    for (number, flow) in flows.iter_mut().enumerate() {
        assert!(flow.asks(), "idle flow {number} from {:?} was cut", flow.local()?);
    }
    // Nor does the next policy cut them.
    firewall.enforce(&policy(&[], &[]))?;
    assert!(flows.iter_mut().all(Conversation::asks), "after the second policy");
    for stream in busy {
        let sofar = stream.answered();
        std::thread::sleep(Duration::from_millis(5));
        let fared = stream.end();
        assert!(!fared.broken && fared.answered > sofar, "{fared:?}");
        assert!(fared.slowest < Duration::from_secs(2), "a packet was lost: {fared:?}");
    }
    let counters = firewall.counters()?;
    assert_eq!(counters.reason("ingress", "tcp-no-flow"), 0);
    Ok(())
}

/// The cable holds every frame back, so that in each moment some have sent a SYN and wait.
#[test]
fn handshakes_that_are_under_way_are_completed() -> Result<()> {
    let slow = Faults { late: 1000, ..Faults::default() };
    let (Pair { server, client, lab: _lab }, _cable) = Pair::over("handshakes", slow)?;
    let _servers = Echo::tcp(&client, 443)?;
    let firewall = Firewall::on(&server)?;
    let enforced = AtomicBool::new(false);
    let call = &|to| -> Result<u32> {
        let mut calls = 0;
        while !enforced.load(Ordering::Relaxed) {
            Conversation::tcp(&server, None, to)?;
            calls += 1;
        }
        Ok(calls)
    };
    let calls: Vec<u32> = thread::scope(|scope| {
        let start = |to| scope.spawn(move || call(to));
        let callers: Vec<_> = pair::client(443).repeat(3).into_iter().map(start).collect();
        let said =
            firewall.enforce(&policy(&[], &["name: outside, to: clients, service: outside"]));
        thread::sleep(Duration::from_millis(100));
        enforced.store(true, Ordering::Relaxed);
        let calls = callers.into_iter().map(|caller| caller.join().expect("a caller"));
        let calls: Result<_> = calls.collect();
        said.and(calls)
    })?;
    assert!(calls.iter().all(|calls| *calls > 10), "{calls:?}");
    // Whose answer was dropped asks again, a second later.
    assert_eq!(Snmp::of(&server)?.get("TcpExt.TCPSynRetrans"), 0, "of {calls:?} calls");
    Ok(())
}

#[test]
fn inbound_connections_go_on_only_where_the_policy_admits_them() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("running")?;
    let servers = [22, 80, 8080].map(|port| Echo::tcp(&server, port));
    let _servers: Vec<Echo> = servers.into_iter().collect::<Result<_>>()?;
    let _echo = Echo::udp(&server, 7)?;
    let open = |port: u16, from: [std::net::IpAddr; 2]| -> Result<Vec<Conversation>> {
        let ends = pair::server(port).into_iter().zip(from);
        ends.map(|(to, from)| Conversation::tcp(&client, Some(from), to)).collect()
    };
    let mut admitted = open(80, pair::CLIENT)?;
    admitted.extend(open(22, pair::ADMIN)?);
    let mut others = open(8080, pair::CLIENT)?;
    others.extend(open(22, pair::STRANGER)?);
    assert!(admitted.iter_mut().chain(&mut others).all(Conversation::asks), "before");

    let text = policy(&["name: web, from: any, service: web"], &[]);
    let firewall = Firewall::with_policy(&server, &text)?;
    assert!(admitted.iter_mut().all(Conversation::asks), "an admitted connection was cut");
    let before = firewall.counters()?;
    for other in &mut others {
        assert!(!other.asks_within(8, REFUSAL), "{:?} still talks", other.local()?);
    }
    let since = firewall.counters()?.since(&before);
    assert!(since.reason("ingress", "default-drop") >= 4, "{since:?}");
    assert!(admitted.iter_mut().all(Conversation::asks), "afterwards");
    Ok(())
}
