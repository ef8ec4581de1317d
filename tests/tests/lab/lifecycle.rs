//! Coming and going: of interfaces, of the agent, of the firewall itself.

use std::time::Duration;

use anyhow::Result;
use firewall_tests::firewall::Firewall;
use firewall_tests::gate;
use firewall_tests::host::Host;
use firewall_tests::pair::{self, Pair};
use firewall_tests::traffic::conversation::{Conversation, connects};
use firewall_tests::traffic::echo::Echo;
use firewall_tests::traffic::{PATIENCE, REFUSAL};

use crate::support::{policy, wait_until};

const WEB: &str = "name: web, from: any, service: web";

#[test]
fn a_test_in_the_kernel_leaves_nothing_there() -> Result<()> {
    let Pair { server, lab: _lab, .. } = Pair::new("tested")?;
    let firewall = Firewall::on(&server)?;
    let case = "tests:\n  - { name: web, in: { from: 192.0.2.9, to: 198.51.100.1, tcp: 80 }, expect: allow }\n";
    firewall.write(&(policy(&[WEB], &[]) + case))?;
    let said = firewall.check(&["test", "--json"])?;
    assert!(said.contains("\"engine\":\"the BPF program\""), "{said}");
    server.sh("test ! -e /sys/fs/bpf/firewall")?;
    Ok(())
}

#[test]
fn detaching_opens_the_host_and_says_so() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("detach")?;
    let _servers = (Echo::tcp(&server, 80)?, Echo::tcp(&server, 8080)?);
    let firewall = Firewall::on(&server)?;
    firewall.write(&policy(&[WEB], &[]))?;
    let _agent = firewall.agent()?;
    let closed = pair::server(8080);
    assert!(!connects(&client, None, closed[0], REFUSAL)?);

    firewall.refused(&["detach", "--all", "--dry-run"], 2)?;
    let said = firewall.check(&["detach", "--all"])?;
    assert!(said.contains("detached eth0: every packet passes there, in and out"), "{said}");
    assert!(said.contains("this host is OPEN"), "{said}");
    for address in closed {
        assert!(Conversation::tcp(&client, None, address)?.asks(), "{address}");
    }
    let status = firewall.check(&["status"])?;
    assert!(status.starts_with("OPEN        role lab"), "{status}");
    assert!(status.contains("attached to no interface"), "{status}");
    // The agent, which attaches what comes up, leaves it alone.
    std::thread::sleep(Duration::from_millis(2200));
    assert!(connects(&client, None, closed[0], PATIENCE)?, "the agent has attached it again");

    let said = firewall.check(&["attach"])?;
    assert!(said.contains("attached eth0 (xdp-native + tcx-egress)"), "{said}");
    assert!(!connects(&client, None, closed[1], REFUSAL)?);
    assert!(Conversation::tcp(&client, None, pair::server(80)[0])?.asks());
    assert!(firewall.check(&["status"])?.starts_with("enforcing"));
    assert!(firewall.check(&["attach"])?.starts_with("nothing to do"));
    Ok(())
}

#[test]
fn an_interface_that_comes_up_is_attached_within_two_seconds() -> Result<()> {
    let Pair { server, client, lab } = Pair::new("hotplug")?;
    let firewall = Firewall::on(&server)?;
    firewall.write(&policy(&[WEB], &[]))?;
    let agent = firewall.agent()?;
    let cable = |name: &str, net: u8| {
        lab.connect(
            &server.port(name).address(&format!("203.0.113.{net}/28")),
            &client.port(name).address(&format!("203.0.113.{}/28", net + 1)),
        )
    };
    cable("eth1", 1)?;
    cable("wan0", 17)?;
    let hooked = |name: &str| Ok(server.sh(&format!("ip link show dev {name}"))?.contains("xdp"));
    let took = wait_until("eth1 is attached", Duration::from_secs(2), || hooked("eth1"))?;
    wait_until("the agent says so", PATIENCE, || Ok(agent.log().contains("attached eth1")))?;
    assert!(!hooked("wan0")?, "an interface that the policy does not name was touched");
    client.sh("ping -c 1 -W 5 203.0.113.17")?;
    let _web = Echo::tcp(&server, 80)?;
    let other = firewall_tests::traffic::at("203.0.113.1:81");
    assert!(!connects(&client, None, other, REFUSAL)?, "eth1 is open");
    let counters = firewall.counters()?;
    assert!(counters.interface("eth1", "ingress").packets > 0, "{counters:?}");
    eprintln!("attached after {took:?}");

    // It goes, comes back under the same name, and is attached again.
    server.ip(&["link", "del", "eth1"])?;
    wait_until("it is forgotten", Duration::from_secs(3), || {
        Ok(!firewall.check(&["status"])?.contains("eth1"))
    })?;
    cable("eth1", 1)?;
    wait_until("eth1 is attached again", Duration::from_secs(2), || hooked("eth1"))?;
    assert!(!connects(&client, None, other, REFUSAL)?, "the new eth1 is open");
    Ok(())
}

