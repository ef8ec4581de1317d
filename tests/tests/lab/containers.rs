//! Containers behind the host, set up as Docker does: a bridge, a veth and a
//! namespace for each, ports published by DNAT, outgoing connections masqueraded.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result};
use firewall_tests::firewall::Firewall;
use firewall_tests::host::Host;
use firewall_tests::pair::{self, Pair};
use firewall_tests::traffic::conversation::{Conversation, connects};
use firewall_tests::traffic::echo::Echo;
use firewall_tests::traffic::{PATIENCE, REFUSAL};

use crate::support::{policy, wait_until};

/// Ports 8080/tcp and 7/udp lead to the first container, 9000/tcp to the second.
const NAT: &str = "
table FAMILY docker {
  chain prerouting {
    type nat hook prerouting priority dstnat
    fib daddr type local tcp dport 8080 dnat to ONE:80
    fib daddr type local udp dport 7 dnat to ONE:7
    fib daddr type local tcp dport 9000 dnat to TWO:80
  }
  chain postrouting {
    type nat hook postrouting priority srcnat
    FAMILY saddr NETWORK oifname != docker0 masquerade
  }
}
";
/// Addresses of the containers, of both families.
const ONE: [&str; 2] = ["172.17.0.2", "fd00:17::2"];
const TWO: [&str; 2] = ["172.17.0.3", "fd00:17::3"];
/// Their gateway: the bridge.
const BRIDGE: [&str; 2] = ["172.17.0.1", "fd00:17::1"];

const PUBLISHED: [&str; 2] =
    ["name: published, from: any, service: alternative", "name: echo, from: any, service: echo"];
const OUT: [&str; 2] =
    ["name: outside, to: clients, service: outside", "name: dns, to: clients, service: dns"];

/// A server with two containers, and a client on a cable.
struct Docker {
    server: Host,
    client: Host,
    one: Host,
    two: Host,
    _pair: Pair,
}

impl Docker {
    fn new(name: &str) -> Result<Self> {
        let pair = Pair::new(name)?;
        let (server, client) = (pair.server.clone(), pair.client.clone());
        server.forward()?;
        server.sh(&format!(
            "ip link add docker0 type bridge forward_delay 0 && ip link set docker0 up && \
             ip address add {}/16 dev docker0 && ip address add {}/64 dev docker0 nodad",
            BRIDGE[0], BRIDGE[1]
        ))?;
        let container = |name: &str, at: [&str; 2]| -> Result<Host> {
            let host = pair.lab.host(name)?;
            let outside = server.port(&format!("veth-{name}"));
            let inside = host.port("eth0").address(&format!("{}/16", at[0]));
            pair.lab.connect(&outside, &inside.address(&format!("{}/64", at[1])))?;
            server.ip(&["link", "set", &format!("veth-{name}"), "master", "docker0"])?;
            BRIDGE.into_iter().try_for_each(|gateway| host.route("default", gateway))?;
            Ok(host)
        };
        let (one, two) = (container("one", ONE)?, container("two", TWO)?);
        for (family, one, two, network) in [
            ("ip", ONE[0].to_owned(), TWO[0].to_owned(), "172.17.0.0/16"),
            ("ip6", format!("[{}]", ONE[1]), format!("[{}]", TWO[1]), "fd00:17::/64"),
        ] {
            let rules = NAT.replace("FAMILY", family).replace("NETWORK", network);
            server.write("/run/nat", rules.replace("ONE", &one).replace("TWO", &two))?;
            server.sh("nft -f /run/nat")?;
        }
        Ok(Self { server, client, one, two, _pair: pair })
    }
}

fn ends(addresses: [&str; 2], port: u16) -> Result<Vec<SocketAddr>> {
    let end = |text: &str| Ok(SocketAddr::new(text.parse::<IpAddr>()?, port));
    addresses.into_iter().map(end).collect()
}

