//! What keeps a host on its network: ARP, neighbour discovery, router
//! advertisements, DHCP.

use std::net::Ipv6Addr;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use firewall_tests::firewall::Firewall;
use firewall_tests::gate;
use firewall_tests::host::Host;
use firewall_tests::packet::{CLIENT_MAC, Ethernet, Frame, Icmp, Ipv6};
use firewall_tests::pair::{CLIENT, Pair, SERVER};
use firewall_tests::traffic::PATIENCE;
use firewall_tests::traffic::raw::Raw;

use crate::support::{policy, wait_until};

#[test]
fn neighbours_find_each_other_and_stay_reachable() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("neighbours")?;
    let firewall = Firewall::with_policy(&server, &policy(&[], &[]))?;
    for (asking, other) in [(&client, SERVER), (&server, CLIENT)] {
        for address in other {
            for host in [&server, &client] {
                host.sh("ip neigh flush all")?;
            }
            asking.sh(&format!("ping -c 1 -W 5 {address}"))?;
            reachable(asking, &address.to_string())?;
            // What the kernel does with an entry that has grown old.
            asking.sh(&format!("ip neigh change {address} dev eth0 nud probe"))?;
            reachable(asking, &address.to_string())?;
        }
    }
    let counters = firewall.counters()?;
    for way in ["ingress", "egress"] {
        assert!(counters.reason(way, "arp") >= 4, "{counters:?}");
        assert!(counters.reason(way, "neighbor-discovery") >= 4, "{counters:?}");
        assert_eq!(counters.dropped(way), 0, "{counters:?}");
    }
    Ok(())
}

fn reachable(host: &Host, address: &str) -> Result<()> {
    wait_until(&format!("{address} is reachable"), PATIENCE, || {
        let entry = host.sh(&format!("ip neigh show {address}"))?;
        assert!(!entry.contains("FAILED"), "{entry}");
        Ok(entry.contains("REACHABLE"))
    })?;
    Ok(())
}

#[test]
fn a_routers_advertisement_gives_an_address_and_renews_it() -> Result<()> {
    let Pair { server, client, lab: _lab } = Pair::new("router")?;
    let firewall = Firewall::with_policy(&server, &policy(&[], &[]))?;
    server.sysctl("net.ipv6.conf.eth0.accept_ra", "1")?;
    let raw = Raw::on(&client, "eth0")?;
    let lifetime = |seconds: u32| -> Result<Option<u32>> {
        raw.send(&advertisement(seconds))?;
        // RFC 4862: less than two hours left is not cut down further, so a longer
        // life is what shows.
        let mut left = None;
        wait_until("the address is there", PATIENCE, || {
            let text = server.sh("ip -6 address show dev eth0")?;
            left = life_of(&text, "2001:db8:aa:");
            Ok(left.is_some_and(|left| left + 60 > seconds))
        })?;
        Ok(left)
    };
    assert!(lifetime(8000)?.is_some_and(|left| left <= 8000));
    assert!(lifetime(90_000)?.is_some_and(|left| left > 89_000), "it was not renewed");
    assert!(server.sh("ip -6 route show default")?.contains("fe80::1"));
    let counters = firewall.counters()?;
    assert!(counters.reason("ingress", "neighbor-discovery") >= 2, "{counters:?}");
    Ok(())
}

/// Seconds that an address with a prefix is still valid, as `ip address` says.
fn life_of(text: &str, prefix: &str) -> Option<u32> {
    let (_, rest) = text.split_once(prefix)?;
    let (_, rest) = rest.split_once("valid_lft ")?;
    rest.split("sec").next()?.parse().ok()
}

/// A router advertisement with one prefix, RFC 4861 sections 4.2 and 4.6.2.
fn advertisement(seconds: u32) -> Frame {
    let router = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let prefix = Ipv6Addr::new(0x2001, 0xdb8, 0xaa, 0, 0, 0, 0, 0);
    let mut body = vec![0; 8];
    body.extend([3, 4, 64, 0xc0]);
    body.extend(seconds.to_be_bytes());
    body.extend(seconds.to_be_bytes());
    body.extend([0; 4]);
    body.extend(prefix.octets());
    let [high, low] = 1800_u16.to_be_bytes();
    let message = Icmp { rest: [64, 0, high, low], ..Icmp::new(134, 0) };
    let ethernet =
        Ethernet { destination: [0x33, 0x33, 0, 0, 0, 1], source: CLIENT_MAC, ethertype: None };
    Frame::ethernet_with(ethernet)
        .ipv6(Ipv6 { hop_limit: 255, ..Ipv6::between(router, all_nodes) })
        .icmpv6(message)
        .payload(body)
}

#[test]
fn a_dhcp_client_gets_its_lease_and_renews_it() -> Result<()> {
    let (ask, answer) = (gate::tool("udhcpc", "udhcpc")?, gate::tool("udhcpd", "udhcpd")?);
    let Pair { server, client, lab } = Pair::new("dhcp")?;
    lab.connect(&server.port("eth1"), &client.port("eth1").address("203.0.113.1/24"))?;
    client.write(
        "/run/udhcpd.conf",
        "start 203.0.113.100\nend 203.0.113.110\ninterface eth1\nlease_file /run/leases\n\
         pidfile /run/udhcpd.pid\noption lease 3600\n",
    )?;
    server.write(
        "/run/lease.sh",
        "#!/bin/sh\n[ -n \"$ip\" ] && ip address replace \"$ip/24\" dev \"$interface\"\n\
         echo \"$1 $ip\" >> /run/lease.log\n",
    )?;
    server.sh("chmod +x /run/lease.sh; : > /run/lease.log")?;
    let firewall = Firewall::with_policy(&server, &policy(&[], &[]))?;
    client.sh(": > /run/leases")?;
    let _daemon = client.spawn("udhcpd", Command::new(answer).args(["-f", "/run/udhcpd.conf"]))?;
    let lease = server.spawn(
        "udhcpc",
        Command::new(ask).args(["-f", "-i", "eth1", "-t", "20", "-T", "1", "-s", "/run/lease.sh"]),
    )?;
    let noted = |what: &str| Ok(server.sh("cat /run/lease.log")?.contains(what));
    let limit = Duration::from_secs(10);
    wait_until("a lease", limit, || noted("bound 203.0.113.1"))?;
    let before = firewall.counters()?;
    lease.signal(libc::SIGUSR1)?;
    wait_until("the renewal", limit, || noted("renew 203.0.113.1"))?;
    let counters = firewall.counters()?;
    for way in ["ingress", "egress"] {
        assert!(counters.reason(way, "dhcp") >= 2, "{counters:?}");
        assert!(counters.since(&before).reason(way, "dhcp") >= 1, "{counters:?}");
    }
    Ok(())
}