#[test]
fn an_agent_told_to_end_leaves_enforcement_on() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("ended")?;
    let _servers = (Echo::tcp(&server, 80)?, Echo::tcp(&server, 8080)?);
    let firewall = Firewall::on(&server)?;
    firewall.write(&policy(&[WEB], &[]))?;
    let agent = firewall.agent()?;
    let log = agent.log_path().to_path_buf();

    // A hangup makes it take the files as they are now.
    firewall.write(&policy(&[WEB, "name: more, from: any, service: alternative"], &[]))?;
    agent.signal(libc::SIGHUP)?;
    wait_until("the new rule is in force", PATIENCE, || {
        connects(&client, None, pair::server(8080)[0], REFUSAL)
    })?;
    // A broken file does not.
    firewall.write("nonsense: true\n")?;
    agent.signal(libc::SIGHUP)?;
    wait_until("it complains", PATIENCE, || {
        Ok(std::fs::read_to_string(&log)?.contains("what is enforced stays"))
    })?;
    assert!(connects(&client, None, pair::server(8080)[0], PATIENCE)?);

    let ended = agent.stop()?;
    assert!(ended.success(), "{ended}");
    let said = std::fs::read_to_string(&log)?;
    assert!(said.contains("what is attached stays enforced"), "{said}");
    assert!(Conversation::tcp(&client, None, pair::server(80)[1])?.asks());
    assert!(!connects(&client, None, pair::server(81)[1], REFUSAL)?, "81 is open");
    assert!(!server.path("/run/firewall/firewall.sock").exists(), "its socket is left");
    let status = firewall.check(&["status"])?;
    assert!(status.starts_with("enforcing") && status.contains("does not run"), "{status}");
    Ok(())
}

#[test]
fn a_second_agent_is_refused() -> Result<()> {
    let Pair { server, client: _client, lab: _lab } = Pair::new("second")?;
    let firewall = Firewall::on(&server)?;
    firewall.write(&policy(&[WEB], &[]))?;
    let _agent = firewall.agent()?;
    let said = firewall.refused(&["agent"], 1)?;
    assert!(said.contains("another agent runs: root (agent, process "), "{said}");
    Ok(())
}

#[test]
fn nothing_is_left_when_the_firewall_is_taken_off_a_host() -> Result<()> {
    gate::tool("nft", "nftables")?;
    let Pair { server, client, lab: _lab } = Pair::new("leftovers")?;
    let _closed = Echo::tcp(&server, 8080)?;
    server.sh(
        "nft add table inet own; nft add chain inet own input '{ type filter hook input priority 0; }'; \
         nft add rule inet own input tcp dport 9999 counter drop",
    )?;
    let state = |host: &Host| {
        host.sh("nft list ruleset; ip -details link show dev eth0 | sed 's/ promiscuity.*//'; tc qdisc show")
    };
    let before = state(&server)?;
    let firewall = Firewall::with_policy(&server, &policy(&[WEB], &[]))?;
    firewall.enforce(&policy(&[], &[]))?;
    assert!(!connects(&client, None, pair::server(8080)[0], REFUSAL)?);
    assert_ne!(state(&server)?, before);

    firewall.check(&["detach", "--all"])?;
    let links: Vec<String> =
        firewall.pins()?.into_iter().filter(|pin| pin.contains("/links/")).collect();
    assert!(links.is_empty(), "{links:?}");
    server.sh("rm -r /sys/fs/bpf/firewall")?;
    assert!(firewall.pins()?.iter().all(|pin| !pin.contains("firewall")), "{:?}", firewall.pins()?);
    wait_until("the host is as it was", PATIENCE, || Ok(state(&server)? == before))?;
    assert!(Conversation::tcp(&client, None, pair::server(8080)[0])?.asks());
    let status = firewall.check(&["status"])?;
    assert!(status.starts_with("OPEN        no policy is loaded"), "{status}");
    Ok(())
}
