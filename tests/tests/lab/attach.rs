//! The first policy on a host: what it closes, what it leaves open, where it
//! sits.

use std::net::{TcpListener, TcpStream};

use anyhow::{Context as _, Result};
use firewall_tests::firewall::{Firewall, shipped};
use firewall_tests::pair::{self, Pair};
use firewall_tests::traffic::conversation::{Conversation, connects};
use firewall_tests::traffic::echo::Echo;
use firewall_tests::traffic::{REFUSAL, at};

use crate::support::policy;

#[test]
fn the_first_policy_opens_what_it_names_and_closes_the_rest() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("first")?;
    let servers = [22, 80, 443, 3306, 8080].map(|port| Echo::tcp(&server, port));
    let servers: Vec<Echo> = servers.into_iter().collect::<Result<_>>()?;
    for address in pair::server(3306) {
        assert!(Conversation::tcp(&client, None, address)?.asks(), "{address} before");
    }
    let firewall = Firewall::on(&server)?;
    let said = firewall.check(&["apply", &shipped("standalone").display().to_string()])?;
    assert!(said.contains("attached eth0") && said.contains("generation 1"), "{said}");
    for port in [22, 80, 443] {
        for address in pair::server(port) {
            assert!(Conversation::tcp(&client, None, address)?.asks(), "{address} is closed");
        }
    }
    let before = firewall.counters()?;
    for port in [3306, 8080, 81] {
        for address in pair::server(port) {
            assert!(!connects(&client, None, address, REFUSAL)?, "{address} is open");
        }
    }
    let since = firewall.counters()?.since(&before);
    assert!(since.reason("ingress", "default-drop") >= 6, "{since:?}");
    let accepted: Vec<u64> = servers.iter().map(Echo::seen).collect();
    assert_eq!(accepted, [2, 2, 2, 2, 0], "connections accepted at 22, 80, 443, 3306, 8080");
    Ok(())
}

#[test]
fn it_sits_in_the_driver_and_at_tcx_and_says_so() -> Result<()> {
    let Pair { server, client: _client, lab: _lab } = Pair::new("hooks")?;
    let firewall = Firewall::with_policy(&server, &policy(&[], &[]))?;
    let status = firewall.check(&["status"])?;
    assert!(status.starts_with("enforcing   role lab"), "{status}");
    assert!(status.contains("eth0  xdp native + tcx egress  MTU 1500"), "{status}");
    let json = firewall.json(&["status"])?;
    assert_eq!(json["enforcement"], "enforcing");
    assert_eq!(json["interfaces"][0]["ingress"], "xdp-native");
    assert_eq!(json["interfaces"][0]["egress"], "tcx");
    // `xdp` is the driver's hook, `xdpgeneric` the one behind it.
    let link = server.sh("ip -brief link show dev eth0 && ip link show dev eth0")?;
    assert!(link.contains("xdp") && !link.contains("xdpgeneric"), "{link}");
    Ok(())
}

#[test]
fn a_policy_for_tc_sits_at_tcx_on_both_sides() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("tc")?;
    let _web = Echo::tcp(&server, 80)?;
    let text = policy(&["name: web, from: any, service: web"], &[]);
    let text = text.replace("[\"eth*\"] }", "[\"eth*\"], ingress-hook: tc }");
    let firewall = Firewall::with_policy(&server, &text)?;
    let json = firewall.json(&["status"])?;
    assert_eq!(json["interfaces"][0]["ingress"], "tcx");
    for (open, closed) in pair::server(80).into_iter().zip(pair::server(81)) {
        assert!(Conversation::tcp(&client, None, open)?.asks(), "{open} is closed");
        assert!(!connects(&client, None, closed, REFUSAL)?, "{closed} is open");
    }
    let counters = firewall.counters()?;
    assert!(counters.reason("ingress", "default-drop") >= 2, "{counters:?}");
    Ok(())
}

#[test]
fn a_policy_that_moves_to_another_hook_is_moved() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("moved")?;
    let _web = Echo::tcp(&server, 80)?;
    let text = policy(&["name: web, from: any, service: web"], &[]);
    let firewall = Firewall::with_policy(&server, &text)?;
    let at_tc = text.replace("[\"eth*\"] }", "[\"eth*\"], ingress-hook: tc }");
    for (text, hook) in [(&at_tc, "tcx"), (&text, "xdp-native")] {
        firewall.write(text)?;
        firewall.refused(&["apply", "--dry-run"], 2)?;
        firewall.enforce(text)?;
        assert_eq!(firewall.json(&["status"])?["interfaces"][0]["ingress"], hook);
        firewall.check(&["apply", "--dry-run"])?;
        for (open, closed) in pair::server(80).into_iter().zip(pair::server(81)) {
            assert!(Conversation::tcp(&client, None, open)?.asks(), "{open} is closed at {hook}");
            assert!(!connects(&client, None, closed, REFUSAL)?, "{closed} is open at {hook}");
        }
    }
    Ok(())
}

#[test]
fn an_interface_of_another_name_stays_enforced() -> Result<()> {
    let Pair { server, client: _client, lab: _lab } = Pair::new("renamed")?;
    let firewall = Firewall::with_policy(&server, &policy(&[], &[]))?;
    server.sh("ip link set eth0 down && ip link set eth0 name foo0 && ip link set foo0 up")?;
    // The policy in force, and a policy that is not: neither lets go of the only one.
    firewall.refused(&["apply"], 1)?;
    firewall.write(&policy(&["name: web, from: any, service: web"], &[]))?;
    firewall.refused(&["apply"], 1)?;
    firewall.check(&["attach"])?;
    let json = firewall.json(&["status"])?;
    assert_eq!(
        (&json["enforcement"], &json["interfaces"][0]["name"]),
        (&"enforcing".into(), &"foo0".into())
    );
    Ok(())
}

#[test]
fn loopback_and_the_own_addresses_are_never_touched() -> Result<()> {
    let Pair { server, client: _client, lab: _lab } = Pair::new("loopback")?;
    // Even a policy that names it does not get it.
    let text = policy(&[], &[]).replace("[\"eth*\"]", "[\"*\"]");
    let firewall = Firewall::with_policy(&server, &text)?;
    let links = server.sh("ip link show dev lo; ls /sys/fs/bpf/firewall/v6/links")?;
    assert!(!links.contains("xdp/id") && !links.contains("-1\n"), "{links}");
    let listener = server.enter(|| TcpListener::bind("[::]:9999"))??;
    let before = firewall.counters()?;
    for address in ["127.0.0.1:9999", "[::1]:9999", "192.0.2.10:9999", "[2001:db8:1::10]:9999"] {
        let limit = firewall_tests::traffic::PATIENCE;
        server
            .enter(|| TcpStream::connect_timeout(&at(address), limit))?
            .with_context(|| format!("{address} of this host itself"))?;
        listener.accept()?;
    }
    let since = firewall.counters()?.since(&before);
    assert_eq!((since.dropped("ingress"), since.dropped("egress")), (0, 0), "{since:?}");
    Ok(())
}