#[test]
fn a_published_port_is_judged_as_the_hosts_own_and_its_answers_leave() -> Result<()> {
    let Docker { server, client, one, two, _pair } = Docker::new("published")?;
    let (_web, _echo, shut) = (Echo::tcp(&one, 80)?, Echo::udp(&one, 7)?, Echo::tcp(&two, 80)?);
    for to in [pair::server(8080), pair::server(9000)].concat() {
        assert!(connects(&client, None, to, REFUSAL)?, "without a firewall: {to}");
    }
    wait_until("the second container has seen both", PATIENCE, || Ok(shut.seen() == 2))?;
    // The port of the containers is open, which opens nothing of theirs.
    let web = "name: web, from: any, service: web";
    let firewall =
        Firewall::with_policy(&server, &policy(&[&PUBLISHED[..], &[web]].concat(), &[]))?;
    for (number, to) in (1..).zip(pair::server(8080)) {
        let mut talk = Conversation::tcp(&client, None, to)?;
        assert!(talk.asks_within(50_000, REFUSAL * 4), "{to}");
        assert_eq!(firewall.counters()?.rule("ingress", "published").new_flows, number, "{to}");
    }
    for to in pair::server(7) {
        assert!(Conversation::udp(&client, None, to)?.asks(), "{to}");
    }
    for to in pair::server(9000) {
        assert!(!connects(&client, None, to, REFUSAL)?, "{to} is open");
    }
    let counters = firewall.counters()?;
    assert_eq!(shut.seen(), 2, "a container was reached");
    assert!(counters.reason("ingress", "default-drop") >= 2, "{counters:?}");
    assert!(counters.reason("egress", "established") > 0, "{counters:?}");
    assert_eq!(counters.dropped("egress"), 0, "{counters:?}");
    assert_eq!(counters.rule("ingress", "web").packets, 0, "{counters:?}");
    Ok(())
}

#[test]
fn what_a_container_opens_leaves_by_the_hosts_egress_rules() -> Result<()> {
    let Docker { server, client, one, two: _two, _pair } = Docker::new("outgoing")?;
    let (_outside, _dns, _mail) =
        (Echo::tcp(&client, 443)?, Echo::udp(&client, 53)?, Echo::tcp(&client, 25)?);
    let firewall = Firewall::with_policy(&server, &policy(&[], &OUT))?;
    for at in pair::CLIENT {
        let mut talk = Conversation::tcp(&one, None, SocketAddr::new(at, 443))?;
        assert!(talk.asks_within(50_000, REFUSAL * 4), "{at}");
        assert!(Conversation::udp(&one, None, SocketAddr::new(at, 53))?.asks(), "{at}");
        assert!(!connects(&one, None, SocketAddr::new(at, 25), REFUSAL)?, "mail to {at} left");
    }
    let counters = firewall.counters()?;
    assert_eq!(counters.rule("egress", "outside").new_flows, 2, "{counters:?}");
    assert_eq!(counters.rule("egress", "dns").new_flows, 2, "{counters:?}");
    assert!(counters.reason("egress", "default-drop") >= 2, "{counters:?}");
    assert!(counters.reason("ingress", "established") > 0, "{counters:?}");
    Ok(())
}

#[test]
fn containers_talk_among_themselves_and_with_their_host_as_before() -> Result<()> {
    let Docker { server, client: _client, one, two, _pair } = Docker::new("among")?;
    let (_two, _host) = (Echo::tcp(&two, 5432)?, Echo::tcp(&server, 9999)?);
    let firewall = Firewall::with_policy(&server, &policy(&[], &[]))?;
    let before = firewall.counters()?;
    for to in ends(TWO, 5432)? {
        assert!(Conversation::tcp(&one, None, to)?.asks(), "container to container: {to}");
        assert!(Conversation::tcp(&server, None, to)?.asks(), "host to container: {to}");
    }
    for to in ends(BRIDGE, 9999)? {
        assert!(Conversation::tcp(&one, None, to)?.asks(), "container to host: {to}");
    }
    // Beside them hosts look for their neighbours, which the baseline admits.
    let since = firewall.counters()?.since(&before);
    let neighbours = ["arp", "neighbor-discovery", "mld"];
    let judged = |key: &(String, _, String)| !neighbours.contains(&key.2.as_str());
    let judged: Vec<_> = since.outcomes.iter().filter(|(key, _)| judged(key)).collect();
    assert!(judged.is_empty(), "something of it was judged: {judged:?}");
    Ok(())
}

#[test]
fn connections_of_containers_outlive_the_first_enforcement() -> Result<()> {
    let Docker { server, client, one, two: _two, _pair } = Docker::new("running")?;
    let (_web, _outside) = (Echo::tcp(&one, 80)?, Echo::tcp(&client, 443)?);
    let mut talks = Vec::new();
    for (to, at) in pair::server(8080).into_iter().zip(pair::CLIENT) {
        talks.push(Conversation::tcp(&client, None, to)?);
        talks.push(Conversation::tcp(&one, None, SocketAddr::new(at, 443))?);
    }
    assert!(talks.iter_mut().all(Conversation::asks));
    let firewall = Firewall::with_policy(&server, &policy(&PUBLISHED, &OUT))?;
    for talk in &mut talks {
        assert!(talk.asks(), "{:?} was cut", talk.local()?);
    }
    // And follow the policy from then on, those from outside at once.
    firewall.enforce(&policy(&[], &OUT))?;
    let [from_outside, from_inside, ..] = talks.as_mut_slice() else { unreachable!() };
    assert!(!from_outside.asks_within(8, REFUSAL), "a published port is open without a rule");
    assert!(from_inside.asks(), "a flow that was opened here outlives its rule");
    Ok(())
}

#[test]
fn what_would_be_cut_is_named_before_and_after() -> Result<()> {
    let Docker { server, client: _client, one: _one, two: _two, _pair } = Docker::new("named")?;
    let firewall = Firewall::on(&server)?;
    firewall.write(&policy(&PUBLISHED, &OUT))?;
    let shut = [format!("9000/tcp → {}:80", TWO[0]), format!("9000/tcp → [{}]:80", TWO[1])];
    let named = |said: &str| {
        for part in &shut {
            assert!(said.contains(part.as_str()), "{part} is not named: {said}");
        }
        for part in ["no rule admits it", "172.17.0.0/16, fd00:17::/64 leaves as this host"] {
            assert!(said.contains(part), "{part} is not said: {said}");
        }
        assert!(!said.contains("8080/tcp"), "an open port is named: {said}");
    };
    named(&firewall.refused(&["apply", "--dry-run"], 2)?);
    named(&firewall.refused(&["doctor"], 2)?);
    let applied = firewall.run(&["apply"])?;
    assert!(applied.status.success(), "{applied:?}");
    named(&applied.stderr);
    named(&firewall.check(&["status"])?);
    let agent = firewall.agent()?;
    agent.wait_until("looking", REFUSAL * 10, || {
        firewall.check(&["status"]).is_ok_and(|said| said.contains("9000/tcp"))
    })?;
    named(&firewall.check(&["status"])?);
    firewall.refused(&["status", "--check"], 2)?;
    let audit = firewall.refused(&["audit"], 2)?;
    assert!(audit.contains("[published-but-shut]") && audit.contains(&shut[0]), "{audit}");
    agent.kill()?;

    // With a rule for it there is nothing to name.
    let more = policy(&PUBLISHED, &OUT).replace("tcp: 8080 }", "tcp: [8080, 9000] }");
    let said = firewall.enforce(&more)?;
    assert!(!firewall.check(&["status"])?.contains("9000/tcp"), "{said}");
    Ok(())
}

#[test]
fn a_bridge_that_the_policy_names_is_pointed_out() -> Result<()> {
    let Docker { server, client: _client, one, two, _pair } = Docker::new("bridge")?;
    let _two = Echo::tcp(&two, 5432)?;
    let firewall = Firewall::on(&server)?;
    let ports = policy(&[], &[]).replace("match: [\"eth*\"]", "match: [\"eth*\", \"veth-one\"]");
    firewall.write(&ports)?;
    let said = firewall.refused(&["doctor"], 2)?;
    let line = said.lines().find(|line| line.contains("veth-one")).context("not named")?;
    assert!(line.contains("it is part of a bridge"), "{line}");
    let dry = firewall.refused(&["apply", "--dry-run"], 2)?;
    assert!(dry.contains("veth-one is part of a bridge"), "{dry}");
    assert!(!dry.contains("docker0 is part"), "{dry}");
    firewall.check(&["apply"])?;
    for to in ends(TWO, 5432)? {
        assert!(!connects(&one, None, to, REFUSAL)?, "which is what the words say");
    }
    Ok(())
}
